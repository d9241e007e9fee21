"""Load, create and save the Secret `<provider>-issuer`: the issuer's ledger, poll key and salt, kept for ever.

A provider made anew goes on with what its issuer left in the namespace, by whatever name: the latest ledger of those
whose provider is gone. What another issuer published, signed and revoked is no history of this one, and its salt would
link the subjects of both.
"""

from __future__ import annotations

import base64
import contextlib
from collections.abc import Iterator
from dataclasses import dataclass, field

from tailseal.api.meta import PROVIDER_LABEL, issuer_secret, signing_secret
from tailseal.cluster.kinds import IDENTITY_PROVIDER, SECRET, SIGNING_KEY
from tailseal.cluster.port import Object, Ref
from tailseal.domain import poll
from tailseal.domain.rotation import IssuerLedger, LedgerError
from tailseal.domain.rotation.ledger import FILE
from tailseal.reconcile import kept_secret
from tailseal.reconcile.context import Context, Objects
from tailseal.reconcile.ownership import NameTaken

MANAGER = "tailseal-issuer"
SALT = "salt"
ISSUER = "issuer"


@dataclass(frozen=True, slots=True)
class IssuerState:
    """What the Secret holds.

    Args:
        secret: the object as read or written; its resourceVersion is the next write's precondition.
        issuer: the URL that all of it belongs to.
        ledger: decoded.
        poll_key: 32 bytes with which the status poll is authenticated.
        salt: 32 bytes, for pairwise subjects.
    """

    secret: Object = field(repr=False)
    issuer: str
    ledger: IssuerLedger
    poll_key: bytes = field(repr=False)
    salt: bytes = field(repr=False)


async def load_or_create(ctx: Context, namespace: str, provider: str, issuer: str) -> IssuerState:
    """The issuer's state; that of a provider by another name which is gone, if it is later; made anew if there is none.

    Raises:
        NameTaken: an object that is not ours, or that is another issuer's, holds the name.
        LedgerError: the content is unreadable; it is never made anew.
        Conflict: somebody else wrote first; reconcile again.
    """
    ref, labels = _address(namespace, provider)
    present = await kept_secret.read(ctx, ref, labels)
    state = _own(present, issuer) if present is not None and present.get("data") else None
    left = _left(ctx.objects, namespace, provider, issuer)
    if state is not None and (left is None or left.ledger.revision <= state.ledger.revision):
        return state
    new = {
        ISSUER: issuer.encode(),
        FILE: left.ledger.to_json() if left else _first(ctx.objects, namespace, provider, issuer).to_json(),
        poll.KEY_FILE: state.poll_key if state else ctx.entropy.token(poll.KEY_BYTES),
        SALT: left.salt if left else ctx.entropy.token(poll.KEY_BYTES),
    }
    return state_of(await kept_secret.write(ctx, present, ref, labels, new, manager=MANAGER))


def _own(secret: Object, issuer: str) -> IssuerState:
    state = state_of(secret)
    if state.issuer != issuer:
        text = f"Secret {secret['metadata']['name']} holds the ledger of issuer {state.issuer}"
        raise NameTaken(f"{text}: delete it if that issuer is gone for good, or name this IdentityProvider otherwise")
    return state


def _left(objects: Objects, namespace: str, provider: str, issuer: str) -> IssuerState | None:
    """The latest that providers of the issuer left that are gone; what cannot be read is no help.

    An issuer never changes: where the name is another issuer's now, the provider is gone all the same.
    """
    found = []
    for secret in _others(objects, namespace, issuer):
        name = secret["metadata"]["labels"][PROVIDER_LABEL]
        present = objects.get(Ref(IDENTITY_PROVIDER, namespace, name))
        if name != provider and (present is None or present["spec"].get("issuer") != issuer):
            with contextlib.suppress(LedgerError):
                found.append(state_of(secret))
    return max(found, key=lambda state: state.ledger.revision, default=None)


def _first(objects: Objects, namespace: str, provider: str, issuer: str) -> IssuerLedger:
    return IssuerLedger(served=_known(objects, namespace, provider, issuer))


def _known(objects: Objects, namespace: str, provider: str, issuer: str) -> bool:
    """Whether verifiers may hold sets of the issuer that its ledger would know of, were it there: law 1 holds then."""
    if objects.get(Ref(SECRET, namespace, signing_secret(provider))) is not None:
        return True
    obj = objects.get(Ref(IDENTITY_PROVIDER, namespace, provider)) or {}
    if obj.get("status", {}).get("bundleDigest") and any(_signed(objects, namespace, obj)):
        return True
    return any(True for _ in _others(objects, namespace, issuer))  # by another name, before


def _others(objects: Objects, namespace: str, issuer: str) -> Iterator[Object]:
    """Every Secret of the namespace that holds a ledger of the issuer."""
    encoded = base64.b64encode(issuer.encode()).decode()
    for secret in objects.select(SECRET, namespace):
        provider = secret["metadata"].get("labels", {}).get(PROVIDER_LABEL)
        named = provider is not None and secret["metadata"]["name"] == issuer_secret(provider)
        if named and (secret.get("data") or {}).get(ISSUER) == encoded:
            yield secret


def _signed(objects: Objects, namespace: str, provider: Object) -> Iterator[bool]:
    """For each SigningKey that is listed, whether its status remembers a signer."""
    for reference in provider["spec"].get("signingKeys", ()):
        obj = objects.get(Ref(SIGNING_KEY, namespace, str(reference.get("name")))) or {}
        yield any("activationTime" in key for key in obj.get("status", {}).get("keys", ()))


async def save(ctx: Context, state: IssuerState, ledger: IssuerLedger) -> IssuerState:
    """Write another ledger, on top of exactly the version that was read; equal ledgers are not written.

    Raises:
        Conflict: somebody else wrote first; reconcile again.
    """
    metadata = state.secret["metadata"]
    ref, labels = _address(metadata["namespace"], metadata["labels"][PROVIDER_LABEL])
    data = {ISSUER: state.issuer.encode(), FILE: ledger.to_json(), poll.KEY_FILE: state.poll_key, SALT: state.salt}
    return state_of(await kept_secret.write(ctx, state.secret, ref, labels, data, manager=MANAGER))


def state_of(secret: Object) -> IssuerState:
    """Decode the Secret.

    Raises:
        LedgerError: something is missing or unreadable.
    """
    try:
        data = kept_secret.content(secret)
    except ValueError as error:
        raise LedgerError("the Secret's data is not base64") from error
    for name in (ISSUER, FILE, poll.KEY_FILE, SALT):
        if name not in data:
            raise LedgerError(f"{name} is missing")
    for name in (poll.KEY_FILE, SALT):
        if len(data[name]) != poll.KEY_BYTES:
            raise LedgerError(f"{name} must be {poll.KEY_BYTES} bytes long")
    issuer = data[ISSUER].decode(errors="replace")
    return IssuerState(secret, issuer, IssuerLedger.from_json(data[FILE]), data[poll.KEY_FILE], data[SALT])


def _address(namespace: str, provider: str) -> tuple[Ref, dict[str, str]]:
    return Ref(SECRET, namespace, issuer_secret(provider)), {PROVIDER_LABEL: provider}
