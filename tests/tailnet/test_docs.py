"""What docs/tailnet.md says of grants, on a real tailnet: they are taken as written, and allow what the page says."""

from __future__ import annotations

import asyncio
import json
import os
import re
import shlex
import time
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from fakes import exchange
from tailnet import world
from tailseal.api.identityprovider import IdentityProviderSpec
from tailseal.api.unsupported import unsupported
from tailseal.domain import capability
from tailseal.domain.capability import Action, Capabilities
from tailseal.domain.policy.compile import compile_policy
from tailseal.domain.policy.source import TAILNET
from tailseal.tailnet import LocalApi, NobodyError, Outage, Refusal, Serve, UnavailableError
from tailseal_dev.tailnet import Tailnet
from tailseal_dev.tailnet.net import Member

PAGE = (Path(__file__).parents[2] / "docs" / "tailnet.md").read_text()
GRANTS: list[dict[str, Any]] = [
    grant for block in re.findall(r"```json\n(.*?)```", PAGE, re.DOTALL) for grant in json.loads(block)["grants"]
]
WITHIN = 180.0
MANY = {"replicas": 2}


def test_every_rule_on_the_page_is_well_formed() -> None:
    rules = [rule for grant in GRANTS for rules in grant.get("app", {}).values() for rule in rules]
    assert len(rules) == 4
    found = capability.read(rules)
    assert found.malformed == ()


def test_the_page_names_every_action_and_every_reason() -> None:
    for word in (*Action, *Refusal, *Outage):
        assert f"`{word}`" in PAGE, word


async def until(granted: Callable[[], Awaitable[Capabilities]], *, rules: int) -> None:
    deadline = time.monotonic() + WITHIN
    while len((await granted()).rules) != rules:
        assert time.monotonic() < deadline
        await asyncio.sleep(0.02)


@pytest.mark.tailnet
async def test_the_grants_on_the_page_allow_what_it_says(tailnet: Tailnet) -> None:
    resolver = Serve(LocalApi(str(tailnet.nodes["idp"].socket)))

    async def granted(name: str) -> Capabilities:
        address = tailnet.nodes[name].addresses[0]
        try:
            caller = await resolver.caller(None, [(b"x-forwarded-for", address.encode())])
        except (NobodyError, UnavailableError):  # as long as no grant connects the two
            return Capabilities()
        return capability.read(caller.capabilities.get(world.CAPABILITY, ()))

    try:
        tailnet.set_policy(world.policy() | {"grants": GRANTS})
        await until(lambda: granted("ci"), rules=1)
        alice, bob, machine = await granted("alice"), await granted("bob"), await granted("ci")
    finally:
        tailnet.set_policy(world.policy(world.login_to("grafana")))
        await until(lambda: granted("ci"), rules=0)
        await until(lambda: granted("bob"), rules=0)
        await until(lambda: granted("alice"), rules=1)
    assert bob.allow("login", "client/grafana")
    assert not bob.allow("login", "client/wiki")
    assert alice.allow("login", "client/wiki")
    assert alice.allow("register", "*")
    assert alice.allow("admin", "*")
    assert alice.claims("client/wiki").values == {"groups": ("eng",)}
    assert alice.scopes("client/wiki") == {"offline_access"}
    assert not bob.scopes("client/grafana")
    assert machine.allow("exchange", "audience/https://billing.corp.example")
    assert not machine.allow("login", "client/grafana")


@pytest.mark.tailnet
def test_the_commands_on_the_page_remove_a_node_that_was_left_behind(tailnet: Tailnet, tmp_path: Path) -> None:
    (text,) = re.findall(r"```sh\n(ID=.*?)```", PAGE, re.DOTALL)
    left = tailnet.join(Member("login-1", tags=("tag:ci",)))
    try:
        stable_id = json.loads(left.tailscale("status", "--json"))["Self"]["ID"]
        left.stop()
        kubectl = f"echo kubectl $@ >> {tmp_path}/log; test $1 = delete || printf %s {stable_id} | base64"
        tools = {"kubectl": kubectl, "headscale": f'exec {shlex.join(tailnet.headscale.argv())} "$@"'}
        for name, script in tools.items():
            (tmp_path / name).write_text(f"#!/bin/sh\n{script}\n")
            (tmp_path / name).chmod(0o755)
        done = tailnet.space.run(["env", f"PATH={tmp_path}:{os.environ['PATH']}", "sh", "-euc", text])
        assert done.returncode == 0, done.stdout + done.stderr
        assert "login-1" not in tailnet.headscale.nodes()
        assert "idp" in tailnet.headscale.nodes()
        assert (tmp_path / "log").read_text().splitlines()[-1] == "kubectl delete secret login-idp-1-tailnet"
    finally:
        tailnet.nodes.pop("login-1").stop()


def test_both_providers_on_the_page_are_valid_and_can_be_had() -> None:
    blocks = [
        block for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if "kind: IdentityProvider\n" in block
    ]
    specs = [IdentityProviderSpec.model_validate(yaml.safe_load(block)["spec"]) for block in blocks]
    assert [spec.tailnet.mode for spec in specs if spec.tailnet is not None] == ["Direct", "Serve"]
    assert [unsupported(spec) for spec in specs] == [[], []]
    assert max(block.count("\n") for block in blocks) < 25


def test_several_nodes_share_a_name_as_the_page_says() -> None:
    blocks = [yaml.safe_load(block) for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
    whole = {block["spec"]["tailnet"]["mode"]: block["spec"] for block in blocks if "tailnet" in block.get("spec", {})}
    shared = [block for block in blocks if "idp" in block]
    assert [(block["tailnet"]["mode"], block["idp"]) for block in shared] == [("Direct", MANY), ("Serve", MANY)]
    postgres = {"type": "Postgres", "postgres": {"urlSecretRef": {"name": "db"}}}
    for block in shared:
        of_mode = whole[block["tailnet"]["mode"]]
        tailnet = of_mode["tailnet"] | block["tailnet"]
        IdentityProviderSpec.model_validate(of_mode | block | {"tailnet": tailnet, "storage": postgres})


def test_the_policy_on_the_page_is_one_that_gives_tokens_to_machines() -> None:
    (text,) = (block for block in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL) if "from:" in block)
    manifest = yaml.safe_load(text)
    policy = compile_policy(exchange.record(manifest["spec"], namespace="identity"), exchange.SETTINGS)
    assert policy.trust.source is TAILNET
    assert [rule.field for rule in policy.trust.rules] == ["spec.from.tailnet.tags"]
