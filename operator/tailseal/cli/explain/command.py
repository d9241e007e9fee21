"""`tailseal explain`: why a token is trusted or not, offline, by the code that production runs."""

from __future__ import annotations

import sys
import time
from pathlib import Path
from typing import TYPE_CHECKING, Final

import click

from tailseal.cli.errors import FAILED, UNREACHABLE, USAGE, Failure
from tailseal.cli.options import SOCKET

if TYPE_CHECKING:
    from tailseal.cli.explain.explanation import Report
    from tailseal.cli.explain.output import Frame
    from tailseal.domain.policy.review.gathering import Gathering, Name
    from tailseal.tokens.keyset import KeySet

_LARGEST: Final = 65_536
_EXISTING: Final = click.Path(exists=True, path_type=Path)


def _nothing(_: click.Context, __: click.Parameter, extra: tuple[str, ...]) -> None:
    if extra:  # never repeated: it may be the token itself
        raise click.UsageError(
            "only options are taken; the token comes from --token-file FILE, or - for standard input"
        )


@click.command("explain", short_help="Say why a token is trusted or not, policy by policy.")
@click.argument("extra", nargs=-1, metavar="", callback=_nothing, expose_value=False)
@click.option("--token-file", metavar="FILE", help="The subject token; - reads standard input.")
@click.option("-f", "--filename", "places", multiple=True, type=_EXISTING, help="Manifests; may be repeated.")
@click.option("-R", "--recursive", is_flag=True, help="Look into folders within folders.")
@click.option("--provider", metavar="[NAMESPACE/]NAME", help="Asked IdentityProvider, if policies name several.")
@click.option("--audience", "audiences", multiple=True, help="As the request's `audience`; may be repeated.")
@click.option("--resource", "resources", multiple=True, help="As the request's `resource`; may be repeated.")
@click.option("--scope", "scopes", multiple=True, help="As the request's `scope`; may be repeated.")
@click.option("--tag", "tags", multiple=True, help="As the request's `tags`; may be repeated.")
@click.option("--requested-token-type", metavar="URN", help="As the request's parameter of that name.")
@click.option("--policy", metavar="NAMESPACE/NAME", help="Look at this policy only, as the request's `policy`.")
@click.option("--grant", metavar="NAME", help="As the request's `grant`.")
@click.option("--jwks", type=_EXISTING, help="The issuer's JWK Set: check the signature with it.")
@click.option("--actor-token-file", metavar="FILE", help="The token of who acts for the subject.")
@click.option("--decision", metavar="ID", help="Instead of a token: a decision of the replica in which this runs.")
@click.option("--namespace", metavar="NAME", help="With --decision: look at the policies of this namespace only.")
@click.option(
    "--socket",
    type=click.Path(path_type=Path),
    default=SOCKET,
    show_default=True,
    envvar="TAILSEAL_SOCKET",
    help="With --decision: where the replica answers.",
)
@click.option("--at", metavar="TIME", help="Decide as of this RFC 3339 time.  [default: now]")
@click.option("-o", "--output", type=click.Choice(["text", "json"]), default="text", show_default=True)
def command(  # noqa: PLR0913 - one for each option
    *,
    token_file: str | None,
    actor_token_file: str | None,
    places: tuple[Path, ...],
    recursive: bool,
    provider: str | None,
    audiences: tuple[str, ...],
    resources: tuple[str, ...],
    scopes: tuple[str, ...],
    tags: tuple[str, ...],
    requested_token_type: str | None,
    policy: str | None,
    grant: str | None,
    jwks: Path | None,
    decision: str | None,
    namespace: str | None,
    socket: Path,
    at: str | None,
    output: str,
) -> None:
    """Say why a token is trusted or not: what each policy asked for, what it found, and what would help.

    Inside a replica, --decision ID explains one of its last decisions in the same way.

    Nothing is sent or fetched. The signature is checked only where the keys are at hand: in the policy, or by --jwks.
    The token is never printed; of its claims no more than is needed.

    Exit codes: 0 granted, 1 refused, 2 wrong usage, 3 a file cannot be read.
    """
    if decision is not None:
        _retell(decision, namespace, socket, output)
        return
    if token_file is None or not places:
        raise click.UsageError("--token-file FILE and -f PATH are needed, or --decision ID inside a replica")
    from tailseal.cli.explain.explanation import Question, report  # noqa: PLC0415 - nothing heavy for --help
    from tailseal.cli.explain.explanation import audiences as audiences_of  # noqa: PLC0415
    from tailseal.domain.policy.grants import GrantRequest  # noqa: PLC0415

    token = _token(token_file)
    request = GrantRequest(audiences, resources, _words(scopes), requested_token_type, policy, grant, _words(tags))
    gathering, frame = _frame(places, provider, audiences_of(token), recursive=recursive)
    actor = None if actor_token_file is None else _token(actor_token_file, "--actor-token-file")
    question = Question(token, request, _instant(at), _keys(jwks), actor)
    _tell(report(question, gathering.settings[frame.provider], gathering.of[frame.provider]), frame, output)


