"""A provider of two replicas each of both services, on a tailnet and a shared PostgreSQL, and who logs in there."""

from __future__ import annotations

import contextlib
import itertools
import json
import time
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final
from urllib.parse import parse_qs, urlencode, urlsplit

import httpx

from fakes import idp
from node import mesh
from node.keys import KeyCache, trusting
from node.load import Exchanges, Load, RefusedError, Work
from node.world import PROVIDERS, SPACE, World, until
from tailseal_dev import pki
from tailseal_dev.demo import manifests
from tailseal_dev.demo.caller import Caller, kid_of
from tailseal_dev.issuer import SUBJECT
from tailseal_dev.postgres import PostgresServer
from tailseal_dev.realnode import config
from tailseal_dev.tailnet import Tailnet
from tailseal_dev.tailnet.headscale import DOMAIN, Control
from tailseal_dev.tailnet.net import Member

NAME: Final = "pair"
ISSUER: Final = f"https://{NAME}.{DOMAIN}:{mesh.PORT}"
NODES: Final = (NAME, f"{NAME}-1")
POLICY: Final = {**mesh.POLICY, "groups": {"group:eng": ["alice@example.com", "bob@example.com"]}}
_SCOPE: Final = "openid email offline_access"
_PAUSES: Final = {"logins": 1.0, "refreshes": 0.5}
"""Seconds: of one person's opaque tokens a replica gives one a second in the long run."""

_KNOCK: Final = 5.0
"""Seconds after which whoever waits for a node tries another one, too."""

_PATIENCE: Final = 60.0


