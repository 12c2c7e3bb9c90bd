"""The fields of KubeRay's RayJob that may stand in a manifest, as JSON schema.

KubeRay's own schema is a custom resource definition of a megabyte that comes with the operator.
These are the fields of its Go types (ray-operator/apis/ray/v1/rayjob_types.go, raycluster_types.go)
that have been there since 1.3, and `authOptions` as the API reference of 1.6 has it. The API server
drops unknown fields without a word, so a misspelt one must be found here. Pod templates are left to
Kubernetes' schemas.
"""

from __future__ import annotations

from typing import Any

Schema = dict[str, Any]

STRING: Schema = {"type": "string", "minLength": 1}
BOOLEAN: Schema = {"type": "boolean"}
COUNT: Schema = {"type": "integer", "minimum": 0}
OBJECT: Schema = {"type": "object"}
ARRAY: Schema = {"type": "array"}
STRINGS: Schema = {"type": "object", "additionalProperties": {"type": "string"}}


def _object(required: list[str], **properties: Schema) -> Schema:
    return {
        "type": "object",
        "required": required,
        "properties": properties,
        "additionalProperties": False,
    }


AUTOSCALER = _object(
    [],
    resources=OBJECT,
    image=STRING,
    imagePullPolicy=STRING,
    securityContext=OBJECT,
    idleTimeoutSeconds=COUNT,
    upscalingMode={"enum": ["Default", "Aggressive", "Conservative"]},
    env=ARRAY,
    envFrom=ARRAY,
    volumeMounts=ARRAY,
)
HEAD = _object(
    ["rayStartParams", "template"],
    rayStartParams=STRINGS,
    template=OBJECT,
    headService=OBJECT,
    enableIngress=BOOLEAN,
    serviceType={"enum": ["ClusterIP", "NodePort", "LoadBalancer"]},
)
WORKERS = _object(
    ["groupName", "rayStartParams", "template", "minReplicas", "maxReplicas"],
    groupName=STRING,
    replicas=COUNT,
    minReplicas=COUNT,
    maxReplicas=COUNT,
    idleTimeoutSeconds=COUNT,
    numOfHosts=COUNT,
    rayStartParams=STRINGS,
    template=OBJECT,
)
CLUSTER = _object(
    ["headGroupSpec", "rayVersion"],
    rayVersion={"type": "string", "pattern": r"^\d+\.\d+\.\d+$"},
    authOptions=_object(["mode"], mode={"enum": ["disabled", "token"]}, secretName=STRING),
    enableInTreeAutoscaling=BOOLEAN,
    autoscalerOptions=AUTOSCALER,
    gcsFaultToleranceOptions=OBJECT,
    headServiceAnnotations=STRINGS,
    managedBy=STRING,
    suspend=BOOLEAN,
    headGroupSpec=HEAD,
    workerGroupSpecs={"type": "array", "items": WORKERS},
)
JOB = _object(
    ["entrypoint", "rayClusterSpec"],
    entrypoint=STRING,
    runtimeEnvYAML=STRING,
    jobId=STRING,
    metadata=STRINGS,
    submissionMode={"enum": ["K8sJobMode", "HTTPMode", "InteractiveMode", "SidecarMode"]},
    submitterConfig=_object([], backoffLimit=COUNT),
    submitterPodTemplate=OBJECT,
    entrypointNumCpus={"type": "number"},
    entrypointNumGpus={"type": "number"},
    entrypointResources=STRING,
    backoffLimit=COUNT,
    activeDeadlineSeconds={"type": "integer", "minimum": 1},
    shutdownAfterJobFinishes=BOOLEAN,
    ttlSecondsAfterFinished=COUNT,
    suspend=BOOLEAN,
    managedBy=STRING,
    rayClusterSpec=CLUSTER,
)
RAYJOB = _object(
    ["apiVersion", "kind", "metadata", "spec"],
    apiVersion={"const": "ray.io/v1"},
    kind={"const": "RayJob"},
    metadata=OBJECT,
    spec=JOB,
)
