"""Host ops for tests: ones that wait for the test, fail, or tell which thread ran them."""

from __future__ import annotations

import threading
from concurrent.futures import Future
from typing import Any

import flowmesh.ops  # noqa: F401  (registers the ops)
from flowmesh.core import dtypes, errors
from flowmesh.core.shapes import TensorShape
from flowmesh.graph.op_def import Attr, Input, OpDef, Output

gates: dict[bytes, Future] = {}
"""What a TestGate waits for, by its attr `gate`; a test makes and completes it."""
seen: dict[bytes, list[Any]] = {}
"""What TestNote ops noted, by their attr `note`."""


def gate(name: str) -> Future:
    """A new gate."""
    gates[name.encode()] = Future()
    return gates[name.encode()]


class TestGate(OpDef):
    """The value with which its gate is opened; gives up when the step is cancelled."""

    __test__ = False
    value = Output(dtypes.float32)
    gate = Attr("string")
    stateful = True

    def infer(self, ctx: Any) -> TensorShape:
        return TensorShape([])

    def run(self, ctx: Any) -> Any:  # type: ignore[override]
        future: Future = Future()
        source = gates[self.attrs["gate"]]

        def finish(done: Future) -> None:
            if not future.done():
                future.set_result(done.result())

        def give_up(error: errors.OpError) -> None:
            if not future.done():
                future.set_exception(errors.CancelledError(None, None, f"gave up: {error.message}"))

        source.add_done_callback(finish)
        ctx.cancellation.register(give_up)
        return future


class TestNote(OpDef):
    """Notes its input and the thread."""

    __test__ = False
    x = Input(dtypes.float32)
    note = Attr("string")
    stateful = True

    def infer(self, ctx: Any, x: Any) -> tuple[()]:
        return ()

    def run(self, ctx: Any, x: Any) -> None:  # type: ignore[override]
        seen.setdefault(self.attrs["note"], []).append(
            (float(x), threading.current_thread().name, ctx.step_id, ctx.device)
        )


class TestFail(OpDef):
    """Fails with OutOfRangeError."""

    __test__ = False
    y = Output(dtypes.float32)
    stateful = True

    def infer(self, ctx: Any) -> TensorShape:
        return TensorShape([])

    def run(self, ctx: Any) -> Any:  # type: ignore[override]
        raise errors.OutOfRangeError(None, None, "nothing left")


class TestCount(OpDef):
    """How often the node ran in this session."""

    __test__ = False
    y = Output(dtypes.float32)
    stateful = True

    def infer(self, ctx: Any) -> TensorShape:
        return TensorShape([])

    def run(self, ctx: Any) -> Any:  # type: ignore[override]
        ctx.state["runs"] = ctx.state.get("runs", 0) + 1
        return float(ctx.state["runs"])


class TestMeet(OpDef):
    """A pure op that waits until as many of its kind run at the same time as the test's barrier asks for."""

    __test__ = False
    x = Input(dtypes.float32)
    y = Output(dtypes.float32)
    numpy_only = True
    devices = ("CPU", "GPU")

    def infer(self, ctx: Any, x: TensorShape) -> TensorShape:
        return x

    def compute(self, xp: Any, x: Any) -> Any:
        barriers[0].wait(20)
        return x + 1


barriers: list[threading.Barrier] = []


class TestOpaque(OpDef):
    """A kernel that looks at its value, which cannot be traced."""

    __test__ = False
    x = Input(dtypes.float32)
    y = Output(dtypes.float32)

    def infer(self, ctx: Any, x: TensorShape) -> TensorShape:
        return x

    def compute(self, xp: Any, x: Any) -> Any:
        return xp.negative(x) if float(x.sum()) > 0 else x


class TestXlaOnly(OpDef):
    """A kernel that exists for XLA only."""

    __test__ = False
    x = Input(dtypes.float32)
    y = Output(dtypes.float32)
    xla_only = True

    def infer(self, ctx: Any, x: TensorShape) -> TensorShape:
        return x

    def compute(self, xp: Any, x: Any) -> Any:
        import jax

        return jax.lax.mul(x, xp.asarray(2, x.dtype))
