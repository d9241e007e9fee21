"""A key of one's own in a folder: taken up, followed by another, refused with file and field."""

from __future__ import annotations

import json
import os
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest

from fakes.keyfiles import key, pem
from tailseal.domain.bundle.model import SIGNING_FILE
from tailseal.domain.keys.imported import imported_key
from tailseal.domain.rotation import IssuerSpec
from tailseal.domain.rotation.signingkey.plan import Wish
from tailseal.workers.embedded import manifests, process
from tailseal.workers.embedded.household import Household, Reader
from tailseal.workers.embedded.keeper import Keeper, Kept
from tailseal.workers.embedded.state import State

MANIFESTS = """
apiVersion: tailseal.dev/v1alpha1
kind: SigningKey
metadata: {name: k}
spec: {source: {import: {secretRef: {name: mine}}}}
---
apiVersion: tailseal.dev/v1alpha1
kind: IdentityProvider
metadata: {name: p}
spec: {issuer: "http://127.0.0.1:8080", signingKeys: [{name: k}]}
"""
A, B = pem(key("P-256", 1)), pem(key("P-256", 2))
KID_A, KID_B = (imported_key({"tls.key": content}, "ES256").kid for content in (A, B))


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder, self.reader = folder, Reader()
        self.state = State(folder / ".state")
        self.keeper = Keeper(self.state, new_key=process._new_key, token=os.urandom)
        (folder / "manifests.yaml").write_text(MANIFESTS)

    def bring(self, content: bytes, labels: str = '{tailseal.dev/allow: "true"}') -> None:
        text = json.dumps(content.decode())
        metadata = f"metadata: {{name: mine, labels: {labels}}}"
        secret = f"apiVersion: v1\nkind: Secret\n{metadata}\nstringData: {{tls.key: {text}}}\n"
        (self.folder / "secret.yaml").write_text(secret)

    def read(self) -> Household:
        return self.reader.read(manifests.read(self.folder))

    def step(self, wish: Wish | None = None) -> Kept:
        wishes = self.read().wishes if wish is None else {"k": wish}
        spec = IssuerSpec(order=("k",), longest_ttl=60, clock_skew=10)
        return self.keeper.step(wishes, "http://127.0.0.1:8080", spec, (), 1_000_000.0)

    def published(self) -> set[str]:
        return {entry["kid"] for entry in json.loads(self.step().files[SIGNING_FILE])["jwks"]["keys"]}


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    made = Bench(tmp_path)
    yield made
    made.state.close()


def test_the_key_of_a_secret_is_taken_up_and_a_second_one_beside_it(bench: Bench) -> None:
    bench.bring(A)
    assert bench.read().problems == ()
    assert bench.published() == {KID_A}
    bench.bring(B)
    assert KID_B in bench.published()
    assert "PRIVATE" not in repr(bench.read())


@pytest.mark.parametrize(
    ("content", "labels", "problem"),
    [
        (
            b"canary",
            '{tailseal.dev/allow: "true"}',
            "secretRef: Secret mine: tls.key: there is neither a PEM private key",
        ),
        (A, "{}", 'secretRef: a Secret mine in namespace default with the label tailseal.dev/allow: "true"'),
    ],
)
def test_a_bad_one_is_told_with_its_file_and_the_last_good_one_stays(
    bench: Bench, content: bytes, labels: str, problem: str
) -> None:
    bench.bring(A)
    assert bench.published() == {KID_A}
    bench.bring(content, labels)
    (told,) = map(str, bench.read().problems)
    assert told.startswith("manifests.yaml: spec.source.import." + problem)
    assert "canary" not in told
    assert bench.published() == {KID_A}


def test_a_request_to_rotate_what_is_brought_is_told(bench: Bench) -> None:
    bench.bring(A)
    asked = 'metadata: {name: k, annotations: {tailseal.dev/rotate: "2027-01-15T08:00:00Z"}}'
    (bench.folder / "manifests.yaml").write_text(MANIFESTS.replace("metadata: {name: k}", asked, 1))
    (told,) = map(str, bench.read().problems)
    assert told.startswith("manifests.yaml: metadata.annotations[tailseal.dev/rotate]: asks for a key that nobody but")
    assert bench.published() == {KID_A}


def test_a_revoked_one_is_never_taken_up_again(bench: Bench) -> None:
    bench.bring(A)
    bench.step()
    wish = bench.read().wishes["k"]
    bench.step(replace(wish, revoked=frozenset({KID_A})))
    kept = bench.step(wish)
    assert kept.files == {}
    ((name, finding),) = kept.refused
    assert (name, finding.path) == ("k", "spec.source.import.secretRef")
    assert "revoked for ever" in finding.message
