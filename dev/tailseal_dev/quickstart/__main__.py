"""`make quickstart`: narrates the story, with the commands that do the same by hand, and fails if anything differs."""

from __future__ import annotations

import json
import socket
import sys
import tempfile
import textwrap
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

import jwt

from tailseal_dev.issuer import SUBJECT, Issuer
from tailseal_dev.ports import free_ports
from tailseal_dev.process import start, stop
from tailseal_dev.quickstart.client import GRANT, JWT_TYPE, Answer, Caller

EXAMPLE: Final = Path(__file__).parents[3] / "examples" / "quickstart"
AUDIENCE: Final = "https://billing.example"
POLICY: Final = "trustpolicy.yaml"
_SERVICE_PORT, _ISSUER_PORT = 8080, 8081


class Unexpected(Exception):  # noqa: N818 - what the story did not foresee
    """An answer is not the one that the story tells of."""


@dataclass(slots=True)
class Story:
    """One run.

    Args:
        folder: that is served.
        base: URL of the service.
        issuer: the foreign one.
        times: what was measured: what, and milliseconds.
    """

    folder: Path
    base: str
    issuer: Issuer
    times: list[tuple[str, float]] = field(default_factory=list)

    @property
    def caller(self) -> Caller:
        """Who asks."""
        return Caller(self.base)

    def tell(self, begun: float) -> None:
        """The story."""
        say(1, "A job of a CI system asks for a token. Nobody trusts it yet.")
        show(
            f"TOKEN=$(curl -s '{self.issuer.url}/token?audience={self.base}' | cut -d'\"' -f4)",
            f'exchange() {{ curl -s {self.base}/token -H "Accept: text/plain" -d subject_token="$TOKEN" \\\n'
            f'        -d grant_type={GRANT} \\\n        -d subject_token_type={JWT_TYPE} "$@"; }}',
            "exchange",
        )
        subject = self.issuer.token(self.base)
        answer, _ = self.caller.wait(subject, lambda answer: answer.status > 0)
        self.times.append(("first answer after `tailseal serve` was typed", time.perf_counter() - begun))
        self._refused(answer, "UnknownIssuer")
        self._trust(subject)
        self._narrow(subject)
        self._withdraw(subject)

    def _trust(self, subject: str) -> None:
        say(2, f"The platform team adds {POLICY}: whom to trust, and for what. The running service takes it up.")
        print(textwrap.indent((EXAMPLE / POLICY).read_text(), "    "))
        show(f"cp {EXAMPLE / POLICY} {self.folder}")
        place(POLICY, self.folder, self.base, self.issuer.url)
        answer, seconds = self.caller.wait(subject, lambda answer: answer.granted)
        self.times.append(("policy file added → token granted", seconds))
        claims = self.caller.verified(answer.token, issuer=self.base, audience=AUDIENCE)
        print(f"    granted after {seconds * 1000:.0f} ms; verified with the key that {self.base} publishes:")
        print(textwrap.indent(json.dumps(jwt.get_unverified_header(answer.token)), "      "))
        print(textwrap.indent(json.dumps(claims, indent=2), "      "))
        if claims["sub"] != "policy:default/ci" or claims["scope"] != "invoices.read":
            raise Unexpected(f"the token says {claims}")

    def _narrow(self, subject: str) -> None:
        say(3, "More than the policy grants is refused, with a reason and a decision id for the log.")
        for parameter, value, reason in (
            ("scope", "invoices.write", "ScopeNotGranted"),
            ("audience", "https://payroll.example", "TargetNotGranted"),
        ):
            show(f"exchange -d {parameter}={value}")
            self._refused(self.caller.exchange(subject, **{parameter: value}), reason)
        stranger = self.issuer.token(self.base, sub=SUBJECT.replace("main", "feature"))
        show(f"TOKEN=…  # of another branch: {self.issuer.url}/token?audience=…&subject=…", "exchange")
        self._refused(self.caller.exchange(stranger), "NoPolicyMatches")

    def _withdraw(self, subject: str) -> None:
        say(4, "Trust ends where it began: the file is removed.")
        show(f"rm {self.folder / POLICY}", "exchange")
        (self.folder / POLICY).unlink()
        answer, seconds = self.caller.wait(subject, lambda answer: not answer.granted)
        self.times.append(("policy file removed → the same caller refused", seconds))
        self._refused(answer, "UnknownIssuer")

    def _refused(self, answer: Answer, reason: str) -> None:
        if answer.granted or answer.reason != reason:
            raise Unexpected(f"{reason} was to be expected, and this came: {answer.status} {answer.reason}")
        print(f"    {answer.explained()}")


def main() -> int:
    """Run the story; the exit code."""
    service_port, issuer_port = _free(_SERVICE_PORT), _free(_ISSUER_PORT)
    with tempfile.TemporaryDirectory(prefix="tailseal-quickstart-") as temporary, Issuer(port=issuer_port) as issuer:
        story = Story(Path(temporary), f"http://127.0.0.1:{service_port}", issuer)
        for name in ("signingkey.yaml", "identityprovider.yaml"):
            place(name, story.folder, story.base, issuer.url)
        print(f"A folder with a key and an issuer, {story.folder}; a CI system shaped like GitHub's, {issuer.url}.")
        show(f"tailseal serve {story.folder}")
        begun = time.perf_counter()
        with serving(story.folder) as log:
            try:
                story.tell(begun)
            except (Unexpected, TimeoutError, OSError, jwt.PyJWTError) as error:
                print(f"\nThat was not to happen: {error}\n\n{log.read_text()}", file=sys.stderr)
                return 1
        print("\nMeasured")
        for what, seconds in story.times:
            print(f"    {what:<50} {seconds * 1000:>6.0f} ms")
        print("\nBy hand, in two terminals:")
        show("PYTHONPATH=dev .venv/bin/python -m tailseal_dev.issuer", ".venv/bin/tailseal serve examples/quickstart")
    return 0


@contextmanager
def serving(folder: Path) -> Iterator[Path]:
    """Run `tailseal serve` while the context is open; gives the file that it writes to."""
    log = folder / ".log"
    program = start([str(Path(sys.executable).with_name("tailseal")), "serve", str(folder)], log)
    try:
        yield log
    finally:
        stop(program, grace=10)


def place(name: str, folder: Path, base: str, issuer: str) -> None:
    """Put an example file into the folder as one step, with the ports that are free here."""
    text = (EXAMPLE / name).read_text()
    text = text.replace(f"http://127.0.0.1:{_SERVICE_PORT}", base).replace(f"http://127.0.0.1:{_ISSUER_PORT}", issuer)
    fresh = folder / f".{name}"
    fresh.write_text(text)
    fresh.replace(folder / name)


def say(number: int, text: str) -> None:
    """A step of the story."""
    print(f"\n{number}. {text}")


def show(*commands: str) -> None:
    """Commands that do the same by hand."""
    for command in commands:
        print(f"    $ {command}")


def _free(port: int) -> int:
    """The port if it is free, else another one."""
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind(("127.0.0.1", port))
        except OSError:
            return free_ports(1)[0]
    return port


if __name__ == "__main__":
    sys.exit(main())
