"""What relying parties fetch: the JWKS, cached for as long as it is promised to hold, and the metadata documents."""

from __future__ import annotations

import gzip
import hashlib
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlsplit

import orjson
from starlette.routing import Route

from tailseal.domain.bundle.model import Signing
from tailseal.tokens.answers import RETRY_AFTER_SECONDS, Header, Response
from tailseal.workers.common.bundle.snapshot import Snapshot
from tailseal.workers.common.http import wire
from tailseal.workers.common.http.wire import Receive, Scope, Send
from tailseal.workers.common.runtime import Runtime

JWKS_PATH: Final = "/.well-known/jwks.json"
OPENID_PATH: Final = "/.well-known/openid-configuration"
OAUTH_PATH: Final = "/.well-known/oauth-authorization-server"

FLOOR_SECONDS: Final = 30.0
"""No cache is told to come back sooner, unless the key's own `maxAge` is shorter."""

_JSON: Final = b"application/json"
_JWK_SET: Final = b"application/jwk-set+json"
_OPEN: Final[tuple[Header, ...]] = ((b"access-control-allow-origin", b"*"), (b"x-content-type-options", b"nosniff"))
_WANTED: Final = frozenset({b"accept", b"accept-encoding", b"if-none-match"})

Metadata = Callable[[Snapshot], Mapping[str, Any]]
"""Makes a metadata document; called once a snapshot."""


def cache_seconds(signing: Signing, now: float) -> int:
    """How long a cache may keep what is served now: clamp(nextChange - now, 30 s, maxAge); `maxAge` if that is less.

    Args:
        signing: the bundle's `signing.json`.
        now: Unix seconds.
    """
    if signing.next_change is None:
        return signing.max_age
    return int(min(max(signing.next_change - now, FLOOR_SECONDS), signing.max_age))


def jwks_uri(issuer: str) -> str:
    """Where an issuer's keys are: below the issuer, wherever that is served."""
    return issuer.rstrip("/") + JWKS_PATH


def issuer_path(issuer: str) -> str:
    """The path component of an issuer without the last slash: `/tenant`, or empty."""
    return urlsplit(issuer).path.rstrip("/")


def routes(runtime: Runtime, *, openid: Metadata, oauth: Metadata) -> list[Route]:
    """The well-known endpoints, in every form in which clients ask for them.

    A well-known path is appended to the issuer's path (OpenID Connect Discovery section 4), or inserted before it
    (RFC 8414 section 3.1); the metadata documents answer to both.

    Args:
        runtime: for the present snapshot and the clock.
        openid: makes the `openid-configuration`.
        oauth: makes the `oauth-authorization-server` document.
    """
    keys = WellKnown(runtime, lambda snapshot: snapshot.signing.jwks, jwk_set=True)
    openid_documents = WellKnown(runtime, lambda snapshot: orjson.dumps(openid(snapshot)))
    oauth_documents = WellKnown(runtime, lambda snapshot: orjson.dumps(oauth(snapshot)))
    methods = ["GET", "HEAD", "OPTIONS"]
    return [
        Route(JWKS_PATH, keys, methods=methods),
        Route(OPENID_PATH, openid_documents, methods=methods),
        Route(OAUTH_PATH, oauth_documents, methods=methods),
        Route("/{above:path}" + JWKS_PATH, keys, methods=methods),
        Route("/{above:path}" + OPENID_PATH, openid_documents, methods=methods),
        Route(OPENID_PATH + "/{below:path}", openid_documents, methods=methods),
        Route(OAUTH_PATH + "/{below:path}", oauth_documents, methods=methods),
    ]


@dataclass(frozen=True, slots=True)
class _Form:
    """A document's bytes in one content encoding, under an ETag of their own: a strong one names bytes."""

    body: bytes
    etag: bytes
    encoding: tuple[Header, ...] = ()

    @classmethod
    def of(cls, body: bytes, *encoding: Header) -> _Form:
        return cls(body, b'"%s"' % hashlib.sha256(body).hexdigest()[:32].encode(), encoding)


@dataclass(frozen=True, slots=True)
class _Document:
    snapshot: Snapshot
    path: str
    plain: _Form
    packed: _Form


