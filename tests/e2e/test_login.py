"""People log in to an application of another team, on the real control plane, while everything around them changes.

The application knows its Secret alone. What it talks to are the pods that the operator made; the node of the tailnet
beside them is a stand-in that says who is calling.
"""

from __future__ import annotations

import asyncio
import base64
import io
import json
import re
import shutil
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractAsyncContextManager, ExitStack
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest

from fakes import replicas
from fakes.application import App
from tailseal_dev.controlplane import ControlPlane
from tailseal_dev.demo.narrator import Narrator, until
from tailseal_dev.demo.stage import OPERATOR, ROOT, Cluster, Operator
from tailseal_dev.localnode.start import running
from tailseal_dev.postgres import PostgresServer

pytestmark = pytest.mark.cluster

ISSUER, CALLBACK = "https://idp.tail.example", "https://app.example/callback"
SECONDS = 180.0
"""Within which what is taken away is refused, on however busy a machine."""
KEYS = {
    "client_id",
    "client_secret",
    "issuer",
    "discovery_endpoint",
    "authorization_endpoint",
    "token_endpoint",
    "userinfo_endpoint",
    "jwks_uri",
    "redirect_uris",
}
PROVIDER = f"""\
apiVersion: tailseal.dev/v1alpha1
kind: SigningKey
metadata: {{name: corp, namespace: identity}}
spec:
  algorithm: ES256
  rotation: {{interval: 1h, publishLead: 31s, spare: false}}
  jwks: {{maxAge: 10s}}
  clockSkew: 1s
---
apiVersion: tailseal.dev/v1alpha1
kind: IdentityProvider
metadata: {{name: corp, namespace: identity}}
spec:
  issuer: {ISSUER}
  signingKeys: [{{name: corp}}]
  tokens: {{accessTokenTTL: 60s, idTokenTTL: 5m, clockSkew: 1s}}
  sts: {{enabled: false}}
  idp: {{replicas: 2}}
  storage: {{type: Postgres, postgres: {{urlSecretRef: {{name: database}}}}}}
  tailnet: {{mode: Serve, auth: {{authKeySecretRef: {{name: joins}}}}}}
  bounds:
  - name: apps
    namespaces: {{from: Selector, selector: {{matchLabels: {{apps: "true"}}}}}}
    redirectHosts: [app.example]
    grantTypes: [authorization_code, refresh_token]
    audiences: ["team-a.*"]
"""
CLIENT = """\
apiVersion: tailseal.dev/v1alpha1
kind: OAuthClient
metadata: {name: app, namespace: apps}
spec:
  identityProviderRef: {name: corp, namespace: identity}
  redirectURIs: [https://app.example/callback]
  subjectType: Pairwise
  allow: {users: ["*@example.com"]}
"""
OWN_ID, OWN_SECRET = "team-a.wiki", "0123456789abcdef" * 2
OWN = f"""\
apiVersion: v1
kind: Secret
metadata: {{name: brought, namespace: apps, labels: {{tailseal.dev/allow: "true"}}}}
stringData: {{client_secret: {OWN_SECRET}}}
---
apiVersion: tailseal.dev/v1alpha1
kind: OAuthClient
metadata: {{name: wiki, namespace: apps}}
spec:
  identityProviderRef: {{name: corp, namespace: identity}}
  clientID: {OWN_ID}
  secretRef: {{name: brought}}
  redirectURIs: [{CALLBACK}]
  allow: {{users: ["*@example.com"]}}
"""
IDENTITY, APPS = "--namespace=identity", "--namespace=apps"


