"""Joins an exchange's need for an upstream's token or key with settings, credentials and the guarded client.

Nothing that an upstream gives is kept: each request has its own, with its own scopes, so that none can reach another's
caller, and a policy that is withdrawn leaves nothing behind that could still be handed out.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable, Mapping, Sequence
from time import monotonic, time
from typing import TYPE_CHECKING, Any, Final, TypeVar

import orjson

from tailseal.domain.bundle.model import HeadscaleUpstream, TailscaleUpstream, Upstream, WorkloadIdentity
from tailseal.tokens.mint import PLAIN_JWT, Minted, joined, signing_input
from tailseal.tokens.signers import SignerError
from tailseal.upstream import authkeys, federation
from tailseal.upstream.authkeys import AuthKey, KeyWish
from tailseal.upstream.breaker import Breaker
from tailseal.upstream.errors import UpstreamError, UpstreamReason
from tailseal.upstream.tailscale import Credential, UpstreamToken, fetch_token
from tailseal.upstream.wire import Reply
from tailseal.workers.common.bundle.snapshot import Snapshot
from tailseal.workers.common.outbound.signing import RemoteSigning, SigningUnavailable
from tailseal.workers.common.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from tailseal.egress.client import Answer, Egress

SUBJECT_PREFIX: Final = "tailseal:upstream:"
"""Of our assertions; no minted token's subject begins like that."""

_PAUSE: Final = 0.1
"""Seconds before a request that failed on its way is sent once more."""

_Given = TypeVar("_Given")


