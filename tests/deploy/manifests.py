"""Reading what `deploy/` holds, and the facts that its files must agree on."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any, NamedTuple

import yaml

ROOT = Path(__file__).parents[2]
DEPLOY = ROOT / "deploy"
KUBERAY = DEPLOY / "kuberay"
SECRET, SECRET_KEY = "parley-ray-token", "auth_token"
"""KubeRay reads the token under this key, whatever the Secret is called."""
SPOT_LABELS = {
    "karpenter.sh/capacity-type": "spot",
    "eks.amazonaws.com/capacityType": "SPOT",
    "cloud.google.com/gke-spot": "true",
    "kubernetes.azure.com/scalesetpriority": "spot",
}
"""How nodes that may be taken away are marked, by those who provide them."""

Manifest = dict[str, Any]


class Group(NamedTuple):
    """One kind of Ray pod."""

    name: str
    params: dict[str, str]
    template: Manifest

    @property
    def container(self) -> Manifest:
        """The one that runs Ray: KubeRay takes the first."""
        first: Manifest = self.template["spec"]["containers"][0]
        return first


def read_manifest(name: str) -> Manifest:
    """The one document of a file below `deploy/`."""
    content: Manifest = yaml.safe_load((DEPLOY / name).read_text("utf-8"))
    return content


def groups_of(job: Manifest) -> list[Group]:
    """Head first, then the workers."""
    cluster = job["spec"]["rayClusterSpec"]
    head = cluster["headGroupSpec"]
    return [Group("head", head["rayStartParams"], head["template"])] + [
        Group(group["groupName"], group["rayStartParams"], group["template"])
        for group in cluster["workerGroupSpecs"]
    ]


def templates_of(job: Manifest) -> Iterator[tuple[str, Manifest]]:
    """All pod templates by name, the submitter's too."""
    for group in groups_of(job):
        yield group.name, group.template
    yield "submitter", job["spec"]["submitterPodTemplate"]


def containers_of(job: Manifest) -> Iterator[tuple[str, Manifest]]:
    """Every pod has one of its own; the operator adds the autoscaler's to the head's."""
    for name, template in templates_of(job):
        (container,) = template["spec"]["containers"]
        yield name, container


def pinned(package: str) -> str:
    """The version in constraints.txt."""
    for line in (ROOT / "constraints.txt").read_text("utf-8").splitlines():
        name, _, version = line.partition("==")
        if name.lower() == package:
            return version
    raise AssertionError(f"{package} is not in constraints.txt")
