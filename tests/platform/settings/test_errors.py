"""Every wrong setting is refused with its place, what is wrong and what to write instead."""

from __future__ import annotations

from pathlib import Path

import pytest

from parley.platform.settings.errors import ConfigError
from parley.platform.settings.keys import find_key
from parley.platform.settings.loading import load_experiment

FILE = """\
workflow = "cartpole"
algorithm = "ppo"

[env]
window = 1
num_bins = 10

[model]
max_len = 64
embed_size = 64

[rollouts]
num_env_runners = 2
num_envs_per_env_runner = 16
rollout_fragment_length = 64

[ppo]
gamma = 0.99
clip = 0.2

[stop]
max_env_steps = 1_000

[quick]
stop.max_env_steps = 100
"""


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """A correct experiment file."""
    path = tmp_path / "mine.toml"
    path.write_text(FILE)
    return path


OVERRIDES = {
    "num_env_runners=0": ["override num_env_runners=0", "rollouts.num_env_runners", "at least 1"],
    "ppo.learning_rat=3": ["unknown key ppo.learning_rat", "did you mean ppo.learning_rate?"],
    "weigth_decay=1": ["unknown key weigth_decay", "did you mean ppo.weight_decay?"],
    "seed=x": ["seed = 'x'", "whole number"],
    "seed=1.0": ["seed = 1.0", "whole number"],
    "clip=nan": ["ppo.clip", "number"],
    "clip=true": ["ppo.clip", "must be a number"],
    "shared_policy=yes": ["env.shared_policy", "true or false"],
    "policy=gpt": ["'dhmm_gpt2', 'gpt2' or 'mlp'", "did you mean gpt2?"],
    "ppo=3": ["ppo is a section", "ppo.clip"],
    "max_len": ["key=value"],
    "=3": ["key=value"],
    "clip=1.5": ["ppo.clip = 1.5", "less than 1"],
    "num_bins=1": ["env.num_bins = 1", "at least 2"],
    "window=20": ["env.window 20", "101 tokens", "model.max_len is 64", "at most 12"],
    "minibatch_size=4096": ["ppo.minibatch_size 4096", "2048 steps", "lower"],
    "heads=5": ["model.heads 5", "embed_size 64", "divisors"],
    "experiment=../x": ["experiment = '../x'", "letters"],
    "workflow=dialogue": ["workflow = 'dialogue'", "'cartpole'"],
    "init_from.x=3": ["unknown key"],
    "lr=1": ["unknown key lr (did you mean ppo.learning_rate?)"],
    "ppo.lr=1": ["unknown key ppo.lr (did you mean ppo.learning_rate?)"],
    "bs=1": ["did you mean ppo.minibatch_size?"],
    "epochs=1": ["did you mean ppo.num_epochs?"],
    "xyzq=1": ["unknown key xyzq; at the top there are workflow,", "ppo, stop"],
}


@pytest.mark.parametrize(("override", "parts"), OVERRIDES.items())
def test_override_is_refused(override: str, parts: list[str], path: Path) -> None:
    with pytest.raises(ConfigError) as caught:
        load_experiment(path, [override])
    for part in parts:
        assert part in str(caught.value)


CONFLICTS = {
    # The key that the message begins with, or the other one: both are to blame where both count.
    ("rollouts.rollout_fragment_length=4",): "override rollouts.rollout_fragment_length=4: ppo.",
    ("max_len=4", "seed=3"): "override max_len=4: env.window 1 needs 6 tokens",
    ("seed=3", "window=12", "max_len=60"): "override window=12 and override max_len=60: env.window",
    ("heads=5", "heads=3"): "override heads=3: model.heads 3 does not divide",
}


