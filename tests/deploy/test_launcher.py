"""The cluster launcher's files, by Ray's own validation and by what parley needs of a cluster.

No cloud is asked: what the launcher then does on AWS was not run (docs/tasks/deploy.md).
"""

from __future__ import annotations

import copy
import re
from collections.abc import Callable, Iterator

import jsonschema
import pytest
from ray.autoscaler._private.util import prepare_config, validate_config

from tests.deploy.manifests import ROOT, Manifest, read_manifest

NAMES = ("aws", "local")


@pytest.fixture(params=NAMES)
def config(request: pytest.FixtureRequest) -> Manifest:
    return prepared(read_manifest(f"cluster/{request.param}.yaml"))


@pytest.fixture
def aws() -> Manifest:
    return read_manifest("cluster/aws.yaml")


def prepared(config: Manifest) -> Manifest:
    """With Ray's defaults filled in, as `ray up` does before it asks the provider."""
    filled: Manifest = prepare_config(copy.deepcopy(config))
    validate_config(filled)
    return filled


def complaints(config: Manifest) -> Iterator[str]:
    """What is wrong with the node types of a cloud's launcher file."""
    types = config["available_node_types"]
    head, rollouts, learners = types["head"], types["rollouts"], types["learners"]
    if config["head_node_type"] != "head" or head["max_workers"] != 0:
        yield "the head is not the head"
    if head["resources"] != {"CPU": 0}:
        yield "the head schedules"
    for name, group in types.items():
        spot = group["node_config"].get("InstanceMarketOptions", {}).get("MarketType") == "spot"
        if spot != (name == "rollouts"):
            yield f"{name}: spot in the wrong place"
        if group["node_config"].get("MetadataOptions", {}).get("HttpTokens") != "required":
            yield f"{name}: instance credentials by a forged request"
    if not rollouts["min_workers"] < rollouts["max_workers"]:
        yield "rollouts cannot grow"
    if "GPU" in rollouts["resources"] or not learners["resources"].get("GPU"):
        yield "GPU in the wrong place"
    if learners["resources"]["CPU"] != 0:
        yield "env runners would take the GPU machine"
    if rollouts["max_workers"] + learners["max_workers"] > config["max_workers"]:
        yield "max_workers is less than its parts"
    if set(config["provider"]) - {"type", "region", "cache_stopped_nodes"}:
        yield "the provider opens more than SSH"


BROKEN: dict[str, tuple[Callable[[Manifest], object], str]] = {
    "busy head": (lambda c: c["available_node_types"]["head"]["resources"].update(CPU=4), "head"),
    "second head": (lambda c: c["available_node_types"]["head"].update(max_workers=1), "head"),
    "learners on spot": (
        lambda c: c["available_node_types"]["learners"]["node_config"].update(
            InstanceMarketOptions={"MarketType": "spot"}
        ),
        "learners: spot",
    ),
    "rollouts on demand": (
        lambda c: c["available_node_types"]["rollouts"]["node_config"].pop("InstanceMarketOptions"),
        "rollouts: spot",
    ),
    "old metadata": (
        lambda c: c["available_node_types"]["head"]["node_config"].pop("MetadataOptions"),
        "head: instance credentials",
    ),
    "fixed size": (lambda c: c["available_node_types"]["rollouts"].update(min_workers=8), "grow"),
    "no GPU": (lambda c: c["available_node_types"]["learners"]["resources"].pop("GPU"), "GPU"),
    "shared GPU machine": (
        lambda c: c["available_node_types"]["learners"]["resources"].update(CPU=8),
        "env runners",
    ),
    "too few workers": (lambda c: c.update(max_workers=9), "less than its parts"),
    "open port": (
        lambda c: c["provider"].update(
            security_group={
                "IpPermissions": [
                    {
                        "FromPort": 8265,
                        "ToPort": 8265,
                        "IpProtocol": "tcp",
                        "IpRanges": [{"CidrIp": "0.0.0.0/0"}],
                    }
                ]
            }
        ),
        "opens more than SSH",
    ),
}


def test_the_node_types_keep_all_rules(aws: Manifest) -> None:
    assert list(complaints(prepared(aws))) == []


@pytest.mark.parametrize("name", BROKEN)
def test_broken_node_types_are_found(aws: Manifest, name: str) -> None:
    break_it, expected = BROKEN[name]
    broken = prepared(aws)
    break_it(broken)
    assert any(expected in text for text in complaints(broken))


@pytest.mark.parametrize("name", NAMES)
def test_ray_refuses_an_unknown_field(name: str) -> None:
    config = read_manifest(f"cluster/{name}.yaml")
    with pytest.raises(jsonschema.ValidationError, match="idle_timeout"):
        prepared({**config, "idle_timeout": 5})


def test_ray_starts_with_the_token_on_loopback(config: Manifest) -> None:
    (head,) = (c for c in config["head_start_ray_commands"] if "ray start" in c)
    (worker,) = (c for c in config["worker_start_ray_commands"] if "ray start" in c)
    for command in (head, worker):
        assert "RAY_AUTH_MODE=token" in command
        assert "--metrics-export-port=8080" in command
        assert "PARLEY_CACHE_DIR=/runs/.cache" in command
    assert "--dashboard-host=127.0.0.1" in head
    assert "--num-cpus=0" in head
    assert "PARLEY_RUNS_ROOT=/runs" in head


def test_the_token_comes_from_a_file_of_ones_own(config: Manifest) -> None:
    """Neither in the repository nor on a command line; private on every machine."""
    mounts = config["file_mounts"]
    assert mounts["~/.ray/auth_token"] == "~/.ray/parley_cluster_token"
    assert "chmod 600 ~/.ray/auth_token" in config["head_setup_commands"]
    assert "chmod 600 ~/.ray/auth_token" in config["worker_setup_commands"]
    commands = [text for key in config if key.endswith("_commands") for text in config[key]]
    assert not any(re.search(r"RAY_AUTH_TOKEN", text) for text in commands)


def test_the_pinned_packages_are_installed_everywhere(config: Manifest) -> None:
    assert (ROOT / config["file_mounts"]["~/parley/constraints.txt"]).is_file()
    for key in ("head_setup_commands", "worker_setup_commands"):
        (install,) = (text for text in config[key] if "parley_rl-" in text)
        assert "-c ~/parley/constraints.txt" in install
