"""The command line: what can be asked, in plain argparse, and what exit code comes back.

Only the parser lives here, so that `--help` and a usage error load nothing else. Each command is
a module of `commands/`, imported when it is asked for; this module knows only their names.
"""

from __future__ import annotations

import argparse
import os
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import nullcontext
from pathlib import Path
from typing import cast

import parley
from parley.platform.errors import EXIT_DONE, EXIT_INTERRUPTED, EXIT_RUN_FAILED, ParleyError
from parley.platform.settings.experiments import load_function
from parley.platform.terminal.interpreter import leave_quickly
from parley.platform.terminal.lasting_output import lasting_output

COMMANDS = {
    "list": "parley.platform.commands.listing:run_list",
    "train": "parley.platform.commands.train:run_train",
    "tune": "parley.platform.commands.tune:run_tune",
    "evaluate": "parley.platform.commands.evaluate:run_evaluate",
    "detect": "parley.platform.commands.detect:run_detect",
    "watch": "parley.platform.commands.watch:run_watch",
    "chat": "parley.platform.commands.chat:run_chat",
    "report": "parley.platform.commands.report:run_report",
    "compare": "parley.platform.commands.compare:run_compare",
    "data": "parley.platform.commands.data:run_data",
    "submit": "parley.platform.commands.submit:run_submit",
    "doctor": "parley.platform.commands.doctor:run_doctor",
}
"""Command -> the function that runs it: parsed arguments in, exit code out."""

SHOWING = frozenset({"list", "watch", "chat", "doctor"})
"""Commands that have nothing to do but to show: they end when nobody reads them any more."""

DEBUG_VARIABLE = "PARLEY_DEBUG"


def main(argv: Sequence[str] | None = None) -> int:
    """Run one command and return its exit code; errors go to standard error as a paragraph.

    Usage errors leave through argparse's SystemExit(2), `--help` through SystemExit(0).
    """
    # Idle threads sleep instead of spinning: on a busy machine spinning costs a factor of ten.
    os.environ.setdefault("OMP_WAIT_POLICY", "PASSIVE")
    leave_quickly()
    arguments = parse_arguments(sys.argv[1:] if argv is None else argv)
    with nullcontext() if arguments.command in SHOWING else lasting_output():
        return _run_command(arguments)


def _run_command(arguments: argparse.Namespace) -> int:
    debug = os.environ.get(DEBUG_VARIABLE) == "1"
    try:
        run = load_function(COMMANDS[arguments.command])
        code = cast("Callable[[argparse.Namespace], int]", run)(arguments)
        sys.stdout.flush()
        return code
    except KeyboardInterrupt as stop:
        told = f" {arguments.command}: {stop}" if str(stop) else ": stopped"
        print(f"parley{told}", file=sys.stderr)
        return EXIT_INTERRUPTED
    except BrokenPipeError:
        sys.stdout = None  # the reader has gone, there is nothing to flush to
        return EXIT_DONE
    except Exception as error:
        if debug:
            traceback.print_exc()
        print(f"parley {arguments.command}: {_paragraph(error, debug)}", file=sys.stderr)
        return error.exit_code if isinstance(error, ParleyError) else EXIT_RUN_FAILED


def parse_arguments(argv: Sequence[str]) -> argparse.Namespace:
    """The parsed command line; options and overrides may stand in any order.

    A subparser does not accept positional arguments after options, hence the command is chosen
    here and parsed by its own parser.
    """
    parser, commands = build_parsers()
    if argv and argv[0] in commands:
        return commands[argv[0]].parse_intermixed_args(list(argv[1:]))
    return parser.parse_args(list(argv))


