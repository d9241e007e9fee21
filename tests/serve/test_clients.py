"""OAuthClients in a folder: judged as in a cluster, and served with the secrets that they bring."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from serve.test_household import KEY, PROVIDER, SECRET
from tailseal.domain.clients.secrets import digest
from tailseal.workers.common.http.address import Address
from tailseal.workers.embedded import manifests
from tailseal.workers.embedded.household import Household, Reader
from tailseal.workers.embedded.process import Embedded, Options
from tailseal.workers.embedded.state import State

BROUGHT = "0123456789abcdef" * 2
CLIENT = """
apiVersion: tailseal.dev/v1alpha1
kind: OAuthClient
metadata: {name: grafana}
spec:
  identityProviderRef: {name: p}
  redirectURIs: [https://grafana.example/cb]
"""
MINE = f"""
apiVersion: v1
kind: Secret
metadata: {{name: mine, labels: {{tailseal.dev/allow: "true"}}}}
stringData: {{client_secret: "{BROUGHT}\\n"}}
"""


def read(folder: Path, **files: str) -> Household:
    for name, text in {"key": KEY, "provider": PROVIDER, "secret": SECRET, **files}.items():
        (folder / f"{name}.yaml").write_text(text)
    return Reader(("127.0.0.0/8",)).read(manifests.read(folder))


def test_a_client_with_a_secret_of_its_own_is_served_by_its_hash(tmp_path: Path) -> None:
    household = read(tmp_path, client=f"{CLIENT}  secretRef: {{name: mine}}\n", mine=MINE)
    assert household.problems == ()
    (found,) = household.clients.usable
    assert [secret.digest for secret in found.secrets] == [digest("oauthclient.default.grafana", BROUGHT)]
    assert BROUGHT not in str(found)


def test_a_public_client_needs_none(tmp_path: Path) -> None:
    assert len(read(tmp_path, client=f"{CLIENT}  type: Public\n").clients.usable) == 1


@pytest.mark.parametrize(
    ("client", "problem"),
    [
        (CLIENT, "client.yaml: spec.secretRef: without a cluster nobody makes a secret"),
        (f"{CLIENT}  secretRef: {{name: other}}\n", "client.yaml: spec.secretRef: a Secret other in namespace default"),
        (f"{CLIENT}  secretRef: {{name: ts}}\n", "client.yaml: spec.secretRef: Secret ts: client_secret must have 32"),
        (f"{CLIENT}  claims: [sub]\n", "client.yaml: spec.claims[0]: claim sub is set by the IdentityProvider alone"),
        (CLIENT.replace("name: p}", "name: q}"), "client.yaml: spec.identityProviderRef: names another"),
    ],
)
def test_what_cannot_be_served_is_named_and_is_not(tmp_path: Path, client: str, problem: str) -> None:
    household = read(tmp_path, client=client)
    assert household.clients.usable == ()
    (found,) = household.problems
    assert str(found).startswith(problem)
    assert "canary" not in str(found)


def test_of_two_with_one_client_id_the_first_counts(tmp_path: Path) -> None:
    public = f"{CLIENT}  type: Public\n  clientID: grafana\n"
    household = read(tmp_path, a=public, b=public.replace("name: grafana", "name: other"))
    assert [client.name for client in household.clients.usable] == ["grafana"]
    (found,) = household.problems
    assert "OAuthClient default/grafana has it already" in str(found)


# ---------------------------------------------------------------------------------------------------- admission

PUBLIC = f"{CLIENT}  type: Public\n"


def admission(folder: Path, state: Path) -> str:
    """What the only client's logins are bound to, as a process that starts now serves it; empty: it is not served."""
    made = Embedded(Options(folder, state, None, Address("127.0.0.1", 0)), lambda *_: None, State(state))
    try:
        made.turn()
        assert made.worker.loader.snapshot
        return next((client.uid for client in made.worker.loader.snapshot.clients.values()), "")
    finally:
        asyncio.run(made.worker.state.aclose())
        made.state.close()


def test_a_client_that_is_taken_out_of_the_folder_comes_back_as_another(tmp_path: Path) -> None:
    read(tmp_path, client=PUBLIC)
    before = admission(tmp_path, tmp_path / "state")
    assert before.startswith("default/grafana@")
    assert admission(tmp_path, tmp_path / "state") == before, "a restart ends nothing"
    (tmp_path / "client.yaml").unlink()
    assert admission(tmp_path, tmp_path / "state") == ""
    read(tmp_path, client=PUBLIC)
    assert admission(tmp_path, tmp_path / "state") != before


@pytest.mark.parametrize("slip", ["{", "", f"{PUBLIC}  claims: [sub]\n"], ids=["file", "empty", "spec"])
def test_a_slip_in_its_file_pauses_a_client_and_ends_nothing(tmp_path: Path, slip: str) -> None:
    read(tmp_path, client=PUBLIC)
    before = admission(tmp_path, tmp_path / "state")
    read(tmp_path, client=slip)
    assert admission(tmp_path, tmp_path / "state") == ""
    read(tmp_path, client=PUBLIC)
    assert admission(tmp_path, tmp_path / "state") == before


@pytest.mark.parametrize("spoilt", [None, b'{"admissions.json":"e30="}', b'{"admissions.json":"W10="}'])
def test_admissions_that_are_lost_or_spoilt_end_all_logins(tmp_path: Path, spoilt: bytes | None) -> None:
    read(tmp_path, client=PUBLIC)
    before = admission(tmp_path, tmp_path / "state")
    kept = tmp_path / "state" / "clients.json"
    kept.unlink() if spoilt is None else kept.write_bytes(spoilt)
    assert admission(tmp_path, tmp_path / "state") not in {"", before}


SELECTED = PROVIDER.replace(
    "spec:\n",
    """spec:
  bounds:
  - name: apps
    namespaces: {from: Selector, selector: {matchLabels: {apps: "yes"}}}
    redirectHosts: [grafana.example]
    grantTypes: [authorization_code, refresh_token]
""",
)
NAMESPACE = """
apiVersion: v1
kind: Namespace
metadata: {name: default, labels: {apps: "yes"}}
"""


@pytest.mark.parametrize(
    ("files", "lost", "given"),
    [
        ({}, "provider", {"provider": PROVIDER}),
        ({"provider": SELECTED, "space": NAMESPACE}, "space", {"space": NAMESPACE}),
    ],
    ids=["a provider that is saved anew", "labels in a file that cannot be read"],
)
def test_what_others_files_say_for_a_moment_ends_nothing(
    tmp_path: Path, files: dict[str, str], lost: str, given: dict[str, str]
) -> None:
    read(tmp_path, client=PUBLIC, **files)
    state = tmp_path / "state"
    made = Embedded(Options(tmp_path, state, None, Address("127.0.0.1", 0)), lambda *_: None, State(state))

    def served() -> list[str]:
        made.turn()
        assert made.worker.loader.snapshot
        return [client.uid for client in made.worker.loader.snapshot.clients.values()]

    try:
        before = served()
        assert len(before) == 1
        if lost == "provider":
            (tmp_path / "provider.yaml").unlink()
        else:
            (tmp_path / f"{lost}.yaml").write_text("{")
        during = served()
        assert during == ([] if lost == "provider" else before)
        for name, text in given.items():
            (tmp_path / f"{name}.yaml").write_text(text)
        assert served() == before
    finally:
        asyncio.run(made.worker.state.aclose())
        made.state.close()


def test_a_client_that_leaves_while_there_is_no_provider_comes_back_as_another(tmp_path: Path) -> None:
    read(tmp_path, client=PUBLIC)
    state = tmp_path / "state"
    made = Embedded(Options(tmp_path, state, None, Address("127.0.0.1", 0)), lambda *_: None, State(state))
    try:
        made.turn()
        assert made.worker.loader.snapshot
        (before,) = (client.uid for client in made.worker.loader.snapshot.clients.values())
        for name in ("provider", "client"):
            (tmp_path / f"{name}.yaml").unlink()
            made.turn()
        read(tmp_path, client=PUBLIC)
        made.turn()
        (after,) = (client.uid for client in made.worker.loader.snapshot.clients.values())
        assert before != after
    finally:
        asyncio.run(made.worker.state.aclose())
        made.state.close()
