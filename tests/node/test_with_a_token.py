"""A key in a PKCS#11 token, in real pods: an image with the library on top of ours, and the private key stays inside.

The last on this node: from here on its provider signs with the token.
"""

from __future__ import annotations

import base64
import json
import shutil
import time
from pathlib import Path

import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec

from fakes import hsm as fake
from node.test_real_node import _upgrade
from node.world import SPACE, World, measured, until
from tailseal_dev.demo import manifests
from tailseal_dev.demo.caller import verify
from tailseal_dev.realnode import images
from tailseal_dev.realnode.node import RealNode

pytestmark = pytest.mark.skipif(fake.MISSING, reason=fake.REASON)

IMAGE = "localhost/tailseal-hsm:dev"
MODULE = "/usr/lib/softhsm/libsofthsm2.so"
LAYER = """\
COPY libsofthsm2.so /usr/lib/softhsm/libsofthsm2.so
COPY softhsm2.conf /etc/softhsm/softhsm2.conf
COPY --chown=65532:65532 tokens /var/lib/softhsm/tokens
ENV SOFTHSM2_CONF=/etc/softhsm/softhsm2.conf
"""
CONFIGURATION = "directories.tokendir = /var/lib/softhsm/tokens\nobjectstore.backend = file\nlog.level = ERROR\n"


def test_pods_sign_in_a_token_and_the_private_key_is_nowhere_else(
    world: World, node: RealNode, helm: str, tmp_path: Path
) -> None:
    """The former key signs until every pod has proved that it can sign with the next."""
    key = ec.generate_private_key(ec.SECP256R1())
    (tmp_path / "hsm").mkdir()
    public = fake.make(tmp_path / "hsm").put(key, "corp-2026")
    node.load(_image(tmp_path))
    _upgrade(world, helm, "--set=fence.deployments=false", f"--set=operator.extraArgs={{--worker-image={IMAGE}}}")
    until(lambda: set(_images(world)) == {IMAGE}, "the workers run the image with the library", within=180)
    world.trust()
    until(lambda: world.granted(world.job()), "every replica grants")
    former = _signer(world)
    world.kubectl("create", "secret", "generic", "corp-pin", SPACE, f"--from-literal=pin={fake.PIN}")
    world.kubectl("label", "secret", "corp-pin", SPACE, "tailseal.dev/allow=true")
    source = {
        "module": MODULE,
        "tokenLabel": fake.TOKEN,
        "keyLabel": "corp-2026",
        "publicKey": public,
        "pinSecretRef": {"name": "corp-pin"},
    }
    patch = json.dumps({"spec": {"source": {"pkcs11": source}}})
    world.kubectl("patch", "signingkey/corp", SPACE, "--type=merge", f"--patch={patch}")
    asked = time.monotonic()
    seconds = until(lambda: _signer(world) != former, "the key in the token signs", within=240)
    assert time.monotonic() - asked >= 30, "caches were given their time"
    assert world.kubectl("get", "signingkey/corp", SPACE, "--output=jsonpath={.status.activeKeyID}")
    number = key.private_numbers().private_value.to_bytes(32, "big")
    listed = json.loads(world.kubectl("get", "secrets,configmaps", SPACE, "--output=json"))["items"]
    held = [
        base64.b64decode(text) for obj in listed if obj["kind"] == "Secret" for text in obj.get("data", {}).values()
    ]
    told = json.dumps(listed)
    assert not [content for content in held if number in content or number.hex().encode() in content]
    assert base64.urlsafe_b64encode(number).rstrip(b"=").decode() not in told
    measured("a key in a PKCS#11 token, brought → it signs in every pod", f"{seconds:.1f} s (a new key waits for 31)")


def _image(folder: Path) -> Path:
    context = folder / "image"
    shutil.copytree(folder / "hsm" / "tokens", context / "tokens")
    shutil.copy(str(fake.MODULE), context / "libsofthsm2.so")
    (context / "softhsm2.conf").write_text(CONFIGURATION)
    (context / "layer").write_text(LAYER)
    return images.layered(IMAGE, context)


def _images(world: World) -> list[str]:
    """What the ready pods of both workers run."""
    path = "--output=jsonpath={range .items[*]}{.spec.containers[0].image} {end}"
    return world.kubectl("get", "pods", SPACE, "--selector=tailseal.dev/identity-provider=corp", path).split()


def _signer(world: World) -> str:
    """Who signed a token that was just given, of which the served keys say that it is right."""
    answer = world.caller.exchange(world.job(), audience=manifests.AUDIENCE)
    assert answer.token, f"{answer.status} {answer.reason}"
    verify(answer.token, world.caller.jwks(), issuer=world.issuer, audience=manifests.AUDIENCE)
    return str(jwt.get_unverified_header(answer.token)["kid"])
