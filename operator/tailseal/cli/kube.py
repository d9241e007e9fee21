"""`tailseal kube`: what Kubernetes API servers are told, so that our tokens log in to them."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final

import click

from tailseal.cli.cluster import Where, ask, where
from tailseal.cli.errors import FAILED, USAGE, Failure

if TYPE_CHECKING:
    from tailseal.cluster.port import Cluster

_FILE: Final = click.Path(exists=True, dir_okay=False, path_type=Path)
_EXISTING: Final = click.Path(exists=True, path_type=Path)

_HEAD: Final = """\
# For kube-apiserver --authentication-config=FILE. It reads the file again whenever it changes: replace it by a
# rename, so that it is never seen half written, and only while the issuer answers.
"""


@click.group("kube", short_help="Have Kubernetes API servers trust our tokens.")
def command() -> None:
    """Have Kubernetes API servers trust our tokens."""


@command.command("authentication-config")
@click.argument("name", default="")
@click.option("--audience", "audiences", multiple=True, required=True, help="Name of the API server; may be repeated.")
@click.option("-f", "--filename", "places", multiple=True, type=_EXISTING, help="Manifests, instead of the cluster's.")
@click.option("-R", "--recursive", is_flag=True, help="Look into folders within folders.")
@click.option("--certificate-authority", "authority", type=_FILE, help="PEM that vouches for the issuer's https.")
@click.option("--prefix", default="tailseal:", show_default=True, help="What names of users and groups begin with.")
@click.option("--groups-claim", "groups", default="groups", show_default=True, help="A claim that bounds guard.")
@click.option("--max-lifetime", "longest", default="1h", show_default=True, help="Refuse tokens that live longer.")
@where
def authentication_config(  # noqa: PLR0913 - one argument an option
    name: str,
    *,
    audiences: tuple[str, ...],
    places: tuple[Path, ...],
    recursive: bool,
    authority: Path | None,
    prefix: str,
    groups: str,
    longest: str,
    where: Where,
) -> None:
    """Print the AuthenticationConfiguration with which a kube-apiserver trusts IdentityProvider NAME.

    NAME may be left out where there is only one.
    """
    import yaml  # noqa: PLC0415 - help must not wait for it

    from tailseal.domain.relying import Relying, RelyingError, configuration  # noqa: PLC0415

    found = _in_files(places, recursive=recursive) if places else _in_cluster(where)
    provider = _only(found, name, where.namespace)
    issuer = _issuer(provider)
    _verifiable(provider, found)
    pem = authority.read_text() if authority else ""
    try:
        asked = Relying(issuer, audiences, prefix, groups, _seconds(longest), pem)
        document = configuration(asked)
    except RelyingError as error:
        raise Failure(str(error), exit_code=USAGE) from None
    click.echo(_HEAD + yaml.safe_dump(document, sort_keys=False, width=1000), nl=False)


def _in_files(places: Sequence[Path], *, recursive: bool) -> list[dict[str, Any]]:
    from tailseal.cli.folder import read_all  # noqa: PLC0415

    manifests = read_all(places, recursive=recursive)
    for problem in manifests.problems:
        raise Failure(str(problem), exit_code=FAILED)
    return [
        {**manifest.obj, "metadata": {**manifest.obj["metadata"], "namespace": manifest.namespace}}
        for manifest in manifests.distinct
    ]


def _in_cluster(place: Where) -> list[dict[str, Any]]:
    async def found(cluster: Cluster) -> list[dict[str, Any]]:
        from tailseal.cluster.kinds import PLATFORM  # noqa: PLC0415

        return [{**obj, "kind": kind.kind} for kind in PLATFORM async for obj in cluster.list(kind, place.namespace)]

    return ask(place, found)


def _only(found: Sequence[dict[str, Any]], name: str, namespace: str) -> dict[str, Any]:
    providers = [
        obj
        for obj in found
        if obj["kind"] == "IdentityProvider"
        and name in ("", obj["metadata"]["name"])
        and namespace in ("", obj["metadata"]["namespace"])
    ]
    if len(providers) == 1:
        return providers[0]
    what = f"IdentityProvider {name}" if name else "IdentityProvider"
    if not providers:
        raise Failure(f"there is no {what} there", exit_code=FAILED)
    names = ", ".join(f"{obj['metadata']['namespace']}/{obj['metadata']['name']}" for obj in providers)
    raise Failure(f"there are several: {names}", hint="name one, and its namespace by -n", exit_code=USAGE)


def _issuer(provider: dict[str, Any]) -> str:
    from tailseal.api.parse import SpecError, parse  # noqa: PLC0415 - slow to import

    try:
        return parse("IdentityProvider", provider, loopback=True).issuer
    except SpecError as error:
        raise Failure(f"IdentityProvider {provider['metadata']['name']}: {error}", exit_code=FAILED) from None


def _verifiable(provider: dict[str, Any], found: Sequence[dict[str, Any]]) -> None:
    """Refuse a provider that signs with what no API server verifies, as far as its SigningKey can be seen."""
    from tailseal.domain.relying import VERIFIED  # noqa: PLC0415

    named: list[dict[str, Any]] = provider["spec"]["signingKeys"]
    first = named[0]["name"]
    for key in found:
        same = key["metadata"]["namespace"] == provider["metadata"]["namespace"] and key["metadata"]["name"] == first
        algorithm = key.get("spec", {}).get("algorithm", "ES256")
        if key["kind"] == "SigningKey" and same and algorithm not in VERIFIED:
            text = f"SigningKey {first} is for {algorithm}, which a kube-apiserver does not verify"
            raise Failure(text, hint="put a key for ES256 or RS256 first in signingKeys", exit_code=FAILED)


def _seconds(text: str) -> int:
    from tailseal.api.durations import parse_duration  # noqa: PLC0415

    try:
        return int(parse_duration(text))
    except ValueError:
        raise Failure(f"--max-lifetime {text}: a duration such as 30m is needed", exit_code=USAGE) from None
