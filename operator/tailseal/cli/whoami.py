"""`tailseal whoami`: who a kubeconfig or a token says one is, and by which policy."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any, Final

import click

from tailseal.cli.errors import UNREACHABLE, USAGE, Failure
from tailseal.cli.options import context, kubeconfig
from tailseal.cli.output import envelope, printable

if TYPE_CHECKING:
    from tailseal.cluster.port import Cluster

_LARGEST: Final = 65_536
_OURS: Final = "tailseal.dev/"
"""Keys of `extra` as the AuthenticationConfiguration that we print sets them."""


@click.command("whoami", short_help="Say who a kubeconfig or a token says you are.")
@click.option("--token-file", metavar="FILE", help="A token instead of the kubeconfig; - reads standard input.")
@kubeconfig
@context
@click.option("--output", "-o", type=click.Choice(["text", "json", "yaml"]), default="text", show_default=True)
def command(*, token_file: str | None, kubeconfig: str, context: str, output: str) -> None:
    """Say who you are to the API server and, where one of our tokens logs you in, by which policy.

    With --token-file FILE it says what a token claims, without asking anybody: `tailseal keys verify` says whether that
    holds. The token itself is never printed.
    """
    if token_file is not None and (kubeconfig or context):
        raise click.UsageError("--token-file asks no cluster: it goes with neither --kubeconfig nor --context")
    content = _of_token(token_file) if token_file is not None else _of_cluster(kubeconfig, context)
    click.echo(_said(content, output))


def _of_cluster(kubeconfig: str, context: str) -> dict[str, Any]:
    from tailseal.cli.cluster import Where, ask  # noqa: PLC0415 - help must not wait for it

    async def question(cluster: Cluster) -> Mapping[str, Any]:
        return await cluster.whoami()

    info = ask(Where("", kubeconfig, context), question)
    extra: Mapping[str, list[str]] = info.get("extra") or {}
    ours = {name.removeprefix(_OURS): values[0] for name, values in extra.items() if name.startswith(_OURS) and values}
    return {"username": info.get("username", ""), "groups": list(info.get("groups") or ()), **_ours(ours)}


def _ours(said: Mapping[str, str]) -> dict[str, Any]:
    names = {"policy": "policy", "scope": "scope", "actor": "actor", "jti": "decision"}
    return {shown: said[name] for name, shown in names.items() if said.get(name)}


def _of_token(place: str) -> dict[str, Any]:
    from tailseal.api.times import format_time  # noqa: PLC0415 - help must not wait for it
    from tailseal.tokens import compact  # noqa: PLC0415
    from tailseal.tokens.errors import TokenError  # noqa: PLC0415

    try:
        with click.open_file(place, "rb") as file:
            text = file.read(_LARGEST).strip()
    except OSError as error:  # never repeats the argument, which may be the token itself
        raise Failure(f"--token-file: {error.strerror or 'cannot be read'}", exit_code=UNREACHABLE) from None
    try:
        claims = compact.split(text.decode("ascii", "replace")).payload
    except TokenError as error:
        raise Failure(f"--token-file: {error}", hint="a JWT is needed", exit_code=USAGE) from None
    expires = claims.get("exp")
    chain: list[str] = []
    act = claims.get("act")
    while isinstance(act, Mapping) and len(chain) < 8:  # noqa: PLR2004 - of people's screens
        chain.append(str(act.get("sub", "")))
        act = act.get("act")
    content = {
        "username": claims.get("sub", ""),
        "issuer": claims.get("iss", ""),
        "groups": claims.get("groups"),
        "audiences": claims.get("aud"),
        "policy": claims.get("client_id"),
        "scope": claims.get("scope"),
        "actor": " for ".join(chain),
        "decision": claims.get("jti"),
        "expiryTime": format_time(expires) if type(expires) is int and 0 <= expires < 253_402_300_800 else None,  # noqa: PLR2004
    }
    return {name: value for name, value in content.items() if value}


def _said(content: Mapping[str, Any], output: str) -> str:
    if output == "text":
        rows = [(name, value) for name, value in content.items() if value]
        width = max((len(name) for name, _ in rows), default=0) + 2
        return "\n".join(f"{name + ':':<{width}}{printable(_line(value))}" for name, value in rows)
    text = envelope("Identity", content)
    if output == "json":
        return text
    import yaml  # noqa: PLC0415 - slow to import

    return str(yaml.safe_dump(json.loads(text), sort_keys=False)).rstrip()


def _line(value: object) -> str:
    return ", ".join(map(str, value)) if isinstance(value, list | tuple) else str(value)
