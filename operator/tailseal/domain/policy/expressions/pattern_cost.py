r"""Bounds what a regular expression costs: RE2 is linear in the text, and the factor is the pattern written out.

A count repeats what stands before it, and a class of Unicode is hundreds of ranges. So `\pL{64}` is three signs and
fifty milliseconds, which no budget can interrupt. The estimate is simple and errs on the side of refusing.
"""

from __future__ import annotations

import re
from typing import Final

MAX_SIZE: Final = 1000
"""Instructions that a pattern may come to, about; at a text of 2,048 characters some milliseconds."""

_COUNT: Final = re.compile(r"\{(\d+)(?:,(\d*))?\}")
_UNICODE: Final = re.compile(r"\\[pP]")
_WIDE: Final = re.compile(r"\.|\[\^|\\[xDSWC]|\[:\^|[^\x00-\x7f]|\(\?[a-zA-Z]*i")
_UNICODE_SIZE: Final = 100
_WIDE_SIZE: Final = 6
_NARROW_SIZE: Final = 2
_LONGEST: Final = 9


def size(pattern: str) -> int:
    """About how many instructions a pattern comes to, and never much less.

    What is counted is taken for the widest thing in the pattern, and a count after a group or a count multiplies all.
    """
    unicode, wide = len(_UNICODE.findall(pattern)), len(_WIDE.findall(pattern))
    widest = _UNICODE_SIZE if unicode else _WIDE_SIZE if wide else _NARROW_SIZE
    total, times = len(pattern) + unicode * _UNICODE_SIZE + wide * _WIDE_SIZE, 1
    for count in _COUNT.finditer(pattern):
        most = max(int(number[:_LONGEST] or 0) for number in (count[1], count[2] or ""))
        if pattern[count.start() - 1 : count.start()] in {")", "}"}:
            times *= max(most, 1)
        else:
            total += most * widest
    return total * times
