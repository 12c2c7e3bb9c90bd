"""Run folders that an earlier version wrote, one of each kind of `tests/invariant/cases.py`.

They are whole but for pictures and TensorBoard's files. Those that end in `-stopped` were stopped
by Ctrl-C, and `sweep-stopped` keeps the newest checkpoint of each trial alone. Their settings name
places that are gone.
"""

from __future__ import annotations

import tarfile
from dataclasses import dataclass
from pathlib import Path

RUNS = Path(__file__).with_name("runs")


@dataclass(frozen=True)
class KeptRun:
    """One of them, and what can be done with it.

    Args:
        name: of its file.
        experiment: that it is a run of.
        inputs: key -> name of the kept run that it began with.
        more: settings that give a finished run more to do; one that was stopped needs none.
        figure: of its measure, equal on every processor but for rounding; "" where there is none.
        command: that made it.
    """

    name: str
    experiment: str
    inputs: tuple[tuple[str, str], ...] = ()
    more: tuple[str, ...] = ()
    figure: str = ""
    command: str = "train"

    @property
    def goes_on(self) -> bool:
        """Whether a resumed run has something to do."""
        return bool(self.more) or self.name.endswith("-stopped")


_CARTS = ("stop.max_env_steps=1536",)
_TALK = (("seats.distorter.model", "pretrain"), ("seats.competitor.model", "pretrain"))
_DIALOGUES = ("stop.max_iterations=4",)
_TUNED = (("model", "pretrain"),)
KEPT = (
    KeptRun("cartpole", "cartpole/ppo", more=_CARTS),
    KeptRun("two_carts", "cartpole/ppo", more=_CARTS),
    KeptRun("warm_start", "cartpole/ppo", (("init_from", "imitate"),), _CARTS),
    KeptRun("imitate", "cartpole/imitate"),
    KeptRun("imitate-stopped", "cartpole/imitate"),
    KeptRun("addition", "trace/addition", figure="nats_over_optimal"),
    KeptRun("addition-stopped", "trace/addition"),
    KeptRun("sorting", "trace/sorting", figure="nats_over_optimal"),
    KeptRun("markov", "trace/markov", figure="kl_per_state"),
    KeptRun("hidden_markov", "trace/hidden_markov", figure="belief_accuracy"),
    KeptRun("tracking", "trace/tracking", figure="nats_over_optimal"),
    KeptRun("cart_traces", "trace/cartpole", figure="nats_over_optimal"),
    KeptRun("trace_ppo", "trace/addition", (("init_from", "addition"),)),
    KeptRun("trace_ppo-stopped", "trace/addition", (("init_from", "addition"),)),
    KeptRun("pretrain", "dialogue/pretrain", figure="heldout_nats_per_token"),
    KeptRun("pretrain-stopped", "dialogue/pretrain"),
    KeptRun("distort", "dialogue/distort", _TALK, _DIALOGUES),
    KeptRun("reinforce", "dialogue/distort", _TALK, _DIALOGUES),
    KeptRun("past_selves", "dialogue/distort", _TALK, _DIALOGUES),
    KeptRun("dpo-stopped", "dialogue/dpo", _TUNED),
    KeptRun("lora", "dialogue/dpo", _TUNED, figure="preference_accuracy"),
    KeptRun("sweep-stopped", "dialogue/dpo", _TUNED, command="tune"),
    KeptRun("detector", "dialogue/detector"),
)


def unpack(name: str, folder: Path) -> Path:
    """The run folder of a kept run, in `folder`."""
    if not (folder / name).exists():
        with tarfile.open(RUNS / f"{name}.tar.xz") as archive:
            archive.extractall(folder, filter="data")
    return folder / name


def unpack_with_inputs(kept: KeptRun, folder: Path) -> tuple[Path, list[str]]:
    """Its run folder, and the `key=value` that say where what it began with lies now."""
    moved = [f"{key}={unpack(name, folder)}" for key, name in kept.inputs]
    return unpack(kept.name, folder), moved
