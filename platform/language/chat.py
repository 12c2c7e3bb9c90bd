"""A conversation with the agents of a dialogue run, line by line, from a terminal or a pipe.

Replies go to standard output, everything else to standard error, so that a pipe gets one line for
each line.
"""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TextIO

import numpy as np

from parley.platform.errors import InputError, display_path
from parley.platform.language.chat_partner import Agents, ChatTurn, Conversation
from parley.platform.runs.checkpoints import resolve_checkpoint
from parley.platform.runs.files import atomic_write_text
from parley.platform.runs.transcripts import (
    OPENER,
    Transcript,
    TranscriptTurn,
    append_transcripts,
    format_transcript,
    printable,
    split_pieces,
)
from parley.platform.settings.spelling import nearest

PERSON = "you"
"""The seat of what was typed."""

HELP = """\
/reset       begin a new conversation
/swap        let the other agent answer; the conversation goes on
/save FILE   write the conversation: as a line of FILE.jsonl, else as text
/help        show this
/quit        leave; so does the end of the input
"""


class Chat:
    """One person and the agents.

    Args:
        agents: to talk to.
        seat: who answers first.
        seed: of the replies; the same lines then get the same answers.
    """

    def __init__(self, agents: Agents, seat: str, seed: int) -> None:
        self.agents = agents
        self.partner = agents.partner(seat)
        self.conversation = Conversation(self.partner.end_token)
        self._rng = np.random.default_rng(seed)
        self._number = 1
        self._saved: set[Path] = set()
        self._commands: dict[str, Callable[[str], None]] = {
            "/reset": self._reset,
            "/swap": self._swap,
            "/save": self._save,
            "/help": self._help,
        }

    def run(self, lines: Iterator[str], out: TextIO, label: bool) -> None:
        """Answer line after line until they end or `/quit`.

        Args:
            lines: what the person types.
            out: gets the replies, a line each; also an empty one where there is no answer.
            label: begin every reply with the seat's name.
        """
        for line in lines:
            text = line.strip()
            if text == "/quit":
                return
            if text.startswith("/"):
                self._obey(text)
                continue
            reply = self._reply_to(text)
            print(f"{self.partner.seat}: {reply}" if label else reply, file=out, flush=True)

    def _obey(self, text: str) -> None:
        name, _, argument = text.partition(" ")
        if name not in self._commands:
            tell(f"no command {name}{nearest(name, self._commands)}; /help shows them")
            return
        try:
            self._commands[name](argument.strip())
        except InputError as error:
            tell(str(error))

    def _reply_to(self, text: str) -> str:
        """The answer on one line; nothing to nothing, and to what is too long to be read."""
        tokens = self.partner.encode(text)
        if not tokens:
            return ""
        turns = self.conversation.turns
        turns.append(ChatTurn(PERSON, tokens))
        try:
            reply = self.partner.answer(self.conversation, self._rng)
        except ValueError as error:
            turns.pop()
            tell(f"your line has {len(tokens)} tokens, {error}; say it in fewer words")
            return ""
        turns.append(ChatTurn(self.partner.seat, reply))
        return printable(self.partner.decode(reply).strip())

    def _reset(self, argument: str) -> None:
        self.conversation.turns.clear()
        self._number += 1
        tell("a new conversation")

    def _swap(self, argument: str) -> None:
        before = self.partner
        if self.agents.seat_after(before.seat) == before.seat:
            raise InputError(f"there is no other agent than {before.seat}")
        self.partner = self.agents.partner(self.agents.seat_after(before.seat))
        if self.partner.tokenizer.get_vocab() != before.tokenizer.get_vocab():
            self.conversation = Conversation(self.partner.end_token)
            tell("this agent has another tokenizer: a new conversation")
        tell(f"{self.agents.describe(self.partner.seat)} answers")

    def _save(self, argument: str) -> None:
        if not argument:
            raise InputError("write /save FILE")
        path = Path(argument).expanduser()
        if not self.conversation.turns:
            raise InputError("nothing was said yet")
        if path.exists() and path.suffix != ".jsonl" and path.resolve() not in self._saved:
            raise InputError(f"{display_path(path)} exists already; choose another name")
        try:
            if path.suffix == ".jsonl":
                append_transcripts(path, [self._transcript()])
            else:
                atomic_write_text(path, format_transcript(self._transcript()) + "\n")
        except OSError as error:
            reason = error.strerror or error
            raise InputError(f"cannot write {display_path(path)}: {reason}") from error
        self._saved.add(path.resolve())
        tell(f"saved: {display_path(path)}")

    def _help(self, argument: str) -> None:
        tell(HELP.rstrip())

    def _transcript(self) -> Transcript:
        """The conversation; its first line is the opener, as in a run's transcripts."""
        turns = []
        for index, turn in enumerate(self.conversation.turns):
            pieces = split_pieces(self.partner.decode, turn.tokens)
            seat = OPENER if index == 0 else turn.seat
            turns.append(TranscriptTurn(seat, "".join(pieces), pieces, turn.tokens))
        return Transcript(0, self._number, PERSON, turns, terminated=False, truncated=False)


def chat_path(
    path: Path,
    seat: str | None,
    seed: int,
    temperature: float | None,
    overrides: Sequence[str] = (),
) -> None:
    """Talk to an agent of a run's best checkpoint, or of the checkpoint at `path`.

    Args:
        path: run or checkpoint.
        seat: who answers first; None: the trained one.
        seed: of the replies.
        temperature: of the replies; None: as in training; 0: the likeliest tokens.
        overrides: `key=value` of models that lie elsewhere by now.

    Raises:
        InputError: no sound checkpoint, no such seat, or a model that cannot be loaded or is
            another one than the run's.
        ParleyError: a model's weights are broken.
    """
    hold_chat(Agents(resolve_checkpoint(path), tell, temperature, overrides), seat, seed)


def hold_chat(agents: Agents, seat: str | None, seed: int) -> None:
    """Talk until the input ends; see `chat_path`."""
    chat = Chat(agents, seat or agents.default_seat, seed)
    is_terminal = sys.stdin.isatty()
    if is_terminal:
        tell(f"{agents.describe(chat.partner.seat)} answers; /help shows the commands")
    chat.run(_typed_lines() if is_terminal else sys.stdin, sys.stdout, label=is_terminal)


def _typed_lines() -> Iterator[str]:
    """Lines from the terminal, with a prompt and with line editing where there is any."""
    with contextlib.suppress(ImportError):
        import readline  # noqa: F401  (its import gives `input` a history)
    while True:
        try:
            yield input(f"{PERSON}: ")
        except EOFError:
            tell("")
            return


def tell(message: str) -> None:
    """Say something that is no reply."""
    print(message, file=sys.stderr, flush=True)
