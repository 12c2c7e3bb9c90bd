"""The one table of experiments: all that a workflow and an algorithm are, as names.

A row names its functions as `module:name`, so that nothing heavy is imported before it is asked
for. A new algorithm is its own file, its settings class and a row here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import partial
from importlib import import_module
from typing import TYPE_CHECKING, cast

from parley.platform.errors import InputError
from parley.platform.terminal.interpreter import importing
from parley.policies.token.table import LANGUAGE_MODELS, POLICIES

if TYPE_CHECKING:
    from parley.platform.settings.sections import ExperimentConfig

Kind = tuple[str, str]
"""Workflow and algorithm, as a TOML file names them."""

ROLLING = {
    name: name for name in ("iteration", "env_steps", "kl", "entropy", "policy_loss", "value_loss")
}
"""Measures of all that learns by a policy gradient -> their keys in a row of metrics."""
SELF_PLAY = {
    **ROLLING,
    "reward": "reward",
    "competitor_nll": "competitor_nll",
    "tokens_per_second": "tokens_per_s",
    "env_steps_per_second": "env_steps_per_s",
}
ENVIRONMENT_STEPS = ("env_steps", "environment steps")
MODEL, LANGUAGE = ("MODEL",), ("LANGUAGE",)
"""What stands for a row of the table of models, and of that of token languages."""
GRADIENT_STEPS, ITERATIONS = "gradient steps", "iterations"


@dataclass(frozen=True)
class Experiment:
    """What one algorithm of one workflow is: `module:name` of everything that serves it."""

    summary: str
    """The algorithm in a line, for `parley list`."""
    settings: str
    """Class of its settings."""
    run: str
    """(settings, run folder, resume) -> the content of `result.json`."""
    evaluate: str
    """(run or checkpoint, episodes, seed; data, overrides where it takes them) -> figures."""
    watch: str
    """(run or checkpoint, file or None, seed; `watch_options`) -> the file written."""
    curves: str
    """Learning curves of its report; see `report.curves`."""
    measures: Mapping[str, str]
    """Measure of `monitoring.measures` -> its key in a row of metrics."""
    report: str = "parley.platform.report.sections:plain_sections"
    """(run folder, rows, result) -> what its report shows besides; see `report.sections`."""
    choices: Mapping[str, tuple[str, ...]] = field(default_factory=dict)
    """Setting -> what it may be, for `parley list`; the algorithm stands in this table itself."""
    chat: str | None = None
    """None where the agents do not speak to people."""
    gradient: str | None = None
    """Class of its policy gradient, see `engine.rllib.gradients`; None: it follows none."""
    sweep: str | None = None
    """`SweepParts` of `parley tune`; None where no settings are searched."""
    watched: str = "episode"
    """What `watch` writes into a file, in a word."""
    watch_options: frozenset[str] = frozenset()
    """Flags of `parley watch`, by the names of the function's arguments, that it understands."""
    evaluates_data: bool = False
    """Whether `evaluate` may be given a file to measure on."""
    names_inputs: bool = False
    """Whether figures come from models and data outside of the run, whose places may be given."""
    starts_ray: bool = True
    """Whether it starts or joins a cluster; the others join one only to show themselves."""
    counts: str = ITERATIONS
    """What `iteration` counts."""
    x_axis: tuple[str, str] | None = None
    """Key and name of what its curves are drawn over, where not iterations."""


