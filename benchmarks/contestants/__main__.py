"""One contestant with one seed, in a process of its own; prints its score as a line of JSON.

`benchmarks/cartpole.py` starts it; the contestant's libraries are imported here and nowhere else.
"""

from __future__ import annotations

import argparse
import json
import os
from importlib import import_module

from benchmarks.contestants import CONTESTANTS
from benchmarks.contestants.score import Rules, ScoreSheet


def main() -> None:
    """Train as the arguments say."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("name", choices=CONTESTANTS)
    parser.add_argument("--seed", type=int, required=True)
    parser.add_argument("--cores", type=int, required=True)
    parser.add_argument("--rules", type=json.loads, required=True)
    parser.add_argument("--launched-s", type=float, required=True)
    options = parser.parse_args()
    if hasattr(os, "sched_setaffinity"):
        os.sched_setaffinity(0, sorted(os.sched_getaffinity(0))[: options.cores])
    contestant = CONTESTANTS[options.name]
    sheet = ScoreSheet(Rules(**options.rules), options.launched_s)
    module, _, function = contestant.function.partition(":")
    train = getattr(import_module(f"benchmarks.contestants.{module}"), function)
    train(contestant.argument, options.seed, sheet)
    import torch

    print(sheet.to_json(torch.get_num_threads()))


if __name__ == "__main__":
    main()
