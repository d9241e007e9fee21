"""What a folder means: every problem with file, path and remedy; keys and settings outlive mistakes, grants do not."""

from __future__ import annotations

from pathlib import Path

import pytest

from tailseal.workers.embedded import manifests
from tailseal.workers.embedded.household import Household, Reader

KEY = "apiVersion: tailseal.dev/v1alpha1\nkind: SigningKey\nmetadata: {name: k}\n"
PROVIDER = """
apiVersion: tailseal.dev/v1alpha1
kind: IdentityProvider
metadata: {name: p}
spec:
  issuer: http://127.0.0.1:8080
  signingKeys: [{name: k}]
  upstreams: [{name: prod, tailscale: {apiURL: "https://api.tailscale.com", oauthClientSecretRef: {name: ts}}}]
"""
POLICY = """
apiVersion: tailseal.dev/v1alpha1
kind: TrustPolicy
metadata: {name: NAME}
spec:
  identityProviderRef: {name: p}
  from: {oidc: {issuer: "https://ci.example", subject: {exact: x}}}
  grants: [{name: g, jwt: {audiences: ["https://a.example"], ttl: 5m}}]
"""
SECRET = """
apiVersion: v1
kind: Secret
metadata: {name: ts, labels: {tailseal.dev/allow: "true"}}
stringData: {client_id: id, client_secret: "canary\\n"}
"""


class Bench:
    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.reader = Reader(("127.0.0.0/8",))
        self.write(**{"key.yaml": KEY, "provider.yaml": PROVIDER, "a.yaml": policy("a"), "secret.yaml": SECRET})

    def write(self, **files: str) -> None:
        for name, text in files.items():
            (self.folder / name).write_text(text)

    def read(self) -> Household:
        return self.reader.read(manifests.read(self.folder))

    def problems(self) -> list[str]:
        return [str(problem) for problem in self.read().problems]


def policy(name: str) -> str:
    return POLICY.replace("NAME", name)


@pytest.fixture
def bench(tmp_path: Path) -> Bench:
    return Bench(tmp_path)


def granting(household: Household) -> list[str]:
    return [record.name for record in household.records]


def test_a_good_folder_has_no_problems(bench: Bench) -> None:
    household = bench.read()
    assert household.problems == ()
    assert granting(household) == ["a"]
    assert set(household.wishes) == {"k"}
    assert household.settings
    assert household.settings.open_hosts == ("127.0.0.0/8",)
    assert household.credentials == {"prod.client_id": b"id", "prod.client_secret": b"canary"}
    assert "canary" not in repr(household)


def test_a_file_may_hold_several_documents_and_other_kinds(bench: Bench) -> None:
    other = "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: x}\n"
    bench.write(**{"a.yaml": "---\n".join([other, policy("a"), policy("b"), ""])})
    assert granting(bench.read()) == ["a", "b"]


@pytest.mark.parametrize(
    ("text", "problem"),
    [
        ("x: [", "a.yaml: line 1, column 5: "),
        ("", "a.yaml: is empty: delete the file if"),
        ("kind: TrustPolicy", "a.yaml: apiVersion: TrustPolicy needs tailseal.dev/v1alpha1"),
        ("- 1", "a.yaml: apiVersion, kind, metadata and spec are needed"),
        (policy("a").replace("metadata: {name: a}", "metadata: {}"), "a.yaml: metadata.name: a name is needed"),
        (policy("a") + "spec: {}", "a.yaml: line 9, column 1: spec stands twice"),
        (policy("a").replace("exact: x", "exact: 5"), "a.yaml: spec.from.oidc.subject.exact: must be a string"),
        (policy("a").replace("exact: x", "regex: '('"), "a.yaml: spec.from.oidc.subject.regex: "),
        (policy("a").replace("exact", "exactly"), "a.yaml: spec.from.oidc.subject.exactly: there is no such field"),
        (policy("a").replace("ttl: 5m", "ttl: 5"), "a.yaml: spec.grants[0].jwt.ttl: "),
        (policy("a").replace("{name: p}", "{name: q}"), "a.yaml: spec.identityProviderRef: names another"),
        ("!!python/object:os.system {}", "a.yaml: line 1, column 1: could not determine a constructor"),
    ],
    ids=lambda value: value[:30],
)
def test_a_policy_that_is_bad_now_grants_nothing_and_says_where_and_why(bench: Bench, text: str, problem: str) -> None:
    assert granting(bench.read()) == ["a"]
    bench.write(**{"a.yaml": text, "b.yaml": policy("b")})
    household = bench.read()
    assert granting(household) == ["b"]
    assert str(household.problems[0]).startswith(problem)
    bench.write(**{"a.yaml": policy("a")})
    assert bench.read().problems == ()


