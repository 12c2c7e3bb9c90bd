"""The embedded model: built once, whole or not at all, and what a name resolves to."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest
from transformers import AutoModelForCausalLM, AutoTokenizer

from parley.platform.language.embedded import EmbeddedRecipe, embedded_model
from parley.platform.language.resolving import PREFERRED_MODEL, is_downloaded, resolve_model
from parley.platform.language.settings import LanguageModelConfig, LanguageTrainingConfig
from parley.platform.runs.cache_folder import CacheError, build_once, cache_root, find_damage

TINY = EmbeddedRecipe(
    num_dialogues=60,
    num_heldout=10,
    num_tokenizer_dialogues=60,
    model=LanguageModelConfig(vocab_size=300, context=32, embed_size=16, layers=1, heads=2),
    training=LanguageTrainingConfig(num_steps=4, batch_tokens=128, warmup_steps=1),
    num_threads=1,
)


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("PARLEY_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache"


def test_the_quick_model_is_a_transformers_folder(quick_model_folder: Path) -> None:
    model = AutoModelForCausalLM.from_pretrained(quick_model_folder)
    tokenizer = AutoTokenizer.from_pretrained(quick_model_folder)
    assert model.config.vocab_size == len(tokenizer)
    assert model.config.eos_token_id == tokenizer.eos_token_id
    measured = json.loads((quick_model_folder / "recipe.json").read_text())["measured"]
    model_nats, unigram = (measured[f"{name}_nats_per_token"] for name in ("heldout", "unigram"))
    assert 0 < model_nats < unigram - 1.0
    assert measured["trigram_nats_per_token"] < measured["bigram_nats_per_token"] < unigram


def test_a_second_call_finds_what_the_first_has_built(cache: Path) -> None:
    stages: list[tuple[str, float]] = []
    folder = embedded_model(TINY, lambda activity, share: stages.append((activity, share)))
    assert [share for _, share in stages] == sorted(share for _, share in stages)
    assert stages[0] == ("generating small talk", 0.0)
    assert stages[-1] == ("done", 1.0)
    assert folder.parent == cache == cache_root()
    before = {path: path.stat().st_mtime_ns for path in folder.iterdir()}
    assert embedded_model(TINY, lambda *_: pytest.fail("built again")) == folder
    assert {path: path.stat().st_mtime_ns for path in folder.iterdir()} == before


def test_one_recipe_gives_one_model(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    first = embedded_model(TINY)
    monkeypatch.setenv("PARLEY_CACHE_DIR", str(cache / "other"))
    second = embedded_model(TINY)
    for name in ("model.safetensors", "tokenizer.json"):
        assert (first / name).read_bytes() == (second / name).read_bytes()
    assert EmbeddedRecipe(seed=1).digest != EmbeddedRecipe().digest == EmbeddedRecipe().digest


@pytest.mark.parametrize("harm", ["truncated", "missing", "no manifest"])
def test_damage_is_said_and_repaired(
    harm: str, cache: Path, capfd: pytest.CaptureFixture[str]
) -> None:
    folder = embedded_model(TINY)
    weights = folder / "model.safetensors"
    whole = weights.read_bytes()
    if harm == "truncated":
        weights.write_bytes(whole[:100])
    elif harm == "missing":
        weights.unlink()
    else:
        (folder / "manifest.json").unlink()
    capfd.readouterr()
    assert embedded_model(TINY) == folder
    assert weights.read_bytes() == whole
    lines = [line for line in capfd.readouterr().err.splitlines() if "building it again" in line]
    assert len(lines) == 1
    assert folder.name in lines[0]


def test_a_build_that_fails_leaves_nothing(tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "thing"

    def fail(target: Path) -> None:
        (target / "half").write_text("written")
        raise RuntimeError("power cut")

    with pytest.raises(RuntimeError, match="power cut"):
        build_once(folder, fail, print)
    assert [path.name for path in folder.parent.iterdir() if not path.is_file()] == []
    assert build_once(folder, lambda target: None, print) == folder
    assert find_damage(folder) is None


BUILDER = """
import sys, time
from pathlib import Path
from parley.platform.runs.cache_folder import build_once

def build(target):
    time.sleep(0.5)
    (target / "file").write_text("whole")
    print("built", flush=True)

build_once(Path(sys.argv[1]) / "thing", build, lambda line: None)
"""


def test_two_builders_at_once_build_one(tmp_path: Path) -> None:
    call = [sys.executable, "-c", BUILDER, str(tmp_path)]
    builders = [subprocess.Popen(call, stdout=subprocess.PIPE, text=True) for _ in range(2)]
    printed = [builder.communicate(timeout=120)[0] for builder in builders]
    assert [builder.returncode for builder in builders] == [0, 0]
    assert sorted(printed) == ["", "built\n"]
    assert find_damage(tmp_path / "thing") is None


def test_a_cache_that_cannot_be_written_is_an_input_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("in the way")
    with pytest.raises(CacheError, match=r"cannot write the cache .* PARLEY_CACHE_DIR"):
        build_once(tmp_path / "file" / "thing", lambda target: None, print)


def test_the_cache_is_where_the_system_keeps_caches(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.delenv("PARLEY_CACHE_DIR", raising=False)
    monkeypatch.setenv("XDG_CACHE_HOME", "/somewhere")
    monkeypatch.setattr("sys.platform", "linux")
    assert cache_root() == Path("/somewhere/parley")
    monkeypatch.setattr("sys.platform", "darwin")
    assert cache_root() == Path.home() / "Library" / "Caches" / "parley"


def test_names_resolve_without_a_network(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    lines: list[str] = []
    assert resolve_model("some/model", lines.append) == "some/model"
    assert resolve_model("parley-tiny", lines.append, TINY) == str(embedded_model(TINY))
    assert lines == []
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache / "hub"))
    assert not is_downloaded(PREFERRED_MODEL)
    assert resolve_model("auto", lines.append, TINY) == str(embedded_model(TINY))
    assert lines == []  # it was said when the model was built, if ever
    monkeypatch.setenv("PARLEY_CACHE_DIR", str(cache / "new"))
    for _ in range(2):
        assert resolve_model("auto", lines.append, TINY) == str(embedded_model(TINY))
    assert len(lines) == 1
    assert "using parley-tiny" in lines[0]


def test_a_downloaded_model_is_preferred(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Laid out as the Hugging Face cache is: refs name a commit, snapshots hold its files."""
    monkeypatch.setattr("huggingface_hub.constants.HF_HUB_CACHE", str(cache))
    repository = cache / "models--microsoft--DialoGPT-small"
    (repository / "refs").mkdir(parents=True)
    (repository / "refs" / "main").write_text("abc")
    snapshot = repository / "snapshots" / "abc"
    snapshot.mkdir(parents=True)
    (snapshot / "config.json").write_text("{}")
    assert not is_downloaded(PREFERRED_MODEL)
    (snapshot / "model.safetensors").write_text("weights")
    assert resolve_model("auto", pytest.fail, TINY) == PREFERRED_MODEL
