"""Bundles built from intent: stable shards, equal bytes for equal content, nothing truncated."""

from __future__ import annotations

import gzip
import json
import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from tailseal.api.identityprovider import IdentityProviderSpec
from tailseal.domain import canonical
from tailseal.domain.bundle import build, digest, model
from tailseal.domain.rotation import HeldKid, IssuerLedger, IssuerPlan

NAMES = st.text("abcdefghijklmnopqrstuvwxyz0123456789-", min_size=1, max_size=20)


def record(namespace: str, name: str, **spec: str) -> model.PolicyRecord:
    return model.PolicyRecord(namespace=namespace, name=name, uid=f"{namespace}/{name}", generation=1, spec=dict(spec))


RECORDS = st.lists(st.builds(record, NAMES, NAMES), max_size=40, unique_by=lambda item: (item.namespace, item.name))


def content(files: dict[int, bytes] | build.Shards) -> dict[int, list[str]]:
    found = files.files if isinstance(files, build.Shards) else files
    return {
        number: [f"{entry['namespace']}/{entry['name']}" for entry in json.loads(gzip.decompress(file))["policies"]]
        for number, file in found.items()
    }


@given(RECORDS, st.randoms())
def test_the_order_of_policies_makes_no_difference(records: list[model.PolicyRecord], chance: random.Random) -> None:
    shuffled = list(records)
    chance.shuffle(shuffled)
    assert build.shards(shuffled) == build.shards(records)


@given(RECORDS)
def test_every_policy_is_in_its_shard_and_no_shard_is_empty(records: list[model.PolicyRecord]) -> None:
    spread = content(build.shards(records))
    assert sorted(name for names in spread.values() for name in names) == sorted(
        f"{item.namespace}/{item.name}" for item in records
    )
    for number, names in spread.items():
        assert names
        assert names == sorted(names, key=lambda name: name.split("/", 1))
        assert {build.shard_of(*name.split("/", 1)) for name in names} == {number}


@given(RECORDS, NAMES, NAMES)
def test_one_more_policy_changes_one_shard(records: list[model.PolicyRecord], namespace: str, name: str) -> None:
    others = [item for item in records if (item.namespace, item.name) != (namespace, name)]
    before = build.shards(others).files
    after = build.shards([*others, record(namespace, name)]).files
    changed = {number for number in before.keys() | after.keys() if before.get(number) != after.get(number)}
    assert changed == {build.shard_of(namespace, name)}


def test_shards_never_move() -> None:
    """These numbers are part of the format: a policy must be found where an older operator wrote it."""
    assert [build.shard_of("team-a", f"p{number}") for number in range(6)] == [40, 16, 35, 60, 47, 5]


def test_a_full_shard_refuses_the_youngest_and_keeps_the_others_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    records = [record("ns", f"p{number}", pad=random.Random(number).randbytes(400).hex()) for number in range(20)]
    monkeypatch.setattr(build, "MAX_SHARD_BYTES", 3000)
    file, refused = build.shard(records)
    kept = content({0: file})[0]
    assert len(file) <= 3000
    assert [item.name for item in refused] == [f"p{number}" for number in range(len(kept), 20)]
    assert sorted(kept) == sorted(f"ns/p{number}" for number in range(len(kept)))


def test_one_monstrous_policy_does_not_keep_others_out() -> None:
    huge = record("ns", "a", pad="x" * (build.MAX_RECORD_CONTENT + 1))
    file, refused = build.shard([huge, record("ns", "b")])
    assert content({0: file}) == {0: ["ns/b"]}
    assert refused == (huge,)
    assert build.shard([huge]) == (b"", (huge,))


def test_what_can_be_decompressed_has_a_limit(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "MAX_SHARD_CONTENT", 10_000)
    file, refused = build.shard([record("ns", f"p{number}", pad="x" * 1000) for number in range(20)])
    assert refused
    assert len(gzip.decompress(file)) <= 10_000


def spec(**members: object) -> IdentityProviderSpec:
    return IdentityProviderSpec.model_validate(
        {"issuer": "https://idp.corp.example", "signingKeys": [{"name": "corp"}], **members}
    )


