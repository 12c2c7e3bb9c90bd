"""Talking to the agents of a run: exact ids, the right agent, one line for each line."""

from __future__ import annotations

import io
import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from parley.platform.cli import main
from parley.platform.errors import InputError
from parley.platform.language.chat import Chat, chat_path
from parley.platform.language.chat_partner import Agents, ChatTurn, Conversation
from parley.platform.runs.checkpoints import CheckpointError, CheckpointStore, resolve_checkpoint
from parley.platform.runs.transcripts import read_transcripts
from parley.policies.dialogue.loading import save_language_model
from parley.policies.dialogue.sampling import Sampling
from parley.policies.dialogue.speaker import Speaker
from tests.platform.language.chat_fixtures import make_model
from tests.policies.dialogue.model_fixtures import END_TEXT

MAX_REPLY_TOKENS = 6


@pytest.fixture
def run(tmp_path: Path) -> Path:
    """A run of a frozen and a trained model, as training leaves it."""
    run = tmp_path / "run"
    (run / "checkpoints").mkdir(parents=True)
    (run / "config.toml").write_text('workflow = "dialogue"\nalgorithm = "ppo"\n')
    save_language_model(make_model(1), tmp_path / "frozen")
    facts = {
        "seats": {
            "competitor": {"model": str(tmp_path / "frozen"), "trained": False},
            "distorter": {"model": str(tmp_path / "frozen"), "trained": True},
        },
        "sampling": {"temperature": 1.0, "top_k": 50, "top_p": 1.0},
        "dialogue": {"max_reply_tokens": MAX_REPLY_TOKENS, "window": 0},
    }

    def save_policies(folder: Path) -> None:
        save_language_model(make_model(2), folder / "distorter")

    CheckpointStore(run / "checkpoints").save(3, save_policies, facts, {})
    return run


def talk(
    run: Path, lines: list[str], seed: int = 0, temperature: float | None = None
) -> tuple[Chat, list[str]]:
    """A chat from a pipe, and the lines that came out of it."""
    agents = Agents(resolve_checkpoint(run), print, temperature)
    chat = Chat(agents, agents.default_seat, seed)
    out = io.StringIO()
    chat.run(iter(f"{line}\n" for line in lines), out, label=False)
    return chat, out.getvalue().splitlines()


def test_an_answer_is_what_the_model_says_to_the_whole_history(run: Path) -> None:
    chat, _ = talk(run, ["Hello", "and you?", "why"], seed=5)
    trained = make_model(2)
    speaker = Speaker(trained.model, 0, 1, Sampling(1.0, 50, 1.0, MAX_REPLY_TOKENS))
    rng = np.random.default_rng(5)
    history: list[int] = []
    turns = chat.conversation.turns
    assert [turn.seat for turn in turns] == ["you", "distorter"] * 3
    for said, reply in zip(turns[::2], turns[1::2], strict=True):
        history += [*said.tokens, 0]
        uniforms = rng.random((1, MAX_REPLY_TOKENS))
        speaker.forget()
        (expected,) = speaker.reply([0], [np.array(history)], uniforms)
        ids = [int(token) for token in expected.tokens if token != 0]
        assert ids == reply.tokens
        history += [*ids, 0] if ids else []


def test_one_line_for_each_line_and_the_seed_decides(run: Path) -> None:
    lines = ["Hello", "", "how are you?", "x" * 80, "bye"]
    chat, out = talk(run, lines)
    assert len(out) == len(lines)
    assert out[1] == out[3] == ""
    assert [turn.seat for turn in chat.conversation.turns] == ["you", "distorter"] * 3
    assert talk(run, lines)[1] == out
    assert talk(run, lines, seed=1)[1] != out
    greedy = talk(run, lines, seed=1, temperature=0.0)[1]
    assert greedy == talk(run, lines, seed=2, temperature=0.0)[1]


def test_swap_lets_the_other_agent_go_on_with_the_same_history(run: Path) -> None:
    chat, _ = talk(run, ["Hello", "/swap", "and?", "/swap", "so"])
    seats = [turn.seat for turn in chat.conversation.turns]
    assert seats == ["you", "distorter", "you", "competitor", "you", "distorter"]


def test_reset_and_quit(run: Path) -> None:
    chat, out = talk(run, ["Hello", "/reset", "again", "/quit", "never read"])
    assert len(out) == 2
    assert [turn.seat for turn in chat.conversation.turns] == ["you", "distorter"]


