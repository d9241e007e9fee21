"""What the exchange core is asked and what it answers: a decision, or what its shell must wait for first."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Final, Literal, NamedTuple, Protocol

from tailseal.domain.policy.expressions.conditions import Bottomless
from tailseal.domain.policy.grants import AUTH_KEY, GrantRequest
from tailseal.domain.policy.source import KeySource
from tailseal.tokens import answers, refusals, verify
from tailseal.tokens.answers import Header, Refusal, Response
from tailseal.tokens.compact import Compact
from tailseal.tokens.keyset import KeySet
from tailseal.tokens.request import TokenRequest
from tailseal.tokens.standing import Standings
from tailseal.tokens.vouched import Vouched

Audit = dict[str, object]


class KeySets(Protocol):
    """Foreign keys in hand."""

    def get(self, source: KeySource, kid: str | None) -> KeySet | None:
        """The set to verify with, or None if it must be loaded first."""
        ...


class Watch(Protocol):
    """What the shell has a say in while one request is decided."""

    def saw(self, token: Compact, asked: GrantRequest, actor: Compact | None) -> None:
        """Told of a well-formed token, and again with the actor's if that is one; nothing of them is verified yet."""
        ...

    def admit(self, issuer: str, policy: str) -> Refusal | None:
        """Asked once a policy grants, before anything is signed or asked upstream; the refusal, if it is too often.

        Args:
            issuer: of the verified subject token.
            policy: id of the policy.
        """
        ...

    def mark(self, namespace: str, seconds: float) -> Refusal | None:
        """Asked before a mark of what counts once is needed; the refusal, if too much is kept already.

        Args:
            namespace: of the policy.
            seconds: how long it is to be kept.
        """
        ...

    def affords(self, namespace: str) -> bool:
        """Asked before expressions of the namespace's policies are evaluated."""
        ...

    def pay(self, namespace: str, seconds: float) -> None:
        """Told what they took."""
        ...

    def replayed(self) -> None:
        """Told that a mark was somebody's already: nothing is given."""
        ...


class _Nobody(Bottomless):
    def saw(self, token: Compact, asked: GrantRequest, actor: Compact | None) -> None:
        pass

    def admit(self, issuer: str, policy: str) -> Refusal | None:  # noqa: ARG002 - the protocol's
        return None

    def mark(self, namespace: str, seconds: float) -> Refusal | None:  # noqa: ARG002 - the protocol's
        return None

    def replayed(self) -> None:
        pass


NOBODY: Final[Watch] = _Nobody()


class Call(NamedTuple):
    """One HTTP request to the token endpoint.

    Args:
        body: as received.
        decision: id of this decision; also the `jti` of a token that we sign for it.
        content_type: header `Content-Type`, else empty.
        accept: header `Accept`, else empty.
        authorization: whether a header `Authorization` came along.
        peer: the caller's address, for the audit line.
        watch: who is told and asked while it is decided.
        dialect: reads the body where it is not RFC 8693's; raises `RequestError`.
        dpop: header `DPoP`, None if there is none.
        nonce: what to hand out for the caller's next proof; empty: nothing.
        taken: marks of what counts once that this request has taken.
        vouched: the subject, where it is known without a token.
        client: id of the client that has proven that the request is its own; empty: none has.
        logins: what people are granted now who logged in for tokens of ours; None: nobody saw whether logins go on.
    """

    body: bytes
    decision: str
    content_type: str = ""
    accept: str = ""
    authorization: bool = False
    peer: str = ""
    watch: Watch = NOBODY
    dialect: Callable[[bytes], TokenRequest] | None = None
    dpop: str | None = None
    nonce: str = ""
    taken: frozenset[bytes] = frozenset()
    vouched: Vouched | None = None
    client: str = ""
    logins: Standings | None = None


class Answered(NamedTuple):
    """The decision: write the audit line, then send the response.

    Args:
        response: what the caller gets.
        audit: the line's fields: identifiers and reasons, no token.
        result: `granted`, `refused` or `error`, for the metric.
        reason: stable word, empty where granted.
    """

    response: Response
    audit: Audit
    result: str
    reason: str