@dataclass(frozen=True, slots=True)
class World:
    """What runs.

    Args:
        cluster: where manifests go.
        directory: short, as the path of a socket must be.
    """

    cluster: Cluster
    directory: Path

    def kubectl(self, *arguments: str) -> str:
        return self.cluster.kubectl(*arguments, show=False)

    def apply(self, manifest: str) -> None:
        path = self.directory / "manifest.yaml"
        path.write_text(manifest)
        self.kubectl("apply", "-f", str(path))

    def ready(self, *resource: str) -> None:
        self.kubectl("wait", "--for=condition=Ready", *resource, "--timeout=300s")

    def sockets(self) -> list[Path]:
        """Where `tailscale serve` would hand requests to each pod."""
        pods = json.loads(self.kubectl("get", "pods", IDENTITY, "--output=json"))["items"]
        found = [self.directory / "node/pods" / pod["metadata"]["uid"] / "root/run/tailnet/idp.sock" for pod in pods]
        return [socket for socket in found if socket.exists()]

    def secret(self, client: str = "app") -> dict[str, str]:
        """The application's; empty if there is none."""
        found = self.kubectl("get", f"secret/{client}-oauthclient", APPS, "--output=json", "--ignore-not-found")
        data = json.loads(found or "{}").get("data", {})
        return {name: base64.b64decode(value).decode() for name, value in data.items()}

    def http(self, address: str = replicas.ALICE) -> AbstractAsyncContextManager[httpx.AsyncClient]:
        """A program at somebody's node."""
        return replicas.over_tailnet(self.sockets(), address, ISSUER)


@pytest.fixture(scope="module")
def world() -> Iterator[World]:
    """A control plane, a node, a database and the operator, and a provider on a tailnet that is Ready."""
    directory = Path(tempfile.mkdtemp(prefix="e2e-"))
    (directory / "people.json").write_text(json.dumps(_people()))
    with ExitStack() as stack:
        stack.callback(shutil.rmtree, directory, ignore_errors=True)
        database = stack.enter_context(PostgresServer())
        plane = stack.enter_context(ControlPlane(directory / "cluster"))
        sidecar = (sys.executable, str(ROOT / "tests/fakes/sidecar.py"), str(directory / "people.json"))
        stack.enter_context(running(plane.kubeconfig, directory / "node", sidecar=sidecar))
        flags = (f"--kubeconfig={plane.kubeconfig_for(OPERATOR, ['system:masters'])}", "--open-host=127.0.0.1")
        made = World(Cluster(Narrator(io.StringIO()), directory, plane.programs / "kubectl", plane, flags), directory)
        made.kubectl("apply", "--server-side", "-k", str(ROOT / "crds"))
        stack.enter_context(Operator(made.cluster))
        for namespace in ("identity", "apps"):
            made.kubectl("create", "namespace", namespace)
        made.kubectl("label", "namespace", "apps", "apps=true")
        for name, content in (("database", f"url={database.url}"), ("joins", "authkey=canary-key")):
            made.kubectl("create", "secret", "generic", name, IDENTITY, f"--from-literal={content}")
            made.kubectl("label", "secret", name, IDENTITY, "tailseal.dev/allow=true")
        _up(made)
        yield made


def _people() -> dict[str, Any]:
    answer = json.loads((ROOT / "tests/tailnet/recorded/user.json").read_text())
    return {text.split("/")[0]: answer for text in answer["Node"]["Addresses"]}


def _up(world: World) -> None:
    world.apply(PROVIDER)
    world.apply(CLIENT)
    world.ready("identityprovider/corp", IDENTITY)
    world.ready("oauthclient/app", APPS)
    until(lambda: len(world.sockets()) == 2, within=180, what="both pods are there")


async def eventually(holds: Callable[[], Any], what: str) -> None:
    """Wait until the answer of an asynchronous question is true."""
    deadline = time.monotonic() + SECONDS
    while not await holds():
        assert time.monotonic() < deadline, f"not within {SECONDS} s: {what}"
        await asyncio.sleep(0.05)


async def everywhere(app: App, *, known: bool) -> None:
    """Wait until both replicas take its id and secret for right, or both for wrong."""

    async def holds() -> bool:
        return await app.known() == [known, known]

    await eventually(holds, f"known to both: {known}")


