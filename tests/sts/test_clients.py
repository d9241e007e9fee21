"""A client may prove that an exchange is its own: then the token says so, and a proof that does not hold is refused."""

from __future__ import annotations

import base64
from collections.abc import Sequence
from dataclasses import replace
from typing import Any

import httpx
import jwt
import pytest

from fakes.exchange import FOREIGN, FORM, NOW, SETTINGS, ed_key, foreign_set, form
from fakes.oauthclients import ID, SECRET, client, jwks
from fakes.oauthclients import jwt as signed
from fakes.sts import House, post, snapshot
from tailseal.domain.policy.source import KeySource
from tailseal.tokens.keyset import KeySet, parse_jwks
from tailseal.tokens.request import GRANT_TYPE
from tailseal.tokens.verify import was_exchanged
from tailseal.workers.common.limits.exchange import Limits, Rate
from tailseal.workers.common.runtime import Runtime

EXCHANGING = {"grantTypes": [GRANT_TYPE], "redirectURIs": None}
BASIC = {"authorization": "Basic " + base64.b64encode(f"{ID}:{SECRET}".encode()).decode()}
POSTED = {"client_id": ID, "client_secret": SECRET}


class Marks:
    """Remembers what was claimed."""

    def __init__(self) -> None:
        self.taken: set[bytes] = set()

    async def claim(self, marks: Sequence[tuple[bytes, float]]) -> bool:
        digests = {digest for digest, _ in marks}
        free = self.taken.isdisjoint(digests)
        self.taken |= digests
        return free


class Remembering(House):
    """A house with a store."""

    def __init__(self) -> None:
        super().__init__()
        self.marks = Marks()

    def runtime(self) -> Runtime:
        self.made = replace(super().runtime(), once=self.marks)
        return self.made


def house(**spec: Any) -> House:  # noqa: ANN401 - as manifests have it
    made = Remembering()
    made.current = replace(snapshot(), clients={ID: client(**(EXCHANGING | spec))})
    return made


async def answer(place: House, headers: dict[str, str] | None = None, **fields: object) -> httpx.Response:
    async with place.client() as caller:
        return await caller.post("/token", content=form(**fields), headers={"content-type": FORM} | (headers or {}))


def said(answered: httpx.Response) -> dict[str, Any]:
    assert answered.status_code == 200, answered.text
    return dict(jwt.decode(answered.json()["access_token"], options={"verify_signature": False}))


@pytest.mark.parametrize(("headers", "fields"), [(BASIC, {}), ({}, POSTED)], ids=["basic", "post"])
async def test_a_token_says_which_client_it_was_given_to_and_still_by_which_policy(
    headers: dict[str, str], fields: dict[str, str]
) -> None:
    place = house()
    minted = said(await answer(place, headers, **fields))
    assert (minted["client_id"], minted["policy"], minted["sub"]) == (ID, "identity/ci", "policy:identity/ci")
    assert was_exchanged(minted)
    assert place.audit.lines[0]["client"] == ID
    assert SECRET not in str(place.audit.events)


async def test_nobody_has_to_be_a_client_and_a_name_alone_proves_none() -> None:
    for fields in ({}, {"client_id": ID}):
        minted = said(await answer(house(), **fields))
        assert minted["client_id"] == "policy:identity/ci"
        assert "policy" not in minted


@pytest.mark.parametrize(
    ("headers", "fields"),
    [
        ({}, POSTED | {"client_secret": "f" * 32}),
        ({}, POSTED | {"client_id": "nobody"}),
        ({"authorization": BASIC["authorization"][:-6] + "AAAA=="}, {}),
        ({"authorization": "Bearer x"}, {}),
        ({}, {"client_secret": SECRET}),
        ({}, {"client_assertion": "x.y.z"}),
    ],
)
async def test_a_proof_that_does_not_hold_is_refused_though_the_token_would_be_granted(
    headers: dict[str, str], fields: dict[str, str]
) -> None:
    place = house()
    answered = await answer(place, headers, **fields)
    assert answered.status_code in {400, 401}
    assert answered.json()["error"] in {"invalid_client", "invalid_request"}
    assert place.audit.lines[0]["result"] == "refused"
    assert "client" not in place.audit.lines[0]
    assert "subject" not in place.audit.lines[0]


async def test_a_client_proves_itself_in_one_way_and_only_for_what_it_is_registered_for() -> None:
    both = await answer(house(), BASIC, client_secret=SECRET)
    assert (both.status_code, both.json()["error"]) == (400, "invalid_request")
    other = await answer(house(grantTypes=None, redirectURIs=["https://app.example/cb"]), BASIC)
    assert (other.status_code, other.json()["error"]) == (400, "unauthorized_client")
    assert other.json()["tailseal_reason"] == "GrantTypeNotRegistered"


async def test_an_assertion_for_the_token_endpoint_counts_once() -> None:
    key = ed_key("client")
    place = house(authMethod="private_key_jwt", jwks=jwks(key))
    theirs = parse_jwks(jwks(key))

    async def keys(source: KeySource) -> KeySet:
        return foreign_set() if source.issuer == FOREIGN else theirs

    place.fetch = keys
    claims = {"iss": ID, "sub": ID, "aud": SETTINGS.token_endpoint, "iat": int(NOW), "exp": int(NOW) + 60, "jti": "a1"}
    proof = {
        "client_assertion_type": "urn:ietf:params:oauth:client-assertion-type:jwt-bearer",
        "client_assertion": signed(key, {"kid": "k1", "typ": "JWT"}, claims),
    }
    assert said(await answer(place, **proof))["client_id"] == ID
    again = await answer(place, **proof)
    assert (again.status_code, again.json()["error"]) == (401, "invalid_client")


async def test_who_guesses_secrets_is_soon_told_to_wait() -> None:
    place = house()
    place.limits = Limits(lambda: place.now, source=Rate(1, 3, 16))
    async with place.client() as caller:
        wrong = form(client_id=ID, client_secret="f" * 32)
        statuses = [(await post(caller, wrong)).status_code for _ in range(5)]
    assert statuses == [401, 401, 401, 429, 429]


async def test_the_metadata_name_what_clients_can_do_where_there_are_any_that_exchange() -> None:
    found = {}
    for name, place in (("some", house()), ("none", House())):
        async with place.client() as caller:
            found[name] = (await caller.get("/.well-known/oauth-authorization-server")).json()
    assert found["none"]["token_endpoint_auth_methods_supported"] == ["none"]
    assert found["some"]["token_endpoint_auth_methods_supported"] == [
        *("none", "client_secret_basic", "client_secret_post", "private_key_jwt")
    ]
    assert "ES256" in found["some"]["token_endpoint_auth_signing_alg_values_supported"]
