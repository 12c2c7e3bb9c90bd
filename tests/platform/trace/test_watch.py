"""A trace to look at: tokens beside the true ones, beliefs under them, in text, HTML and PNG."""

from __future__ import annotations

import dataclasses
import json
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from parley.envs.trace.hidden_markov import HiddenMarkov
from parley.envs.trace.language import IntArray
from parley.platform.cli import main
from parley.platform.errors import InputError
from parley.platform.runs.checkpoints import Checkpoint
from parley.platform.trace.evaluation import execute as trace_scores
from parley.platform.trace.evaluation.measure import load_tracer
from parley.platform.trace.viewing.layout import format_view, lay_out, plain_view, state_colour
from parley.platform.trace.viewing.page import render_view_page
from parley.platform.trace.viewing.picture import draw_view
from parley.platform.trace.viewing.replay import view_trace
from parley.platform.trace.viewing.view import Strip, TraceView, read_view
from parley.platform.trace.viewing.watch import watch_path
from tests.platform.trace.trace_fixtures import make_config, make_writer, save_untrained

WRONG = TraceView(
    language="parrots",
    size=2,
    is_source=False,
    num_given=2,
    written=["START", "7", "SWAP", "9", "<b>"],
    true=["START", "7", "SWAP", "8", "8", "END"],
    states=["", "", "two to go", "", ""],
    illegal_at=3,
    is_exact=False,
    verdict="illegal at token 3: 8 expected, not 9",
    strips=[
        Strip("counter", 3, [0, 1, 2, 2, 0], [1.0, 0.9, 0.4, 0.6, 0.5]),
        Strip("hidden", 2, [-1, 0, 1, 1, 0], [0.0, 1.0, 1.0, 1.0, 1.0]),
    ],
)

PLAIN = """\
parrots, size 2: illegal at token 3: 8 expected, not 9
real state before it: two to go

written START 7   SWAP 9   <b>
true    START 7   SWAP 8   8   END
                       !   ^   ^
counter 0     1   2?   2   0
hidden        0   1    1   0

likeliest latent state  0  1  2  darker: less probable, ?: below one half"""


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Checkpoint:
    return save_untrained(tmp_path_factory.mktemp("checkpoints"), make_config())


def test_plain_text_says_everything_without_colours() -> None:
    assert plain_view(WRONG, 100) == PLAIN


def test_strips_stay_under_their_tokens_when_lines_wrap() -> None:
    whole = lay_out(WRONG, 100)
    wrapped = lay_out(WRONG, 24)
    assert len(wrapped) > len(whole)
    for lines in (whole, wrapped):
        blocks: list[list[list[int]]] = []
        for line in lines:
            if not line:
                blocks.append([])
            else:
                blocks[-1].append([cell.width for cell in line])
        for block in blocks:
            assert all(widths == block[0] for widths in block)
            assert sum(block[0]) <= 100
    narrow = [sum(cell.width for cell in line) for line in wrapped]
    assert max(narrow) <= 24
    names = [cell.text for line in wrapped for cell in line[1:] if line[0].text == "written"]
    assert names == [*WRONG.written, ""]


def test_colours_are_hue_for_the_state_and_brightness_for_its_probability() -> None:
    bright, dark = state_colour(1, 3, 1.0), state_colour(1, 3, 0.3)
    assert bright[1] == max(bright) and dark[1] == max(dark)  # green among three
    assert sum(dark) < sum(bright)
    spans = format_view(WRONG, 100).spans
    fill = f"on #{bytes(state_colour(0, 3, 1.0)).hex()}"
    assert any(str(span.style).endswith(fill) for span in spans)
    assert any(str(span.style) == "bold white on red" for span in spans)


class Tags(HTMLParser):
    def __init__(self, text: str) -> None:
        super().__init__()
        self.seen: list[tuple[str, dict[str, str | None]]] = []
        self.text = ""
        self.feed(text)

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        self.seen.append((tag, dict(attrs)))

    def handle_data(self, data: str) -> None:
        self.text += data


def test_html_has_a_column_for_each_place_and_escapes_names() -> None:
    page = Tags(render_view_page(WRONG))
    columns = [
        attrs for tag, attrs in page.seen if tag == "span" and "token" in str(attrs["class"])
    ]
    assert [str(c["class"]).split()[1:] for c in columns] == [
        ["given"],
        ["given"],
        [],
        ["illegal"],
        ["different"],
        ["different"],
    ]
    assert "real state: two to go" in str(columns[2]["title"])
    assert "counter: state 2, 0.40" in str(columns[2]["title"])
    assert "<b>" in page.text and "script" not in {tag for tag, _ in page.seen}


def test_pictures_hold_long_traces(tmp_path: Path) -> None:
    long = dataclasses.replace(WRONG, written=WRONG.written * 40, true=WRONG.true * 40)
    heights = []
    for number, view in enumerate((WRONG, long)):
        draw_view(view, tmp_path / f"{number}.png")
        heights.append(Image.open(tmp_path / f"{number}.png").height)
    assert heights[1] > 4 * heights[0]