@pytest.mark.parametrize(
    "text", ["x: [", "", PROVIDER.replace("issuer:", "isuer:"), PROVIDER.replace("{name: k}", "k")]
)
def test_a_bad_provider_leaves_settings_as_they_were(bench: Bench, text: str) -> None:
    before = bench.read()
    bench.write(**{"provider.yaml": text})
    after = bench.read()
    assert after.problems
    assert (after.provider, after.settings, granting(after)) == (before.provider, before.settings, ["a"])


@pytest.mark.parametrize("text", ["x: [", "", KEY + "spec: {algorithm: HS256}"])
def test_a_bad_signing_key_leaves_the_schedule_as_it_was(bench: Bench, text: str) -> None:
    before = bench.read()
    bench.write(**{"key.yaml": text})
    after = bench.read()
    assert after.problems
    assert after.wishes == before.wishes


def test_a_revocation_counts_even_in_a_signing_key_that_is_refused_otherwise(bench: Bench) -> None:
    bench.read()
    bench.write(**{"key.yaml": KEY + "spec: {algorithm: HS256, revokedKeyIDs: [stolen]}"})
    assert bench.read().wishes["k"].revoked == {"stolen"}


def test_what_is_taken_out_of_the_folder_is_gone(bench: Bench) -> None:
    bench.read()
    (bench.folder / "key.yaml").unlink()
    household = bench.read()
    assert household.wishes == {}
    assert [str(problem) for problem in household.problems] == [
        "provider.yaml: spec.signingKeys[0]: there is no valid SigningKey k in namespace default: add one"
    ]
    (bench.folder / "provider.yaml").unlink()
    assert bench.read().provider is None


LATER = "{mode: Serve, auth: {authKeySecretRef: {name: k}}, loginServer: 'https://headscale.example'}"


@pytest.mark.usefixtures("login_servers_come_later")
def test_what_cannot_be_done_yet_is_said_and_not_ignored(bench: Bench) -> None:
    bench.read()
    bench.write(**{"provider.yaml": PROVIDER + f"  tailnet: {LATER}\n"})
    assert "spec.tailnet.loginServer" in bench.problems()[0]


def test_publishing_is_the_operators_work_and_that_is_said(bench: Bench) -> None:
    place = "{name: cdn, objectStore: {bucket: keys}, publicURL: https://cdn.example}"
    bench.write(**{"provider.yaml": PROVIDER + f"  publish: [{place}]\n"})
    assert "spec.publish: is the operator's work in a cluster" in bench.problems()[0]


def test_a_missing_or_unlabelled_secret_is_said(bench: Bench) -> None:
    bench.write(**{"secret.yaml": SECRET.replace('"true"', '"no"')})
    assert bench.problems()[0].startswith(
        "provider.yaml: spec.upstreams[0].tailscale.oauthClientSecretRef: a Secret ts"
    )
    assert bench.read().credentials == {}


