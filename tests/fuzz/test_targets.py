"""Whatever strangers and tenants send, nothing but an answer comes of it; the work grows no faster than the input."""

from __future__ import annotations

import base64
import json
import random
import sys
from collections.abc import Callable
from types import FrameType
from typing import Any

import orjson
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tailseal_dev.fuzz.targets import SPECS, TARGETS, WORDS

_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**70), 2**70)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(max_size=12)
    | st.sampled_from(WORDS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.sampled_from(WORDS) | st.text(max_size=8), inner),
    max_leaves=12,
)


@st.composite
def mutated(draw: st.DrawFn, seeds: tuple[bytes, ...]) -> bytes:
    """An example with some bytes changed, left out, doubled, or words of ours put in."""
    data = bytearray(draw(st.sampled_from(seeds)))
    for _ in range(draw(st.integers(1, 4))):
        at = draw(st.integers(0, len(data)))
        kind = draw(st.integers(0, 3))
        if kind == 0:
            data[at:at] = draw(st.sampled_from(WORDS)).encode()
        elif kind == 1:
            data[at : at + draw(st.integers(1, 12))] = b""
        elif kind == 2:
            data[at:at] = data[at : at + draw(st.integers(1, 40))]
        else:
            data[at : at + 1] = draw(st.binary(min_size=1, max_size=2))
    return bytes(data)


@st.composite
def edited(draw: st.DrawFn) -> bytes:
    """A policy's spec with some of its values replaced by any other, somewhere inside."""
    spec = orjson.loads(orjson.dumps(draw(st.sampled_from(SPECS))))
    for _ in range(draw(st.integers(1, 3))):
        place: Any = spec
        while isinstance(place, dict | list) and place:
            step = (
                draw(st.sampled_from(sorted(place)))
                if isinstance(place, dict)
                else draw(st.integers(0, len(place) - 1))
            )
            if draw(st.integers(0, 3)) == 0 or not isinstance(place[step], dict | list) or not place[step]:
                place[step] = draw(_JSON)
                break
            place = place[step]
    return json.dumps(spec).encode()


@pytest.mark.parametrize("name", TARGETS)
def test_no_exception_escapes(name: str) -> None:
    target, seeds = TARGETS[name]
    anything = st.binary(max_size=300) | mutated(seeds)

    @given(anything | _JSON.map(json.dumps).map(str.encode))
    @settings(max_examples=200)
    def holds(data: bytes) -> None:
        target(data)

    holds()


@given(edited())
@settings(max_examples=300)
def test_no_spec_of_a_policy_breaks_the_compiler(data: bytes) -> None:
    TARGETS["policy"][0](data)


MOST = 400_000
"""Lines of Python that an input of 8 KiB may cost: some tenths of a second while they are counted."""