class NeedKeys(NamedTuple):
    """Load the keys of these sources and step again after each; name as unavailable whose keys cannot be had."""

    sources: tuple[KeySource, ...]
    kid: str | None


class KeyTerms(NamedTuple):
    """What a key to join the network is to be, besides its tags.

    Args:
        ephemeral: whether the node goes when it is offline.
        expiry: seconds in which the key can be used.
        policy: id of the policy that allows it; the key says it.
    """

    ephemeral: bool
    expiry: int
    policy: str


@dataclass(frozen=True, slots=True)
class NeedUpstream:
    """Ask an upstream for a token with exactly these scopes and tags, or for a key; then call `finish` or `refuse`.

    Args:
        upstream: name in the settings.
        scopes: what the grant gives, narrowed to the request.
        tags: likewise.
        call: the request.
        audit: fields gathered so far.
        key: None: a token is needed; else a key to join the network, on these terms.
    """

    upstream: str
    scopes: tuple[str, ...]
    tags: tuple[str, ...]
    call: Call = field(repr=False)
    audit: Audit
    key: KeyTerms | None = None

    @property
    def kind(self) -> Literal["token", "auth-key"]:
        """What is asked for."""
        return "token" if self.key is None else "auth-key"

    def is_met_by(self, other: NeedUpstream) -> bool:
        """Whether what is given for the other need is just what this one asks for."""
        return (self.upstream, self.scopes, self.tags, self.key) == (
            other.upstream,
            other.scopes,
            other.tags,
            other.key,
        )


Outcome = Answered | NeedKeys | NeedUpstream

NOTHING_UNAVAILABLE: Final[Mapping[KeySource, str]] = {}


def finish(need: NeedUpstream, given: str, *, expires_in: int, scopes: Sequence[str]) -> Answered:
    """The answer with an upstream's token or key.

    Args:
        need: what was asked for.
        given: what the upstream gave: for this caller and nobody else.
        expires_in: seconds, as the upstream says.
        scopes: what the token grants.
    """
    is_key = need.kind == "auth-key"
    return granted(
        need.call,
        need.audit,
        given,
        issued_type=AUTH_KEY if is_key else verify.ACCESS_TOKEN,
        token_type="N_A" if is_key else "Bearer",
        expires_in=expires_in,
        scopes=scopes,
    )


def refuse(call: Call, audit: Audit, refusal: Refusal) -> Answered:
    """The answer without a token; the reason goes to the caller, the audit line and the metric alike."""
    result = "error" if refusal.status >= 500 else "refused"  # noqa: PLR2004 - the class of server errors
    audit["result"] = result
    audit["reason"] = refusal.reason
    response = answers.refused(
        refusal, decision=call.decision, text=answers.wants_text(call.accept), extra=_extra(call)
    )
    return Answered(response, audit, result, refusal.reason)


def unavailable(call: Call, reason: str, now: float) -> Answered:
    """The answer where nothing can be granted now, whatever the request says.

    Args:
        call: the request.
        reason: stable word, e.g. an `Outage`.
        now: Unix seconds.
    """
    return turned_away(call, refusals.unavailable(reason), now)


def turned_away(call: Call, refusal: Refusal, now: float) -> Answered:
    """The answer to a request that nobody looked at.

    Args:
        call: the request.
        refusal: why not.
        now: Unix seconds.
    """
    return refuse(call, {"time": now, "decision": call.decision, "caller": call.peer}, refusal)


def granted(
    call: Call, audit: Audit, token: str, *, issued_type: str, token_type: str, expires_in: int, scopes: Sequence[str]
) -> Answered:
    """The answer with a token; the arguments are those of `answers.granted`."""
    audit["result"] = "granted"
    audit["expiresIn"] = expires_in
    response = answers.granted(
        token,
        issued_type=issued_type,
        token_type=token_type,
        expires_in=expires_in,
        scopes=scopes,
        text=answers.wants_text(call.accept),
        extra=_extra(call),
    )
    return Answered(response, audit, "granted", "")


def _extra(call: Call) -> Sequence[Header]:
    return ((b"dpop-nonce", call.nonce.encode()),) if call.nonce else ()
