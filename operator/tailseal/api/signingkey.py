"""SigningKey: what to sign with, and how its keys follow each other."""

from __future__ import annotations

from typing import Annotated, ClassVar, Final, Literal

from pydantic import Field, StringConstraints

from tailseal.api.base import ApiModel, Items, Rule, exactly_one
from tailseal.api.conditions import Conditions
from tailseal.api.durations import Duration, between, cel_duration
from tailseal.api.fields import SecretRef, Text
from tailseal.api.times import Timestamp

Algorithm = Literal["RS256", "PS256", "ES256", "ES384", "EdDSA"]
KeyState = Literal["Pending", "Published", "Active", "Retiring", "Retired", "Revoked"]

MINIMAL_WAIT: Final = 30
"""Seconds that some verifiers keep a key set whatever its headers say (npm jose, PyJWKClient: measured)."""

DEFAULT_ALGORITHM: Final = "ES256"
"""What `algorithm` is if it is left out."""

_RSA: Final = ("RS256", "PS256")
_DAY: Final = 86_400

KeyID = Annotated[str, StringConstraints(min_length=1, max_length=128, pattern=r"^[!-~]+$")]
"""A `kid`."""


class Rotation(ApiModel):
    """When the next key follows, and how carefully."""

    rules: ClassVar = (
        between("interval", MINIMAL_WAIT + 1, 99_999 * 3600),
        between("publish_lead", MINIMAL_WAIT, 99_999 * 3600),
        between("stall_after", 1, 30 * _DAY),
        Rule(
            cel=f"{cel_duration('publish_lead')} < {cel_duration('interval')}",
            message="publishLead must be shorter than interval",
            holds=lambda self: self.publish_lead < self.interval,
        ),
    )

    interval: Duration = 720 * 3600
    """How long a key signs before the next one takes over."""
    publish_lead: Duration = 24 * 3600
    """How long before its turn the next key stands in the JWKS, so that every cache has it when it signs."""
    spare: bool = True
    """Keep one more key published and unused, ready for the case that the active one must be revoked."""
    stall_after: Duration = 3600
    """After how long of waiting for a replica a due activation is reported as Stalled, naming the pod."""
    on_revoke_without_spare: Literal["SignNow", "Stop"] = "SignNow"
    """What an emergency revocation does when no published spare is there.

    SignNow makes a new key sign at once, which caches may not know yet; Stop signs nothing until it is safe.
    """


class Jwks(ApiModel):
    """How the public keys are served."""

    rules: ClassVar = (between("max_age", 0, _DAY),)

    max_age: Duration = 300
    """How long verifiers may cache the key set (Cache-Control max-age). 30s or less lets revocations bite sooner."""


class Generate(ApiModel):
    """Keys made by the operator: nothing to say about them."""


class ImportKey(ApiModel):
    """A key of one's own. It is copied; another one in its place follows it as soon as verifiers can know it."""

    secret_ref: SecretRef
    """Secret with one private key, not encrypted, as `tls.key`, `key.pem`, `jwk.json` or `jwks.json`.

    PEM may be PKCS#8, PKCS#1 or SEC1; it must fit `algorithm`."""
    key_id: KeyID | None = None
    """Which key of a JWKS, by its `kid`; or the `kid` of a key that has none.

    Left out, the JWK keeps its own, and others are named by their RFC 7638 thumbprint."""


class Pkcs11(ApiModel):
    """A key that lives in a hardware module and never leaves it.

    Only the workers open the token. Another key, by its label and public key, follows as soon as verifiers can
    know it, and signs once every replica was seen to sign with it.
    """

    module: Annotated[str, StringConstraints(max_length=256, pattern=r"^/[!-~]+$")]
    """Path of the PKCS#11 library in the worker's image, with all that it needs: the image is yours to make."""
    token_label: Annotated[str, StringConstraints(min_length=1, max_length=32)]
    """Label of the token."""
    key_label: Text
    """Label of the private key; one key of the token must have it."""
    public_key: Annotated[str, StringConstraints(max_length=4096, pattern=r"^\s*-----BEGIN PUBLIC KEY-----[\s\S]+$")]
    """Its public key as PEM (SubjectPublicKeyInfo); it must fit `algorithm`. It is what gets published."""
    key_id: KeyID | None = None
    """Its `kid`; left out, its RFC 7638 thumbprint."""
    pin_secret_ref: SecretRef
    """Secret with the user PIN of the token under `pin`."""


