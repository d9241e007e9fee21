"""The loader: what is good is taken at once, what is broken never takes anything else along."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from fakes import bundles, exchange
from fakes.bundleloading import Bench, Clock, Files, broken, without
from tailseal.domain import canonical
from tailseal.domain.bundle.digest import policies_digest, volume_digest
from tailseal.domain.bundle.model import MANIFEST_FILE, SETTINGS_FILE, SIGNING_FILE
from tailseal.workers.common.bundle.loader import Loader
from tailseal.workers.common.bundle.policies import GRACE
from tailseal.workers.common.bundle.source import DirectorySource


def test_a_whole_bundle_is_loaded_and_every_digest_reported() -> None:
    signing, policies, credentials = bundles.signing("k1", "k2"), bundles.policies(*bundles.apart(3)), {"a": b"b"}
    bench = Bench(bundles.source(signing, policies, credentials))
    snapshot = bench.loader.snapshot
    assert snapshot
    assert snapshot.digests == {
        "signing": volume_digest(signing),
        "policies": policies_digest(policies[MANIFEST_FILE]),
        "credentials": volume_digest(credentials),
    }
    assert (snapshot.policies, snapshot.problems, set(snapshot.signing.signers)) == (3, (), {"k1", "k2"})


def test_nothing_changed_is_nothing_to_do() -> None:
    bench = Bench()
    before = bench.loader.snapshot
    assert not bench.loader.due()
    assert not bench.loader.refresh()
    assert bench.loader.snapshot is before


def test_an_unrelated_reload_keeps_the_compiled_index() -> None:
    bench = Bench()
    before = bench.loader.snapshot
    bench.put("signing", bundles.signing("k2", "k1"))
    assert before
    assert bench.loader.snapshot
    assert bench.loader.snapshot.index is before.index
    assert bench.loader.snapshot.serial == before.serial + 1


BAD_SIGNING: dict[str, tuple[Callable[[], Files], str]] = {
    "all files gone": (dict, "SigningMissing"),
    "no signing.json": (lambda: without(bundles.signing(), SIGNING_FILE), "SigningMissing"),
    "not JSON": (lambda: bundles.signing() | {SIGNING_FILE: b"{"}, "SigningCorrupt"),
    "an unknown member": (lambda: bundles.signing() | {SIGNING_FILE: b'{"x":1}'}, "SigningCorrupt"),
    "a held key without file": (lambda: without(bundles.signing("k1", "k2"), "k2.pem"), "KeyFileMissing"),
    "a file that is no key": (lambda: bundles.signing("k2") | {"k2.pem": b"nonsense"}, "KeyUnreadable"),
    "another key's file": (lambda: bundles.signing("k2") | {"k2.pem": bundles.pem("k3")}, "KeyNotAsPublished"),
    "active not held": (lambda: bundles.signing("k2", active="k9"), "ActiveKeyNotHeld"),
    "active not published": (
        lambda: bundles.signing("k2", jwks={"keys": [exchange.jwk(exchange.ec_key("k3"), "k3", "ES256")]}),
        "ActiveKeyNotPublished",
    ),
    "an empty set": (lambda: bundles.signing("k2", jwks={"keys": []}), "ActiveKeyNotPublished"),
    "published for another algorithm": (
        lambda: bundles.signing("k2", jwks={"keys": [exchange.jwk(exchange.ec_key("k2"), "k2", "ES384")]}),
        "SigningCorrupt",
    ),
    "no default": (lambda: bundles.signing("k2", default_algorithm="RS256"), "SigningCorrupt"),
    "a short salt": (lambda: bundles.signing("k2") | {"salt": b"hi"}, "SigningCorrupt"),
    "a short poll key": (lambda: bundles.signing("k2", status_key="aGk"), "SigningCorrupt"),
    "another issuer": (lambda: bundles.signing("k2", issuer="https://other.example"), "IssuerMismatch"),
}


@pytest.mark.parametrize(("make", "reason"), BAD_SIGNING.values(), ids=BAD_SIGNING.keys())
def test_a_bad_signing_volume_is_refused_and_the_former_signer_signs_on_within_its_lease(
    make: Callable[[], Files], reason: str
) -> None:
    bench = Bench()
    before = bench.loader.snapshot
    bench.put("signing", make())
    assert bench.reasons == [reason]
    assert before
    assert bench.loader.snapshot
    assert bench.loader.snapshot.signing is before.signing
    assert bench.loader.snapshot.digests["signing"] == before.digests["signing"]
    assert bench.loader.snapshot.problems == (reason,)
    assert bench.kid == "k1"
    bench.after(86_401)
    assert bench.kid is None
    bench.put("signing", bundles.signing("k2"))
    assert bench.reasons == []


@pytest.mark.parametrize(("make", "reason"), BAD_SIGNING.values(), ids=BAD_SIGNING.keys())
def test_a_withdrawal_lands_beside_a_bad_signing_volume(make: Callable[[], Files], reason: str) -> None:
    bench = Bench(bundles.source(None, bundles.policies(*bundles.apart(2))))
    bench.put("signing", make())
    bench.put("policies", bundles.policies(bundles.apart(2)[0]))
    assert bench.granting == {bundles.apart(2)[0].name}
    assert reason in bench.reasons


def test_a_replica_that_never_had_a_signing_volume_has_no_snapshot() -> None:
    bench = Bench(bundles.source({}))
    assert bench.loader.snapshot is None
    assert bench.reasons == ["SigningMissing"]
    bench.put("signing", bundles.signing())
    assert bench.kid == "k1"


def test_no_active_key_is_a_valid_bundle_that_signs_nothing() -> None:
    model = json.loads(bundles.signing()[SIGNING_FILE])
    model |= {"active": {}, "held": [], "jwks": {"keys": []}, "defaultAlgorithm": ""}
    bench = Bench(bundles.source({SIGNING_FILE: canonical.dumps(model)}))
    assert bench.loader.snapshot
    assert bench.kid is None


def test_settings_off_the_manifest_are_not_used_and_policies_go_on() -> None:
    first, second = bundles.apart(2)
    bench = Bench(bundles.source(None, bundles.policies(first, second)))
    files = bundles.policies(first) | {SETTINGS_FILE: b"{}"}
    bench.put("policies", files)
    assert bench.reasons == ["SettingsOffManifest"]
    assert bench.granting == {first.name}
    assert bench.loader.snapshot
    assert bench.loader.snapshot.settings == exchange.SETTINGS


def test_who_goes_on_with_former_settings_does_not_claim_to_act_on_the_manifest() -> None:
    bench = Bench()
    before = bench.loader.snapshot
    bench.put("policies", bundles.policies(exchange.record()) | {SETTINGS_FILE: b"{}"})
    assert before
    assert bench.loader.snapshot
    assert bench.loader.snapshot.applied == before.applied
    narrow = exchange.SETTINGS.model_copy(update={"access_token_ttl": 60})
    files = bundles.policies(exchange.record(), settings=narrow)
    bench.put("policies", without(files, SETTINGS_FILE))
    assert bench.loader.snapshot.applied == before.applied
    bench.put("policies", files)
    assert bench.loader.snapshot.applied["policies"] == policies_digest(files[MANIFEST_FILE])


@pytest.mark.parametrize("order", [("signing", "policies"), ("policies", "signing")])
def test_another_issuer_counts_once_keys_and_settings_are_both_its_own(order: tuple[str, str]) -> None:
    bench = Bench()
    other = "https://other.example"
    settings = exchange.SETTINGS.model_copy(update={"issuer": other})
    files = {
        "signing": bundles.signing("k2", issuer=other),
        "policies": bundles.policies(exchange.record(), settings=settings),
    }
    for volume in order:
        bench.put(volume, files[volume])
    assert bench.reasons == []
    assert bench.loader.snapshot
    assert (bench.loader.snapshot.settings.issuer, bench.kid, bench.loader.snapshot.policies) == (other, "k2", 1)


def test_narrower_settings_count_at_once_even_for_a_shard_that_is_off() -> None:
    first, second = bundles.apart(2)
    bench = Bench(bundles.source(None, bundles.policies(first, second)))
    narrow = exchange.SETTINGS.model_copy(update={"namespace": "elsewhere"})  # now foreign, and no bounds: nothing
    bench.put("policies", broken(bundles.policies(first, second, settings=narrow), bundles.shard_name(first), b"x"))
    assert bench.granting == set()


def test_a_volume_that_cannot_be_read_is_tried_again_and_does_not_grant_for_ever(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    bench = Bench()
    read = bench.source.read

    def fail(volume: str) -> Mapping[str, bytes]:
        if volume == "policies":
            raise OSError(5, "Input/output error")
        return read(volume)

    monkeypatch.setattr(bench.source, "read", fail)
    bench.put("policies", bundles.policies())
    assert bench.reasons == ["Unreadable"]
    assert bench.granting == {"ci"}
    bench.after(GRACE)
    assert bench.granting == set()
    bench.put("policies", bundles.policies(exchange.record()))
    monkeypatch.setattr(bench.source, "read", read)
    bench.after(0)  # nothing changed since the last attempt, but that one failed
    assert bench.granting == {"ci"}
    assert bench.reasons == []


def test_volumes_of_a_kubelet_are_read_as_of_one_instant(tmp_path: Path) -> None:
    mounted = bundles.Mounted(tmp_path)
    mounted.project("signing", bundles.signing())
    mounted.project("policies", bundles.policies(exchange.record()))
    loader = Loader(DirectorySource(tmp_path), clock=Clock())
    loader.refresh()
    assert loader.snapshot
    assert loader.snapshot.policies == 1
    assert not loader.due()
    mounted.project("policies", bundles.policies())
    assert loader.due()
    loader.refresh()
    assert loader.snapshot.policies == 0
    assert loader.problems == ()


def test_a_plain_folder_works_and_notices_every_change(tmp_path: Path) -> None:
    for volume, files in {"signing": bundles.signing(), "policies": bundles.policies(exchange.record())}.items():
        (tmp_path / volume).mkdir()
        for name, content in files.items():
            (tmp_path / volume / name).write_bytes(content)
    loader = Loader(DirectorySource(tmp_path), clock=Clock())
    loader.refresh()
    assert loader.snapshot
    assert not loader.due()
    (tmp_path / "policies" / MANIFEST_FILE).unlink()
    assert loader.due()
    loader.refresh()
    assert [problem.reason for problem in loader.problems] == ["ManifestMissing", "ShardOffManifest"]


def test_no_problem_text_repeats_a_files_content() -> None:
    canary = "canary-4711"
    bad = {
        "signing": bundles.signing() | {SIGNING_FILE: b'{"statusKey":"canary-4711","issuer":["canary-4711"]}'},
        "policies": bundles.policies() | {MANIFEST_FILE: b'{"settings":["canary-4711"]}'},
    }
    bench = Bench()
    for volume, files in bad.items():
        bench.put(volume, files)
    bench.put("signing", bundles.signing("k2") | {"k2.pem": b"-----BEGIN PRIVATE KEY-----\ncanary-4711\n"})
    assert len(bench.loader.problems) >= 2
    assert canary not in repr(bench.loader.problems)
