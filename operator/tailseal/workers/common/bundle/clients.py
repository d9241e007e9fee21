"""Reads the clients' file: the last good one counts until there is another, but always under the present settings."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import TYPE_CHECKING, Any

from pydantic import ValidationError

from tailseal.domain import canonical
from tailseal.domain.bundle.model import CLIENTS_FILE, MANIFEST_FILE, ClientRecord, Clients, Settings
from tailseal.workers.common.bundle.problem import BundleError, Problem, explain
from tailseal.workers.common.bundle.shard import inflate
from tailseal.workers.common.bundle.source import Files

if TYPE_CHECKING:
    from tailseal.domain.clients.compile import CompiledClient


@dataclass(frozen=True, slots=True)
class LoadedClients:
    """The clients as they are in use.

    Args:
        records: as they were last good.
        digest: of the file that they are from; empty: there are none.
        settings: that they are compiled against.
        by_id: those that may be used, by client id.
        refused: why others may not.
    """

    records: tuple[dict[str, Any], ...] = field(default=(), repr=False)
    digest: str = ""
    settings: Settings | None = None
    by_id: Mapping[str, CompiledClient] = field(default_factory=dict)
    refused: tuple[Problem, ...] = ()


def take(known: LoadedClients, files: Files, named: str, settings: Settings) -> tuple[LoadedClients, list[Problem]]:
    """The clients that the manifest names, or the former ones and why.

    Args:
        known: the former ones.
        files: of the volume.
        named: the digest in the manifest; empty: there are no clients.
        settings: the present ones: what they no longer allow ends at once.
    """
    problems: list[Problem] = []
    records, digest = known.records, known.digest
    if named != known.digest:
        try:
            records, digest = (_records(files, named) if named else ()), named
        except BundleError as error:
            problems.append(error.problem)
    if digest == known.digest and settings is known.settings:
        return known, problems
    return _compiled(LoadedClients(records, digest, settings), settings), problems


def _records(files: Files, named: str) -> tuple[dict[str, Any], ...]:
    content = files.get(CLIENTS_FILE)
    if content is None:
        raise BundleError("ClientsMissing", f"{CLIENTS_FILE} is in {MANIFEST_FILE} but not there")
    if canonical.digest(content) != named:
        raise BundleError("ClientsOffManifest", f"{CLIENTS_FILE} is not the one that {MANIFEST_FILE} names")
    try:
        return Clients.model_validate_json(inflate(CLIENTS_FILE, content)).clients
    except ValidationError as error:
        raise BundleError("ClientsUnreadable", f"{CLIENTS_FILE}: {explain(error)}") from None


def _compiled(loaded: LoadedClients, settings: Settings) -> LoadedClients:
    """Each on its own: one that cannot be used harms no other."""
    if not loaded.records:
        return loaded
    from tailseal.domain.clients.compile import ClientError, compile_client  # noqa: PLC0415 - only where there are any

    by_id: dict[str, CompiledClient] = {}
    refused: list[Problem] = []
    for position, record in enumerate(loaded.records):
        where = f"{record.get('namespace')}/{record.get('name')}"
        try:
            client = compile_client(ClientRecord.model_validate(record), settings)
        except ValidationError as error:
            refused.append(Problem("ClientUndecodable", f"{CLIENTS_FILE}: clients.{position}: {explain(error)}"))
        except ClientError as error:
            refused.append(Problem("ClientRefused", f"{where}: {error}"))
        except Exception as error:  # noqa: BLE001 - whatever one client does to the compiler, the rest load
            refused.append(Problem("ClientRefused", f"{where}: {type(error).__name__} while compiling"))
        else:
            if by_id.setdefault(client.client_id, client) is not client:
                refused.append(Problem("ClientRefused", f"{where}: another client has its client id"))
    return replace(loaded, by_id=by_id, refused=tuple(refused))
