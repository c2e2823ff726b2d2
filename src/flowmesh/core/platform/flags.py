"""Command-line flags as programs use them (TensorFlow: `tf.app.flags`), on absl's flags.

`FLAGS` parses the command line on first use; one dash or two; the cluster flags that `flowmesh up` appends are ignored by
programs that do not define them. The other names of `tf.flags` are absl's own (`absl.flags`).
"""

from __future__ import annotations

import sys
from collections.abc import Callable, Sequence
from typing import Any

from absl import flags as _absl

LAUNCHER_FLAGS = ("ps_hosts", "worker_hosts", "job_name", "task_index")


class _Flags:
    """absl's FLAGS, parsed from `sys.argv` on first use."""

    def _parsed(self) -> _absl.FlagValues:
        if not _absl.FLAGS.is_parsed():
            parse(sys.argv)
        return _absl.FLAGS

    def __getattr__(self, name: str) -> Any:
        if name.startswith("__"):
            raise AttributeError(name)
        if name == "_parse_flags":
            return lambda args=None: parse(sys.argv if args is None else [sys.argv[0], *args])
        values = _absl.FLAGS
        if name not in values and hasattr(type(values), name):
            return getattr(values, name)  # a method of the registry, not a flag
        return getattr(self._parsed(), name)

    def __setattr__(self, name: str, value: Any) -> None:
        setattr(_absl.FLAGS, name, value)

    def __delattr__(self, name: str) -> None:
        delattr(_absl.FLAGS, name)

    def __getitem__(self, name: str) -> Any:
        return _absl.FLAGS[name]

    def __contains__(self, name: str) -> bool:
        return name in _absl.FLAGS

    def __iter__(self) -> Any:
        return iter(_absl.FLAGS)

    def __dir__(self) -> list[str]:
        return dir(_absl.FLAGS)

    def __len__(self) -> int:
        return len(_absl.FLAGS)

    def __call__(self, argv: Sequence[str], known_only: bool = False) -> list[str]:
        """Parses a command line (program name first), raising absl's errors; returns what is no flag."""
        return _absl.FLAGS(_without_launcher_flags(argv), known_only=known_only)


def parse(argv: Sequence[str], known_only: bool = False) -> list[str]:
    """Parses a command line (program name first) for a program; returns what is no flag.

    A wrong flag ends the program with its usage, status 1, as absl does.
    """
    try:
        return _absl.FLAGS(_without_launcher_flags(argv), known_only=known_only)
    except _absl.Error as error:
        sys.stderr.write(
            f"FATAL Flags parsing error: {error}\nPass --helpshort or --helpfull to see help on flags.\n"
        )
        raise SystemExit(1) from None


def _without_launcher_flags(argv: Sequence[str]) -> list[str]:
    kept = []
    for arg in argv:
        name = arg.lstrip("-").partition("=")[0]
        if arg.startswith("-") and name in LAUNCHER_FLAGS and name not in _absl.FLAGS:
            continue
        kept.append(arg)
    return kept


FLAGS: Any = _Flags()


def _definer(define: Callable[..., Any]) -> Callable[..., Any]:
    def wrapper(*args: Any, **kwargs: Any) -> Any:
        for old, new in (
            ("flag_name", "name"),
            ("default_value", "default"),
            ("docstring", "help"),
        ):
            if old in kwargs:
                kwargs[new] = kwargs.pop(old)
        if len(args) + len(kwargs) < 3 and "help" not in kwargs:
            kwargs["help"] = ""
        return define(*args, **kwargs)

    wrapper.__name__ = define.__name__
    wrapper.__doc__ = define.__doc__
    return wrapper


DEFINE_string = _definer(_absl.DEFINE_string)
DEFINE_integer = _definer(_absl.DEFINE_integer)
DEFINE_float = _definer(_absl.DEFINE_float)
DEFINE_boolean = _definer(_absl.DEFINE_boolean)
DEFINE_bool = DEFINE_boolean

# A flag belongs to the module of the program that defines it, not to this one: help and messages name it.
_absl.disclaim_key_flags()
