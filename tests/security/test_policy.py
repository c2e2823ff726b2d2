"""What graphs of other processes may do, and how large things may become."""

import ast
import contextlib
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flowmesh
from flowmesh.core import dtypes, errors, limits
from flowmesh.core.file_policy import FilePolicy
from flowmesh.distributed.policy import Policy
from flowmesh.distributed.server import Server
from flowmesh.graph.graph import Graph
from flowmesh.graph.raw import raw
from flowmesh.ops.py_func import py_func
from tests.distributed.clusters import Client, config

SOURCES = sorted(Path(flowmesh.__path__[0]).rglob("*.py"))
UNSAFE = {"pickle", "cPickle", "_pickle", "marshal", "shelve", "dill", "cloudpickle", "joblib"}


def imports(path: Path) -> Iterator[str]:
    """The modules that a file imports anywhere, by their first names."""
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            yield from (alias.name.partition(".")[0] for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            yield node.module.partition(".")[0]


def test_nothing_on_the_wire_can_be_code() -> None:
    assert len(SOURCES) > 100
    assert not [path for path in SOURCES if UNSAFE & set(imports(path))]
    for path in SOURCES:
        text = path.read_text()
        assert "allow_pickle=True" not in text, path
        if "distributed" in path.parts:
            assert not {"eval", "exec"} & {
                node.func.id
                for node in ast.walk(ast.parse(text))
                if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
            }, path


@contextlib.contextmanager
def remote(graph: Graph, policy: Policy | None = None, rpc: bool = True) -> Iterator[Client]:
    """A session on a server whose master is called as from another process."""
    with Server({"a": ["localhost:0"]}, policy=policy) as server:
        client = Client(server.target, graph, config(rpc=rpc))
        try:
            yield client
        finally:
            client.close()


@pytest.fixture
def graph() -> Iterator[Graph]:
    """The default graph of a test."""
    with Graph().as_default() as made:
        yield made


def text(value: str) -> Any:
    """A string constant."""
    return raw.Const(value=np.array(value.encode(), object), dtype=dtypes.string)


# -- files -------------------------------------------------------------------------------------------------


def test_files_outside_of_the_folders_are_denied(graph: Graph, tmp_path: Path) -> None:
    inside, outside = tmp_path / "inside", tmp_path / "outside"
    inside.mkdir()
    outside.mkdir()
    (outside / "secret").write_text("secret")
    (inside / "link").symlink_to(outside / "secret")
    one = raw.Const(value=np.array([b"x"], object), dtype=dtypes.string)
    none = raw.Const(value=np.array([b""], object), dtype=dtypes.string)
    data = raw.Const(value=np.float32(1), dtype=dtypes.float32)

    def ops(folder: Path) -> dict[str, Any]:
        path, prefix = text(str(folder / "secret")), text(str(folder / "model"))
        return {
            "save": raw.SaveV2(prefix, one, none, [data]),
            "restore": raw.RestoreV2(prefix, one, none, dtypes=[dtypes.float32])[0],
            "save1": raw.Save(text(str(folder / "old")), one, [data]),
            "restore1": raw.Restore(text(str(folder / "old")), text("x"), dt=dtypes.float32),
            "merge": raw.MergeV2Checkpoints(raw.Pack([prefix]), text(str(folder / "merged"))),
            "write": raw.WriteFile(path, text("hello")),
            "read": raw.ReadFile(path),
            "match": raw.MatchingFiles(text(str(folder / "*"))),
            "print": raw.PrintV2(text("x"), output_stream=f"file://{folder}/log"),
        }

    allowed, denied = ops(inside), ops(outside)
    link = raw.ReadFile(text(str(inside / "link")))
    dots = raw.ReadFile(text(f"{inside}/../outside/secret"))
    sibling = raw.WriteFile(text(f"{inside}2/file"), text("x"))
    prefix = raw.SaveV2(text(str(inside)), one, none, [data])  # would write inside.index
    with remote(graph, Policy(FilePolicy([inside]))) as client:
        for name, op in allowed.items():
            run(client, op, name)
        for name, op in denied.items():
            with pytest.raises(errors.PermissionDeniedError, match="--allow-files"):
                run(client, op, name)
        for op in (link, dots, sibling, prefix):
            with pytest.raises(errors.PermissionDeniedError):
                run(client, op, op.name)
    assert os.listdir(outside) == ["secret"]
    assert sorted(os.listdir(tmp_path)) == ["inside", "outside"]


def run(client: Client, op: Any, name: str) -> Any:
    """Runs an operation, or fetches a tensor."""
    if hasattr(op, "outputs"):
        return client.run(targets=[op.name])
    return client.run(op.name)


def test_readers_open_only_what_is_allowed(graph: Graph, tmp_path: Path) -> None:
    (tmp_path / "a").write_text("line\n")
    queue = raw.FIFOQueueV2(component_types=[dtypes.string], shared_name="q")
    put = raw.QueueEnqueueV2(queue, [text(str(tmp_path / "a"))])
    reader = raw.TextLineReaderV2(shared_name="r")
    value = raw.ReaderReadV2(reader, queue)[1]
    with remote(graph, Policy(FilePolicy([tmp_path / "other"]))) as client:
        client.run(targets=[put.name])
        with pytest.raises(errors.PermissionDeniedError):
            client.run(value.name)


def test_without_a_policy_files_are_free_on_loopback(graph: Graph, tmp_path: Path) -> None:
    write = raw.WriteFile(text(str(tmp_path / "x")), text("hello"))
    with remote(graph) as client:
        client.run(targets=[write.name])
    assert (tmp_path / "x").read_text() == "hello"


def test_an_exposed_server_denies_files_unless_they_are_named() -> None:
    assert Policy().without_files().files is not None
    files = FilePolicy(["/data"])
    assert Policy(files).without_files().files is files


def test_a_session_in_the_servers_process_may_do_everything(graph: Graph, tmp_path: Path) -> None:
    write = raw.WriteFile(text(str(tmp_path / "x")), text("hello"))
    called = py_func(lambda: np.float32(3), [], dtypes.float32)
    policy = Policy(FilePolicy(), deny_ops={"WriteFile"})
    with remote(graph, policy, rpc=False) as client:
        client.run(targets=[write.name])
        assert client.run(called.name) == 3
    assert (tmp_path / "x").exists()


# -- ops ---------------------------------------------------------------------------------------------------


def test_python_functions_are_denied_unless_allowed(graph: Graph) -> None:
    called = py_func(lambda: np.float32(3), [], dtypes.float32)
    with (
        remote(graph) as client,
        pytest.raises(errors.PermissionDeniedError, match=r"PyFunc.*--allow-ops"),
    ):
        client.run(called.name)
    with remote(graph, Policy(allow_ops={"PyFunc"})) as client:
        assert client.run(called.name) == 3


def test_ops_can_be_denied_and_others_of_the_graph_run(graph: Graph) -> None:
    fine = raw.Const(value=np.int32(1), dtype=dtypes.int32)
    read = raw.ReadFile(text("/etc/hostname"))
    with remote(graph, Policy(deny_ops={"ReadFile"})) as client:
        assert client.run(fine.name) == 1
        with pytest.raises(errors.PermissionDeniedError, match=r"Node ReadFile: .*--deny-ops"):
            client.run(read.name)


def test_the_policy_comes_from_the_environment(tmp_path: Path) -> None:
    policy = Policy.from_environment(
        {
            "FLOWMESH_ALLOW_FILES": f"{tmp_path}{os.pathsep}/data",
            "FLOWMESH_DENY_OPS": "ReadFile, WriteFile",
            "FLOWMESH_ALLOW_OPS": "PyFunc",
        }
    )
    assert policy.files is not None
    assert policy.files.folders == (os.path.realpath(tmp_path), os.path.realpath("/data"))
    assert policy.denies("ReadFile")
    assert policy.denies("EagerPyFunc")
    assert not policy.denies("PyFunc")
    assert not policy.denies("MatMul")
    nothing = Policy.from_environment({"FLOWMESH_ALLOW_FILES": "none"}).files
    assert nothing is not None
    assert not nothing.allows("/tmp")


# -- limits ------------------------------------------------------------------------------------------------


def test_limits_are_parsed() -> None:
    found = limits.Limits.parse("tensor=1.5G, queue=10K,nodes=7")
    assert (found.tensor, found.queue, found.nodes) == (3 << 29, 10 << 10, 7)
    assert limits.Limits.parse("") == limits.Limits()
    for bad in ("x=1", "tensor", "tensor=-1", "tensor=1X"):
        with pytest.raises(ValueError, match="is no limit"):
            limits.Limits.parse(bad)


def placeholder(value: Any) -> Any:
    """A value that only the kernel sees."""
    array = np.asarray(value)
    constant = raw.Const(value=array, dtype=dtypes.as_dtype(array.dtype))
    return raw.PlaceholderWithDefault(constant, shape=None)


HUGE: dict[str, Any] = {
    "fill": lambda: raw.Fill(placeholder(np.array([1 << 20, 1 << 20])), np.float32(1)),
    "range": lambda: raw.Range(
        placeholder(np.int64(0)), placeholder(np.int64(1 << 60)), placeholder(np.int64(1))
    ),
    "tile": lambda: raw.Tile(placeholder(np.ones([9, 9])), placeholder(np.array([1 << 30, 9]))),
    "random": lambda: raw.RandomUniform(
        placeholder(np.array([1 << 40, 8])), dtype=dtypes.float32, seed=1
    ),
    "pad": lambda: raw.Pad(placeholder(np.ones(2)), placeholder(np.array([[0, 1 << 40]]))),
    "one_hot": lambda: raw.OneHot(
        placeholder(np.arange(900)), placeholder(np.int32(1 << 30)), 1, 0
    ),
    "broadcast": lambda: raw.BroadcastTo(
        placeholder(np.ones(1)), placeholder(np.array([1 << 30, 1 << 30]))
    ),
    "linspace": lambda: raw.LinSpace(
        np.float32(0), np.float32(1), placeholder(np.int32((1 << 31) - 1))
    ),
    "segments": lambda: raw.UnsortedSegmentSum(
        placeholder(np.ones([2, 99])), placeholder(np.array([0, 1])), placeholder(np.int32(1 << 30))
    ),
    "stitch": lambda: raw.DynamicStitch(
        [placeholder(np.array([1 << 30], np.int32))], [placeholder(np.ones([1, 99]))]
    ),
}


@pytest.mark.parametrize("name", HUGE)
def test_huge_tensors_are_refused_before_they_are_made(graph: Graph, name: str) -> None:
    made = HUGE[name]()
    with (
        limits.use(limits.Limits(tensor=1 << 28)),
        remote(graph) as client,
        pytest.raises(
            errors.ResourceExhaustedError, match=r"OOM when allocating.*--limit tensor=SIZE"
        ),
    ):
        client.run(made.name)


def test_what_is_within_the_limit_is_made(graph: Graph) -> None:
    made = raw.Fill(placeholder(np.array([300, 300])), np.float32(1))
    with limits.use(limits.Limits(tensor=360_000)), remote(graph) as client:
        assert client.run(made.name).shape == (300, 300)


def test_a_constant_that_says_it_is_huge_is_refused(graph: Graph) -> None:
    raw.Const(value=np.broadcast_to(np.float32(1), (1 << 30, 1 << 20)), dtype=dtypes.float32)
    with pytest.raises(errors.ResourceExhaustedError, match="OOM"), remote(graph):
        pass


def test_graphs_have_limits(graph: Graph) -> None:
    for _ in range(20):
        raw.Const(value=np.zeros(100), dtype=dtypes.float64)
    for small, option in (
        (limits.Limits(nodes=10), "nodes=SIZE"),
        (limits.Limits(graph=1000), "graph=SIZE"),
    ):
        with (
            limits.use(small),
            pytest.raises(errors.ResourceExhaustedError, match=option),
            remote(graph),
        ):
            pass


def test_messages_have_a_limit(graph: Graph) -> None:
    raw.Const(value=np.arange(1 << 16, dtype=np.float64), dtype=dtypes.float64)
    with (
        limits.use(limits.Limits(message=1 << 16)),
        pytest.raises(errors.ResourceExhaustedError, match="--limit message=SIZE"),
        remote(graph),
    ):
        pass


def test_queues_have_a_limit_and_room_again_after_a_dequeue(graph: Graph) -> None:
    queue = raw.FIFOQueueV2(component_types=[dtypes.float32], shapes=[[1000]])
    value = raw.Const(value=np.zeros(1000, np.float32), dtype=dtypes.float32)
    put, get = raw.QueueEnqueueV2(queue, [value]), raw.QueueDequeueV2(queue, [dtypes.float32])
    taken = get[0] if isinstance(get, (list, tuple)) else get
    with limits.use(limits.Limits(queue=10_000)), remote(graph) as client:
        for _ in range(3):
            client.run(targets=[put.name])
            client.run(targets=[put.name])
            with pytest.raises(errors.ResourceExhaustedError, match="--limit queue=SIZE"):
                client.run(targets=[put.name])
            client.run(taken.name)
            client.run(taken.name)


def test_lists_of_absurd_length_are_refused() -> None:
    from flowmesh.distributed.transport.worker_service import load_nodes
    from flowmesh.proto import graph_pb2

    for op, attr in (("Split", "num_split"), ("Pack", "N"), ("Unpack", "num")):
        message = graph_pb2.GraphDef()
        node = message.node.add(name="x", op=op)
        node.attr["T"].type = 1
        node.attr[attr].i = 1 << 50
        with pytest.raises(errors.InvalidArgumentError, match=attr):
            load_nodes(Graph(), message)


def test_no_graph_ends_the_process(graph: Graph) -> None:
    message = b"the end \xff\xfe"
    loud = raw.Abort(error_msg=message)
    silent = raw.Abort(exit_without_error=True)
    answer = raw.Const(value=np.float32(42), dtype=dtypes.float32)
    with remote(graph) as client:
        with pytest.raises(errors.AbortedError, match="the end"):
            client.run(targets=[loud.name])
        client.run(targets=[silent.name])
        assert client.run(answer.name) == 42