def _tell(found: Report, frame: Frame, output: str) -> None:
    from tailseal.cli.explain import output as explain_output  # noqa: PLC0415 - nothing heavy for --help
    from tailseal.cli.output import envelope  # noqa: PLC0415

    if output == "json":
        click.echo(envelope("Explanation", explain_output.document(found, frame)))
    else:
        click.echo(explain_output.text(found, frame))
    if not found.granted:
        sys.exit(FAILED)


def _retell(decision: str, namespace: str | None, socket: Path, output: str) -> None:
    from tailseal.cli.explain import hindsight  # noqa: PLC0415 - nothing heavy for --help
    from tailseal.cli.output import envelope  # noqa: PLC0415

    document = hindsight.ask(socket, decision, namespace)
    click.echo(envelope("DecisionExplanation", document) if output == "json" else hindsight.text(document))
    if document["decision"].get("result") != "granted":
        sys.exit(FAILED)


def _words(values: tuple[str, ...]) -> tuple[str, ...]:
    return tuple(dict.fromkeys(word for value in values for word in value.split()))


def _token(place: str, option: str = "--token-file") -> bytes:
    """The token; errors never repeat the argument, which may be the token itself."""
    try:
        with click.open_file(place, "rb") as file:
            content: bytes = file.read(_LARGEST).strip()
    except OSError as error:
        text = f"{option}: {error.strerror or 'cannot be read'}"
        raise Failure(
            text, hint="name a file that holds the token, or - for standard input", exit_code=UNREACHABLE
        ) from None
    if not content:
        raise Failure(f"{option}: it is empty", hint="it must hold the token", exit_code=USAGE)
    return content


def _frame(
    places: tuple[Path, ...], wanted: str | None, audiences: tuple[str, ...], *, recursive: bool
) -> tuple[Gathering, Frame]:
    from tailseal.cli.explain.output import Frame  # noqa: PLC0415
    from tailseal.cli.folder import read_all  # noqa: PLC0415
    from tailseal.domain.policy.review.gathering import gather  # noqa: PLC0415

    manifests = read_all(places, recursive=recursive)
    gathering = gather((manifest.obj for manifest in manifests.distinct), audiences)
    if not gathering.policies:
        what = f" ({manifests.problems[0]})" if manifests.problems else ""
        raise Failure(
            f"there is no TrustPolicy in what -f names{what}", hint="-R looks into subfolders", exit_code=USAGE
        )
    provider = _provider(gathering, wanted)
    ignored = tuple(map(str, manifests.problems))
    return gathering, Frame(provider, provider in gathering.absent, ignored)


def _provider(gathering: Gathering, wanted: str | None) -> Name:
    named = sorted({policy.provider for policy in gathering.policies} & gathering.settings.keys())
    if wanted is not None:
        namespace, _, name = wanted.rpartition("/")
        named = [key for key in named if key[1] == name and namespace in {"", key[0]}]
    if len(named) == 1:
        return named[0]
    if named:
        names = ", ".join("/".join(key) for key in named)
        raise Failure(
            f"policies name several IdentityProviders: {names}", hint="choose with --provider", exit_code=USAGE
        )
    raise Failure(
        f"no policy names the IdentityProvider {wanted}" if wanted else "no policy names an IdentityProvider",
        hint="spec.identityProviderRef of a TrustPolicy names it",
        exit_code=USAGE,
    )


def _keys(jwks: Path | None) -> KeySet | None:
    from tailseal.tokens.errors import KeySetError  # noqa: PLC0415
    from tailseal.tokens.keyset import parse_jwks  # noqa: PLC0415

    if jwks is None:
        return None
    try:
        return parse_jwks(jwks.read_bytes())
    except OSError as error:
        raise Failure(f"--jwks {jwks}: {error.strerror}", exit_code=UNREACHABLE) from None
    except KeySetError as error:
        raise Failure(f"--jwks {jwks}: {error}", hint="it must be a JWK Set (RFC 7517)", exit_code=USAGE) from None


def _instant(at: str | None) -> float:
    from tailseal.api.times import parse_time  # noqa: PLC0415

    if at is None:
        return time.time()
    try:
        return parse_time(at)
    except ValueError:
        raise Failure("--at: no RFC 3339 time", hint="such as 2026-11-30T12:00:00Z", exit_code=USAGE) from None
