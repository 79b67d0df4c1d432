"""Structured logs: one JSON object a line, to stderr or a file.

In: an event name and fields. Out: `{"t": RFC 3339 UTC, "level", "component", "event", …}`.
Always holds: a field that cannot be written as JSON is written as its text; a line is at most
8 kB.
"""

from __future__ import annotations

import json
import logging
import sys
from datetime import UTC, datetime
from pathlib import Path

LINE_CHARS_MAX = 8192


class _JsonLines(logging.Formatter):
    def __init__(self, component: str) -> None:
        super().__init__()
        self._component = component

    def format(self, record: logging.LogRecord) -> str:
        line: dict[str, object] = {
            "t": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname.lower(),
            "component": self._component,
            "event": record.getMessage(),
        }
        line.update(getattr(record, "fields", {}))
        if record.exc_info:
            line["trace"] = self.formatException(record.exc_info)
        return json.dumps(line, default=str)[:LINE_CHARS_MAX]


def setup(component: str, level: str = "info", path: Path | None = None) -> logging.Logger:
    """The logger of one process; to `path` if given, else to stderr."""
    handler: logging.Handler = (
        logging.FileHandler(path) if path else logging.StreamHandler(sys.stderr)
    )
    handler.setFormatter(_JsonLines(component))
    logger = logging.getLogger("tailtwin")
    logger.handlers[:] = [handler]
    logger.setLevel(level.upper())
    logger.propagate = False
    return logger


def event(name: str, /, *, level: int = logging.INFO, **fields: object) -> None:
    """Log one event of this process with its fields."""
    logging.getLogger("tailtwin").log(level, name, extra={"fields": fields})
