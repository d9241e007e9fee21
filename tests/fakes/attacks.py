"""The attacks that JWT libraries have fallen to, as subject tokens of the foreign issuer, each with its reason."""

from __future__ import annotations

import hashlib
import hmac
import json
from collections.abc import Callable

from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from fakes.exchange import FOREIGN, OURS, claims, ec_key, jwk, rsa_key, segment, token
from tailseal.tokens import compact

GOOD = {"alg": "RS256", "kid": "f1", "typ": "JWT"}
PUBLIC = rsa_key("foreign").public_key()
PEM = PUBLIC.public_bytes(serialization.Encoding.PEM, serialization.PublicFormat.SubjectPublicKeyInfo)
FOREIGN_JWK = jwk(rsa_key("foreign"), "f1", "RS256")


def parts(header: object, signature: bytes, payload: object | None = None) -> str:
    return b".".join((segment(header), segment(claims() if payload is None else payload), segment(signature))).decode()


def hs256(secret: bytes, **header: object) -> str:
    head = {"alg": "HS256", "kid": "f1"} | header
    signing_input = segment(head) + b"." + segment(claims())
    return (signing_input + b"." + segment(hmac.new(secret, signing_input, hashlib.sha256).digest())).decode()


def re_signed(payload: bytes) -> str:
    return token(payload)


def ecdsa(signature: bytes) -> str:
    return parts({"alg": "ES256", "kid": "e1"}, signature)


def bit_flipped() -> str:
    good = bytearray(token().encode())
    good[-10] = ord("A") if good[-10] != ord("A") else ord("B")
    return good.decode()


def signature_cut() -> str:
    head, body, tail = token().split(".")
    return ".".join((head, body, segment(compact.decode(tail.encode())[:-3]).decode()))


def payload_swapped() -> str:
    head, _, tail = token().split(".")
    return ".".join((head, segment(claims(sub="repo:acme/admin")).decode(), tail))


PLAIN = json.dumps(claims()).encode()

