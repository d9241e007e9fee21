"""`tailseal kubectl-credential`: logs kubectl in with a token of ours (client.authentication.k8s.io/v1)."""

from __future__ import annotations

import json
import os
import shlex
import subprocess
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Final, NamedTuple

import click

from tailseal.cli.credential.cache import Cache, Entry
from tailseal.cli.errors import FAILED, UNREACHABLE, USAGE, Failure

API_VERSION: Final = "client.authentication.k8s.io/v1"

MARGIN: Final = 60
"""Seconds before it expires from which on a token is not given out of the cache."""

_JWT: Final = "urn:ietf:params:oauth:token-type:jwt"
_ACCESS_TOKEN: Final = "urn:ietf:params:oauth:token-type:access_token"  # noqa: S105 - a URN of RFC 8693 section 3
_GRANT: Final = "urn:ietf:params:oauth:grant-type:token-exchange"
_LARGEST: Final = 65_536
_PATIENCE: Final = 30.0
_LONGEST: Final = 366 * 86_400
"""Seconds that a token may last: what kubectl is told must be a date."""
_JOBS: Final = (
    *("ACTIONS_ID_TOKEN_REQUEST_TOKEN", "GITHUB_RUN_ID", "GITHUB_RUN_ATTEMPT", "GITHUB_JOB", "CI_JOB_ID"),
    *("BUILDKITE_JOB_ID", "CIRCLE_WORKFLOW_JOB_ID", "TFC_RUN_ID"),
)
"""Variables that tell one job from another: on a machine that several share, none is given another's token."""

_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)


class Source(NamedTuple):
    """Where the subject token comes from: exactly one is not empty."""

    file: str
    variable: str
    command: str


class Asked(NamedTuple):
    """What is asked of the token service.

    Args:
        endpoint: its URL.
        fields: of the request, without the subject token.
        authority: PEM certificates to check its https with; empty: the system's.
    """

    endpoint: str
    fields: Mapping[str, str]
    authority: str


@click.command("kubectl-credential", short_help="Log kubectl in with a token of ours: an exec credential plugin.")
@click.option("--issuer", default="", metavar="URL", help="Log a person in at this IdentityProvider.")
@click.option("--client-id", default="", metavar="ID", help="The public client of people; also the audience.")
@click.option("--device", is_flag=True, help="Log in by a code, where this machine has no browser.")
@click.option("--logout", is_flag=True, help="End the login of the person.")
@click.option("--token-endpoint", "endpoint", default="", metavar="URL", help="Exchange a token: https://…/token.")
@click.option("--audience", default="", help="Name of the API server, as its configuration has it.")
@click.option("--subject-token-file", "file", default="", metavar="FILE", help="Read the subject token from a file.")
@click.option("--subject-token-env", "variable", default="", metavar="NAME", help="Read it from this variable.")
@click.option("--subject-token-command", "line", default="", metavar="COMMAND", help="What prints it; run by no shell.")
@click.option("--subject-token-type", "kind", default=_JWT, show_default=True, help="Its token type identifier.")
@click.option("--policy", default="", metavar="NAMESPACE/NAME", help="Ask this TrustPolicy only.")
@click.option("--grant", default="", help="Ask for this grant only.")
@click.option("--scope", default="", help="Ask for these scopes only, separated by blanks.")
@click.option("--certificate-authority", "authority", type=_FILE, help="PEM to check the endpoint's https with.")
def command(  # noqa: PLR0913 - one argument an option
    *,
    issuer: str,
    client_id: str,
    device: bool,
    logout: bool,
    endpoint: str,
    audience: str,
    file: str,
    variable: str,
    line: str,
    kind: str,
    policy: str,
    grant: str,
    scope: str,
    authority: Path | None,
) -> None:
    """Get a token that a Kubernetes API server trusts, and print it as kubectl wants it.

    A person logs in (--issuer and --client-id), a job exchanges a token that it has (--token-endpoint, --audience and
    one of --subject-token-...). kubectl runs this for every command, so the token is kept until a minute before it
    expires, in the user's cache directory, readable by the user alone.
    """
    pem = authority.read_text() if authority else ""
    if issuer or client_id:
        if not (issuer and client_id) or endpoint or audience or file or variable or line:
            hint = "a person needs --issuer and --client-id, and nothing of what a job needs"
            raise Failure("who logs in, a person or a job?", hint=hint, exit_code=USAGE)
        _person((issuer, client_id, scope, pem), device=device, logout=logout)
        return
    if not (endpoint and audience):
        hint = "a job needs --token-endpoint and --audience; a person --issuer and --client-id"
        raise Failure("where is the token service?", hint=hint, exit_code=USAGE)
    source = Source(file, variable, line)
    if sum(map(bool, source)) != 1:
        hint = "give exactly one of --subject-token-file, --subject-token-env, --subject-token-command"
        raise Failure("where is the subject token?", hint=hint, exit_code=USAGE)
    _check_caller(os.environ.get("KUBERNETES_EXEC_INFO", ""))
    wanted = {"audience": audience, "subject_token_type": kind, "policy": policy, "grant": grant, "scope": scope}
    fields = {name: value for name, value in wanted.items() if value}
    click.echo(_credential(_token(Asked(endpoint, fields, pem), source)))


