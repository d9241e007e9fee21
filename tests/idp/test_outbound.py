"""What a running worker fetches and sends over HTTPS by its guarded client: news of logouts, documents, keys."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest
from joserfc import jwt
from joserfc.jwk import KeySet

from fakes import oauthclients, secured
from fakes.secured import Application
from fakes.worker import until
from tailseal.oauth import logout

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
