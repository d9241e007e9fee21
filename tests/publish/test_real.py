"""A bucket as evidence on the real control plane: who reads keys from it alone can verify every token."""

from __future__ import annotations

import io
import json
import threading
import time
from collections.abc import Iterator
from dataclasses import dataclass, field

import jwt
import pytest

from fakes.s3server import ACCESS, SECRET, S3Server, s3_server
from tailseal_dev.demo import manifests, stage, story
from tailseal_dev.demo.caller import verify
from tailseal_dev.demo.narrator import Narrator, until
from tailseal_dev.demo.stage import SPACE, Stage
from tailseal_dev.pki import Authority

pytestmark = pytest.mark.cluster

BUCKET = "corp-keys"
JWKS = f"/{BUCKET}/.well-known/jwks.json"
CACHE_SECONDS = 5.0
REQUEST = {"audience": manifests.AUDIENCE, "scope": manifests.SCOPE}


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[Stage, S3Server]]:
    directory, authority = tmp_path_factory.mktemp("published"), Authority()
    (directory / "s3").mkdir()
    (directory / "extra-ca.crt").write_bytes(authority.certificate)
    with (
        s3_server(directory / "s3", authority) as server,
        stage.local(Narrator(io.StringIO()), directory, [f"--extra-ca={directory / 'extra-ca.crt'}"]) as world,
    ):
        server.make_bucket(BUCKET)
        _provide(world, server)
        yield world, server


def _provide(world: Stage, server: S3Server) -> None:
    keys = (f"--from-literal=access_key_id={ACCESS}", f"--from-literal=secret_access_key={SECRET}")
    world.cluster.kubectl("create", "secret", "generic", "store", SPACE, *keys)
    world.cluster.kubectl("label", "secret", "store", SPACE, "tailseal.dev/allow=true")
    place = {
        "name": "cdn",
        "objectStore": {
            "bucket": BUCKET,
            "endpoint": server.url,
            "forcePathStyle": True,
            "credentialsSecretRef": {"name": "store"},
        },
        "publicURL": f"{server.url}/{BUCKET}",
        "cacheTTL": f"{CACHE_SECONDS:.0f}s",
    }
    world.apply("signingkey.yaml", manifests.SIGNING_KEY)
    provider = manifests.identity_provider(world.names) + f"  publish: [{json.dumps(place)}]\n"
    world.apply("identityprovider.yaml", provider)
    world.cluster.kubectl("wait", "--for=condition=Ready", "identityprovider/corp", SPACE, "--timeout=300s")
    world.open_way()
    story.trust(world)


def _published(server: S3Server) -> set[str]:
    return {key["kid"] for key in server.get(JWKS).json()["keys"]}


def _two_are_published(server: S3Server, looked: list[float]) -> bool:
    """Whether there are; when it was last looked in vain, or at first, is before the second came."""
    now = time.monotonic()
    if found := len(_published(server)) == 2:
        looked[:] = looked or [now]
    else:
        looked.append(now)
    return found


@dataclass
class Verifier(threading.Thread):
    """Asks for tokens all the time and verifies each by what it read from the bucket, at most `CACHE_SECONDS` ago."""

    world: Stage
    server: S3Server
    kids: list[str] = field(default_factory=list)
    failures: list[str] = field(default_factory=list)
    ended: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        super().__init__(daemon=True)

    def __hash__(self) -> int:
        return id(self)

    def run(self) -> None:
        read, keys = 0.0, {"keys": []}
        token = self.world.ci.token(self.world.names.issuer, exp=int(time.time()) + 3600)
        while not self.ended.wait(0.1):
            if time.monotonic() - read >= CACHE_SECONDS:
                read, keys = time.monotonic(), self.server.get(JWKS).json()
            answer = self.world.caller.exchange(token, **REQUEST)
            if not answer.token:
                self.failures.append(f"{answer.status} {answer.reason}")
                continue
            self.kids.append(jwt.get_unverified_header(answer.token)["kid"])
            try:
                verify(answer.token, keys, issuer=self.world.names.issuer, audience=manifests.AUDIENCE)
            except jwt.PyJWTError as error:
                self.failures.append(f"{self.kids[-1]}: {type(error).__name__}")


def _signers(world: Stage) -> str:
    path = "-o=jsonpath={.status.activeKeyID}"
    return world.cluster.kubectl("get", "signingkey/corp", SPACE, path, show=False)


def test_a_rotation_never_leaves_a_reader_of_the_bucket_behind(scene: tuple[Stage, S3Server]) -> None:
    world, server = scene
    first = _signers(world)
    assert _published(server) == {first}
    verifier = Verifier(world, server)
    verifier.start()
    try:
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        world.cluster.kubectl("annotate", "signingkey/corp", SPACE, f"tailseal.dev/rotate={stamp}")
        looked: list[float] = []
        until(lambda: _two_are_published(server, looked), within=180, what="the new key is in the bucket")
        began = looked[-1]
        world.operator.kill()
        world.operator.start()
        until(lambda: verifier.kids[-1:] not in ([], [first]), within=180, what="the new key signs")
        assert time.monotonic() - began >= CACHE_SECONDS + 30
        until(lambda: first not in _published(server), within=180, what="the former key left the bucket")
    finally:
        verifier.ended.set()
        verifier.join()
    assert verifier.failures == []
    assert len(set(verifier.kids)) == 2
    held = server.get(JWKS)
    assert held.headers["content-type"] == "application/jwk-set+json"
    assert held.headers["cache-control"] == "public, max-age=5"


def test_a_revoked_key_leaves_the_bucket_within_seconds(scene: tuple[Stage, S3Server]) -> None:
    world, server = scene
    revoked = _signers(world)
    patch = json.dumps({"spec": {"revokedKeyIDs": [revoked]}})
    world.cluster.kubectl("patch", "signingkey/corp", SPACE, "--type=merge", f"--patch={patch}")
    until(lambda: revoked not in _published(server), within=180, what="the revoked key left the bucket")
    path = "-o=jsonpath={.status.publish[0].status} {.status.publish[0].reason}"
    until(
        lambda: world.cluster.kubectl("get", "identityprovider/corp", SPACE, path, show=False) == "True Published",
        within=180,
        what="status says what readers get",
    )
