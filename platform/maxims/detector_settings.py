"""The settings of `dialogue/detector`: a judge that learns which responses violate a maxim."""

from __future__ import annotations

from typing import Annotated, ClassVar, Literal, Self

from pydantic import BeforeValidator, Field, model_validator

from parley.platform.settings.inputs import Input
from parley.platform.settings.sections import (
    Count,
    ExperimentConfig,
    ExperimentName,
    NonNegative,
    Positive,
    Rate,
    ReadIf,
    Section,
    When,
    conflict,
)

MAX_FOLDS = 5
"""The shortest table of phrases of the injectors has as many, and every fold has its own part."""


def _split_names(value: object) -> object:
    """`a.json,b.json` on the command line is a list of two."""
    return [name for name in value.split(",") if name] if isinstance(value, str) else value


FileNames = Annotated[tuple[str, ...], BeforeValidator(_split_names), Field(strict=False)]


class DetectorDataConfig(Section):
    """What the detector learns from: labelled rows, repairs, and violations put into dialogues."""

    SHORT_KEY: ClassVar[str] = "conversations"
    """`data=FOLDER` means `data.conversations=FOLDER`."""

    labelled: Annotated[FileNames, Input("data")] = ()
    """Files of labelled responses and of repairs, JSON or JSONL; empty: injections only."""
    conversations: Annotated[str, Input("data")] = ""
    """File or folder of conversations between people (JSON, JSON lines or plain text), taken as
    free of violations; empty: small talk that parley generates."""
    num_dialogues: Annotated[int, Field(ge=20)] = 1_500
    """Generated dialogues, where `conversations` is empty."""
    clean_turns: Annotated[int, Field(ge=20)] = 5_000
    """Turns of the conversations that are learned from as they are."""
    injections: Annotated[int, Field(ge=10)] = 500
    """Violated turns of each injector."""


class DetectorModelConfig(Section):
    """Gradient-boosted trees on features, cross-fitted over conversations and phrases."""

    folds: Annotated[int, Field(ge=3, le=MAX_FOLDS)] = 5
    """Models; each has not seen one part of the conversations, and judges that part."""
    num_trees: Positive = 80
    """Trees for each kind of violation and fold."""
    phrases: bool = True
    """Whether runs of words are learned besides the features: better on known kinds of
    violation."""
    injection_weight: NonNegative = 0.7
    """Weight of an injected row; a labelled one has 1."""
    clean_weight: Rate = 1.0
    """Weight of a clean turn."""


class CalibrationConfig(Section):
    """How the thresholds are set, on rows that each model has not seen."""

    max_flag_rate: Annotated[float, Field(gt=0.0, lt=1.0)] = 0.09
    """Largest share of clean responses, repaired ones and turns of conversations each, that may be
    flagged."""


class DetectorEvaluationConfig(Section):
    """What is measured besides the labelled rows."""

    unseen_injections: Annotated[int, Field(ge=5)] = 120
    """Violated turns of each injector with phrases that nothing was learned from."""
    clean_turns: Annotated[int, Field(ge=10)] = 1_200
    """Turns of conversations that no model has seen, for the rate of false alarms."""


class DialogueDetectorConfig(ExperimentConfig):
    """A detector of violated maxims."""

    POLICY = "detector"

    READ_IF: ClassVar[tuple[ReadIf, ...]] = (
        *ExperimentConfig.READ_IF,
        ReadIf(("data.num_dialogues",), (When("data.conversations", ("",)),)),
        ReadIf(("checkpoint.interval_iterations", "checkpoint.stop_grace_s")),
    )

    workflow: Literal["dialogue"] = "dialogue"
    algorithm: Literal["detector"] = "detector"
    experiment: ExperimentName = "dialogue/detector"
    data: DetectorDataConfig = DetectorDataConfig()
    model: DetectorModelConfig = DetectorModelConfig()
    calibration: CalibrationConfig = CalibrationConfig()
    evaluation: DetectorEvaluationConfig = DetectorEvaluationConfig()
    num_threads: Count = 1
    """Threads that grow the trees; 0: as many as there are."""

    @model_validator(mode="after")
    def _check_dialogues(self) -> Self:
        if not self.data.conversations and self.data.num_dialogues < 10 * self.model.folds:
            raise conflict(
                "data.num_dialogues",
                f"data.num_dialogues {self.data.num_dialogues} leaves fewer than 10 dialogues to "
                f"each of model.folds {self.model.folds}; raise the first",
            )
        return self