@dataclass(slots=True)
class Pair:
    """The provider, from outside.

    Args:
        world: where its pods are.
        net: whom people come over.
        place: the tailnet's control server.
        database: what both replicas share.
        nodes: names of the nodes that people come to.
        asked: requests over the tailnet.
        elsewhere: those of them that went to another node, as the first took no connection.
    """

    world: World
    net: Tailnet
    place: Control
    database: PostgresServer
    nodes: tuple[str, ...] = NODES
    asked: int = 0
    elsewhere: int = 0
    _token: str = ""
    _at: dict[str, str] = field(default_factory=dict)
    _proxies: dict[str, str] = field(default_factory=dict)
    _turns: Iterator[int] = field(default_factory=itertools.count)

    def apply(self) -> None:
        """Make it; returns when both services serve, and both nodes know who calls."""
        world = self.world
        key = self.net.key(Member(NAME, tags=("tag:idp",)))
        certificate, private = world.server([*(f"{name}.{DOMAIN}" for name in NODES), *pki.LOOPBACK_NAMES], NAME)
        url = self.database.url.replace("127.0.0.1", config.ADDRESS)
        for kind, name, *content in (
            ("generic", "pair-joins", f"--from-literal=authkey={key}"),
            ("generic", "pair-database", f"--from-literal=url={url}"),
            ("tls", "pair-serving", f"--cert={certificate}", f"--key={private}"),
        ):
            world.kubectl("create", "secret", kind, name, SPACE, *content)
            world.kubectl("label", "secret", name, SPACE, "tailseal.dev/allow=true")
        world.kubectl("apply", "--filename=-", stdin=self._manifest())
        self.ready()
        self._token = world.ci.token(ISSUER, iss="https://ci.example", exp=int(time.time()) + 4 * 3600)
        for component in ("sts", "idp"):
            address = world.kubectl("get", f"service/{NAME}-{component}", SPACE, "--output=jsonpath={.spec.clusterIP}")
            self._at[component] = f"127.0.0.1:{world.node.reach(address, 443)}"
        for who in ("alice", "bob"):
            self._proxies[who] = f"http://127.0.0.1:{world.node.reach('127.0.0.1', self.net.nodes[who].proxy)}"
        until(self.serves, "both services and both nodes serve", within=120)

    def _manifest(self) -> str:
        return f"""\
{manifests.SIGNING_KEY.replace("name: corp", f"name: {NAME}")}---
apiVersion: tailseal.dev/v1alpha1
kind: IdentityProvider
metadata: {{name: {NAME}, namespace: {PROVIDERS}}}
spec:
  issuer: {ISSUER}
  signingKeys: [{{name: {NAME}}}]
  tokens: {{accessTokenTTL: 15s, idTokenTTL: 15s, clockSkew: 1s}}
  sts: {{replicas: 2}}
  idp: {{replicas: 2}}
  storage: {{type: Postgres, postgres: {{urlSecretRef: {{name: pair-database}}}}}}
  serving: {{tls: {{secretRef: {{name: pair-serving}}}}}}
  tailnet:
    mode: Direct
    port: {mesh.PORT}
    loginServer: {self.place.url}
    auth: {{authKeySecretRef: {{name: pair-joins}}}}
---
apiVersion: tailseal.dev/v1alpha1
kind: OAuthClient
metadata: {{name: pair-app, namespace: {PROVIDERS}}}
spec:
  identityProviderRef: {{name: {NAME}}}
  clientID: {mesh.CLIENT}
  type: Public
  redirectURIs: ["{idp.CALLBACK}"]
---
apiVersion: tailseal.dev/v1alpha1
kind: TrustPolicy
metadata: {{name: pair-deploy, namespace: {PROVIDERS}}}
spec:
  identityProviderRef: {{name: {NAME}}}
  from:
    oidc:
      issuer: https://ci.example
      subject: {{exact: "{SUBJECT}"}}
      keys: {{jwks: {json.dumps(self.world.ci.jwks)}}}
  grants:
  - {{name: billing, jwt: {{audiences: ["{manifests.AUDIENCE}"], ttl: 15s}}}}
"""

    def delete(self) -> None:
        """Leave nothing of it behind."""
        named = [f"identityprovider/{NAME}", "oauthclient/pair-app", "trustpolicy/pair-deploy", f"signingkey/{NAME}"]
        secrets = [f"secret/pair-{what}" for what in ("joins", "database", "serving", "idp-0-tailnet", "idp-1-tailnet")]
        self.world.kubectl("delete", *named, *secrets, SPACE, "--ignore-not-found", "--wait=false")
        until(lambda: not self.pods(), "its pods are gone", within=120)

    def ready(self) -> None:
        """Wait until it is."""
        self.world.kubectl("wait", "--for=condition=Ready", f"identityprovider/{NAME}", SPACE, "--timeout=180s")

    def pods(self, *selectors: str) -> list[str]:
        """The names of its pods, by further labels; those of the token service first."""
        selector = ",".join((f"tailseal.dev/identity-provider={NAME}", *selectors))
        listed = self.world.kubectl("get", "pods", SPACE, f"--selector={selector}", "--output=name")
        return sorted((line.removeprefix("pod/") for line in listed.split()), reverse=True)

    def load(self) -> Load:
        """Exchanges over connections of their own, and over kept ones; one person's logins; refreshes of another's."""
        asked = (self._at["sts"], ISSUER, self.world.ca, self._token, manifests.AUDIENCE)
        work: dict[str, Work] = {
            "exchanges": Exchanges(*asked),
            "over kept connections": Exchanges(*asked, kept=True),
            "logins": Logins(self, "alice"),
            "refreshes": Refreshes(self, "bob"),
        }
        return Load(work, pauses=_PAUSES)

    def rotate(self) -> None:
        """Ask for a new key."""
        stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
        self.world.kubectl("annotate", f"signingkey/{NAME}", SPACE, "--overwrite", f"tailseal.dev/rotate={stamp}")

    def signer(self) -> str:
        """The key id of a token that was just given."""
        with contextlib.closing(Caller(f"https://{self._at['sts']}", self.world.ca)) as caller:
            return kid_of(caller.exchange_at(self._at["sts"], self._token, audience=manifests.AUDIENCE).token)

    def keys(self) -> KeyCache:
        """Of an application."""
        return KeyCache(self._at["idp"], self.world.ca, ISSUER)

    def over_tailnet(self, who: str, method: str, path: str, **request: Any) -> httpx.Response:  # noqa: ANN401 - httpx's
        """A request of a person's browser: where one node takes no connection it tries the other, as names have both.

        Raises:
            httpx.HTTPError: every node refused a connection or took none in a minute, or one did and did not answer.
        """
        self.asked += 1
        first, latest = next(self._turns), time.monotonic() + _PATIENCE
        nodes = [self.nodes[(first + number) % len(self.nodes)] for number in range(len(self.nodes))]
        while True:
            node, link = nodes.pop(0), _Link()
            try:
                return self._request(who, node, link, method, path, request)
            except httpx.HTTPError as error:
                if isinstance(error, httpx.TimeoutException):  # it did not refuse
                    nodes.append(node)
                if link.stands or not nodes or time.monotonic() > latest:
                    raise
                self.elsewhere += nodes[0] != node

    def _request(
        self, who: str, node: str, link: _Link, method: str, path: str, request: Mapping[str, Any]
    ) -> httpx.Response:
        headers = {"Host": urlsplit(ISSUER).netloc, **request.get("headers", {})}
        with httpx.Client(proxy=self._proxies[who], verify=trusting(self.world.ca), trust_env=False) as http:
            return http.request(
                method,
                f"https://{node}.{DOMAIN}:{mesh.PORT}{path}",
                data=request.get("data"),
                headers=headers,
                extensions={"trace": link.trace, "timeout": link.timeout},
            )

    def redeem(self, data: Mapping[str, str]) -> dict[str, Any]:
        """What the token endpoint gives, asked at the Service as an application in the cluster does.

        Raises:
            RefusedError: nothing.
        """
        with httpx.Client(verify=trusting(self.world.ca), timeout=_PATIENCE, trust_env=False) as http:
            answer = http.post(f"https://{self._at['idp']}/token", data={"client_id": mesh.CLIENT, **data})
        if answer.status_code != httpx.codes.OK:
            raise RefusedError(f"/token: {answer.status_code} {answer.text}")
        found: dict[str, Any] = answer.json()
        return found

    def serves(self) -> bool:
        """Whether exchanges are granted, and people get in at every node."""
        before = self.elsewhere
        try:
            for _ in self.nodes:
                for who in self._proxies:
                    Person(self, who).log_in()
            return bool(self.signer()) and self.elsewhere == before
        except (httpx.HTTPError, RefusedError):
            return False


