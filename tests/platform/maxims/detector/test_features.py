"""The embedded detector: learning, leak-free judging, saving, and what its features see."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from parley.envs.dialogue.smalltalk import generate_dialogues
from parley.platform.errors import InputError
from parley.platform.maxims.detector import embedded
from parley.platform.maxims.detector.building import BuiltDetector, build_detector
from parley.platform.maxims.detector.corpus import build_corpus
from parley.platform.maxims.detector.cross_fitted_model import surface_features
from parley.platform.maxims.detector.feature_detector import (
    UNKNOWN,
    DetectorFolderError,
    FeatureDetector,
)
from parley.platform.maxims.detector.features.counts import measure_counts
from parley.platform.maxims.detector.features.missing_ends import MissingEnds
from parley.platform.maxims.detector.features.parsed_response import parse_passage
from parley.platform.maxims.detector.features.replaced_words import ReplacedWords
from parley.platform.maxims.detector.features.sentence_order import SentenceOrder
from parley.platform.maxims.detector.violation_heads import join_heads
from parley.platform.maxims.detector_figures import measure_detector
from parley.platform.maxims.detector_settings import (
    DetectorDataConfig,
    DetectorEvaluationConfig,
    DetectorModelConfig,
    DialogueDetectorConfig,
)
from parley.platform.maxims.loading import load_detector
from parley.platform.maxims.text.exchange import MAXIMS, Exchange
from parley.platform.maxims.text.wording import is_long, likeness


def _write_conversations(path: Path) -> None:
    """Small talk whose turns are made unlike each other by numbers."""
    talks = [talk for talk in generate_dialogues(90, 5) if len(talk) >= 3][:60]
    content = {
        f"t{number}": {"content": [
            {"message": f"{turn} I counted {number}.{place} boats on that day."}
            for place, turn in enumerate(talk)
        ]}
        for number, talk in enumerate(talks)
    }  # fmt: skip
    path.write_text(json.dumps(content))


def _write_labelled(path: Path, conversations: Path) -> None:
    talks = json.loads(conversations.read_text())
    rows = []
    for number, (name, talk) in enumerate(talks.items()):
        first, second = (turn["message"] for turn in talk["content"][:2])
        violated = number % 2 == 0
        rows.append({
            "context": f"[agent_1]: {first}",
            "evidence": "FS1",
            "violated_response": "It depends on this and that." if violated else second,
            "original_response": second,
            "labels": {maxim: int(violated and maxim == "quantity") for maxim in MAXIMS},
            "violation_type": "quantity_under" if violated else "none",
            "source_example_id": name,
        })  # fmt: skip
    path.write_text(json.dumps(rows))


def _config(conversations: str, *labelled: str) -> DialogueDetectorConfig:
    return DialogueDetectorConfig(
        data=DetectorDataConfig(
            labelled=labelled, conversations=conversations, num_dialogues=90, clean_turns=60,
            injections=10,
        ),
        model=DetectorModelConfig(folds=3, num_trees=8),
        evaluation=DetectorEvaluationConfig(unseen_injections=5, clean_turns=20),
    )  # fmt: skip


@pytest.fixture(scope="module")
def config(tmp_path_factory: pytest.TempPathFactory) -> DialogueDetectorConfig:
    folder = tmp_path_factory.mktemp("data")
    _write_conversations(folder / "talks.json")
    _write_labelled(folder / "labelled.json", folder / "talks.json")
    return _config(str(folder / "talks.json"), str(folder / "labelled.json"))


@pytest.fixture(scope="module")
def built(config: DialogueDetectorConfig) -> BuiltDetector:
    return build_detector(config, lambda activity, share: None)


def test_folds_share_no_utterance(config: DialogueDetectorConfig) -> None:
    corpus = build_corpus(config)
    assert {row.fold for row in corpus.rows} == {0, 1, 2}
    seen: dict[str, int] = {}
    for fold, part in enumerate(corpus.conversations):
        for talk in part:
            for turn in filter(is_long, talk):
                assert seen.setdefault(likeness(turn), fold) == fold
    for row in corpus.rows:
        if row.origin != "injected" and is_long(row.exchange.response):
            assert seen.get(likeness(row.exchange.response), row.fold) == row.fold
    assert corpus.rows == build_corpus(config).rows


def test_rows_of_the_training_file_are_judged_by_models_that_did_not_see_them(
    built: BuiltDetector,
) -> None:
    learned = [i for i, row in enumerate(built.corpus.rows) if row.origin != "unseen"]
    exchanges = [built.corpus.rows[index].exchange for index in learned]
    folds = built.detector.find_folds(exchanges)
    expected = np.array([built.corpus.rows[index].fold for index in learned])
    assert np.array_equal(folds, expected)
    assert np.allclose(built.detector.score_rows(exchanges), built.scores[learned], atol=1e-6)


def test_an_unknown_row_is_judged_by_all_models(built: BuiltDetector) -> None:
    row = Exchange("[agent_1]: Where do the swans of the lake sleep?", "", "Among the reeds.")
    assert built.detector.find_folds([row]).tolist() == [UNKNOWN]
    passage = parse_passage(row)
    surface = surface_features([passage])
    mean = np.mean([model.log_odds([passage], surface) for model in built.detector.models], axis=0)
    expected = join_heads(mean, built.detector.offsets[-1])
    assert np.allclose(built.detector.score_rows([row]), expected)


def test_white_space_and_speakers_change_nothing(built: BuiltDetector) -> None:
    plain = Exchange("[agent_1]: I like tea. [agent_2]: Me too.", "", "Green tea? It is good.")
    spaced = Exchange("[you]:  I like tea.\n[me]: Me too. ", "FS1", " Green  tea?\tIt is good. ")
    scores = built.detector.score_rows([plain, spaced])
    assert np.allclose(scores[0], scores[1])


def test_a_detector_survives_its_folder(built: BuiltDetector, tmp_path: Path) -> None:
    built.detector.save(tmp_path)
    again = FeatureDetector.load(tmp_path)
    rows = [row.exchange for row in built.corpus.rows[:80]] + [Exchange("", "", "")]
    assert np.array_equal(again.score_rows(rows), built.detector.score_rows(rows))
    assert np.array_equal(again.offsets, built.detector.offsets)
    assert not list(tmp_path.rglob("*.pkl"))
    (tmp_path / "arrays.safetensors").write_bytes(b"damaged")
    with pytest.raises(DetectorFolderError, match="damaged"):
        FeatureDetector.load(tmp_path)
    (tmp_path / "detector.json").write_text('{"format": 99}')
    with pytest.raises(DetectorFolderError, match="format 99"):
        FeatureDetector.load(tmp_path)


def test_the_figures_cover_what_the_contract_names(built: BuiltDetector) -> None:
    metrics = measure_detector(built)
    assert set(metrics["f1_by_maxim"]) == set(MAXIMS)
    assert metrics["f1_by_maxim"]["quantity"] > 0.8
    for name in ("macro_f1", "flag_rate", "human_flag_rate", "turn_flag_rate"):
        low, high = metrics[f"{name}_ci95"]
        assert low <= metrics[name] <= high
    assert metrics["rows"] == 60


def test_an_embedded_detector_is_built_once(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PARLEY_CACHE_DIR", str(tmp_path))
    monkeypatch.setattr(embedded, "embedded_config", lambda: _config(""))
    detector = load_detector("embedded", "detector", print)
    assert isinstance(detector, FeatureDetector)
    assert not detector.folds, "small talk repeats itself, it tells no conversations apart"
    (folder,) = [path for path in tmp_path.iterdir() if path.is_dir()]
    before = (folder / "detector.json").stat().st_mtime_ns
    load_detector(str(folder), "detector", print)
    load_detector("embedded", "detector", print)
    assert (folder / "detector.json").stat().st_mtime_ns == before


def test_the_embedded_detector_learns_from_the_data_folder(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("PARLEY_DATA", str(tmp_path))
    with pytest.raises(InputError, match="holds neither"):
        embedded.embedded_config()
    (tmp_path / "gricebench").mkdir()
    (tmp_path / "gricebench" / "repair_pairs.json").write_text("[]")
    data = embedded.embedded_config().data
    assert data.labelled == (str(tmp_path / "gricebench" / "repair_pairs.json"),)
    assert data.conversations == ""


def test_misfits_are_found_where_words_were_replaced() -> None:
    turns = [turn for talk in generate_dialogues(700, 1) for turn in talk]
    misfits = ReplacedWords.fit(turns, 0)
    fits = np.mean([misfits.measure(turn)["misfit"] for turn in turns[:200]])
    odd = misfits.measure("I went to the they with my those of it.")["misfit_pronoun"]
    assert odd > fits


def test_missing_ends_are_found_where_marks_were_taken_away() -> None:
    turns = [turn for talk in generate_dialogues(700, 1) for turn in talk]
    breaks = MissingEnds.fit(turns, 0)
    joined = breaks.measure("That sounds good Which season do you like")["break"]
    whole = breaks.measure("That sounds good. Which season do you like?")["break"]
    assert joined > 0 > whole
    assert np.isnan(breaks.measure("Yes.")["break"])


def test_the_order_of_sentences_is_learned_and_antisymmetric() -> None:
    talks = [["Hello there.", f"Yes, sure. I saw {n} boats. What about you?"] for n in range(60)]
    order = SentenceOrder.fit(talks, 0)
    right = order.measure(["Yes, sure.", "I saw 99 boats.", "What about you?"], ["boats"])
    wrong = order.measure(["What about you?", "I saw 99 boats.", "Yes, sure."], ["boats"])
    assert right["order_all_pairs"] > 0 > wrong["order_all_pairs"]
    assert right["order_gain"] == pytest.approx(0.0, abs=1e-5)
    two = ["Yes, sure.", "What about you?"]
    forth, back = order.measure(two, []), order.measure(two[::-1], [])
    assert forth["order_worst"] == pytest.approx(-back["order_worst"], rel=1e-3)
    assert np.isnan(order.measure(["One."], [])["order_sum"])


@pytest.mark.parametrize(
    ("response", "feature", "more_than"),
    [
        ("I sat on the it of these.", "pronoun_after_article", 0),
        ("A boat, a boat. As I said, a boat, a boat.", "longest_repeat", 2),
        ("It began in 3021 or so.", "odd_years", 0),
        ("right Did you know That it is", "inner_capitals", 1),
        ("Yes!, said the man.", "doubled_marks", 0),
        ("Scientists have shown it by statistics.", "authority", 2),
        ("Fine. they left.", "late_lower", 0.5),
    ],
)
def test_surface_features_see_what_they_are_named_for(
    response: str, feature: str, more_than: float
) -> None:
    clean = measure_counts(parse_passage(Exchange("", "", "I like boats. You, too?")))
    assert measure_counts(parse_passage(Exchange("", "", response)))[feature] > more_than
    assert clean[feature] <= more_than
