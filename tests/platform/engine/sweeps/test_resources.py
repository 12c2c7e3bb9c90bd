"""What a trial takes of a cluster, and what is said where it has less."""

from __future__ import annotations

import pytest
import ray

from parley.platform.engine.sweeps.resources import place_trial, total
from parley.platform.settings.errors import ConfigError


@pytest.fixture
def machines(monkeypatch: pytest.MonkeyPatch) -> None:
    """A cluster of two machines."""
    nodes = [{"CPU": 2.0}, {"CPU": 3.0, "GPU": 1.0}]
    monkeypatch.setattr(ray, "nodes", lambda: [{"Alive": True, "Resources": n} for n in nodes])
    monkeypatch.setattr(ray, "cluster_resources", lambda: {"CPU": 5.0, "GPU": 1.0})


@pytest.mark.usefixtures("machines")
def test_each_process_has_a_bundle_of_its_own() -> None:
    bundles = [{"CPU": 0.5, "GPU": 0.0}, {"CPU": 1.0, "GPU": 1.0}, {"CPU": 1.0}]
    assert place_trial(bundles).bundles == [
        {"CPU": 0.5},
        {"CPU": 1.0, "GPU": 1.0},
        {"CPU": 1.0},
    ]
    assert total(bundles, "CPU") == 2.5


@pytest.mark.usefixtures("machines")
@pytest.mark.parametrize(
    ("bundles", "words"),
    [
        ([{"CPU": 6.0}], ["sweep.cpus_per_trial = 6, but the cluster has 5"]),
        ([{"CPU": 1.0}, *[{"CPU": 1.0}] * 5], ["= 1, with 5 of a trial's other processes"]),
        ([{"CPU": 4.0}], ["takes 4 CPU", "no machine"]),
        ([{"CPU": 1.0, "GPU": 2.0}], ["takes 2 GPU", "has 1"]),
        ([{"CPU": 1.0, "spot": 1.0}], ["takes 1 spot", "has 0"]),
    ],
)
def test_a_trial_that_would_wait_indefinitely_is_refused(
    bundles: list[dict[str, float]], words: list[str]
) -> None:
    with pytest.raises(ConfigError) as caught:
        place_trial(bundles)
    for word in words:
        assert word in str(caught.value)
