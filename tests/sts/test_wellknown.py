"""What relying parties fetch: cached as promised, conditional, open to browsers, in every form that clients ask for."""

from __future__ import annotations

import json
from dataclasses import replace

import pytest

from fakes.exchange import NOW, OURS, SETTINGS
from fakes.sts import PUBLISHED, House, snapshot
from tailseal.domain.bundle.model import Signing
from tailseal.tokens.algorithms import VERIFYING
from tailseal.tokens.request import GRANT_TYPE
from tailseal.workers.common.http.wellknown import cache_seconds

JWKS = "/.well-known/jwks.json"
OPENID = "/.well-known/openid-configuration"
OAUTH = "/.well-known/oauth-authorization-server"
TENANT = "https://idp.corp.example/tenant"


def signing(next_change: float | None, max_age: int = 300) -> Signing:
    model = Signing(issuer=OURS, jwks={"keys": []}, max_age=max_age, max_token_ttl=1, status_key="")
    return model.model_copy(update={"next_change": next_change})


@pytest.mark.parametrize(
    ("next_change", "max_age", "expected"),
    [
        (None, 300, 300),
        (NOW + 10_000, 300, 300),
        (NOW + 100.9, 300, 100),
        (NOW + 5, 300, 30),
        (NOW - 50, 300, 30),
        (NOW + 5, 10, 10),
        (NOW - 50, 10, 10),
        (None, 10, 10),
    ],
)
def test_caches_come_back_when_the_set_may_change(next_change: float | None, max_age: int, expected: int) -> None:
    assert cache_seconds(signing(next_change, max_age), NOW) == expected


async def test_the_key_set_is_served_as_it_stands_in_the_bundle() -> None:
    async with House().client() as client:
        answer = await client.get(JWKS)
        head = await client.head(JWKS)
    assert answer.json() == PUBLISHED
    assert answer.headers["content-type"] == "application/json"
    assert answer.headers["cache-control"] == "public, max-age=300"
    assert answer.headers["access-control-allow-origin"] == "*"
    assert answer.headers["vary"] == "Accept, Accept-Encoding"
    assert head.content == b""
    assert dict(head.headers) == dict(answer.headers)


async def test_who_asks_for_the_type_of_key_sets_gets_it() -> None:
    async with House().client() as client:
        answer = await client.get(JWKS, headers={"accept": "application/jwk-set+json"})
    assert answer.headers["content-type"] == "application/jwk-set+json"


@pytest.mark.parametrize("path", [JWKS, OPENID, OAUTH])
async def test_an_unchanged_document_is_not_sent_again(path: str) -> None:
    async with House().client() as client:
        etag = (await client.get(path)).headers["etag"]
        for condition in (etag, f'"other", {etag}', f"W/{etag}", "*"):
            answer = await client.get(path, headers={"if-none-match": condition})
            assert (answer.status_code, answer.content, answer.headers["etag"]) == (304, b"", etag)
            assert "content-length" not in answer.headers
        assert (await client.get(path, headers={"if-none-match": '"other"'})).status_code == 200
    assert not etag.startswith("W/")


@pytest.mark.parametrize(
    ("accepts", "packed"),
    [
        ("gzip", True),
        ("br, GZIP ;q=0.5", True),
        ("deflate;q=1.0, gzip;q=1", True),
        ("gzip;q=0", False),
        ("gzip; q=0.000", False),
        ("gzipped", False),
        ("identity", False),
        ("*", False),
        ("", False),
    ],
)
@pytest.mark.parametrize("path", [JWKS, OPENID])
async def test_who_takes_gzip_gets_it_under_an_etag_of_its_own(path: str, accepts: str, packed: bool) -> None:  # noqa: FBT001
    """A strong ETag names bytes (RFC 9110 section 8.8.1), and these are other ones."""
    async with House().client() as client:
        plain = await client.get(path, headers={"accept-encoding": "identity"})
        answer = await client.get(path, headers={"accept-encoding": accepts})
        head = await client.head(path, headers={"accept-encoding": accepts})
        again = await client.get(
            path, headers={"accept-encoding": accepts, "if-none-match": f'"other", {answer.headers["etag"]}'}
        )
    assert (answer.headers.get("content-encoding") == "gzip") == packed
    assert (answer.headers["etag"] != plain.headers["etag"]) == packed
    assert (int(answer.headers["content-length"]) < int(plain.headers["content-length"])) == packed
    assert answer.json() == plain.json()
    assert "content-encoding" not in plain.headers
    assert dict(head.headers) == dict(answer.headers)
    assert again.status_code == 304
    assert "Accept-Encoding" in again.headers["vary"]


async def test_a_changed_set_has_another_etag_and_is_served_at_once() -> None:
    house = House()
    async with house.client() as client:
        before = (await client.get(JWKS)).headers["etag"]
        assert house.current is not None
        changed = replace(house.current.signing, jwks=b'{"keys":[]}')
        house.current = replace(house.current, serial=2, signing=changed)
        answer = await client.get(JWKS, headers={"if-none-match": before})
    assert (answer.status_code, answer.content) == (200, b'{"keys":[]}')
    assert answer.headers["etag"] != before


async def test_the_metadata_say_only_what_is_implemented() -> None:
    async with House().client() as client:
        oauth = (await client.get(OAUTH)).json()
        openid = (await client.get(OPENID)).json()
    assert oauth == {
        "issuer": OURS,
        "token_endpoint": "https://sts.corp.example/token",
        "jwks_uri": OURS + JWKS,
        "grant_types_supported": [GRANT_TYPE],
        "token_endpoint_auth_methods_supported": ["none"],
        "dpop_signing_alg_values_supported": [*VERIFYING],
    }
    assert openid == oauth | {
        "response_types_supported": ["id_token"],
        "subject_types_supported": ["public"],
        "id_token_signing_alg_values_supported": ["ES256"],
    }
    assert not any(value == [] for value in openid.values())


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/tenant" + OPENID, 200),
        (OPENID + "/tenant", 200),
        (OAUTH + "/tenant", 200),
        ("/tenant" + JWKS, 200),
        (OPENID, 200),
        (JWKS, 200),
        ("/other" + OPENID, 404),
        (OAUTH + "/other", 404),
        (OAUTH + "/tenant/more", 404),
    ],
)
async def test_an_issuer_with_a_path_is_found_in_every_form(path: str, status: int) -> None:
    house = House()
    house.current = snapshot(SETTINGS.model_copy(update={"issuer": TENANT}))
    async with house.client() as client:
        answer = await client.get(path)
    assert answer.status_code == status
    if status == 200 and "keys" not in answer.json():
        assert answer.json()["issuer"] == TENANT
        assert answer.json()["jwks_uri"] == TENANT + JWKS


async def test_browsers_may_ask_first() -> None:
    async with House().client() as client:
        answer = await client.options(JWKS, headers={"origin": "https://app.example"})
    assert (answer.status_code, answer.content) == (204, b"")
    assert answer.headers["access-control-allow-methods"] == "GET, HEAD"


async def test_nothing_is_written_there() -> None:
    async with House().client() as client:
        assert (await client.post(JWKS)).status_code == 405


async def test_before_the_first_bundle_nothing_is_promised() -> None:
    house = House()
    house.current = None
    async with house.client() as client:
        answer = await client.get(JWKS)
    assert answer.status_code == 503
    assert answer.headers["cache-control"] == "no-store"
    assert json.loads(answer.content) == {"error": "temporarily_unavailable"}