def test_a_secret_in_base64_works_and_a_broken_one_shows_nothing(bench: Bench) -> None:
    bench.write(
        **{
            "secret.yaml": SECRET.replace("stringData", "data")
            .replace('"canary\\n"', "Y2FuYXJ5")
            .replace("id,", "aWQ=,")
        }
    )
    assert bench.read().credentials == {"prod.client_id": b"id", "prod.client_secret": b"canary"}
    bench.write(**{"secret.yaml": SECRET.replace("stringData", "data")})
    assert bench.problems() == ["secret.yaml: data: must be texts in base64; or use stringData"]
    assert bench.read().credentials  # the last good one


def test_the_same_object_in_two_files_counts_once(bench: Bench) -> None:
    bench.write(**{"z.yaml": policy("a")})
    assert bench.problems() == ["z.yaml: metadata.name: TrustPolicy default/a stands in a.yaml already"]


def test_a_second_provider_is_not_served(bench: Bench) -> None:
    bench.write(**{"q.yaml": PROVIDER.replace("name: p}", "name: q}")})
    assert "q.yaml: metadata.name: one IdentityProvider is served" in bench.problems()[-1]


def test_a_generation_grows_with_each_change(bench: Bench) -> None:
    def generation() -> int:
        return bench.read().records[0].generation

    assert (generation(), generation()) == (1, 1)
    bench.write(**{"a.yaml": policy("a").replace("5m", "4m")})
    assert (generation(), generation()) == (2, 2)


def test_a_namespace_has_no_more_policies_than_the_bounds_allow(bench: Bench) -> None:
    bound = "{name: b, namespaces: {from: Names, names: [default]}, issuers: ['*'], keySources: ['*'], audiences: ['*']"
    bench.write(**{"provider.yaml": f"{PROVIDER}  bounds: [{bound}, maxPolicies: 2}}]\n"})
    bench.write(**{f"{name}.yaml": policy(name) for name in "bcd"})
    household = bench.read()
    assert granting(household) == ["a", "b"]
    assert [problem.file for problem in household.problems] == ["c.yaml", "d.yaml"]
    assert "maxPolicies" in str(household.problems[0])


def test_hidden_and_other_files_are_left_alone(bench: Bench) -> None:
    bench.write(**{".a.yaml": "x: [", "README.md": "x: ["})
    (bench.folder / "sub").mkdir()
    assert bench.problems() == []


SELECTING = (
    PROVIDER
    + """
  bounds:
    - name: teams
      namespaces: {from: Selector, selector: {matchLabels: {tailseal: "yes"}}}
      issuers: ["*"]
      keySources: [Discovery]
      audiences: ["*"]
"""
)
TEAM = "apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {tailseal: LABEL}}\n"


@pytest.mark.parametrize(("label", "admitted"), [('"yes"', 1), ('"no"', 0)])
def test_bounds_select_namespaces_by_the_labels_of_their_manifests(bench: Bench, label: str, admitted: int) -> None:
    bench.write(**{"provider.yaml": SELECTING, "team.yaml": TEAM.replace("LABEL", label)})
    assert len(bench.read().records) == admitted


def test_without_its_manifest_a_namespace_has_its_name_for_a_label_and_no_other(bench: Bench) -> None:
    bench.write(**{"provider.yaml": SELECTING})
    assert not bench.read().records
    by_name = SELECTING.replace('tailseal: "yes"', "kubernetes.io/metadata.name: default")
    bench.write(**{"provider.yaml": by_name})
    assert len(bench.read().records) == 1


def test_a_manifest_cannot_give_a_namespace_the_name_of_another(bench: Bench) -> None:
    pretending = (
        "apiVersion: v1\nkind: Namespace\nmetadata: {name: default, labels: {kubernetes.io/metadata.name: x}}\n"
    )
    by_name = SELECTING.replace('tailseal: "yes"', "kubernetes.io/metadata.name: x")
    bench.write(**{"provider.yaml": by_name, "team.yaml": pretending})
    assert not bench.read().records
