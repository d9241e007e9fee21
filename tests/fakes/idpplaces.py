"""The identity provider's endpoints and the form of their refusals, for tests that go through all of them."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Final

import httpx

FORM: Final = "application/x-www-form-urlencoded"


@dataclass(frozen=True)
class Place:
    """An endpoint.

    Args:
        methods: that it answers to.
        reads: content type of its body.
        page: whether its refusals are pages.
        cors: whether scripts of any origin may read it.
        funnel: whether the public internet may call it.
    """

    methods: str = "POST"
    reads: str = FORM
    page: bool = False
    cors: bool = False
    funnel: bool = False


PLACES: Final = {
    "/token": Place(cors=True, funnel=True),
    "/userinfo": Place("GET POST", cors=True, funnel=True),
    "/authorize": Place("GET POST", page=True),
    "/authorize/confirm": Place(page=True),
    "/introspect": Place(funnel=True),
    "/revoke": Place(cors=True, funnel=True),
    "/par": Place(cors=True),
    "/device_authorization": Place(cors=True),
    "/device": Place("GET POST", page=True),
    "/register": Place(reads="application/json"),
    "/register/x": Place("GET PUT DELETE", reads="application/json"),
    "/clients/": Place("GET HEAD"),
    "/logout": Place("GET POST", page=True),
    "/logout/confirm": Place(page=True),
    "/access/end": Place(page=True),
    "/": Place("GET HEAD", page=True),
}


def check(answer: httpx.Response, status: int, place: Place, error: str = "invalid_request") -> None:
    """A refusal in the form that is right there, whatever was accepted."""
    assert answer.status_code == status, answer.text
    assert answer.headers["cache-control"] == "no-store"
    if place.page:
        assert answer.headers["content-type"] == "text/html; charset=utf-8"
        assert f"<code>{error}</code>" in answer.text
    else:
        assert answer.headers["content-type"] == "application/json"
        assert answer.json()["error"] == error
        assert set(answer.json()) == {"error", "error_description", "tailseal_reason", "decision_id"}
    for internal in ("Traceback", "tailseal.", ".py", "Exception"):
        assert internal not in answer.text
    assert ("access-control-allow-origin" in answer.headers) == place.cors
