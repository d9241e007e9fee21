"""The operator's web identity, exchanged at a real token service: MinIO verifies the token and gives a session.

The one program that `make` does not build: it takes five minutes of a processor, and the S3 server that is built
exchanges tokens only of issuers that the internet can reach. Without it these tests are skipped.
"""

from __future__ import annotations

import re
import shutil
import ssl
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest

from tailseal.domain.publishing.metadata import JWKS_TYPE
from tailseal.domain.publishing.store import Bucket, Held, StoreError, StoreReason
from tailseal.publish.outside import Internet
from tailseal_dev.issuer import Issuer
from tailseal_dev.pki import Authority
from tailseal_dev.ports import free_ports
from tailseal_dev.process import start, stop

MINIO = shutil.which("minio")
AUDIENCE = "minio"
KEY = "corp/.well-known/jwks.json"
SET = Held(b'{"keys":[]}', "", JWKS_TYPE, "public, max-age=60")

REASON = "a real MinIO is needed on the PATH: go install github.com/minio/minio@latest"
pytestmark = pytest.mark.skipif(MINIO is None, reason=REASON)


@dataclass(frozen=True)
class Store:
    """A running MinIO that trusts an issuer.

    Args:
        url: of S3 and of the token service.
        role: what a token of the issuer may be exchanged for.
        issuer: that it trusts.
        authority: vouches for both.
        bucket: made at its start.
    """

    url: str
    role: str
    issuer: Issuer
    authority: Authority
    bucket: str


@pytest.fixture(scope="module")
def store(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Store]:
    folder = tmp_path_factory.mktemp("minio")
    authority = Authority()
    certificate, key = authority.server().write(folder, "server")
    certificates = folder / "certs"
    (certificates / "CAs").mkdir(parents=True)
    shutil.copy(certificate, certificates / "public.crt")
    shutil.copy(key, certificates / "private.key")
    (certificates / "CAs" / "ca.crt").write_bytes(authority.certificate)
    (folder / "data" / "keys").mkdir(parents=True)
    port, console = free_ports(2)
    with Issuer(authority=authority) as issuer:
        environment = {
            "HOME": str(folder),
            "MINIO_ROOT_USER": "AKIAROOT",
            "MINIO_ROOT_PASSWORD": "not-used-by-anybody",
            "MINIO_IDENTITY_OPENID_CONFIG_URL": f"{issuer.url}/.well-known/openid-configuration",
            "MINIO_IDENTITY_OPENID_CLIENT_ID": AUDIENCE,
            "MINIO_IDENTITY_OPENID_ROLE_POLICY": "readwrite",
        }
        arguments = ["--certs-dir", str(certificates)]
        listen = ["--address", f"127.0.0.1:{port}", "--console-address", f"127.0.0.1:{console}"]
        running = start([str(MINIO), *arguments, "server", *listen, str(folder / "data")], folder / "log", environment)
        try:
            url = f"https://127.0.0.1:{port}"
            _await(f"{url}/minio/health/ready", authority)
            yield Store(url, _role(folder / "log"), issuer, authority, "keys")
        finally:
            stop(running, grace=5)


def _await(url: str, authority: Authority) -> None:
    trust = ssl.create_default_context(cadata=authority.certificate.decode())
    for _ in range(1200):
        try:
            if httpx.get(url, verify=trust, trust_env=False).status_code == httpx.codes.OK:
                return
        except httpx.TransportError:
            pass
        time.sleep(0.05)
    raise AssertionError("MinIO does not get ready")


def _role(log: Path) -> str:
    """It tells the name that it gave the role when it starts."""
    for _ in range(1200):
        if found := re.search(r"arn:minio:iam:::role/\S+", log.read_text()):
            return found[0]
        time.sleep(0.05)
    raise AssertionError(log.read_text())


@pytest.mark.parametrize(
    ("claims", "reason"),
    [
        ({}, None),
        ({"aud": "another"}, StoreReason.UNREACHABLE),
        ({"exp": 1_700_000_000}, StoreReason.UNREACHABLE),
    ],
)
async def test_the_token_service_decides_who_may_publish(
    store: Store,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    claims: dict[str, object],
    reason: StoreReason | None,
) -> None:
    (tmp_path / "token").write_text(store.issuer.token(AUDIENCE, **claims))
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(tmp_path / "token"))
    monkeypatch.setenv("AWS_ROLE_ARN", store.role)
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", store.url)
    outside = Internet(("127.0.0.1",), store.authority.certificate.decode())
    bucket = outside.store(Bucket(store.bucket, endpoint=store.url, path_style=True))
    try:
        if reason is not None:
            with pytest.raises(StoreError) as caught:
                await bucket.get(KEY)
            assert caught.value.reason is reason
            return
        await bucket.put(KEY, SET, over=None)
        held = await bucket.get(KEY)
        assert held is not None
        assert (held.body, held.content_type) == (SET.body, JWKS_TYPE)
        with pytest.raises(StoreError) as caught:
            await bucket.put(KEY, SET, over=None)
        assert caught.value.reason is StoreReason.CHANGED
        await bucket.put(KEY, Held(b"{}", "", JWKS_TYPE, "no-cache"), over=held)
    finally:
        await outside.aclose()
