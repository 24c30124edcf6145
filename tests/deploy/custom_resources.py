"""The parts of custom resources that are used here, as JSON Schemas that know nothing else.

Written by hand after each project's own definitions, so that nothing has to be fetched: RabbitMQ's cluster operator
2.x and messaging topology operator 1.x, KEDA 2.x, and Prometheus' operator. What is not used here is a mistake, too.
"""

from __future__ import annotations

from typing import Any, Final

Schema = dict[str, Any]

TEXT: Final[Schema] = {"type": "string", "minLength": 1}
ANY_TEXT: Final[Schema] = {"type": "string"}
WHOLE: Final[Schema] = {"type": "integer", "minimum": 0}
YES_OR_NO: Final[Schema] = {"type": "boolean"}
DURATION: Final[Schema] = {"type": "string", "pattern": r"^(\d+(ms|s|m|h|d|w|y))+$"}
QUANTITY: Final[Schema] = {"type": "string", "pattern": r"^\d+(m|Ki|Mi|Gi|Ti)?$"}


def one_of(*values: str) -> Schema:
    return {"enum": list(values)}


def array(items: Schema) -> Schema:
    return {"type": "array", "items": items, "minItems": 1}


def mapping(values: Schema) -> Schema:
    return {"type": "object", "additionalProperties": values}


def record(required: dict[str, Schema], optional: dict[str, Schema] | None = None) -> Schema:
    """These fields and no others."""
    return {
        "type": "object",
        "required": list(required),
        "properties": {**required, **(optional or {})},
        "additionalProperties": False,
    }


NAME: Final = record({"name": TEXT})
LABELS: Final = mapping(ANY_TEXT)
SELECTOR: Final = record({"matchLabels": LABELS})
RESOURCES: Final = record({}, {"requests": mapping(QUANTITY), "limits": mapping(QUANTITY)})

_OF_BROKER: Final = {"rabbitmqClusterReference": NAME}
_ARGUMENTS: Final = mapping({"type": ["string", "integer", "boolean"]})
_DECLARED: Final = {"name": TEXT, "vhost": TEXT, "durable": YES_OR_NO, "autoDelete": YES_OR_NO}
_KEPT: Final = {"deletionPolicy": one_of("delete", "retain")}

_PODS: Final = record({"type": one_of("Pods", "Percent"), "value": WHOLE, "periodSeconds": WHOLE})
_SCALING: Final = record({"stabilizationWindowSeconds": WHOLE, "policies": array(_PODS)})

_RULE: Final = {
    "oneOf": [
        record({"record": TEXT, "expr": TEXT}, {"labels": LABELS}),
        record(
            {"alert": TEXT, "expr": TEXT},
            {"for": DURATION, "keep_firing_for": DURATION, "labels": LABELS, "annotations": LABELS},
        ),
    ]
}

SPECS: Final[dict[tuple[str, str], Schema]] = {
    ("rabbitmq.com/v1beta1", "RabbitmqCluster"): record(
        {"replicas": {"type": "integer", "minimum": 1, "not": {"multipleOf": 2}}},
        {
            "image": TEXT,
            "persistence": record({}, {"storage": QUANTITY, "storageClassName": TEXT}),
            "resources": RESOURCES,
            "tls": record({}, {"secretName": TEXT, "caSecretName": TEXT, "disableNonTLSListeners": YES_OR_NO}),
            "rabbitmq": record({}, {"additionalConfig": TEXT, "additionalPlugins": array(TEXT)}),
            "terminationGracePeriodSeconds": WHOLE,
            # Kubernetes' own, and checked with its schemas elsewhere.
            "affinity": {"type": "object"},
        },
    ),
    ("rabbitmq.com/v1beta1", "Vhost"): record(
        {"name": TEXT, **_OF_BROKER}, {**_KEPT, "defaultQueueType": one_of("quorum", "classic", "stream")}
    ),
    ("rabbitmq.com/v1beta1", "User"): record(
        _OF_BROKER,
        {
            "tags": array(one_of("management", "policymaker", "monitoring", "administrator")),
            "importCredentialsSecret": NAME,
        },
    ),
    ("rabbitmq.com/v1beta1", "Permission"): record(
        {
            "vhost": TEXT,
            "permissions": record({"configure": ANY_TEXT, "write": ANY_TEXT, "read": ANY_TEXT}),
            "userReference": NAME,
            **_OF_BROKER,
        }
    ),
    ("rabbitmq.com/v1beta1", "Exchange"): record(
        {**_DECLARED, "type": one_of("direct", "fanout", "topic", "headers"), **_OF_BROKER}, {"arguments": _ARGUMENTS}
    ),
    ("rabbitmq.com/v1beta1", "Queue"): record(
        {**_DECLARED, "type": one_of("quorum", "stream"), **_OF_BROKER}, {"arguments": _ARGUMENTS, **_KEPT}
    ),
    ("rabbitmq.com/v1beta1", "Binding"): record(
        {
            "vhost": TEXT,
            "source": TEXT,
            "destination": TEXT,
            "destinationType": one_of("queue", "exchange"),
            "routingKey": ANY_TEXT,
            **_OF_BROKER,
        }
    ),
    ("keda.sh/v1alpha1", "ScaledObject"): record(
        {
            "scaleTargetRef": NAME,
            "triggers": array(
                record(
                    {
                        "type": one_of("rabbitmq"),
                        "metadata": record(
                            {
                                "protocol": one_of("http"),
                                "mode": one_of("QueueLength"),
                                "queueName": TEXT,
                                "value": {"type": "string", "pattern": r"^\d+$"},
                            },
                            {
                                "vhostName": TEXT,
                                "useRegex": one_of("true", "false"),
                                "pageSize": {"type": "string", "pattern": r"^\d+$"},
                                "operation": one_of("sum", "max", "avg"),
                            },
                        ),
                        "authenticationRef": NAME,
                    }
                )
            ),
        },
        {
            "pollingInterval": WHOLE,
            "minReplicaCount": WHOLE,
            "maxReplicaCount": WHOLE,
            "fallback": record({"failureThreshold": WHOLE, "replicas": WHOLE}),
            "advanced": record(
                {
                    "horizontalPodAutoscalerConfig": record(
                        {"behavior": record({}, {"scaleDown": _SCALING, "scaleUp": _SCALING})}
                    )
                }
            ),
        },
    ),
    ("keda.sh/v1alpha1", "TriggerAuthentication"): record(
        {
            "secretTargetRef": array(
                record(
                    {"parameter": one_of("host", "username", "password", "tls", "ca"), "name": TEXT, "key": TEXT},
                )
            )
        }
    ),
    ("monitoring.coreos.com/v1", "PodMonitor"): record(
        {
            "selector": SELECTOR,
            "podMetricsEndpoints": array(
                record({"port": TEXT, "path": TEXT}, {"interval": DURATION, "scrapeTimeout": DURATION})
            ),
        },
        {"jobLabel": TEXT},
    ),
    ("monitoring.coreos.com/v1", "PrometheusRule"): record(
        {"groups": array(record({"name": TEXT, "rules": array(_RULE)}, {"interval": DURATION}))}
    ),
}


def schema_of(api_version: str, kind: str) -> Schema:
    """KeyError when it is none of these."""
    metadata = record({"name": TEXT}, {"namespace": TEXT, "labels": LABELS, "annotations": LABELS})
    constant: dict[str, Schema] = {"apiVersion": {"const": api_version}, "kind": {"const": kind}}
    return record({**constant, "metadata": metadata, "spec": SPECS[api_version, kind]})
