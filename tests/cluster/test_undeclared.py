"""What is left of a status that older CRDs do not declare as a whole."""

from __future__ import annotations

import pytest

from tailseal.cluster.undeclared import declared

OBJ = {"kind": "SigningKey", "status": {"a": 1, "keys": [{"keyID": "k", "state": "x"}, {"keyID": "l", "state": "x"}]}}
SAID = "500 : failed to create typed patch object (ns/corp; tailseal.dev/v1alpha1, Kind=SigningKey): "
LACKS = "field not declared in schema"


@pytest.mark.parametrize(
    ("refusal", "status"),
    [
        (f".status.a: {LACKS}", {"keys": OBJ["status"]["keys"]}),  # type: ignore[index]
        (f'.status.keys[keyID="k"].state: {LACKS}', {"a": 1, "keys": [{"keyID": "k"}, {"keyID": "l"}]}),
        (f"errors:\n  .status.a: {LACKS}\n  .status.keys: {LACKS}", {}),
        (f".status.other: {LACKS}", OBJ["status"]),
        (f".spec.a: {LACKS}", OBJ["status"]),
        (f".status: {LACKS}", OBJ["status"]),
        ("etcdserver: request timed out", OBJ["status"]),
    ],
)
def test_what_the_server_does_not_know_goes_and_nothing_else(refusal: str, status: object) -> None:
    assert declared(OBJ, SAID + refusal) == {"kind": "SigningKey", "status": status}
