#!/usr/bin/env bash
# scikit-learn 1.9.1: HistGradientBoostingClassifier.fit with sample_weight spends most of its time
# on bin borders.
#
# Expected: weights change gradients; the 254 borders of a column come from one sort, as without.
# Seen: with weights (even all ones) every border of every column is a call of its own that sorts
#   the column again, 254 x columns calls: 8,000 x 60 numbers take several times as long to fit.
# Around it: hand in the numbers of bins made beforehand (at most 255 values a column): the
#   borders are then midpoints, with weights too, and the same trees come out in a fraction.
set -euo pipefail
folder=$(mktemp -d)
trap 'rm -rf "$folder"' EXIT
python3 -m venv "$folder/venv"
"$folder/venv/bin/pip" install --quiet scikit-learn==1.9.1 numpy==2.4.6 >&2
"$folder/venv/bin/python" - <<'PYTHON'
import time

import numpy as np
import sklearn
from sklearn.ensemble import HistGradientBoostingClassifier
from sklearn.ensemble._hist_gradient_boosting import binning
from threadpoolctl import threadpool_limits

rows, columns = 8_000, 60
rng = np.random.default_rng(0)
features = rng.normal(size=(rows, columns))
labels = features[:, 0] + features[:, 1] > 0
borders = np.quantile(features, np.linspace(0, 1, 256)[1:-1], axis=0)
binned = np.stack([np.searchsorted(borders[:, k], features[:, k]) for k in range(columns)], axis=1)

calls, original = 0, binning._weighted_percentile


def counting(*arguments, **keywords):
    global calls
    calls += 1
    return original(*arguments, **keywords)


binning._weighted_percentile = counting


def fit(table, weights):
    global calls
    calls, started = 0, time.perf_counter()
    with threadpool_limits(1):
        HistGradientBoostingClassifier(max_iter=20, random_state=0).fit(table, labels, weights)
    return calls, time.perf_counter() - started


results = {
    "values, no weights": fit(features, None),
    "values, weights of 1": fit(features, np.ones(rows)),
    "numbers of bins, weights of 1": fit(binned, np.ones(rows)),
}
print("scikit-learn", sklearn.__version__)
for name, (count, seconds) in results.items():
    print(f"{name:<30} {count:6,} borders computed one by one, {seconds:.2f} s")
plain, weighted, ready = results.values()
assert plain[0] == 0 and ready[0] == 0, "borders are computed one by one elsewhere, too"
assert weighted[0] == 254 * columns, f"expected {254 * columns} calls, got {weighted[0]}"
assert weighted[1] > 2 * plain[1], "weights no longer make fitting slower"
PYTHON
