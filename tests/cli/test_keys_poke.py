"""A real kube-apiserver lets go of a key that left the set once it is poked, and the command says whether it did."""

from __future__ import annotations

import contextlib
import hashlib
import itertools
import json
import ssl
import sys
import time
from argparse import Namespace
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import httpx
import pytest
import yaml
from click.testing import CliRunner, Result

from fakes import bundles, exchange
from fakes.exchange import SETTINGS
from tailseal.cli.errors import Failure
from tailseal.cli.keys import poke as keys_poke
from tailseal.cli.main import cli
from tailseal.domain import poke
from tailseal.domain.bundle.model import HeldKey
from tailseal.domain.relying import Relying, configuration
from tailseal.tokens import compact
from tailseal_dev import process
from tailseal_dev.controlplane import ControlPlane
from tailseal_dev.pki import Authority
from tailseal_dev.ports import free_ports

AUDIENCE = "k8s-prod"


@dataclass
class Scene:
    """A worker that serves a key set, and an API server that trusts its issuer."""

    issuer: str
    mounted: bundles.Mounted
    authority: Path
    plane: ControlPlane
    numbers: Iterator[int]

    def publish(self, *kids: str, max_age: int) -> None:
        """Have the worker serve exactly these keys."""
        lease = [HeldKey(kid=kid, alg="ES256", file=f"{kid}.pem", sign_until=time.time() + 86_400) for kid in kids]
        self.mounted.project("signing", bundles.signing(*kids, issuer=self.issuer, held=lease, max_age=max_age))
        with httpx.Client(verify=ssl.create_default_context(cafile=self.authority), trust_env=False) as client:
            for _ in range(1200):
                answer = client.get(f"{self.issuer}/.well-known/jwks.json")
                served = {key["kid"] for key in answer.json()["keys"]}, answer.headers["cache-control"]
                if served[0] == set(kids) and f"max-age={max_age}" in served[1]:
                    return
                time.sleep(0.05)
        raise AssertionError(f"the worker serves {served}")

    def accepts(self, kid: str) -> bool:
        """Whether the API server takes a token of that key that it has never seen."""
        now = int(time.time())
        claims = {"iss": self.issuer, "aud": AUDIENCE, "sub": "policy:a/b", "iat": now, "exp": now + 300}
        header = {"alg": "ES256", "kid": kid, "typ": "at+jwt"}
        token = exchange.token(claims | {"jti": str(next(self.numbers))}, header, exchange.ec_key(kid), "ES256")
        review = {"apiVersion": "authentication.k8s.io/v1", "kind": "SelfSubjectReview"}
        answer = httpx.post(
            f"{self.plane.server}/apis/authentication.k8s.io/v1/selfsubjectreviews",
            json=review,
            headers={"authorization": f"Bearer {token}"},
            verify=ssl.create_default_context(cafile=self.plane.certificate_authority),
            trust_env=False,
        )
        return answer.status_code == httpx.codes.CREATED

    def poke(self, *more: str, audience: str = AUDIENCE, kubeconfig: Path | None = None) -> Result:
        where = ("--kubeconfig", str(kubeconfig or self.plane.kubeconfig))
        asked = ("--issuer", self.issuer, "--audience", audience)
        return CliRunner().invoke(cli, ["keys", "poke", *asked, *where, *more])


