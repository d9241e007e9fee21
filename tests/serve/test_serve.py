"""`tailseal serve` as a program: the quickstart's folder, a foreign issuer, and a person who edits files."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

import jwt
import pytest

from fakes.pages import blocks, shown
from tailseal_dev import quickstart
from tailseal_dev.issuer import Issuer
from tailseal_dev.ports import free_ports
from tailseal_dev.process import start, stop
from tailseal_dev.quickstart import __main__ as story
from tailseal_dev.quickstart.client import Answer, Caller

PROGRAM = str(Path(sys.executable).with_name("tailseal"))
ROOT = Path(quickstart.__file__).parents[3]
LOOK = "What it looks like"


class Served:
    """A folder, the program that serves it, and a caller with a job's token."""

    def __init__(self, folder: Path, issuer: Issuer) -> None:
        self.folder, self.issuer = folder, issuer
        self.base = f"http://127.0.0.1:{free_ports(1)[0]}"
        self.caller, self.log = Caller(self.base), folder / ".log"

    def place(self, *names: str) -> None:
        for name in names:
            story.place(name, self.folder, self.base, self.issuer.url)

    @contextmanager
    def running(self) -> Iterator[None]:
        program = start([PROGRAM, "serve", str(self.folder)], self.log)
        try:
            self.until(lambda answer: answer.status > 0)
            yield
        finally:
            assert stop(program, grace=60) == 0, self.log.read_text()

    def until(self, wanted: Callable[[Answer], bool]) -> Answer:
        return self.caller.wait(self.issuer.token(self.base), wanted)[0]

    def told(self, text: str) -> None:
        deadline = time.monotonic() + 180
        while text not in self.log.read_text():
            assert time.monotonic() < deadline, self.log.read_text()
            time.sleep(0.02)


@pytest.fixture
def served(tmp_path: Path) -> Iterator[Served]:
    with Issuer() as issuer:
        made = Served(tmp_path, issuer)
        made.place("signingkey.yaml", "identityprovider.yaml", "trustpolicy.yaml")
        yield made


def test_the_quickstarts_folder_exchanges_and_follows_its_files(served: Served) -> None:
    with served.running():
        answer = served.until(lambda answer: answer.granted)
        claims = served.caller.verified(answer.token, issuer=served.base, audience=story.AUDIENCE)
        assert claims["scope"] == "invoices.read"
        text = (served.folder / story.POLICY).read_text()
        (served.folder / story.POLICY).write_text(text.replace("exact", "exactly"))
        assert served.until(lambda answer: not answer.granted).reason == "UnknownIssuer"
        served.told("problem: trustpolicy.yaml: spec.from.oidc.subject.exactly: there is no such field")
        (served.folder / "identityprovider.yaml").write_text("")  # as who writes it anew leaves it for a moment
        served.told("problem: identityprovider.yaml: is empty")
        (served.folder / "identityprovider.yaml").write_text("x: [")
        served.told("problem: identityprovider.yaml: line 1")
        served.place("trustpolicy.yaml")  # the settings are the last good ones
        answer = served.until(lambda answer: answer.granted)
        (served.folder / "signingkey.yaml").write_text("x: [")
        served.told("problem: signingkey.yaml: line 1")
        again = served.until(lambda answer: answer.granted)
        assert jwt.get_unverified_header(again.token)["kid"] == jwt.get_unverified_header(answer.token)["kid"]


def test_keys_and_tokens_survive_a_restart(served: Served) -> None:
    with served.running():
        token = served.until(lambda answer: answer.granted).token
    with served.running():
        assert served.caller.verified(token, issuer=served.base, audience=story.AUDIENCE)
        again = served.until(lambda answer: answer.granted).token
    assert jwt.get_unverified_header(token) == jwt.get_unverified_header(again)


