"""Structured logs: JSON lines, or prose when a person reads along at a terminal."""

from __future__ import annotations

import logging.config
import sys
from typing import TYPE_CHECKING, Any

import structlog

from control_plane.common.requests import current_request_id

if TYPE_CHECKING:
    from collections.abc import MutableMapping


def _add_request_id(
    _logger: Any, _method: str, event: MutableMapping[str, Any]
) -> MutableMapping[str, Any]:
    request_id = current_request_id()
    if request_id:
        event["request_id"] = request_id
    return event


def _shared_processors() -> list[Any]:
    return [
        structlog.contextvars.merge_contextvars,
        _add_request_id,
        structlog.stdlib.add_log_level,
        structlog.stdlib.add_logger_name,
        structlog.processors.TimeStamper(fmt="iso", utc=True),
        structlog.processors.StackInfoRenderer(),
    ]


def logging_config(log_format: str, level: str) -> dict[str, Any]:
    """The configuration for `configure`. Format: json, text, or auto (text on a terminal)."""
    as_text = log_format == "text" or (log_format == "auto" and sys.stderr.isatty())
    renderers: list[Any] = (
        [structlog.dev.ConsoleRenderer()]
        if as_text
        else [structlog.processors.format_exc_info, structlog.processors.JSONRenderer()]
    )
    return {
        "version": 1,
        "disable_existing_loggers": False,
        "formatters": {
            "structured": {
                "()": structlog.stdlib.ProcessorFormatter,
                "foreign_pre_chain": _shared_processors(),
                "processors": [
                    structlog.stdlib.ProcessorFormatter.remove_processors_meta,
                    *renderers,
                ],
            }
        },
        "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "structured"}},
        "root": {"handlers": ["stderr"], "level": level},
        "loggers": {
            # Each tick of the schedule would be two lines of noise.
            "celery.beat": {"level": "WARNING"},
            "celery.worker.strategy": {"level": "WARNING"},
            "celery.app.trace": {"level": "WARNING"},
            "django.request": {"level": "ERROR"},
            # A stranger's Host header is no fault of ours: the access line has it as a 400.
            "django.security.DisallowedHost": {"level": "CRITICAL"},
        },
    }


def configure(config: dict[str, Any]) -> None:
    """Install the logging of this process (Django calls it through LOGGING_CONFIG)."""
    logging.config.dictConfig(config)
    structlog.configure(
        processors=[
            structlog.stdlib.filter_by_level,
            *_shared_processors(),
            structlog.stdlib.ProcessorFormatter.wrap_for_formatter,
        ],
        logger_factory=structlog.stdlib.LoggerFactory(),
        cache_logger_on_first_use=True,
    )
