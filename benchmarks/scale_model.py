"""What a run takes on clusters that nobody here has: a model of one synchronous iteration.

    python -m benchmarks.scale_model [--measured FILE] [--link-gbit 10] [--runners-per-node 16]
                                     [--learner-speedup 500] [--json FILE]

The constants are those that `benchmarks.scale_nodes` has measured, one by one, on one machine. The
model first computes the iterations on 1, 2 and 4 logical machines that were measured too, and shows
how far it is off; then larger ones, of that workload and of self-play with a language model of
124 million parameters. What is assumed, not measured, is an option: the network's speed, how many
runners share a machine, and how much faster than one core a GPU learns.
"""

from __future__ import annotations

import argparse
import json
import math
from collections.abc import Mapping
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

MEASURED = Path(__file__).parent / "measured" / "scale_nodes.json"
MEGABYTE = 1e6
RUNNERS = (1, 4, 16, 64, 256, 1000)
LEARNERS = (1, 4, 16, 64)

STAGES = ("publish", "broadcast", "play", "collect", "other", "feed", "learn", "all_reduce")
"""The parts of an iteration, in order."""


@dataclass(frozen=True)
class Constants:
    """What was measured on one machine; seconds, by the megabyte where it says so."""

    publish_s: float
    """To take small weights from the learner and put them into the object store."""
    put_s_per_mb: float
    fetch_s_per_mb: float
    """From one machine's store to another's, over loopback."""
    unpickle_s_per_mb: float
    pickle_s_per_mb: float
    call_s_per_runner: float
    """Of the driver, to ask a runner and take a small answer."""
    other_fixed_s: float
    """Of RLlib's iteration outside of sampling and learning."""
    other_s_per_runner: float
    all_reduce_s_per_mb: float
    """Of a gradient over two learners, by gloo."""
    spread: float
    """Standard deviation of the runners' times, as a share of their mean."""


@dataclass(frozen=True)
class Workload:
    """What one iteration is."""

    weight_bytes: float
    rows_per_runner: float
    """Steps or tokens that each runner brings back."""
    bytes_per_row: float
    play_s: float
    """Of a runner."""
    learn_s_per_row: float
    """Of one learner on one core, all epochs."""
    learn_fixed_s: float
    rows_per_gradient_step: float
    num_epochs: float


@dataclass(frozen=True)
class Cluster:
    """What it runs on."""

    runners: int
    runners_per_node: int
    learners: int
    link_bytes_per_s: float
    learner_speedup: float = 1.0
    """Of a learner over one core."""

    @property
    def nodes(self) -> int:
        """Machines that hold runners."""
        return math.ceil(self.runners / self.runners_per_node)


@dataclass(frozen=True)
class Iteration:
    """What one iteration takes."""

    stages_s: Mapping[str, float]
    rows: float
    play_s: float
    """Of a runner that nobody waits for."""
    link_bytes: Mapping[str, float]
    """Link -> what passes it."""
    driver_store_bytes: float
    runner_store_bytes: float

    @property
    def seconds(self) -> float:
        """From weights to weights."""
        return sum(self.stages_s.values())

    @property
    def efficiency(self) -> float:
        """Share of the time in which a runner plays."""
        return self.play_s / self.seconds

    @property
    def bottleneck(self) -> str:
        """What takes most besides playing."""
        others = {name: s for name, s in self.stages_s.items() if name != "play"}
        return max(others, key=lambda name: others[name])

    @property
    def staleness(self) -> float:
        """Updates that weights are old when their samples are learned, if nobody waited: samples
        are on their way for as long as the iteration, updates follow each other as fast as the
        slower of the two sides allows."""
        sampling = ("publish", "broadcast", "play", "collect")
        under_way_s = sum(self.stages_s[name] for name in sampling)
        return self.seconds / max(self.seconds - under_way_s, self.stages_s["play"])


