"""Bad input from a client: TensorFlow's error class, with names and a remedy, within bounded time; the server serves on."""

from __future__ import annotations

import time
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

import flowmesh as tf
from tests.ports import free_addresses, free_ports

CONNECT_MS = 1500


@pytest.fixture(scope="module")
def cluster() -> Iterator[tf.train.ClusterSpec]:
    addresses = free_addresses(2)
    spec = tf.train.ClusterSpec({"ps": addresses[:1], "worker": addresses[1:]})
    servers = [
        tf.train.Server(spec, job_name="ps", task_index=0),
        tf.train.Server(spec, job_name="worker", task_index=0),
    ]
    yield spec
    for server in servers:
        server.stop()


@pytest.fixture
def target(cluster: tf.train.ClusterSpec) -> Iterator[str]:
    """The worker's address; when the test is over the server must still serve."""
    address = "grpc://" + cluster.task_address("worker", 0)
    with tf.Graph().as_default():
        yield address
    with tf.Graph().as_default(), tf.device("/job:ps/task:0"):
        total = tf.constant(1.0) + 2.0
        with tf.Session(address) as sess:
            assert sess.run(total) == 3.0


def run(target: str, fetch: object, feed: object = None) -> object:
    with tf.Session(target) as sess:
        return sess.run(fetch, feed)


@pytest.mark.parametrize(
    ("device", "words"),
    [
        (
            "/job:nobody",
            [
                "was explicitly assigned to /job:nobody",
                "available devices are",
                "/job:ps/replica:0/task:0",
            ],
        ),
        ("/job:worker/task:7", ["was explicitly assigned to /job:worker/task:7"]),
        ("/job:ps/task:0/gpu:3", ["GPU:3"]),
    ],
)
def test_unknown_places_are_named_with_those_that_exist(
    target: str, device: str, words: list[str]
) -> None:
    with tf.device(device):
        c = tf.constant(1.0, name="lost")
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        run(target, c)
    for word in ["Cannot assign a device for operation lost", "test_faults.py", *words]:
        assert word in str(caught.value)


def test_an_uninitialized_variable_is_named(target: str) -> None:
    with tf.device("/job:ps/task:0"):
        v = tf.Variable(1.0, name="bare")
    with pytest.raises(
        tf.errors.FailedPreconditionError, match="Attempting to use uninitialized value bare"
    ):
        run(target, v)


@pytest.mark.parametrize(
    ("value", "kind", "words"),
    [
        (
            np.zeros([3, 2]),
            ValueError,
            r"Cannot feed value of shape \(3, 2\) for Tensor 'x:0', which has shape '\(\?, 3\)'",
        ),
        ("text", ValueError, "could not convert string to float"),
    ],
)
def test_wrong_feeds(target: str, value: object, kind: type, words: str) -> None:
    x = tf.placeholder(tf.float32, [None, 3], name="x")
    with pytest.raises(kind, match=words):
        run(target, x + 1.0, {x: value})


def test_a_placeholder_that_is_not_fed(target: str) -> None:
    x = tf.placeholder(tf.float32, [2], name="x")
    with pytest.raises(
        tf.errors.InvalidArgumentError,
        match="You must feed a value for placeholder tensor 'x' with dtype float",
    ):
        run(target, x + 1.0)


def test_shapes_that_only_a_run_can_tell(target: str) -> None:
    a = tf.placeholder(tf.float32, [None, None], name="a")
    b = tf.placeholder(tf.float32, [None, None], name="b")
    with pytest.raises(tf.errors.InvalidArgumentError) as caught:
        run(target, tf.matmul(a, b, name="product"), {a: np.zeros([2, 3]), b: np.zeros([2, 3])})
    assert "Matrix size-incompatible: In[0]: [2,3], In[1]: [2,3]" in str(caught.value)
    assert "node product" in str(caught.value) and "test_faults.py" in str(caught.value)


def test_fetches_of_another_graph_and_of_nothing(target: str) -> None:
    with tf.Graph().as_default():
        stranger = tf.constant(1.0)
    tf.constant(2.0)
    with pytest.raises(ValueError, match="is not an element of this graph"):
        run(target, stranger)
    with pytest.raises(ValueError, match="refers to a Tensor which does not exist"):
        run(target, "nowhere:0")
    with pytest.raises(TypeError, match="has invalid type"):
        run(target, 3.0)


def test_an_unfetchable_op(target: str) -> None:
    c = tf.constant(1.0, name="secret")
    c.graph.prevent_fetching(c.op)
    with pytest.raises(ValueError, match="Operation 'secret' has been marked as not fetchable"):
        run(target, c)