@pytest.fixture(scope="module")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    folder = tmp_path_factory.mktemp("poke")
    serving, management = free_ports(2)
    issuer = f"https://127.0.0.1:{serving}"
    authority = Authority()
    (folder / "ca.crt").write_bytes(authority.certificate)
    authority.server().write(folder / "tls", "tls")
    mounted = bundles.Mounted(folder / "bundle")
    lease = [HeldKey(kid="k1", alg="ES256", file="k1.pem", sign_until=time.time() + 86_400)]
    mounted.project("signing", bundles.signing(held=lease, issuer=issuer))
    settings = SETTINGS.model_copy(update={"issuer": issuer, "token_endpoint": f"{issuer}/token"})
    mounted.project("policies", bundles.policies(settings=settings))
    mounted.project("credentials", {})
    command = [sys.executable, "-m", "tailseal", "sts", "--bundle", str(folder / "bundle")]
    command += ["--listen", f"127.0.0.1:{serving}", "--management", f"127.0.0.1:{management}"]
    worker = process.start([*command, "--tls", str(folder / "tls")], folder / "log")
    document = configuration(Relying(issuer, [AUDIENCE], authority=authority.certificate.decode()))
    (folder / "authn.yaml").write_text(yaml.safe_dump(document))
    try:
        for _ in range(1200):
            with contextlib.suppress(httpx.TransportError):
                if httpx.get(f"http://127.0.0.1:{management}/readyz", trust_env=False).status_code == httpx.codes.OK:
                    break
            time.sleep(0.05)
        with ControlPlane(folder / "cluster", (f"--authentication-config={folder / 'authn.yaml'}",)) as plane:
            yield Scene(issuer, mounted, folder / "ca.crt", plane, itertools.count())
    finally:
        process.stop(worker, grace=5)


@pytest.mark.cluster
def test_an_api_server_holds_a_revoked_key_until_it_is_poked(scene: Scene) -> None:
    scene.publish("k1", "k2", max_age=30)
    assert scene.accepts("k1")
    assert scene.accepts("k2")
    scene.publish("k2", max_age=30)
    assert scene.accepts("k1"), "nothing has told it"
    result = scene.poke()
    assert (result.exit_code, "fetched the key set" in result.stdout) == (0, True), result.output
    assert scene.plane.server in result.stdout
    assert not scene.accepts("k1")
    assert scene.accepts("k2")


@pytest.mark.cluster
def test_a_set_that_may_be_kept_for_long_is_kept_and_that_is_said(scene: Scene) -> None:
    scene.publish("k1", "k2", max_age=300)
    assert scene.poke().exit_code == 0
    scene.publish("k2", max_age=300)
    result = scene.poke()
    assert (result.exit_code, "did not fetch" in result.stdout, "--wait" in result.stdout) == (1, True, True)
    assert scene.accepts("k1")
    server = scene.plane.server
    assert scene.poke("--server", server, "--server", server).stdout.count("did not fetch") == 2


@pytest.mark.cluster
def test_it_goes_on_asking_for_as_long_as_it_is_told(scene: Scene) -> None:
    """A key set of 35 s is kept for its first five."""
    scene.plane.stop_api_server()
    scene.plane.start_api_server()
    scene.publish("k1", "k2", max_age=35)
    assert scene.accepts("k1")
    scene.publish("k2", max_age=35)
    assert scene.poke("--wait", "120s").exit_code == 0
    assert not scene.accepts("k1")


@pytest.mark.cluster
def test_what_cannot_be_seen_is_not_claimed(scene: Scene) -> None:
    scene.publish("k1", "k2", max_age=30)
    result = scene.poke(kubeconfig=scene.plane.kubeconfig_for("somebody"))
    assert (result.exit_code, "is not to be seen" in result.stdout) == (1, True)
    result = scene.poke(audience="another")
    assert (result.exit_code, "does not trust" in result.stdout) == (1, True)
    result = scene.poke("--server", "https://127.0.0.1:1", "--server", scene.plane.server, "--wait", "120s")
    assert (result.exit_code, "fetched the key set" in result.stdout) == (3, True), "the others are poked all the same"
    assert scene.poke("--wait", "soon").exit_code == 2


def test_a_poke_proves_nothing_to_anybody() -> None:
    now = 1_800_000_000.0
    one = compact.split(poke.token("https://idp.example", AUDIENCE, now, bytes(poke.RANDOM)))
    other = compact.split(poke.token("https://idp.example", AUDIENCE, now, bytes(range(poke.RANDOM))))
    assert one.kid != other.kid
    assert json.dumps(one.payload) == json.dumps(other.payload)
    assert one.payload["sub"] == "nobody"


