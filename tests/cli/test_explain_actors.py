"""`tailseal explain --actor-token-file`: who may act, decided and retold as production would."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml
from click.testing import CliRunner, Result

from fakes.manifests import AT, PINNED, PROVIDER, policy
from tailseal.cli.main import cli

ROBOTS = "https://robots.example"
MEANT = {"oidc": {"issuer": ROBOTS, "algorithms": ["EdDSA"], "subject": {"glob": "robot-*"}}}
Sign = Callable[..., str]
Write = Callable[..., Path]


def acting(*actors: dict[str, Any]) -> str:
    manifest = yaml.safe_load(policy({"claims": [PINNED]}))
    manifest["spec"]["actors"] = list(actors)
    return yaml.safe_dump(manifest)


def explain(subject: str, actor: str, place: Path, *options: str) -> Result:
    file = place.parent / "actor"
    file.write_text(actor)
    arguments = ["explain", "--token-file", "-", "--actor-token-file", str(file), "-f", str(place), "--at", AT]
    return CliRunner().invoke(cli, [*arguments, *options], input=subject)


def decided(subject: str, actor: str, place: Path) -> tuple[dict[str, Any], list[dict[str, Any]], str]:
    """The decision, failed checks of the only policy, and the warnings."""
    result = explain(subject, actor, place, "-o", "json")
    document = json.loads(result.stdout)
    checks = [check for account in document["policies"] for check in account["checks"] if check["outcome"] != "match"]
    return document["decision"], checks, str(document["warnings"])


@pytest.fixture
def robot(sign: Sign) -> str:
    return sign(iss=ROBOTS, sub="robot-7")


def test_an_actor_that_the_policy_means_is_granted_with_a_warning(sign: Sign, folder: Write, robot: str) -> None:
    place = folder(provider=PROVIDER, deploy=acting(MEANT))
    decision, _, warnings = decided(sign(), robot, place)
    assert decision["granted"] is True
    assert "the signature of the actor token was NOT checked" in warnings


def test_what_the_actor_lacks_is_told_rule_by_rule(sign: Sign, folder: Write, robot: str) -> None:
    place = folder(provider=PROVIDER, deploy=acting({"oidc": {"issuer": ROBOTS, "subject": {"exact": "robot-1"}}}))
    decision, checks, _ = decided(sign(), robot, place)
    assert decision["reason"] == "ActorNotTrusted"
    where = "spec.actors[0].oidc"
    assert [check["field"] for check in checks] == ["spec.actors", f"{where}.subject", f"{where}.algorithms"]
    assert checks[1]["expected"] == 'exact: "robot-1"'
    text = explain(sign(), robot, place)
    assert text.exit_code == 1
    for part in robot.split("."):
        assert part not in text.output


@pytest.mark.parametrize(
    ("actors", "changes", "reason"),
    [
        ([], {}, "UnknownActorIssuer"),
        ([{"oidc": {"issuer": ROBOTS}}], {"iss": "https://attacker.example"}, "UnknownActorIssuer"),
        ([{"oidc": {"issuer": ROBOTS}}], {"exp": 1}, "ActorTokenExpired"),
        ([{"oidc": {"issuer": ROBOTS}}], {"aud": "https://x.example"}, "ActorNotTrusted"),
    ],
)
def test_refusals_are_those_of_production(
    sign: Sign, folder: Write, actors: list[dict[str, Any]], changes: dict[str, Any], reason: str
) -> None:
    place = folder(provider=PROVIDER, deploy=acting(*actors))
    actor = sign(**{"iss": ROBOTS, "sub": "robot-7"} | changes)
    assert decided(sign(), actor, place)[0]["reason"] == reason


def test_keys_in_the_policy_check_the_actors_signature(
    sign: Sign, folder: Write, robot: str, jwk: dict[str, Any]
) -> None:
    provider = PROVIDER.replace("Discovery", "JWKS, Discovery")
    keys = {"issuer": ROBOTS, "keys": {"jwks": {"keys": [jwk]}}, "algorithms": ["EdDSA"]}
    place = folder(provider=provider, deploy=acting({"oidc": keys}))
    decision, _, warnings = decided(sign(), robot, place)
    assert decision["granted"] is True
    assert "actor token" not in warnings
    forged = robot[:-6] + ("AAAAAA" if robot[-6:] != "AAAAAA" else "BBBBBB")
    assert decided(sign(), forged, place)[0]["reason"] in {"ActorBadSignature", "ActorTokenMalformed"}


def test_may_act_and_scopes_are_told_beside(sign: Sign, folder: Write, robot: str) -> None:
    place = folder(provider=PROVIDER, deploy=acting({"oidc": {"issuer": ROBOTS, "algorithms": ["EdDSA"]}}))
    decision, checks, _ = decided(sign(may_act={"sub": "somebody"}), robot, place)
    assert decision["reason"] == "ActorNotNamed"
    assert (checks[0]["field"], checks[0]["claim"]) == ("spec.actors", "may_act")
    missing = explain(sign(), "", place)
    assert (missing.exit_code, "--actor-token-file: it is empty" in missing.output) == (2, True)
