"""`tailseal keys verify`: with which key a token verifies, what state that is in, until when, or why not."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import yaml

from tailseal.api.times import format_time, parse_time
from tailseal.cli.cluster import Where, ask, signing_keys
from tailseal.cli.errors import FAILED, Failure
from tailseal.cli.output import envelope, printable
from tailseal.tokens import compact
from tailseal.tokens.compact import Compact
from tailseal.tokens.errors import Fault, KeySetError, TokenError
from tailseal.tokens.keyset import KeySet, parse_jwks
from tailseal.tokens.verify import check_claims, check_signature

if TYPE_CHECKING:
    from tailseal.cluster.port import Cluster, Object

__all__ = ["FAILED", "Verdict", "in_cluster", "offline", "said"]

UNKNOWN_ISSUER: Final = "UnknownIssuer"
KEY_REVOKED: Final = "KeyRevoked"
KEY_RETIRED: Final = "KeyRetired"

_GONE: Final = {"Revoked": KEY_REVOKED, "Retired": KEY_RETIRED}


@dataclass(frozen=True, slots=True)
class Verdict:
    """What is to be said of a token; nothing of it but its key's id, issuer and times.

    Args:
        verifies: whether it does now.
        reason: stable word; empty where it verifies.
        message: for people.
        key_id: that it names.
        algorithm: that it names.
        issuer: that it names; not to be believed unless it verifies.
        signing_key: `namespace/name` of the SigningKey that has the key.
        state: of the key.
        issued: Unix seconds.
        expires: Unix seconds.
        until: until when it verifies; None: it does not.
    """

    verifies: bool
    reason: str = ""
    message: str = ""
    key_id: str = ""
    algorithm: str = ""
    issuer: str = ""
    signing_key: str = ""
    state: str = ""
    issued: float | None = None
    expires: float | None = None
    until: float | None = None


@dataclass(frozen=True, slots=True)
class _Key:
    """A key as its SigningKey's status has it, and the public keys beside it."""

    signing_key: str
    state: str
    removal: str
    jwks: bytes


def offline(token: str, jwks: Path) -> Verdict:
    """The verdict by a JWK Set in a file."""
    try:
        keys = parse_jwks(jwks.read_bytes())
    except KeySetError as error:
        raise Failure(f"{jwks}: {error}", hint="a JWK Set as an issuer serves it is needed") from None
    parsed = _parsed(token)
    return parsed if isinstance(parsed, Verdict) else _judged(parsed, keys)


def in_cluster(token: str, where: Where) -> Verdict:
    """The verdict by the keys of the cluster's issuer."""
    parsed = _parsed(token)
    if isinstance(parsed, Verdict):
        return parsed
    issuer, kid = parsed.payload.get("iss"), parsed.kid or ""
    known, key = ask(where, lambda cluster: _looked_up(cluster, where.namespace, issuer, kid))
    verdict = _described(parsed)
    if not known:
        return _no(verdict, UNKNOWN_ISSUER, "no IdentityProvider that can be seen has the token's issuer")
    if key is None:
        return _no(verdict, Fault.UNKNOWN_KEY, "no SigningKey beside its issuer has the token's key")
    verdict = replace(verdict, signing_key=key.signing_key, state=key.state)
    if key.state in _GONE:
        text = "its key is revoked: nothing that it signed verifies" if key.state == "Revoked" else "its key is retired"
        return _no(verdict, _GONE[key.state], text)
    try:
        judged = _judged(parsed, parse_jwks(key.jwks))
    except KeySetError:
        return _no(verdict, Fault.UNKNOWN_KEY, "its key is not published (yet)")
    until = judged.until
    if until is not None and key.removal:
        until = min(until, parse_time(key.removal))
    return replace(judged, signing_key=key.signing_key, state=key.state, until=until)


