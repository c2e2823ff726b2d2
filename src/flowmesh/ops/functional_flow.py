"""If, Case and While with functions as branches and bodies: how TensorFlow 2 sends conditionals and loops."""

from __future__ import annotations

from collections.abc import Sequence
from concurrent.futures import Future
from typing import Any

import numpy as np

from flowmesh.core.dtypes import int32
from flowmesh.core.shapes import TensorShape, as_shape, unknown_shape
from flowmesh.graph.op_def import Attr, Input, OpDef, Output, type_attr
from flowmesh.ops.array_support import with_rank


def _truth(value: Any) -> bool:
    """Whether a value counts as true: a scalar that is not zero (or empty), or anything else with elements."""
    array = np.asarray(value)
    if array.ndim:
        return bool(array.size)
    item = array.item()
    return bool(item)


def _shapes(declared: Sequence[Any], count: int) -> list[TensorShape]:
    if len(declared) == count:
        return [as_shape(s) for s in declared]
    return [unknown_shape()] * count


def _instance(ctx: Any, function: Any) -> Any:
    """The function, with random states that go on from step to step."""
    found = ctx.state.get(function.name)
    if found is None:
        made = ctx.functions.prepare(function, ctx.device).instance()
        found = ctx.state.setdefault(function.name, made)
    return found


class _Branching(OpDef, abstract=True):
    def infer(self, ctx: Any, choice: Any, inputs: Any) -> Any:
        count = len(self.attrs["Tout"])
        return [_shapes(self.attrs["output_shapes"], count)]

    def _call(self, ctx: Any, function: Any, inputs: Sequence[Any]) -> Any:
        return _then(_instance(ctx, function).start(list(inputs), ctx.cancellation), list)


class _If(_Branching, abstract=True):
    cond = Input("Tcond")
    input = Input(types="Tin")
    output = Output(types="Tout")
    Tcond = type_attr()
    Tin = Attr("list(type)", minimum=0)
    Tout = Attr("list(type)", minimum=0)
    then_branch = Attr("func")
    else_branch = Attr("func")
    output_shapes = Attr("list(shape)", ())

    def run(self, ctx: Any, cond: Any, inputs: Sequence[Any]) -> Any:
        """The results of the branch."""
        name = "then_branch" if _truth(cond) else "else_branch"
        return self._call(ctx, self.attrs[name], inputs)


class If(_If):
    """One of two functions of the inputs."""

    stateful = True


class StatelessIf(_If):
    """One of two functions of the inputs, neither of which has an effect."""


class _Case(_Branching, abstract=True):
    branch_index = Input(int32)
    input = Input(types="Tin")
    output = Output(types="Tout")
    Tin = Attr("list(type)", minimum=0)
    Tout = Attr("list(type)", minimum=0)
    branches = Attr("list(func)", minimum=1)
    output_shapes = Attr("list(shape)", ())

    def infer(self, ctx: Any, branch_index: TensorShape, inputs: Any) -> Any:
        with_rank(branch_index, 0)
        return [_shapes(self.attrs["output_shapes"], len(self.attrs["Tout"]))]

    def run(self, ctx: Any, branch_index: Any, inputs: Sequence[Any]) -> Any:
        """The results of the branch; of the last one for a number that is none."""
        branches = self.attrs["branches"]
        index = int(branch_index)
        if not 0 <= index < len(branches):
            index = len(branches) - 1
        return self._call(ctx, branches[index], inputs)


class Case(_Case):
    """One of several functions of the inputs."""

    stateful = True


class StatelessCase(_Case):
    """One of several functions of the inputs, none of which has an effect."""


class _While(OpDef, abstract=True):
    input = Input(types="T")
    output = Output(types="T")
    T = Attr("list(type)", minimum=0)
    cond = Attr("func")
    body = Attr("func")
    output_shapes = Attr("list(shape)", ())
    parallel_iterations = Attr("int", 10)
    slow = True

    def infer(self, ctx: Any, inputs: Any) -> Any:
        return [_shapes(self.attrs["output_shapes"], len(self.attrs["T"]))]

    def run(self, ctx: Any, inputs: Sequence[Any]) -> Any:
        """The variables when the condition is no longer true."""
        cond, body = (_instance(ctx, self.attrs[name]) for name in ("cond", "body"))
        rounds = _Rounds(ctx, cond, body, list(inputs))
        rounds.go_on()
        return rounds.future.result() if rounds.future.done() else rounds.future


class While(_While):
    """A loop whose condition and body are functions of its variables."""

    stateful = True


class StatelessWhile(_While):
    """A loop whose condition and body are functions of its variables, and have no effect."""


class _Rounds:
    """One run of a loop: condition and body in turn; what has to wait holds no thread."""

    def __init__(self, ctx: Any, cond: Any, body: Any, values: list[Any]) -> None:
        self._ctx = ctx
        self._functions = (cond, body)
        self._values = values
        self._turn = 0
        self.future: Future[list[Any]] = Future()

    def go_on(self) -> None:
        """Goes round until something has to wait, or the loop is over."""
        try:
            while True:
                self._ctx.check()
                call = self._functions[self._turn].start(self._values, self._ctx.cancellation)
                if not call.done():
                    call.add_done_callback(self._arrived)
                    return
                if self._take(call):
                    return
        except Exception as exc:
            self.future.set_exception(exc)

    def _arrived(self, call: Future[list[Any]]) -> None:
        try:
            over = self._take(call)
        except Exception as exc:
            self.future.set_exception(exc)
            return
        if not over:
            self.go_on()

    def _take(self, call: Future[list[Any]]) -> bool:
        results = call.result()
        if self._turn:
            self._values, self._turn = list(results), 0
        elif _truth(results[0]):
            self._turn = 1
        else:
            self.future.set_result(self._values)
            return True
        return False


def _then(call: Future[list[Any]], make: Any) -> Any:
    """The result of a call, made of by `make`, or a Future of it."""
    if call.done():
        return make(call.result())
    made: Future[Any] = Future()

    def finish(done: Future[list[Any]]) -> None:
        error = done.exception()
        if error is not None:
            made.set_exception(error)
        else:
            made.set_result(make(done.result()))

    call.add_done_callback(finish)
    return made
