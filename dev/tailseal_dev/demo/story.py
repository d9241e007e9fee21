"""The story itself: what a new user would do, and what must come of it."""

from __future__ import annotations

import json
import shlex
import time
from collections.abc import Mapping
from typing import Any

import httpx
import jwt

from tailseal_dev.demo import manifests
from tailseal_dev.demo.caller import GRANT_TYPE, JWT_TYPE, Answer, verify
from tailseal_dev.demo.narrator import Disappointment, until
from tailseal_dev.demo.rotation import Rotation
from tailseal_dev.demo.stage import SPACE, Stage


def tell(stage: Stage) -> None:
    """All of it.

    Raises:
        Disappointment: something without which it cannot go on did not happen.
    """
    provide(stage)
    ci_token = _introduce_ci(stage)
    _refuse_stranger(stage, ci_token)
    trust(stage)
    _exchange(stage, ci_token)
    _refuse_more(stage, ci_token)
    _rotate(stage, ci_token)
    _withdraw(stage, ci_token)


def provide(stage: Stage) -> None:
    """A signing key and an identity provider, Ready.

    Raises:
        Disappointment: they do not become Ready.
    """
    told = stage.cluster.told
    told.step("A key and an issuer: two objects")
    started = time.monotonic()
    stage.apply("signingkey.yaml", manifests.SIGNING_KEY)
    stage.apply("identityprovider.yaml", manifests.identity_provider(stage.names))
    stage.cluster.kubectl("wait", "--for=condition=Ready", "identityprovider/corp", SPACE, "--timeout=180s")
    told.fact("IdentityProvider applied → Ready, three pods serving", f"{time.monotonic() - started:.1f} s")
    stage.cluster.kubectl("get", "signingkeys,identityproviders,deployments,pods", SPACE)
    stage.open_way()
    metadata = stage.caller.metadata()
    told.expect("discovery names our issuer", holds=metadata["issuer"] == stage.names.issuer, seen=metadata["issuer"])


def _introduce_ci(stage: Stage) -> str:
    told = stage.cluster.told
    told.step("A CI job somewhere else, with a token of its own issuer")
    # CI systems say five minutes; an hour leaves time to type along.
    token = stage.ci.token(stage.names.issuer, exp=int(time.time()) + 3600)
    (stage.cluster.directory / "ci-token.jwt").write_text(token)
    told.document(jwt.decode(token, options={"verify_signature": False}))
    return token


def _refuse_stranger(stage: Stage, ci_token: str) -> None:
    stage.cluster.told.step("Nobody trusts it yet: refused")
    answer = _ask(stage, ci_token, audience=manifests.AUDIENCE)
    _expect_refusal(stage, "a caller that no policy trusts is refused", answer, "UnknownIssuer")


def trust(stage: Stage) -> None:
    """A policy that grants the CI job its token, Ready.

    Raises:
        Disappointment: it does not become Ready.
    """
    told = stage.cluster.told
    told.step("Trust it: one TrustPolicy")
    started = time.monotonic()
    stage.apply("trustpolicy.yaml", manifests.trust_policy(stage.names))
    stage.cluster.kubectl("wait", "--for=condition=Ready", "trustpolicy/deploy", SPACE, "--timeout=30s")
    told.fact("TrustPolicy applied → Ready: every replica serves it", f"{time.monotonic() - started:.1f} s")


def _exchange(stage: Stage, ci_token: str) -> None:
    told = stage.cluster.told
    told.step("The same caller, the same request: granted")
    answer = _ask(stage, ci_token, audience=manifests.AUDIENCE, scope=manifests.SCOPE)
    told.expect("the exchange gives a token", holds=answer.status == httpx.codes.OK, seen=str(answer.status))
    told.output("header  " + json.dumps(jwt.get_unverified_header(answer.token)))
    claims = _verified(stage, answer)
    told.document(claims)
    told.fact("the token verifies against the published JWKS", f"sub {claims['sub']}")
    told.fact("exchange, as the caller sees it", f"{answer.seconds * 1000:.0f} ms")


