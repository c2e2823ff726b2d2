"""The variables of a graph by name, as `get_variable` finds and makes them."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from flowmesh.core.dtypes import as_dtype, float32, string
from flowmesh.core.shapes import TensorShape, as_shape
from flowmesh.frontend import initializers
from flowmesh.frontend.naming import init_scope, name_scope
from flowmesh.frontend.variables import Variable
from flowmesh.graph.collections import GraphKeys
from flowmesh.graph.graph import get_default_graph


class _ReuseMode:
    """`tf.AUTO_REUSE`: make the variable when it is not there yet."""

    def __repr__(self) -> str:
        return "_ReuseMode.AUTO_REUSE"


AUTO_REUSE = _ReuseMode()


class VariableStore:
    """All variables that `get_variable` made in one graph."""

    def __init__(self) -> None:
        self.variables: dict[str, Any] = {}
        self.scope_counts: dict[str, int] = {}

    def get_variable(self, name: str, shape: Any, dtype: Any, options: dict[str, Any]) -> Any:
        """The variable `name`, found or made as the options (see `VariableScope.get_variable`) ask.

        Raises ValueError when it exists but may not be reused, does not exist but must, or has another shape or dtype.
        """
        dtype = as_dtype(dtype or float32).base_dtype
        reuse = options["reuse"]
        if name in self.variables:
            return self._existing(name, shape, dtype, reuse)
        if reuse is True:
            raise ValueError(
                f"Variable {name} does not exist, or was not created with tf.get_variable(). Did you mean to set "
                "reuse=tf.AUTO_REUSE in VarScope?"
            )
        variable = self._make(name, shape, dtype, options)
        self.variables[name] = variable
        regularizer = options["regularizer"]
        if regularizer is not None:
            self._regularize(variable, name, regularizer)
        return variable

    def _existing(self, name: str, shape: Any, dtype: Any, reuse: Any) -> Any:
        found = self.variables[name]
        if reuse is False or reuse is None:
            where = found.op.defined_at
            raise ValueError(
                f"Variable {name} already exists, disallowed. Did you mean to set reuse=True or "
                f"reuse=tf.AUTO_REUSE in VarScope? Originally defined at:\n\n  {where}\n"
            )
        if shape is not None and not as_shape(shape).is_compatible_with(found.shape):
            raise ValueError(
                f"Trying to share variable {name}, but specified shape {as_shape(shape)} and found shape {found.shape}."
            )
        if not dtype.is_compatible_with(found.dtype.base_dtype):
            raise ValueError(
                f"Trying to share variable {name}, but specified dtype {dtype.name} and found dtype "
                f"{found.dtype.name}."
            )
        return found

    def _make(self, name: str, shape: Any, dtype: Any, options: dict[str, Any]) -> Any:
        initializer = options["initializer"]
        shape = None if shape is None else as_shape(shape)
        initial_value, dtype = _initial_value(name, shape, dtype, initializer)
        collections = options["collections"]
        kwargs = {
            "initial_value": initial_value,
            "name": name,
            "trainable": options["trainable"],
            "collections": collections if collections is not None else [GraphKeys.GLOBAL_VARIABLES],
            "caching_device": options["caching_device"],
            "dtype": dtype,
            "validate_shape": options["validate_shape"],
            "constraint": options["constraint"],
            "use_resource": options["use_resource"],
        }
        return Variable(**kwargs)

    def _regularize(self, variable: Any, name: str, regularizer: Callable[..., Any]) -> None:
        graph = get_default_graph()
        with graph.colocate_with(variable.op), name_scope(name + "/Regularizer/"), init_scope():
            loss = regularizer(variable)
        if loss is not None:
            graph.add_to_collection(GraphKeys.REGULARIZATION_LOSSES, loss)


def _initial_value(
    name: str, shape: TensorShape | None, dtype: Any, initializer: Any
) -> tuple[Any, Any]:
    """What `Variable` is to be given as initial value and dtype."""
    if initializer is None:
        initializer = default_initializer(name, dtype)
    if not callable(initializer):
        if shape is not None:
            raise ValueError("If initializer is a constant, do not specify shape.")
        return initializer, None
    if isinstance(initializer, type):
        initializer = initializer()
    if shape is not None and shape.is_fully_defined():
        return _Call(initializer, shape, dtype), dtype
    if _takes_no_arguments(initializer):
        return initializer, None
    raise ValueError(
        "The initializer passed is not valid. It should be a callable with no arguments and the shape should not be "
        "provided or an instance of `tf.keras.initializers.*' and `shape` should be fully defined."
    )


def _takes_no_arguments(initializer: Callable[..., Any]) -> bool:
    required = [
        p
        for p in inspect.signature(initializer).parameters.values()
        if p.default is p.empty and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    return not required


class _Call:
    """`initializer(shape, dtype=dtype)`, to be called where the variable is made."""

    def __init__(self, initializer: Callable[..., Any], shape: TensorShape, dtype: Any) -> None:
        self._initializer, self._shape, self._dtype = initializer, shape, dtype

    def __call__(self) -> Any:
        try:
            return self._initializer(self._shape.as_list(), dtype=self._dtype)
        except TypeError as error:
            if "dtype" not in str(error):
                raise
            return self._initializer(self._shape.as_list())


def default_initializer(name: str, dtype: Any) -> Any:
    """What `get_variable` uses when it is given no initializer."""
    if dtype.is_floating:
        return initializers.glorot_uniform_initializer(dtype=dtype)
    if dtype.is_integer or dtype.is_unsigned or dtype.is_bool or dtype == string:
        return initializers.Zeros(dtype)
    raise ValueError(f"An initializer for variable {name} of {dtype} is required")
