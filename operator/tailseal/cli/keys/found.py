"""Finds the SigningKey that a command is about, and what a person may mean who types half of its name."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import click

from tailseal.cli.cluster import known
from tailseal.cli.errors import Failure

if TYPE_CHECKING:
    from tailseal.cluster.port import Object


def only(found: Sequence[Object], name: str, namespace: str) -> Object:
    """The one SigningKey of that name."""
    named = [obj for obj in found if obj["metadata"]["name"] == name]
    if not named:
        place = f"namespace {namespace}" if namespace else "any namespace"
        raise Failure(f"there is no SigningKey {name} in {place}", hint="`tailseal keys list` shows all")
    if len(named) > 1:
        places = ", ".join(obj["metadata"]["namespace"] for obj in named)
        raise Failure(f"there is a SigningKey {name} in each of {places}", hint="name one by -n")
    return named[0]


def names(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Completion: names of SigningKeys in the cluster; none where it is out of reach."""
    return [obj["metadata"]["name"] for obj in known(ctx) if obj["metadata"]["name"].startswith(incomplete)]


def key_ids(ctx: click.Context, _param: click.Parameter, incomplete: str) -> list[str]:
    """Completion: ids of the keys of the SigningKey that is named."""
    keys = [
        entry["keyID"]
        for obj in known(ctx)
        if obj["metadata"]["name"] == ctx.params.get("name")
        for entry in (obj.get("status") or {}).get("keys", ())
    ]
    return [kid for kid in keys if kid.startswith(incomplete)]
