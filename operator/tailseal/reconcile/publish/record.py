"""Where keys of a provider were put: a ConfigMap that is written before any is, so that no place is ever forgotten."""

from __future__ import annotations

import json
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any, Final

from tailseal.api import meta
from tailseal.api.findings import SpecError
from tailseal.api.identityprovider import ObjectStore
from tailseal.api.parse import parse_spec
from tailseal.cluster import kinds
from tailseal.cluster.port import Ref
from tailseal.domain import canonical
from tailseal.domain.render import bundle as render
from tailseal.domain.render.common import Provider
from tailseal.reconcile.context import Context, Objects
from tailseal.reconcile.owned import ensure, remove

MANAGER: Final = "tailseal-publish"
_FILE: Final = "places.json"


@dataclass(frozen=True, slots=True)
class Record:
    """A place that keys were put at.

    Args:
        name: of the target in the spec.
        store: as a manifest has it.
        writer: by which id, so that what is revoked can be taken back even while the ledger cannot be read.
    """

    name: str
    store: ObjectStore
    writer: str = ""

    @property
    def document(self) -> dict[str, Any]:
        """As it is written down."""
        return {"name": self.name, "store": self.store.document(), "writer": self.writer}

    @property
    def former_name(self) -> str:
        """What the place is called once another one has its name, or none."""
        digest = canonical.digest(canonical.dumps(addressed(self.store))).removeprefix("sha256:")[:8]
        return f"{self.name} (former {digest})"


def addressed(store: ObjectStore) -> tuple[str, ...]:
    """What tells one place from another."""
    document = store.document()
    return tuple(str(document.get(name, "")) for name in ("bucket", "key", "region", "endpoint", "forcePathStyle"))


def recorded(objects: Objects, namespace: str, provider: str) -> list[Record]:
    """The places that were written down; what cannot be read is forgotten, and its keys are kept where they are."""
    found = objects.get(Ref(kinds.CONFIG_MAP, namespace, meta.publish_config_map(provider)))
    try:
        return [_record(each) for each in json.loads(((found or {}).get("data") or {}).get(_FILE, "[]"))]
    except (ValueError, KeyError, TypeError, AttributeError, SpecError):
        return []


async def write_down(ctx: Context, provider: Provider, records: Iterable[Record]) -> None:
    """Remember where keys are, before any is put there.

    Raises:
        Conflict: another operator wrote first; reconcile again.
    """
    documents = [record.document for record in records]
    if documents:
        await ensure(ctx, render.places(provider, canonical.dumps(documents)), manager=MANAGER, exact=True)
    else:
        ref = Ref(kinds.CONFIG_MAP, provider.namespace, meta.publish_config_map(provider.name))
        await remove(ctx, ref, provider=provider.name)


def _record(document: dict[str, Any]) -> Record:
    name, writer = document["name"], document.get("writer", "")
    str.encode(name), str.encode(writer)  # refuses what is no string
    return Record(name, parse_spec(ObjectStore, document["store"]), writer)
