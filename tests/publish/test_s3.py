"""The store adapter against a real server that speaks S3, through a way on which answers get lost."""

from __future__ import annotations

import asyncio
import secrets
import ssl
from collections.abc import AsyncIterator, Iterator
from datetime import timedelta
from pathlib import Path

import pytest
import pytest_asyncio

from fakes.s3server import ACCESS, SECRET, S3Server, Way, s3_server, way_to
from tailseal.domain.publishing import Wish, merge, shown
from tailseal.domain.publishing.metadata import JWKS_TYPE
from tailseal.domain.publishing.store import Bucket, Held, StoreError, StoreReason
from tailseal.publish import s3
from tailseal.publish.outside import Internet
from tailseal.publish.s3 import S3Bucket, endpoint_of
from tailseal_dev.pki import Authority

KEY = "corp/.well-known/jwks.json"
OPEN = ("127.0.0.1", "localhost")
SET = Held(b'{"keys":[]}', "", JWKS_TYPE, "public, max-age=60")
GOOD = {"access_key_id": ACCESS, "secret_access_key": SECRET}


@pytest.fixture(scope="module")
def server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[S3Server]:
    with s3_server(tmp_path_factory.mktemp("s3")) as running:
        yield running


@pytest.fixture
def bucket(server: S3Server) -> str:
    name = f"keys-{secrets.token_hex(4)}"
    server.make_bucket(name)
    return name


@pytest_asyncio.fixture
async def way(server: S3Server) -> AsyncIterator[Way]:
    async with way_to(server) as between:
        yield between


@pytest_asyncio.fixture
async def internet() -> AsyncIterator[Internet]:
    outside = Internet(OPEN)
    yield outside
    await outside.aclose()


def at(url: str, bucket: str, credentials: dict[str, str] | None = None) -> Bucket:
    return Bucket(bucket, endpoint=url, path_style=True, credentials=credentials or GOOD)


async def refusal(call: object) -> StoreError:
    with pytest.raises(StoreError) as caught:
        await call  # type: ignore[misc]
    assert not [secret for secret in (ACCESS, SECRET) if secret in f"{caught.value} {caught.value!r}"]
    return caught.value


async def test_an_object_is_written_described_and_read_by_anybody(
    server: S3Server, bucket: str, internet: Internet
) -> None:
    store = internet.store(at(server.url, bucket))
    assert await store.get(KEY) is None
    await store.put(KEY, SET, over=None)
    held = await store.get(KEY)
    assert held is not None
    assert (held.body, held.content_type, held.cache_control) == (SET.body, SET.content_type, SET.cache_control)
    assert await store.get(KEY, known=held) is held
    answer = server.get(f"/{bucket}/{KEY}")
    assert (answer.content, answer.headers["content-type"]) == (SET.body, JWKS_TYPE)
    assert await internet.read(f"{server.url}/{bucket}/{KEY}") == SET.body


async def test_an_object_may_have_any_name(server: S3Server, bucket: str, internet: Internet) -> None:
    """The signature covers the path as the library wrote it."""
    key = "a b+c/ü%2F'(1)/~x:y,z"
    store = internet.store(at(server.url, bucket))
    await store.put(key, SET, over=None)
    held = await store.get(key)
    assert held is not None
    assert held.body == SET.body


async def test_nobody_writes_over_what_he_did_not_read(server: S3Server, bucket: str, internet: Internet) -> None:
    store = internet.store(at(server.url, bucket))
    await store.put(KEY, SET, over=None)
    held = await store.get(KEY)
    server.put(f"/{bucket}/{KEY}", b'{"keys":[{"kid":"theirs"}]}')
    for over in (None, held):
        assert (await refusal(store.put(KEY, SET, over=over))).reason is StoreReason.CHANGED
    assert server.get(f"/{bucket}/{KEY}").json() == {"keys": [{"kid": "theirs"}]}


