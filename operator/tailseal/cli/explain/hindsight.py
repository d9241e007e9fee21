"""Asks the replica beside us about a decision of its, and says what it answers."""

from __future__ import annotations

import json
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from tailseal.api.times import format_time
from tailseal.cli.errors import FAILED, UNREACHABLE, Failure
from tailseal.cli.explain.output import account_lines
from tailseal.cli.output import printable
from tailseal.domain.policy.explaining import retold

_SECONDS: Final = 15.0
_LARGEST: Final = 16 * 1024 * 1024


def ask(path: Path, decision: str, namespace: str | None) -> dict[str, Any]:
    """The replica's answer.

    Args:
        path: of its socket.
        decision: id that the caller was told.
        namespace: policies of this one only.

    Raises:
        Failure: nobody answers, or the decision is not known.
    """
    question = json.dumps({"decision": decision, "namespace": namespace}).encode() + b"\n"
    try:
        with socket.socket(socket.AF_UNIX) as connection:
            connection.settimeout(_SECONDS)
            connection.connect(str(path))
            connection.sendall(question)
            answer = _read(connection)
    except OSError as error:
        text = f"{path}: {error.strerror or 'no answer'}"
        hint = "run this inside the replica, e.g. by kubectl exec; --socket names another place"
        raise Failure(text, hint=hint, exit_code=UNREACHABLE) from None
    try:
        document: dict[str, Any] = json.loads(answer)
    except ValueError:
        raise Failure(f"{path}: the answer is not complete", exit_code=UNREACHABLE) from None
    if "error" in document:
        hint = "each replica keeps its own last decisions: ask the others as well; the audit log has all"
        raise Failure(str(document["error"]), hint=hint, exit_code=FAILED)
    return document


def _read(connection: socket.socket) -> bytes:
    content = bytearray()
    while len(content) <= _LARGEST and (more := connection.recv(65_536)):
        content += more
    return bytes(content)


def text(document: dict[str, Any]) -> str:
    """For people: the decision as it was, then each policy as it is now."""
    return "\n".join(map(printable, _lines(document)))


def _lines(document: dict[str, Any]) -> Iterator[str]:
    recorded = document["decision"]
    granted = recorded.get("result") == "granted"
    yield (
        f"GRANTED by {recorded.get('policy')}, grant {recorded.get('grant')}"
        if granted
        else f"REFUSED: {recorded.get('reason')}"
    )
    yield ""
    for name, value in recorded.items():
        yield f"{name:<11} {format_time(value) if name == 'time' else _plain(value)}"
    for name, value in document["request"].items():
        yield f"asked for   {name} {_plain(value)}"
    yield f"signature   {document['signature']}"
    yield from _since(document, granted=granted)
    near = document["nearestMiss"]
    for entry in document["policies"]:
        account = retold.account(entry)
        yield ""
        yield from account_lines(account, near=account.policy == near)
    if document["policiesOmitted"]:
        yield ""
        yield f"{document['policiesOmitted']} policies more are left out: --namespace names those to look at"


def _since(document: dict[str, Any], *, granted: bool) -> Iterator[str]:
    generation = document["policyGeneration"]
    if generation and generation["now"] is None:
        yield "since then  the policy was withdrawn"
    elif generation and generation["then"] not in {None, generation["now"]}:
        yield f"since then  the policy changed: generation {generation['then']} then, {generation['now']} now"
    if document["policies"] and document["wouldNowGrant"] != granted:
        verdict = "grant" if document["wouldNowGrant"] else "refuse"
        yield f"since then  the policies of now {verdict} what was asked for then"


def _plain(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list) else str(value)