async def test_an_application_that_knows_nothing_but_its_secret_logs_a_person_in(world: World) -> None:
    secret = world.secret()
    assert set(secret) == KEYS
    async with world.http() as http:
        discovered = (await http.get(secret["discovery_endpoint"])).json()
        assert {name: discovered[name] for name in KEYS & set(discovered)} == {
            name: secret[name] for name in KEYS & set(discovered)
        }
        app = App(secret, http)
        tokens = await app.login()
        told = (await app.told(tokens["access_token"])).json()
        claims = await app.verified(tokens["id_token"])
        assert (told["email"], told["sub"]) == ("alice@example.com", claims["sub"])
        assert not re.fullmatch(r"userid:.*", claims["sub"]), "pairwise"
        assert (await app.refresh(tokens["refresh_token"])).status_code == 200


async def test_a_secret_is_rotated_while_people_log_in_and_the_former_one_goes_on(world: World) -> None:
    former = world.secret()
    async with world.http() as http:
        app, changed = App(former, http), False
        world.kubectl("annotate", "oauthclient/app", APPS, f"tailseal.dev/rotate={_now()}", "--overwrite")
        deadline = time.monotonic() + 120
        while time.monotonic() < deadline and not changed:
            await app.login()
            changed = world.secret()["client_secret"] != former["client_secret"]
        assert changed
        for secret in (former, world.secret()):
            for _ in range(4):  # two at each replica
                assert (await App(secret, http).login())["access_token"]


async def test_a_secret_that_others_changed_or_deleted_is_repaired_and_its_application_goes_on_logging_in(
    world: World,
) -> None:
    former, forged = world.secret(), "f0rgedbyhand" * 4
    by_hand = json.dumps(
        {"stringData": {"client_secret": forged, "issuer": "https://evil.example"}, "data": {"x": "eA=="}}
    )

    async with world.http() as http:
        tokens = await App(former, http).login()
        world.kubectl("patch", "secret/app-oauthclient", APPS, "--type=merge", f"--patch={by_hand}")
        until(lambda: world.secret().get("client_secret") != forged, within=180, what="the change is repaired")
        repaired = world.secret()
        assert repaired == former | {"client_secret": repaired["client_secret"]}, "all else is as it was"
        assert repaired["client_secret"] != former["client_secret"], "as docs/clients.md says"
        await everywhere(App(repaired, http), known=True)
        assert await App(former | {"client_secret": forged}, http).known() == [False, False]
        for secret in (former, repaired):
            await everywhere(App(secret, http), known=True)
            assert (await App(secret, http).login())["access_token"]
        world.kubectl("delete", "secret/app-oauthclient", APPS)
        until(lambda: world.secret().get("client_secret", "") != "", within=180, what="another is made")
        anew = world.secret()
        assert anew == former | {"client_secret": anew["client_secret"]}, "the same client id and endpoints"
        await everywhere(App(anew, http), known=True)
        for secret in (former, repaired):
            await everywhere(App(secret, http), known=False)
        assert (await App(anew, http).login())["access_token"]
        refreshed = await App(anew, http).refresh(tokens["refresh_token"])
        assert refreshed.status_code == 200, refreshed.text


async def test_a_client_with_an_id_and_a_secret_of_its_own_logs_in_by_them(world: World) -> None:
    world.apply(OWN)
    world.ready("oauthclient/wiki", APPS)
    secret = world.secret("wiki")
    assert set(secret) == KEYS
    assert (secret["client_id"], secret["client_secret"]) == (OWN_ID, OWN_SECRET)
    async with world.http() as http:
        app = App(secret, http)
        await everywhere(app, known=True)
        assert (await app.verified((await app.login())["id_token"]))["aud"] == OWN_ID
        assert await App(secret | {"client_secret": OWN_SECRET[::-1]}, http).known() == [False, False]
    world.kubectl("delete", "oauthclient/wiki", "secret/brought", APPS)


