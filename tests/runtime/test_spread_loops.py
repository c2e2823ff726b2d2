"""Loops over several tasks, in the parts that TensorFlow's masters make of them."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from flowmesh.core import errors
from flowmesh.graph.graph import Graph
from flowmesh.graph.importer import load_graph_def
from flowmesh.ops.string_hash import hash64
from flowmesh.passes.conditions import doubt_receives
from flowmesh.proto import graph_pb2, types_pb2
from flowmesh.runtime.executor import Executable
from flowmesh.runtime.rendezvous import Rendezvous, make_key
from flowmesh.runtime.values import to_host
from tests.runtime.harness import Machine

FLOAT, INT, BOOL = types_pb2.DT_FLOAT, types_pb2.DT_INT32, types_pb2.DT_BOOL
FRAME = "walk/walk_context"
ROUNDS = 3


class Part:
    """One part, node by node."""

    def __init__(self, machine: Machine, device: int, producer: int = 134) -> None:
        self._machine = machine
        self._producer = producer
        self._names = [d.name for d in machine.devices]
        self._device = self._names[device]
        self._graph_def = graph_pb2.GraphDef()

    def add(self, name: str, op: str, *inputs: str, **attrs: Any) -> str:
        """A node; types by their numbers, texts as bytes, arrays as tensors."""
        node = self._graph_def.node.add(name=name, op=op, device=self._device)
        node.input.extend(inputs)
        for key, value in attrs.items():
            if isinstance(value, bytes):
                node.attr[key].s = value
            elif isinstance(value, bool):
                node.attr[key].b = value
            elif isinstance(value, np.ndarray):
                tensor = node.attr[key].tensor
                tensor.dtype = attrs["dtype"]
                tensor.tensor_shape.SetInParent()
                tensor.tensor_content = value.tobytes()
            elif key in ("N", "send_device_incarnation"):
                node.attr[key].i = value
            else:
                node.attr[key].type = value
        return name

    def const(self, name: str, value: Any, *controls: str) -> str:
        kind = FLOAT if isinstance(value, float) else INT
        array = np.asarray(value, np.float32 if kind == FLOAT else np.int32)
        return self.add(name, "Const", *controls, value=array, dtype=kind)

    def enter(self, name: str, value: str, kind: int, frame: str = FRAME, **attrs: Any) -> str:
        return self.add(name, "Enter", value, T=kind, frame_name=frame.encode(), **attrs)

    def variable(self, name: str, first: str, kind: int, pred: str, frame: str = FRAME) -> None:
        """NAME/Merge and NAME/Switch; NAME/Next is to follow."""
        self.enter(f"{name}/Enter", first, kind, frame)
        self.add(f"{name}/Merge", "Merge", f"{name}/Enter", f"{name}/Next", T=kind, N=2)
        self.add(f"{name}/Switch", "Switch", f"{name}/Merge", pred, T=kind)

    def transfer(
        self, op: str, edge: str, source: int, target: int, *inputs: str, kind: int
    ) -> str:
        names = self._names
        return self.add(
            edge,
            op,
            *inputs,
            **{"T" if op == "_Send" else "tensor_type": kind},
            tensor_name=edge.encode(),
            send_device=names[source].encode(),
            recv_device=names[target].encode(),
            send_device_incarnation=1,
            client_terminated=False,
        )

    def graph(self) -> Graph:
        graph = Graph()
        graph.producer = self._producer
        load_graph_def(graph, self._graph_def)
        doubt_receives(graph.get_operations())
        return graph

    def executable(self) -> Executable:
        machine = self._machine
        return Executable(
            self.graph(), machine.devices, machine.resources, machine.state, machine.config
        )


def home(machine: Machine, rounds: int = ROUNDS) -> Part:
    """i and x go round here; y comes from elsewhere."""
    part = Part(machine, 0)
    part.variable("i", part.const("zero", 0), INT, "go")
    part.variable("x", part.const("one", 1.0), FLOAT, "go")
    part.const("limit", rounds, "^i/Merge")
    part.add("less", "Less", "i/Merge", "limit", T=INT)
    part.add("go", "LoopCond", "less")
    part.add("pivot", "Identity", "i/Switch:1", T=INT)
    part.add("i/next", "Add", "pivot", part.const("step", 1, "^pivot"), T=INT)
    part.add("i/Next", "NextIteration", "i/next", T=INT)
    part.transfer("_Send", "edge_x", 0, 1, "x/Switch:1", kind=FLOAT)
    part.transfer("_Send", "edge_go", 0, 1, "go", kind=BOOL)
    # TensorFlow's control loop, by which the receive is there in each iteration.
    part.variable("_cloop", part.const("nothing", 0), INT, "go")
    part.add("_cloop/Next", "NextIteration", "_cloop/Switch:1", T=INT)
    part.transfer("_Recv", "edge_y", 1, 0, "^_cloop/Merge", kind=FLOAT)
    part.add("x/next", "Add", "edge_y", part.const("more", 1.0, "^pivot"), T=FLOAT)
    part.add("x/Next", "NextIteration", "x/next", T=FLOAT)
    part.add("last", "Exit", "x/Switch", T=FLOAT)
    part.add("result", "_Retval", "last", T=FLOAT)
    part._graph_def.node[-1].attr["index"].i = 0
    return part


def away(machine: Machine) -> Part:
    """y = x / 2, and whether the loop goes on comes from elsewhere."""
    part = Part(machine, 1)
    part.enter("w", part.const("half", 0.5), FLOAT, is_constant=True)
    part.variable("_cloop", part.const("nothing", 0), INT, "edge_go")
    part.add("_cloop/Next", "NextIteration", "_cloop/Switch:1", T=INT)
    part.transfer("_Recv", "edge_go", 0, 1, "^_cloop/Merge", kind=BOOL)
    part.transfer("_Recv", "edge_x", 0, 1, "^_cloop/Merge", kind=FLOAT)
    part.add("mul", "Mul", "edge_x", "w", T=FLOAT)
    part.transfer("_Send", "edge_y", 1, 0, "mul", kind=FLOAT)
    return part


@pytest.mark.parametrize("first", ["home", "away"])
@pytest.mark.parametrize("rounds", [0, 1, 3, 1000])
def test_each_part_goes_round_as_often_as_the_loop(
    monkeypatch: pytest.MonkeyPatch, first: str, rounds: int
) -> None:
    sent: list[tuple[str, str, Any]] = []
    send = Rendezvous.send

    def noted(self: Rendezvous, key: str, value: Any, is_dead: bool = False) -> None:
        sent.append((*key.split(";")[3:], "dead" if is_dead else float(to_host(value))))
        send(self, key, value, is_dead)

    monkeypatch.setattr(Rendezvous, "send", noted)
    machine = Machine(cpus=2)
    parts = [home(machine, rounds).executable(), away(machine).executable()]
    step = machine.step(timeout=60)
    if first == "away":
        there = parts[1].run(step, {})
        here = parts[0].run(step, {})
    else:
        here = parts[0].run(step, {})
        there = parts[1].run(step, {})
    x, values = 1.0, []
    for _ in range(rounds):
        values.append(x)
        x = float(np.float32(x) * np.float32(0.5) + np.float32(1))
    assert here.result(60)["0"] == np.float32(x) and there.result(60) == {}
    number = hash64(f";0;{FRAME}".encode())
    turns = [f"{number}:{i}" for i in range(rounds + 1)]
    by_edge = {e: [s[1:] for s in sent if s[0] == e] for e in ("edge_go", "edge_x", "edge_y")}
    assert by_edge["edge_go"] == list(zip(turns, [1.0] * rounds + [0.0]))
    assert by_edge["edge_x"] == list(zip(turns, [*values, "dead"]))
    assert by_edge["edge_y"] == list(zip(turns, [*(v / 2 for v in values), "dead"]))


def test_a_part_whose_partners_do_not_come_ends_with_its_time() -> None:
    machine = Machine(cpus=2)
    waiting = away(machine).executable().run(machine.step(timeout=0.02), {})
    with pytest.raises(errors.DeadlineExceededError):
        waiting.result(60)


def test_a_part_ends_when_its_step_is_cancelled() -> None:
    machine = Machine(cpus=2)
    step = machine.step()
    waiting = home(machine).executable().run(step, {})
    step.cancellation.cancel(errors.CancelledError(None, None, "enough"))
    with pytest.raises(errors.CancelledError, match="enough"):
        waiting.result(60)


def named(frame: str) -> int:
    return hash64(frame.encode())


def numbered(frame: str) -> int:
    """From the inside of the outermost frame outwards: `FindOrCreateChildFrame` of TensorFlow's `propagator_state.cc`."""
    mask, golden, number = (1 << 64) - 1, 0x9E3779B97F4A7800, 0

    def mix(a: int, b: int) -> int:
        return (a ^ (b + golden + (a << 10) + (a >> 4))) & mask

    words = frame.split(";")[1:]
    for iteration, name in zip(words[::2], words[1::2], strict=True):
        number = mix(number, mix(int(iteration), hash64(name.encode())))
    return number