@pytest.mark.parametrize(
    ("credentials", "name", "reason"),
    [
        ({"access_key_id": ACCESS, "secret_access_key": "wrong"}, "", StoreReason.DENIED),
        ({"access_key_id": "AKIAOTHER", "secret_access_key": SECRET}, "", StoreReason.DENIED),
        (GOOD, "no-such-bucket", StoreReason.FAULT),
    ],
)
async def test_what_is_refused_is_said_in_our_words(
    server: S3Server, bucket: str, internet: Internet, credentials: dict[str, str], name: str, reason: StoreReason
) -> None:
    store = internet.store(at(server.url, name or bucket, credentials))
    assert (await refusal(store.put(KEY, SET, over=None))).reason in {reason, StoreReason.UNREACHABLE}
    if credentials["access_key_id"] == ACCESS:  # to this server a stranger's id is an anonymous reader's
        assert (await refusal(store.get(KEY))).reason is reason


@pytest.fixture
def impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(s3, "PATIENCE", 3.0)
    monkeypatch.setattr(s3, "_TRY", timedelta(seconds=1))


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", ["hang", "503", "lost", "cut"])
async def test_what_cannot_be_read_is_never_taken_for_missing(
    server: S3Server, bucket: str, internet: Internet, way: Way, fault: str
) -> None:
    server.put(f"/{bucket}/{KEY}", b'{"keys":[{"kid":"theirs"}]}')
    way.fault = lambda method, path: fault
    error = await refusal(internet.store(at(way.url, bucket)).get(KEY))
    assert error.reason is StoreReason.UNREACHABLE


@pytest.mark.usefixtures("impatient")
@pytest.mark.parametrize("fault", ["hang", "503", "lost", "412", "cut"])
async def test_a_key_gets_there_whatever_becomes_of_the_answers_and_nothing_is_lost(
    server: S3Server, bucket: str, internet: Internet, way: Way, fault: str
) -> None:
    server.put(f"/{bucket}/{KEY}", b'{"keys":[{"kid":"theirs"}]}')
    ours = {"kid": "ours", "kty": "OKP", "crv": "Ed25519", "x": "abc"}
    left = 4

    def faulty(method: str, path: str) -> str:
        nonlocal left
        left -= 1
        return fault if left > 0 and (fault != "412" or method == "PUT") else ""

    way.fault = faulty
    store = internet.store(at(way.url, bucket))
    for _ in range(60):
        try:
            held = await store.get(KEY)
            merged = merge(held.body if held else None, Wish("us", (ours,)))
            if merged.body is None:
                break
            await store.put(KEY, Held(merged.body, "", JWKS_TYPE, "no-cache"), over=held)
        except StoreError:
            continue
    final = server.get(f"/{bucket}/{KEY}")
    assert [key["kid"] for key in final.json()["keys"]] == ["theirs", "ours"]
    assert shown(final.content, (ours,)) == {"ours"}


async def test_ten_writers_at_once_lose_no_key(server: S3Server, bucket: str, internet: Internet) -> None:
    async def write(number: int) -> None:
        key = {"kid": f"k{number}", "kty": "OKP", "crv": "Ed25519", "x": str(number)}
        store = S3Bucket(at(server.url, bucket), internet._way)
        while True:
            held = await store.get(KEY)
            merged = merge(held.body if held else None, Wish(f"writer {number}", (key,)))
            if merged.body is None:
                return
            try:
                await store.put(KEY, Held(merged.body, "", JWKS_TYPE, "no-cache"), over=held)
            except StoreError:
                continue

    async with asyncio.timeout(120):
        await asyncio.gather(*map(write, range(10)))
    assert {key["kid"] for key in server.get(f"/{bucket}/{KEY}").json()["keys"]} == {f"k{n}" for n in range(10)}


@pytest.mark.parametrize(
    "url", ["https://10.0.0.1", "http://s3.example.com", "https://169.254.169.254", "https://user:pw@s3.example.com"]
)
async def test_a_store_must_be_where_the_egress_rules_allow(url: str) -> None:
    outside = Internet()
    assert (await refusal(outside.store(at(url, "keys")).get(KEY))).reason is StoreReason.REFUSED
    await outside.aclose()