class TailscaleUpstreams:
    """Upstreams of the snapshot that a decision was made under.

    Args:
        egress: gives the client under the present settings.
        metrics: counts requests.
        remote: asks keys outside of this process for signatures.
        current: the last good snapshot; None: whatever was handed in counts.
        clock: Unix seconds.
        ticks: seconds of a clock that never goes back.
    """

    def __init__(
        self,
        egress: Callable[[], Awaitable[Egress]],
        metrics: Metrics,
        *,
        remote: RemoteSigning | None = None,
        current: Callable[[], Snapshot | None] = lambda: None,
        clock: Callable[[], float] = time,
        ticks: Callable[[], float] = monotonic,
    ) -> None:
        self._egress, self._metrics, self._clock, self._ticks = egress, metrics, clock, ticks
        self._remote, self._current = remote or RemoteSigning(), current
        self._breakers: dict[Upstream, Breaker] = {}

    async def token(
        self, snapshot: Snapshot, upstream: str, *, scopes: Sequence[str], tags: Sequence[str]
    ) -> UpstreamToken:
        """A token with exactly these scopes and tags; see `runtime.Upstreams`."""

        async def ask(target: Upstream) -> UpstreamToken:
            return await self._token(snapshot, _tailscale(target), target.name, scopes, tags)

        return await self._asked(snapshot, upstream, ask)

    async def key(self, snapshot: Snapshot, upstream: str, wish: KeyWish) -> AuthKey:
        """A one-time key to join the network; see `runtime.Upstreams`."""

        async def ask(target: Upstream) -> AuthKey:
            if target.headscale is not None:
                return await self._headscale_key(snapshot, target.headscale, wish)
            return await self._key(snapshot, _tailscale(target), target.name, wish)

        return await self._asked(snapshot, upstream, ask)

    async def _asked(self, snapshot: Snapshot, name: str, ask: Callable[[Upstream], Awaitable[_Given]]) -> _Given:
        """What the upstream gives, counted, unless it rests."""
        target = _target(snapshot, name)
        try:
            given = await self._breaker(snapshot, target).run(lambda: ask(target))
        except UpstreamError as error:
            self._metrics.upstream(name, error.reason)
            raise
        self._metrics.upstream(name, "ok")
        return given

    def _breaker(self, snapshot: Snapshot, target: Upstream) -> Breaker:
        """Of the upstream as it is configured now; those of others are let go with their configuration."""
        if target not in self._breakers:
            present = set(snapshot.settings.upstreams)
            self._breakers = {kept: breaker for kept, breaker in self._breakers.items() if kept in present}
            self._breakers[target] = Breaker(self._ticks)
        return self._breakers[target]

    async def _token(
        self,
        snapshot: Snapshot,
        target: TailscaleUpstream,
        name: str,
        scopes: Sequence[str],
        tags: Sequence[str],
    ) -> UpstreamToken:
        identity = target.workload_identity
        if identity is None:
            credential = _oauth_client(snapshot, target.credential)
            return await fetch_token(self._post_form, target.api_url, credential, scopes=scopes, tags=tags)
        if set(scopes) != set(identity.scopes) or set(tags) != set(identity.tags):
            text = "the tokens of a workload identity cannot be narrowed to the scopes or tags"
            raise UpstreamError(UpstreamReason.SCOPE_REFUSED, text)
        return await self._federated(snapshot, target, identity, name)

    async def _key(self, snapshot: Snapshot, target: TailscaleUpstream, name: str, wish: KeyWish) -> AuthKey:
        """By a token for this key alone, which never leaves this process."""
        identity = target.workload_identity
        if identity is None:
            token = await self._token(snapshot, target, name, (authkeys.SCOPE,), wish.tags)
        elif set(wish.tags) <= set(identity.tags):
            token = await self._federated(snapshot, target, identity, name)
        else:
            raise UpstreamError(UpstreamReason.SCOPE_REFUSED, "the workload identity was not given a tag")
        return await authkeys.create(self._post_json, target.api_url, target.tailnet, token.access_token, wish)

    async def _headscale_key(self, snapshot: Snapshot, target: HeadscaleUpstream, wish: KeyWish) -> AuthKey:
        api_key = _file(snapshot, f"{target.credential}.api_key")
        return await authkeys.create_at_headscale(self._post_json, target.api_url, api_key, wish, self._clock())

    async def _federated(
        self, snapshot: Snapshot, target: TailscaleUpstream, identity: WorkloadIdentity, name: str
    ) -> UpstreamToken:
        assertion = await self._assertion(snapshot, identity, name)
        return await federation.exchange(
            self._post_form, target.api_url, identity.client_id, assertion, scopes=identity.scopes
        )

    async def _assertion(self, snapshot: Snapshot, identity: WorkloadIdentity, name: str) -> str:
        """Who we are, signed with the active key: for the one audience, for a minute, with an id of its own."""
        now = self._clock()
        signer = snapshot.signing.signer("", now)
        if signer is None:
            raise UpstreamError(UpstreamReason.CREDENTIAL_MISSING, "there is no signing key within its lease")
        content = Minted(
            issuer=snapshot.settings.issuer,
            subject=f"{SUBJECT_PREFIX}{name}",
            client_id=identity.client_id,
            audiences=(identity.audience,),
            scopes=(),
            issued_at=int(now),
            ttl=min(federation.ASSERTION_SECONDS, snapshot.signing.model.max_token_ttl),
            token_id=os.urandom(16).hex(),
        )
        unsigned = signing_input(content, signer, PLAIN_JWT)
        try:
            signature = await self._remote.sign(signer, unsigned) if signer.remote else signer.sign(unsigned)
        except (SigningUnavailable, SignerError):
            raise UpstreamError(UpstreamReason.CREDENTIAL_MISSING, "the signing key is out of reach") from None
        present = self._current()
        if present is not None and signer.kid not in present.signing.signers:
            raise UpstreamError(UpstreamReason.CREDENTIAL_MISSING, "the signing key was withdrawn meanwhile")
        return joined(unsigned, signature)

    async def _post_form(self, url: str, fields: Mapping[str, str]) -> Reply:
        """Twice where the connection failed: a token that nobody received harms nobody."""

        async def send(egress: Egress) -> Answer:
            return await egress.post_form(url, fields)

        return await self._sent(send, tries=2)

    async def _post_json(self, url: str, content: Mapping[str, Any], bearer: str) -> Reply:
        """Never twice: a key that nobody received is one too many."""
        headers = {"content-type": "application/json", "authorization": f"Bearer {bearer}"}
        body = orjson.dumps(content)

        async def send(egress: Egress) -> Answer:
            return await egress.post(url, body, headers=headers)

        return await self._sent(send, tries=1)

    async def _sent(self, send: Callable[[Egress], Awaitable[Answer]], *, tries: int) -> Answer:
        from tailseal.egress.errors import EgressError, EgressReason  # noqa: PLC0415 - httpx comes when first needed

        while True:
            tries -= 1
            try:
                return await send(await self._egress())
            except EgressError as error:
                if not tries or error.reason is not EgressReason.UNREACHABLE:
                    text = f"{error.reason}: {error}"
                    raise UpstreamError(UpstreamReason.UNAVAILABLE, text, outage=True) from None
            await asyncio.sleep(_PAUSE)


def _target(snapshot: Snapshot, name: str) -> Upstream:
    for upstream in snapshot.settings.upstreams:
        if upstream.name == name:
            return upstream
    raise UpstreamError(UpstreamReason.UNKNOWN, f"settings name no upstream {name}")


def _tailscale(target: Upstream) -> TailscaleUpstream:
    if target.tailscale is None:
        raise UpstreamError(UpstreamReason.UNKNOWN, f"upstream {target.name} gives no tokens")
    return target.tailscale


def _oauth_client(snapshot: Snapshot, credential: str) -> Credential:
    return Credential(_file(snapshot, f"{credential}.client_id"), _file(snapshot, f"{credential}.client_secret"))


def _file(snapshot: Snapshot, name: str) -> str:
    try:
        return snapshot.credentials[name].decode().strip()
    except (KeyError, UnicodeDecodeError):
        raise UpstreamError(UpstreamReason.CREDENTIAL_MISSING, f"credentials hold no {name}") from None
