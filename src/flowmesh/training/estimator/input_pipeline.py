"""What an input function gives: tensors, or a data set (TensorFlow: the `input_fn` of `tf.estimator`)."""

from __future__ import annotations

import functools
import inspect
from collections.abc import Callable
from typing import Any

from flowmesh.training.session_run_hook import SessionRunHook


class IteratorInitializer(SessionRunHook):
    """Starts the iterator of an input in every new session."""

    def __init__(self, iterator: Any) -> None:
        self._iterator = iterator
        self._initializer: Any = None

    def begin(self) -> None:
        """Finds the operation while the graph can still grow."""
        self._initializer = self._iterator.initializer

    def after_create_session(self, session: Any, coord: Any) -> None:
        """Runs it."""
        session.run(self._initializer)


def features_and_labels(
    input_fn: Callable[..., Any], **known: Any
) -> tuple[Any, Any, list[SessionRunHook]]:
    """`(features, labels, hooks)` of an input function, called with those of `known` (mode, params, config) that it takes.

    A data set is iterated; a result that is no pair is features without labels. ValueError for a tuple of other length.
    """
    result = input_fn(**_accepted(input_fn, known))
    hooks: list[SessionRunHook] = []
    if hasattr(result, "make_initializable_iterator"):
        iterator = result.make_initializable_iterator()
        hooks.append(IteratorInitializer(iterator))
        result = iterator.get_next()
    if isinstance(result, (list, tuple)) and not hasattr(result, "_fields"):
        if len(result) != 2:
            raise ValueError(
                f"input_fn should return (features, labels) as a len 2 tuple, not {len(result)} values."
            )
        return result[0], result[1], hooks
    return result, None, hooks


def arguments_of(function: Callable[..., Any]) -> tuple[str, ...]:
    """The names of the arguments that may be given to a function by name."""
    while isinstance(function, functools.partial):
        bound, function = set(function.keywords), function.func
        return tuple(n for n in arguments_of(function) if n not in bound)
    return tuple(inspect.signature(function).parameters)


def _accepted(function: Callable[..., Any], known: dict[str, Any]) -> dict[str, Any]:
    names = arguments_of(function)
    return {name: value for name, value in known.items() if name in names}
