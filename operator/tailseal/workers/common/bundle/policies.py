"""Reads the volume `policies` shard by shard, so that a broken part never keeps a withdrawal elsewhere from landing."""

from __future__ import annotations

from dataclasses import dataclass, replace
from typing import Final

from pydantic import ValidationError

from tailseal.domain import canonical
from tailseal.domain.bundle import versions
from tailseal.domain.bundle.digest import policies_digest
from tailseal.domain.bundle.model import MANIFEST_FILE, SETTINGS_FILE, VERSION, Manifest, Settings, shard_file
from tailseal.domain.policy.compiled import CompiledPolicy
from tailseal.domain.tenancy.bounding import CLIENT_PREFIX
from tailseal.workers.common.bundle import clients, shard
from tailseal.workers.common.bundle.problem import BundleError, Problem, explain
from tailseal.workers.common.bundle.source import Files

GRACE: Final = 30.0
"""Seconds for which a shard that is unreadable or off the manifest is used as it last was; then it grants nothing."""


@dataclass(frozen=True, slots=True)
class LoadedPolicies:
    """What the volume says now.

    Args:
        settings: the last good ones.
        policies: all that may grant, by shard and place.
        complete: digest of the last manifest all of whose parts were loaded; empty before the first.
        applied: digest of the last manifest acted on with its own settings.
        problems: what is not in use.
        until: the instant at which this must be read again even if no file changes; None: never.
        clients: the OAuth clients.
    """

    settings: Settings
    policies: tuple[CompiledPolicy, ...]
    complete: str
    applied: str
    problems: tuple[Problem, ...]
    until: float | None
    clients: clients.LoadedClients


@dataclass(frozen=True, slots=True)
class _Part:
    """A shard as it was last good: its bytes, what they were compiled against, and to what."""

    digest: str
    content: bytes
    settings: Settings
    policies: tuple[CompiledPolicy, ...]
    refused: tuple[Problem, ...]
    off_since: float | None = None
    off: tuple[Problem, ...] = ()

    def is_still(self, digest: str, content: bytes | None, settings: Settings) -> bool:
        """Whether reading it again would bring the same."""
        same = self.digest == digest and self.content == content and self.settings is settings
        return same and self.off_since is None


class PoliciesReader:
    """Reads states of the volume one after the other, and keeps of each part what may be kept."""

    def __init__(self) -> None:
        self._settings: Settings | None = None
        self._settings_digest = ""
        self._parts: dict[str, _Part] = {}
        self._applied = self._complete = ""
        self._clients = clients.LoadedClients()
        self._effective: tuple[Settings, Settings] | None = None

    def read(self, files: Files, now: float) -> LoadedPolicies:
        """The volume's state, as far as it may be used.

        Args:
            files: the volume's files.
            now: Unix seconds.

        Raises:
            BundleError: there are no usable settings and never were.
        """
        manifest, problems = self._take_manifest(files)
        if manifest is not None:
            problems += self._take_settings(files, manifest)
            problems += self._take_clients(files, manifest)
        if not problems:
            # Shards that are not there run out by themselves. Settings and clients do not: who goes on with former
            # ones, which may be wider, has to know that he is behind.
            self._applied = policies_digest(files[MANIFEST_FILE])
        if self._settings is None:
            raise BundleError(problems[0].reason, problems[0].message)
        # Without a manifest nothing says what belongs here: all shards are off it.
        wanted = manifest.shards if manifest else dict.fromkeys(self._parts, "")
        settings = self._reserving(self._settings)
        self._parts = {number: self._part(number, digest, files, settings, now) for number, digest in wanted.items()}
        problems += [problem for part in self._parts.values() for problem in part.off]
        if not problems:
            self._complete = self._applied
        return self._loaded(settings, problems, now)

    def _loaded(self, settings: Settings, problems: list[Problem], now: float) -> LoadedPolicies:
        parts = [self._parts[number] for number in sorted(self._parts)]
        ends = [part.off_since + GRACE for part in parts if part.off_since is not None]
        return LoadedPolicies(
            settings=settings,
            policies=tuple(policy for part in parts for policy in part.policies),
            complete=self._complete,
            applied=self._applied,
            problems=(*problems, *(problem for part in parts for problem in part.refused), *self._clients.refused),
            until=min((end for end in ends if end > now), default=None),
            clients=self._clients,
        )

    def _reserving(self, settings: Settings) -> Settings:
        """The settings with the ids that clients chose; the same object as long as neither changes."""
        chosen = frozenset(client for client in self._clients.by_id if not client.startswith(CLIENT_PREFIX))
        known, made = self._effective or (None, settings)
        if known is not settings or made.client_ids != chosen:
            made = settings.model_copy(update={"client_ids": chosen}) if chosen else settings
            self._effective = (settings, made)
        return made

    def _take_manifest(self, files: Files) -> tuple[Manifest | None, list[Problem]]:
        try:
            return _manifest(files), []
        except BundleError as error:
            return None, [error.problem]

    def _take_settings(self, files: Files, manifest: Manifest) -> list[Problem]:
        try:
            content = _settings_file(files, manifest)
            if self._settings is None or manifest.settings != self._settings_digest:
                self._settings, self._settings_digest = _settings(content), manifest.settings
        except BundleError as error:
            return [error.problem]
        return []

    def _take_clients(self, files: Files, manifest: Manifest) -> list[Problem]:
        if self._settings is None:
            return []
        self._clients, problems = clients.take(self._clients, files, manifest.clients or "", self._settings)
        return problems

    def _part(self, number: str, digest: str, files: Files, settings: Settings, now: float) -> _Part:
        """The shard as the manifest wants it, else as it last was, else nothing."""
        known, name = self._parts.get(number), shard_file(int(number))
        content = files.get(name)
        if known and known.is_still(digest, content, settings):
            return known
        try:
            return _decoded(name, digest, content, settings)
        except BundleError as error:
            return _off(name, known, error.problem, settings, now)


