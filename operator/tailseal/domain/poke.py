"""How a kube-apiserver is made to let go of a key: it fetches a key set only for a key id that it does not know.

It does so for any token of an issuer and audience that it trusts, signed or not, and only if the set that it holds has
30 s or less to live (measured). Whether it did is to be seen in its metrics (KEP-3331, alpha).
"""

from __future__ import annotations

import base64
import hashlib
import json
import re
from collections.abc import Iterator
from typing import Any, Final, NamedTuple

FRESH: Final = 30
"""Seconds of life beyond which a kube-apiserver keeps its key set whatever it is shown."""

REMEMBERED: Final = 10
"""Seconds for which it remembers a token that it has verified."""

RANDOM: Final = 80
"""Random bytes that a token takes."""

METRIC: Final = "apiserver_authentication_jwt_authenticator_jwks_fetch_last_timestamp_seconds"

_LIFE: Final = 300
_PROCESS: Final = re.compile(r"^process_start_time_seconds (\S+)$", re.MULTILINE)
_SAMPLE: Final = re.compile(METRIC + r"\{(?P<labels>[^}]*)\} (?P<value>\S+)")
_LABEL: Final = re.compile(r'(\w+)="([^"]*)"')


class Fetch(NamedTuple):
    """The last time that an instance of an API server fetched the key set of an issuer.

    Args:
        instance: hash of the instance's id.
        result: success or failure.
        at: Unix seconds by its clock.
    """

    instance: str
    result: str
    at: float


def token(issuer: str, audience: str, now: float, random: bytes) -> str:
    """A token of the issuer that nobody signed, with a key id that nobody knows: it proves nothing to anybody.

    Args:
        issuer: its `iss`.
        audience: its `aud`: a verifier looks at that before it looks for the key.
        now: Unix seconds.
        random: `RANDOM` random bytes.
    """
    header = {"alg": "ES256", "kid": f"poke-{random[64:].hex()}", "typ": "JWT"}
    issued = int(now)
    claims = {"iss": issuer, "aud": audience, "sub": "nobody", "iat": issued, "exp": issued + _LIFE}
    return ".".join((_encoded(header), _encoded(claims), _base64url(random[:64])))


def fetches(metrics: str, issuer: str) -> Iterator[Fetch]:
    """What an API server's metrics say of its fetches of the issuer's key set.

    Args:
        metrics: in Prometheus' text format.
        issuer: whose.
    """
    wanted = f"sha256:{hashlib.sha256(issuer.encode()).hexdigest()}"
    for line in metrics.splitlines():
        if found := _SAMPLE.fullmatch(line):
            labels = dict(_LABEL.findall(found["labels"]))
            if labels.get("jwt_issuer_hash") == wanted:
                yield Fetch(labels.get("apiserver_id_hash", ""), labels.get("result", ""), float(found["value"]))


def process(metrics: str) -> str:
    """What tells one process of an API server from others behind the same address: when it started.

    Args:
        metrics: in Prometheus' text format.
    """
    found = _PROCESS.search(metrics)
    return found[1] if found else ""


def _encoded(members: dict[str, Any]) -> str:
    return _base64url(json.dumps(members, separators=(",", ":")).encode())


def _base64url(content: bytes) -> str:
    return base64.urlsafe_b64encode(content).rstrip(b"=").decode()
