"""Settings that nothing reads, given others, are refused where a person sets them."""

from __future__ import annotations

from pathlib import Path

import pytest

from parley.platform.cli import main
from parley.platform.runs.run_folder import RunFolder
from parley.platform.settings.errors import ConfigError
from parley.platform.settings.experiments import settings_classes
from parley.platform.settings.keys import field_types
from parley.platform.settings.loading import load_experiment, to_toml
from parley.platform.settings.packaged import list_experiments
from parley.platform.settings.sections import ExperimentConfig


@pytest.mark.parametrize(
    ("experiment", "overrides", "message"),
    [
        (
            "cartpole/ppo",
            ["policy=mlp", "model.embed_size=128"],
            'override model.embed_size=128: nothing reads model.embed_size where policy is "mlp"; '
            'leave it out, or set policy to "dhmm_gpt2" or "gpt2"',
        ),
        ("cartpole/ppo", ["policy=gpt2", "num_states=4"], 'where policy is "gpt2"'),
        ("cartpole/ppo", ["policy=gpt2", "ppo.filter_lr_scale=2"], 'set policy to "dhmm_gpt2"'),
        ("cartpole/ppo", ["counter_heads=0", "mutation_noise=0.1"], "model.counter_heads is 0"),
        ("cartpole/ppo", ["counter_heads=0", "filter_heads=0", "num_states=3"], "num_states"),
        ("cartpole/ppo", ["dashboard_port=9000"], "set ray.dashboard to true"),
        ("cartpole/ppo", ["ray.address=auto", "ray.num_cpus=3"], "leave out ray.address"),
        ("cartpole/ppo", ["tracking.wandb.project=x"], 'set tracking.callbacks to ["wandb"]'),
        ("cartpole/ppo", ["tracking.callbacks=['aim']", "mlflow.tracking_uri=x"], '["mlflow"]'),
        ("cartpole/imitate", ["data.path=x", "expert_epsilon=0.1"], "leave out data.path"),
        ("cartpole/imitate", ["interval_env_steps=9"], "never reads evaluation.interval_env_steps"),
        ("dialogue/distort", ["reinforce.learning_rate=1e-3"], 'set algorithm to "reinforce"'),
        ("dialogue/distort", ["algorithm=reinforce", "ppo.clip=0.1"], 'set algorithm to "ppo"'),
        ("dialogue/distort", ["pool.size=3"], "set pool.share above 0"),
        ("dialogue/dpo", ["lora.alpha=32"], "nothing reads lora.alpha where lora.rank is 0"),
        ("dialogue/dpo", ["data=x", "num_generated=50"], "where data.path is"),
        ("dialogue/dpo", ["sweep.asha.reduction_factor=2"], 'set sweep.scheduler to "asha"'),
        ("dialogue/dpo", ["scheduler=asha", "sweep.pbt.quantile=0.1"], 'sweep.scheduler to "pbt"'),
        ("dialogue/dpo", ["checkpoint.interval_iterations=5"], "set evaluation.interval_steps"),
        ("dialogue/pretrain", ["data=x", "num_dialogues=50"], "leave out data.path"),
        ("dialogue/detector", ["data=x", "num_dialogues=50"], "leave out data.conversations"),
        ("dialogue/detector", ["stop_grace_s=3"], "never reads checkpoint.stop_grace_s"),
        ("trace/sorting", ["ppo.clip=0.1"], 'where algorithm is "next_token"'),
        ("trace/sorting", ["algorithm=ppo", "training.eval_interval=5"], '"next_token"'),
        ("trace/sorting", ["model.max_len=99"], 'set model.positions to "learned"'),
        ("trace/sorting", ["policy=gpt2", "snap_transitions=true"], 'policy is "gpt2"'),
        ("trace/sorting", ["mutation_loss=0.2"], "set training.mutation_noise above 0"),
    ],
)
def test_an_override_without_effect_is_refused(
    experiment: str, overrides: list[str], message: str
) -> None:
    with pytest.raises(ConfigError) as caught:
        load_experiment(experiment, overrides)
    assert message in str(caught.value)
    assert "override " in str(caught.value)


