"""Reads the URL of a PostgreSQL database; what is not understood is refused: a guess could send it in the clear."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final, Literal, get_args
from urllib.parse import parse_qsl, unquote, urlsplit

SSLMode = Literal["disable", "require", "verify-ca", "verify-full"]

_MODES: Final[tuple[str, ...]] = get_args(SSLMode)
_PORT: Final = 5432


class URLInvalid(ValueError):  # noqa: N818 - what is wrong
    """The text is no URL of a database; the message holds nothing of it."""


@dataclass(frozen=True, slots=True)
class DatabaseURL:
    """Where a database is and who we are to it.

    Args:
        host: name or address.
        port: of TCP.
        user: role to log in as.
        password: empty: none.
        database: its name.
        sslmode: as libpq's; `require` encrypts and checks nothing.
    """

    host: str
    port: int
    user: str
    password: str = field(repr=False)
    database: str
    sslmode: SSLMode = "verify-full"

    @classmethod
    def parse(cls, text: str) -> DatabaseURL:
        """Read `postgresql://user:password@host[:port]/database[?sslmode=…]`.

        Raises:
            URLInvalid: says what would be right.
        """
        try:
            parts = urlsplit(text.strip())
            host, port = parts.hostname or "", parts.port or _PORT
            query = parse_qsl(parts.query, strict_parsing=True) if parts.query else []
        except ValueError:
            raise URLInvalid(_SHAPE) from None
        user, database = unquote(parts.username or ""), unquote(parts.path.removeprefix("/"))
        shaped = parts.scheme in ("postgresql", "postgres") and host and user and database and not parts.fragment
        if not shaped or "," in parts.netloc.rpartition("@")[2] or "/" in database or "%" in host:
            raise URLInvalid(_SHAPE)
        return cls(host, port, user, unquote(parts.password or ""), database, _mode(query))


def _mode(query: list[tuple[str, str]]) -> SSLMode:
    if any(name != "sslmode" for name, _ in query) or len(query) > 1:
        raise URLInvalid("only sslmode is understood after the question mark, and once")
    wanted = query[0][1] if query else "verify-full"
    for mode in get_args(SSLMode):
        if mode == wanted:
            found: SSLMode = mode
            return found
    raise URLInvalid(f"sslmode must be one of {', '.join(_MODES)}: others may fall back to an open connection")


_SHAPE: Final = "must be postgresql://user:password@host:port/database, with one host and special characters as %xx"
