"""Templates: functions that share their variables over calls (TensorFlow: `tf.make_template`)."""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

from flowmesh.frontend.variable_scope import variable_scope
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.graph import get_default_graph


def make_template(
    name_: str,
    func_: Callable[..., Any],
    create_scope_now_: bool = False,
    unique_name_: str | None = None,
    custom_getter_: Any = None,
    **kwargs: Any,
) -> Any:
    """`func_` with `kwargs` bound, so that each call finds the variables that the first one made (tf.make_template).

    The scope is `name_`, made unique at the first call (or now), or exactly `unique_name_`.
    Raises ValueError for what cannot be called, and at a later call that asks for new variables.
    """
    if not callable(func_):
        raise ValueError("func must be callable.")
    if kwargs:
        func_ = functools.partial(func_, **kwargs)
    return Template(name_, func_, create_scope_now_, unique_name_, custom_getter_)


class Template:
    """What `make_template` returns: call it as the function."""

    def __init__(
        self,
        name: str,
        func: Callable[..., Any],
        create_scope_now: bool = False,
        unique_name: str | None = None,
        custom_getter: Any = None,
    ) -> None:
        if name is None:
            raise ValueError("name cannot be None.")
        self._func, self._name = func, name
        self._unique_name, self._custom_getter = unique_name, custom_getter
        self._called = False
        self._scope: Any = None
        if create_scope_now:
            self._capture()

    def _capture(self) -> None:
        with variable_scope(
            self._unique_name, self._name, custom_getter=self._custom_getter
        ) as captured:
            self._scope = captured

    def __call__(self, *args: Any, **kwargs: Any) -> Any:
        """What the function returns."""
        if self._scope is None:
            with variable_scope(
                self._unique_name, self._name, custom_getter=self._custom_getter
            ) as captured:
                self._scope = captured
                return self._call(args, kwargs)
        with variable_scope(self._scope, reuse=True if self._called else None):
            return self._call(args, kwargs)

    def _call(self, args: Any, kwargs: Any) -> Any:
        graph = get_default_graph()
        held = graph.get_collection_ref(GraphKeys.TRAINABLE_VARIABLES)
        before = len(held)
        first = not self._called
        result = self._func(*args, **kwargs)
        self._called = True
        if not first and len(held) != before:
            raise ValueError(
                "New variable(s) created when calling a template after the first time, perhaps you used tf.Variable "
                f"when you meant tf.get_variable: {held[before:]}"
            )
        return result

    @property
    def name(self) -> str:
        """The name that the template was made with."""
        return self._name

    @property
    def func(self) -> Callable[..., Any]:
        """The function."""
        return self._func

    @property
    def variable_scope(self) -> Any:
        """The scope of the variables, None before the first call."""
        return self._scope

    @property
    def variable_scope_name(self) -> str | None:
        """The name of the scope without the last slash."""
        if self._scope is None:
            return None
        return str(self._scope.name).rstrip("/")

    @property
    def variables(self) -> list[Any]:
        """All variables that the template made."""
        return self.global_variables + self.local_variables

    weights = variables

    def _of(self, key: str) -> list[Any]:
        if self._scope is None:
            return []
        found = get_default_graph().get_collection(key)
        return [v for v in found if v.name.startswith(str(self._scope.name) + "/")]

    @property
    def global_variables(self) -> list[Any]:
        """Those in GLOBAL_VARIABLES."""
        return self._of(GraphKeys.GLOBAL_VARIABLES)

    @property
    def local_variables(self) -> list[Any]:
        """Those in LOCAL_VARIABLES."""
        return self._of(GraphKeys.LOCAL_VARIABLES)

    @property
    def trainable_variables(self) -> list[Any]:
        """Those in TRAINABLE_VARIABLES."""
        return self._of(GraphKeys.TRAINABLE_VARIABLES)

    trainable_weights = trainable_variables