_control = partial(
    Experiment,
    evaluate="parley.platform.control.evaluation:evaluate_path",
    watch="parley.platform.control.watch:watch_path",
)
_dialogue = partial(
    Experiment,
    watch="parley.platform.distort.viewing.watch:watch_path",
    watched="transcripts",
    watch_options=frozenset({"iteration", "show_all", "follow"}),
    chat="parley.platform.language.chat:chat_path",
    names_inputs=True,
)
_self_play = partial(
    _dialogue,
    settings="parley.platform.distort.settings:DialogueDistortConfig",
    run="parley.platform.distort.run:run_distort",
    evaluate="parley.platform.distort.evaluation:evaluate_distorter",
    report="parley.platform.distort.viewing.report:report_sections",
    curves="parley.platform.distort.viewing.curves:CURVES",
    measures=SELF_PLAY,
    choices={"distorter": MODEL, "competitor": MODEL},
)
_trace = partial(
    Experiment,
    settings="parley.platform.trace.settings:TraceConfig",
    evaluate="parley.platform.trace.evaluation.measure:evaluate_path",
    watch="parley.platform.trace.viewing.watch:watch_path",
    report="parley.platform.trace.viewing.report:report_sections",
    curves="parley.platform.trace.viewing.curves:CURVES",
    choices={"policy": LANGUAGE_MODELS, "language": LANGUAGE},
    watched="trace",
    watch_options=frozenset({"size"}),
)

PPO = "proximal policy optimisation through RLlib"
PPO_GRADIENT = "parley.platform.engine.rllib.gradients.ppo:PPO"

EXPERIMENTS: dict[Kind, Experiment] = {
    ("cartpole", "ppo"): _control(
        summary=PPO,
        settings="parley.platform.control.settings:CartPolePPOConfig",
        run="parley.platform.control.ppo_run:run_ppo",
        gradient=PPO_GRADIENT,
        sweep="parley.platform.control.sweep:PPO_PARTS",
        curves="parley.platform.control.curves:PPO_CURVES",
        choices={"policy": tuple(POLICIES)},
        measures={
            **ROLLING,
            "reward": "mean_return",
            "evaluation_return": "eval_return",
            "env_steps_per_second": "steps_per_s",
        },
        x_axis=ENVIRONMENT_STEPS,
    ),
    ("cartpole", "imitate"): _control(
        summary="supervised learning of recorded episodes as token sequences",
        settings="parley.platform.control.settings:CartPoleImitateConfig",
        run="parley.platform.control.imitation_run:run_imitation",
        curves="parley.platform.control.curves:IMITATION_CURVES",
        choices={"policy": LANGUAGE_MODELS},
        measures={
            "iteration": "iteration",
            "evaluation_return": "eval_return",
            "tokens_per_second": "tokens_per_s",
            "loss": "train_loss",
            "heldout_loss": "heldout_loss",
        },
        counts=GRADIENT_STEPS,
    ),
    ("dialogue", "pretrain"): _dialogue(
        summary="next-token training on dialogues",
        settings="parley.platform.language.settings:PretrainConfig",
        run="parley.platform.language.pretrain_run:run_pretrain",
        evaluate="parley.platform.language.evaluation:evaluate_pretrained",
        evaluates_data=True,
        report="parley.platform.distort.viewing.report:report_sections",
        curves="parley.platform.language.curves:CURVES",
        measures={
            "iteration": "iteration",
            "tokens_per_second": "tokens_per_s",
            "loss": "train_nats_per_token",
            "heldout_loss": "selection_nats_per_token",
        },
        starts_ray=False,
        counts=GRADIENT_STEPS,
    ),
    ("dialogue", "ppo"): _self_play(summary=PPO, gradient=PPO_GRADIENT),
    ("dialogue", "reinforce"): _self_play(
        summary="policy gradient with a leave-one-out baseline and Adafactor, through RLlib",
        gradient="parley.platform.engine.rllib.gradients.reinforce:Reinforce",
    ),
    ("dialogue", "dpo"): _dialogue(
        summary="direct preference optimisation through TRL, alone or swept by Tune",
        settings="parley.platform.cooperate.settings:DialogueDPOConfig",
        run="parley.platform.cooperate.dpo.run:run_dpo",
        sweep="parley.platform.cooperate.dpo.sweep:DPO_PARTS",
        evaluate="parley.platform.cooperate.evaluation.evaluate:evaluate_dpo",
        watch="parley.platform.cooperate.evaluation.watch:watch_path",
        chat="parley.platform.cooperate.evaluation.chat:chat_path",
        evaluates_data=True,
        report="parley.platform.cooperate.evaluation.report:report_sections",
        curves="parley.platform.cooperate.evaluation.curves:CURVES",
        choices={"model": MODEL},
        measures={
            "iteration": "iteration",
            "kl": "kl",
            "pairs_per_second": "pairs_per_s",
            "loss": "loss",
            "heldout_loss": "eval_loss",
            "preference_accuracy": "preference_accuracy",
            "cooperative_rate": "cooperative_rate",
        },
        starts_ray=False,
        counts=GRADIENT_STEPS,
    ),
    ("dialogue", "detector"): _dialogue(
        summary="cross-fitted trees that find violated maxims in responses",
        settings="parley.platform.maxims.detector_settings:DialogueDetectorConfig",
        run="parley.platform.maxims.detector_run:run_detector",
        evaluate="parley.platform.maxims.detection:evaluate_detector",
        evaluates_data=True,
        names_inputs=False,
        curves="parley.platform.report.curve_table:SHARED_CURVES",
        measures={"iteration": "iteration", "macro_f1": "macro_f1"},
        starts_ray=False,
    ),
    ("trace", "next_token"): _trace(
        summary="next-token training on an endless stream of true traces",
        run="parley.platform.trace.next_token_run:run_trace",
        measures={
            "iteration": "iteration",
            "tokens_per_second": "tokens_per_s",
            "loss": "train_loss",
            "exact_match": "exact_match",
        },
        counts=GRADIENT_STEPS,
    ),
    ("trace", "ppo"): _trace(
        summary=PPO,
        run="parley.platform.trace.ppo_run:run_trace_ppo",
        sweep="parley.platform.trace.sweep:PPO_PARTS",
        gradient=PPO_GRADIENT,
        measures={
            **ROLLING,
            "reward": "reward",
            "tokens_per_second": "tokens_per_s",
            "env_steps_per_second": "tokens_per_s",
            "exact_match": "exact_match",
        },
    ),
}
"""(workflow, algorithm) -> what it is."""


