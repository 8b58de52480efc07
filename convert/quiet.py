"""Keeps the frameworks' own chatter away from people; their errors still arrive as exceptions."""

import logging
import warnings
from collections.abc import Iterator
from contextlib import contextmanager

from edge.stderr import hushed

_LOUD = ("tensorflow", "absl", "tf2onnx", "torch", "onnxscript", "root", "jax")


@contextmanager
def quiet() -> Iterator[None]:
    """Silence warnings, loggers and what C++ prints on stderr while a framework works."""
    loggers = [logging.getLogger(name) for name in _LOUD]
    levels = [logger.level for logger in loggers]
    for logger in loggers:
        logger.setLevel(logging.CRITICAL)
    try:
        with warnings.catch_warnings(), hushed():
            warnings.simplefilter("ignore")
            yield
    finally:
        for logger, level in zip(loggers, levels, strict=True):
            logger.setLevel(level)