class _Link:
    """The way to a node: from when it stands, a request that is lost is lost, and one that takes long is waited for."""

    def __init__(self) -> None:
        self.stands = False
        self.timeout = dict.fromkeys(("connect", "read", "write", "pool"), _KNOCK)

    def trace(self, name: str, _: Mapping[str, Any]) -> None:
        """Told by httpcore of each step."""
        if name.endswith("start_tls.started"):  # the proxy has opened the tunnel: the node took the connection
            self.stands = True
            self.timeout.update(dict.fromkeys(self.timeout, _PATIENCE))


@dataclass(slots=True)
class Person:
    """Somebody at a browser, and the application that they log in to.

    Args:
        pair: where they log in.
        who: they are.
    """

    pair: Pair
    who: str
    keys: KeyCache = field(init=False)
    _held: str = ""

    def __post_init__(self) -> None:
        self.keys = self.pair.keys()

    def close(self) -> None:
        """No connection is kept."""

    def log_in(self) -> None:
        """A login with consent; the code is redeemed for tokens, and with one of them a refresh is made.

        Raises:
            RefusedError: some step was refused.
        """
        self._held = ""
        self.refresh()

    def refresh(self) -> None:
        """New tokens for the refresh token, which is another each time.

        Raises:
            RefusedError: it was refused.
        """
        if not self._held:
            self._hold(self.pair.redeem(self._code()))
        held, self._held = self._held, ""
        self._hold(self.pair.redeem({"grant_type": "refresh_token", "refresh_token": held}))

    def _hold(self, given: Mapping[str, Any]) -> None:
        self.keys.verify(given["id_token"], mesh.CLIENT)
        self._held = given["refresh_token"]

    def _code(self) -> dict[str, str]:
        query = urlencode(idp.authorization(client_id=mesh.CLIENT, scope=_SCOPE))
        page = self.pair.over_tailnet(self.who, "GET", f"/authorize?{query}")
        if page.status_code != httpx.codes.OK:
            raise RefusedError(f"/authorize: {page.status_code} {page.text[-300:]}")
        action, fields = idp.form(page)
        cookies = "; ".join(f"{name}={value}" for name, value in page.cookies.items())
        answer = self.pair.over_tailnet(
            self.who,
            "POST",
            urlsplit(action).path,
            data=fields | {"answer": "yes"},
            headers={"Cookie": cookies, "Origin": ISSUER},
        )
        given = parse_qs(urlsplit(answer.headers.get("location", "")).query)
        if answer.status_code != httpx.codes.SEE_OTHER or "code" not in given:
            raise RefusedError(f"consent: {answer.status_code} {given} {answer.text[-300:]}")
        return idp.redemption(given["code"][0])


class Logins(Person):
    """A login after the other."""

    __call__ = Person.log_in


class Refreshes(Person):
    """One login, refreshed again and again."""

    __call__ = Person.refresh


def around(world: World, directory: Path) -> tuple[Tailnet, Control]:
    """A tailnet of which both people may log in."""
    return mesh.around(world, directory, POLICY)
