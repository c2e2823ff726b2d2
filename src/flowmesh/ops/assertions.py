"""Assert and the functions of the `tf.assert_*` family."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import numpy as np

from flowmesh.core import dtypes, errors
from flowmesh.core.dtypes import bool as bool_
from flowmesh.core.shapes import TensorShape
from flowmesh.graph.composite import SparseTensor
from flowmesh.graph.constant_value import constant_value
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.op_def import Attr, Input, OpDef
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops import control_flow
from flowmesh.ops.array_support import invalid, with_rank
from flowmesh.ops.constant import constant
from flowmesh.ops.control import no_op
from flowmesh.ops.naming import name_scope
from flowmesh.ops.shape_ops import rank as rank_tensor, shape as shape_tensor
from flowmesh.ops.summarize import summary


class Assert(OpDef):
    """Fails with the contents of `data` unless `condition` is true."""

    condition = Input(bool_)
    data = Input(types="T")
    T = Attr("list(type)", minimum=1)
    summarize = Attr("int", 3)
    stateful = True
    NotDifferentiable = True
    devices = ("CPU", "GPU")

    def infer(self, ctx: Any, condition: TensorShape, data: Any) -> Any:
        with_rank(condition, 0)
        return ()

    def run(self, ctx: Any, condition: Any, data: Any) -> Any:
        """Raises InvalidArgumentError "assertion failed: [...] [...]"."""
        if np.asarray(condition).item():
            return ()
        told = " ".join(f"[{summary(value, self.attrs['summarize'])}]" for value in data)
        raise invalid(f"assertion failed: {told}")


def _all(condition: Tensor) -> Tensor:
    if condition.shape.ndims is not None:
        axes: Any = constant(np.arange(condition.shape.ndims, dtype=np.int32))
    else:
        axes = raw.Range(0, rank_tensor(condition), 1)
    return raw.All(condition, axes)


def _assert_static(condition: Any, data: Sequence[Any]) -> None:
    """Raises InvalidArgumentError at build time for a condition that is known to be false."""
    if condition:
        return
    told = []
    for value in data:
        known = constant_value(value) if isinstance(value, Tensor) else None
        told.append(str(value if known is None else known))
    raise errors.InvalidArgumentError(None, None, "\n".join(told))


def _binary(
    sign: str,
    default_name: str,
    build: Callable[[Any, Any], Tensor],
    static: Callable[..., Any],
    args: tuple[Any, Any, Any, Any, Any, Any],
) -> Any:
    x, y, data, summarize, message, name = args
    with name_scope(name, default_name, [x, y, data]):
        x = convert_to_tensor(x, name="x")
        y = convert_to_tensor(y, name="y")
        if data is None:
            data = [
                f"Condition x {sign} y did not hold element-wise:",
                f"x ({x.name}) = ",
                x,
                f"y ({y.name}) = ",
                y,
            ]
        if message is not None:
            data = [message, *data]
        condition = _all(build(x, y))
        known_x, known_y = constant_value(x), constant_value(y)
        if known_x is not None and known_y is not None:
            _assert_static(np.all(static(known_x, known_y)), data)
        return control_flow.Assert(condition, data, summarize)


def assert_equal(
    x: Any,
    y: Any,
    data: Any = None,
    summarize: int | None = None,
    message: str | None = None,
    name: str | None = None,
) -> Any:
    """An Operation that fails unless `x == y` everywhere (tf.assert_equal); InvalidArgumentError at once for constants."""
    with name_scope(name, "assert_equal", [x, y, data]):
        if x is y:
            return no_op()
    return _binary(
        "==", "assert_equal", raw.Equal, np.equal, (x, y, data, summarize, message, name)
    )


def assert_none_equal(
    x: Any,
    y: Any,
    data: Any = None,
    summarize: int | None = None,
    message: str | None = None,
    name: str | None = None,
) -> Any:
    """An Operation that fails unless `x != y` everywhere (tf.assert_none_equal)."""
    args = (x, y, data, summarize, message, name)
    return _binary("!=", "assert_none_equal", raw.NotEqual, np.not_equal, args)


def assert_less(
    x: Any,
    y: Any,
    data: Any = None,
    summarize: int | None = None,
    message: str | None = None,
    name: str | None = None,
) -> Any:
    """An Operation that fails unless `x < y` everywhere (tf.assert_less)."""
    args = (x, y, data, summarize, message, name)
    return _binary("<", "assert_less", raw.Less, np.less, args)


def assert_less_equal(
    x: Any,
    y: Any,
    data: Any = None,
    summarize: int | None = None,
    message: str | None = None,
    name: str | None = None,
) -> Any:
    """An Operation that fails unless `x <= y` everywhere (tf.assert_less_equal)."""
    args = (x, y, data, summarize, message, name)
    return _binary("<=", "assert_less_equal", raw.LessEqual, np.less_equal, args)


def assert_greater(
    x: Any,
    y: Any,
    data: Any = None,
    summarize: int | None = None,
    message: str | None = None,
    name: str | None = None,
) -> Any:
    """An Operation that fails unless `x > y` everywhere (tf.assert_greater)."""
    args = (x, y, data, summarize, message, name)
    return _binary(">", "assert_greater", raw.Greater, np.greater, args)


def assert_greater_equal(
    x: Any,
    y: Any,
    data: Any = None,
    summarize: int | None = None,
    message: str | None = None,
    name: str | None = None,
) -> Any:
    """An Operation that fails unless `x >= y` everywhere (tf.assert_greater_equal)."""
    args = (x, y, data, summarize, message, name)
    return _binary(">=", "assert_greater_equal", raw.GreaterEqual, np.greater_equal, args)


def _against_zero(
    sign: str, default_name: str, check: Callable[..., Any], zero_first: bool, args: Any
) -> Any:
    x, data, summarize, message, name = args
    with name_scope(name, default_name, [x, data]):
        x = convert_to_tensor(x, name="x")
        if data is None:
            data = [
                message or "",
                f"Condition x {sign} 0 did not hold element-wise:",
                f"x ({x.name}) = ",
                x,
            ]
        zero = constant(0, x.dtype)
        pair = (zero, x) if zero_first else (x, zero)
        return check(*pair, data=data, summarize=summarize)


def assert_positive(
    x: Any,
    data: Any = None,
    summarize: int | None = None,
    message: str | None = None,
    name: str | None = None,
) -> Any:
    """An Operation that fails unless `x > 0` everywhere (tf.assert_positive)."""
    args = (x, data, summarize, message, name)
    return _against_zero(">", "assert_positive", assert_less, True, args)


def assert_negative(
    x: Any,
    data: Any = None,
    summarize: int | None = None,
    message: str | None = None,
    name: str | None = None,
) -> Any:
    """An Operation that fails unless `x < 0` everywhere (tf.assert_negative)."""
    args = (x, data, summarize, message, name)
    return _against_zero("<", "assert_negative", assert_less, False, args)


def assert_non_negative(
    x: Any,
    data: Any = None,
    summarize: int | None = None,
    message: str | None = None,
    name: str | None = None,
) -> Any:
    """An Operation that fails unless `x >= 0` everywhere (tf.assert_non_negative)."""
    args = (x, data, summarize, message, name)
    return _against_zero(">=", "assert_non_negative", assert_less_equal, True, args)


def assert_non_positive(
    x: Any,
    data: Any = None,
    summarize: int | None = None,
    message: str | None = None,
    name: str | None = None,
) -> Any:
    """An Operation that fails unless `x <= 0` everywhere (tf.assert_non_positive)."""
    args = (x, data, summarize, message, name)
    return _against_zero("<=", "assert_non_positive", assert_less_equal, False, args)


def assert_near(
    x: Any,
    y: Any,
    rtol: Any = None,
    atol: Any = None,
    data: Any = None,
    summarize: int | None = None,
    message: str | None = None,
    name: str | None = None,
) -> Any:
    """An Operation that fails unless |x - y| < atol + rtol * |y| everywhere (tf.assert_near)."""
    with name_scope(name, "assert_near", [x, y, rtol, atol, data]):
        x = convert_to_tensor(x, name="x")
        y = convert_to_tensor(y, x.dtype, name="y")
        real = x.dtype.real_dtype if x.dtype.is_complex else x.dtype
        eps = np.float64(10) * np.finfo(real.as_numpy_dtype).eps
        rtol = convert_to_tensor(eps if rtol is None else rtol, real, name="rtol")
        atol = convert_to_tensor(eps if atol is None else atol, real, name="atol")
        if data is None:
            data = [
                message or "",
                f"x and y not equal to tolerance rtol = {rtol}, atol = {atol}",
                f"x ({x.name}) = ",
                x,
                f"y ({y.name}) = ",
                y,
            ]
        tolerance = atol + rtol * raw.Abs(y)
        difference = raw.Abs(x - y)
        return control_flow.Assert(_all(raw.Less(difference, tolerance)), data, summarize)


# -- types, ranks, shapes -------------------------------------------------------------------------------


def assert_type(
    tensor: Any, tf_type: Any, message: str | None = None, name: str | None = None
) -> Any:
    """Raises TypeError unless `tensor` has the dtype `tf_type`; returns a NoOp (tf.assert_type)."""
    wanted = dtypes.as_dtype(tf_type)
    with name_scope(name, "assert_type", [tensor]):
        if not isinstance(tensor, SparseTensor):
            tensor = convert_to_tensor(tensor, name="tensor")
        if tensor.dtype.base_dtype != wanted:
            raise TypeError(f"{message or ''}  {tensor.name} must be of type {wanted}")
        return no_op("statically_determined_correct_type")


def assert_integer(x: Any, message: str | None = None, name: str | None = None) -> Any:
    """Raises TypeError unless `x` has an integer dtype; returns a NoOp (tf.assert_integer)."""
    with name_scope(name, "assert_integer", [x]):
        x = convert_to_tensor(x, name="x")
        if not x.dtype.is_integer:
            raise TypeError(
                f'{message or ""}  Expected "x" to be integer type.  Found: {x.name} of dtype {x.dtype}'
            )
        return no_op("statically_determined_was_integer")


def _rank_check(
    x: Any,
    ranks: list[Any],
    words: tuple[str, str],
    fits: Callable[[int, list[int]], bool],
    rest: Any,
) -> Any:
    """The common part of the rank assertions; `words` are the default name and the phrase of the message."""
    data, summarize, message, name = rest
    default_name, phrase = words
    message = message or ""
    with name_scope(name, default_name, [x, *ranks]):
        if not isinstance(x, SparseTensor):
            x = convert_to_tensor(x, name="x")
        tensors = [convert_to_tensor(r, name="rank") for r in ranks]
        size = shape_tensor(x)
        for tensor in tensors:
            assert_type(tensor, dtypes.int32)
            if tensor.shape.ndims not in (None, 0):
                raise ValueError(f"Rank must be a scalar. {message}")
        known = [constant_value(r) for r in tensors]
        static = x.shape.ndims
        if static is not None and all(k is not None for k in known):
            wanted = [int(k) for k in known]
            if not fits(static, wanted):
                shown = wanted[0] if len(wanted) == 1 else tuple(wanted)
                raise ValueError(
                    f"{message}.  Tensor {x.name} must have rank {phrase}{shown}.  "
                    f"Received rank {static}, shape {x.shape}"
                )
            return no_op("static_checks_determined_all_ok")
        rank = rank_tensor(x)
        if phrase == "at least ":
            condition = raw.GreaterEqual(rank, tensors[0])
        else:
            condition = raw.Equal(rank, tensors[0])
            for tensor in tensors[1:]:
                condition = raw.LogicalOr(condition, raw.Equal(rank, tensor))
        if data is None:
            data = [
                message,
                f"Tensor {x.name} must have rank {phrase}".rstrip(),
                *tensors,
                "Received shape: ",
                size,
            ]
        return control_flow.Assert(condition, data, summarize)


def assert_rank(
    x: Any,
    rank: Any,
    data: Any = None,
    summarize: int | None = None,
    message: str | None = None,
    name: str | None = None,
) -> Any:
    """Fails unless `x` has this rank: ValueError where it is known, else an Operation (tf.assert_rank)."""
    return _rank_check(
        x,
        [rank],
        ("assert_rank", ""),
        lambda actual, wanted: actual == wanted[0],
        (data, summarize, message, name),
    )


def assert_rank_at_least(
    x: Any,
    rank: Any,
    data: Any = None,
    summarize: int | None = None,
    message: str | None = None,
    name: str | None = None,
) -> Any:
    """Fails unless `x` has at least this rank (tf.assert_rank_at_least)."""
    return _rank_check(
        x,
        [rank],
        ("assert_rank_at_least", "at least "),
        lambda actual, wanted: actual >= wanted[0],
        (data, summarize, message, name),
    )


def assert_rank_in(
    x: Any,
    ranks: Sequence[Any],
    data: Any = None,
    summarize: int | None = None,
    message: str | None = None,
    name: str | None = None,
) -> Any:
    """Fails unless `x` has one of these ranks (tf.assert_rank_in)."""
    return _rank_check(
        x,
        list(ranks),
        ("assert_rank_in", "in "),
        lambda actual, wanted: actual in wanted,
        (data, summarize, message, name),
    )


def assert_scalar(tensor: Any, name: str | None = None, message: str | None = None) -> Tensor:
    """`tensor`; ValueError when it is not known to be a scalar (tf.assert_scalar)."""
    with name_scope(name, "assert_scalar", [tensor]):
        tensor = convert_to_tensor(tensor)
        if tensor.shape.ndims != 0:
            raise ValueError(
                f"{message or ''}Expected scalar shape for {tensor.name}, saw shape: {tensor.shape}."
            )
        return tensor


def is_numeric_tensor(tensor: Any) -> bool:
    """Whether `tensor` is a Tensor of numbers (tf.is_numeric_tensor)."""
    return isinstance(tensor, Tensor) and tensor.dtype.base_dtype in dtypes.NUMBERS


def add_check_numerics_ops() -> Any:
    """An Operation that checks every floating tensor of the default graph for Inf and NaN (tf.add_check_numerics_ops).

    Raises ValueError when the graph holds a cond.
    """
    checks: list[Any] = []
    graph = get_default_graph()
    for op in graph.get_operations():
        for output in op.outputs:
            if output.dtype not in (dtypes.float16, dtypes.float32, dtypes.float64):
                continue
            if op._control_flow_context is not None:
                raise ValueError(
                    "`tf.add_check_numerics_ops() is not compatible with TensorFlow control flow operations such as "
                    "`tf.cond()` or `tf.while_loop()`."
                )
            with graph.control_dependencies(checks):
                checks = [raw.CheckNumerics(output, message=f"{op.name}:{output.value_index}")]
    with graph.control_dependencies(checks):
        return no_op("group_deps")
