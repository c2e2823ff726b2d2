"""Control flow, assertions, printing and Python functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flowmesh.core import dtypes, errors
from flowmesh.frontend.control_flow_protos import cond_context_to_proto
from flowmesh.graph.composite import IndexedSlices
from flowmesh.graph.graph import Graph
from flowmesh.graph.op_def import DEAD
from flowmesh.graph.raw import raw
from flowmesh.ops import (
    assertions,
    constant,
    control,
    control_flow,
    logging_ops,
    placeholder,
    py_func,
    switch_merge,
)
from tests.ops.array_program import evaluate
from tests.ops.interpreter import host_context


@pytest.fixture(autouse=True)
def graph():
    with Graph().as_default() as graph:
        yield graph


def call(tensor_or_op: Any, *inputs: Any, **fields: Any) -> Any:
    """Runs the host op behind a tensor or operation on given inputs."""
    op = getattr(tensor_or_op, "op", tensor_or_op)
    return op.definition.run(host_context(op.name, **fields), *inputs)


# -- Switch and Merge --------------------------------------------------------------------------------------


def test_switch_kills_one_side_and_merge_takes_the_other() -> None:
    false, true = switch_merge.switch(constant.constant(1.0), constant.constant(True))
    assert false.op.type == "Switch"
    assert call(false, 5, np.True_) == (DEAD, 5)
    assert call(true, 5, np.False_) == (5, DEAD)
    merged = switch_merge.merge([false, true])
    assert merged.output.op.type == "Merge"
    assert call(merged.output, [DEAD, 7]) == (7, 1)
    assert call(merged.output, [DEAD, DEAD]) == (DEAD, DEAD)


def test_references_switch_as_references() -> None:
    var = raw.VariableV2(shape=[2], dtype=dtypes.float32, name="v")
    pred = placeholder.placeholder(dtypes.bool, [], name="p")
    result = control_flow.cond(
        pred, lambda: raw.Assign(var, [1.0, 2.0]), lambda: raw.AssignAdd(var, [3.0, 4.0])
    )
    types = {op.type for op in result.graph.get_operations()}
    assert {"RefSwitch", "RefMerge"} <= types
    switches = [op for op in result.graph.get_operations() if op.type == "RefSwitch"]
    assert [op.inputs[0].name for op in switches] == ["v:0", "v:0"]
    assert result.op.type == "RefMerge"
    assert result.dtype == dtypes.float32_ref


def test_reference_that_waits() -> None:
    var = raw.VariableV2(shape=[2], dtype=dtypes.float32, name="v")
    waiting = control.with_dependencies([control.no_op(name="first")], var)
    assert waiting.op.type == "RefIdentity"
    assert waiting.dtype == dtypes.float32_ref
    assert [op.name for op in waiting.op.control_inputs] == ["first"]


def test_cond_runs_one_branch() -> None:
    pred = placeholder.placeholder(dtypes.bool, [])
    ran: list[str] = []

    def note(what: str) -> Any:
        return py_func.py_func(lambda: ran.append(what) or np.int32(1), [], dtypes.int32)

    result = control_flow.cond(pred, lambda: note("true"), lambda: note("false"))
    evaluate(result, {pred: True})
    assert ran == ["true"]


def test_cond_results_may_be_structures(graph: Graph) -> None:
    pred = placeholder.placeholder(dtypes.bool, [])
    x = constant.constant([1.0, 2.0])
    result = control_flow.cond(
        pred,
        lambda: {"s": IndexedSlices(x, constant.constant([0, 1])), "t": (x, x)},
        lambda: {"s": IndexedSlices(-x, constant.constant([1, 0])), "t": (x, -x)},
    )
    assert isinstance(result["s"], IndexedSlices)
    got = evaluate([result["s"].indices, result["t"][1]], {pred: False})
    np.testing.assert_array_equal(got[0], [1, 0])
    np.testing.assert_array_equal(got[1], [-1, -2])


def test_ops_in_a_branch_cannot_be_fetched(graph: Graph) -> None:
    inside: list[Any] = []

    def branch() -> Any:
        inside.append(constant.constant(1))
        return inside[0]

    control_flow.cond(constant.constant(True), branch, branch)
    assert not graph.is_fetchable(inside[0])
    assert [c.pred.op.name for c in graph.get_collection("cond_context")] == ["cond/pred_id"] * 2


def test_branch_context_as_message(graph: Graph) -> None:
    x = constant.constant(1.0, name="x")
    control_flow.cond(constant.constant(True), lambda: x + 1.0, lambda: x)
    proto = cond_context_to_proto(graph.get_collection("cond_context")[0])
    assert proto.pred_name == "cond/pred_id:0"
    assert proto.branch == 1
    assert proto.values_def.external_values["x:0"] == "cond/add/Switch:1"


# -- control -----------------------------------------------------------------------------------------------


def test_no_ops_do_nothing() -> None:
    for op in (control.no_op(), raw.ControlTrigger()):
        assert op.type in ("NoOp", "ControlTrigger")
        assert op.definition.compute(np) == ()


def test_abort() -> None:
    with pytest.raises(errors.AbortedError, match="enough"):
        call(raw.Abort(error_msg="enough"))
    assert call(raw.Abort(exit_without_error=True)) == ()


# -- assertions ---------------------------------------------------------------------------------------------


def test_assert_message() -> None:
    op = raw.Assert(
        constant.constant(False), ["told", constant.constant([1, 2, 3, 4])], summarize=2
    )
    assert op.type == "Assert"
    with pytest.raises(errors.InvalidArgumentError) as raised:
        call(op, np.False_, [np.array(b"told", object), np.arange(4)])
    assert raised.value.message == "assertion failed: [told] [0 1...]"
    assert call(op, np.True_, []) == ()


@pytest.mark.parametrize(
    ("name", "good", "bad"),
    [
        ("assert_equal", ([1, 2], [1, 2]), ([1, 2], [1, 3])),
        ("assert_none_equal", ([1, 2], [0, 3]), ([1, 2], [1, 3])),
        ("assert_less", ([1, 2], [2, 3]), ([1, 2], [2, 2])),
        ("assert_less_equal", ([1, 2], [1, 2]), ([1, 3], [2, 2])),
        ("assert_greater", ([2, 3], [1, 2]), ([1, 2], [1, 1])),
        ("assert_greater_equal", ([1, 2], [1, 2]), ([1, 2], [1, 3])),
        ("assert_near", ([1.0], [1.0]), ([1.0], [1.1])),
        ("assert_positive", ([1],), ([0],)),
        ("assert_negative", ([-1],), ([0],)),
        ("assert_non_negative", ([0],), ([-1],)),
        ("assert_non_positive", ([0],), ([1],)),
    ],
)
def test_assertion(name: str, good: Any, bad: Any) -> None:
    check = getattr(assertions, name)
    for values, fails in ((good, False), (bad, True)):
        fed = [np.array(v) for v in values]
        fed = [v.astype(np.float32 if v.dtype.kind == "f" else np.int32) for v in fed]
        tensors = [placeholder.placeholder(dtypes.as_dtype(v.dtype), [None]) for v in fed]
        op = check(*tensors)
        feeds = dict(zip(tensors, fed))
        if fails:
            with pytest.raises(errors.InvalidArgumentError, match="assertion failed"):
                evaluate([op], feeds)
        else:
            evaluate([op], feeds)


def test_rank_assertions_at_run_time() -> None:
    x = placeholder.placeholder(dtypes.float32, name="x")
    for op in (
        assertions.assert_rank(x, 2),
        assertions.assert_rank_at_least(x, 2),
        assertions.assert_rank_in(x, [2, 3]),
    ):
        evaluate([op], {x: np.zeros([1, 1])})
        with pytest.raises(errors.InvalidArgumentError, match="must have rank"):
            evaluate([op], {x: np.zeros([1])})


def test_add_check_numerics_ops(graph: Graph) -> None:
    constant.constant([1.0, np.nan], name="bad")
    with pytest.raises(errors.InvalidArgumentError, match="bad:0 : Tensor had NaN"):
        evaluate([assertions.add_check_numerics_ops()])
    control_flow.cond(
        constant.constant(True), lambda: constant.constant(1.0), lambda: constant.constant(2.0)
    )
    with pytest.raises(ValueError, match="control flow"):
        assertions.add_check_numerics_ops()


# -- printing -----------------------------------------------------------------------------------------------

PRINTED = [
    (np.int32(5), 3, "[5]"),
    (np.arange(5), 3, "[0 1 2...]"),
    (np.arange(5), -1, "[0 1 2 3 4]"),
    (np.arange(4).reshape(2, 2), 3, "[[0 1][2...]...]"),
    (np.arange(8).reshape(2, 2, 2), 9, "[[[0 1][2 3]][[4 5][6 7]]]"),
    (np.float32(1 / 3), 3, "[0.333333343]"),
    (
        np.float32([0.1, 1e10, 1e-7, np.inf, np.nan, 16777216]),
        9,
        "[0.1 1e+10 1e-07 inf nan 16777216]",
    ),
    (np.array([0.1, 1 / 3]), 3, "[0.1 0.33333333333333331]"),
    (np.array([True, False]), 3, "[1 0]"),
    (np.array([b"ab", b"x\n"], object), 3, "[ab x\\n]"),
    (np.zeros([0, 3]), 3, "[]"),
    (np.arange(3), 0, "[...]"),
    (np.float16(0.1), 3, "[0.0999755859]"),
]


@pytest.mark.parametrize(("value", "limit", "text"), PRINTED)
def test_print_format(value: Any, limit: int, text: str, capfd: Any) -> None:
    x = constant.constant(1.0)
    printed = logging_ops.Print(x, [x], "msg:", summarize=limit)
    assert printed.op.type == "Print"
    assert call(printed, 1.0, [value]) == 1.0
    assert capfd.readouterr().err == f"msg:{text}\n"


def test_print_stops_after_first_n(capfd: Any) -> None:
    x = constant.constant(1.0)
    printed = logging_ops.Print(x, [x], "m", first_n=2)
    state: dict[Any, Any] = {}
    for _ in range(4):
        call(printed, 1.0, [np.float32(2)], state=state)
    assert capfd.readouterr().err == "m[2]\nm[2]\n"


def test_print_v2(capfd: Any) -> None:
    op = logging_ops.print_v2(
        "x:", constant.constant(np.arange(8)), {"a": constant.constant(1.5)}, end="|\n"
    )
    assert op.type == "PrintV2"
    evaluate([op])
    assert capfd.readouterr().err == "x: [0 1 2 ... 5 6 7] {'a': 1.5}|\n"
    with pytest.raises(ValueError, match="Unsupported output stream"):
        logging_ops.print_v2("x", output_stream=3)


# -- Python functions ---------------------------------------------------------------------------------------


def test_py_func_results_are_checked() -> None:
    one = constant.constant(1.0)
    wrong = py_func.py_func(lambda x: np.int32(1), [one], dtypes.float32)
    assert wrong.op.type == "PyFunc"
    with pytest.raises(
        errors.InvalidArgumentError,
        match=r"0-th value returned by pyfunc_[0-9]+ is int32, but expects float",
    ):
        evaluate(wrong)
    many = py_func.py_func(lambda x: (x, x), [one], [dtypes.float32])
    with pytest.raises(errors.InvalidArgumentError, match="returns 2 values, but expects to see 1"):
        evaluate(many)


@pytest.mark.parametrize(
    ("error", "kind"),
    [
        (ValueError("v"), errors.InvalidArgumentError),
        (StopIteration(), errors.OutOfRangeError),
        (NotImplementedError(), errors.UnimplementedError),
        (KeyError("k"), errors.UnknownError),
    ],
)
def test_py_func_errors(error: Exception, kind: Any) -> None:
    def fail() -> Any:
        raise error

    tensor = py_func.py_func(fail, [], dtypes.float32, stateful=False)
    assert tensor.op.type == "PyFuncStateless"
    with pytest.raises(kind, match=type(error).__name__):
        evaluate(tensor)


def test_py_func_of_another_process_is_not_found() -> None:
    tensor = raw.PyFunc([], token="pyfunc_of_somebody", Tout=[dtypes.float32])
    with pytest.raises(
        errors.InvalidArgumentError, match="callback pyfunc_of_somebody is not found"
    ):
        evaluate(tensor)


def test_py_func_without_results() -> None:
    seen: list[Any] = []
    op = py_func.py_func(seen.append, [constant.constant("text")], [])
    evaluate([op])
    assert seen == [b"text"]
