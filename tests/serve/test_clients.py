"""OAuthClients in a folder: judged as in a cluster, and served with the secrets that they bring."""

from __future__ import annotations

from pathlib import Path

import pytest

from serve.test_household import KEY, PROVIDER, SECRET
from tailseal.domain.clients.secrets import digest
from tailseal.workers.embedded import manifests
from tailseal.workers.embedded.household import Household, Reader

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
    (found,) = household.clients
    assert [secret.digest for secret in found.secrets] == [digest("oauthclient.default.grafana", BROUGHT)]
    assert BROUGHT not in str(found)


def test_a_public_client_needs_none(tmp_path: Path) -> None:
    assert len(read(tmp_path, client=f"{CLIENT}  type: Public\n").clients) == 1


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
    assert household.clients == ()
    (found,) = household.problems
    assert str(found).startswith(problem)
    assert "canary" not in str(found)


def test_of_two_with_one_client_id_the_first_counts(tmp_path: Path) -> None:
    public = f"{CLIENT}  type: Public\n  clientID: grafana\n"
    household = read(tmp_path, a=public, b=public.replace("name: grafana", "name: other"))
    assert [client.name for client in household.clients] == ["grafana"]
    (found,) = household.problems
    assert "OAuthClient default/grafana has it already" in str(found)
