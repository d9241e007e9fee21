"""Reasons in conditions and events: words that programs may act on, each documented."""

from __future__ import annotations

from enum import StrEnum


class Reason(StrEnum):
    """Why a condition is as it is. Part of the API: never renamed, only added to."""

    # All is well
    ACCEPTED = "Accepted"
    """The spec is valid, within bounds and supported."""
    RESOLVED = "Resolved"
    """Everything that the spec names is there."""
    PROGRAMMED = "Programmed"
    """Every replica was seen to serve it."""
    PUBLISHED = "Published"
    """Every replica was seen to serve the public keys."""
    READY = "Ready"
    """It works now."""
    SUCCEEDED = "Succeeded"
    """Nothing is under way and nothing is stuck."""

    # Under way
    PENDING = "Pending"
    """Not looked at yet."""
    WAITING_FOR_REPLICAS = "WaitingForReplicas"
    """Written, but not every replica was seen to serve it yet."""
    WAITING_FOR_CACHES = "WaitingForCaches"
    """Served everywhere, but verifiers may still hold a key set without it."""
    WAITING_FOR_PROVIDER = "WaitingForProvider"
    """The IdentityProvider is not ready yet."""
    NO_REPLICAS = "NoReplicas"
    """No replica runs that could serve it."""
    ROTATING = "Rotating"
    """A key follows another."""
    RETIRING = "Retiring"
    """A former key stays published until its last token has expired."""

    # The spec
    NOT_SUPPORTED_YET = "NotSupportedYet"
    """The spec asks for something that this version does not do; the message names the field."""
    INVALID_SPEC = "InvalidSpec"
    """The spec contradicts itself or cannot be compiled; the message names the field and what would be right."""
    EXCEEDS_BOUNDS = "ExceedsBounds"
    """The IdentityProvider's bounds do not allow this to the policy's namespace; the message names the field."""
    TENANT_NOT_PINNED = "TenantNotPinned"
    """The issuer is shared by many tenants and no immutable claim binds the policy to one of them."""
    TTL_EXCEEDS_OVERLAP = "TTLExceedsOverlap"
    """A token would outlive the time for which its key stays published."""
    RESERVED_AUDIENCE = "ReservedAudience"
    """A grant's audience is one of our own endpoints, clients or federation audiences."""
    NEEDS_SHARED_STATE = "NeedsSharedState"
    """One-time use and required DPoP need the shared PostgreSQL."""
    CAPACITY_EXCEEDED = "CapacityExceeded"
    """It does not fit any more: a shard, or a bound's maxPolicies, is full."""
    ISSUER_TAKEN = "IssuerTaken"
    """Another IdentityProvider already speaks for this issuer."""

    # What the spec names
    REF_NOT_FOUND = "RefNotFound"
    """Something that the spec names is not there."""
    REF_NOT_PERMITTED = "RefNotPermitted"
    """Something that the spec names is there, but may not be used: no label on a Secret, another namespace."""
    REF_INVALID = "RefInvalid"
    """Something that the spec names is there, but does not hold what is needed."""
    REF_NOT_READY = "RefNotReady"
    """Something that the spec names is there, but is not ready itself."""

    # What we own
    NAME_TAKEN = "NameTaken"
    """A name that we need is held by an object that is not ours; it is never adopted."""
    KEY_MATERIAL_LOST = "KeyMaterialLost"
    """Keys that tokens were signed with are gone, with their ledger; a new key waits as if it had rotated."""
    LEDGER_UNREADABLE = "LedgerUnreadable"
    """The ledger is there but cannot be read; nothing is changed until a person has looked."""
    FORBIDDEN = "Forbidden"
    """The API server does not let us write what is needed; the message says what."""
    WORKLOAD_UNAVAILABLE = "WorkloadUnavailable"
    """The Deployment has fewer available pods than wanted."""

    # Replicas
    REPLICA_UNREACHABLE = "ReplicaUnreachable"
    """A replica does not answer the operator, so what it serves is unknown."""
    REPLICA_BEHIND = "ReplicaBehind"
    """A replica serves an older configuration."""
    BUNDLE_INVALID = "BundleInvalid"
    """A replica cannot load its configuration, or a part of it."""
    STALLED = "Stalled"
    """It waits for longer than stallAfter; the message names the pod."""
    CLOCK_SKEW = "ClockSkew"
    """The clock of a replica is further off than clockSkew allows."""
    KUBELET_SPEED = "KubeletSpeed"
    """We may not annotate worker pods, so changes travel at the kubelet's pace of up to 90 seconds."""

    # Emergency
    OVERLAP_BROKEN = "OverlapBroken"
    """A revocation took a key out at once: tokens that it signed fail, and the new key may be unknown to caches."""
    SIGNING_STOPPED = "SigningStopped"
    """A revocation left no key that may sign, and onRevokeWithoutSpare is Stop."""
    KEY_REVOKED = "KeyRevoked"
    """A key was revoked."""

    # Events of rotation
    KEY_CREATED = "KeyCreated"
    """A key was made."""
    KEY_IMPORTED = "KeyImported"
    """A key that somebody brought was taken up."""
    KEY_ACTIVATED = "KeyActivated"
    """A key began to sign."""
    KEY_REMOVED = "KeyRemoved"
    """A key left the JWKS."""