async def test_the_environment_decides_nothing_where_a_secret_does(
    server: S3Server, bucket: str, internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in {
        "AWS_ENDPOINT_URL_S3": "http://127.0.0.1:1",
        "AWS_ENDPOINT_URL": "http://127.0.0.1:1",
        "AWS_ACCESS_KEY_ID": "AKIAOTHER",
        "AWS_SECRET_ACCESS_KEY": "other",
        "AWS_SESSION_TOKEN": "other",
        "AWS_SKIP_SIGNATURE": "true",
        "AWS_VIRTUAL_HOSTED_STYLE_REQUEST": "true",
    }.items():
        monkeypatch.setenv(name, value)
    await internet.store(at(server.url, bucket)).put(KEY, SET, over=None)
    assert server.get(f"/{bucket}/{KEY}").content == SET.body


async def test_without_a_secret_the_standard_chain_says_who_we_are(
    server: S3Server, bucket: str, internet: Internet, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("AWS_ACCESS_KEY_ID", ACCESS)
    monkeypatch.setenv("AWS_SECRET_ACCESS_KEY", SECRET)
    store = internet.store(Bucket(bucket, endpoint=server.url, path_style=True))
    await store.put(KEY, SET, over=None)
    assert server.get(f"/{bucket}/{KEY}").content == SET.body


async def test_a_web_identity_is_exchanged_for_a_session(
    way: Way, bucket: str, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    authority = Authority()
    certificate, key = authority.server().write(tmp_path, "sts")
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(certificate, key)
    asked: list[str] = []

    async def sts(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n\r\n")).decode())
        credentials = (
            f"<AccessKeyId>{ACCESS}</AccessKeyId><SecretAccessKey>{SECRET}</SecretAccessKey>"
            "<SessionToken>session</SessionToken><Expiration>2099-01-01T00:00:00Z</Expiration>"
        )
        call = "AssumeRoleWithWebIdentity"
        result = f"<{call}Result><Credentials>{credentials}</Credentials></{call}Result>"
        body = f"<{call}Response>{result}</{call}Response>".encode()
        writer.write(b"HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: %d\r\n\r\n" % len(body) + body)
        await writer.drain()
        writer.close()

    listener = await asyncio.start_server(sts, "127.0.0.1", 0, ssl=context)
    token = tmp_path / "token"
    token.write_text("web-identity-token")
    monkeypatch.setenv("AWS_WEB_IDENTITY_TOKEN_FILE", str(token))
    monkeypatch.setenv("AWS_ROLE_ARN", "arn:aws:iam::123456789012:role/publisher")
    monkeypatch.setenv("AWS_ENDPOINT_URL_STS", f"https://127.0.0.1:{listener.sockets[0].getsockname()[1]}")
    outside = Internet(OPEN, authority.certificate.decode())
    async with listener:
        error = await refusal(outside.store(Bucket(bucket, endpoint=way.url, path_style=True)).put(KEY, SET, over=None))
    await outside.aclose()
    assert error.reason is StoreReason.DENIED  # the server knows no sessions
    assert "x-amz-security-token: session\r\n" in way.asked[0]
    assert "AssumeRoleWithWebIdentity" in asked[0]
    assert "role%2Fpublisher" in asked[0]


@pytest.mark.parametrize(
    ("bucket_", "url"),
    [
        (Bucket("keys"), "https://keys.s3.us-east-1.amazonaws.com"),
        (Bucket("keys", region="eu-west-1"), "https://keys.s3.eu-west-1.amazonaws.com"),
        (Bucket("keys", region="eu-west-1", path_style=True), "https://s3.eu-west-1.amazonaws.com"),
        (Bucket("keys", endpoint="https://minio.example:9000"), "https://keys.minio.example:9000"),
        (Bucket("keys", endpoint="https://minio.example:9000/", path_style=True), "https://minio.example:9000"),
    ],
)
def test_the_bucket_stands_in_the_host_unless_it_stands_in_the_path(bucket_: Bucket, url: str) -> None:
    assert endpoint_of(bucket_) == url


def test_no_credential_shows_in_a_repr() -> None:
    assert SECRET not in repr(at("https://s3.example", "keys"))


@pytest.mark.parametrize(
    ("place", "extra_ca"),
    [
        (Bucket("keys", credentials=GOOD), "no certificate"),
        (
            Bucket(
                "keys", endpoint="https://127.0.0.1:1", path_style=True, credentials=GOOD | {"access_key_id": "\x01"}
            ),
            "",
        ),
        (Bucket("keys", endpoint="https://[::1", credentials=GOOD), ""),
    ],
)
async def test_what_the_library_cannot_take_fails_as_everything_else_does(place: Bucket, extra_ca: str) -> None:
    outside = Internet(OPEN, extra_ca)
    try:
        with pytest.raises(StoreError):
            await outside.store(place).get("jwks.json")
    finally:
        await outside.aclose()
