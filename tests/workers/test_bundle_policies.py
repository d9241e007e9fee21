"""The policies of a bundle as a worker loads them: what is broken or taken out grants nothing, the rest goes on."""

from __future__ import annotations

import gzip
import json
from collections.abc import Callable

import pytest

from fakes import bundles, exchange
from fakes.bundleloading import Bench, Files, broken, without
from tailseal.domain import canonical
from tailseal.domain.bundle.digest import policies_digest
from tailseal.domain.bundle.model import MANIFEST_FILE, SETTINGS_FILE
from tailseal.workers.common.bundle.policies import GRACE


def off(files: Files, name: str, content: bytes) -> Files:
    """Broken content that the manifest names nevertheless."""
    manifest = json.loads(files[MANIFEST_FILE])
    manifest["shards"][name[:2]] = canonical.digest(content)
    return files | {name: content, MANIFEST_FILE: canonical.dumps(manifest)}


BAD_SHARDS: dict[str, tuple[Callable[[Files, str], Files], str]] = {
    "in the manifest, not on disk": (without, "ShardMissing"),
    "off the manifest": (lambda files, name: broken(files, name, gzip.compress(b"{}")), "ShardOffManifest"),
    "cut short": (lambda files, name: off(files, name, files[name][:-9]), "ShardUnreadable"),
    "not gzip": (lambda files, name: off(files, name, b"plain"), "ShardUnreadable"),
    "not JSON": (lambda files, name: off(files, name, gzip.compress(b"{")), "ShardUnreadable"),
    "of a later version": (
        lambda files, name: off(files, name, gzip.compress(b'{"version":2,"policies":[]}')),
        "ShardUnreadable",
    ),
    "a bomb": (lambda files, name: off(files, name, gzip.compress(b" " * 9_000_000)), "ShardUnreadable"),
}


@pytest.mark.parametrize(("spoil", "reason"), BAD_SHARDS.values(), ids=BAD_SHARDS.keys())
def test_a_broken_shard_is_used_as_it_was_for_a_while_and_then_grants_nothing(
    spoil: Callable[[Files, str], Files], reason: str
) -> None:
    first, second, third = bundles.apart(3)
    bench = Bench(bundles.source(None, bundles.policies(first, second, third)))
    before = bench.loader.snapshot
    bench.put("policies", spoil(bundles.policies(first, second, third), bundles.shard_name(first)))
    assert bench.granting == {first.name, second.name, third.name}
    assert bench.reasons == [reason]
    bench.after(GRACE - 1)
    bench.put("policies", spoil(bundles.policies(first, third), bundles.shard_name(first)))
    assert bench.granting == {first.name, third.name}  # the withdrawal of the second landed
    assert before
    assert bench.loader.snapshot
    assert bench.loader.snapshot.digests["policies"] == before.digests["policies"]  # not wholly loaded
    bench.after(1)
    assert bench.granting == {third.name}
    assert bench.loader.snapshot.policies == 1
    bench.put("policies", bundles.policies(first, third))
    assert bench.granting == {first.name, third.name}
    assert bench.reasons == []
    assert bench.loader.snapshot.digests["policies"] == policies_digest(bundles.policies(first, third)[MANIFEST_FILE])


@pytest.mark.parametrize(("spoil", "reason"), BAD_SHARDS.values(), ids=BAD_SHARDS.keys())
def test_a_shard_that_was_never_good_grants_nothing_and_the_others_do(
    spoil: Callable[[Files, str], Files], reason: str
) -> None:
    first, second = bundles.apart(2)
    bench = Bench(bundles.source(None, spoil(bundles.policies(first, second), bundles.shard_name(first))))
    assert bench.granting == {second.name}
    assert bench.reasons == [reason]
    assert bench.loader.snapshot
    assert bench.loader.snapshot.digests["policies"] == ""


def test_a_policy_taken_out_of_a_broken_shards_manifest_stops_granting_at_once() -> None:
    first, second = bundles.apart(2)
    bench = Bench(bundles.source(None, bundles.policies(first, second)))
    bench.put("policies", broken(bundles.policies(first, second), bundles.shard_name(first), b"x"))
    bench.put("policies", bundles.policies(second))
    assert bench.granting == {second.name}


BAD_MANIFESTS: dict[str, tuple[Callable[[Files], Files], str]] = {
    "all files gone": (lambda _: {}, "ManifestMissing"),
    "no manifest": (lambda files: without(files, MANIFEST_FILE), "ManifestMissing"),
    "not JSON": (lambda files: files | {MANIFEST_FILE: b"{"}, "ManifestCorrupt"),
    "a later version": (
        lambda files: (
            files
            | {
                MANIFEST_FILE: canonical.dumps(
                    {"version": 1, "minReader": 3, "settings": canonical.digest(files[SETTINGS_FILE]), "shards": {}}
                )
            }
        ),
        "ReaderTooOld",
    ),
    "a shard's number is a path": (
        lambda files: (
            files
            | {
                MANIFEST_FILE: canonical.dumps(
                    {
                        "version": 1,
                        "minReader": 1,
                        "settings": canonical.digest(files[SETTINGS_FILE]),
                        "shards": {"../x": ""},
                    }
                )
            }
        ),
        "ManifestCorrupt",
    ),
}


@pytest.mark.parametrize(("spoil", "reason"), BAD_MANIFESTS.values(), ids=BAD_MANIFESTS.keys())
def test_without_a_manifest_settings_stay_and_policies_run_out(spoil: Callable[[Files], Files], reason: str) -> None:
    bench = Bench()
    bench.put("policies", spoil(bundles.policies(exchange.record())))
    assert bench.granting == {"ci"}
    assert bench.reasons[0] == reason
    bench.after(GRACE)
    assert bench.granting == set()
    assert bench.loader.snapshot
    assert bench.loader.snapshot.settings == exchange.SETTINGS
    assert bench.kid == "k1"


def test_one_policy_that_does_not_compile_grants_nothing_and_the_rest_load() -> None:
    bad = exchange.record(exchange.spec(subject={"regex": "("}), name="bad")
    worse = exchange.record({"nonsense": True}, name="worse")
    bench = Bench(bundles.source(None, bundles.policies(exchange.record(), bad, worse)))
    assert bench.granting == {"ci"}
    assert bench.reasons == ["PolicyRefused", "PolicyRefused"]
    assert bench.loader.snapshot
    assert bench.loader.snapshot.digests["policies"]  # the set was loaded as it is meant


def test_a_policy_that_no_longer_compiles_stops_granting_at_once() -> None:
    bench = Bench()
    bench.put("policies", bundles.policies(exchange.record({"nonsense": True})))
    assert bench.granting == set()
