"""Why our answers differ from npm oidc-provider's: a rule for each difference, and the table that people read."""

from __future__ import annotations

import re
from collections.abc import Sequence
from typing import Final, NamedTuple

from fakes.oidcdifferences import Answer
from fakes.oidcrequests import Sent


class Rule(NamedTuple):
    """One reason.

    Args:
        why: the reason.
        path: of the endpoints that it is about, as a regular expression, like the others.
        ours: our answer.
        theirs: the other's.
        names: of the requests.
    """

    why: str
    path: str = r".*"
    ours: str = r".*"
    theirs: str = r".*"
    names: str = r".*"

    def holds(self, sent: Sent, ours: Answer, theirs: Answer) -> bool:
        """Whether it explains the difference."""
        pairs = ((self.path, sent.path), (self.ours, ours), (self.theirs, theirs), (self.names, sent.name))
        return all(re.fullmatch(pattern, str(text)) for pattern, text in pairs)


RULES: Final = (
    Rule(
        "RFC 9110 section 15.5.6: what is there, but not for that method, is 405 with `Allow`.",
        r".*",
        r"405 .*",
        r"404 .*",
    ),
    Rule(
        "Answers browsers' questions about other origins also without `Origin`.",
        r"/(token|revoke|par|device_authorization)",
        "204 ok",
        "404 .*",
    ),
    Rule(
        "RFC 6749 section 5.2: `invalid_client` is also for a request without client authentication, or with one that "
        "cannot be read.",
        r".*",
        "401 invalid_client",
        "400 invalid_request",
    ),
    Rule(
        "A client proves itself by the method that it is registered for (OpenID Connect Core section 9).",
        r".*",
        "401 invalid_client",
        r"20[01] (ok|inactive)",
        r".*a client of another method",
    ),
    Rule("RFC 9110 section 15.5.14: a body that is too long is 413.", r".*", "413 .*", "400 .*"),
    Rule(
        "RFC 6749 section 5.2: `unauthorized_client` is for a client that may not use the grant.",
        r"/(token|device_authorization)",
        "400 unauthorized_client",
        "400 invalid_request",
    ),
    Rule(
        "RFC 6749 sections 3.1 and 3.2: no parameter stands more than once, known or not; what cannot be read in one "
        "way is refused.",
        r".*",
        r".* (error=)?invalid_request",
        r"200 (ok|asks)",
        r"unheard_of twice|bytes",
    ),
    Rule(
        "Without scope `openid` it is OAuth 2.0 (RFC 6749): a nonce has no meaning then, and is no mistake.",
        "/authorize",
        "200 asks",
        ".*error=invalid_request",
        r"(no|empty) scope|scope=(foo|email)",
    ),
    Rule(
        "A person has one account on a node: `select_account` asks whether it is the right one.",
        r"/(authorize|par)",
        r"20[01] (asks|ok)",
        r".*invalid_request",
        "prompt=select_account",
    ),
    Rule(
        "Parameter `claims` that wishes for nothing is no mistake (OpenID Connect Core section 5.5: both members "
        "may be left out).",
        r"/(authorize|par)",
        r"20[01] (asks|ok)",
        r".*invalid_request",
        "claims={}",
    ),
    Rule(
        "RFC 9449 section 10: a thumbprint has 43 characters; another binds the code to no key.",
        r"/(authorize|par)",
        r".*invalid_request",
        r"20[01] (asks|ok)",
        "dpop_jkt=short",
    ),
    Rule(
        "RFC 6749 section 4.1.2.1 has `invalid_request` for a value that is none, and no RFC a code for this.",
        r"/(authorize|par)",
        r".*invalid_request",
        r".*unsupported_response_mode",
    ),
    Rule(
        "Nobody can log in as somebody else at this node, so another person is refused at once.",
        "/authorize",
        ".*login_required",
        "200 asks",
        "claims=.*sub.*",
    ),
    Rule(
        "The response type is `code`; a word that stands twice is another one.",
        r"/(authorize|par)",
        r".*unsupported_response_type",
        r"20[01] (asks|ok)",
        "response_type=code code",
    ),
    Rule(
        "We have no response type whose answer comes in the fragment, so a refusal comes there only where "
        "`response_mode` asks for it.",
        "/authorize",
        ".*unsupported_response_type",
        ".*# error=unsupported_response_type",
    ),
    Rule(
        "OpenID Connect Core section 3.1.2.1 requires `redirect_uri`, also of a client that has one only.",
        "/authorize",
        "400 invalid_request",
        "200 asks",
        r"(no|empty) redirect_uri",
    ),
    Rule(
        "Where it is not certain where to send somebody, nobody is sent anywhere.",
        "/authorize",
        "400 invalid_request",
        ".*error=invalid_request",
        "redirect_uri twice",
    ),
    Rule(
        "Beside a `request_uri` no other parameter counts, so there is no place that a refusal could be sent to.",
        "/authorize",
        "400 invalid_request_uri",
        ".*error=invalid_request_uri",
    ),
    Rule(
        "A page for people: the code is for those who are told of it, and RFC 6749 section 4.1.2.1 names none.",
        "/authorize",
        "400 invalid_request",
        "400 invalid_(client|redirect_uri)",
    ),
    Rule(
        "RFC 9126 section 2.1: `request_uri` must not be pushed; its section 2.3 has the codes of RFC 6749.",
        "/par",
        "400 invalid_request",
        "400 request_uri_not_supported",
    ),
    Rule(
        "RFC 7662 section 2.2: a token that is none for here is not active, and that is no error.",
        "/introspect",
        "200 inactive",
        "400 unsupported_token_type",
    ),
    Rule(
        "RFC 7009 section 2.2: what is no token of ours needs no revoking, so the request succeeds.",
        "/revoke",
        "200 ok",
        "400 unsupported_token_type",
    ),
    Rule(
        "Who is not logged in has nothing to be asked, and is sent back at once.",
        "/logout",
        r"(200 ok|303 to .*)",
        "200 asks",
    ),
    Rule(
        "RP-Initiated Logout section 3: a return that nobody is known to have registered is an error.",
        "/logout",
        "400 invalid_request",
        "200 asks",
    ),
    Rule("A page for people; no document names a code for it.", "/logout", "400 invalid_request", "400 invalid_client"),
    Rule(
        "RFC 7591 section 3.2.2: metadata that cannot be read are invalid metadata.",
        "/register",
        "400 invalid_client_metadata",
        "400 invalid_request",
    ),
    Rule(
        "Codes go over https, or to the browser's own machine (RFC 9700 section 2.6).",
        "/register",
        "400 invalid_redirect_uri",
        "201 ok",
        "plain http",
    ),
    Rule("The body's type is looked at first.", "/register/.*", "400 invalid_request", "401 invalid_token"),
    Rule(
        "RFC 6749 section 4.1.3: a `redirect_uri` of the authorization request stands in the token request, too.",
        "/token",
        "400 invalid_grant",
        "200 ok",
        "no redirect_uri",
    ),
    Rule(
        "RFC 6749 section 4.4: a client has no scope of a person in its own name, nor one that nobody knows.",
        "/token",
        "400 invalid_scope",
        "200 ok",
        "client credentials .*",
    ),
    Rule(
        "RFC 6750 section 3.1: a request without an access token that counts is 401, with the scheme to come by.",
        "/userinfo",
        "401 invalid_token",
        "400 invalid_request",
    ),
)

