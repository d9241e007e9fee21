"""A real nginx with the configuration on the page, as `tailscale serve` sends it requests; what else the page says."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest
import yaml

from fakes import nginx
from fakes.localapi import FakeLocalApi
from guard.people import ALICE, APP, CI, STRANGER
from tailseal.guard.rules import Rules
from tailseal_dev.ports import free_ports


async def request(socket: Path, target: str, *headers: str, method: str = "GET") -> tuple[int, dict[str, Any]]:
    """Status, and what the service behind says."""
    reader, writer = await asyncio.open_unix_connection(socket)
    head = "".join(f"{header}\r\n" for header in ("Host: localhost", "Connection: close", *headers))
    writer.write(f"{method} {target} HTTP/1.1\r\n{head}\r\n".encode())
    answer = await reader.read()
    writer.close()
    status, _, body = answer.partition(b"\r\n\r\n")
    told = json.loads(body) if body.startswith(b"{") else {}
    return int(status.split(b" ")[1]), told


def of(address: str) -> str:
    return f"X-Forwarded-For: {address}"


async def test_nginx_lets_through_whom_the_guard_lets_through(tailscaled: FakeLocalApi) -> None:
    if reason := nginx.why_not():
        pytest.skip(reason)
    forged = (
        "Tailseal-Subject: userid:666",
        "Tailseal-Tags: tag:root",
        "X-Forwarded-Uri: /healthz",
        "X-Forwarded-Method: GET",
    )
    with nginx.Proxied(tailscaled.path.parent, tailscaled.path, free_ports(1)[0]) as proxied:
        status, said = await request(proxied.socket, "/items/1?x=%2F", of(ALICE), *forged)
        assert (status, said["path"]) == (200, "/items/1?x=%2F")
        told = {"tailseal-subject": "userid:1", "tailseal-login": "alice@example.com", "tailseal-node": "alice.tn.test"}
        assert said["told"] == told
        for target, address, method, expected in (
            ("/items/2", ALICE, "GET", 403),
            ("/items/1", ALICE, "DELETE", 403),
            ("/items/1", CI, "GET", 403),
            ("/items/1", STRANGER, "GET", 401),
            ("/items/1", f"{STRANGER}, {ALICE}", "GET", 401),
            ("/x/../items/1", ALICE, "GET", 403),
            ("/items%2F1", ALICE, "GET", 403),
            ("/guard", ALICE, "GET", 404),
            ("/", CI, "GET", 200),
        ):
            assert (await request(proxied.socket, target, of(address), *forged, method=method))[0] == expected, target
        status, said = await request(proxied.socket, "/healthz", *forged)
        assert (status, said["told"]) == (200, {}), "who is nobody, is nobody to the service as well"
        await tailscaled.stop()
        assert (await request(proxied.socket, "/items/1", of(ALICE)))[0] == 500
        assert "PermissionMissing" in proxied.log("guard")
        assert "items/2" not in proxied.log("guard")


def test_the_rules_on_the_page_are_rules() -> None:
    rules = Rules.read(yaml.safe_load(nginx.blocks("yaml")[0])).rules
    assert [rule.path for rule in rules] == ["/healthz", "/items/{id}", "/notes/{name:path}", "/"]


def test_the_service_on_the_page_runs() -> None:
    (source,) = nginx.blocks("python")
    names: dict[str, Any] = {}
    exec(compile(source, "docs/guard.md", "exec", dont_inherit=True), names)
    assert names["app"].routes[0].path == "/items/{id}"
    assert APP in source


def test_the_page_names_every_reason() -> None:
    from tailseal.guard import denied  # noqa: PLC0415
    from tailseal.tailnet import Outage, Refusal  # noqa: PLC0415

    reasons = {value.reason for value in vars(denied).values() if isinstance(value, denied.Denied)}
    for reason in reasons | {*Outage} | ({*Refusal} - {Refusal.CHANGED}):
        assert f"`{reason}`" in nginx.PAGE, reason
