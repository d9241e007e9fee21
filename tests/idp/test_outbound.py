"""What a running worker fetches and sends over HTTPS by its guarded client: news of logouts, documents, keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from fakes import exchange, idp, oauthclients, secured
from fakes.secured import Application
from fakes.worker import until
from tailseal.domain.bundle.model import Introductions
from tailseal.oauth import clientauth, logout
from tailseal.workers.common.outbound.keycache import REFETCH_INTERVAL

EVERYBODY = {"users": ["*@corp.example"]}


@pytest.fixture
def web(tmp_path: Path) -> Iterator[Application]:
    with secured.application(tmp_path) as made:
        yield made


# -------------------------------------------------------------------------------------------------------- logging out


async def test_an_application_is_told_of_a_logout_by_a_token_that_another_library_verifies(
    tmp_path: Path, web: Application
) -> None:
    client = oauthclients.record(allow=EVERYBODY, backchannelLogoutURI=f"{web.base}/told")
    async with secured.provider(tmp_path, web, client) as provider, secured.browser(provider) as ana:
        given = await ana.tokens()
        keys = KeySet.import_key_set((await ana.http.get("/.well-known/jwks.json")).json())
        answer = await ana.http.get("/logout", params={"id_token_hint": given["id_token"]})
        assert answer.status_code == 200
        await until(lambda: bool(web.told))
        identity = jwt.decode(given["id_token"], keys, algorithms=["RS256"]).claims
    ((media_type, sent),) = web.told
    assert (media_type, sent.keys()) == ("application/x-www-form-urlencoded", {"logout_token"})
    token = jwt.decode(sent["logout_token"], keys, algorithms=["RS256"])
    assert token.header["typ"] == "logout+jwt"
    told = token.claims
    assert {name: told[name] for name in ("iss", "aud", "sub", "sid")} == {
        name: identity[name] for name in ("iss", "aud", "sub", "sid")
    }
    assert told["events"] == {logout.EVENT: {}}
    assert told["iat"] <= provider.clock[0] < told["exp"]
    assert told["jti"]
    assert "nonce" not in told


# ------------------------------------------------------------------------------- clients whose id is a document's URL


async def test_a_client_is_known_by_a_document_that_is_fetched_once_and_people_log_in_to_it(
    tmp_path: Path, web: Application
) -> None:
    url = f"{web.base}/client.json"
    web.documents["/client.json"] = {
        "client_id": url,
        "client_name": "Known by its document",
        "redirect_uris": [idp.CALLBACK],
        "scope": "openid",
    }
    ways = Introductions(metadata_hosts=(secured.HOST,))
    async with secured.provider(tmp_path, web, introductions=ways) as provider:
        for name, subject in (("ana", "userid:1"), ("bob", "userid:2")):
            async with secured.browser(provider, name) as person:
                page = await person.http.get("/authorize", params=idp.authorization(client_id=url, nonce=name))
                assert "Known by its document" in page.text
                code = idp.parameters(await person.submit(page, answer="yes"))["code"]
                answer = await person.http.post("/token", data=idp.redemption(code) | {"client_id": url})
                assert answer.status_code == 200, answer.text
                keys = KeySet.import_key_set((await person.http.get("/.well-known/jwks.json")).json())
                claims = jwt.decode(answer.json()["id_token"], keys, algorithms=["RS256", "ES256"]).claims
                assert (claims["aud"], claims["sub"], claims["nonce"]) == (url, subject, name)
                bearer = {"authorization": f"Bearer {answer.json()['access_token']}"}
                assert (await person.http.get("/userinfo", headers=bearer)).json()["sub"] == subject
    assert web.asked == ["/client.json"]


async def test_no_document_of_another_host_is_fetched_or_counts_for_another_url(
    tmp_path: Path, web: Application
) -> None:
    web.documents["/copied.json"] = {"client_id": f"{web.base}/client.json", "redirect_uris": [idp.CALLBACK]}
    elsewhere = web.base.replace(secured.HOST, "127.0.0.1") + "/client.json"
    web.documents["/client.json"] = {"client_id": elsewhere, "redirect_uris": [idp.CALLBACK]}
    ways = Introductions(metadata_hosts=(secured.HOST,))
    async with (
        secured.provider(tmp_path, web, introductions=ways, open_hosts=("127.0.0.1", "localhost")) as provider,
        secured.browser(provider) as ana,
    ):
        for url, asked in ((elsewhere, []), (f"{web.base}/copied.json", ["/copied.json"])):
            answer = await ana.http.get("/authorize", params=idp.authorization(client_id=url))
            assert (answer.status_code, "location" in answer.headers) == (400, False)
            assert web.asked == asked


# --------------------------------------------------------------------------------------------------- keys of a client


async def test_a_client_proves_itself_by_keys_at_its_url_and_by_new_ones_once_they_are_there(
    tmp_path: Path, web: Application, monkeypatch: pytest.MonkeyPatch
) -> None:
    first, second = exchange.ed_key("first"), exchange.ed_key("second")
    web.documents["/keys"] = oauthclients.jwks(first, "k1")
    client = oauthclients.record(
        "robot",
        authMethod="private_key_jwt",
        jwksURI=f"{web.base}/keys",
        grantTypes=["client_credentials"],
        redirectURIs=None,
        audiences=["https://api.example"],
    )
    ticks = [0.0]
    async with secured.provider(tmp_path, web, client) as provider, secured.browser(provider) as robot:
        monkeypatch.setattr(provider.worker.runtime.keys, "_monotonic", lambda: ticks[0])
        sent = 0

        async def asks(key: Any, kid: str) -> tuple[int, str]:  # noqa: ANN401 - of any kind
            nonlocal sent
            sent += 1
            now = int(provider.clock[0])
            claims = {"iss": "robot", "sub": "robot", "aud": provider.issuer, "iat": now, "exp": now + 60}
            proof = oauthclients.jwt(key, {"kid": kid}, claims | {"jti": f"j{sent}"})
            form = {"client_assertion": proof, "client_assertion_type": clientauth.ASSERTION_TYPE}
            answer = await robot.http.post("/token", data={"grant_type": "client_credentials", **form})
            return answer.status_code, answer.json().get("error", "")

        assert await asks(first, "k1") == (200, "")
        assert await asks(first, "k1") == (200, "")
        assert await asks(second, "k1") == (401, "invalid_client")
        assert await asks(second, "k2") == (401, "invalid_client")
        assert web.asked == ["/keys"]
        web.documents["/keys"] = oauthclients.jwks(second, "k2")
        ticks[0] += REFETCH_INTERVAL
        assert await asks(second, "k2") == (200, "")
        assert await asks(first, "k1") == (401, "invalid_client")
        assert await asks(first, "k2") == (401, "invalid_client")
        assert web.asked == ["/keys", "/keys"]
