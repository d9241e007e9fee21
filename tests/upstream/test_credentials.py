"""Which files of the volume `credentials` an upstream needs, and what is said where its Secret lacks them."""

from __future__ import annotations

import base64
from typing import Any

import pytest

from tailseal.api.identityprovider import IdentityProviderSpec
from tailseal.api.reasons import Reason
from tailseal.cluster import kinds
from tailseal.cluster.port import Ref
from tailseal.reconcile.identityprovider.refs import credentials

SPEC = IdentityProviderSpec.model_validate(
    {
        "issuer": "https://idp.example",
        "signingKeys": [{"name": "k"}],
        "upstreams": [
            {"name": "fed", "tailscale": {"workloadIdentity": {"clientID": "c", "scopes": ["dns"]}}},
            {"name": "hs", "headscale": {"apiURL": "https://hs.example", "apiKeySecretRef": {"name": "s"}}},
        ],
    }
)


class Objects(dict[Ref, dict[str, Any]]):
    """A store of Secrets."""

    def bring(self, name: str, **data: bytes) -> None:
        self[Ref(kinds.SECRET, "identity", name)] = {
            "metadata": {"labels": {"tailseal.dev/allow": "true"}},
            "data": {key: base64.b64encode(value).decode() for key, value in data.items()},
        }


def test_headscale_needs_its_key_and_a_workload_identity_nothing() -> None:
    objects = Objects()
    objects.bring("s", api_key=b"hskey\n", other=b"x")
    found = credentials(objects, "identity", "corp", SPEC)  # type: ignore[arg-type]
    assert (dict(found.files), found.problems) == ({"hs.api_key": b"hskey"}, ())


@pytest.mark.parametrize(
    ("data", "reason"), [(None, Reason.REF_NOT_FOUND), ({"key": b"x"}, Reason.REF_INVALID), ({}, Reason.REF_INVALID)]
)
def test_a_secret_that_does_not_serve_is_said_with_its_place(data: dict[str, bytes] | None, reason: Reason) -> None:
    objects = Objects()
    if data is not None:
        objects.bring("s", **data)
    found = credentials(objects, "identity", "corp", SPEC)  # type: ignore[arg-type]
    assert found.files == {}
    (problem,) = found.problems
    assert (problem.path, problem.reason) == ("spec.upstreams[1].headscale.apiKeySecretRef", reason)


def test_the_last_good_key_is_kept() -> None:
    objects = Objects()
    objects.bring("corp-credentials", **{"hs.api_key": b"old"})
    assert credentials(objects, "identity", "corp", SPEC).files == {"hs.api_key": b"old"}  # type: ignore[arg-type]
