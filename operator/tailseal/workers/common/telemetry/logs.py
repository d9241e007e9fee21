"""The application log: one JSON object a line on standard error, whoever logs; the audit log is elsewhere."""

from __future__ import annotations

import logging
from typing import Any, Final, TextIO, cast

import orjson
import structlog

from tailseal.workers.common.telemetry.lines import STANDARD_ERROR, Lines

_QUIET: Final = ("uvicorn", "uvicorn.access", "httpx", "httpcore", "asyncio", "watchfiles")


def configure(level: str = "info", stream: TextIO | Lines = STANDARD_ERROR) -> None:
    """Set up structlog, and let the standard library's loggers end in the same place.

    Args:
        level: `debug`, `info`, `warning` or `error`.
        stream: where to.
    """
    number = logging.getLevelNamesMapping()[level.upper()]
    shared: list[Any] = [
        structlog.contextvars.merge_contextvars,
        structlog.processors.add_log_level,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.format_exc_info,
    ]
    structlog.configure(
        processors=[*shared, structlog.processors.JSONRenderer(serializer=_dumps)],
        wrapper_class=structlog.make_filtering_bound_logger(number),
        logger_factory=structlog.WriteLoggerFactory(cast("TextIO", stream)),
        cache_logger_on_first_use=False,
    )
    handler = logging.StreamHandler(stream)
    handler.setFormatter(
        structlog.stdlib.ProcessorFormatter(
            foreign_pre_chain=shared,
            processors=[
                structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                structlog.processors.JSONRenderer(serializer=_dumps),
            ],
        )
    )
    logging.basicConfig(handlers=[handler], level=number, force=True)
    for name in _QUIET:
        logging.getLogger(name).setLevel(logging.WARNING)
    logging.getLogger("uvicorn.error").setLevel(logging.ERROR)  # it warns at each request that is no HTTP


def _dumps(event: Any, **_: Any) -> str:  # noqa: ANN401 - whatever is logged
    return orjson.dumps(event, default=str).decode()