def test_save_writes_text_and_transcripts(
    run: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    text, rows = tmp_path / "talk.txt", tmp_path / "talk.jsonl"
    commands = [f"/save {text}", f"/save {rows}"]
    chat, _ = talk(run, ["/save", *commands, "Hello", "you?", *commands, *commands])
    err = capsys.readouterr().err
    assert "write /save FILE" in err
    assert err.count("nothing was said yet") == 2
    assert err.count("saved:") == 4
    first, *rest = text.read_text().splitlines()
    assert first == "Hello"
    assert [line[:2] for line in rest] == ["D:", "Y:", "D:"]
    transcripts = read_transcripts(rows)
    assert len(transcripts) == 2
    assert [turn.seat for turn in transcripts[0].turns] == [
        "opener",
        "distorter",
        "you",
        "distorter",
    ]
    said = [turn.tokens for turn in chat.conversation.turns]
    assert [turn.token_ids for turn in transcripts[0].turns] == said
    talk(run, ["Hello", f"/save {text}", "/save no/such/folder.txt", "/sawe x"])
    err = capsys.readouterr().err
    assert "exists already" in err
    assert "cannot write no/such/folder.txt: No such file" in err
    assert "no command /sawe (did you mean /save?)" in err


def test_old_turns_leave_the_window_whole_and_silence_leaves_no_trace() -> None:
    turns = [ChatTurn("you", [1, 2]), ChatTurn("d", [3, 4, 5]), ChatTurn("you", [6])]
    conversation = Conversation(0, turns)
    assert conversation.history(9).tolist() == [1, 2, 0, 3, 4, 5, 0, 6, 0]
    assert conversation.history(8).tolist() == [3, 4, 5, 0, 6, 0]
    assert conversation.history(5).tolist() == [6, 0]
    with pytest.raises(ValueError, match="more than the 1 tokens"):
        conversation.history(1)
    silent = [turns[0], ChatTurn("d", []), turns[2]]
    assert Conversation(0, silent).history(9).tolist() == [1, 2, 0, 6, 0]


def test_an_end_token_that_is_spelt_out_is_not_one(run: Path) -> None:
    chat, out = talk(run, [f"a{END_TEXT}b", END_TEXT])
    assert 0 not in chat.conversation.turns[0].tokens
    assert len(chat.conversation.turns) == 2
    assert out[1] == ""


def test_the_command_reads_a_pipe(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", io.StringIO("Hello\n/swap\nand you?"))
    assert main(["chat", str(run), "--seat", "distorter", "--temperature", "0.7"]) == 0
    captured = capsys.readouterr()
    assert captured.err == "competitor (frozen) answers\n"
    assert len(captured.out.splitlines()) == 2
    assert main(["chat", str(run), "--seat", "distroter"]) == 2
    assert "no seat 'distroter' (did you mean distorter?)" in capsys.readouterr().err


class Terminal(io.StringIO):
    """Typed lines."""

    def isatty(self) -> bool:
        return True


def test_a_terminal_gets_prompts_and_names(
    run: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.setattr("sys.stdin", Terminal("Hello\n/swap\nand you?\n"))
    assert main(["chat", str(run)]) == 0
    captured = capsys.readouterr()
    assert captured.out.count("you: ") == 4
    assert "you: distorter: " in captured.out
    assert "you: you: competitor: " in captured.out
    assert captured.err.startswith("distorter (trained) answers; /help shows the commands\n")


def test_a_workflow_without_words_is_refused(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "config.toml").write_text('workflow = "cartpole"\nalgorithm = "ppo"\n')
    assert main(["chat", str(tmp_path)]) == 2
    assert "a run of cartpole, whose agents do not talk" in capsys.readouterr().err
    for text in ("-1", "hot", "nan"):
        with pytest.raises(SystemExit):
            main(["chat", str(tmp_path), "--temperature", text])


def change_facts(run: Path, **changes: Any) -> None:
    """Write a newer checkpoint with other facts."""
    checkpoint = resolve_checkpoint(run)
    facts = {**checkpoint.read_policy_facts(), **changes}

    def save_policies(folder: Path) -> None:
        save_language_model(make_model(2), folder / "distorter")

    CheckpointStore(run / "checkpoints").save(4, save_policies, facts, {})


def test_models_that_are_gone_are_named_or_looked_up_anew(run: Path, tmp_path: Path) -> None:
    gone = tmp_path / "gone"
    seats = {"competitor": {"model": str(gone), "trained": False}}
    change_facts(run, seats=seats)
    with pytest.raises(InputError, match=r"seat 'competitor': cannot load .*gone"):
        chat_path(run, None, 0, None)
    change_facts(run, seats=seats, experiment={"seats": {"competitor": {"model": "no-such-model"}}})
    with pytest.raises(InputError, match="cannot load the language model 'no-such-model'"):
        chat_path(run, None, 0, None)


def test_a_pretrained_model_speaks_alone(run: Path, capsys: pytest.CaptureFixture[str]) -> None:
    facts = {"policy": "gpt2", "modules": ["speaker"]}

    def save_policies(folder: Path) -> None:
        save_language_model(make_model(2), folder / "speaker")

    CheckpointStore(run / "checkpoints").save(5, save_policies, facts, {})
    chat, out = talk(run, ["Hello", "/swap", "you?"])
    assert [turn.seat for turn in chat.conversation.turns] == ["you", "speaker"] * 2
    assert len(out) == 2
    assert "no other agent than speaker" in capsys.readouterr().err


def test_a_checkpoint_of_another_kind_is_refused(run: Path, tmp_path: Path) -> None:
    with pytest.raises(CheckpointError, match="no checkpoint folder"):
        chat_path(tmp_path / "absent", None, 0, None)
    change_facts(run, sampling=json.loads('{"heat": 1}'))
    with pytest.raises(CheckpointError, match="not a checkpoint of a dialogue run"):
        chat_path(run, None, 0, None)
