"""PyFunc: a Python function as an op; it runs in the process that built it."""

from __future__ import annotations

import itertools
import threading
import traceback
import weakref
from collections.abc import Callable
from typing import Any

import numpy as np

from flowmesh.core import dtypes, errors
from flowmesh.core.dtypes import DType
from flowmesh.core.shapes import unknown_shape
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.op_def import Attr, Input, OpDef, Output
from flowmesh.graph.raw import raw
from flowmesh.ops.tensor_value import to_array


class _Registry:
    """The functions behind tokens; a function lives as long as the graph that uses it."""

    def __init__(self) -> None:
        self._numbers = itertools.count()
        self._functions: weakref.WeakValueDictionary[str, Callable[..., Any]] = (
            weakref.WeakValueDictionary()
        )
        self._kept: weakref.WeakKeyDictionary[Any, list[Any]] = weakref.WeakKeyDictionary()
        self._lock = threading.Lock()

    def insert(self, function: Callable[..., Any], graph: Any) -> str:
        """The token of a function that `graph` uses."""

        def held(*args: Any) -> Any:
            return function(*args)

        with self._lock:
            token = f"pyfunc_{next(self._numbers)}"
            self._functions[token] = held
            self._kept.setdefault(graph, []).append(held)
        return token

    def lookup(self, token: str) -> Callable[..., Any]:
        """The function behind `token`; raises InvalidArgumentError when this process has none."""
        function = self._functions.get(token)
        if function is None:
            raise errors.InvalidArgumentError(
                None,
                None,
                f"callback {token} is not found: a py_func runs only in the process that built its graph. Pin it "
                "there with tf.device.",
            )
        return function


_registry = _Registry()


def _converted(value: Any, dtype: DType, number: int, token: str) -> np.ndarray:
    """One result of a function as an array of the dtype that was announced."""
    if dtype == dtypes.string:
        return to_array(value, dtypes.string)
    array = np.asarray(value)
    wanted = np.dtype(dtype.as_numpy_dtype)
    if array.dtype == wanted:
        return array
    raise errors.InvalidArgumentError(
        None,
        None,
        f"{number}-th value returned by {token} is {_name(array)}, but expects {_spelled(dtype.name)}",
    )


def _name(array: np.ndarray) -> str:
    try:
        return _spelled(dtypes.as_dtype(array.dtype).name)
    except TypeError:
        return str(array.dtype)


def _spelled(name: str) -> str:
    """A dtype's name as TensorFlow's runtime writes it."""
    return {"float32": "float", "float64": "double"}.get(name, name)


def _mapped(error: Exception, token: str) -> Exception:
    """The error of a step for an exception of the function, by TensorFlow's table."""
    calls = [f for f in traceback.extract_tb(error.__traceback__) if f.filename != __file__]
    where = "".join(traceback.format_list(calls)).rstrip()
    text = (
        f"{type(error).__name__}: {error}\n(in the Python function behind {token})\n"
        f"Traceback (most recent call last):\n{where}"
    )
    kinds: list[tuple[Any, Any]] = [
        ((TypeError, ValueError), errors.InvalidArgumentError),
        (StopIteration, errors.OutOfRangeError),
        (MemoryError, errors.ResourceExhaustedError),
        (NotImplementedError, errors.UnimplementedError),
    ]
    for python_error, kind in kinds:
        if isinstance(error, python_error):
            return kind(None, None, text)
    return errors.UnknownError(None, None, text)


class _Calls(OpDef, abstract=True):
    slow = True
    NotDifferentiable = True

    def infer(self, ctx: Any, input: Any) -> Any:
        return [[unknown_shape()] * len(self.attrs["Tout"])]

    def run(self, ctx: Any, input: Any) -> Any:
        """Calls the function with NumPy arrays and checks what it returns."""
        token = self.attrs["token"].decode()
        function = _registry.lookup(token)
        try:
            result = function(*[_argument(value) for value in input])
        except errors.OpError:
            raise
        except Exception as error:
            raise _mapped(error, token) from error
        wanted = self.attrs["Tout"]
        items: list[Any] = [] if result is None else [result]
        if isinstance(result, (list, tuple)):
            items = list(result)
        if len(items) != len(wanted):
            raise errors.InvalidArgumentError(
                None,
                None,
                f"{token} returns {len(items)} values, but expects to see {len(wanted)} values.",
            )
        outputs = [
            _converted(v, dtype, i, token) for i, (v, dtype) in enumerate(zip(items, wanted))
        ]
        return (outputs,)


def _argument(value: Any) -> Any:
    """A value as the function sees it: a NumPy scalar (bytes for a string) or array."""
    array = np.asarray(value)
    return array[()] if array.ndim == 0 else array


class PyFunc(_Calls):
    """Calls the Python function behind `token`."""

    input = Input(types="Tin")
    output = Output(types="Tout")
    token = Attr("string")
    Tin = Attr("list(type)", minimum=0)
    Tout = Attr("list(type)", minimum=0)
    stateful = True


class PyFuncStateless(_Calls):
    """Calls the Python function behind `token`, which depends on its inputs only."""

    input = Input(types="Tin")
    output = Output(types="Tout")
    token = Attr("string")
    Tin = Attr("list(type)", minimum=0)
    Tout = Attr("list(type)", minimum=0)


def py_func(
    func: Callable[..., Any],
    inp: Any,
    Tout: Any,
    stateful: bool = True,
    name: str | None = None,
) -> Any:
    """The result of `func(*arrays)` on the values of the tensors `inp` (tf.py_func).

    `Tout` is the dtype of the result, or a list of dtypes for several; the shapes are unknown. The function runs in the
    process that built the graph. A wrong count or dtype of results raises InvalidArgumentError when run; no gradient.
    """
    token = _registry.insert(func, get_default_graph())
    several = isinstance(Tout, (list, tuple))
    types = [dtypes.as_dtype(t) for t in Tout] if several else [dtypes.as_dtype(Tout)]
    build = raw.PyFunc if stateful else raw.PyFuncStateless
    result = build(list(inp), token=token, Tout=types, name=name)
    if several:
        return result
    return result[0]


numpy_function = py_func
