"""Many key sources of one namespace for one issuer: no caller's token is held against all of them."""

from __future__ import annotations

from typing import Any

from fakes.trust import ISSUER, compiled, record, settings, spec
from tailseal.domain.policy.compile import compile_policy
from tailseal.domain.policy.compiled import CompiledPolicy
from tailseal.domain.policy.index import MOST_SOURCES, PolicyIndex
from tailseal.domain.policy.review.lint import Rule, lint


def uri(number: int) -> dict[str, Any]:
    return {"keys": {"jwksURI": f"https://keys.example/{number}"}}


def of(name: str, number: int) -> CompiledPolicy:
    return compiled(uri(number), policy=name)


def acting(name: str, number: int) -> CompiledPolicy:
    actor = {"oidc": {"issuer": ISSUER, "subject": {"exact": "a"}} | uri(number)}
    return compile_policy(record(spec(actors=[actor]), name), settings())


CROWD = [of(f"team-a/p{number:03}", number) for number in range(100)]


def test_a_namespace_brings_a_few_sources_of_its_own_for_an_issuer() -> None:
    index = PolicyIndex(CROWD)
    considered = index.considered(ISSUER, None)
    assert [source.location for source in considered] == [f"https://keys.example/{n}" for n in range(MOST_SOURCES)]
    assert len(index.issuers(ISSUER)) == 100


def test_it_takes_nothing_from_another_namespace_nor_from_the_issuers_own_keys() -> None:
    plain = compiled(policy="team-b/plain")
    theirs = [of("team-b/x", 500), of("team-b/y", 99)]
    considered = PolicyIndex([*CROWD, *theirs, plain]).considered(ISSUER, None)
    assert considered[0] == plain.trust.source
    assert {theirs[0].trust.source, theirs[1].trust.source} <= set(considered)
    assert len(considered) == MOST_SOURCES + 3


def test_who_names_a_policy_is_held_against_its_source_alone() -> None:
    index = PolicyIndex(CROWD)
    assert index.considered(ISSUER, "team-a/p099") == (CROWD[99].trust.source,)
    assert len(index.considered(ISSUER, "team-a/nobody")) == MOST_SOURCES
    assert index.considered("https://other.example", "team-a/p099") == ()


def test_the_same_holds_for_actors() -> None:
    crowd = [acting(f"team-a/p{number:03}", number) for number in range(100)]
    index = PolicyIndex(crowd)
    assert len(index.acting(ISSUER, None)) == MOST_SOURCES
    named = index.acting(ISSUER, "team-a/p099")
    assert (named[0].location, len(named)) == ("https://keys.example/99", MOST_SOURCES + 1)
    assert len(index.actors(ISSUER)) == 100


def manifest(name: str, **members: Any) -> dict[str, Any]:  # noqa: ANN401 - as manifests have it
    metadata = {"name": name, "namespace": "team-a"}
    return {"apiVersion": "tailseal.dev/v1alpha1", "kind": "TrustPolicy", "metadata": metadata, "spec": spec(**members)}


def test_lint_names_the_policies_that_callers_have_to_name() -> None:
    actor = {"issuer": ISSUER, "subject": {"exact": "a"}}
    objects = [
        manifest(
            f"{letter}{n}", oidc={"subject": {"exact": f"{letter}{n}"}} | subject, actors=[{"oidc": actor | party}]
        )
        for n in range(10)
        for letter, subject, party in (("p", uri(n), {}), ("q", {}, uri(n)))
    ]
    found = lint(objects, now=0.0)
    assert {entry.key[2] for entry in found if entry.rule == Rule.CROWDED} == {"p8", "p9", "q8", "q9"}