@pytest.mark.parametrize(("overrides", "message"), CONFLICTS.items())
def test_a_conflict_blames_the_override_that_made_it(
    overrides: tuple[str, ...], message: str, path: Path
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_experiment(path, overrides)
    assert str(caught.value).startswith(message)


def test_a_conflict_of_the_file_alone_keeps_its_line(path: Path) -> None:
    path.write_text(FILE.replace("max_len = 64", "max_len = 4"))
    with pytest.raises(ConfigError, match=r"mine\.toml:5: env\.window 1 needs 6 tokens"):
        load_experiment(path, ["seed=3"])


def test_an_item_of_a_list_blames_the_override_of_the_list() -> None:
    with pytest.raises(ConfigError, match=r"^override tracking\.callbacks=\[1\]: tracking\.call"):
        load_experiment("cartpole/ppo", ["tracking.callbacks=[1]"])


def test_an_ambiguous_leaf_lists_its_candidates() -> None:
    types = {"ppo.learning_rate": float, "training.learning_rate": float}
    with pytest.raises(ConfigError, match=r"ambiguous.*ppo\.learning_rate, training\.learning"):
        find_key("learning_rate", types, "learning_rate=1")


EDITS = {
    ("clip = 0.2", "clip = 2"): "ppo.clip = 2: must be less than 1",
    ("gamma = ", "gama = "): "unknown key ppo.gama (did you mean ppo.gamma?)",
    ("[rollouts]", "[rollout]"): "unknown key rollout (did you mean rollouts?)",
    ("[quick]", "[quik]"): "unknown key quik (did you mean quick?)",
    ("stop.max_env_steps =", "stop.max_env_step ="): "did you mean stop.max_env_steps?",
    ("[stop]", "[stop"): "not valid TOML",
    ('algorithm = "ppo"', 'algorithm = "dqn"'): "no workflow 'cartpole' with algorithm 'dqn'",
    ("num_bins = 10", "num_bins = 1"): "env.num_bins = 1: must be at least 2",
    ("window = 1", "window = 30"): "env.window 30 needs 151 tokens",
}


@pytest.mark.parametrize(("edit", "message"), EDITS.items())
def test_a_wrong_file_is_refused_with_its_line(
    edit: tuple[str, str], message: str, path: Path
) -> None:
    wrong = FILE.replace(*edit, 1)
    line = next(n for n, row in enumerate(wrong.splitlines(), 1) if edit[1] in row)
    path.write_text(wrong)
    with pytest.raises(ConfigError) as caught:
        load_experiment(path)
    assert message in str(caught.value)
    assert f"{path}:{line}:" in str(caught.value) or f"line {line}" in str(caught.value)


@pytest.mark.parametrize("key", ["workflow", "algorithm"])
def test_a_file_needs_a_workflow_and_an_algorithm(key: str, path: Path) -> None:
    path.write_text("\n".join(row for row in FILE.splitlines() if not row.startswith(key)))
    with pytest.raises(ConfigError, match=f'{key} is missing.*workflow = "cartpole"'):
        load_experiment(path)


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("cartpole/pp", "did you mean cartpole/ppo?"),
        ("ppo", "did you mean cartpole/ppo?"),
        ("../tune_configs/cartpole/ppo", "unknown experiment"),
        ("absent.toml", "no file absent.toml"),
        ("", "unknown experiment"),
    ],
)
def test_an_unknown_experiment_names_the_known_ones(name: str, message: str) -> None:
    with pytest.raises(ConfigError) as caught:
        load_experiment(name)
    assert message in str(caught.value)
    assert "cartpole/imitate" in str(caught.value)


def test_a_quick_value_out_of_range_is_refused_at_its_line(path: Path) -> None:
    path.write_text('workflow = "cartpole"\nalgorithm = "ppo"\n[quick]\nppo.clip = 7\n')
    assert load_experiment(path).experiment == "mine"
    with pytest.raises(ConfigError, match=r"mine\.toml:4: ppo\.clip = 7"):
        load_experiment(path, quick=True)


def test_all_errors_of_a_file_come_at_once(path: Path) -> None:
    path.write_text('workflow = "cartpole"\nalgorithm = "ppo"\nsed = 1\n[env]\nnum_carts = 0\n')
    with pytest.raises(ConfigError) as caught:
        load_experiment(path)
    assert "mine.toml:3: unknown key sed" in str(caught.value)
    assert "mine.toml:5: env.num_carts = 0" in str(caught.value)


def test_binary_and_unreadable_files_are_refused(tmp_path: Path) -> None:
    binary = tmp_path / "binary.toml"
    binary.write_bytes(b"\xff\xfe\x00")
    with pytest.raises(ConfigError, match="cannot be read"):
        load_experiment(binary)
