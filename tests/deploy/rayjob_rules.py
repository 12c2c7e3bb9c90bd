"""What holds for the RayJob beyond its schema: each rule yields complaints."""

from __future__ import annotations

import shlex
from collections.abc import Callable, Iterator
from pathlib import PurePosixPath

import jsonschema
import kubernetes_validate
from ray._private.ray_constants import DEFAULT_OBJECT_STORE_MEMORY_PROPORTION as OBJECT_STORE_SHARE

import parley
from parley.platform.cli import parse_arguments
from parley.platform.distort.settings import DialogueDistortConfig
from parley.platform.settings.loading import load_experiment
from tests.deploy.manifests import (
    SECRET,
    SECRET_KEY,
    SPOT_LABELS,
    Group,
    Manifest,
    containers_of,
    groups_of,
    pinned,
    templates_of,
)
from tests.deploy.rayjob_schema import RAYJOB

KUBERNETES = "1.32"
GPU = "nvidia.com/gpu"
WRITABLE = ("/tmp", "/tmp/ray", "/home/parley", "/dev/shm", "/runs")
PORTS = {"gcs-server": 6379, "dashboard": 8265, "client": 10001, "metrics": 8080}


def complaints(job: Manifest) -> list[str]:
    """Everything that is wrong with a RayJob; rules that need a sound shape come last."""
    shape = [*has_the_fields(job), *pods_are_valid(job)]
    return shape or [text for rule in RULES for text in rule(job)]


def has_the_fields(job: Manifest) -> Iterator[str]:
    for error in jsonschema.Draft202012Validator(RAYJOB).iter_errors(job):
        yield f"{error.json_path}: {error.message}"


def pods_are_valid(job: Manifest) -> Iterator[str]:
    """By Kubernetes' own schemas, unknown fields refused."""
    for name, template in templates_of(job):
        metadata = {**template.get("metadata", {}), "name": name}
        pod = {"apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": template["spec"]}
        try:
            kubernetes_validate.validate(pod, KUBERNETES, strict=True)
        except kubernetes_validate.ValidationError as error:
            yield f"{name}: {error.message}"
        mounts = {mount["name"] for c in pod["spec"]["containers"] for mount in c["volumeMounts"]}
        volumes = {volume["name"] for volume in pod["spec"]["volumes"]}
        if not mounts <= volumes:
            yield f"{name}: no volume for {mounts - volumes}"


def versions_agree(job: Manifest) -> Iterator[str]:
    version = job["spec"]["rayClusterSpec"]["rayVersion"]
    if version != pinned("ray"):
        yield f"rayVersion {version}, but the image holds {pinned('ray')}"
    images = {
        c["image"] for _, template in templates_of(job) for c in template["spec"]["containers"]
    }
    if len(images) != 1:
        yield f"several images: {sorted(images)}"
    if any(image.rpartition(":")[2] != parley.__version__ for image in images):
        yield f"images {sorted(images)} are not of version {parley.__version__}"


def entrypoint_fits_the_cluster(job: Manifest) -> Iterator[str]:
    """The command parses, its settings load, and the groups have room for what it asks."""
    program, *words = shlex.split(job["spec"]["entrypoint"])
    if program != "parley":
        yield f"entrypoint starts {program}"
    arguments = parse_arguments(words)
    config = load_experiment(arguments.experiment, arguments.overrides)
    assert isinstance(config, DialogueDistortConfig)
    if job["spec"]["backoffLimit"] and not arguments.auto_resume:
        yield "a retry would find its run folder taken: no --auto-resume"
    if not PurePosixPath(arguments.run_dir).is_relative_to("/runs"):
        yield f"{arguments.run_dir} is not on shared storage"
    workers = {g["groupName"]: g for g in job["spec"]["rayClusterSpec"]["workerGroupSpecs"]}
    limits = {group.name: group.container["resources"]["limits"] for group in groups_of(job)}
    room = workers["rollouts"]["maxReplicas"] * int(limits["rollouts"]["cpu"])
    if config.rollouts.num_env_runners > room:
        yield f"{config.rollouts.num_env_runners} env runners do not fit {room} CPUs"
    gpus = workers["learners"]["maxReplicas"] * int(limits["learners"].get(GPU, 0))
    if config.learner.num_learners < 1:
        yield "the driver would learn, on the head"
    if config.learner.num_learners * (config.learner.num_gpus_per_learner or 0) != gpus:
        yield f"{config.learner.num_learners} learners do not take {gpus} GPUs"


def roles_stay_apart(job: Manifest) -> Iterator[str]:
    """The head schedules nothing, only learners have GPUs and they offer no CPU to runners."""
    for group in groups_of(job):
        resources = group.container["resources"]
        if (GPU in resources["limits"]) != (group.name == "learners"):
            yield f"{group.name}: GPU in the wrong place"
        if (group.params.get("num-cpus") == "0") != (group.name != "rollouts"):
            yield f"{group.name}: num-cpus is {group.params.get('num-cpus')}"
        if resources["limits"] != resources["requests"]:
            yield f"{group.name}: may be evicted, its limits are not its requests"


def scales(job: Manifest) -> Iterator[str]:
    cluster = job["spec"]["rayClusterSpec"]
    if not cluster.get("enableInTreeAutoscaling"):
        yield "autoscaling is off"
    for group in cluster["workerGroupSpecs"]:
        if not group["minReplicas"] <= group.get("replicas", 0) <= group["maxReplicas"]:
            yield f"{group['groupName']}: replicas out of range"
        if group["groupName"] == "rollouts" and group["minReplicas"] == group["maxReplicas"]:
            yield "rollouts cannot grow"