class WellKnown:
    """One cacheable document as an ASGI application: GET, HEAD, conditional requests, and CORS for everybody.

    Args:
        runtime: for the present snapshot and the clock.
        render: the document's bytes under a snapshot.
        jwk_set: offer `application/jwk-set+json` (RFC 7517 section 8.5.2) to those who ask for it.
    """

    def __init__(self, runtime: Runtime, render: Callable[[Snapshot], bytes], *, jwk_set: bool = False) -> None:
        self._runtime = runtime
        self._render = render
        self._jwk_set = jwk_set
        self._kept: _Document | None = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:  # noqa: ARG002 - nothing is read
        """Answer one request."""
        await wire.respond(send, self._answer(scope), head=scope["method"] == "HEAD")

    def _answer(self, scope: Scope) -> Response:
        if scope["method"] == "OPTIONS":
            return _PREFLIGHT
        document = self._document()
        if document is None:
            return _NOT_YET
        if not _below_issuer(scope.get("path_params", {}), document.path):
            return _NOT_FOUND
        asked = wire.headers(scope, _WANTED)
        form = document.packed if _takes_gzip(asked.get(b"accept-encoding", "")) else document.plain
        fields = self._headers(document, form, asked.get(b"accept", ""))
        if _matches(asked.get(b"if-none-match", ""), form.etag):
            return Response(304, b"", fields)
        return Response(200, form.body, (*fields, *form.encoding))

    def _document(self) -> _Document | None:
        snapshot = self._runtime.current()
        if snapshot is None:
            return None
        if self._kept is None or self._kept.snapshot is not snapshot:
            body = self._render(snapshot)
            packed = _Form.of(gzip.compress(body, mtime=0), (b"content-encoding", b"gzip"))
            self._kept = _Document(snapshot, issuer_path(snapshot.settings.issuer), _Form.of(body), packed)
        return self._kept

    def _headers(self, document: _Document, form: _Form, accept: str) -> tuple[Header, ...]:
        seconds = cache_seconds(document.snapshot.signing.model, self._runtime.clock())
        content_type = _JWK_SET if self._jwk_set and "jwk-set+json" in accept else _JSON
        return (
            (b"content-type", content_type),
            (b"cache-control", b"public, max-age=%d" % seconds),
            (b"etag", form.etag),
            *_OPEN,
            (b"vary", b"Accept, Accept-Encoding" if self._jwk_set else b"Accept-Encoding"),
        )


def _below_issuer(params: Mapping[str, str], path: str) -> bool:
    """Whether the path around the well-known part is the issuer's, or none (an ingress may strip it)."""
    return not params or "/" + next(iter(params.values())) == path


def _takes_gzip(accepted: str) -> bool:
    """RFC 9110 section 12.5.3: whether gzip is named, and not refused by a weight of nothing."""
    for coding in accepted.lower().split(","):
        name, _, weight = coding.replace(" ", "").partition(";q=")
        if name == "gzip":
            return weight.strip("0.") != "" or not weight
    return False


def _matches(condition: str, etag: bytes) -> bool:
    """RFC 9110 section 13.1.2: weak comparison with any of the list, or `*`."""
    if not condition:
        return False
    tags = {tag.strip().removeprefix("W/") for tag in condition.split(",")}
    return "*" in tags or etag.decode() in tags


_PREFLIGHT: Final = Response(
    204,
    b"",
    (
        *_OPEN,
        (b"access-control-allow-methods", b"GET, HEAD"),
        (b"access-control-allow-headers", b"*"),
        (b"access-control-max-age", b"86400"),
        (b"allow", b"GET, HEAD, OPTIONS"),
    ),
)
_NO_STORE: Final[Header] = (b"cache-control", b"no-store")
_NOT_FOUND: Final = Response(404, b'{"error":"not_found"}', ((b"content-type", _JSON), _NO_STORE, *_OPEN))
_NOT_YET: Final = Response(
    503,
    b'{"error":"temporarily_unavailable"}',
    (
        (b"content-type", _JSON),
        _NO_STORE,
        (b"retry-after", b"%d" % RETRY_AFTER_SECONDS),
        *_OPEN,
    ),
)