def said(verdict: Verdict, output: str) -> str:
    """The verdict as text, JSON or YAML."""
    if output == "text":
        return "\n".join(_lines(verdict))
    times = {"issueTime": verdict.issued, "expiryTime": verdict.expires, "verifiesUntil": verdict.until}
    content = {
        "verifies": verdict.verifies,
        "reason": verdict.reason,
        "message": verdict.message,
        "keyID": verdict.key_id,
        "algorithm": verdict.algorithm,
        "issuer": verdict.issuer,
        "signingKey": verdict.signing_key,
        "state": verdict.state,
        **{name: _time(value) for name, value in times.items()},
    }
    text = envelope("TokenVerification", {name: value for name, value in content.items() if value not in ("", None)})
    return text if output == "json" else yaml.safe_dump(json.loads(text), sort_keys=False).rstrip()


def _parsed(token: str) -> Compact | Verdict:
    try:
        return compact.split(token)
    except TokenError as error:
        return Verdict(verifies=False, reason=error.reason, message=str(error))


def _described(token: Compact) -> Verdict:
    issuer = token.payload.get("iss")
    return Verdict(
        verifies=False,
        key_id=token.kid or "",
        algorithm=token.alg,
        issuer=issuer if isinstance(issuer, str) else "",
        issued=_instant(token.payload.get("iat")),
        expires=_instant(token.payload.get("exp")),
    )


def _judged(token: Compact, keys: KeySet) -> Verdict:
    verdict = _described(token)
    try:
        check_signature(token, keys)
        check_claims(token.payload, now=time.time(), skew=0)
    except TokenError as error:
        return _no(verdict, error.reason, str(error))
    return replace(verdict, verifies=True, until=verdict.expires)


def _no(verdict: Verdict, reason: str, message: str) -> Verdict:
    return replace(verdict, verifies=False, reason=str(reason), message=message, until=None)


def _instant(value: object) -> float | None:
    return float(value) if type(value) is int and 0 <= value < 253_402_300_800 else None  # noqa: PLR2004 - year 10000


async def _looked_up(cluster: Cluster, namespace: str, issuer: object, kid: str) -> tuple[bool, _Key | None]:
    """Whether an IdentityProvider has the issuer, and the key beside it."""
    from tailseal.cluster.kinds import IDENTITY_PROVIDER  # noqa: PLC0415

    providers = [obj async for obj in cluster.list(IDENTITY_PROVIDER, namespace)]
    places = sorted({obj["metadata"]["namespace"] for obj in providers if obj["spec"].get("issuer") == issuer})
    for place in places:
        for obj in await signing_keys(cluster, place):
            for entry in (obj.get("status") or {}).get("keys", ()):
                if entry["keyID"] == kid:
                    return True, await _key(cluster, obj, entry)
    return bool(places), None


async def _key(cluster: Cluster, obj: Object, entry: Mapping[str, str]) -> _Key:
    from tailseal.api.meta import jwks_config_map  # noqa: PLC0415
    from tailseal.cluster.kinds import CONFIG_MAP  # noqa: PLC0415
    from tailseal.cluster.port import Ref  # noqa: PLC0415

    metadata = obj["metadata"]
    public = await cluster.get(Ref(CONFIG_MAP, metadata["namespace"], jwks_config_map(metadata["name"])))
    content: Any = ((public or {}).get("data") or {}).get("jwks.json", '{"keys": []}')
    name = f"{metadata['namespace']}/{metadata['name']}"
    return _Key(name, entry.get("state", ""), entry.get("removalTime", ""), str(content).encode())


def _lines(verdict: Verdict) -> list[str]:
    key = f"{verdict.key_id} ({verdict.algorithm})" if verdict.key_id else verdict.algorithm
    owner = f", SigningKey {verdict.signing_key}, {verdict.state}" if verdict.signing_key else ""
    rows = [
        ("verifies:", "yes" if verdict.verifies else f"no, {verdict.reason}: {verdict.message}"),
        ("key:", f"{key}{owner}"),
        ("issuer:", verdict.issuer),
        ("issued:", _time(verdict.issued) or ""),
        ("expires:", _time(verdict.expires) or ""),
        ("until:", _time(verdict.until) or ""),
    ]
    return [f"{name:<10}{printable(value)}" for name, value in rows if value]


def _time(value: float | None) -> str | None:
    return None if value is None else format_time(value)
