"""Argument scopes, and variables by name and collection (TensorFlow: `tf.contrib.framework`, `tf.contrib.slim`)."""

from __future__ import annotations

import functools
import inspect
import re
import threading
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from typing import Any

from flowmesh.core.dtypes import float32
from flowmesh.frontend import variable_scope as scopes
from flowmesh.frontend.variables import Variable
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.graph import get_default_graph

_Scope = dict[str, dict[str, Any]]


class _Stack(threading.local):
    """The argument scopes of one thread."""

    def __init__(self) -> None:
        self.scopes: list[_Scope] = [{}]


_stack = _Stack()


def _key(function: Any) -> str:
    return str(getattr(function, "_key_op", str(function)))


def has_arg_scope(func: Any) -> bool:
    """Whether `func` takes arguments from argument scopes."""
    return hasattr(func, "_key_op")


def add_arg_scope(func: Callable[..., Any]) -> Callable[..., Any]:
    """Decorator: `func` takes the defaults of its keyword arguments from the enclosing `arg_scope`s."""

    @functools.wraps(func)
    def call(*args: Any, **kwargs: Any) -> Any:
        given = _stack.scopes[-1].get(_key(func), {})
        return func(*args, **{**given, **kwargs})

    call._key_op = _key(func)  # type: ignore[attr-defined]
    return call


def arg_scoped_arguments(func: Callable[..., Any]) -> tuple[str, ...]:
    """The names of the arguments of `func` that an argument scope may set."""
    parameters = inspect.signature(func).parameters.values()
    return tuple(p.name for p in parameters if p.default is not p.empty)


def current_arg_scope() -> _Scope:
    """The innermost argument scope."""
    return _stack.scopes[-1]


def arg_scope_func_key(op: Any) -> str:
    """The key of a function in an argument scope."""
    return _key(op)


@contextmanager
def arg_scope(list_ops_or_scope: Any, **kwargs: Any) -> Iterator[_Scope]:
    """Sets defaults of keyword arguments of functions made with `add_arg_scope`; or re-enters a scope given as a dict.

    Raises TypeError for another first argument, ValueError for a function that is not so made.
    """
    if isinstance(list_ops_or_scope, dict):
        if kwargs:
            raise ValueError(
                "When attempting to re-use a scope by suppling a dictionary, kwargs must be empty."
            )
        current = dict(list_ops_or_scope)
    else:
        if not isinstance(list_ops_or_scope, (list, tuple)):
            raise TypeError(
                "list_ops_or_scope must either be a list/tuple or reused scope (i.e. dict)"
            )
        current = dict(_stack.scopes[-1])
        for function in list_ops_or_scope:
            if not has_arg_scope(function):
                where = f"{getattr(function, '__module__', '')}, {getattr(function, '__name__', function)}"
                raise ValueError(f"({where}) is not decorated with @add_arg_scope")
            key = _key(function)
            current[key] = {**current.get(key, {}), **kwargs}
    _stack.scopes.append(current)
    try:
        yield current
    finally:
        _stack.scopes.pop()


# -- variables -------------------------------------------------------------------------------------


@add_arg_scope
def variable(
    name: str,
    shape: Any = None,
    dtype: Any = None,
    initializer: Any = None,
    regularizer: Any = None,
    trainable: bool = True,
    collections: Any = None,
    caching_device: Any = None,
    device: Any = None,
    partitioner: Any = None,
    custom_getter: Any = None,
    use_resource: Any = None,
    synchronization: Any = None,
    aggregation: Any = None,
) -> Any:
    """`get_variable` on a device, in the collections given (GLOBAL_VARIABLES by default); float32 unless told."""
    names = list(dict.fromkeys(collections or [GraphKeys.GLOBAL_VARIABLES]))
    getter = custom_getter or scopes.get_variable
    with get_default_graph().device(device or ""):
        return getter(
            name,
            shape=shape,
            dtype=dtype or float32,
            initializer=initializer,
            regularizer=regularizer,
            trainable=trainable,
            collections=names,
            caching_device=caching_device,
            partitioner=partitioner,
            use_resource=use_resource,
        )


@add_arg_scope
def model_variable(
    name: str,
    shape: Any = None,
    dtype: Any = float32,
    initializer: Any = None,
    regularizer: Any = None,
    trainable: bool = True,
    collections: Any = None,
    caching_device: Any = None,
    device: Any = None,
    partitioner: Any = None,
    custom_getter: Any = None,
    use_resource: Any = None,
    synchronization: Any = None,
    aggregation: Any = None,
) -> Any:
    """`variable` that also stands in MODEL_VARIABLES."""
    names = [*(collections or []), GraphKeys.GLOBAL_VARIABLES, GraphKeys.MODEL_VARIABLES]
    return variable(
        name, shape, dtype, initializer, regularizer, trainable, names, caching_device, device,
        partitioner, custom_getter, use_resource,
    )  # fmt: skip