def only_rollouts_are_spot(job: Manifest) -> Iterator[str]:
    for group in groups_of(job):
        affinity = group.template["spec"].get("affinity", {}).get("nodeAffinity", {})
        required = affinity.get("requiredDuringSchedulingIgnoredDuringExecution", {})
        terms = [
            {(e["key"], e["operator"], *e["values"]) for e in term["matchExpressions"]}
            for term in required.get("nodeSelectorTerms", [])
        ]
        if group.name == "rollouts":
            wanted = [{(key, "In", value)} for key, value in SPOT_LABELS.items()]
        else:
            wanted = [{(key, "NotIn", value) for key, value in SPOT_LABELS.items()}]
        if terms != wanted:
            yield f"{group.name}: wrong nodes: {terms}"


def shows_a_token(job: Manifest) -> Iterator[str]:
    """Operator, Ray's processes and the autoscaler all take it from the one Secret."""
    cluster = job["spec"]["rayClusterSpec"]
    if cluster.get("authOptions") != {"mode": "token", "secretName": SECRET}:
        yield f"authOptions: {cluster.get('authOptions')}"
    environments = {name: container.get("env", []) for name, container in containers_of(job)}
    environments["autoscaler"] = cluster.get("autoscalerOptions", {}).get("env", [])
    reference = {"secretKeyRef": {"name": SECRET, "key": SECRET_KEY}}
    for name, variables in environments.items():
        found = {v["name"]: v.get("value", v.get("valueFrom")) for v in variables}
        if (found.get("RAY_AUTH_MODE"), found.get("RAY_AUTH_TOKEN")) != ("token", reference):
            yield f"{name}: no token from the Secret"


def is_confined(job: Manifest) -> Iterator[str]:
    """What Pod Security calls restricted, plus a root file system that nothing can write."""
    contexts = {"autoscaler": job["spec"]["rayClusterSpec"]["autoscalerOptions"]["securityContext"]}
    for name, template in templates_of(job):
        spec = template["spec"]
        pod = spec.get("securityContext", {})
        if not (pod.get("runAsNonRoot") and pod.get("runAsUser") and pod.get("fsGroup")):
            yield f"{name}: may be root, or cannot write its volumes"
        if pod.get("seccompProfile") != {"type": "RuntimeDefault"}:
            yield f"{name}: no seccomp profile"
        if name != "head" and spec.get("automountServiceAccountToken") is not False:
            yield f"{name}: holds credentials of the API server"
    contexts |= {name: c.get("securityContext", {}) for name, c in containers_of(job)}
    for name, context in contexts.items():
        rights = {"allowPrivilegeEscalation": False, "readOnlyRootFilesystem": True}
        if context != {**rights, "capabilities": {"drop": ["ALL"]}}:
            yield f"{name}: not confined: {context}"


def has_places_to_write(job: Manifest) -> Iterator[str]:
    for group in groups_of(job):
        mounts = {m["mountPath"]: m["name"] for m in group.container["volumeMounts"]}
        volumes = {volume["name"]: volume for volume in group.template["spec"]["volumes"]}
        yield from (f"{group.name}: {path} is read-only" for path in WRITABLE if path not in mounts)
        claim = volumes[mounts["/runs"]].get("persistentVolumeClaim") if "/runs" in mounts else None
        if claim != {"claimName": "parley-runs"}:
            yield f"{group.name}: /runs is not the shared claim"
        variables = {v["name"]: v.get("value") for v in group.container.get("env", [])}
        if not str(variables.get("PARLEY_CACHE_DIR")).startswith("/runs/"):
            yield f"{group.name}: would make the embedded models anew in every pod"
        shm = volumes.get(mounts.get("/dev/shm", ""), {}).get("emptyDir", {})
        wanted = OBJECT_STORE_SHARE * _gibibytes(group.container["resources"]["limits"]["memory"])
        if shm.get("medium") != "Memory" or _gibibytes(shm.get("sizeLimit", "0Gi")) < wanted:
            yield f"{group.name}: the object store would lie on a disk"


def _gibibytes(quantity: str) -> float:
    assert quantity.endswith("Gi"), quantity
    return float(quantity.removesuffix("Gi"))


def ends_gently(job: Manifest) -> Iterator[str]:
    for group in groups_of(job):
        stop = group.container.get("lifecycle", {}).get("preStop", {}).get("exec", {})
        if "ray stop" not in " ".join(stop.get("command", [])):
            yield f"{group.name}: Ray is not stopped before the pod goes"
        if group.template["spec"].get("terminationGracePeriodSeconds", 30) < 30:
            yield f"{group.name}: too little time to stop"


def ports_are_named(job: Manifest) -> Iterator[str]:
    for group in groups_of(job):
        wanted = PORTS if group.name == "head" else {"metrics": PORTS["metrics"]}
        found = {port["name"]: port["containerPort"] for port in group.container["ports"]}
        if found != wanted:
            yield f"{group.name}: ports {found}"
        yield from _metrics_are_offered(group)


def _metrics_are_offered(group: Group) -> Iterator[str]:
    port = group.template["metadata"].get("annotations", {}).get("prometheus.io/port")
    if not port == group.params.get("metrics-export-port") == str(PORTS["metrics"]):
        yield f"{group.name}: metrics are not where Prometheus looks"


RULES: tuple[Callable[[Manifest], Iterator[str]], ...] = (
    versions_agree,
    entrypoint_fits_the_cluster,
    roles_stay_apart,
    scales,
    only_rollouts_are_spot,
    shows_a_token,
    is_confined,
    has_places_to_write,
    ends_gently,
    ports_are_named,
)
