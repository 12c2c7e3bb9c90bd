"""The dashboard, alerts and settings of Prometheus: sound, and of the measures that there are."""

from __future__ import annotations

import re
import subprocess
from pathlib import Path

import yaml

from parley.platform.monitoring.measures import EVENTS, MEASURES, TAGS
from tests.platform.monitoring.grafana_panels import expressions, load_dashboard, panels
from tests.platform.monitoring.prometheus_server import SETTINGS, program

ROOT = Path(__file__).parents[3]
SERIES = {measure.series for measure in (*MEASURES, *EVENTS)}


def test_every_measure_has_a_panel_and_no_panel_another() -> None:
    shown = {name for text in expressions().values() for name in re.findall(r"ray_\w+", text)}
    assert shown == SERIES


def test_panels_do_not_overlap_and_say_what_they_show() -> None:
    taken: set[tuple[int, int]] = set()
    dashboard = load_dashboard()
    for panel in dashboard["panels"]:
        place = panel["gridPos"]
        cells = {
            (place["x"] + x, place["y"] + y) for x in range(place["w"]) for y in range(place["h"])
        }
        assert not cells & taken, panel["title"]
        assert max(x for x, _ in cells) < 24
        taken |= cells
    for panel in panels():
        assert panel["description"] and panel["fieldConfig"]["defaults"]["unit"]
        assert all(target["legendFormat"] for target in panel["targets"])
        assert panel["datasource"]["uid"] == "${datasource}"
    ids = [panel["id"] for panel in dashboard["panels"]]
    assert len(set(ids)) == len(ids)


def test_variables_of_the_dashboard() -> None:
    variables = {one["name"]: one for one in load_dashboard()["templating"]["list"]}
    assert list(variables) == ["datasource", *TAGS]
    for tag in TAGS:
        assert variables[tag]["definition"].endswith(f", {tag})")
    for panel in panels():
        (target,) = panel["targets"]
        assert '{run=~"$run", policy=~"$policy", worker=~"$worker"}' in target["expr"]


def test_alerts_name_measures_that_exist() -> None:
    groups = yaml.safe_load((SETTINGS / "alerts.yml").read_text())["groups"]
    rules = [rule for group in groups for rule in group["rules"]]
    for rule in rules:
        assert set(re.findall(r"ray_parley_\w+", rule["expr"])) <= SERIES
        assert rule["labels"]["severity"] and rule["annotations"]["summary"]
    tested = (SETTINGS / "alerts_test.yml").read_text()
    assert all(rule["alert"] in tested for rule in rules)


def test_prometheus_accepts_settings_and_alerts() -> None:
    promtool = program("promtool")
    for call in (
        ["check", "config", "prometheus.yml"],
        ["check", "rules", "alerts.yml"],
        ["test", "rules", "alerts_test.yml"],
    ):
        done = subprocess.run([promtool, *call], cwd=SETTINGS, capture_output=True, text=True)
        assert done.returncode == 0, done.stdout + done.stderr


def test_provisioning_of_grafana() -> None:
    folder = ROOT / "deploy" / "grafana" / "provisioning"
    (source,) = yaml.safe_load((folder / "datasources" / "prometheus.yml").read_text())[
        "datasources"
    ]
    assert (source["type"], source["url"]) == ("prometheus", "http://127.0.0.1:9090")
    (provider,) = yaml.safe_load((folder / "dashboards" / "parley.yml").read_text())["providers"]
    assert provider["type"] == "file"
