"""One bucket that speaks S3, through `obstore`: conditional reads and writes, bounded in time, tries and size.

The library gets out by a proxy of ours alone (see `proxy`), so the rules and bounds of the egress client hold for it.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from datetime import timedelta
from typing import TYPE_CHECKING, Any, Final, NoReturn, TypeVar
from urllib.parse import urlsplit

from tailseal.domain.publishing.keyset import LARGEST
from tailseal.domain.publishing.store import Bucket, Held, StoreError, StoreReason

if TYPE_CHECKING:
    from obstore.store import S3Store

T = TypeVar("T")

PATIENCE: Final = 12.0
"""Seconds for one read or write with all its tries."""

_TRY: Final = timedelta(seconds=4)
_TRIES: Final = 2
_REGION: Final = "us-east-1"
_BAD_SESSIONS: Final = ("InvalidToken", "ExpiredToken")

_METADATA: Final = "169.254.169.254,169.254.170.2,169.254.170.23,fd00:ec2::254,fd00:ec2::23"
"""Where clouds tell a machine or a container who it is: asked only for the operator's own identity."""

Way = Callable[[str], Awaitable[str]]
"""Checks where a URL leads, and names the proxy by which it is reached. Raises a StoreError."""


class S3Bucket:
    """An `ObjectStore`.

    Args:
        bucket: where it is.
        way: asked before every call.
        extra_ca: PEM certificates to trust besides the system's.
    """

    def __init__(self, bucket: Bucket, way: Way, extra_ca: str = "") -> None:
        self._bucket, self._way, self._extra_ca = bucket, way, extra_ca
        self._endpoint = endpoint_of(bucket)
        self._store: S3Store | None = None

    async def get(self, key: str, *, known: Held | None = None) -> Held | None:
        """The object, as the port says."""
        from obstore import exceptions, get_async  # noqa: PLC0415 - heavy, and few operators publish

        async def read() -> Held | None:
            store = await self._connected()
            try:
                found = await get_async(store, key, options={"if_none_match": known.etag} if known else None)
                if found.meta["size"] > LARGEST:
                    raise StoreError(StoreReason.FAULT, f"{key} in {self._where} is larger than {LARGEST} bytes")
                body = bytes(await found.bytes_async())
            except exceptions.NotModifiedError:
                return known
            except (exceptions.NotFoundError, FileNotFoundError) as error:
                if "NoSuchBucket" in str(error):
                    raise StoreError(StoreReason.FAULT, f"there is no {self._where}") from None
                return None
            attributes: Mapping[str, str] = dict(found.attributes)
            kind, cache = attributes.get("Content-Type", ""), attributes.get("Cache-Control", "")
            return Held(body, found.meta["e_tag"] or "", kind, cache)

        return await self._guarded(read())

    async def put(self, key: str, held: Held, *, over: Held | None) -> None:
        """Write the object, as the port says."""
        from obstore import put_async  # noqa: PLC0415

        if over is not None and not over.etag:
            raise StoreError(StoreReason.FAULT, f"{self._where} gives no ETag: it cannot be written to safely")

        async def write() -> None:
            await put_async(
                await self._connected(),
                key,
                held.body,
                mode={"e_tag": over.etag} if over else "create",
                attributes={"Content-Type": held.content_type, "Cache-Control": held.cache_control},
                use_multipart=False,
            )

        await self._guarded(write())

    @property
    def _where(self) -> str:
        return f"bucket {self._bucket.bucket} at {urlsplit(self._endpoint).hostname}"

    async def _connected(self) -> S3Store:
        proxy = await self._way(self._endpoint)
        if self._store is None:
            from obstore.store import S3Store  # noqa: PLC0415

            self._store = await asyncio.to_thread(lambda: S3Store(**_options(self._bucket, self._extra_ca, proxy)))
        return self._store

    async def _guarded(self, call: Awaitable[T]) -> T:
        try:
            async with asyncio.timeout(PATIENCE):
                return await call
        except StoreError:
            raise
        except TimeoutError:
            raise StoreError(StoreReason.UNREACHABLE, f"{self._where} took longer than {PATIENCE:g} s") from None
        except Exception as error:  # noqa: BLE001 - the library panics where a credential or a host is none
            self._fail(error)

    def _fail(self, error: Exception) -> NoReturn:
        """In our words: what the library says repeats the store's answer, and that repeats the access key's id."""
        from obstore import exceptions  # noqa: PLC0415

        if isinstance(error, exceptions.PreconditionError | exceptions.AlreadyExistsError):
            raise StoreError(StoreReason.CHANGED, f"somebody else wrote to {self._where} first") from None
        denied = isinstance(error, exceptions.PermissionDeniedError | exceptions.UnauthenticatedError)
        if denied or any(code in str(error) for code in _BAD_SESSIONS):
            text = f"{self._where} refuses the credentials, or they lack GetObject, PutObject or ListBucket there"
            raise StoreError(StoreReason.DENIED, text) from None
        if isinstance(error, exceptions.NotFoundError):
            raise StoreError(StoreReason.FAULT, f"there is no {self._where}") from None
        if "409 Conflict" in str(error):  # two writes at one moment; not a name that says so
            raise StoreError(StoreReason.CHANGED, f"somebody else writes to {self._where}") from None
        text = f"{self._where} cannot be reached, or answers with errors"
        raise StoreError(StoreReason.UNREACHABLE, text) from None


def endpoint_of(bucket: Bucket) -> str:
    """The URL that requests go to: with the bucket in the host unless it stands in the path."""
    base = urlsplit(bucket.endpoint or f"https://s3.{bucket.region or _REGION}.amazonaws.com")
    host = base.netloc if bucket.path_style else f"{bucket.bucket}.{base.netloc}"
    return base._replace(netloc=host).geturl().rstrip("/")


def _options(bucket: Bucket, extra_ca: str, proxy: str) -> dict[str, Any]:
    """Everything that decides where requests go and who signs them is said, so that no environment variable does.

    Only where the standard chain is asked for does the environment say who we are.
    """
    client: dict[str, Any] = {
        "allow_http": True,  # as far as the proxy, which speaks https from there on
        "proxy_url": proxy,
        "connect_timeout": _TRY,
        "timeout": _TRY,
        "user_agent": "tailseal",
    }
    if extra_ca:
        client["root_certificate"] = extra_ca
    spoken = f"http:{endpoint_of(bucket).partition(':')[2]}"
    options: dict[str, Any] = {
        "bucket": bucket.bucket,
        "region": bucket.region or _REGION,
        "endpoint": spoken,
        "aws_endpoint_url_s3": spoken,  # else a variable of this name goes before the line above
        "virtual_hosted_style_request": not bucket.path_style,
        "skip_signature": False,
        "unsigned_payload": False,
        "conditional_put": "etag",
        "s3_express": False,
        "client_options": client,
        "retry_config": {"max_retries": _TRIES, "retry_timeout": timedelta(seconds=PATIENCE)},
    }
    if bucket.credentials is None:
        client["proxy_excludes"] = _METADATA
    else:
        options["credential_provider"] = _Static(bucket.credentials)
    return options


class _Static:
    """Credentials from a Secret, and from nowhere else."""

    def __init__(self, credentials: Mapping[str, str]) -> None:
        self._credentials = credentials

    def __call__(self) -> dict[str, Any]:
        """As the library wants them."""
        return {
            "access_key_id": self._credentials["access_key_id"],
            "secret_access_key": self._credentials["secret_access_key"],
            "token": self._credentials.get("session_token"),
            "expires_at": None,
        }
