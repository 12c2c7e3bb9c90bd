"""The RayJob and what stands around it, and that each rule finds what it is there to find."""

from __future__ import annotations

import copy
import shutil
import subprocess
from collections.abc import Callable
from typing import Any

import kubernetes_validate
import pytest
import yaml

from tests.deploy.manifests import DEPLOY, KUBERAY, Manifest, groups_of, read_manifest, templates_of
from tests.deploy.rayjob_rules import KUBERNETES, PORTS, complaints


@pytest.fixture(scope="module")
def sound() -> Manifest:
    return read_manifest("kuberay/rayjob.yaml")


@pytest.fixture
def job(sound: Manifest) -> Manifest:
    # Aliases of YAML are shared objects; a broken copy breaks one place.
    return _unshared(sound)


def _unshared(value: Any) -> Any:
    if isinstance(value, dict):
        return {key: _unshared(item) for key, item in value.items()}
    return [_unshared(item) for item in value] if isinstance(value, list) else value


def test_the_rayjob_keeps_all_rules(sound: Manifest) -> None:
    assert complaints(sound) == []


def _cluster(job: Manifest) -> Manifest:
    cluster: Manifest = job["spec"]["rayClusterSpec"]
    return cluster


def _head(job: Manifest) -> Manifest:
    return groups_of(job)[0].template["spec"]


def _rollouts(job: Manifest) -> Manifest:
    return groups_of(job)[1].template["spec"]


def _learners(job: Manifest) -> Manifest:
    return groups_of(job)[2].template["spec"]


def _swap_entrypoint(old: str, new: str) -> Callable[[Manifest], object]:
    def swap(job: Manifest) -> None:
        assert old in job["spec"]["entrypoint"]
        job["spec"]["entrypoint"] = job["spec"]["entrypoint"].replace(old, new)

    return swap


BROKEN: dict[str, tuple[Callable[[Manifest], object], str]] = {
    "misspelt field": (lambda j: j["spec"].update(backofLimit=3), "backofLimit"),
    "number for a string": (
        lambda j: _cluster(j)["headGroupSpec"]["rayStartParams"].update({"num-cpus": 0}),
        "is not of type 'string'",
    ),
    "misspelt pod field": (lambda j: _head(j).update(toleration=[]), "toleration"),
    "mount without volume": (lambda j: _rollouts(j)["volumes"].pop(), "no volume for"),
    "other Ray": (lambda j: _cluster(j).update(rayVersion="2.59.0"), "rayVersion 2.59.0"),
    "other image": (
        lambda j: _learners(j)["containers"][0].update(image="rayproject/ray:2.60.0"),
        "several images",
    ),
    "other entrypoint": (_swap_entrypoint("parley ", "python "), "entrypoint starts python"),
    "retry refused": (_swap_entrypoint(" --auto-resume", ""), "no --auto-resume"),
    "lost run folder": (_swap_entrypoint("/runs/distort", "/tmp/distort"), "not on shared storage"),
    "too many runners": (
        _swap_entrypoint("num_env_runners=16", "num_env_runners=64"),
        "64 env runners do not fit 32 CPUs",
    ),
    "driver learns": (_swap_entrypoint("num_learners=1", "num_learners=0"), "on the head"),
    "idle GPU": (_swap_entrypoint("num_gpus_per_learner=1", "num_gpus_per_learner=0"), "GPUs"),
    "head schedules": (lambda j: groups_of(j)[0].params.pop("num-cpus"), "head: num-cpus"),
    "runners on the GPU node": (
        lambda j: groups_of(j)[2].params.pop("num-cpus"),
        "learners: num-cpus",
    ),
    "GPU for rollouts": (
        lambda j: _rollouts(j)["containers"][0]["resources"]["limits"].update(
            {"nvidia.com/gpu": 1}
        ),
        "rollouts: GPU in the wrong place",
    ),
    "burstable": (
        lambda j: _head(j)["containers"][0]["resources"]["requests"].update(memory="1Gi"),
        "head: may be evicted",
    ),
    "no autoscaling": (lambda j: _cluster(j).update(enableInTreeAutoscaling=False), "is off"),
    "fixed size": (
        lambda j: _cluster(j)["workerGroupSpecs"][0].update(maxReplicas=0),
        "rollouts cannot grow",
    ),
    "learners on spot": (
        lambda j: _learners(j).update(affinity=_rollouts(j)["affinity"]),
        "learners: wrong nodes",
    ),
    "rollouts anywhere": (lambda j: _rollouts(j).pop("affinity"), "rollouts: wrong nodes"),
    "operator without token": (lambda j: _cluster(j).pop("authOptions"), "authOptions: None"),
    "worker without token": (
        lambda j: _learners(j)["containers"][0].pop("env"),
        "learners: no token",
    ),
    "literal token": (
        lambda j: _head(j)["containers"][0]["env"].__setitem__(
            1, {"name": "RAY_AUTH_TOKEN", "value": "secret"}
        ),
        "head: no token from the Secret",
    ),
    "autoscaler without token": (
        lambda j: _cluster(j)["autoscalerOptions"].pop("env"),
        "autoscaler: no token",
    ),
    "root": (lambda j: _rollouts(j)["securityContext"].pop("runAsNonRoot"), "may be root"),
    "writable root": (
        lambda j: _head(j)["containers"][0]["securityContext"].pop("readOnlyRootFilesystem"),
        "head: not confined",
    ),
    "API credentials": (
        lambda j: _rollouts(j).pop("automountServiceAccountToken"),
        "rollouts: holds credentials",
    ),
    "no /tmp": (lambda j: _head(j)["containers"][0]["volumeMounts"].pop(2), "/tmp is read-only"),
    "private run folder": (
        lambda j: _head(j)["volumes"].__setitem__(0, {"name": "runs", "emptyDir": {}}),
        "not the shared claim",
    ),
    "object store on disk": (
        lambda j: _rollouts(j)["volumes"][1]["emptyDir"].pop("medium"),
        "on a disk",
    ),
    "private cache": (
        lambda j: _rollouts(j)["containers"][0]["env"].pop(),
        "rollouts: would make the embedded models anew",
    ),
    "small object store": (
        lambda j: _rollouts(j)["volumes"][1]["emptyDir"].update(sizeLimit="4Gi"),
        "on a disk",
    ),
    "killed at once": (
        lambda j: _rollouts(j).update(terminationGracePeriodSeconds=5),
        "too little time",
    ),
    "no preStop": (lambda j: _learners(j)["containers"][0].pop("lifecycle"), "Ray is not stopped"),
    "unnamed port": (
        lambda j: _head(j)["containers"][0]["ports"].pop(1),
        "head: ports",
    ),
    "metrics elsewhere": (
        lambda j: groups_of(j)[1].params.pop("metrics-export-port"),
        "rollouts: metrics",
    ),
}


