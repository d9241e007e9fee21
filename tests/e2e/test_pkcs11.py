"""Keys in a real token, on the real control plane: operator and workers as they run; private keys stay inside."""

from __future__ import annotations

import base64
import io
import json
import time
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from fakes import hsm as fake
from tailseal_dev.demo import manifests, stage, story
from tailseal_dev.demo.caller import verify
from tailseal_dev.demo.narrator import Narrator, until
from tailseal_dev.demo.stage import SPACE, Stage

pytestmark = [pytest.mark.cluster, pytest.mark.skipif(fake.MISSING, reason=fake.REASON)]

REQUEST = {"audience": manifests.AUDIENCE, "scope": manifests.SCOPE}


@dataclass(frozen=True)
class Scene:
    """A provider whose key is in a token.

    Args:
        stage: the control plane, the operator and the node.
        keys: private keys by label, as they were before they were moved into the token.
        public: their public keys.
    """

    stage: Stage
    keys: dict[str, ec.EllipticCurvePrivateKey]
    public: dict[str, str]

    def bring(self, label: str) -> None:
        """Name another key of the token."""
        source = {
            "module": str(fake.MODULE),
            "tokenLabel": fake.TOKEN,
            "keyLabel": label,
            "publicKey": self.public[label],
            "pinSecretRef": {"name": "corp-pin"},
        }
        patch = json.dumps({"spec": {"source": {"pkcs11": source}}})
        self.stage.cluster.kubectl("patch", "signingkey/corp", SPACE, "--type=merge", f"--patch={patch}", show=False)

    def status(self, path: str) -> str:
        return self.stage.cluster.kubectl("get", "signingkey/corp", SPACE, f"-o=jsonpath={path}", show=False)

    def signer(self) -> str:
        """Who signed a token that was just given; it verifies."""
        token = self.stage.ci.token(self.stage.names.issuer, exp=int(time.time()) + 3600)
        answer = self.stage.caller.exchange(token, **REQUEST)
        assert answer.token, f"{answer.status} {answer.reason}"
        jwks = self.stage.caller.jwks()
        verify(answer.token, jwks, issuer=self.stage.names.issuer, audience=manifests.AUDIENCE)
        head = answer.token.partition(".")[0]
        return str(json.loads(base64.urlsafe_b64decode(head + "=" * (-len(head) % 4)))["kid"])


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    hsm = fake.make(tmp_path_factory.mktemp("hsm"))
    keys = {label: ec.generate_private_key(ec.SECP256R1()) for label in ("one", "two")}
    public = {label: hsm.put(key, label) for label, key in keys.items()}
    with stage.local(Narrator(io.StringIO()), tmp_path_factory.mktemp("stage")) as world:
        found = Scene(world, keys, public)
        world.cluster.kubectl("create", "secret", "generic", "corp-pin", SPACE, f"--from-literal=pin={fake.PIN}")
        world.cluster.kubectl("label", "secret", "corp-pin", SPACE, "tailseal.dev/allow=true")
        source = {
            "module": str(fake.MODULE),
            "tokenLabel": fake.TOKEN,
            "keyLabel": "one",
            "publicKey": public["one"],
            "pinSecretRef": {"name": "corp-pin"},
        }
        world.apply("signingkey.yaml", manifests.SIGNING_KEY + f"  source: {json.dumps({'pkcs11': source})}\n")
        world.apply("identityprovider.yaml", manifests.identity_provider(world.names))
        world.cluster.kubectl("wait", "--for=condition=Ready", "identityprovider/corp", SPACE, "--timeout=300s")
        world.open_way()
        story.trust(world)
        yield found


def test_tokens_are_signed_in_the_token_and_the_next_key_follows_without_a_failure(scene: Scene) -> None:
    first = scene.status("{.status.activeKeyID}")
    assert scene.signer() == first
    began = time.monotonic()  # before, as what follows may take its time to come back
    scene.bring("two")
    signers = [first]
    while len(set(signers)) == 1:
        signers.append(scene.signer())
        assert time.monotonic() - began < 300, scene.status("{.status.conditions}")
    assert time.monotonic() - began >= 30, "caches were given their time"
    until(lambda: scene.status("{.status.activeKeyID}") == signers[-1], within=180, what="status says who signs")


def test_no_private_part_is_outside_of_the_token(scene: Scene) -> None:
    """Neither as PEM nor as the number that it is, in any object of the namespace, the operator's log or a worker's."""
    secrets = json.loads(scene.stage.cluster.kubectl("get", "secrets,configmaps,pods", SPACE, "-o=json", show=False))
    texts = [
        base64.b64decode(value)
        for obj in secrets["items"]
        for value in (obj.get("data") or {}).values()
        if _encoded(obj)
    ]
    texts.append(json.dumps(secrets).encode())
    texts += [path.read_bytes() for path in scene.stage.cluster.directory.rglob("*") if path.is_file() and _small(path)]
    for key in scene.keys.values():
        number = key.private_numbers().private_value.to_bytes(32, "big")
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()).splitlines()[1]
        for shape in (
            number,
            base64.b64encode(number),
            base64.urlsafe_b64encode(number).rstrip(b"="),
            number.hex().encode(),
            pem,
        ):
            assert not [text for text in texts if shape in text]
    signing = next(obj for obj in secrets["items"] if obj["metadata"]["name"] == "corp-signing")
    assert [
        name
        for name in signing["data"]
        if name.endswith(".pem") and b"PRIVATE" in base64.b64decode(signing["data"][name])
    ] == []


def test_a_revoked_key_of_the_token_signs_no_more(scene: Scene) -> None:
    revoked = scene.signer()
    patch = json.dumps({"spec": {"revokedKeyIDs": [revoked]}})
    scene.stage.cluster.kubectl("patch", "signingkey/corp", SPACE, "--type=merge", f"--patch={patch}")
    until(
        lambda: revoked not in {key["kid"] for key in scene.stage.caller.jwks()["keys"]},
        within=120,
        what="the revoked key is served no more",
    )
    token = scene.stage.ci.token(scene.stage.names.issuer, exp=int(time.time()) + 3600)
    answer = scene.stage.caller.exchange(token, **REQUEST)
    assert not answer.token, "nobody but its owner can bring the next key"


def _encoded(obj: dict[str, object]) -> bool:
    return obj["kind"] == "Secret"


def _small(path: object) -> bool:
    return path.stat().st_size < 32 * 2**20  # type: ignore[attr-defined]