def simulate(constants: Constants, work: Workload, cluster: Cluster) -> Iteration:
    """One synchronous iteration: everyone waits for the slowest runner.

    Weights go from machine to machine, each of which passes them on: as many rounds as doublings
    reach all machines. Samples all come to the driver, which hands them to the learners; a gradient
    goes round a ring of learners in 2 (L - 1) / L times its size.
    """
    c, runners, learners = constants, cluster.runners, cluster.learners
    weight_mb = work.weight_bytes / MEGABYTE
    sample_bytes = work.rows_per_runner * work.bytes_per_row
    batch_mb = runners * sample_bytes / MEGABYTE
    link_s_per_mb = MEGABYTE / cluster.link_bytes_per_s
    rows = runners * work.rows_per_runner
    steps = max(1.0, work.num_epochs * math.ceil(rows / work.rows_per_gradient_step))
    ring = 2 * (learners - 1) / max(1, learners)
    stages = {
        "publish": c.publish_s + c.put_s_per_mb * weight_mb,
        "broadcast": rounds(cluster.nodes) * weight_mb * max(link_s_per_mb, c.fetch_s_per_mb),
        "play": work.play_s * (1 + c.spread * math.sqrt(2 * math.log(runners))),
        "collect": runners * c.call_s_per_runner
        + batch_mb * (link_s_per_mb * (cluster.nodes > 1) + c.unpickle_s_per_mb),
        "other": c.other_fixed_s + runners * c.other_s_per_runner,
        "feed": (learners > 1) * batch_mb * max(link_s_per_mb, c.pickle_s_per_mb),
        "learn": work.learn_fixed_s
        + rows * work.learn_s_per_row / (learners * cluster.learner_speedup),
        "all_reduce": steps * ring * weight_mb * max(link_s_per_mb, c.all_reduce_s_per_mb),
    }
    return Iteration(
        stages_s=stages,
        rows=rows,
        play_s=work.play_s,
        link_bytes={
            "weights, into each runner machine": work.weight_bytes,
            "samples, out of each runner machine": cluster.runners_per_node * sample_bytes,
            "samples, into the driver": runners * sample_bytes,
            "samples, out of the driver": (learners > 1) * runners * sample_bytes,
            "gradients, out of each learner": steps * ring * work.weight_bytes,
        },
        driver_store_bytes=2 * work.weight_bytes + (1 + (learners > 1)) * runners * sample_bytes,
        runner_store_bytes=2 * work.weight_bytes + cluster.runners_per_node * sample_bytes,
    )


def rounds(nodes: int) -> int:
    """Rounds until all machines have what one has, each passing it on to one other a round."""
    return math.ceil(math.log2(nodes)) if nodes > 1 else 0


def read_constants(measured: Mapping[str, Any]) -> Constants:
    """The constants of a measurement; those that grow with the runners by least squares."""
    found, points = measured["constants"], measured["points"]
    counts = [point["num_nodes"] for point in points]
    _, call = fit_line(counts, [point["calls_s"] for point in points])
    fixed, other = fit_line(counts, [point["other_s"] for point in points])
    last = points[-1]
    excess = last["slowest_runner_s"] / last["runner_s"] - 1
    return Constants(
        publish_s=found["publish_s"],
        put_s_per_mb=found["put_s_per_mb"],
        fetch_s_per_mb=found["fetch_s_per_mb_1"],
        unpickle_s_per_mb=found["unpickle_s_per_mb"],
        pickle_s_per_mb=found["pickle_s_per_mb"],
        call_s_per_runner=max(0.0, call),
        other_fixed_s=max(0.0, fixed),
        other_s_per_runner=max(0.0, other),
        all_reduce_s_per_mb=found["all_reduce_s_per_mb"],
        spread=excess / math.sqrt(2 * math.log(max(2, last["num_nodes"]))),
    )


def fit_line(xs: list[int], ys: list[float]) -> tuple[float, float]:
    """Value at 0 and slope of the straight line that is nearest in squares."""
    x, y = sum(xs) / len(xs), sum(ys) / len(ys)
    slope = sum((a - x) * (b - y) for a, b in zip(xs, ys, strict=True)) / sum(
        (a - x) ** 2 for a in xs
    )
    return y - slope * x, slope


def measured_workload(measured: Mapping[str, Any]) -> Workload:
    """CartPole with steps that wait, as it was measured; a runner's time is that of one alone."""
    found, first = measured["constants"], measured["points"][0]
    return Workload(
        weight_bytes=found["weight_bytes"],
        rows_per_runner=first["num_rows"],
        bytes_per_row=found["episode_bytes_per_row"],
        play_s=first["runner_s"],
        learn_s_per_row=found["learn_s_per_row"],
        learn_fixed_s=found["learn_fixed_s"],
        rows_per_gradient_step=found["minibatch_size"],
        num_epochs=found["num_epochs"],
    )


def language_workload(
    measured: Mapping[str, Any], tokens_per_s: float, bytes_per_token: float
) -> Workload:
    """Self-play of a GPT-2 with 124 million parameters: 16 dialogues of 6 turns of 20 tokens."""
    model = measured["language_model"]
    tokens, num_epochs = 16 * 6 * 20.0, 2.0
    return Workload(
        weight_bytes=4 * model["parameters"],
        rows_per_runner=tokens,
        bytes_per_row=bytes_per_token,
        play_s=tokens / tokens_per_s,
        learn_s_per_row=num_epochs * model["learn_s_per_token"],
        learn_fixed_s=0.0,
        rows_per_gradient_step=64 * tokens,
        num_epochs=num_epochs,
    )


