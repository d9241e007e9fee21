"""The same hundreds of requests to us and to npm oidc-provider: every difference is explained, or it is a fault."""

from __future__ import annotations

import json
import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from fakes import oidcexplained, oidcrequests, served
from fakes.oidcdifferences import Answer, Target
from fakes.oidcrequests import API, BYE, CODE, DEVICE, REDIRECT, SECRET, Sent
from tailseal_dev.cache.build import BuildError
from tailseal_dev.cache.npm import installed
from tailseal_dev.ports import free_ports

PAGE = Path(served.__file__).parents[2] / "docs" / "differences.md"
SCOPES = ["openid", "profile", "email", "groups", "offline_access"]
EVERY = [*CODE, "client_credentials", DEVICE]


def ours(base: str) -> list[dict[str, Any]]:
    """The clients as manifests."""
    usual: dict[str, Any] = {"redirectURIs": [REDIRECT], "scopes": SCOPES, "audiences": [API]}
    basic = {"authMethod": "client_secret_basic"}
    return [
        *served.provider(base, registration={"dynamic": "Enabled"}),
        *served.client("web", grantTypes=EVERY, postLogoutRedirectURIs=[BYE], **usual, **basic),
        *served.client("other", grantTypes=list(CODE), **usual, **basic),
        *served.client("poster", grantTypes=EVERY, authMethod="client_secret_post", **usual),
        *served.client("spa", type="Public", grantTypes=list(CODE), **usual),
        *served.client("machine", grantTypes=["client_credentials"], **basic),
    ]


def theirs() -> list[dict[str, Any]]:
    """The same clients as registrations."""
    usual: dict[str, Any] = {"redirect_uris": [REDIRECT], "response_types": ["code"], "client_secret": SECRET}
    return [
        {"client_id": "web", "grant_types": EVERY, "post_logout_redirect_uris": [BYE], **usual},
        {"client_id": "other", "grant_types": CODE, **usual},
        {"client_id": "poster", "grant_types": EVERY, "token_endpoint_auth_method": "client_secret_post", **usual},
        {
            "client_id": "spa",
            "grant_types": CODE,
            "token_endpoint_auth_method": "none",
            "redirect_uris": [REDIRECT],
            "response_types": ["code"],
        },
        {
            "client_id": "machine",
            "grant_types": ["client_credentials"],
            "client_secret": SECRET,
            "redirect_uris": [],
            "response_types": [],
        },
    ]


@contextmanager
def other(port: int) -> Iterator[None]:
    """npm oidc-provider."""
    process = subprocess.Popen(
        ["node", "provider.mjs", str(port)],
        cwd=installed("oidc"),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        text=True,
    )
    try:
        assert process.stdin
        assert process.stdout
        process.stdin.write(json.dumps({"clients": theirs(), "resources": [API]}))
        process.stdin.close()
        process.stdin = None
        while "ready" not in (line := process.stdout.readline()):
            assert line, "it ended"
        yield
    finally:
        process.kill()
        process.communicate()


def compare(folder: Path) -> list[tuple[Sent, Answer, Answer]]:
    """Every request, our answer, and theirs."""
    base, port = served.base_url(), free_ports(1)[0]
    with served.serving(folder, base, ours(base)), other(port):
        us, them = Target(base), Target(f"http://127.0.0.1:{port}")
        return [(sent, us.answer(sent), them.answer(sent)) for sent in oidcrequests.everything()]


def test_every_difference_has_a_reason_and_every_reason_a_difference(tmp_path: Path) -> None:
    try:
        lock = json.loads((installed("oidc") / "package-lock.json").read_text())
    except BuildError as error:
        pytest.skip(f"npm's provider is not here: {error}")
    version = lock["packages"]["node_modules/oidc-provider"]["version"]
    page, wrong = oidcexplained.explained(compare(tmp_path), version)
    assert not wrong, "\n".join(wrong)
    if os.environ.get("TAILSEAL_WRITE_DIFFERENCES"):
        PAGE.write_text(page)
    assert PAGE.read_text() == page