def test_malformed_graph_defs() -> None:
    good = tf.Graph()
    with good.as_default():
        tf.constant(1.0, name="a") + 2.0
    graph_def = good.as_graph_def()
    graph_def.node[-1].input[0] = "gone"
    with tf.Graph().as_default(), pytest.raises(ValueError, match="Unknown input node 'gone'"):
        tf.import_graph_def(graph_def)
    graph_def.node[-1].input[0] = graph_def.node[-1].name
    with tf.Graph().as_default(), pytest.raises(ValueError, match="cycle"):
        tf.import_graph_def(graph_def)
    graph_def.node[-1].input[0] = "a"
    graph_def.node[-1].op = "NoSuchOp"
    with (
        tf.Graph().as_default(),
        pytest.raises((ValueError, tf.errors.NotFoundError), match="NoSuchOp"),
    ):
        tf.import_graph_def(graph_def)


def test_a_cycle_names_its_ops() -> None:
    with tf.Graph().as_default():
        a = tf.identity(tf.constant(1.0), name="a")
        b = tf.identity(a, name="b")
        a.op._update_input(0, b)
        with pytest.raises(tf.errors.InvalidArgumentError, match=r"cycle.*\ba\b"):
            run("", b)


def test_a_checkpoint_that_is_damaged_or_missing(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        v = tf.Variable(tf.zeros([100]), name="v")
        saver = tf.train.Saver()
        with tf.Session() as sess:
            sess.run(v.initializer)
            path = saver.save(sess, str(tmp_path / "model"))
            with pytest.raises(ValueError, match="not a valid checkpoint"):
                saver.restore(sess, str(tmp_path / "other"))
            data = next(tmp_path.glob("model.data*"))
            data.write_bytes(b"\xff" + data.read_bytes()[1:])
            with pytest.raises(tf.errors.DataLossError, match="model"):
                saver.restore(sess, path)
            index = tmp_path / "model.index"
            index.write_bytes(index.read_bytes()[:-20])
            with pytest.raises(tf.errors.OpError, match="model"):
                saver.restore(sess, path)
            assert sess.run(v).sum() == 0  # and the session lives


def test_a_port_that_is_taken_is_named(cluster: tf.train.ClusterSpec) -> None:
    with pytest.raises(tf.errors.OpError) as caught:
        tf.train.Server(cluster, job_name="ps", task_index=0)
    assert cluster.task_address("ps", 0) in str(caught.value)


@pytest.mark.parametrize(("job", "index", "kind"), [("nobody", 0, Exception), ("ps", 5, Exception)])
def test_a_server_of_no_task(
    cluster: tf.train.ClusterSpec, job: str, index: int, kind: type
) -> None:
    with pytest.raises(kind, match=job):
        tf.train.Server(cluster, job_name=job, task_index=index)


def test_nobody_at_the_address_fails_in_time_and_says_why() -> None:
    [port] = free_ports(1)
    config = tf.ConfigProto()
    config.experimental.flowmesh.connect_timeout_in_ms = CONNECT_MS
    with tf.Graph().as_default():
        c = tf.constant(1.0)
        start = time.monotonic()
        with pytest.raises((tf.errors.UnavailableError, tf.errors.DeadlineExceededError)) as caught:
            tf.Session(f"grpc://localhost:{port}", config=config).run(c)
        assert time.monotonic() - start < 10
    assert str(port) in str(caught.value) and "refused" in str(caught.value)


def test_a_missing_task_fails_the_session_in_time_and_is_named() -> None:
    ports = free_ports(2)
    spec = tf.train.ClusterSpec(
        {"ps": [f"localhost:{ports[0]}"], "worker": [f"localhost:{ports[1]}"]}
    )
    config = tf.ConfigProto()
    config.experimental.flowmesh.connect_timeout_in_ms = CONNECT_MS
    with tf.Graph().as_default(), tf.train.Server(spec, job_name="worker", task_index=0) as server:
        c = tf.constant(1.0)
        with pytest.raises((tf.errors.UnavailableError, tf.errors.DeadlineExceededError)) as caught:
            tf.Session(server.target, config=config).run(c)
    assert "/job:ps/replica:0/task:0" in str(caught.value) and str(ports[0]) in str(caught.value)


def test_a_blocked_step_ends_at_its_timeout_and_names_what_it_waits_for(target: str) -> None:
    with tf.device("/job:ps/task:0"):
        queue = tf.FIFOQueue(3, [tf.float32], shared_name="empty")
        item = queue.dequeue(name="wait_here")
    with tf.Session(target) as sess:
        with pytest.raises(tf.errors.DeadlineExceededError, match="wait_here"):
            sess.run(item, options=tf.RunOptions(timeout_in_ms=300))
        sess.run(queue.enqueue(4.0))
        assert sess.run(item) == 4.0