def _verified(stage: Stage, answer: Answer) -> Mapping[str, Any]:
    jwks = stage.caller.jwks()
    try:
        return verify(answer.token, jwks, issuer=stage.names.issuer, audience=manifests.AUDIENCE)
    except jwt.PyJWTError as error:
        raise Disappointment(f"the token does not verify: {type(error).__name__}: {error}") from error


def _refuse_more(stage: Stage, ci_token: str) -> None:
    stage.cluster.told.step("More than the policy grants: refused")
    wider = _ask(stage, ci_token, audience=manifests.AUDIENCE, scope=f"{manifests.SCOPE} invoices.write")
    _expect_refusal(stage, "a wider scope is refused", wider, "ScopeNotGranted")
    other = _ask(stage, ci_token, audience="https://payroll.example")
    _expect_refusal(stage, "another audience is refused", other, "TargetNotGranted")


def _rotate(stage: Stage, ci_token: str) -> None:
    told = stage.cluster.told
    told.step("Rotate the key, under load")
    told.say(
        """The new key is published first. It signs only after every replica was seen serving it and 30 s have passed,
        for caches that heed no header; the old one leaves when nothing it signed can still be valid. This takes
        about a minute; a token is asked for, and all that are not expired verified, several times a second."""
    )
    stamp = time.strftime("%Y-%m-%dT%H:%M:%SZ", time.gmtime())
    stage.cluster.kubectl("annotate", "signingkey/corp", SPACE, f"tailseal.dev/rotate={stamp}")
    Rotation(stage, ci_token).watch()
    stage.cluster.kubectl("get", "signingkey/corp", SPACE)


def _withdraw(stage: Stage, ci_token: str) -> None:
    told = stage.cluster.told
    told.step("Withdraw the trust")
    request = {"audience": manifests.AUDIENCE, "scope": manifests.SCOPE}
    granted = stage.caller.exchange(ci_token, **request)
    told.expect("granted until the policy goes", holds=granted.status == httpx.codes.OK, seen=str(granted.status))
    replicas = stage.replicas()
    stage.cluster.kubectl("delete", "trustpolicy/deploy", SPACE, "--wait=false")

    def refused() -> bool:
        answers = (stage.caller.exchange_at(address, ci_token, **request) for address in replicas.values())
        return all(answer.status != httpx.codes.OK for answer in answers)

    seconds = until(refused, within=60, what="the caller is refused")
    told.fact("policy deleted → refused by every replica", f"{seconds:.2f} s")
    answer = _ask(stage, ci_token, **request)
    _expect_refusal(stage, "the same caller is refused again", answer, "UnknownIssuer")


def _ask(stage: Stage, ci_token: str, **parameters: str) -> Answer:
    """An exchange, shown as the curl line that does the same."""
    asked = " ".join(f"--data-urlencode {shlex.quote(f'{name}={value}')}" for name, value in parameters.items())
    told, directory = stage.cluster.told, stage.cluster.directory
    told.command(f"curl -s --cacert {directory / 'ca.crt'} {stage.names.issuer}/token -d grant_type={GRANT_TYPE} \\")
    told.output(f"    -d subject_token_type={JWT_TYPE} --data-urlencode subject_token@{directory / 'ci-token.jwt'} \\")
    told.output(f"    {asked}")
    answer = stage.caller.exchange(ci_token, **parameters)
    told.document({**answer.content, **({"access_token": f"{answer.token[:24]}…"} if answer.token else {})})
    return answer


def _expect_refusal(stage: Stage, what: str, answer: Answer, reason: str) -> None:
    decision = answer.content.get("decision_id", "")
    stage.cluster.told.expect(
        what,
        holds=answer.status != httpx.codes.OK and answer.reason == reason and bool(decision),
        seen=f"{answer.status} {answer.reason}, decision {str(decision)[:8]}…",
    )