def _decoded(name: str, digest: str, content: bytes | None, settings: Settings) -> _Part:
    if content is None:
        raise BundleError("ShardMissing", f"{name} is in {MANIFEST_FILE} but not there")
    if canonical.digest(content) != digest:
        raise BundleError("ShardOffManifest", f"{name} is not the one that {MANIFEST_FILE} names")
    policies, refused = shard.decode(name, content, settings)
    return _Part(digest, content, settings, policies, refused)


def _off(name: str, known: _Part | None, problem: Problem, settings: Settings, now: float) -> _Part:
    """The shard for as long as it cannot be had: for a while as it last was, under the present settings."""
    since = now if known is None or known.off_since is None else known.off_since
    if known is None or not known.content or now - since >= GRACE:
        return _Part("", b"", settings, (), (), since, (problem,))
    if known.settings is not settings:
        policies, refused = shard.decode(name, known.content, settings)
        known = replace(known, settings=settings, policies=policies, refused=refused)
    return replace(known, off_since=since, off=(problem,))


def _manifest(files: Files) -> Manifest:
    if MANIFEST_FILE not in files:
        raise BundleError("ManifestMissing", f"{MANIFEST_FILE} is not there: is the ConfigMap of policies mounted?")
    try:
        manifest = Manifest.model_validate_json(files[MANIFEST_FILE])
    except ValidationError as error:
        raise BundleError("ManifestCorrupt", f"{MANIFEST_FILE}: {explain(error)}") from None
    if manifest.min_reader > VERSION:
        raise BundleError("ReaderTooOld", f"{MANIFEST_FILE} needs a reader of version {manifest.min_reader}")
    if not all(len(number) == 2 and number.isascii() and number.isdigit() for number in manifest.shards):  # noqa: PLR2004
        raise BundleError("ManifestCorrupt", f"{MANIFEST_FILE}: shards: numbers of two digits are needed")
    return manifest


def _settings_file(files: Files, manifest: Manifest) -> bytes:
    content = files.get(SETTINGS_FILE)
    if content is None:
        raise BundleError("SettingsMissing", f"{SETTINGS_FILE} is in {MANIFEST_FILE} but not there")
    if canonical.digest(content) != manifest.settings:
        raise BundleError("SettingsOffManifest", f"{SETTINGS_FILE} is not the one that {MANIFEST_FILE} names")
    return content


def _settings(content: bytes) -> Settings:
    version = versions.named(content) or VERSION
    if version > VERSION:
        raise BundleError("ReaderTooOld", f"{SETTINGS_FILE} is of version {version}, and this reads up to {VERSION}")
    try:
        return versions.raised(content)
    except ValidationError as error:
        raise BundleError("SettingsCorrupt", f"{SETTINGS_FILE}: {explain(error)}") from None
