"""docs/clients.md: what it shows is accepted, and what its table says is what the code does."""

from __future__ import annotations

import re
from pathlib import Path

import yaml

from tailseal.api.base import to_alias
from tailseal.api.oauthclient import OAuthClientSpec
from tailseal.domain.clients.credentials import FILES
from tailseal.domain.policy.review.lint import lint

PAGE = (Path(__file__).parents[2] / "docs" / "clients.md").read_text()
BLOCKS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
CLIENT, BOUNDS = map(yaml.safe_load, BLOCKS)


def test_the_page_s_client_is_within_the_page_s_bounds_and_below_ten_lines() -> None:
    spec = {"issuer": "https://idp.corp.example", "signingKeys": [{"name": "corp"}]} | BOUNDS
    provider = {"kind": "IdentityProvider", "metadata": {"name": "corp", "namespace": "identity"}, "spec": spec}
    assert lint([CLIENT], [provider], now=0.0) == ()
    assert len(BLOCKS[0].splitlines()) < 10


def test_every_field_is_in_the_table() -> None:
    rows = set(re.findall(r"^\| `(\w+)` \|", PAGE, re.MULTILINE))
    fields = {to_alias(name) for name in OAuthClientSpec.model_fields}
    assert fields - rows == {"identityProviderRef", "secretName", "jwks", "jwksURI"}
    assert rows <= fields


def test_the_keys_of_the_secret_are_those_that_the_page_names() -> None:
    named = re.search(r"with `(client_id [^`]*)`", PAGE)
    assert named
    assert set(named[1].split()) == FILES