def build_parsers() -> tuple[argparse.ArgumentParser, dict[str, argparse.ArgumentParser]]:
    """The parser of `parley` and those of its commands."""
    parser = argparse.ArgumentParser(
        prog="parley", description="Reinforcement learning on Ray for agents that speak in tokens."
    )
    parser.add_argument("--version", action="version", version=f"parley {parley.__version__}")
    commands = parser.add_subparsers(dest="command", required=True, metavar="COMMAND")
    parsers: dict[str, argparse.ArgumentParser] = {}

    def add(name: str, summary: str) -> argparse.ArgumentParser:
        parsers[name] = commands.add_parser(name, help=summary, description=f"{summary}.")
        parsers[name].set_defaults(command=name)
        return parsers[name]

    add("list", "experiments, environments, policies, algorithms: one line each")
    _add_train_arguments(add("train", "train a policy, as an experiment says"))
    _add_train_arguments(add("tune", "search an experiment's settings: many trials, the best kept"))
    _add_evaluate_arguments(add("evaluate", "measure a run's policy on fresh episodes"))
    _add_detect_arguments(add("detect", "maxim violations in a file of responses"))
    _add_watch_arguments(
        add("watch", "show an episode, a trace or dialogues of a run, or write them")
    )
    _add_chat_arguments(add("chat", "talk to an agent of a dialogue run"))
    _add_report_arguments(add("report", "a run as one HTML file: curves, figures, dialogues"))
    _add_compare_arguments(add("compare", "runs side by side: settings, figures, curves"))
    _add_data_arguments(add("data", "preference pairs from repairs, split by conversation"))
    _add_submit_arguments(add("submit", "run an experiment as a job of a Ray cluster"))
    add("doctor", "what this machine can do: Ray, GPU, ports, versions")
    return parser, parsers


def _add_train_arguments(parser: argparse.ArgumentParser, optional: bool = False) -> None:
    parser.add_argument(
        "experiment",
        metavar="EXPERIMENT",
        nargs="?" if optional else None,
        help="a name from `parley list`, or a TOML file",
    )
    parser.add_argument(
        "overrides",
        metavar="key=value",
        nargs="*",
        default=[],
        help="settings to change, such as ppo.clip=0.1 or policy=mlp",
    )
    parser.add_argument(
        "--run-dir",
        metavar="DIR",
        type=Path,
        help="folder of the run (default: runs/EXPERIMENT/<timestamp>)",
    )
    parser.add_argument(
        "--resume",
        action="store_true",
        help="resume the run in --run-dir, or the newest run of EXPERIMENT",
    )
    parser.add_argument(
        "--auto-resume",
        action="store_true",
        help="resume the run in --run-dir where there is one, else begin it",
    )
    parser.add_argument(
        "--data", metavar="FILE|DIR", type=Path, help="data to learn from (sets data.path)"
    )
    parser.add_argument("--quick", action="store_true", help="the same path at a tenth of the work")


def _add_evaluate_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="RUN|CHECKPOINT", type=Path, help="folder to measure")
    _add_moved_argument(parser)
    parser.add_argument("--data", metavar="FILE", type=Path, help="data to measure on")
    parser.add_argument(
        "--episodes", metavar="N", type=_positive, help="episodes to play, or traces of each size"
    )
    parser.add_argument("--seed", metavar="S", type=_count, help="seed of the episodes")
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write the figures here")


def _add_moved_argument(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "overrides",
        metavar="key=value",
        nargs="*",
        default=[],
        help="where a model or data of the run lies now, such as competitor=FOLDER",
    )


def _add_detect_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "file", metavar="FILE", type=Path, help="responses in their contexts, JSON or JSONL"
    )
    parser.add_argument(
        "--detector",
        metavar="NAME|FOLDER",
        default="embedded",
        help="a run of dialogue/detector or a sequence classifier (default: embedded)",
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write the figures here")
    parser.add_argument(
        "--rows", metavar="FILE", type=Path, help="write each row's probabilities here, JSONL"
    )


def _add_watch_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="RUN", type=Path, help="folder of a run or checkpoint")
    parser.add_argument("--out", metavar="FILE", type=Path, help="write it here")
    parser.add_argument("--seed", metavar="S", type=_count, default=0, help="seed of the episode")
    parser.add_argument(
        "--iteration", metavar="N", type=_count, help="dialogues: all that this iteration kept"
    )
    parser.add_argument(
        "--all", dest="show_all", action="store_true", help="dialogues: all that the run kept"
    )
    parser.add_argument(
        "--follow", action="store_true", help="dialogues: as they come, until the run ends"
    )
    parser.add_argument(
        "--size", metavar="N", type=_positive, help="traces: of an input of this size"
    )