def _person(asked: tuple[str, str, str, str], *, device: bool, logout: bool) -> None:
    from tailseal.cli.credential.person import Person, log_out, token  # noqa: PLC0415 - jobs do without

    person, cache = Person(*asked), Cache.of(os.environ)
    if logout:
        log_out(person, cache)
        return
    _check_caller(os.environ.get("KUBERNETES_EXEC_INFO", ""))
    click.echo(_credential(token(person, cache, MARGIN, device=device)))


def _check_caller(info: str) -> None:
    """Refuse a kubectl that wants another version of the answer; without the variable a person is looking."""
    try:
        version = json.loads(info)["apiVersion"] if info else API_VERSION
    except (ValueError, TypeError, KeyError):
        version = ""
    if version != API_VERSION:
        text = "KUBERNETES_EXEC_INFO asks for another version of the answer"
        raise Failure(text, hint=f"write `apiVersion: {API_VERSION}` under `exec` in the kubeconfig", exit_code=USAGE)


def _token(asked: Asked, source: Source) -> Entry:
    cache = Cache.of(os.environ)
    subject = "" if source.command else _read(source)
    whose = subject or (source.command, *(os.environ.get(name, "") for name in _JOBS))
    key = cache.key(asked, whose)
    now = time.time()
    if (found := cache.get(key)) is not None and found.expires_at - MARGIN > now:
        return found
    entry = _exchanged(asked, subject or _run(source.command), now)
    if entry.expires_at - MARGIN > now and (problem := cache.put(key, entry, now)):
        click.echo(f"warning: the token is not kept: {problem}", err=True)
    return entry


def _read(source: Source) -> str:
    if source.variable:
        found = os.environ.get(source.variable, "")
        where = f"variable {source.variable}"
    else:
        where = f"file {source.file}"
        try:
            with Path(source.file).open("rb") as file:
                found = file.read(_LARGEST + 1).decode("ascii", "replace")
        except OSError as error:
            text = f"--subject-token-file {source.file}: {error.strerror or 'cannot be read'}"
            raise Failure(text, exit_code=UNREACHABLE) from None
    return _plain(found, where)


def _run(line: str) -> str:
    """What the command prints; what it says on standard error goes to ours."""
    try:
        arguments = shlex.split(line)
        answer = subprocess.run(  # noqa: S603 - the user's own command
            arguments, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, timeout=_PATIENCE, check=False
        )
    except ValueError:
        text = "--subject-token-command: its quotes are not closed"
        raise Failure(text, exit_code=USAGE) from None
    except (OSError, IndexError) as error:
        why = getattr(error, "strerror", "") or "it is empty"
        raise Failure(f"--subject-token-command cannot be run: {why}", exit_code=UNREACHABLE) from None
    except subprocess.TimeoutExpired:
        raise Failure(f"--subject-token-command took longer than {_PATIENCE:g} s", exit_code=UNREACHABLE) from None
    if answer.returncode:
        text = f"--subject-token-command ended with exit code {answer.returncode}"
        raise Failure(text, exit_code=UNREACHABLE)
    return _plain(answer.stdout.decode("ascii", "replace"), "what --subject-token-command prints")


def _plain(text: str, where: str) -> str:
    token = text.strip()
    if not token or len(token) > _LARGEST or not (token.isascii() and token.isprintable()) or " " in token:
        what = "is empty" if not token else "is no token"
        raise Failure(f"{where} {what}", hint="it must hold the subject token alone", exit_code=FAILED)
    return token


def _exchanged(asked: Asked, subject: str, now: float) -> Entry:
    """The answer of the token service (RFC 8693 section 2.2)."""
    from tailseal.cli.credential.exchange import post  # noqa: PLC0415 - not needed where the cache knows

    fields = {"grant_type": _GRANT, "subject_token": subject, **asked.fields, "requested_token_type": _ACCESS_TOKEN}
    answer = post(asked.endpoint, fields, asked.authority)
    if answer.get("token_type") != "Bearer":
        text = "the token service gave a token that its bearer alone cannot use"
        raise Failure(text, hint="kubectl proves no possession: leave requireDPoP out of the grant", exit_code=FAILED)
    token, lasts = answer.get("access_token"), answer.get("expires_in")
    if not isinstance(token, str) or type(lasts) is not int or not 1 <= lasts <= _LONGEST:
        text = "the token service answered with something that is no token"
        raise Failure(text, hint="is --token-endpoint right?", exit_code=UNREACHABLE)
    return Entry(token, now + lasts)


def _credential(entry: Entry) -> str:
    expires = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime(entry.expires_at))
    status = {"token": entry.token, "expirationTimestamp": expires}
    document: dict[str, Any] = {"apiVersion": API_VERSION, "kind": "ExecCredential", "status": status}
    if sys.stdout.isatty():
        document["status"] = {**status, "token": "(not shown on a terminal)"}
    return json.dumps(document)