@pytest.mark.parametrize("name", BROKEN)
def test_a_broken_rayjob_is_found(job: Manifest, name: str) -> None:
    break_it, expected = BROKEN[name]
    break_it(job)
    assert any(expected in text for text in complaints(job)), complaints(job)


@pytest.mark.parametrize("name", ["namespace", "storage", "network"])
def test_what_stands_around_it_is_valid(name: str) -> None:
    manifest = read_manifest(f"kuberay/{name}.yaml")
    kubernetes_validate.validate(manifest, KUBERNETES, strict=True)
    broken = copy.deepcopy(manifest)
    broken["specs"] = {}
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate(broken, KUBERNETES, strict=True)


def test_the_claim_can_be_shared(sound: Manifest) -> None:
    claim = read_manifest("kuberay/storage.yaml")
    assert claim["spec"]["accessModes"] == ["ReadWriteMany"]
    volumes = [volume for group in groups_of(sound) for volume in group.template["spec"]["volumes"]]
    claims = [v["persistentVolumeClaim"]["claimName"] for v in volumes if v["name"] == "runs"]
    assert claims == [claim["metadata"]["name"]] * 3


def test_all_pods_are_behind_the_network_policy(sound: Manifest) -> None:
    policy = read_manifest("kuberay/network.yaml")["spec"]
    labels = policy["podSelector"]["matchLabels"].items()
    assert policy["policyTypes"] == ["Ingress"]
    for name, template in templates_of(sound):
        assert labels <= template["metadata"]["labels"].items(), name


def test_only_ray_itself_reaches_ports_that_run_code() -> None:
    """Others reach the metrics; the dashboard only the operator; GCS and client nobody."""
    policy = read_manifest("kuberay/network.yaml")["spec"]
    own, *others = policy["ingress"]
    assert own == {"from": [{"podSelector": policy["podSelector"]}]}
    opened = {rule["ports"][0]["port"]: rule["from"] for rule in others}
    assert all(len(rule["ports"]) == 1 and rule["from"] for rule in others)
    assert set(opened) == {PORTS["dashboard"], PORTS["metrics"]}
    (operator,) = opened[PORTS["dashboard"]]
    assert operator["podSelector"]["matchLabels"] == {
        "app.kubernetes.io/component": "kuberay-operator"
    }


def test_no_manifest_holds_a_secret() -> None:
    for path in sorted(DEPLOY.rglob("*.yaml")):
        for document in yaml.safe_load_all(path.read_text("utf-8")):
            assert document.get("kind") != "Secret", path


def test_kustomization_names_all_files() -> None:
    named = read_manifest("kuberay/kustomization.yaml")["resources"]
    there = {path.name for path in KUBERAY.iterdir()} - {"kustomization.yaml"}
    assert sorted(named) == sorted(there)


@pytest.mark.skipif(shutil.which("kubectl") is None, reason="kubectl is not installed")
@pytest.mark.parametrize("folder", ["kuberay", "kuberay_standing"])
def test_kustomize_builds(folder: str) -> None:
    """Without an API server; the standing cluster differs from the job's in its job alone."""
    built = subprocess.run(
        ["kubectl", "kustomize", str(DEPLOY / folder)], capture_output=True, text=True, check=True
    )
    documents = {d["kind"]: d for d in yaml.safe_load_all(built.stdout)}
    assert set(documents) == {"Namespace", "PersistentVolumeClaim", "NetworkPolicy", "RayJob"}
    job, base = documents["RayJob"], read_manifest("kuberay/rayjob.yaml")
    assert _cluster(job) == _cluster(base)
    if folder == "kuberay_standing":
        assert job["spec"]["entrypoint"] == "parley doctor"
        assert job["spec"]["shutdownAfterJobFinishes"] is False