async def test_who_may_not_have_a_client_any_more_has_it_no_more_and_what_it_had_is_over(world: World) -> None:
    async with world.http() as http:
        app = App(world.secret(), http)
        tokens = await app.login()
        world.kubectl("label", "namespace", "apps", "apps-")

        async def refused() -> bool:
            answers = [await app.told(tokens["access_token"]) for _ in range(2)]
            return all(answer.status_code == 401 for answer in answers)

        await eventually(refused, "userinfo is refused by both")
        answer = await app.refresh(tokens["refresh_token"])
        assert (answer.status_code, answer.json()["error"]) == (401, "invalid_client")
        world.kubectl("wait", "--for=condition=Accepted=False", "oauthclient/app", APPS, "--timeout=300s")
        world.kubectl("label", "namespace", "apps", "apps=true")
        world.ready("oauthclient/app", APPS)
        for _ in range(2):  # one at each replica
            answer = await app.refresh(tokens["refresh_token"])
            assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant"), "given back, it begins anew"
            assert (await app.told(tokens["access_token"])).status_code == 401
        assert (await app.login())["access_token"]


async def test_a_client_that_is_deleted_is_gone_at_once_and_one_made_anew_has_nothing_of_it(world: World) -> None:
    async with world.http() as http:
        app = App(world.secret(), http)
        tokens = await app.login()
        world.kubectl("delete", "oauthclient/app", APPS)

        async def refused() -> bool:
            answers = [await app.told(tokens["access_token"]) for _ in range(2)]
            return all(answer.status_code == 401 for answer in answers)

        await eventually(refused, "userinfo is refused by both")
        world.apply(CLIENT)
        world.ready("oauthclient/app", APPS)
        anew = App(world.secret(), http)
        assert anew.secret["client_id"] == app.secret["client_id"]
        assert anew.secret["client_secret"] != app.secret["client_secret"]
        answer = await anew.refresh(tokens["refresh_token"])
        assert (answer.status_code, answer.json()["error"]) == (400, "invalid_grant")
        assert (await anew.login())["access_token"]


async def test_everything_deleted_and_applied_again_is_the_same_provider_with_the_same_people(world: World) -> None:
    async with world.http() as http:
        app = App(world.secret(), http)
        tokens = await app.login()
        before = await app.verified(tokens["id_token"])
    world.kubectl("delete", "identityprovider/corp", "signingkey/corp", IDENTITY)
    until(lambda: not world.sockets(), within=150, what="the pods are gone")
    _up(world)
    async with world.http() as http:
        same = App(world.secret(), http)
        assert same.secret == app.secret
        assert (await same.verified(tokens["id_token"]))["sub"] == before["sub"], "the key is published as before"
        again = await same.refresh(tokens["refresh_token"])
        assert again.status_code == 200, again.text
        assert (await same.told(again.json()["access_token"])).json()["sub"] == before["sub"]
        assert (await same.verified((await same.login())["id_token"]))["sub"] == before["sub"]


async def test_the_signing_key_is_rotated_while_people_log_in_and_every_id_token_verifies(world: World) -> None:
    def kids() -> set[str]:
        listed = json.loads(world.kubectl("get", "signingkey/corp", IDENTITY, "--output=json"))
        return {key["keyID"] for key in listed["status"]["keys"] if key["state"] == "Active"}

    async with world.http() as http:
        app = App(world.secret(), http)
        first, seen, kept = kids(), set[str](), list[tuple[float, str]]()
        world.kubectl("annotate", "signingkey/corp", IDENTITY, f"tailseal.dev/rotate={_now()}", "--overwrite")
        deadline = time.monotonic() + 300
        while time.monotonic() < deadline and len(seen) < 2:
            token = (await app.login())["id_token"]  # verifies there
            kid = json.loads(base64.urlsafe_b64decode(token.split(".")[0] + "=="))["kid"]
            seen.add(kid)
            kept = [(at, each) for at, each in kept if at > time.time() - 50] + [(time.time(), token)]
            for _, each in kept[::7]:
                await app.verified(each)
            await asyncio.sleep(0.2)
        assert first <= seen
        assert len(seen) == 2, "the new key signs by now"


def _now() -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