GROWING: dict[str, tuple[str, Callable[[int], bytes]]] = {
    "a form of many escapes": ("form", lambda n: b"subject_token=" + b"%41" * n),
    "a form of broken escapes": ("form", lambda n: b"scope=" + b"%" * n),
    "a form of blanks": ("form", lambda n: b"scope=" + b"a+" * n + b"%00"),
    "a form of separators": ("form", lambda n: b"&" * n),
    "a token of dots": ("token", lambda n: b"." * n),
    "a token of one segment": ("token", lambda n: b"e30." + b"A" * n + b".AAAA"),
    "claims of brackets": ("claims", lambda n: b"[" * n),
    "claims of brackets in pairs": ("claims", lambda n: b'{"a":[' + b"[]," * n + b"0]}"),
    "claims of backslashes": ("claims", lambda n: b'{"a":"' + b"\\\\" * n + b'","b":1e5,' + b'"c":[[[]]]}'),
    "claims of digits": ("claims", lambda n: b'{"a":' + b"9" * n + b"}"),
    "claims of members": ("claims", lambda n: b"{" + b",".join(b'"m%d":1' % i for i in range(n // 8)) + b"}"),
    "a list of audiences": ("claims", lambda n: b'{"iss":"https://ci.example","aud":[' + b'"a",' * n + b'"b"]}'),
    "a list that a rule looks through": (
        "claims",
        lambda n: _good(groups=["team-" + "a" * 8 + "!"] * (n // 16)),
    ),
    "a subject that a glob looks through": ("claims", lambda n: _good(sub="repo:acme/" + "a/" * (n // 2))),
    "a chain of actors": ("claims", lambda n: _good(act=_nested(min(n // 8, 14)))),
    "an actor's chain": ("actor", lambda n: _good(act=_nested(min(n // 8, 14)))),
    "whom a subject lets act": ("actor", lambda n: _good(may_act={f"m{i}": "x" for i in range(n // 8)})),
    "a client's id of escapes": ("client", lambda n: b"Basic " + base64.b64encode(b"%41" * (n // 4) + b":s")),
    "a client's secret of escapes": ("client", lambda n: b"\nclient_id=post&client_secret=" + b"%41" * (n // 3)),
    "an assertion of audiences": (
        "assertion",
        lambda n: b'{"iss":"keyed","sub":"keyed","aud":[' + b'"a",' * n + b'"b"]}',
    ),
    "a proof's URL of escapes": ("proof", lambda n: _proof("https://idp.example/" + "%41" * (n // 3))),
    "a proof's URL of dots": ("proof", lambda n: _proof("https://idp.example/" + "a/../" * (n // 5))),
    "a proof's modulus": ("proof-key", lambda n: _key(n=("A" * n), e="AQAB", kty="RSA")),
    "a proof's exponent": ("proof-key", lambda n: _key(n="A" * 342, e="A" * n, kty="RSA")),
    "a key set of keys": ("key-set", lambda n: b'{"keys":[' + b",".join([b'{"kty":"RSA"}'] * (n // 16)) + b"]}"),
    "a key set of big keys": (
        "key-set",
        lambda n: b'{"keys":[{"kty":"RSA","e":"AQAB","n":"' + b"A" * n + b'"}]}',
    ),
    "a regex in a policy": ("policy", lambda n: _rule({"regex": "(a*)*" * (n // 64) + "$"})),
    "a glob in a policy": ("policy", lambda n: _rule({"glob": "*a" * (n // 16)})),
    "a condition in a policy": ("policy", lambda n: _rule(condition="(" * (n // 64) + "true" + ")" * (n // 64))),
    "fields that no policy has": ("policy", lambda n: orjson.dumps({f"x{i}": 1 for i in range(n // 8)})),
    "fields that no grant has": (
        "policy",
        lambda n: orjson.dumps({"grants": [{"name": "a", "jwt": {f"x{i}": 1 for i in range(n // 8)}}]}),
    ),
    "scopes of TailSTS": ("tailsts", lambda n: b'Bearer x\n{"scopes":[' + b'"a",' * n + b'"b"]}'),
    "blanks of TailSTS": ("tailsts", lambda n: b"Bearer x\n" + b" " * n),
}


@pytest.mark.parametrize(("name", "grow"), GROWING.values(), ids=list(GROWING))
def test_work_grows_no_faster_than_the_input(name: str, grow: Callable[[int], bytes]) -> None:
    target = TARGETS[name][0]
    for size in (256, 2048):
        target(grow(size))  # what is made once is made now
    small, large = (_steps(target, grow(size)) for size in (1024, 8192))
    assert large <= 12 * small + 2000
    assert large < MOST


@pytest.mark.parametrize("name", TARGETS)
def test_no_bytes_cost_more_than_their_share(name: str) -> None:
    target, seeds = TARGETS[name]
    noise = random.Random(1)
    for seed in seeds:
        target(seed)
        for _ in range(20):
            data = bytearray(seed * (8192 // len(seed) + 1))[:8192]
            for _ in range(8):
                data[noise.randrange(len(data))] = noise.randrange(256)
            assert _steps(target, bytes(data)) < MOST


def _steps(target: Callable[[bytes], None], data: bytes) -> int:
    """Lines that Python ran, a measure of work that no other program on the machine disturbs."""
    count = 0

    def local(_frame: FrameType, event: str, _argument: object) -> Any:  # noqa: ANN401 - a trace function
        nonlocal count
        count += event == "line"
        return local

    former = sys.gettrace()
    sys.settrace(lambda _frame, _event, _argument: local)
    try:
        target(data)
    finally:
        sys.settrace(former)
    return count


def _good(**changes: object) -> bytes:
    return orjson.dumps(orjson.loads(TARGETS["claims"][1][0]) | changes)


def _proof(url: str) -> bytes:
    return orjson.dumps(orjson.loads(TARGETS["proof"][1][0]) | {"htu": url})


def _key(**members: str) -> bytes:
    return orjson.dumps({"typ": "dpop+jwt", "alg": "RS256", "jwk": members})


def _rule(subject: dict[str, str] | None = None, **members: object) -> bytes:
    oidc = SPECS[1]["from"]["oidc"] | members
    return orjson.dumps({"from": {"oidc": oidc | ({"subject": subject} if subject else {})}})


def _nested(depth: int) -> dict[str, object]:
    actor: dict[str, object] = {"sub": "a"}
    for _ in range(depth):
        actor = {"sub": "a", "act": actor}
    return actor
