"""What docs/providers.md tells people to write and to run: the policies compile, and the commands get tokens."""

from __future__ import annotations

import json
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

from fakes import jobs, trust
from fakes.exchange import OURS, SETTINGS, Bench, Keys, call, foreign_set, token
from tailseal.domain.bundle.model import PolicyRecord
from tailseal.domain.policy.compile import compile_policy

PAGE = (Path(__file__).parents[2] / "docs" / "providers.md").read_text()
MANIFESTS = re.findall(r"```yaml\n(.*?)```", PAGE, re.DOTALL)
COMMANDS = re.findall(r"```sh\n(.*?)```", PAGE, re.DOTALL)
TOKENS = (jobs.github(), jobs.gitlab(), jobs.kubernetes())
STS = "https://sts.corp.example"
MOUNTED = "/var/run/secrets/tokens/sts"


def record(manifest: dict[str, Any]) -> PolicyRecord:
    return PolicyRecord(**manifest["metadata"], uid="u", generation=1, spec=manifest["spec"])


class Endpoint(HTTPServer):
    """The token endpoint over plain HTTP, and GitHub's place to get a token of the job."""

    def __init__(self, bench: Bench, subject: str) -> None:
        super().__init__(("127.0.0.1", 0), _Handler)
        self.bench, self.subject = bench, subject

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}"


class _Handler(BaseHTTPRequestHandler):
    server: Endpoint

    def do_GET(self) -> None:
        asked = self.path == f"/job?api-version=2&audience={STS}" and self.headers["Authorization"] == "Bearer secret"
        self._answer(200 if asked else 401, json.dumps({"value": self.server.subject}).encode())

    def do_POST(self) -> None:
        body = self.rfile.read(int(self.headers["Content-Length"]))
        request = call(body, content_type=self.headers["Content-Type"], accept=self.headers["Accept"])
        response = self.server.bench.step(request).response
        self._answer(response.status, response.body)

    def _answer(self, status: int, body: bytes) -> None:
        self.send_response(status)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_: object) -> None:
        """Nothing: a test's output is its own."""


@pytest.fixture(params=range(3), ids=["github", "gitlab", "pod"])
def section(request: pytest.FixtureRequest) -> Iterator[tuple[Endpoint, str]]:
    """A section's policy behind an endpoint, and the section's command."""
    manifest, claims = yaml.safe_load(MANIFESTS[request.param]), TOKENS[request.param]
    settings = SETTINGS.model_copy(update={"bounds": (trust.ANYTHING,), "subject_audiences": (OURS, STS)})
    bench = Bench(record(manifest), settings=settings)
    bench.keys = Keys(dict.fromkeys(bench.index.issuers(claims["iss"]), foreign_set()))
    with Endpoint(bench, token(claims)) as endpoint:
        thread = threading.Thread(target=endpoint.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield endpoint, COMMANDS[request.param]
        endpoint.shutdown()
        thread.join()


@pytest.mark.skipif(not (shutil.which("curl") and shutil.which("jq")), reason="the commands need curl and jq")
def test_each_command_prints_the_bare_token(section: tuple[Endpoint, str], tmp_path: Path) -> None:
    endpoint, command = section
    mounted = tmp_path / "sts"
    mounted.write_text(endpoint.subject)
    line = command.replace(f"{STS}/token", f"{endpoint.url}/token").replace(MOUNTED, str(mounted))
    environment = {
        "PATH": "/usr/local/bin:/usr/bin:/bin",
        "STS_TOKEN": endpoint.subject,
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "secret",
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{endpoint.url}/job?api-version=2",
    }
    told = subprocess.run(["/bin/sh", "-c", line], env=environment, capture_output=True, text=True, check=False)
    assert (told.returncode, told.stdout.count("."), told.stderr) == (0, 2, ""), told.stdout


@pytest.mark.parametrize("manifest", MANIFESTS, ids=["github", "gitlab", "pod"])
def test_each_policy_is_short_and_accepted(manifest: str) -> None:
    assert len(manifest.splitlines()) < 15
    compile_policy(record(yaml.safe_load(manifest)), trust.SETTINGS)


@pytest.mark.parametrize(("member", "block"), re.findall(r"\| `(\w+)` \| `(\{.*?\})` \|", PAGE))
def test_each_heart_of_a_policy_is_accepted(member: str, block: str) -> None:
    whole = (
        block.replace("0184990a-…", jobs.buildkite()["organization_id"])
        .replace("0f5a1c2e-…", jobs.CIRCLE_ORG)
        .replace("…", "x")
    )
    compile_policy(trust.record(trust.spec() | {"from": {member: yaml.safe_load(whole)}}), trust.SETTINGS)