def _add_chat_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="RUN|CHECKPOINT", type=Path, help="folder of the agents")
    _add_moved_argument(parser)
    parser.add_argument(
        "--seat", metavar="NAME", help="agent to talk to (default: the trained one; /swap changes)"
    )
    parser.add_argument("--seed", metavar="S", type=_count, default=0, help="seed of the replies")
    parser.add_argument(
        "--temperature",
        metavar="T",
        type=_amount,
        help="of the replies (default: as trained; 0: always the likeliest token)",
    )


def _add_report_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("path", metavar="RUN", type=Path, help="folder of the run")
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="file to write (default: report.html in RUN)"
    )


def _add_compare_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument(
        "paths", metavar="RUN", nargs="+", type=Path, help="folders of two runs or more"
    )
    parser.add_argument("--json", metavar="FILE", type=Path, help="also write it here as JSON")
    parser.add_argument(
        "--out", metavar="FILE", type=Path, help="also write it here as HTML, with the curves drawn"
    )


def _add_data_arguments(parser: argparse.ArgumentParser) -> None:
    parser.add_argument("action", metavar="prepare", choices=["prepare"], help="the one action")
    parser.add_argument(
        "inputs",
        metavar="INPUT",
        nargs="+",
        type=Path,
        help="JSON or JSONL: repairs (input_text, target_text) or prompt, chosen, rejected",
    )
    parser.add_argument("--out", metavar="DIR", type=Path, required=True, help="folder to write")
    parser.add_argument(
        "--split",
        metavar="SHARE",
        type=_share,
        default=0.9,
        help="share of the pairs to train on, the rest is held out (default: 0.9)",
    )
    parser.add_argument("--seed", metavar="S", type=_count, default=0, help="seed of the split")
    parser.add_argument(
        "--format", choices=["parquet", "jsonl"], default="parquet", help="(default: parquet)"
    )
    parser.add_argument(
        "--reading-sets",
        metavar="FILE",
        type=Path,
        help="texts of the evidence pointers (FS1), by conversation; without it they stay",
    )
    parser.add_argument(
        "--force", action="store_true", help="replace what `parley data prepare` wrote in DIR"
    )


def _add_submit_arguments(parser: argparse.ArgumentParser) -> None:
    _add_train_arguments(parser, optional=True)
    parser.add_argument(
        "--address",
        metavar="URL",
        help="the cluster's dashboard (default: RAY_API_SERVER_ADDRESS, RAY_ADDRESS, "
        "http://127.0.0.1:8265)",
    )
    parser.add_argument("--tune", action="store_true", help="run parley tune, not parley train")
    parser.add_argument("--submission-id", metavar="ID", help="name of the job (default: made up)")
    parser.add_argument(
        "--runtime-env", metavar="FILE", type=Path, help="YAML of Ray's runtime environment"
    )
    parser.add_argument(
        "--cpus", metavar="N", type=_amount, help="CPUs that the job's driver takes"
    )
    parser.add_argument(
        "--gpus", metavar="N", type=_amount, help="GPUs that the job's driver takes"
    )
    parser.add_argument(
        "--no-wait", action="store_true", help="print the job's id and do not follow its log"
    )
    parser.add_argument("--follow", metavar="ID", help="follow the log of a job")
    parser.add_argument("--stop", metavar="ID", help="have a job save and end")


def _amount(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0.0 <= value < float("inf"):
        raise argparse.ArgumentTypeError(f"{text} is out of range; write 0 or more")
    return value


def _share(text: str) -> float:
    try:
        value = float(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a number") from None
    if not 0.0 < value < 1.0:
        raise argparse.ArgumentTypeError(f"{text} is not between 0 and 1: both sides need pairs")
    return value


def _positive(text: str) -> int:
    value = _count(text)
    if value < 1:
        raise argparse.ArgumentTypeError(f"{text} is less than 1")
    return value


def _count(text: str) -> int:
    try:
        value = int(text)
    except ValueError:
        raise argparse.ArgumentTypeError(f"{text!r} is not a whole number") from None
    if value < 0:
        raise argparse.ArgumentTypeError(f"{text} is negative")
    return value


def _paragraph(error: Exception, debug: bool) -> str:
    if isinstance(error, ParleyError):
        return str(error)
    advice = "" if debug else f" (set {DEBUG_VARIABLE}=1 for the traceback)"
    return f"{type(error).__name__}: {error}{advice}"


if __name__ == "__main__":
    sys.exit(main())