ATTACKS: dict[str, tuple[Callable[[], str], str]] = {
    "alg none without a signature": (lambda: parts({"alg": "none"}, b""), "TokenMalformed"),
    "alg none with a signature": (lambda: parts({"alg": "none", "kid": "f1"}, b"s"), "AlgorithmNotAllowed"),
    "alg None": (lambda: parts({"alg": "None", "kid": "f1"}, b"s"), "AlgorithmNotAllowed"),
    "alg nOnE": (lambda: parts({"alg": "nOnE", "kid": "f1"}, b"s"), "AlgorithmNotAllowed"),
    "alg empty": (lambda: parts({"alg": "", "kid": "f1"}, b"s"), "TokenMalformed"),
    "alg missing": (lambda: parts({"kid": "f1"}, b"s"), "TokenMalformed"),
    "alg in lower case": (lambda: token(header=GOOD | {"alg": "rs256"}), "AlgorithmNotAllowed"),
    "HS256 with the public PEM": (lambda: hs256(PEM), "AlgorithmNotAllowed"),
    "HS256 with the JWK's bytes": (lambda: hs256(json.dumps(FOREIGN_JWK).encode()), "AlgorithmNotAllowed"),
    "HS256 with an empty secret": (lambda: hs256(b""), "AlgorithmNotAllowed"),
    "HS256 without kid": (lambda: hs256(PEM, kid="x"), "UnknownKey"),
    "another algorithm of the same key": (
        lambda: token(alg="PS256", header=GOOD | {"alg": "PS256"}),
        "AlgorithmNotAllowed",
    ),
    "another key": (lambda: token(key=rsa_key("attacker")), "BadSignature"),
    "kid as a path": (lambda: token(header=GOOD | {"kid": "../../../../dev/null"}), "UnknownKey"),
    "kid as SQL": (lambda: token(header=GOOD | {"kid": "x' UNION SELECT 'f1"}), "UnknownKey"),
    "kid with a null byte": (lambda: token(header=GOOD | {"kid": "f1\x00"}), "UnknownKey"),
    "kid null": (lambda: token(header=GOOD | {"kid": None}), "TokenMalformed"),
    "kid as a list": (lambda: token(header=GOOD | {"kid": ["f1"]}), "TokenMalformed"),
    "jku": (lambda: token(header=GOOD | {"jku": "https://attacker.example/jwks"}), "EmbeddedKey"),
    "x5u": (lambda: token(header=GOOD | {"x5u": "https://attacker.example/x"}), "EmbeddedKey"),
    "x5c": (lambda: token(header=GOOD | {"x5c": ["AAAA"]}), "EmbeddedKey"),
    "embedded jwk": (
        lambda: token(header=GOOD | {"jwk": jwk(rsa_key("attacker"), "f1", "RS256")}, key=rsa_key("attacker")),
        "EmbeddedKey",
    ),
    "unknown crit": (lambda: token(header=GOOD | {"crit": ["x"], "x": 1}), "UnsupportedHeader"),
    "empty crit": (lambda: token(header=GOOD | {"crit": []}), "UnsupportedHeader"),
    "b64 false": (lambda: token(header=GOOD | {"b64": False}), "UnsupportedHeader"),
    "typ of a DPoP proof": (lambda: token(header=GOOD | {"typ": "dpop+jwt"}), "WrongTokenType"),
    "ECDSA of zeros": (lambda: ecdsa(bytes(64)), "BadSignature"),
    "ECDSA with r of zero": (lambda: ecdsa(bytes(32) + b"\x01" * 32), "BadSignature"),
    "ECDSA with s of zero": (lambda: ecdsa(b"\x01" * 32 + bytes(32)), "BadSignature"),
    "ECDSA out of range": (lambda: ecdsa(b"\xff" * 64), "BadSignature"),
    "ECDSA in DER": (
        lambda: ecdsa(ec_key("foreign").sign(b"x", ec.ECDSA(hashes.SHA256()))),
        "BadSignature",
    ),
    "ECDSA too short": (lambda: ecdsa(bytes(63)), "BadSignature"),
    "signature cut": (signature_cut, "BadSignature"),
    "signature lengthened": (lambda: token() + "AAAA", "BadSignature"),
    "one bit flipped": (bit_flipped, "BadSignature"),
    "payload swapped": (payload_swapped, "BadSignature"),
    "two iss": (lambda: re_signed(PLAIN[:-1] + b', "iss": "https://attacker.example"}'), "DuplicateMember"),
    "two sub": (lambda: re_signed(PLAIN[:-1] + b', "s\\u0075b": "repo:acme/app"}'), "DuplicateMember"),
    "two alg": (lambda: token(header=b'{"alg":"none","alg":"RS256","kid":"f1"}'), "DuplicateMember"),  # type: ignore[arg-type]
    "deep nesting": (lambda: re_signed(PLAIN[:-1] + b', "x": ' + b"[" * 900 + b"]" * 900 + b"}"), "TokenTooDeep"),
    "a huge integer": (lambda: re_signed(PLAIN[:-1] + b', "x": ' + b"9" * 5000 + b"}"), "TokenMalformed"),
    "exp as a text": (lambda: token(claims(exp="9999999999")), "ClaimMalformed"),
    "exp as a float": (lambda: token(claims(exp=9999999999.5)), "ClaimMalformed"),
    "exp as a boolean": (lambda: token(claims(exp=True)), "ClaimMalformed"),
    "exp beyond every calendar": (lambda: token(claims(exp=10**18)), "ClaimMalformed"),
    "exp missing": (lambda: token(claims(exp=None)), "ClaimMissing"),
    "aud of another": (lambda: token(claims(aud=["https://a.example", "https://b.example"])), "AudienceNotTrusted"),
    "aud with a slash more": (lambda: token(claims(aud=OURS + "/")), "AudienceNotTrusted"),
    "aud as an object": (lambda: token(claims(aud={OURS: 1})), "ClaimMalformed"),
    "iss with a Unicode twin": (lambda: token(claims(iss=FOREIGN.replace("c", "\u0441"))), "UnknownIssuer"),
    "iss in upper case": (lambda: token(claims(iss=FOREIGN.upper())), "UnknownIssuer"),
    "iss with a line end": (lambda: token(claims(iss=FOREIGN + "\n")), "UnknownIssuer"),
    "iss as a list": (lambda: token(claims(iss=[FOREIGN])), "ClaimMalformed"),
    "sub with a line end": (lambda: token(claims(sub="repo:acme/app\n")), "NoPolicyMatches"),
    "sub in another case": (lambda: token(claims(sub="repo:Acme/app")), "NoPolicyMatches"),
    "sub composed otherwise": (lambda: token(claims(sub="repo:acme/a\u030app")), "NoPolicyMatches"),
    "padding": (lambda: token() + "=", "TokenMalformed"),
    "the standard alphabet": (lambda: token().replace("_", "/").replace("-", "+"), "TokenMalformed"),
    "a line end": (lambda: token() + "\n", "TokenMalformed"),
    "blanks around": (lambda: " " + token() + " ", "TokenMalformed"),
    "a fourth segment": (lambda: token() + ".AAAA", "TokenMalformed"),
    "an encrypted token": (lambda: "a.b.c.d.e", "TokenMalformed"),
    "JSON serialisation": (lambda: json.dumps({"payload": "e30", "signatures": []}), "TokenMalformed"),
    "too long": (lambda: token(claims(x="x" * 20_000)), "TokenTooLarge"),
    "not ASCII": (lambda: token() + "é", "TokenMalformed"),
}
