"""The embedded judge: built once, saved without pickles, the same verdict however it is asked."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

from parley.envs.dialogue.conversations import number_conversations
from parley.envs.dialogue.smalltalk import generate_dialogues
from parley.platform.errors import InputError
from parley.platform.maxims.judge import building
from parley.platform.maxims.judge.attacks import list_scenes
from parley.platform.maxims.judge.building import (
    JudgeRecipe,
    embedded_judge,
    find_conversations,
    find_or_build,
    split_for_judge,
)
from parley.platform.maxims.judge.judge import FittedJudge, load_judge
from parley.platform.maxims.judge.ranker_training import RankerSettings
from parley.platform.maxims.text.exchange import Exchange

TINY = JudgeRecipe(
    encoder="words",
    ranker=RankerSettings(num_epochs=1, num_rankers=2, token_width=8),
    word_width=16,
    num_generated=120,
    num_threads=1,
)


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("PARLEY_CACHE_DIR", str(tmp_path_factory.mktemp("cache")))
        patch.delenv("PARLEY_DATA", raising=False)
        return find_or_build(lambda line: None, TINY)


@pytest.fixture(scope="module")
def judge(folder: Path) -> FittedJudge:
    return load_judge(folder)


@pytest.fixture(scope="module")
def rows() -> list[Exchange]:
    talks = generate_dialogues(12, seed=9)
    conversations = number_conversations(talks)
    return [scene.exchange for scene in list_scenes(conversations, Random(0))]


def test_the_folder_holds_no_pickle(folder: Path) -> None:
    names = {path.name for path in folder.iterdir()}
    assert names == {"judge.json", "judge.safetensors", "manifest.json"}


def test_it_is_built_once(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PARLEY_CACHE_DIR", str(folder.parent))
    monkeypatch.delenv("PARLEY_DATA", raising=False)
    monkeypatch.setattr(building, "build_judge", None)
    lines: list[str] = []
    judge = embedded_judge(lines.append, TINY)
    assert judge.facts["recipe"]["num_generated"] == TINY.num_generated
    assert len(lines) == 1 and "small talk" in lines[0]


def test_another_recipe_or_other_conversations_get_another_folder() -> None:
    talks = number_conversations([["Hi!", "Hello!"], ["Bye.", "See you."]])
    digests = {
        TINY.digest(talks),
        TINY.digest(talks[:1]),
        replace(TINY, seed=1).digest(talks),
        replace(TINY, ranker=replace(TINY.ranker, dropout=0.0)).digest(talks),
    }
    assert len(digests) == 4


def test_probabilities_do_not_depend_on_the_order_or_the_company(
    judge: FittedJudge, rows: list[Exchange]
) -> None:
    alone = judge.score_alone(rows)
    assert alone.shape == (len(rows), 4) and alone.min() >= 0 and alone.max() <= 1
    backwards = judge.score_alone(rows[::-1])[::-1]
    np.testing.assert_allclose(alone, backwards, atol=1e-5)
    single = judge.score(*rows[3])
    np.testing.assert_allclose(single, alone[3], atol=1e-5)


def test_a_set_adds_to_relation_only(judge: FittedJudge, rows: list[Exchange]) -> None:
    stock = [row._replace(response="That sounds nice!") for row in rows]
    alone, together = judge.score_alone(stock), judge.score_rows(stock)
    assert (together[:, 2] > 0.5).all()
    assert np.array_equal(np.delete(together, 2, 1), np.delete(alone, 2, 1))
    assert judge.find_violations(stock)[:, 2].all()


@pytest.mark.parametrize(
    ("context", "response"),
    [
        ("", "Hello!"),
        ("no speaker at all", "Is that so?"),
        ("[agent_1]: hi", ""),
        ("[agent_1]: [agent_2]: ", " \n "),
        ("[agent_1]: \u4f60\u597d", "\u4f60\u597d \U0001f600"),
        ("[a]: " + "word " * 2_000, "word " * 2_000),
    ],
)
def test_odd_rows_get_probabilities(judge: FittedJudge, context: str, response: str) -> None:
    scores = judge.score(context, "", response)
    assert np.isfinite(scores).all()
    if not response.strip():
        assert scores.max() > 0.5


def test_no_rows_no_scores(judge: FittedJudge) -> None:
    assert judge.score_rows([]).shape == (0, 4)
    assert judge.find_violations([]).shape == (0, 4)


def test_heldout_conversations_are_in_no_other_part(folder: Path) -> None:
    facts = json.loads((folder / "judge.json").read_text())
    calibration = set(facts["calibration_conversations"])
    heldout = set(facts["heldout_conversations"])
    assert heldout and calibration and not heldout & calibration
    assert facts["num_training"] + len(heldout) + len(calibration) == TINY.num_generated


def test_conversations_are_read_where_the_variable_points(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PARLEY_DATA", str(tmp_path))
    assert find_conversations(TINY)[1] == "generated small talk"
    (tmp_path / "topical_chat").mkdir()
    with pytest.raises(InputError, match="PARLEY_DATA"):
        find_conversations(TINY)
    talk = {"content": [{"message": "Hi!"}, {"message": "Hello!"}]}
    (tmp_path / "topical_chat" / "a.json").write_text(json.dumps({"t1": talk, "t2": talk}))
    conversations, source = find_conversations(TINY)
    assert [talk.id for talk in conversations] == ["t1", "t2"] and source == "topical_chat"
    with pytest.raises(ValueError, match="nothing to train on"):
        split_for_judge(TINY, conversations)
