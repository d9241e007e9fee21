"""What docs/delegation.md tells people to write and to run: the policies compile, and the commands get tokens."""

from __future__ import annotations

import re
import shutil
import subprocess
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, HTTPServer
from pathlib import Path
from typing import Any

import pytest
import yaml
from joserfc import jwt as joserfc_jwt
from joserfc.jwk import import_key

from fakes.exchange import NOW, OURS, Bench, call, claims, ec_key, foreign_set, jwk, token
from tailseal.domain.bundle.model import PolicyRecord

PAGE = (Path(__file__).parents[2] / "docs" / "delegation.md").read_text()
MANIFESTS = [yaml.safe_load(text) for text in re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)]
COMMANDS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
STS = "https://sts.corp.example"
PUBLISHED = jwk(ec_key("ours"), "k1", "ES256")


def bench() -> Bench:
    records = [PolicyRecord(**entry["metadata"], uid="u", generation=1, spec=entry["spec"]) for entry in MANIFESTS]
    made = Bench(*records, published={"keys": [PUBLISHED]})
    for source in (
        *made.index.issuers("https://login.corp.example"),
        *made.index.actors("https://agents.corp.example"),
    ):
        made.keys.sets[source] = foreign_set()
    return made


class _Handler(BaseHTTPRequestHandler):
    bench: Bench

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = call(body, content_type=self.headers["Content-Type"], accept=self.headers["Accept"])
        response = self.bench.step(request).response
        self.send_response(response.status)
        self.end_headers()
        self.wfile.write(response.body)

    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def endpoint() -> Iterator[str]:
    server = HTTPServer(("127.0.0.1", 0), type("Handler", (_Handler,), {"bench": bench()}))
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    thread.join()
    server.server_close()


def party(issuer: str, subject: str) -> str:
    return token(claims(iss=issuer, sub=subject, repository_id=None))


def session() -> str:
    made = "policy:identity/ci"
    said = claims(
        iss=OURS, sub=made, client_id=made, aud="https://gateway.corp.example", exp=int(NOW) + 60, repository_id=None
    )
    return token(said, {"alg": "ES256", "kid": "k1", "typ": "at+jwt"}, ec_key("ours"), "ES256")


@pytest.mark.skipif(shutil.which("curl") is None, reason="the commands are curl's")
@pytest.mark.parametrize("number", range(len(COMMANDS)), ids=["gateway", "agent"])
def test_each_command_gets_the_token_that_the_page_speaks_of(number: int, endpoint: str, tmp_path: Path) -> None:
    (tmp_path / "received").write_text(session())
    (tmp_path / "user").write_text(party("https://login.corp.example", "user-1"))
    (tmp_path / "agent").write_text(party("https://agents.corp.example", "agent-7"))
    assert STS in COMMANDS[number]
    done = subprocess.run(
        ["sh", "-c", COMMANDS[number].replace(STS, endpoint)],
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    found: dict[str, Any] = joserfc_jwt.decode(done.stdout.strip(), import_key(PUBLISHED), algorithms=["ES256"]).claims
    if number == 0:
        assert (found["aud"], found["exp"]) == ("https://behind.corp.example", int(NOW) + 60)
    else:
        assert '"act": {"iss": "https://agents.corp.example", "sub": "agent-7"}' in PAGE
        assert found["act"] == {"iss": "https://agents.corp.example", "sub": "agent-7"}
