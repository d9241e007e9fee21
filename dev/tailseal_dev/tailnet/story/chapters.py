"""What is told: who is known, what cannot be forged, trust that is withdrawn, a job that joins, a guarded service."""

from __future__ import annotations

import json
import subprocess
import time
from collections.abc import Callable
from hashlib import sha256
from typing import Any, Final
from urllib.parse import urlencode

from tailseal.domain.policy.grants import AUTH_KEY
from tailseal_dev.tailnet.headscale import TailnetError
from tailseal_dev.tailnet.node import Node
from tailseal_dev.tailnet.provider import CHALLENGE, Browser, Provider
from tailseal_dev.tailnet.story import stage, world
from tailseal_dev.tailnet.story.freshness import EXCHANGE, KIND, SCOPE, expired, gone, issued, retagged, withdrawn
from tailseal_dev.tailnet.story.stage import Stage
from tailseal_dev.tailnet.story.table import Table
from tailseal_dev.tailnet.story.world import BILLING, GRAFANA, WIKI

_NOBODYS: Final = "100.64.99.99"
_EVERYTHING: Final = {"v": 1, "allow": [{"action": ["*"], "resource": ["*"]}]}


def forged(victim: str) -> list[str]:
    """Arguments of curl: headers by which somebody says that they are the node with this address."""
    everything = json.dumps({world.IDP: [_EVERYTHING], world.APP: [_EVERYTHING]})
    lines = (
        f"X-Forwarded-For: {victim}",
        f"X_Forwarded_For: {victim}",
        f"Forwarded: for={victim}",
        f"X-Real-IP: {victim}",
        "Tailscale-User-Login: ana@corp.example",
        "Tailscale_User_Login: ana@corp.example",
        f"Tailscale-App-Capabilities: {everything}",
        f"Tailscale_App_Capabilities: {everything}",
    )
    return [part for line in lines for part in ("--header", line)]


def people(table: Table, on: Stage) -> None:
    """Somebody logs in at one replica; the login goes on at the other."""
    ana, found = on.node("ana"), dict[str, Any]()

    def logs_in() -> str:
        found.update(Browser(ana, on.one).log_in(GRAFANA, SCOPE))
        claims = on.one.verified(found["id_token"])
        return f"{claims['sub']}, {claims['email']}, {claims['groups']}"

    def refreshes() -> str:
        found.update(on.other.refreshed(GRAFANA, found["refresh_token"]))
        return str(on.one.verified(found["id_token"])["sub"])

    who = "userid:1, ana@corp.example, ['eng']"
    table.once("Ana logs in to Grafana: no password, one click", who, logs_in)
    table.once("the client has no offline_access; her capability does", SCOPE, lambda: str(found["scope"]))
    if on.other is on.one:
        table.left_out("the other replica goes on with it; all of mode Direct", "no PostgreSQL is installed here")
    else:
        table.once("the other replica refreshes what the first one gave", "userid:1", refreshes)
        ask = ("ID token for a code of the first one, redeemed at the other", "userid:1")
        table.once(*ask, lambda: _sub(on, Browser(ana, on.one).log_in(GRAFANA, SCOPE, at=on.other)))
    table.once("Ben, whom nothing is granted, wants to log in", "403", lambda: _authorize(on.one, on.node("ben")))
    table.once("so does a machine", "403", lambda: _authorize(on.one, on.node("robot")))


def tokens(table: Table, on: Stage) -> None:
    """Tokens for whoever calls, by tag and by app capability."""
    ana, robot = on.node("ana"), on.node("robot")
    machine = f"node:{on.net.headscale.nodes()['robot']['id']} ['tag:ci'] for {WIKI}"
    for each in on.replicas:
        table.once(f"{each.mode}: a tagged node asks for a token", machine, lambda at=each: issued(at, robot))  # type: ignore[misc]
        of_ana = f"userid:1 [] for {BILLING}"
        table.once(f"{each.mode}: Ana is granted the audience", of_ana, lambda at=each: issued(at, ana))  # type: ignore[misc]
        table.once(f"{each.mode}: Ben is not", "403 access_denied", lambda at=each: issued(at, on.node("ben")))  # type: ignore[misc]


def forgeries(table: Table, on: Stage) -> None:
    """Nothing that is sent makes anybody somebody else."""
    ana, ben, robot = (on.node(name) for name in ("ana", "ben", "robot"))
    lies, nobody = forged(ana.addresses[0]), forged(_NOBODYS)
    machine = f"node:{on.net.headscale.nodes()['robot']['id']} ['tag:ci'] for {WIKI}"
    for each in on.replicas:
        denied = "403 access_denied"
        table.once(f"{each.mode}: Ben says by eight headers he is Ana", denied, lambda at=each: issued(at, ben, *lies))  # type: ignore[misc]
        table.once(f"{each.mode}: the machine says it is nobody", machine, lambda at=each: issued(at, robot, *nobody))  # type: ignore[misc]
        neighbour = "401 access_denied"
        table.once(f"{each.mode}: a neighbour on loopback says so", neighbour, lambda at=each: _neighbour(at, lies))  # type: ignore[misc]
        if each.mode == "Direct":
            step = "Direct: a neighbour does, where tailscaled forwards to"
            table.once(step, neighbour, lambda at=each: _neighbour(at, lies, at.at))  # type: ignore[misc]


