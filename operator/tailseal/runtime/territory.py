"""Which namespaces are another installation's: there this one stands still, and says so.

The chart binds the operator's account in every provider namespace by a RoleBinding of one name. Whoever it names looks
after the providers there; an installation that looks after all namespaces gives way to one that was given this one.
Nothing is written for this, and a namespace is free again as soon as the other installation is removed.
"""

from __future__ import annotations

from collections.abc import Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

import structlog

from tailseal.cluster import kinds
from tailseal.cluster.errors import Forbidden, NotFound, Transient
from tailseal.cluster.port import Cluster, Object, Ref
from tailseal.runtime import routing
from tailseal.runtime.key import Key

CLAIM: Final = "tailseal-operator"
"""Name of the chart's RoleBinding in a provider namespace, whatever the release's."""

KNOWN_FOR: Final = 30.0
"""Seconds for which an answer is good."""

KEPT_FOR: Final = 3600.0
"""Seconds after which it is forgotten that a namespace is nobody else's: whoever writes policies can name any."""

LOOK_AGAIN: Final = 60.0
"""Seconds after which it is seen whether another installation's namespace is free."""

PATIENCE: Final = 5.0
"""Seconds that another installation is given to judge what names a provider that this one does not look after."""

_TENANTS: Final = {routing.TRUST_POLICY: kinds.TRUST_POLICY, routing.OAUTH_CLIENT: kinds.OAUTH_CLIENT}

log = structlog.get_logger("tailseal.operator")

Say = Callable[[Object, str], Awaitable[None]]
"""Tells the people of an object, in a sentence."""


@dataclass(frozen=True, slots=True)
class Turn:
    """Whether a key is this installation's to work on and, if not, after how many seconds to ask again."""

    ours: bool
    after: float | None = None


class Territory:
    """Knows whose a key is.

    Args:
        cluster: asked for the claims.
        known: the primed store.
        providers: namespaces that this installation was given; none means all.
        now: monotonic seconds.
        say: called once for each IdentityProvider that is left alone.
        freed: called when a namespace is another installation's no more.
    """

    def __init__(
        self,
        cluster: Cluster,
        known: routing.Known,
        providers: Sequence[str],
        now: Callable[[], float],
        say: Say,
        freed: Callable[[], None],
    ) -> None:
        self._cluster, self._known, self._now = cluster, known, now
        self._providers = frozenset(providers)
        self._say, self._freed = say, freed
        self._me: Mapping[str, Any] | None = None
        self._claims: dict[str, tuple[float, str]] = {}
        self._sifted_at = now()
        self._first_seen: dict[Key, tuple[int, float]] = {}
        self._told: set[tuple[Key, str]] = set()

    async def turn(self, key: Key) -> Turn:
        """Whether to work on the key now.

        Raises:
            ClusterError: the API server does not say whose the namespace is, and never did.
        """
        obj = self._object(key)
        if obj is None:
            self._first_seen.pop(key, None)
        namespace = self._namespace(key, obj)
        if namespace is None:
            return Turn(ours=True)
        if owner := await self._owner(namespace):
            return await self._left(key, obj, owner)
        if obj is not None and key.controller in _TENANTS and self._providers and namespace not in self._providers:
            return self._patience(key, obj)
        return Turn(ours=True)

    def _object(self, key: Key) -> Object | None:
        kind = _TENANTS.get(key.controller, kinds.IDENTITY_PROVIDER)
        return self._known.get(Ref(kind, key.namespace, key.name))

    def _namespace(self, key: Key, obj: Object | None) -> str | None:
        """Where the provider is that the key is about; None: nowhere."""
        if key.controller not in _TENANTS:
            return key.namespace
        provider = routing.provider_of(obj) if obj is not None else None
        return provider[0] if provider is not None else None

    async def _left(self, key: Key, obj: Object | None, owner: str) -> Turn:
        if key.controller in _TENANTS:
            return Turn(ours=False)
        if obj is not None and key.controller == routing.IDENTITY_PROVIDER and (key, owner) not in self._told:
            self._told.add((key, owner))
            text = f"RoleBinding {CLAIM} gives namespace {key.namespace} to {owner}: this installation leaves it alone"
            await self._say(obj, text)
        return Turn(ours=False, after=LOOK_AGAIN)

    def _patience(self, key: Key, obj: Object) -> Turn:
        """Somebody else's provider, or nobody's: only if nobody judges the object shall its owner hear of us."""
        status, generation = obj.get("status") or {}, obj["metadata"].get("generation", 0)
        if status.get("conditions") and status.get("observedGeneration") == generation:
            self._first_seen.pop(key, None)
            return Turn(ours=False)
        known, since = self._first_seen.get(key, (-1, 0.0))
        if known != generation:
            known, since = self._first_seen[key] = generation, self._now()
        left = since + PATIENCE - self._now()
        return Turn(ours=True) if left <= 0 else Turn(ours=False, after=left)

    async def _owner(self, namespace: str) -> str:
        """Whose the namespace is, if neither ours nor nobody's."""
        asked_at, former = self._claims.get(namespace, (None, ""))
        if asked_at is not None and self._now() - asked_at < KNOWN_FOR:
            return former
        try:
            owner = await self._ask(namespace)
        except Transient:
            if asked_at is None:
                raise
            return former
        self._note(namespace, owner)
        if owner and owner != former:
            log.warning("namespace is another installation's", namespace=namespace, installation=owner)
        if former and not owner:
            log.info("namespace is free again", namespace=namespace)
            self._freed()
        return owner

    def _note(self, namespace: str, owner: str) -> None:
        now = self._now()
        if now - self._sifted_at >= KEPT_FOR:
            self._sifted_at = now
            self._claims = {name: kept for name, kept in self._claims.items() if kept[1] or now - kept[0] < KEPT_FOR}
        self._claims[namespace] = (now, owner)

    async def _ask(self, namespace: str) -> str:
        try:
            claim = await self._cluster.get(Ref(kinds.ROLE_BINDING, namespace, CLAIM))
            self._me = self._me or (await self._cluster.whoami() if claim else None)
        except (Forbidden, NotFound):
            return ""  # a chart that gave no such right, or no such namespace
        subjects: Sequence[Mapping[str, str]] = (claim or {}).get("subjects") or ()
        names = [_username(subject) for subject in subjects]
        mine = {(self._me or {}).get("username", ""), *(self._me or {}).get("groups", ())}
        return "" if not names or mine & set(names) else names[0]


def _username(subject: Mapping[str, str]) -> str:
    if subject.get("kind") == "ServiceAccount":
        return f"system:serviceaccount:{subject.get('namespace', '')}:{subject.get('name', '')}"
    return subject.get("name", "")
