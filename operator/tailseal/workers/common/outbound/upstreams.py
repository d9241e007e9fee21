"""Joins an exchange's need for an upstream's token with settings, credentials and the guarded client."""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from typing import TYPE_CHECKING

from tailseal.domain.bundle.model import TailscaleUpstream
from tailseal.upstream.errors import UpstreamError, UpstreamReason
from tailseal.upstream.tailscale import Credential, Reply, UpstreamToken, fetch_token
from tailseal.workers.common.bundle.snapshot import Snapshot
from tailseal.workers.common.telemetry.metrics import Metrics

if TYPE_CHECKING:
    from tailseal.egress.client import Egress


class TailscaleUpstreams:
    """Upstreams of the snapshot that a decision was made under; nothing is kept between two requests.

    Args:
        egress: gives the client under the present settings.
        metrics: counts requests.
    """

    def __init__(self, egress: Callable[[], Awaitable[Egress]], metrics: Metrics) -> None:
        self._egress, self._metrics = egress, metrics

    async def token(
        self, snapshot: Snapshot, upstream: str, *, scopes: Sequence[str], tags: Sequence[str]
    ) -> UpstreamToken:
        """A token with exactly these scopes and tags; see `runtime.Upstreams`."""
        try:
            target = _target(snapshot, upstream)
            credential = _credential(snapshot, target)
            token = await fetch_token(self._post, target.api_url, credential, scopes=scopes, tags=tags)
        except UpstreamError as error:
            if error.reason is not UpstreamReason.UNKNOWN:
                self._metrics.upstream(upstream, error.reason)
            raise
        self._metrics.upstream(upstream, "ok")
        return token

    async def _post(self, url: str, fields: Mapping[str, str]) -> Reply:
        from tailseal.egress.errors import EgressError  # noqa: PLC0415 - httpx is imported when first needed

        try:
            return await (await self._egress()).post_form(url, fields)
        except EgressError as error:
            raise UpstreamError(UpstreamReason.UNAVAILABLE, f"{error.reason}: {error}") from None


def _target(snapshot: Snapshot, name: str) -> TailscaleUpstream:
    for upstream in snapshot.settings.upstreams:
        if upstream.name == name and upstream.tailscale is not None:
            return upstream.tailscale
    raise UpstreamError(UpstreamReason.UNKNOWN, f"settings name no upstream {name}")


def _credential(snapshot: Snapshot, target: TailscaleUpstream) -> Credential:
    try:
        return Credential(
            client_id=snapshot.credentials[f"{target.credential}.client_id"].decode().strip(),
            client_secret=snapshot.credentials[f"{target.credential}.client_secret"].decode().strip(),
        )
    except (KeyError, UnicodeDecodeError):
        text = f"credentials hold no {target.credential}.client_id and {target.credential}.client_secret"
        raise UpstreamError(UpstreamReason.CREDENTIAL_MISSING, text) from None