def test_no_token_or_key_is_printed(served: Served) -> None:
    with served.running():
        token = served.until(lambda answer: answer.granted).token
        subject = served.issuer.token(served.base)
        served.caller.exchange(subject, scope="invoices.write")
    printed = served.log.read_text()
    assert "ScopeNotGranted" in printed
    assert not [part for text in (token, subject) for part in text.split(".")[1:] if part[:30] in printed]
    assert "PRIVATE" not in printed


def run(*arguments: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run([PROGRAM, *arguments], capture_output=True, text=True, timeout=180, check=False)


def test_a_folder_with_nothing_to_serve_ends_with_the_problems_and_a_hint(tmp_path: Path) -> None:
    (tmp_path / "a.yaml").write_text("kind: IdentityProvider")
    done = run("serve", str(tmp_path))
    assert done.returncode == 1
    assert done.stdout == ""
    assert "problem: a.yaml: apiVersion: IdentityProvider needs tailseal.dev/v1alpha1" in done.stderr
    assert re.search(r"\n\nhint: an IdentityProvider", done.stderr)
    assert "Traceback" not in done.stderr


def test_a_damaged_state_ends_with_one_clear_line(served: Served) -> None:
    state = served.folder / ".tailseal"
    state.mkdir()
    (state / "issuer.json").write_text("{")
    done = run("serve", str(served.folder))
    assert done.returncode == 1
    assert "issuer.json is damaged" in done.stderr
    assert "Traceback" not in done.stderr


def test_a_port_in_use_is_code_3(served: Served) -> None:
    with served.running():
        done = run("serve", str(served.folder), "--state", str(served.folder / "other"))
    assert done.returncode == 3
    assert "cannot listen" in done.stderr


def test_a_state_in_use_is_code_3(served: Served) -> None:
    with served.running():
        done = run("serve", str(served.folder))
    assert done.returncode == 3
    assert "in use by another process" in done.stderr


def test_the_quickstart_tells_its_story() -> None:
    environment = os.environ | {"PYTHONPATH": str(ROOT / "dev")}
    done = subprocess.run(
        [sys.executable, "-m", "tailseal_dev.quickstart"],
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    for part in ("granted after", "NoPolicyMatches", "Measured"):
        assert part in done.stdout
    told = [_alike(line) for line in done.stdout.splitlines()]
    shown = [_alike(line) for block in blocks("README.md", LOOK, "(?:console|json)") for line in block.splitlines()]
    assert [line for line in shown if line not in told] == []


def _alike(line: str) -> str:
    """A line of the story without what differs from run to run."""
    line = re.sub(r"(?<=decision )\w+|(?<=127\.0\.0\.1:)\d+|(?<=rm )\S*/", "…", line.strip())
    return re.sub(r'("(?:kid|jti|iat|exp)"): ("[^"]+"|\d+)', r"\1: …", line).replace("rm …", "rm ")


@pytest.mark.skipif(not shutil.which("curl"), reason="the commands need curl")
def test_what_readme_types_by_curl_answers_as_readme_shows(served: Served) -> None:
    first, second = blocks("README.md", LOOK, "console")
    commands = [(text.replace("http://127.0.0.1:8080", served.base), output) for text, output in shown(first + second)]
    (served.folder / story.POLICY).unlink()
    exchange, answers = commands[0][0], [output for _, output in commands if output]

    def typed(command: str) -> str:
        script = f"TOKEN={served.issuer.token(served.base)}\n{exchange}\n{command}"
        return subprocess.run(["bash", "-c", script], capture_output=True, text=True, check=True).stdout

    with served.running():
        assert _alike(typed("exchange")) == _alike(answers[0])
        served.place(story.POLICY)
        token = served.until(lambda answer: answer.granted).token
        assert typed("exchange").count(".") == token.count(".")
        for command, output in commands[2:4]:
            assert _alike(typed(command)) == _alike(output)


@pytest.mark.parametrize("name", ["signingkey.yaml", "identityprovider.yaml", "trustpolicy.yaml"])
def test_an_example_is_short(name: str) -> None:
    lines = [line for line in (story.EXAMPLE / name).read_text().splitlines() if not line.startswith("#")]
    assert len(lines) < 10