def find_experiment(workflow: str, algorithm: str) -> Experiment:
    """The row of a workflow's algorithm.

    Raises:
        InputError: there is no such row.
    """
    if (workflow, algorithm) not in EXPERIMENTS:
        known = sorted({own for own, _ in EXPERIMENTS})
        if workflow not in known:
            raise InputError(f"unknown workflow {workflow!r}; known are {', '.join(known)}")
        algorithms = ", ".join(algorithms_of(workflow))
        raise InputError(f"unknown algorithm {algorithm!r} of {workflow}; known are {algorithms}")
    return EXPERIMENTS[workflow, algorithm]


def algorithms_of(workflow: str, settings: str | None = None) -> tuple[str, ...]:
    """The algorithms of a workflow, of those with one class of settings where it is named."""
    return tuple(
        algorithm
        for (own, algorithm), row in EXPERIMENTS.items()
        if own == workflow and settings in (None, row.settings)
    )


def choices_of(workflow: str, algorithm: str) -> dict[str, tuple[str, ...]]:
    """Setting -> what it may be with nothing else changed.

    Raises:
        InputError: see `find_experiment`.
    """
    row = find_experiment(workflow, algorithm)
    algorithms = algorithms_of(workflow, row.settings)
    own = {} if len(algorithms) == 1 else {"algorithm": algorithms}
    policy = {key: values for key, values in row.choices.items() if key == "policy"}
    return {**policy, **own, **row.choices}


def settings_class(workflow: str, algorithm: str) -> type[ExperimentConfig]:
    """The class of an algorithm's settings.

    Raises:
        InputError: see `find_experiment`.
    """
    row = find_experiment(workflow, algorithm)
    return cast("type[ExperimentConfig]", load_named(row.settings))


def settings_classes() -> dict[Kind, type[ExperimentConfig]]:
    """The classes of the settings of all rows."""
    return {kind: settings_class(*kind) for kind in EXPERIMENTS}


def load_function(name: str) -> Callable[..., object]:
    """Import the function that `module:function` names."""
    return cast("Callable[..., object]", load_named(name))


def load_named(name: str) -> object:
    """Import what `module:name` names."""
    module, _, attribute = name.partition(":")
    with importing():
        return getattr(import_module(module), attribute)
