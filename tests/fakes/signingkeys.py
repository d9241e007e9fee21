"""A SigningKey on the fake cluster, and what tests ask of it."""

from __future__ import annotations

import json
from typing import Any

from fakes.provider import NS, files, provider, signing_key, world
from fakes.world import World
from tailseal.cluster import kinds

DAY = 86_400


def status(seen: World, name: str = "corp") -> dict[str, Any]:
    found: dict[str, Any] = seen.cluster.peek(kinds.SIGNING_KEY, NS, name).get("status", {})
    return found


def conditions(seen: World) -> dict[str, tuple[str, str]]:
    return {entry["type"]: (entry["status"], entry["reason"]) for entry in status(seen)["conditions"]}


def material(seen: World) -> set[str]:
    return {name.removesuffix(".pem") for name in files(seen, "corp-signingkey") if name.endswith(".pem")}


def public(seen: World) -> set[str]:
    text = seen.cluster.peek(kinds.CONFIG_MAP, NS, "corp-jwks")["data"]["jwks.json"]
    return {key["kid"] for key in json.loads(text)["keys"]}


def edit(seen: World, change: Any) -> None:  # noqa: ANN401 - any function of the object
    seen.cluster.user_edit(kinds.SIGNING_KEY, NS, "corp", change)


def annotate(seen: World, value: str) -> None:
    edit(seen, lambda obj: obj["metadata"].setdefault("annotations", {}).update({"tailseal.dev/rotate": value}))


def alone(order: int | None = None) -> World:
    return world(signing_key(), order=order)


def in_use() -> World:
    return world(signing_key(), provider())


async def settled(seen: World) -> World:
    await seen.converge()
    await seen.run_for(60)
    return seen