def test_only_what_is_about_the_issuer_is_read_out_of_metrics() -> None:
    ours = f"sha256:{hashlib.sha256(b'https://idp.example').hexdigest()}"
    text = f"""\
# HELP {poke.METRIC} x
{poke.METRIC}{{apiserver_id_hash="sha256:a",jwt_issuer_hash="{ours}",result="success"}} 1.8e+09
{poke.METRIC}{{apiserver_id_hash="sha256:a",jwt_issuer_hash="sha256:other",result="success"}} 1.9e+09
other_metric{{jwt_issuer_hash="{ours}"}} 5
"""
    assert list(poke.fetches(text, "https://idp.example")) == [poke.Fetch("sha256:a", "success", 1.8e9)]
    assert list(poke.fetches(text, "https://idp.example/")) == []


class Behind:
    """API servers behind one address: each answer of metrics is the next one's."""

    def __init__(self, *metrics: str) -> None:
        self.metrics_of, self.last = iter(metrics), ""

    async def metrics(self) -> str:
        self.last = next(self.metrics_of, self.last)
        return self.last

    async def status_of(self, _token: str) -> int:
        return 401

    async def credentials(self) -> Namespace:
        return Namespace(server="https://api.example")


def fetched_at(process: str, instance: str, at: float | None, result: str = "success") -> str:
    """Metrics of an instance that fetched then."""
    ours = f"sha256:{hashlib.sha256(b'https://idp.example').hexdigest()}"
    labels = f'apiserver_id_hash="sha256:{instance}",jwt_issuer_hash="{ours}",result="{result}"'
    return f"process_start_time_seconds {process}\n" + ("" if at is None else f"{poke.METRIC}{{{labels}}} {at}\n")


@pytest.mark.parametrize(
    ("metrics", "result"),
    [
        ((fetched_at("1.5", "a", 100.0), fetched_at("1.5", "a", 200.0)), "success"),
        ((fetched_at("1.5", "a", None), fetched_at("1.5", "a", 200.0)), "success"),
        ((fetched_at("1.5", "a", 100.0), fetched_at("1.5", "a", 100.0)), None),
        ((fetched_at("1.5", "a", 1.0), fetched_at("1.5", "a", 2.0, "failure")), "failure"),
        ((fetched_at("1.5", "a", 1.0), fetched_at("1.5", "a", 2.0, "failure"), fetched_at("1.5", "a", 3.0)), "success"),
    ],
)
async def test_what_it_fetched_since_is_told_and_a_fetch_that_failed_is_not_the_end_of_waiting(
    metrics: tuple[str, ...], result: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(keys_poke, "_PAUSE", 0.0)
    wait = time.monotonic() + (60.0 if len(metrics) > 2 else 0.0)
    fetched = (await insist(Behind(*metrics), wait)).fetched
    assert (fetched.result if fetched else None) == result


@pytest.mark.parametrize("first", [100.0, None])
async def test_a_fetch_of_long_ago_by_another_api_server_at_the_same_address_is_no_fetch(first: float | None) -> None:
    with pytest.raises(Failure, match="more than one API server"):
        await insist(Behind(fetched_at("1.5", "a", first), fetched_at("2.5", "b", 90.0)), 0.0)


async def insist(servers: Behind, until: float) -> keys_poke.Poked:
    return await keys_poke._insist(servers, "https://idp.example", AUDIENCE, until)  # type: ignore[arg-type]


@pytest.mark.parametrize("server", ["http://10.0.0.5:8080", "10.0.0.5:6443", "https://"])
def test_nobodys_credentials_go_where_they_could_be_read(server: str) -> None:
    asked = ("--issuer", "https://idp.example", "--audience", AUDIENCE, "--server", server)
    result = CliRunner().invoke(cli, ["keys", "poke", *asked])
    assert (result.exit_code, "https URL" in result.output) == (2, True)
