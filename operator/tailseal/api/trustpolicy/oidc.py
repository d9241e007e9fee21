"""The general form of trust: tokens of an OpenID Connect issuer, by their claims."""

from __future__ import annotations

from typing import Annotated, Any, ClassVar, Final, Literal

from pydantic import Field, StringConstraints

from tailseal.api.base import ApiModel, Items, Rule, exactly_one
from tailseal.api.durations import Duration, between
from tailseal.api.fields import Audience, Certificates, ForeignIssuer, HttpsURL
from tailseal.api.times import Timestamp

Value = Annotated[str, StringConstraints(max_length=256)]
Expression = Annotated[str, StringConstraints(min_length=1, max_length=256)]
ClaimName = Annotated[str, StringConstraints(min_length=1, max_length=128)]
Base64URL = Annotated[str, StringConstraints(min_length=1, max_length=1400, pattern=r"^[A-Za-z0-9_-]+$")]
"""Unpadded base64url; long enough for a modulus of 8192 bits."""
SafeInteger = Annotated[int, Field(ge=-(2**53) + 1, le=2**53 - 1)]
"""An integer that every JSON reader keeps exact (RFC 8259 section 6)."""

Condition = Annotated[str, StringConstraints(min_length=1, max_length=2048)]
"""A CEL expression that gives true or false."""

VerificationAlgorithm = Literal[
    "RS256", "RS384", "RS512", "PS256", "PS384", "PS512", "ES256", "ES384", "ES512", "EdDSA"
]

DEFAULT_ALGORITHMS: tuple[VerificationAlgorithm, ...] = ("RS256",)
"""What `algorithms` is if it is left out."""


class Matcher(ApiModel):
    """A condition on one string."""

    rules: ClassVar = (exactly_one("exact", "glob", "regex"),)

    exact: Value | None = None
    """Equal, character by character."""
    glob: Expression | None = None
    """A pattern: `*` stays within a part between `/ : @`, `**` crosses them, `?` is one character."""
    regex: Expression | None = None
    """A regular expression (RE2) that matches the whole value."""


class ClaimRule(ApiModel):
    """A condition on one claim."""

    rules: ClassVar = (
        exactly_one("claim", "path"),
        exactly_one("exact", "exact_integer", "exact_boolean", "exact_decimal", "one_of", "glob", "regex", "present"),
        Rule(
            cel="!has(self.match) || !has(self.present)",
            message="match does not go with present",
            holds=lambda self: self.match is None or self.present is None,
        ),
    )

    claim: ClaimName | None = None
    """Name of a top-level claim."""
    path: (
        Annotated[tuple[Annotated[str, StringConstraints(min_length=1, max_length=64)], ...], Items(8, minimum=1)]
        | None
    ) = None
    """Names from the outside in, for a claim within others: `["kubernetes.io", "namespace"]`."""
    exact: Value | None = None
    """A string, equal character by character."""
    exact_integer: SafeInteger | None = None
    """A whole number."""
    exact_boolean: bool | None = None
    """A JSON true or false, not the text."""
    exact_decimal: Annotated[str, StringConstraints(max_length=40, pattern=r"^-?[0-9]+(\.[0-9]+)?$")] | None = None
    """A number written out, compared without rounding."""
    one_of: (
        Annotated[tuple[Annotated[str, StringConstraints(max_length=128)], ...], Items(32, "set", minimum=1)] | None
    ) = None
    """A string that is one of these."""
    glob: Expression | None = None
    """A pattern: `*` stays within a part between `/ : @`, `**` crosses them, `?` is one character."""
    regex: Expression | None = None
    """A regular expression (RE2) that matches the whole value."""
    present: bool | None = None
    """true: the claim is there, whatever it says. false: it is not there."""
    match: Literal["Any", "All"] | None = None
    """For a claim that is a list: whether any or every element must match. Left out, a list never matches."""


