"""From played dialogues to transcripts: the same ids, with their text and what they earned.

Also the record of a dialogue in which a model failed, which is kept before the run ends.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

from transformers import PreTrainedTokenizerBase

from parley.envs.dialogue.reward import ReplyReward
from parley.platform.distort.record import PlayedDialogue, PlayedTurn, PlayFault
from parley.platform.distort.task import DialogueTask
from parley.platform.errors import ParleyError
from parley.platform.runs.files import atomic_write_text, to_json
from parley.platform.runs.transcripts import (
    OPENER,
    Transcript,
    TranscriptTurn,
    format_transcript,
    split_pieces,
)

FAULT_FILE = "faulty_dialogue.json"


class FaultyDialogueError(ParleyError):
    """A model gave logits that are not finite; the dialogue was kept."""


def keep_fault(
    fault: PlayFault, task: DialogueTask, iteration: int, folder: Path
) -> FaultyDialogueError:
    """Write the dialogues in which a model failed into `folder`; the error that tells of them."""
    dialogues = [
        {
            "number": dialogue.number,
            "text": format_transcript(transcribe(dialogue, {}, task, iteration, fault.seat)),
            "tokens": dialogue.tokens,
        }
        for dialogue in fault.dialogues
    ]
    content = {
        "iteration": iteration,
        "seat": fault.seat,
        "turn": fault.turn,
        "message": fault.message,
        "dialogues": dialogues,
    }
    path = folder / FAULT_FILE
    atomic_write_text(path, to_json(content, indent=2) + "\n")
    numbers = ", ".join(str(dialogue.number) for dialogue in fault.dialogues[:3])
    return FaultyDialogueError(
        f"the model of seat {fault.seat!r} gave logits that are not finite numbers in iteration "
        f"{iteration}, dialogue {numbers}, after {fault.turn} replies; the dialogue is kept in "
        f"{path}. Use sound weights for that seat; what was learned before is in the last "
        f"checkpoint, if there is one"
    )


def transcribe(
    dialogue: PlayedDialogue,
    rewards: Mapping[str, Sequence[ReplyReward]],
    task: DialogueTask,
    iteration: int,
    opponent: str,
) -> Transcript:
    """A dialogue as people read it.

    Args:
        dialogue: as it was played.
        rewards: trained seat -> rewards of its replies, in order; none of a seat is fine.
        task: whose tokenizer made the ids.
        iteration: in which it was played.
        opponent: who sat opposite the trained seat.
    """
    end, tokenizer = task.settings.end_token, task.tokenizer
    earned = {seat: iter(rows) for seat, rows in rewards.items()}
    turns = [_turn(OPENER, dialogue.opener.tolist(), tokenizer)]
    for turn in dialogue.turns:
        ids = [int(token) for token in turn.tokens if token != end]
        reward = next(earned[turn.seat], None) if turn.seat in earned else None
        turns.append(
            _turn(
                turn.seat,
                ids,
                tokenizer,
                nll=_surprises(turn, len(ids)),
                rewards=None if reward is None else reward.parts(),
            )
        )
    return Transcript(
        iteration, dialogue.number, opponent, turns, dialogue.terminated, dialogue.truncated
    )


def _turn(
    seat: str,
    ids: list[int],
    tokenizer: PreTrainedTokenizerBase,
    nll: list[float] | None = None,
    rewards: dict[str, float] | None = None,
) -> TranscriptTurn:
    def decode(part: list[int]) -> str:
        return str(tokenizer.decode(part, clean_up_tokenization_spaces=False))

    return TranscriptTurn(seat, decode(ids), split_pieces(decode, ids), ids, nll, rewards)


def _surprises(turn: PlayedTurn, count: int) -> list[float]:
    """Under the judge for a trained seat, under its own model for the others, [count]."""
    known = turn.full_log_probs if turn.judge_log_probs is None else turn.judge_log_probs
    return [-float(value) for value in known[:count]]