def compare(measured: Mapping[str, Any]) -> list[dict[str, float]]:
    """Each measured number of machines compared with the model, whole and without playing."""
    constants, work = read_constants(measured), measured_workload(measured)
    rows = []
    for point in measured["points"]:
        here = Cluster(point["num_nodes"], 1, 1, float("inf"))
        found = simulate(constants, work, here)
        beside = point["iteration_s"] - point["slowest_runner_s"]
        model_beside = found.seconds - found.stages_s["play"]
        rows.append(
            {
                "num_nodes": point["num_nodes"],
                "measured_s": point["iteration_s"],
                "model_s": found.seconds,
                "error": found.seconds / point["iteration_s"] - 1,
                "measured_beside_s": beside,
                "model_beside_s": model_beside,
                "error_beside": model_beside / beside - 1,
            }
        )
    return rows


def extrapolate(constants: Constants, work: Workload, base: Cluster) -> list[dict[str, Any]]:
    """Larger clusters: more runners under one learner, then more learners too."""
    sizes = [(runners, 1) for runners in RUNNERS]
    sizes += [(RUNNERS[-1], learners) for learners in LEARNERS[1:]]
    rows = []
    for runners, learners in sizes:
        found = simulate(constants, work, replace(base, runners=runners, learners=learners))
        rows.append(
            {
                "runners": runners,
                "learners": learners,
                "iteration_s": found.seconds,
                "rows_per_s": found.rows / found.seconds,
                "efficiency": found.efficiency,
                "bottleneck": found.bottleneck,
                "staleness": found.staleness,
                "driver_store_bytes": found.driver_store_bytes,
                "runner_store_bytes": found.runner_store_bytes,
                "stages_s": dict(found.stages_s),
                "link_bytes": dict(found.link_bytes),
            }
        )
    return rows


def show(title: str, rows: list[dict[str, Any]]) -> None:
    """A table of an extrapolation."""
    print(f"\n{title}\n")
    print("| runners | learners | iteration, s | rows/s | efficiency | most besides playing | s |"
          " into driver, MB | driver store, MB | staleness |")  # fmt: skip
    print("| ---: " * 5 + "| --- " + "| ---: " * 4 + "|")
    for row in rows:
        print(
            f"| {row['runners']:,} | {row['learners']} | {row['iteration_s']:.3g} "
            f"| {row['rows_per_s']:,.0f} | {row['efficiency']:.0%} | {row['bottleneck']} "
            f"| {row['stages_s'][row['bottleneck']]:.3g} "
            f"| {row['link_bytes']['samples, into the driver'] / MEGABYTE:,.1f} "
            f"| {row['driver_store_bytes'] / MEGABYTE:,.0f} | {row['staleness']:.2f} |"
        )


def main() -> None:
    """Compare, extrapolate, print."""
    parser = argparse.ArgumentParser(
        description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("--measured", type=Path, default=MEASURED)
    parser.add_argument("--link-gbit", type=float, default=10.0, help="network; assumed")
    parser.add_argument("--runners-per-node", type=int, default=16, help="assumed")
    parser.add_argument("--learner-speedup", type=float, default=500.0,
                        help="of a GPU over one core; assumed")  # fmt: skip
    parser.add_argument("--tokens-per-s", type=float, default=113.0,
                        help="of self-play on one core; docs/reference/benchmarks.md")  # fmt: skip
    parser.add_argument("--bytes-per-token", type=float, default=240.0,
                        help="ids, log-probabilities, values and top-k sets; computed")  # fmt: skip
    parser.add_argument("--language-spread", type=float, default=0.1,
                        help="of the runners' times in self-play; assumed")  # fmt: skip
    parser.add_argument("--json", type=Path)
    arguments = parser.parse_args()
    measured = json.loads(arguments.measured.read_text())
    constants = read_constants(measured)
    comparison = compare(measured)
    print(
        "| machines | measured, s | model, s | error | besides playing: measured | model | error |"
    )
    print("| ---: " * 7 + "|")
    for row in comparison:
        print(
            f"| {row['num_nodes']} | {row['measured_s']:.3f} | {row['model_s']:.3f} "
            f"| {row['error']:+.1%} | {row['measured_beside_s']:.3f} "
            f"| {row['model_beside_s']:.3f} | {row['error_beside']:+.0%} |"
        )
    link = arguments.link_gbit * 1e9 / 8
    base = Cluster(1, arguments.runners_per_node, 1, link)
    carts = extrapolate(constants, measured_workload(measured), base)
    show("CartPole with steps that wait 30 ms; learners of one core", carts)
    work = language_workload(measured, arguments.tokens_per_s, arguments.bytes_per_token)
    wide = replace(constants, spread=arguments.language_spread)
    gpus = replace(base, learner_speedup=arguments.learner_speedup)
    language = extrapolate(wide, work, gpus)
    show("Self-play of a language model of 124 million parameters; learners on GPUs", language)
    print(f"\nconstants: {json.dumps(asdict(constants), indent=2)}")
    if arguments.json:
        tables = {"comparison": comparison, "carts": carts, "language": language}
        arguments.json.write_text(json.dumps(tables, indent=2) + "\n")


if __name__ == "__main__":
    main()
