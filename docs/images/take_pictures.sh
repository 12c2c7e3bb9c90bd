#!/usr/bin/env bash
# The pictures of docs/monitoring.md. JOB is the id of a running job; Prometheus has the cluster's series.
#
#   docs/images/take_pictures.sh JOB [DASHBOARD] [PROMETHEUS]
#
# The dashboard's page is taken without a token: only of a head on loopback with RAY_AUTH_MODE=disabled.
set -euo pipefail
job=$1 dashboard=${2:-http://127.0.0.1:8265} prometheus=${3:-http://127.0.0.1:9090}
folder=$(dirname "${BASH_SOURCE[0]}")
profile=$(mktemp -d)
trap 'rm -rf "$profile"' EXIT

take() {  # URL FILE HEIGHT
    chromium --headless --no-sandbox --disable-gpu --no-first-run --disable-background-networking \
        --disable-component-update --disable-sync --hide-scrollbars --user-data-dir="$profile" \
        --virtual-time-budget=20000 --window-size="1400,$3" --screenshot="$folder/$2" "$1"
}

range='g0.tab=0&g0.range_input=5m&g1.tab=0&g1.range_input=5m'
reward='max%20by%20(run)%20(ray_parley_reward)'
pace='sum%20by%20(run%2C%20worker)%20(rate(ray_parley_runner_env_steps_total%5B1m%5D))'
take "$dashboard/#/jobs/$job" dashboard_job.png 1000
take "$prometheus/graph?g0.expr=$reward&g1.expr=$pace&$range" prometheus.png 1500
