"""Sends the same requests to two OpenID providers, and says how their answers differ."""

from __future__ import annotations

import itertools
import json
import re
import ssl
from collections.abc import Mapping
from html import unescape
from types import MappingProxyType
from typing import Any, Final, NamedTuple
from urllib.parse import parse_qsl, urlencode, urljoin, urlsplit

import httpx

from fakes.oidcrequests import REDIRECT, VERIFIER, WEB, Sent, _authorization

_NO_CERTIFICATES: Final = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)


class Answer(NamedTuple):
    """What matters of an answer.

    Args:
        status: of the answer; of a question to the person always 200.
        what: an error code, `ok`, `asks`, or where a browser is sent.
    """

    status: int
    what: str

    def __str__(self) -> str:
        return f"{self.status} {self.what}"


class Target:
    """A provider; each request to register comes from another of its callers, for nobody may register many.

    Args:
        base: its issuer.
    """

    def __init__(self, base: str) -> None:
        self.base = base
        self._callers = itertools.cycle(f"100.64.0.{number}" for number in range(1, 9))

    def answer(self, sent: Sent) -> Answer:
        """What it answers, to somebody who is not logged in there."""
        needs = str(sent.fields) + str(sent.headers)
        known = self._fresh() if any(f"{{{name}}}" in needs for name in ("code", "access", "refresh", "id")) else {}
        if "{code}" in needs:
            with _client(self.base) as client:
                known["code"] = self._code(client)
        headers = {"x-forwarded-for": next(self._callers)} if sent.path == "/register" else {}
        with _client(self.base, headers) as client:
            found = self._send(client, sent, known)
            if sent.twice:
                found = self._send(client, sent, known)
            if found.headers.get("location", "").startswith(f"{self.base}{sent.path}?"):  # the same by GET
                found = client.get(found.headers["location"])
            return self._judged(found)

    def _send(self, client: httpx.Client, sent: Sent, known: Mapping[str, str]) -> httpx.Response:
        fields = urlencode([(name, _filled(value, known)) for name, value in sent.fields])
        headers = {name: _filled(value, known) for name, value in sent.headers.items()}
        has_body = sent.method in {"POST", "PUT"}
        content: Any = None
        if sent.body is not None:
            content = sent.body if isinstance(sent.body, bytes) else json.dumps(sent.body)
        elif has_body and (sent.fields or "authorization" not in headers):
            content = fields
            headers = {"content-type": "application/x-www-form-urlencoded", **headers}
        url = sent.path if has_body or not fields else f"{sent.path}?{fields}"
        return client.request(sent.method, url, content=content, headers=headers, auth=sent.auth)

    def _fresh(self) -> dict[str, str]:
        """Tokens of client `web`."""
        with _client(self.base) as client:
            data = {
                "grant_type": "authorization_code",
                "code": self._code(client),
                "redirect_uri": REDIRECT,
                "code_verifier": VERIFIER,
            }
            given = client.post("/token", data=data, auth=WEB).json()
        return {"access": given["access_token"], "refresh": given["refresh_token"], "id": given["id_token"]}

    def _code(self, client: httpx.Client) -> str:
        asked = _authorization(scope="openid email offline_access", prompt="consent")
        answer = client.get(f"/authorize?{urlencode(asked)}")
        for _ in range(10):
            location = answer.headers.get("location", "")
            if location.startswith(REDIRECT):
                return str(dict(parse_qsl(urlsplit(location).query))["code"])
            answer = client.get(urljoin(self.base, location)) if location else _pressed(client, answer)
        raise AssertionError(answer.text)

    def _judged(self, answer: httpx.Response) -> Answer:
        location = answer.headers.get("location", "")
        if location.startswith(("https://app.example", "https://evil.example", "javascript", "relative")):
            return Answer(answer.status_code, f"to {_sent_on(location)}")
        if "/interaction/" in location:
            return Answer(200, "asks")
        if location:
            return Answer(answer.status_code, f"on to {urlsplit(location).path}")
        return Answer(answer.status_code, _said(answer))


def _client(base: str, headers: Mapping[str, str] = MappingProxyType({})) -> httpx.Client:
    """Without the system's certificates, whose loading takes longer than a request."""
    return httpx.Client(base_url=base, headers=headers, verify=_NO_CERTIFICATES)


def _said(answer: httpx.Response) -> str:
    kind = answer.headers.get("content-type", "")
    if "json" in kind and answer.content:
        document = answer.json()
        if isinstance(document, dict) and document.get("active") is False:
            return "inactive"
        return str(document["error"]) if isinstance(document, dict) and "error" in document else "ok"
    if answer.is_success and "<form" in answer.text and "app.example" in _action(answer):
        fields = dict(re.findall(r'name="(\w+)"\s+value="([^"]*)"', answer.text))
        return f"form to {_sent_on(_action(answer) + '?' + urlencode(fields))}"
    if answer.is_success and "<form" in answer.text:
        return "asks"
    code = re.search(r"<code>(\w+)</code>", answer.text)
    return code[1] if code and not answer.is_success else "ok" if answer.is_success else "nothing"


def _action(answer: httpx.Response) -> str:
    found = re.search(r'<form[^>]* action="([^"]*)"', answer.text)
    return unescape(found[1]) if found else ""


def _sent_on(location: str) -> str:
    parts = urlsplit(location)
    sent = dict(parse_qsl(parts.query)) | dict(parse_qsl(parts.fragment))
    what = f"error={sent['error']}" if "error" in sent else "code" if "code" in sent else "nothing else"
    state = "" if "state" in sent else ", no state"
    return f"{parts.path}{'#' if parts.fragment else ''} {what}{state}"


def _pressed(client: httpx.Client, page: httpx.Response) -> httpx.Response:
    fields = re.findall(r'<input type="hidden"[^>]*name="([^"]*)" value="([^"]*)"', page.text)
    data = {name: unescape(value) for name, value in fields} | {"answer": "yes"}
    return client.post(_action(page), data=data)


def _filled(value: str, known: Mapping[str, str]) -> str:
    for name, token in known.items():
        value = value.replace(f"{{{name}}}", token)
    return value
