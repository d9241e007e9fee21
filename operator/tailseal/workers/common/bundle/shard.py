"""Decodes one shard of policies, each on its own: one that cannot be used grants nothing and harms no other."""

from __future__ import annotations

import zlib
from typing import Any, Final

from pydantic import ValidationError

from tailseal.domain.bundle.model import PolicyRecord, Settings, Shard
from tailseal.domain.policy.compile import PolicyError, compile_policy
from tailseal.domain.policy.compiled import CompiledPolicy
from tailseal.workers.common.bundle.problem import BundleError, Problem, explain

LARGEST: Final = 8 * 1024 * 1024
"""Bytes that a shard may hold once decompressed."""

_GZIP: Final = 31

Decoded = tuple[tuple[CompiledPolicy, ...], tuple[Problem, ...]]


def decode(name: str, content: bytes, settings: Settings) -> Decoded:
    """The shard's policies that may grant, and what is wrong with the others.

    Args:
        name: of the file, for texts.
        content: of the file.
        settings: that the policies are compiled against.

    Raises:
        BundleError: the shard as a whole cannot be read.
    """
    policies: list[CompiledPolicy] = []
    problems: list[Problem] = []
    for position, record in enumerate(_records(name, content)):
        try:
            policies.append(compile_policy(PolicyRecord.model_validate(record), settings))
        except ValidationError as error:
            problems.append(Problem("PolicyUndecodable", f"{name}: policies.{position}: {explain(error)}"))
        except PolicyError as error:
            problems.append(Problem("PolicyRefused", f"{_id(record)}: {error}"))
        except Exception as error:  # noqa: BLE001 - whatever one policy does to the compiler, the rest load
            problems.append(Problem("PolicyRefused", f"{_id(record)}: {type(error).__name__} while compiling"))
    return tuple(policies), tuple(problems)


def inflate(name: str, content: bytes) -> bytes:
    """The content of a compressed file.

    Raises:
        BundleError: it is none, or too large.
    """
    inflater = zlib.decompressobj(_GZIP)
    try:
        plain = inflater.decompress(content, LARGEST)
    except zlib.error:
        raise BundleError("ShardUnreadable", f"{name}: not gzip") from None
    if not inflater.eof:
        raise BundleError("ShardUnreadable", f"{name}: cut short, or larger than {LARGEST} bytes")
    return plain


def _records(name: str, content: bytes) -> tuple[dict[str, Any], ...]:
    try:
        return Shard.model_validate_json(inflate(name, content)).policies
    except ValidationError as error:
        raise BundleError("ShardUnreadable", f"{name}: {explain(error)}") from None


def _id(record: dict[str, Any]) -> str:
    return f"{record.get('namespace')}/{record.get('name')}"