def test_a_run_keeps_a_trace_as_json(tmp_path: Path) -> None:
    file = tmp_path / "trace.json"
    assert read_view(file) is None
    file.write_text(json.dumps(WRONG.to_json()))
    assert read_view(file) == WRONG
    for damaged in ("{", "[]", '{"strips": []}'):
        file.write_text(damaged)
        with pytest.raises(InputError, match=r"trace\.json is damaged"):
            read_view(file)


def test_a_true_trace_is_exact_and_a_spoilt_one_stops_where_it_is_illegal(
    checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    tracer = load_tracer(checkpoint.path)
    task, size = tracer.task, 2
    given = task.draw_heldout(size, 1, 0)[0]
    monkeypatch.setattr(trace_scores, "continue_traces", make_writer(task, [size], 1, 0))
    view = view_trace(tracer.model, task.language, size, given)
    assert view.verdict.startswith("exact: executing it gives")
    assert view.written == view.true and view.illegal_at is None
    assert all(view.states[view.num_given :]) and not any(view.states[: view.num_given])
    place = view.num_given + 1

    def spoil(size: int, number: int, row: IntArray) -> None:
        row[place] = 0

    monkeypatch.setattr(trace_scores, "continue_traces", make_writer(task, [size], 1, 0, spoil))
    view = view_trace(tracer.model, task.language, size, given)
    assert view.illegal_at == place and view.differs(place) and not view.differs(place - 1)
    assert view.states[place - 1] and not view.states[place]
    assert [strip.name for strip in view.strips] == ["layer 0 counter 0", "layer 0 filter 0"]
    assert all(len(strip.states) == len(view.written) for strip in view.strips)


def test_a_hidden_source_shows_its_states_beside_the_beliefs(tmp_path: Path) -> None:
    language = {"name": "hidden_markov", "min_size": 5, "max_size": 5}
    config = make_config(language=language, evaluation={"sizes": []})
    tracer = load_tracer(save_untrained(tmp_path, config).path)
    source = tracer.task.language
    assert isinstance(source, HiddenMarkov)
    given = tracer.task.draw_heldout(5, 1, 0)[0]
    view = view_trace(tracer.model, source, 5, given)
    assert [strip.name for strip in view.strips[:2]] == ["hidden state", "optimal filter"]
    assert view.strips[0].states == [-1, *source.hidden_states(given[None])[0].tolist(), -1]
    lines = plain_view(view, 100).splitlines()
    assert lines[2].startswith("read ") and not any(line.startswith("true") for line in lines)
    assert "random source" in lines[0]


def test_a_model_without_a_filter_says_so(tmp_path: Path) -> None:
    tracer = load_tracer(save_untrained(tmp_path, make_config(policy="gpt2")).path)
    given = tracer.task.draw_heldout(1, 1, 0)[0]
    view = view_trace(tracer.model, tracer.task.language, 1, given)
    assert view.strips == []
    assert "no belief filter" in plain_view(view, 80)
    assert "no belief filter" in render_view_page(view)


@pytest.mark.parametrize("suffix", [".txt", ".html", ".png"])
def test_watch_writes_a_file(
    suffix: str, checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    out = tmp_path / f"trace{suffix}"
    assert main(["watch", str(checkpoint.path), "--out", str(out)]) == 0
    assert "trace: " in capsys.readouterr().out and out.stat().st_size > 200


def test_watch_shows_the_largest_trained_size_or_the_one_asked_for(
    checkpoint: Checkpoint, capsys: pytest.CaptureFixture[str]
) -> None:
    shown = []
    for options in ([], ["--size", "1"], ["--seed", "3"], ["--seed", "3"]):
        assert main(["watch", str(checkpoint.path), *options]) == 0
        shown.append(capsys.readouterr().out)
    assert shown[0].startswith("addition, size 2: ") and shown[1].startswith("addition, size 1: ")
    assert shown[2] == shown[3] != shown[0]
    assert all(max(map(len, text.splitlines()[1:])) <= 100 for text in shown)


def test_what_cannot_be_watched(
    checkpoint: Checkpoint, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    with pytest.raises(InputError, match=r"write a \.png"):
        watch_path(checkpoint.path, tmp_path / "trace.gif", 0)
    with pytest.raises(InputError, match="learned positions"):
        watch_path(checkpoint.path, None, 0, size=50)
    assert main(["watch", str(checkpoint.path), "--all"]) == 2
    assert "--all: trace runs keep no dialogues to choose from" in capsys.readouterr().err
    (tmp_path / "config.toml").write_text('workflow = "cartpole"\nalgorithm = "ppo"\n')
    assert main(["watch", str(tmp_path), "--size", "3"]) == 2
    assert "--size: cartpole runs keep no traces of several sizes" in capsys.readouterr().err


def test_probabilities_are_those_of_the_likeliest_state(checkpoint: Checkpoint) -> None:
    tracer = load_tracer(checkpoint.path)
    given = tracer.task.draw_heldout(2, 1, 0)[0]
    for strip in view_trace(tracer.model, tracer.task.language, 2, given).strips:
        assert min(strip.shares) >= 1 / strip.num_states - 1e-3
        assert np.isin(strip.states, np.arange(strip.num_states)).all()
