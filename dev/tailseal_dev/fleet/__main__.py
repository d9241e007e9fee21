"""`python -m tailseal_dev.fleet`: ten rotations, ten troubles, four caches; exit code 1 if a token did not verify."""

from __future__ import annotations

import shutil
import signal
import sys
import tempfile
import time
from pathlib import Path

import click
import jwt
from cryptography.hazmat.primitives.asymmetric import ec

from tailseal_dev import process
from tailseal_dev.cache import BuildError
from tailseal_dev.controlplane import ControlPlaneError
from tailseal_dev.demo import stage
from tailseal_dev.demo.manifests import AUDIENCE
from tailseal_dev.demo.narrator import Disappointment, Narrator
from tailseal_dev.fleet.disturbances import DISTURBANCES, Disturbance, Phase
from tailseal_dev.fleet.rotation import SPARE_SECONDS, Course, revoke, rotate
from tailseal_dev.fleet.scene import Scene, scene

_REVOKED_WITHIN = 2.0


@click.command()
@click.option("--rotations", type=click.IntRange(0), default=len(DISTURBANCES), show_default=True)
@click.option("--first", type=click.IntRange(1), default=1, show_default=True, help="The disturbance to begin with.")
def main(rotations: int, first: int) -> None:
    """Rotate under trouble, with every token verified by real caches all the time; then revoke."""
    told = Narrator()
    directory = Path(tempfile.mkdtemp(prefix="tailseal-fleet-"))
    signal.signal(signal.SIGTERM, lambda *_: sys.exit(1))  # so that what was started is ended in order
    try:
        with scene(told, directory) as fleet:
            _tell(told, fleet, [DISTURBANCES[(first - 1 + n) % len(DISTURBANCES)] for n in range(rotations)])
    except (BuildError, ControlPlaneError, Disappointment) as error:
        told.fact("the fleet comes to its end", str(error), holds=False)
        for log in stage.logs(directory):
            told.output(f"The end of {log}:\n{process.tail(log, 15)}")
    told.summary()
    if told.kept_its_promises:
        shutil.rmtree(directory, ignore_errors=True)
    sys.exit(0 if told.kept_its_promises else 1)


def _tell(told: Narrator, fleet: Scene, disturbances: list[Disturbance]) -> None:
    told.step(f"{len(disturbances)} rotations; every living token is verified by four caches all the time")
    told.output(f"{'trouble':<46} {'served by all':>14} {'signs':>9} {'old gone':>9} {'verified':>9} {'failed':>7}")
    for disturbance in disturbances:
        verified, failed = _counts(fleet)
        course = rotate(fleet, disturbance)
        now_verified, now_failed = _counts(fleet)
        told.output(_row(disturbance, course, now_verified - verified, now_failed - failed))
    time.sleep(SPARE_SECONDS)
    told.step("The key that signs is revoked")
    _revoke(told, fleet)
    _conclude(told, fleet)


def _counts(fleet: Scene) -> tuple[int, int]:
    tallies = list(fleet.traffic.tallies.values())
    return sum(tally.verified for tally in tallies), sum(tally.failures for tally in tallies)


def _row(disturbance: Disturbance, course: Course, verified: int, failed: int) -> str:
    times = [
        f"{course.reached[phase]:.1f} s" if phase in course.reached else "-"
        for phase in (Phase.PUBLISHED, Phase.SIGNING, Phase.GONE)
    ]
    return f"{disturbance.what:<46} {times[0]:>14} {times[1]:>9} {times[2]:>9} {verified:>9} {failed:>7}"


def _revoke(told: Narrator, fleet: Scene) -> None:
    seen = revoke(fleet, _junk(fleet.stage.names.issuer))
    told.fact("revoked → gone from every JWKS", f"{seen.published:.2f} s", holds=seen.published < _REVOKED_WITHIN)
    told.fact("revoked → another key signs", f"{seen.signed:.2f} s", holds=seen.signed < _REVOKED_WITHIN)
    told.fact("the spare, known to verifiers before, signs", str(seen.spare), holds=seen.spare)
    told.fact("kube-apiserver holds the revoked key until it is poked", str(seen.held))
    told.fact("one unauthenticated request with a junk token → it is dropped", f"{seen.poked:.2f} s")


def _conclude(told: Narrator, fleet: Scene) -> None:
    traffic = fleet.traffic
    time.sleep(2)  # some more verifications under the new key
    for name, tally in traffic.tallies.items():
        failures = "; ".join(f"{count} x {what}" for what, count in tally.failed.most_common(3))
        seen = (
            f"{tally.verified} verifications, {tally.failures} failed, {tally.unreachable} could not fetch {failures}"
        )
        told.fact(name, seen.strip(), holds=tally.verified > 0 and tally.failures == 0)
    missed = ", ".join(f"{count} x {what}" for what, count in traffic.not_issued.most_common(3))
    told.fact("tokens issued", f"{traffic.issued}; not issued: {missed or 'none'}")


def _junk(issuer: str) -> str:
    now = int(time.time())
    claims = {"iss": issuer, "aud": AUDIENCE, "sub": "nobody", "iat": now, "exp": now + 300}
    return jwt.encode(claims, ec.generate_private_key(ec.SECP256R1()), "ES256", headers={"kid": "nobody-knows"})


if __name__ == "__main__":
    main()
