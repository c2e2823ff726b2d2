"""Logging as programs use it (TensorFlow: `tf.logging`): the logger "tensorflow", `LEVEL:tensorflow:message` on stderr."""

from __future__ import annotations

import logging
import sys
import threading
from typing import Any

DEBUG = logging.DEBUG
INFO = logging.INFO
WARN = logging.WARN
ERROR = logging.ERROR
FATAL = logging.FATAL

_lock = threading.Lock()
_counters: dict[Any, int] = {}


class _StderrHandler(logging.StreamHandler):
    """Writes to whatever `sys.stderr` is at the time of the message."""

    def __init__(self) -> None:
        logging.Handler.__init__(self)
        self.setFormatter(logging.Formatter(logging.BASIC_FORMAT))

    @property
    def stream(self) -> Any:
        """The current stderr."""
        return sys.stderr

    @stream.setter
    def stream(self, value: Any) -> None:
        pass


def get_logger() -> logging.Logger:
    """The logger "tensorflow", with a handler for stderr unless the program has configured logging itself."""
    logger = logging.getLogger("tensorflow")
    with _lock:
        if not logger.handlers and not logging.getLogger().handlers:
            logger.setLevel(WARN if logger.level == logging.NOTSET else logger.level)
            logger.addHandler(_StderrHandler())
            logger.propagate = False
    return logger


def log(level: int, msg: Any, *args: Any, **kwargs: Any) -> None:
    """Logs at `level`."""
    get_logger().log(level, msg, *args, **kwargs)


def debug(msg: Any, *args: Any, **kwargs: Any) -> None:
    """Logs at DEBUG."""
    get_logger().debug(msg, *args, **kwargs)


def info(msg: Any, *args: Any, **kwargs: Any) -> None:
    """Logs at INFO."""
    get_logger().info(msg, *args, **kwargs)


def warn(msg: Any, *args: Any, **kwargs: Any) -> None:
    """Logs at WARN."""
    get_logger().warning(msg, *args, **kwargs)


warning = warn


def error(msg: Any, *args: Any, **kwargs: Any) -> None:
    """Logs at ERROR."""
    get_logger().error(msg, *args, **kwargs)


def fatal(msg: Any, *args: Any, **kwargs: Any) -> None:
    """Logs at FATAL; the program goes on."""
    get_logger().critical(msg, *args, **kwargs)


def get_verbosity() -> int:
    """The level below which messages are dropped."""
    return get_logger().getEffectiveLevel()


def set_verbosity(v: int) -> None:
    """Drops messages below level `v`."""
    get_logger().setLevel(v)


def log_if(level: int, msg: Any, condition: bool, *args: Any) -> None:
    """Logs when `condition` is true."""
    if condition:
        log(level, msg, *args)


def log_every_n(level: int, msg: Any, n: int, *args: Any) -> None:
    """Logs the first of every `n` calls from one place."""
    frame = sys._getframe(1)
    key = (frame.f_code, frame.f_lineno)
    with _lock:
        count = _counters.get(key, 0)
        _counters[key] = count + 1
    if count % n == 0:
        log(level, msg, *args)


def log_first_n(level: int, msg: Any, n: int, *args: Any) -> None:
    """Logs only the first `n` calls from one place."""
    frame = sys._getframe(1)
    key = (frame.f_code, frame.f_lineno)
    with _lock:
        count = _counters.get(key, 0)
        _counters[key] = count + 1
    if count < n:
        log(level, msg, *args)


def flush() -> None:
    """Does nothing: messages are written at once."""


def vlog(level: int, msg: Any, *args: Any, **kwargs: Any) -> None:
    """Logs at a numeric level."""
    get_logger().log(level, msg, *args, **kwargs)


def TaskLevelStatusMessage(msg: Any) -> None:
    """Logs a status message."""
    error(msg)
