"""`python -m tailseal_dev.tailnet [POLICY.json]`: a tailnet to try things in, until Enter or the end of input."""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

from tailseal_dev.cache import BuildError
from tailseal_dev.tailnet import Tailnet, TailnetError, why_not
from tailseal_dev.tailnet.net import Member, User

USERS = (User("ana", "ana@corp.example", "Ana"), User("ben", "ben@corp.example", "Ben"))
MEMBERS = (
    Member("idp", tags=("tag:idp",)),
    Member("ana", "ana"),
    Member("ben", "ben"),
    Member("ci", tags=("tag:ci",)),
)
RULE = {"v": 1, "allow": [{"action": ["login"], "resource": ["client/grafana"]}]}
POLICY = {
    "groups": {"group:eng": ["ana@corp.example"]},
    "tagOwners": {"tag:idp": ["ana@corp.example"], "tag:ci": ["ana@corp.example"]},
    "grants": [
        {"src": ["autogroup:member", "tag:ci"], "dst": ["tag:idp"], "ip": ["tcp:80", "tcp:443", "tcp:8080"]},
        {"src": ["group:eng"], "dst": ["tag:idp"], "app": {"tailseal.dev/cap/idp": [RULE]}},
    ],
}


def main() -> int:
    """Bring it up, say who is who and how to get there, wait."""
    if reason := why_not():
        print(reason, file=sys.stderr)
        return 1
    policy: dict[str, Any] = POLICY | (json.loads(Path(sys.argv[1]).read_text()) if sys.argv[1:] else {})
    try:
        with Tailnet(USERS, MEMBERS, policy) as net:
            _show(net)
            sys.stdin.readline()
    except (BuildError, TailnetError) as error:
        print(error, file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print()
    return 0


def _show(net: Tailnet) -> None:
    first = next(iter(net.nodes.values()))
    print(f"{'node':6} {'address':12} {'LocalAPI':34} what {first.name} knows of it")
    for node in net.nodes.values():
        address, _ = node.addresses
        found = first.whois(address) or {}
        who = found["Node"].get("Tags") or found["UserProfile"]["LoginName"]
        print(f"{node.name:6} {address:12} {node.socket!s:34} {who} {json.dumps(found['CapMap'])}")
    print(f"\nas a program on ana's node: {' '.join(net.nodes['ana'].inside('curl', f'http://{first.host}/'))}")
    print("Enter ends it", flush=True)


if __name__ == "__main__":
    sys.exit(main())
