"""A world with a provider that publishes in buckets, and what is found there."""

from __future__ import annotations

import json
from typing import Any

from fakes.buckets import FakeBuckets
from fakes.provider import NS, provider, secret, signing, signing_key, status, world
from fakes.world import World
from tailseal.cluster import kinds
from tailseal.reconcile.context import OperatorSettings

JWKS = ".well-known/jwks.json"
DISCOVERY = ".well-known/openid-configuration"


def place(name: str = "cdn", *, bucket: str = "keys", key: str = "", **more: Any) -> dict[str, Any]:  # noqa: ANN401
    store = {"bucket": bucket, "credentialsSecretRef": {"name": "store"}} | ({"key": key} if key else {})
    return {"name": name, "objectStore": store, "publicURL": f"https://{name}.example", "cacheTTL": "1m", **more}


def allowed() -> dict[str, Any]:
    return secret("store", access_key_id="AKIAEXAMPLE", secret_access_key="hunter2hunter2")


def published(
    *places: dict[str, Any],
    settings: OperatorSettings | None = None,
    **key_spec: Any,  # noqa: ANN401
) -> tuple[World, FakeBuckets]:
    seen = world(signing_key(**key_spec), provider(publish=list(places)), allowed(), settings=settings)
    buckets = FakeBuckets(hosts={"cdn.example": "keys", "second.example": "second"})
    seen.outside = buckets
    seen.restart()
    return seen, buckets


def kids(buckets: FakeBuckets, bucket: str = "keys", key: str = JWKS) -> set[str]:
    held = buckets.objects.get((bucket, key))
    return {entry["kid"] for entry in json.loads(held.body)["keys"]} if held else set()


def served(seen: World) -> set[str]:
    return {key["kid"] for key in signing(seen)["jwks"]["keys"]}


def line(seen: World, name: str = "cdn") -> dict[str, str]:
    return next(entry for entry in status(seen)["publish"] if entry["name"] == name)


def retarget(seen: World, *places: dict[str, Any]) -> None:
    seen.cluster.user_edit(
        kinds.IDENTITY_PROVIDER, NS, "corp", lambda obj: obj["spec"].update({"publish": list(places)})
    )