def local_variable(
    initial_value: Any,
    validate_shape: bool = True,
    name: str | None = None,
    use_resource: Any = None,
) -> Any:
    """A variable of this process alone: in LOCAL_VARIABLES, not trainable."""
    return Variable(  # type: ignore[call-arg]
        initial_value, trainable=False, collections=[GraphKeys.LOCAL_VARIABLES],
        validate_shape=validate_shape, use_resource=use_resource, name=name,
    )  # fmt: skip


def global_variable(
    initial_value: Any,
    validate_shape: bool = True,
    name: str | None = None,
    use_resource: Any = None,
) -> Any:
    """A variable in GLOBAL_VARIABLES, not trainable."""
    return Variable(  # type: ignore[call-arg]
        initial_value, trainable=False, collections=[GraphKeys.GLOBAL_VARIABLES],
        validate_shape=validate_shape, use_resource=use_resource, name=name,
    )  # fmt: skip


def add_model_variable(var: Any) -> None:
    """Adds a variable to MODEL_VARIABLES unless it is there."""
    if not any(var is v for v in get_default_graph().get_collection(GraphKeys.MODEL_VARIABLES)):
        get_default_graph().add_to_collection(GraphKeys.MODEL_VARIABLES, var)


def get_variables(
    scope: Any = None, suffix: str | None = None, collection: str = GraphKeys.GLOBAL_VARIABLES
) -> list[Any]:
    """The variables of a collection whose names start with `scope` (a name or VariableScope) and end in `suffix`."""
    if isinstance(scope, scopes.VariableScope):
        scope = scope.name
    if suffix is not None:
        suffix = suffix if ":" in suffix else suffix + ":"
        scope = f"{scope or ''}.*{suffix}"
    return get_default_graph().get_collection(collection, scope)


def get_model_variables(scope: Any = None, suffix: str | None = None) -> list[Any]:
    """The variables of MODEL_VARIABLES by scope and suffix."""
    return get_variables(scope, suffix, GraphKeys.MODEL_VARIABLES)


def get_local_variables(scope: Any = None, suffix: str | None = None) -> list[Any]:
    """The variables of LOCAL_VARIABLES by scope and suffix."""
    return get_variables(scope, suffix, GraphKeys.LOCAL_VARIABLES)


def get_trainable_variables(scope: Any = None, suffix: str | None = None) -> list[Any]:
    """The variables of TRAINABLE_VARIABLES by scope and suffix."""
    return get_variables(scope, suffix, GraphKeys.TRAINABLE_VARIABLES)


def get_variables_by_suffix(suffix: str, scope: Any = None) -> list[Any]:
    """The global variables whose names end in `suffix`."""
    return get_variables(scope=scope, suffix=suffix)


def get_variables_by_name(given_name: str, scope: Any = None) -> list[Any]:
    """The global variables called `given_name` in whatever scope."""
    return get_variables(scope=scope, suffix=f"/{given_name}:|^{given_name}:")


def get_unique_variable(var_op_name: str) -> Any:
    """The one global variable of that name; ValueError when there is none or several."""
    candidates = get_variables(scope=var_op_name)
    if not candidates:
        raise ValueError(f"Couldn't find variable {var_op_name}")
    for candidate in candidates:
        if candidate.op.name == var_op_name:
            return candidate
    raise ValueError(f"Variable {var_op_name} does not uniquely identify a variable")


def get_variable_full_name(var: Any) -> str:
    """The name a variable is saved under: of the whole, for a part of a partitioned variable."""
    info = getattr(var, "_save_slice_info", None)
    return str(info.full_name if info else var.op.name)


def _excluded(variables: list[Any], exclude: Any) -> list[Any]:
    gone = {id(v) for scope in exclude or () for v in get_variables(scope)}
    return [v for v in variables if id(v) not in gone]


def get_variables_to_restore(
    include: Sequence[str] | None = None, exclude: Sequence[str] | None = None
) -> list[Any]:
    """The global variables of the scopes in `include` (all by default) but those in `exclude`."""
    if include is None:
        chosen = get_variables()
    else:
        if not isinstance(include, (list, tuple)):
            raise TypeError("include must be None or a list of strings.")
        chosen = [v for scope in include for v in get_variables(scope)]
    if exclude is not None and not isinstance(exclude, (list, tuple)):
        raise TypeError("exclude must be None or a list of strings.")
    return _excluded(chosen, exclude)


def filter_variables(
    var_list: Sequence[Any],
    include_patterns: Sequence[str] | None = None,
    exclude_patterns: Sequence[str] | None = None,
    reg_search: bool = True,
) -> list[Any]:
    """The variables whose names match a pattern to include (all by default) and none to exclude."""
    match = re.search if reg_search else re.match
    chosen = list(var_list)
    if include_patterns:
        chosen = [v for v in chosen if any(match(p, v.name) for p in include_patterns)]
    if exclude_patterns:
        chosen = [v for v in chosen if not any(match(p, v.name) for p in exclude_patterns)]
    return chosen


def get_name_scope() -> str:
    """The current name scope."""
    return get_default_graph().get_name_scope()
