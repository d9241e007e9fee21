"""How the pods of an IdentityProvider are run and reached."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import Field, StringConstraints

from tailseal.api.base import ApiModel, Items
from tailseal.api.fields import DnsLabel, HttpsURL, LabelKey, LabelValue, Quantity, SecretRef

Labels = Annotated[dict[LabelKey, LabelValue], Field(max_length=16)]
Amounts = Annotated[dict[Literal["cpu", "memory", "ephemeral-storage"], Quantity], Field(max_length=3)]
Cidr = Annotated[str, StringConstraints(max_length=43, pattern=r"^[0-9A-Fa-f:.]+/[0-9]{1,3}$")]
"""A network such as `10.0.0.0/8`."""


class Toleration(ApiModel):
    """A taint of nodes that the pods put up with, as in a pod's spec."""

    key: LabelKey | None = None
    """Taint key; left out, with operator Exists, any."""
    operator: Literal["Exists", "Equal"] | None = None
    """How `value` is compared; Equal if left out."""
    value: LabelValue | None = None
    """Taint value."""
    effect: Literal["NoSchedule", "PreferNoSchedule", "NoExecute"] | None = None
    """Taint effect; left out, any."""
    toleration_seconds: Annotated[int, Field(ge=0)] | None = None
    """With effect NoExecute: for how many seconds; left out, for ever."""


class Resources(ApiModel):
    """What a container asks for and may use, as in a pod's spec."""

    requests: Amounts | None = None
    """Guaranteed amounts of cpu, memory, ephemeral-storage."""
    limits: Amounts | None = None
    """Upper limits of the same."""


class Workload(ApiModel):
    """How the pods of both services are run."""

    labels: Labels = Field(default_factory=dict)
    """Labels that the pods get beside ours."""
    node_selector: Labels = Field(default_factory=dict)
    """Labels that a node must have."""
    tolerations: Annotated[tuple[Toleration, ...], Items(16)] = ()
    """Taints that the pods put up with."""
    resources: Resources = Resources()
    """What each container asks for and may use."""
    log_level: Literal["Debug", "Info", "Warning", "Error"] = "Info"
    """How much the workers say."""


class Tls(ApiModel):
    """A certificate that the workers serve with; renewals are taken up by themselves."""

    secret_ref: SecretRef
    """Secret of type kubernetes.io/tls. Its name is any but this object's with `-tls`, which the workers' copy has."""


class Endpoint(ApiModel):
    """A URL at which the services are reached from somewhere."""

    name: DnsLabel
    """Name of this entry."""
    url: HttpsURL
    """The URL, without the path of any single endpoint."""
    exposure: Literal["External", "Internal"] = "External"
    """External: from outside the cluster, too. Internal: from within only."""


class Serving(ApiModel):
    """How both services are reached."""

    tls: Tls | None = None
    """Certificate; left out, something in front of the pods ends TLS."""
    endpoints: Annotated[tuple[Endpoint, ...], Items(8, "map")] = ()
    """Where the services are reached; left out, at the issuer's URL."""
    trusted_proxies: Annotated[tuple[Cidr, ...], Items(32, "set")] = ()
    """Networks of proxies whose X-Forwarded-For is believed for rate limits, and for nothing else."""
