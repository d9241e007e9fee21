"""Asks a token service as any client would, and says in one sentence why there is no token."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Final
from urllib.parse import urlsplit

from tailseal.cli.errors import FAILED, UNREACHABLE, USAGE, Failure
from tailseal.cli.output import printable
from tailseal.egress.client import Egress
from tailseal.egress.errors import EgressError, EgressReason

OK: Final = 200
PATIENCE: Final = 30.0
"""Seconds for an answer: whoever waits for kubectl would rather wait than begin anew."""

_WRONG_URL: Final = frozenset({EgressReason.URL_REFUSED, EgressReason.ADDRESS_REFUSED})


def post(endpoint: str, fields: Mapping[str, str], authority: str) -> dict[str, Any]:
    """The JSON of a granted exchange.

    Args:
        endpoint: URL of the token endpoint; whoever names it may reach it, wherever it is.
        fields: the form.
        authority: PEM certificates to check it with; empty: the system's.
    """
    status, answer = ask(endpoint, fields, authority, "--token-endpoint")
    if status != OK:
        raise refused(status, answer)
    return answer


def ask(url: str, fields: Mapping[str, str] | None, authority: str, option: str) -> tuple[int, dict[str, Any]]:
    """Status and JSON of any answer, empty where there is nothing.

    Args:
        url: of an endpoint; whoever names it may reach it, wherever it is.
        fields: the form; None: nothing is sent, and a document asked for.
        authority: PEM certificates to check it with; empty: the system's.
        option: what the URL comes from.
    """
    try:
        status, body = asyncio.run(_send(url, fields, authority))
    except EgressError as error:
        code = USAGE if error.reason in _WRONG_URL else UNREACHABLE
        raise Failure(f"{option}: {error}", exit_code=code) from None
    try:
        answer = json.loads(body or b"{}")
    except (ValueError, RecursionError):
        answer = None
    if not isinstance(answer, dict):
        text = f"the token service answered with status {status} and no JSON"
        raise Failure(text, hint=f"is {option} right?", exit_code=UNREACHABLE)
    return status, answer


async def _send(endpoint: str, fields: Mapping[str, str] | None, authority: str) -> tuple[int, bytes]:
    client = Egress(open_hosts=[_host(endpoint)], patience=PATIENCE)
    try:
        if fields is None:
            answer = await client.get(endpoint, ca=authority)
        else:
            answer = await client.post_form(endpoint, fields, ca=authority)
    finally:
        await client.aclose()
    return answer.status, answer.body


def _host(endpoint: str) -> str:
    try:
        return urlsplit(endpoint).hostname or ""
    except ValueError:
        return ""


def refused(status: int, answer: Mapping[str, Any]) -> Failure:
    """Why there is no token, as the service says it."""
    said = {name: printable(str(answer.get(name, "")))[:200] for name in ("error_description", "tailseal_reason")}
    text = f"the token service refuses: {said['error_description'] or f'status {status}'}"
    if said["tailseal_reason"]:
        text += f" ({said['tailseal_reason']})"
    decision = printable(str(answer.get("decision_id", "")))[:64]
    hint = f"whoever owns the policy can explain decision {decision}" if decision else ""
    return Failure(text, hint=hint, exit_code=UNREACHABLE if status >= 500 else FAILED)  # noqa: PLR2004 - server errors