@pytest.mark.parametrize(("producer", "identify"), [(134, named), (2474, numbered)])
def test_a_loop_in_a_loop_has_tensorflows_names(producer: int, identify: Any) -> None:
    """The other side is played here: it goes round three times, and inside as often as the outer loop has gone round."""
    machine = Machine(cpus=2)
    part = Part(machine, 1, producer)
    part.variable("outer", part.const("nothing", 0), INT, "outer_go", "a")
    part.add("outer/Next", "NextIteration", "outer/Switch:1", T=INT)
    part.transfer("_Recv", "outer_go", 0, 1, "^outer/Merge", kind=BOOL)
    part.variable("inner", "outer/Merge", INT, "inner_go", "a/b")
    part.add("inner/Next", "NextIteration", "inner/Switch:1", T=INT)
    part.transfer("_Recv", "inner_go", 0, 1, "^inner/Merge", kind=BOOL)
    part.transfer("_Recv", "x", 0, 1, "^inner/Merge", kind=FLOAT)
    part.add("twice", "Add", "x", "x", T=FLOAT)
    part.transfer("_Send", "y", 1, 0, "twice", kind=FLOAT)
    step = machine.step(timeout=60)
    running = part.executable().run(step, {})
    ours, theirs = (machine.devices[i].name for i in (1, 0))

    def send(edge: str, frame: str, number: int, value: Any) -> None:
        at = f"{identify(frame)}:{number}"
        key = make_key(theirs, 1, ours, edge, at)
        step.rendezvous.send(key, value, is_dead=value is None)

    def receive(frame: str, number: int) -> Any:
        key = make_key(ours, 1, theirs, "y", f"{identify(frame)}:{number}")
        value, is_dead = step.rendezvous.recv_async(key).result(60)
        return None if is_dead else float(to_host(value))

    for i in range(3):
        send("outer_go", ";0;a", i, np.True_)
        for j in range(i):
            send("inner_go", f";0;a;{i};a/b", j, np.True_)
            send("x", f";0;a;{i};a/b", j, np.float32(10 * i + j))
            assert receive(f";0;a;{i};a/b", j) == 2 * (10 * i + j)
        send("inner_go", f";0;a;{i};a/b", i, np.False_)
        send("x", f";0;a;{i};a/b", i, None)
        assert receive(f";0;a;{i};a/b", i) is None
    assert not running.done()
    send("outer_go", ";0;a", 3, np.False_)  # the inner loop is entered with nothing alive
    send("inner_go", ";0;a;3;a/b", 0, None)
    send("x", ";0;a;3;a/b", 0, None)
    assert receive(";0;a;3;a/b", 0) is None
    assert running.result(60) == {}