class KeySource(ApiModel):
    """Where key material comes from."""

    rules: ClassVar = (exactly_one("generate", "import_", "pkcs11"),)

    generate: Generate | None = None
    """The operator makes the keys. This is what happens if `source` is left out."""
    import_: ImportKey | None = None
    """A key made elsewhere."""
    pkcs11: Pkcs11 | None = None
    """A key in a hardware security module."""


class SigningKeySpec(ApiModel):
    """What to sign with, and how its keys follow each other."""

    rules: ClassVar = (
        between("clock_skew", 0, 600),
        Rule(
            cel="!has(self.rsaBits) || self.algorithm in ['RS256', 'PS256']",
            message="rsaBits is for the algorithms RS256 and PS256 only",
            holds=lambda self: "rsa_bits" not in self.model_fields_set or self.algorithm in _RSA,
        ),
        Rule(
            cel="!has(self.rsaBits) || !has(self.source) || has(self.source.generate)",
            message="rsaBits is for keys that the operator makes: one that is brought has its size; leave rsaBits out",
            holds=lambda self: "rsa_bits" not in self.model_fields_set or not self.brought,
        ),
        Rule(
            cel=(
                f"(duration(self.jwks.maxAge) > duration('{MINIMAL_WAIT}s') "
                f"? duration(self.jwks.maxAge) : duration('{MINIMAL_WAIT}s')) "
                "+ duration(self.clockSkew) <= duration(self.rotation.publishLead)"
            ),
            message="rotation.publishLead must be at least clockSkew plus the longer of jwks.maxAge and 30s",
            holds=lambda self: max(self.jwks.max_age, MINIMAL_WAIT) + self.clock_skew <= self.rotation.publish_lead,
        ),
    )

    algorithm: Algorithm = DEFAULT_ALGORITHM
    """Algorithm of the keys made from now on; a change takes effect with the next key."""
    rsa_bits: Literal[2048, 3072, 4096] = Field(default=3072, json_schema_extra={"x-default-in-code": True})
    """Size of RSA keys (RS256, PS256); 3072 if left out."""
    rotation: Rotation = Rotation()
    """When the next key follows, and how carefully."""
    jwks: Jwks = Jwks()
    """How the public keys are served."""
    clock_skew: Duration = 60
    """How far the clocks of replicas and verifiers may differ."""
    source: KeySource | None = None
    """Where key material comes from: exactly one member; left out, the operator makes the keys."""
    revoked_key_ids: Annotated[tuple[KeyID, ...], Items(64, "set")] = ()
    """Emergency: key ids that must neither sign nor be published from now on. Revoked is for ever, also after
    the id is taken off this list. Tokens that such a key signed stop to verify."""

    @property
    def brought(self) -> bool:
        """Whether keys are brought: nobody but their owner can make the next one."""
        return self.source is not None and self.source.generate is None


class KeyStatus(ApiModel):
    """One key, as the ledger has it."""

    key_id: Annotated[str, StringConstraints(max_length=128)]
    """The `kid`."""
    algorithm: Annotated[str, StringConstraints(max_length=16)]
    """What it signs with."""
    state: KeyState
    """Pending, Published, Active, Retiring, Retired or Revoked."""
    creation_time: Timestamp | None = None
    """When it was made."""
    publish_time: Timestamp | None = None
    """When every replica was first seen serving it."""
    activation_time: Timestamp | None = None
    """When it began to sign."""
    removal_time: Timestamp | None = None
    """When it may leave the JWKS: after the last token that it signed has expired everywhere."""


class SigningKeyStatus(ApiModel):
    """What was seen of the keys; mirrors the ledger in the key's Secret."""

    observed_generation: int | None = None
    """Generation of the spec that this status is about."""
    active_key_id: Annotated[str, StringConstraints(max_length=128)] | None = None
    """The `kid` that signs now."""
    next_rotation_time: Timestamp | None = None
    """When the next key takes over, if nothing holds it up."""
    keys: Annotated[tuple[KeyStatus, ...], Items(64, "map", key="key_id")] = ()
    """All keys that are not forgotten yet."""
    conditions: Conditions = ()
    """Accepted, Published, Ready; Reconciling and Stalled while something is under way or stuck."""
