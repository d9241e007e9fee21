"""The command line: help costs nothing, errors say what, where and what would be right, exit codes can be relied on."""

from __future__ import annotations

import subprocess
import sys
from pathlib import Path

import click
import pytest
from click.testing import CliRunner

from fakes import processes
from tailseal.cli.errors import Failure
from tailseal.cli.main import COMMANDS, cli

HEAVY = ("kopf", "kubernetes", "httpx", "aiohttp")


def imported(*arguments: str) -> set[str]:
    """Which heavy packages a command's help imports."""
    program = (
        "import sys; from tailseal.cli.main import cli\n"
        f"try: cli({list(arguments)!r}, prog_name='tailseal')\n"
        "except SystemExit: pass\n"
        "print('\\nIMPORTED', *[name for name in sys.modules if '.' not in name])"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=180)
    return set(done.stdout.rpartition("IMPORTED")[2].split())


HELPS = ((), ("sts",), ("idp",), ("serve",), ("explain",), ("lint",), ("import",), ("import", "tailsts"))


@pytest.mark.parametrize("arguments", [(*command, "--help") for command in HELPS])
def test_help_imports_nothing_heavy(arguments: tuple[str, ...]) -> None:
    found = imported(*arguments)
    assert found.isdisjoint(HEAVY)
    assert found.isdisjoint({"uvicorn", "starlette", "pydantic", "prometheus_client"})


@pytest.mark.parametrize("module", ["sts.app", "idp.app", "common.worker", "embedded.process"])
def test_a_worker_starts_without_kubernetes_kopf_or_httpx(module: str) -> None:
    program = f"import sys, tailseal.workers.{module}; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True, timeout=180)
    assert set(done.stdout.split()).isdisjoint(HEAVY)


LATER = (
    "aiohttp",
    "asyncpg",
    "cel_expr_python",
    "click.testing",
    "cryptography.hazmat.primitives.serialization.pkcs12",
    "httpcore",
    "jinja2",
    "kopf",
    "kubernetes",
    "obstore",
    "pkcs11",
    "sqlite3",
    "tailseal.api.crd",
    "tailseal.api.identityprovider",
    "tailseal.api.oauthclient",
    "tailseal.api.signingkey",
    "tailseal.cluster",
    "tailseal.egress.client",
    "tailseal.reconcile",
    "tailseal.state.postgres",
    "tailseal.tokens.signers.pkcs11",
    "tailseal.workers.exchange.hindsight",
    "yaml",
)
"""What a worker imports when it is first needed, if ever: each costs every start of every replica."""


def test_a_worker_that_serves_has_imported_nothing_before_it_needs_it(tmp_path: Path) -> None:
    processes.bundle(tmp_path)
    program = (
        "import sys, time, pathlib\n"
        "from tailseal.workers.common.bundle.source import DirectorySource\n"
        "from tailseal.workers.common.worker import Worker\n"
        "from tailseal.workers.exchange import explaining\n"
        "from tailseal.workers.sts import app\n"
        "worker = Worker('sts', DirectorySource(pathlib.Path(sys.argv[1])), clock=time.time)\n"
        "worker.loader.refresh(); app.build(worker.runtime)\n"
        "assert worker.loader.snapshot.policies == 1; print(*sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", program, str(tmp_path)], capture_output=True, text=True, check=True, timeout=180
    )
    assert sorted(set(done.stdout.split()).intersection((*LATER, "httpx"))) == []


def test_every_command_is_listed_with_its_first_line() -> None:
    result = CliRunner().invoke(cli, ["--help"])
    assert result.exit_code == 0
    for name, entry in COMMANDS.items():
        assert name in result.output
        assert entry.help.split(".")[0][:40] in result.output
    assert "Exit codes" in result.output


@pytest.mark.parametrize(
    "arguments",
    [
        ["nonsense"],
        ["sts"],
        ["sts", "--bundle", ".", "--listen", "0.0.0.0:1", "--management", "127.0.0.1:0"],
        ["serve", "/no/such/folder"],
        ["serve", ".", "--log-level", "loud"],
    ],
)
def test_wrong_usage_is_code_2(arguments: list[str]) -> None:
    result = CliRunner().invoke(cli, arguments)
    assert result.exit_code == 2
    assert result.stdout == ""


def test_a_typo_gets_a_suggestion() -> None:
    assert "--management" in CliRunner().invoke(cli, ["sts", "--managment", "x"]).stderr


def test_a_failure_says_what_and_then_a_hint() -> None:
    @click.command()
    def command() -> None:
        raise Failure("what is wrong", hint="what would be right", exit_code=3)

    result = CliRunner().invoke(command)
    assert (result.exit_code, result.stdout) == (3, "")
    assert result.stderr == "error: what is wrong\n\nhint: what would be right\n"