@pytest.mark.parametrize(
    ("experiment", "overrides"),
    [
        ("cartpole/ppo", ["policy=mlp", "ppo.clip=0.1"]),
        ("cartpole/ppo", ["policy=gpt2", "embed_size=32"]),
        ("cartpole/ppo", ["tracking.callbacks=['wandb']", "wandb.project=x"]),
        ("dialogue/distort", ["algorithm=reinforce", "reinforce.learning_rate=1e-3"]),
        ("dialogue/dpo", ["lora.rank=4", "lora.alpha=32"]),
        ("trace/sorting", ["algorithm=ppo", "init_from=x", "ppo.clip=0.1", "stream.holdout=0.2"]),
        ("trace/sorting", ["model.positions=learned", "max_len=2000"]),
        ("dialogue/distort", ["anchor.kl=0", "kl_budget=1.0", "random_baseline=false"]),
        ("dialogue/dpo", ["supervised.num_epochs=0", "supervised.warmup_steps=1"]),
    ],
)
def test_what_is_read_is_accepted(experiment: str, overrides: list[str]) -> None:
    load_experiment(experiment, overrides)


def test_the_packages_own_files_stay_loadable() -> None:
    for experiment in list_experiments():
        for quick in (False, True):
            load_experiment(experiment, quick=quick)


def test_resolved_settings_of_any_run_load_again(tmp_path: Path) -> None:
    path = tmp_path / "settings.toml"
    for experiment, overrides in (
        ("cartpole/ppo", ["policy=mlp"]),
        ("cartpole/imitate", ["policy=gpt2"]),
        ("dialogue/distort", ["algorithm=reinforce"]),
        ("trace/sorting", ["algorithm=ppo"]),
        ("dialogue/dpo", ["supervised.num_epochs=0"]),
    ):
        for quick in (False, True):
            config = load_experiment(experiment, overrides, quick=quick)
            path.write_text(to_toml(config))
            assert load_experiment(path) == config


def test_a_file_of_ones_own_is_told_its_line(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    head = 'workflow = "cartpole"\nalgorithm = "ppo"\npolicy = "mlp"\n[model]\n'
    path.write_text(f"{head}layers = 1\nembed_size = 128\n")
    with pytest.raises(ConfigError, match=r"mine\.toml:6: nothing reads model\.embed_size"):
        load_experiment(path)
    load_experiment(path, ["policy=gpt2"])
    path.write_text(f"{head}initializer_range = 0.1\nembed_size = 64\n")
    load_experiment(path)  # as the package's own file and the defaults have it


def test_a_range_of_what_nothing_reads_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "mine.toml"
    head = 'workflow = "dialogue"\nalgorithm = "dpo"\n[sweep.space]\n'
    path.write_text(f"{head}lora.alpha.grid = [8.0, 16.0]\n")
    with pytest.raises(ConfigError, match=r"nothing reads lora\.alpha where lora\.rank is 0"):
        load_experiment(path)
    path.write_text(f"{head}lora.alpha.grid = [8.0, 16.0]\nlora.rank.grid = [0, 4]\n")
    load_experiment(path, ["lora.dropout=0.1"])


def test_sweep_settings_are_read_by_tune_alone(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["train", "dialogue/dpo", "sweep.num_samples=3"]) == 2
    assert "sweep.num_samples: read by parley tune, not by parley train" in capsys.readouterr().err


def test_an_older_run_with_such_a_setting_still_opens(tmp_path: Path) -> None:
    config = load_experiment("cartpole/ppo", ["policy=mlp", "model.embed_size=128"], False, True)
    RunFolder.create(config, tmp_path / "run").close()
    assert RunFolder.open(tmp_path / "run").config == config


@pytest.mark.parametrize("kind", dict.fromkeys(settings_classes().values()))
def test_rules_name_settings_that_exist(kind: type[ExperimentConfig]) -> None:
    known = field_types(kind)
    for rule in kind.READ_IF:
        assert any(rule.concerns(key) for key in known)
        assert all(when.key in known for when in rule.when)
