"""Trust that is withdrawn: a login ends with its grant, its node or whose that is, whichever way it is used next."""

from __future__ import annotations

import json
import time
from dataclasses import dataclass
from typing import Any, Final
from urllib.parse import urlencode

from tailseal_dev.tailnet.headscale import TailnetError
from tailseal_dev.tailnet.node import Node
from tailseal_dev.tailnet.provider import Browser, Provider
from tailseal_dev.tailnet.story import world
from tailseal_dev.tailnet.story.stage import Stage
from tailseal_dev.tailnet.story.table import Table
from tailseal_dev.tailnet.story.world import BILLING, GRAFANA, IDP, KIOSK, WIKI

EXCHANGE: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
KIND: Final = "urn:ietf:params:oauth:token-type:"
SCOPE: Final = "openid email groups offline_access"
_DEVICE: Final = "urn:ietf:params:oauth:grant-type:device_code"
_SLOWER: Final = 6.0
"""Seconds after which a device may ask again."""


@dataclass(frozen=True, slots=True)
class Logins:
    """A login for each way on, as the first that is refused ends the login that it belongs to.

    Args:
        at: who gave them.
        told: whose access token userinfo is asked with.
        exchanged: whose access token is exchanged.
        refreshed: whose refresh token is used.
        device: one that was let in and has not asked since.
    """

    at: Provider
    told: dict[str, Any]
    exchanged: dict[str, Any]
    refreshed: dict[str, Any]
    device: dict[str, Any]

    @classmethod
    def of(cls, node: Node, at: Provider) -> Logins:
        """Somebody's on a node, each by a browser of its own."""
        told, exchanged, refreshed = (Browser(node, at).log_in(GRAFANA, SCOPE) for _ in range(3))
        device = _begun(at)
        _lets_in(Browser(node, at), device)
        return cls(at, told, exchanged, refreshed, device)

    def used(self) -> str:
        """What comes of each but the device, whose code counts once."""
        refreshed = _refreshed(self.at, self.refreshed)
        return f"{self.at.told(self.told['access_token'])}, {_exchanged(self.at, self.exchanged)}, {refreshed}"

    def refused(self, table: Table) -> None:
        """A row for each; the device's code counts once, so it is asked about last and once."""
        table.soon("    userinfo", "401", lambda: str(self.at.told(self.told["access_token"])))
        table.soon("    exchange", "invalid_request", lambda: _exchanged(self.at, self.exchanged))
        table.soon("    refresh", "invalid_grant", lambda: _refreshed(self.at, self.refreshed))
        table.once("    device polling", "invalid_grant", lambda: _polled(self.at, self.device))


_USED: Final = f"200, {WIKI}, tokens"


def withdrawn(table: Table, on: Stage) -> None:
    """A grant leaves the policy file: logins, their exchanges and a device that was let in end with it."""
    ana, at = on.node("ana"), on.one
    begun = _begun(at)
    table.once("Ana lets a device in", "200", lambda: _lets_in(Browser(ana, at), begun))
    table.once("the device has tokens", "userid:1", lambda: _polled(at, begun))
    logins = Logins.of(ana, at)
    table.once("userinfo, exchange and refresh, of a login of hers each", _USED, logins.used)
    on.net.set_policy(world.policy(engineers=False))
    table.soon("the grant is withdrawn: the node has heard", "nothing", lambda: _granted(at.node, ana))
    logins.refused(table)
    table.soon("    POST /issue", "403", lambda: _issue(at, ana))
    on.net.set_policy(world.policy())
    table.soon("it is granted again", "200", lambda: _issue(at, ana))


def expired(table: Table, on: Stage) -> None:
    """A node has to log in again."""
    at, phone = on.other, on.node("phone")
    logins, address = Logins.of(phone, at), phone.addresses[0]
    table.once("logins of Ana's phone", _USED, logins.used)
    on.net.headscale.expire("phone")
    known = "ana@corp.example, expired"
    table.soon("Ana's phone expires: tailscaled goes on naming it", known, lambda: _whois(at.node, address))
    logins.refused(table)