def settings(**members: object) -> model.Settings:
    return build.settings_of(spec(**members), namespace="identity", name="corp", uid="u")


def test_settings_of_the_smallest_provider() -> None:
    made = settings()
    assert made.token_endpoint == "https://idp.corp.example/token"
    assert made.subject_audiences == ("https://idp.corp.example",)
    assert (made.access_token_ttl, made.clock_skew) == (600, 60)
    assert made.staleness == model.Staleness(behind=120, unheard=86_400)


def test_the_first_endpoint_is_where_the_token_service_is() -> None:
    endpoint = {"name": "public", "url": "https://sts.corp.example/"}
    made = settings(serving={"endpoints": [endpoint]})
    assert made.token_endpoint == "https://sts.corp.example/token"
    assert made.subject_audiences == ("https://idp.corp.example", "https://sts.corp.example")


@pytest.mark.parametrize(
    ("namespaces", "expected"),
    [
        ({"from": "Same"}, ("identity",)),
        ({"from": "All"}, ("*",)),
        ({"from": "Names", "names": ["a", "b"]}, ("a", "b")),
    ],
)
def test_namespaces_of_bounds_are_names(namespaces: dict[str, object], expected: tuple[str, ...]) -> None:
    made = settings(bounds=[{"name": "x", "namespaces": namespaces, "maxTTL": "5m", "jwt": {"claims": ["groups"]}}])
    assert made.bounds[0].namespaces == expected
    assert made.bounds[0].max_ttl == 300
    assert made.bounds[0].jwt_claims == ("groups",)


def test_upstreams_name_their_credential_files_by_prefix() -> None:
    upstream = {"name": "prod", "tailscale": {"oauthClientSecretRef": {"name": "ts"}}}
    (made,) = settings(upstreams=[upstream]).upstreams
    assert made.tailscale == model.TailscaleUpstream(
        api_url="https://api.tailscale.com", tailnet="-", credential="prod"
    )


def test_the_manifest_names_every_file_by_its_digest() -> None:
    files = build.shards([record("ns", "a"), record("ns", "b")]).files
    volume = build.policies_volume(settings(), files)
    manifest = model.Manifest.model_validate_json(volume[model.MANIFEST_FILE])
    assert manifest.settings == canonical.digest(volume[model.SETTINGS_FILE])
    assert {model.shard_file(int(number)): named for number, named in manifest.shards.items()} == {
        name: canonical.digest(content) for name, content in volume.items() if name.endswith(".gz")
    }
    assert model.Settings.model_validate_json(volume[model.SETTINGS_FILE]) == settings()


def plan() -> IssuerPlan:
    return IssuerPlan(
        ledger=IssuerLedger(),
        active={"ES256": "k1"},
        default_algorithm="ES256",
        published=({"kid": "k1", "kty": "EC"}, {"kid": "lost", "kty": "EC"}),
        held=(HeldKid("k1", "ES256", "corp", 99.0), HeldKid("lost", "ES256", "corp", 99.0)),
        next_change=None,
        max_age=300,
        max_token_ttl=600,
    )


def test_a_key_without_its_private_part_is_published_but_not_held() -> None:
    files = build.signing_of("https://idp.corp.example", plan(), {"k1": b"PEM"}, b"k" * 32)
    made = model.Signing.model_validate_json(files[model.SIGNING_FILE])
    assert [held.kid for held in made.held] == ["k1"]
    assert files[made.held[0].file] == b"PEM"
    assert len(files) == 2
    assert [key["kid"] for key in made.jwks["keys"]] == ["k1", "lost"]


def test_an_active_key_is_always_one_that_is_held() -> None:
    made = model.Signing.model_validate_json(build.signing_of("https://i", plan(), {}, b"k" * 32)[model.SIGNING_FILE])
    assert made.active == {}


@pytest.mark.parametrize("kid", ["../../etc/passwd", "a/b", "é", "x" * 500, ""])
def test_any_key_id_makes_a_file_name_that_a_secret_takes(kid: str) -> None:
    assert build.key_file(kid, b"").removesuffix(".pem").isalnum()
    assert len(build.key_file(kid, b"")) < 64