_HEAD: Final = """# Differences from another provider

The tests send {count} requests, good and bad, to `tailseal serve` and to npm `oidc-provider` {version}, a certified
provider, with the same clients, and compare status, error code, and where a browser is sent. {differ} answers differ.
Each difference has its reason here, or the test fails; so this page is made by it:
`TAILSEAL_WRITE_DIFFERENCES=1 python -m pytest tests/serve/test_oidc_differences.py`.

| endpoint | request | Tailseal | oidc-provider | why |
|---|---|---|---|---|
"""


def explained(found: Sequence[tuple[Sent, Answer, Answer]], version: str) -> tuple[str, list[str]]:
    """The page, and what is wrong with the rules.

    Args:
        found: requests, with our answer and the other's.
        version: of the other.
    """
    differ = [each for each in found if each[1] != each[2]]
    rows: dict[tuple[str, str, str, str], list[str]] = {}
    used: set[str] = set()
    wrong: list[str] = []
    for sent, ours, theirs in differ:
        rule = next((rule for rule in RULES if rule.holds(sent, ours, theirs)), None)
        if rule is None:
            wrong.append(f"{sent.key}: {ours}, not {theirs}: fix it, or say why")
            continue
        used.add(rule.why)
        rows.setdefault((sent.path, str(ours), str(theirs), rule.why), []).append(f"{sent.method} {sent.name}")
    wrong += [f"explains nothing any more: {rule.why}" for rule in RULES if rule.why not in used]
    head = _HEAD.format(count=len(found), differ=len(differ), version=version)
    lines = [_row(key, rows[key]) for key in sorted(rows)]
    return head + "\n".join(lines) + "\n", wrong


def _row(key: tuple[str, str, str, str], names: list[str]) -> str:
    path, ours, theirs, why = key
    return f"| `{path}` | {'; '.join(_names(names))} | {ours} | {theirs} | {why} |".replace("\n", " ")


def _names(names: Sequence[str]) -> list[str]:
    """Each name once, with the methods that it was tried with, if there are several."""
    methods: dict[str, list[str]] = {}
    for entry in names:
        method, _, name = entry.partition(" ")
        methods.setdefault(name, []).append(method)
    return [f"{', '.join(methods[name])} {_code(name)}" for name in methods]


def _code(name: str) -> str:
    short = name if len(name) <= 60 else f"{name[:57]}…"
    return f"`{short}`" if re.search(r"[=\"{]", short) else short