def retagged(table: Table, on: Stage) -> None:
    """A node becomes somebody else at the same address, who may log in as well: former logins are not theirs."""
    at, tablet = on.other, on.node("tablet")
    logins, address = Logins.of(tablet, at), tablet.addresses[0]
    table.once("logins of Ana's tablet", _USED, logins.used)
    on.net.headscale.tag("tablet", KIOSK)
    step = "Ana's tablet is made a kiosk: same address, other identity"
    table.soon(step, f"{KIOSK}, valid", lambda: _whois(at.node, address))
    table.soon("what Ana was granted, kiosks are, too", IDP, lambda: _granted(at.node, tablet))
    kiosk = f"node:{on.net.headscale.nodes()['tablet']['id']} ['{KIOSK}'] for {BILLING}"
    # A connection that was accepted as Ana's is nobody's now, and the node's proxy keeps connections: a tunnel is new.
    table.once("    POST /issue, over a new connection", kiosk, lambda: issued(at, tablet, "--proxytunnel"))
    logins.refused(table)


def gone(table: Table, on: Stage) -> None:
    """Somebody leaves: headscale removes nobody who has a node, so it is their nodes' end that ends their logins."""
    at, headscale, cleo = on.other, on.net.headscale, on.node("cleo")
    logins, address = Logins.of(cleo, at), cleo.addresses[0]
    table.once("logins of Cleo", _USED, logins.used)
    table.once("Cleo leaves: headscale removes nobody who has a node", "refused", lambda: _removed(on, "cleo"))
    table.once("until then her logins are hers", _USED, logins.used)
    headscale.delete("cleo")
    step = "so her laptop is deleted first: the node has heard"
    table.soon(step, "nobody", lambda: _whois(at.node, address))
    logins.refused(table)
    table.once("now Cleo can be removed", "gone", lambda: _removed(on, "cleo"))


# --------------------------------------------------------------------------------------------------------- questions


def _issue(at: Provider, node: Node) -> str:
    return str(at.asked(node, "/issue", "--request", "POST")[0])


def issued(at: Provider, node: Node, *arguments: str) -> str:
    """Who a node is by the token that it gets, and for whom; else what it is told."""
    status, body = at.asked(node, "/issue", "--request", "POST", *arguments)
    answer = json.loads(body)
    if "token" not in answer:
        return f"{status} {answer['error']}"
    claims = at.verified(answer["token"])
    return f"{claims['sub']} {claims.get('tags', [])} for {claims['aud']}"


def _exchanged(at: Provider, given: dict[str, Any]) -> str:
    """The audience of a token for one of a session; else why there is none."""
    form = {"grant_type": EXCHANGE, "subject_token": given["access_token"]}
    form |= {"subject_token_type": f"{KIND}access_token", "audience": WIKI}
    answer = json.loads(at.elsewhere("/token", "--data", urlencode(form))[1])
    return str(answer["error"] if "error" in answer else at.verified(answer["access_token"])["aud"])


def _refreshed(at: Provider, given: dict[str, Any]) -> str:
    answer = at.refreshed(GRAFANA, given["refresh_token"])
    given |= answer
    return str(answer.get("error", "tokens"))


def _begun(at: Provider) -> dict[str, Any]:
    """A device that shows a code."""
    sent = ("--user", f"{GRAFANA.id}:{GRAFANA.secret}", "--data", urlencode({"scope": "openid"}))
    found: dict[str, Any] = json.loads(at.elsewhere("/device_authorization", *sent)[1])
    return found


def _lets_in(browser: Browser, begun: dict[str, Any]) -> str:
    return str(browser.connect(begun["verification_uri_complete"])[0])


def _polled(at: Provider, begun: dict[str, Any]) -> str:
    """Whose tokens a device gets; else why none."""
    answer = at.redeemed(GRAFANA, grant_type=_DEVICE, device_code=begun["device_code"])
    if answer.get("error") in {"slow_down", "temporarily_unavailable"}:
        time.sleep(_SLOWER)
    return str(answer["error"] if "error" in answer else at.verified(answer["id_token"])["sub"])


def _whois(node: Node, address: str) -> str:
    found = node.whois(address)
    if found is None:
        return "nobody"
    who = ", ".join(found["Node"].get("Tags") or ()) or found["UserProfile"]["LoginName"]
    return f"{who}, {'expired' if found['Node'].get('Expired') else 'valid'}"


def _granted(node: Node, caller: Node) -> str:
    found = node.whois(caller.addresses[0])
    return "nobody" if found is None else IDP if IDP in (found["CapMap"] or {}) else "nothing"


def _removed(on: Stage, user: str) -> str:
    headscale = on.net.headscale
    try:
        headscale.json("users", "destroy", "--name", user, "--force")
    except TailnetError as error:
        return "refused" if "node(s) found" in str(error) else str(error)
    return "there" if any(each["name"] == user for each in headscale.json("users", "list")) else "gone"
