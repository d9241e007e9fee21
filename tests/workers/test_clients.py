"""The clients in a bundle: the last good ones stay, under present settings, and one that is bad harms no other."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable
from typing import Any

import pytest

from fakes import bundles, exchange
from tailseal.domain import canonical
from tailseal.domain.bundle import build
from tailseal.domain.bundle.model import CLIENTS_FILE, MANIFEST_FILE, Bound, ClientRecord, ClientSecret, Settings
from tailseal.workers.common.bundle.loader import Loader

Files = dict[str, bytes]
ROOMY = exchange.SETTINGS.model_copy(
    update={
        "bounds": (
            *exchange.SETTINGS.bounds,
            Bound(
                name="clients",
                namespaces=("team-a",),
                redirect_hosts=("app.example",),
                grant_types=("authorization_code",),
            ),
        )
    }
)


def record(name: str, **spec: Any) -> ClientRecord:  # noqa: ANN401 - as manifests have it
    members = {
        "identityProviderRef": {"name": "corp", "namespace": "identity"},
        "redirectURIs": ["https://app.example/cb"],
        "grantTypes": ["authorization_code"],
    }
    secret = ClientSecret(digest="sha256:" + "0" * 64)
    return ClientRecord(namespace="team-a", name=name, uid="u", generation=1, spec=members | spec, secrets=(secret,))


def volume(*records: ClientRecord, settings: Settings = ROOMY) -> Files:
    return build.policies_volume(settings, {}, build.clients(records)[0])


def loader(files: Files) -> tuple[Loader, Callable[[Files], None]]:
    source = bundles.source(policy_files=files)
    made = Loader(source, clock=lambda: exchange.NOW)
    made.refresh()

    def put(changed: Files) -> None:
        source.put("policies", changed)
        made.refresh()

    return made, put


def ids(made: Loader) -> set[str]:
    assert made.snapshot
    return set(made.snapshot.clients)


def reasons(made: Loader) -> list[str]:
    return [problem.reason for problem in made.problems]


A, B = record("a"), record("b", clientID=None)


def test_clients_are_loaded_and_reported_with_the_policies() -> None:
    made, _ = loader(volume(A, B))
    assert ids(made) == {"oauthclient.team-a.a", "oauthclient.team-a.b"}
    assert made.snapshot
    assert made.snapshot.digests["policies"] == made.snapshot.applied["policies"] != ""


def test_a_client_that_is_taken_away_is_gone() -> None:
    made, put = loader(volume(A, B))
    put(volume(B))
    assert ids(made) == {"oauthclient.team-a.b"}
    put(volume())
    assert ids(made) == set()
    assert reasons(made) == []


def test_settings_that_allow_less_end_clients_at_once() -> None:
    made, put = loader(volume(A, record("c", redirectURIs=["com.example.app:/cb"])))
    assert reasons(made) == ["ClientRefused"]
    put(volume(A, settings=exchange.SETTINGS.model_copy(update={"bounds": ()})))
    assert ids(made) == set()


@pytest.mark.parametrize(
    ("spoil", "reason"),
    [
        (lambda files: files.pop(CLIENTS_FILE), "ClientsMissing"),
        (lambda files: files.update({CLIENTS_FILE: b"x"}), "ClientsOffManifest"),
    ],
)
def test_a_spoiled_file_leaves_the_last_good_clients_and_the_replica_says_that_it_is_behind(
    spoil: Callable[[Files], Any], reason: str
) -> None:
    made, put = loader(volume(A))
    assert made.snapshot
    before = made.snapshot.applied["policies"]
    files = volume(A, B)
    spoil(files)
    put(files)
    assert ids(made) == {"oauthclient.team-a.a"}
    assert reasons(made) == [reason]
    assert made.snapshot.applied["policies"] == made.snapshot.digests["policies"] == before
    put(volume(A, B))
    assert ids(made) == {"oauthclient.team-a.a", "oauthclient.team-a.b"}
    assert reasons(made) == []


def test_last_good_clients_are_held_against_the_present_settings() -> None:
    made, put = loader(volume(A))
    files = volume(A, B, settings=exchange.SETTINGS.model_copy(update={"bounds": ()}))
    del files[CLIENTS_FILE]
    put(files)
    assert ids(made) == set()


@pytest.mark.parametrize(
    "content", [b"no gzip", gzip.compress(b"[]", mtime=0), gzip.compress(b'{"clients": [1]}', mtime=0)]
)
def test_a_file_that_is_named_but_unreadable_leaves_the_last_good_clients(content: bytes) -> None:
    made, put = loader(volume(A))
    files = volume(A)
    manifest = json.loads(files[MANIFEST_FILE]) | {"clients": canonical.digest(content)}
    put(files | {CLIENTS_FILE: content, MANIFEST_FILE: canonical.dumps(manifest)})
    assert ids(made) == {"oauthclient.team-a.a"}
    assert len(reasons(made)) == 1


def test_one_bad_client_harms_no_other() -> None:
    bad = record("bad").model_copy(update={"spec": {"redirectURIs": "x"}})
    twin = record("twin", clientID="shared"), record("twin2", clientID="shared")
    files = volume(A, bad, *twin, settings=ROOMY.model_copy(update={"bounds": (), "namespace": "team-a"}))
    content = json.loads(gzip.decompress(files[CLIENTS_FILE]))
    content["clients"].append({"nonsense": 1})
    packed = canonical.compress(canonical.dumps(content))
    manifest = json.loads(files[MANIFEST_FILE]) | {"clients": canonical.digest(packed)}
    made, _ = loader(files | {CLIENTS_FILE: packed, MANIFEST_FILE: canonical.dumps(manifest)})
    assert ids(made) == {"oauthclient.team-a.a", "shared"}
    assert sorted(reasons(made)) == ["ClientRefused", "ClientRefused", "ClientUndecodable"]


def test_no_hash_of_a_secret_is_in_what_a_snapshot_says_of_itself() -> None:
    made, _ = loader(volume(A))
    assert "sha256:0000" not in repr(made.snapshot)
    assert "sha256:0000" not in repr(made.snapshot and made.snapshot.clients)


def test_ids_that_clients_chose_are_reserved_as_soon_as_they_are_loaded() -> None:
    bounds = tuple(bound.model_copy(update={"audiences": ("*",)}) for bound in ROOMY.bounds)
    roomy = ROOMY.model_copy(update={"bounds": bounds})
    made, put = loader(volume(A, settings=roomy))
    assert made.snapshot
    assert made.snapshot.settings.client_ids == frozenset()
    put(volume(A, record("g", clientID="grafana"), settings=roomy))
    assert made.snapshot.settings.client_ids == {"grafana"}
    put(volume(A, settings=roomy))
    assert made.snapshot.settings.client_ids == frozenset()