class Discovery(ApiModel):
    """Keys found by the issuer's metadata."""

    discovery_url: HttpsURL | None = None
    """Where the metadata is; left out, at the issuer's well-known place."""


class Jwk(ApiModel):
    """A public key as RFC 7517 has it."""

    kty: Literal["RSA", "EC", "OKP"]
    """Key type."""
    kid: Annotated[str, StringConstraints(max_length=256)] | None = None
    """Key id."""
    alg: VerificationAlgorithm | None = None
    """The algorithm that the key is for."""
    use: Literal["sig"] | None = None
    """What the key is for."""
    n: Base64URL | None = None
    """RSA modulus. In YAML write the name in quotation marks, or kubectl reads false."""
    e: Annotated[str, StringConstraints(max_length=16, pattern=r"^[A-Za-z0-9_-]+$")] | None = None
    """RSA exponent."""
    crv: Literal["P-256", "P-384", "P-521", "Ed25519"] | None = None
    """Curve."""
    x: Annotated[str, StringConstraints(max_length=96, pattern=r"^[A-Za-z0-9_-]+$")] | None = None
    """First coordinate, or the public key of an OKP."""
    y: Annotated[str, StringConstraints(max_length=96, pattern=r"^[A-Za-z0-9_-]+$")] | None = None
    """Second coordinate. In YAML write the name in quotation marks, or kubectl reads true."""


class InlineJwks(ApiModel):
    """Keys written here, for an issuer that cannot be reached."""

    keys: Annotated[tuple[Jwk, ...], Items(8, minimum=1)]
    """Public keys."""
    expiry_time: Timestamp | None = None
    """Until when they may be used, so that a forgotten copy does not stay trusted."""

    def jwks(self) -> dict[str, Any]:
        """The key set as RFC 7517 has it."""
        return {"keys": [key.document() for key in self.keys]}


class Keys(ApiModel):
    """Where the issuer's public keys come from."""

    rules: ClassVar = (exactly_one("discovery", "jwks_uri", "jwks"),)

    discovery: Discovery | None = None
    """Found by the issuer's metadata. This is what happens if `keys` is left out."""
    jwks_uri: HttpsURL | None = None
    """Fetched from this URL."""
    jwks: InlineJwks | None = None
    """Written here."""


class Replay(ApiModel):
    """Whether a token counts more than once."""

    one_time: bool
    """Take each token once only; needs storage that all replicas share."""


AGE: Final = between("max_age", 1, 7 * 86_400)
"""The law about how old tokens may be, for every model that says it."""


class Demands(ApiModel):
    """What may be asked of anybody's tokens, beside what their claims say."""

    rules: ClassVar[tuple[Rule, ...]] = (AGE,)

    condition: Condition | None = None
    """A CEL expression over `claims`, asked last; only true is a yes."""
    max_age: Duration | None = None
    """How long ago the token may have been issued (`iat`); left out, only its expiry counts."""
    replay: Replay | None = None
    """Whether a token counts more than once; left out, it does."""


class Oidc(Demands):
    """Tokens of any OpenID Connect issuer, by their claims; everything that is said must hold."""

    issuer: ForeignIssuer
    """The `iss` of the tokens, compared byte by byte."""
    keys: Keys | None = None
    """Where the issuer's public keys come from: exactly one member; left out, discovery."""
    ca_bundle: Certificates | None = None
    """CA certificates (PEM) that the issuer's https is checked with, in place of the system's."""
    algorithms: Annotated[tuple[VerificationAlgorithm, ...], Items(10, "set")] = ()
    """Signature algorithms that are accepted; RS256 if left out."""
    audiences: Annotated[tuple[Audience, ...], Items(8, "set")] = ()
    """Values of `aud` that are accepted; left out, our issuer and the URL of our token service."""
    subject: Matcher | None = None
    """Condition on `sub`: exactly one member."""
    claims: Annotated[tuple[ClaimRule, ...], Items(16)] = ()
    """Conditions on claims; all must hold."""
