"""What the operator reaches beyond the cluster: buckets, and what anonymous readers get, under the egress rules."""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from tailseal.domain.publishing.metadata import JWKS_TYPE
from tailseal.domain.publishing.store import Bucket, StoreError, StoreReason
from tailseal.egress.client import Egress
from tailseal.egress.errors import EgressError, EgressReason
from tailseal.egress.guard import Opened
from tailseal.egress.network import Resolve, Resolver
from tailseal.publish.proxy import Proxy
from tailseal.publish.s3 import S3Bucket
from tailseal.publish.tunnel import Guard

_OK: Final = 200
_MOST: Final = 64
_REFUSED: Final = frozenset({EgressReason.URL_REFUSED, EgressReason.ADDRESS_REFUSED})


class Internet:
    """The port `Outside` on real connections.

    Args:
        open_hosts: names and ranges beyond the public internet that may be reached.
        extra_ca: PEM certificates to trust besides the system's.
        resolve: how host names are resolved; None: as the system does.
    """

    def __init__(self, open_hosts: Iterable[str] = (), extra_ca: str = "", *, resolve: Resolve | None = None) -> None:
        hosts = tuple(open_hosts)
        self._extra_ca = extra_ca
        self._egress = Egress(hosts, extra_ca, resolve=resolve)
        self._resolver = Resolver()
        self._guard = Guard(Opened.of(hosts), resolve or self._resolver)
        self._proxy = Proxy(self._egress, self._guard)
        self._buckets: dict[tuple[object, ...], S3Bucket] = {}

    def store(self, bucket: Bucket) -> S3Bucket:
        """The bucket; the same one for the same place and credentials, so that roles are not assumed anew each time."""
        held = tuple(sorted((bucket.credentials or {}).items())) if bucket.credentials is not None else None
        key = (bucket.bucket, bucket.region, bucket.endpoint, bucket.path_style, held)
        if key not in self._buckets:
            while len(self._buckets) >= _MOST:
                del self._buckets[next(iter(self._buckets))]
            try:
                self._buckets[key] = S3Bucket(bucket, self._way, self._extra_ca)
            except ValueError:
                raise StoreError(StoreReason.REFUSED, f"{bucket.endpoint} is no URL of a store") from None
        return self._buckets[key]

    async def read(self, url: str) -> bytes:
        """What an anonymous reader gets, as the port says."""
        try:
            answer = await self._egress.get(url, accept=f"{JWKS_TYPE}, application/json")
        except EgressError as error:
            raise _store_error(error) from None
        if answer.status != _OK:
            raise StoreError(StoreReason.UNREACHABLE, f"{url} answers with status {answer.status}")
        return answer.body

    async def aclose(self) -> None:
        """Close what is open."""
        self._resolver.close()
        await self._proxy.aclose()
        await self._egress.aclose()

    async def _way(self, url: str) -> str:
        """The proxy by which the URL may be asked for; refuses what the egress client would refuse."""
        try:
            await self._guard.check(url)
        except EgressError as error:
            raise _store_error(error) from None
        return await self._proxy.url(url.partition(":")[0])


def _store_error(error: EgressError) -> StoreError:
    reason = StoreReason.REFUSED if error.reason in _REFUSED else StoreReason.UNREACHABLE
    return StoreError(reason, str(error))
