"""What an issuer's ledger says of one SigningKey's keys, read alike by the operator and by `tailseal serve`."""

from __future__ import annotations

from tailseal.domain.rotation.issuer.ledger import IssuedKey, IssuerLedger
from tailseal.domain.rotation.signingkey.model import Usage


def usage_of(ledger: IssuerLedger, source: str) -> dict[str, Usage]:
    """By key id, every key that the issuer has of the SigningKey.

    Args:
        ledger: the issuer's.
        source: the SigningKey's name.
    """
    active = set(ledger.active.values())
    return {key.kid: _usage(key, active=key.kid in active) for key in ledger.keys if key.source == source}


def _usage(key: IssuedKey, *, active: bool) -> Usage:
    return Usage(
        served_at=key.last_without if key.behind == () else None,
        active=active,
        activated_at=key.activated_at,
        remove_at=key.remove_at,
        waiting=key.wanted_since is not None,
        overlap_broken=active and key.overlap_broken,
    )