def job_joins(table: Table, on: Stage) -> None:
    """A CI job has an OIDC token, and no secret: it gets a key that counts once, and joins."""
    at, net, found = on.one, on.net, dict[str, Any]()
    own, other = stage.job(on.ci), stage.job(on.ci, f"{world.SUBJECT}-2")

    def asks() -> str:
        found.update(_key(at, own))
        return str(found.get("issued_token_type", found))

    def joins(name: str) -> str:
        node = net.stray(name)
        node.start()
        try:
            node.up(found["access_token"])
        except TailnetError:
            return "refused"
        joined = net.headscale.nodes()[name]
        key = joined["pre_auth_key"]
        kind = f"{'ephemeral' if key['ephemeral'] else 'kept'}, {'again' if key.get('reusable') else 'once'}"
        return f"{', '.join(joined['tags'])}, {kind}"

    def audited() -> str:
        (line,) = (line for line in at.decisions() if line["data"].get("tokenHash") == _hash(own))
        named = f"{line['data']['policy']} for {line['data']['tags'][0]}"
        kept = "no key" if found["access_token"] not in at.log.read_text() else "the key"
        return f"{named}, {kept}"

    def refused() -> str:
        told = _key(at, other)["decision_id"]
        (line,) = (line for line in at.decisions() if line["id"] == told)
        return f"{line['data']['reason']}, {'its' if line['data']['tokenHash'] == _hash(other) else 'another'} token"

    table.once("a CI job exchanges its OIDC token for a key", AUTH_KEY, asks)
    table.once("a node joins with the key", "tag:ci, ephemeral, once", lambda: joins("runner"))
    net.acquaint(net.nodes["runner"])
    machine = f"node:{net.headscale.nodes()['runner']['id']} ['tag:ci'] for {WIKI}"
    table.once("and is what its tag says, to the provider as well", machine, lambda: issued(at, net.nodes["runner"]))
    table.once("another node wants to join with it", "refused", lambda: joins("thief"))
    table.once("the audit line that has the hash of the job's token", "identity/jobs for tag:ci, no key", audited)
    table.once("another branch's job; the line of the id that it is told", "NoPolicyMatches, its token", refused)
    net.nodes["runner"].tailscale("logout")
    table.soon("the job ends by `tailscale logout`: its node", "gone", lambda: _there(on, "runner"))


def guarded(table: Table, on: Stage) -> None:
    """A service of somebody else's, guarded by what the policy file grants towards its own node."""
    ana, ben, app = on.node("ana"), on.node("ben"), on.node("app")
    lies = forged(ana.addresses[0])
    url = f"http://{app.host}/items"
    table.once("Ana reads the item that is granted", "200 item 1 for ana@corp.example", lambda: _got(ana, f"{url}/1"))
    table.once("and another one", "403 PermissionMissing", lambda: _got(ana, f"{url}/2"))
    table.once("Ben reads it", "403 CapabilityMissing", lambda: _got(ben, f"{url}/1"))
    table.once("Ben says that he is Ana", "403 CapabilityMissing", lambda: _got(ben, f"{url}/1", *lies))


CHAPTERS: Final[tuple[Callable[[Table, Stage], None], ...]] = (
    people,
    tokens,
    forgeries,
    withdrawn,
    expired,
    retagged,
    gone,
    job_joins,
    guarded,
)


# --------------------------------------------------------------------------------------------------------- questions


def _authorize(at: Provider, node: Node) -> str:
    asked = {"client_id": GRAFANA.id, "redirect_uri": GRAFANA.callback, "response_type": "code", "scope": "openid"}
    asked |= {"code_challenge": CHALLENGE, "code_challenge_method": "S256"}
    return str(at.asked(node, f"/authorize?{urlencode(asked)}")[0])


def _neighbour(at: Provider, lies: list[str], port: int | None = None) -> str:
    status, body = at.elsewhere("/issue", "--request", "POST", *lies, port=port)
    return f"{status} {json.loads(body).get('error', 'a token')}"


def _key(at: Provider, token: str) -> dict[str, Any]:
    """What a job gets for its token."""
    form = {"grant_type": EXCHANGE, "subject_token": token, "subject_token_type": f"{KIND}jwt"}
    body = at.elsewhere("/token", "--data", urlencode(form | {"requested_token_type": AUTH_KEY}))[1]
    answer: dict[str, Any] = json.loads(body)
    return answer


def _hash(token: str) -> str:
    return sha256(token.encode()).hexdigest()


def _sub(on: Stage, given: dict[str, Any]) -> str:
    return str(on.one.verified(given["id_token"])["sub"])


def _there(on: Stage, name: str) -> str:
    return "there" if name in on.net.headscale.nodes() else "gone"


def _got(node: Node, url: str, *arguments: str) -> str:
    for _ in range(120):  # two busy nodes may not find each other in time, and a busy tailscaled may not answer
        result: subprocess.CompletedProcess[str] = node.curl(url, "--write-out", "\n%{http_code}", *arguments)
        body, _, status = result.stdout.rpartition("\n")
        if result.returncode == 0 and status not in ("502", "503"):
            break
        time.sleep(0.25)
    return f"{status} {json.loads(body)['reason'] if body.startswith('{') else body}"