@given(st.dictionaries(NAMES, st.binary(max_size=20), max_size=5), NAMES, st.binary(max_size=20))
def test_a_digest_follows_every_file(files: dict[str, bytes], name: str, other: bytes) -> None:
    changed = {**files, name: other}
    assert (digest.volume_digest(changed) == digest.volume_digest(files)) is (changed == files)
    assert digest.volume_digest(dict(reversed(files.items()))) == digest.volume_digest(files)


def test_each_attempt_has_a_stamp_of_its_own_that_the_fence_lets_through() -> None:
    stamps = [digest.stamp({"signing": "sha256:a"}, attempt) for attempt in range(5)]
    assert len(set(stamps)) == 5
    assert stamps[0] == canonical.digest(b'{"signing":"sha256:a"}')
    assert all(len(value) == 71 and value.startswith("sha256:") for value in stamps)


def noise(namespace: str, name: str, size: int = 400) -> model.PolicyRecord:
    """A policy that nothing makes smaller."""
    return record(namespace, name, pad=random.Random(f"{namespace}/{name}").randbytes(size).hex())


def test_who_takes_most_of_a_full_shard_is_refused_first_however_old_his_policies_are(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(build, "MAX_SHARD_BYTES", 6000)
    greedy = [noise("greedy", f"p{number:02d}") for number in range(20)]
    modest = [noise(f"team-{number}", "only") for number in range(3)]
    file, refused = build.shard([*greedy, *modest], "identity")
    assert {item.namespace for item in refused} == {"greedy"}
    assert [item.name for item in refused] == [f"p{number:02d}" for number in range(20 - len(refused), 20)]
    assert len(file) <= 6000


def test_the_providers_own_namespace_comes_before_its_tenants(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(build, "MAX_SHARD_BYTES", 4000)
    own = [noise("identity", f"p{number}") for number in range(6)]
    _, refused = build.shard([*(noise("team", f"p{number}") for number in range(6)), *own], "identity")
    assert {item.namespace for item in refused} == {"team"}


@given(
    st.lists(st.tuples(st.sampled_from("abcde"), st.integers(1, 40)), min_size=1, max_size=25, unique=True),
    st.integers(800, 6000),
    st.randoms(use_true_random=False),
)
def test_nobody_who_takes_less_is_refused_for_somebody_who_takes_more(
    wanted: list[tuple[str, int]], room: int, shuffle: random.Random
) -> None:
    records = [noise(namespace, f"p{number:02d}", number * 10) for namespace, number in wanted]
    shuffle.shuffle(records)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(build, "MAX_SHARD_BYTES", room)
        file, refused = build.shard(records)
        assert build.shard(records) == (file, refused)
    taken: dict[str, int] = {}
    for item in records:
        if item not in refused:
            taken[item.namespace] = taken.get(item.namespace, 0) + _size(item)
    eldest = {item.namespace: item for item in reversed([item for item in records if item in refused])}
    for item in eldest.values():
        others = [used for namespace, used in taken.items() if namespace != item.namespace]
        with_it = taken.get(item.namespace, 0) + _size(item)
        assert not others or max(others) <= with_it, "it would have taken less than somebody who is served"


def _size(item: model.PolicyRecord) -> int:
    return len(canonical.compress(canonical.dumps(item.document())))


def test_a_full_list_of_clients_is_shared_alike(monkeypatch: pytest.MonkeyPatch) -> None:
    def client(namespace: str, name: str) -> model.ClientRecord:
        pad = random.Random(name).randbytes(400).hex()
        return model.ClientRecord(namespace=namespace, name=name, uid="u", generation=1, spec={"pad": pad})

    monkeypatch.setattr(build, "MAX_SHARD_BYTES", 6000)
    _, refused = build.clients([*(client("greedy", f"c{n:02d}") for n in range(20)), client("team", "only")])
    assert {item.namespace for item in refused} == {"greedy"}
    _, refused = build.clients([client("greedy", "c").model_copy(update={"spec": {"pad": "x" * 300_000}})])
    assert len(refused) == 1


def test_what_clients_chose_for_ids_is_not_written_with_the_settings() -> None:
    plain = settings()
    assert build.settings_file(plain.model_copy(update={"client_ids": frozenset({"a"})})) == build.settings_file(plain)
