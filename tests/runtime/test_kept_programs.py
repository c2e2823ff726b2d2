"""Compiled programs outlive the process: what is found again, what is not, and that nothing wrong is ever run."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import pytest
from jax.experimental.compilation_cache import compilation_cache

import flowmesh as tf
from flowmesh.core.shapes import TensorShape
from flowmesh.runtime import ahead, compile_cache, kept_programs, program_files, program_key, xla
from flowmesh.runtime.device import load_jax
from flowmesh.runtime.program import Program
from flowmesh.runtime.xla import CompiledProgram, statistics
from tests.runtime import test_guards
from tests.runtime.test_compile_cache import flip

# -- programs -------------------------------------------------------------------------------------------------


class Traces:
    """How often something was traced, and how often a program was found."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.count = 0
        self._loads = statistics()["loads"]
        traced = CompiledProgram._traced

        def counting(program: CompiledProgram, *flat: Any) -> Any:
            self.count += 1
            return traced(program, *flat)

        monkeypatch.setattr(CompiledProgram, "_traced", counting)

    def since(self) -> tuple[int, int]:
        """(traced, found) since the last call."""
        found = statistics()["loads"]
        counts = self.count, found - self._loads
        self.count, self._loads = 0, found
        return counts


@pytest.fixture
def traces(monkeypatch) -> Traces:
    return Traces(monkeypatch)


def run(build: Callable[[], Any], *feeds: Any, mode: str = "xla") -> list[Any]:
    """What a new session gives, for each of the feeds (values of the placeholders that `build` makes, by name), for what `build` returns."""
    with tf.Graph().as_default():
        tf.set_random_seed(3)
        fetches = build()
        config = tf.ConfigProto()
        config.experimental.flowmesh.execution = mode
        with tf.Session(config=config) as session:
            if tf.global_variables():
                session.run(tf.global_variables_initializer())
            named = [{f"{k}:0": v for k, v in feed.items()} for feed in feeds]
            return [session.run(fetches, feed) for feed in named]


def equal(a: Any, b: Any) -> bool:
    """Whether nested lists of arrays are the same, bit by bit."""
    if isinstance(a, (list, tuple)):
        return len(a) == len(b) and all(equal(x, y) for x, y in zip(a, b))
    if a is None:
        return b is None
    return a.dtype == b.dtype and a.shape == b.shape and a.tobytes() == b.tobytes()


def placeholder(*shape: int | None, name: str = "x", dtype: Any = tf.float32) -> Any:
    return tf.placeholder(dtype, shape, name)


def training() -> Any:
    x = placeholder(4, 3)
    w = tf.get_variable("w", [3, 5])
    loss = tf.reduce_mean(tf.nn.relu(tf.matmul(x, w)))
    return [loss, tf.train.AdamOptimizer().minimize(loss)]


def loop() -> Any:
    x = placeholder(4, 6, 3)
    outputs, _ = tf.nn.dynamic_rnn(tf.nn.rnn_cell.BasicLSTMCell(5), x, dtype=tf.float32)
    w = tf.get_variable("w", [5, 1])
    loss = tf.reduce_sum(tf.tensordot(outputs, w, 1))
    return [loss, tf.train.GradientDescentOptimizer(0.1).minimize(loss)]


def branches() -> Any:
    def body(i: Any, y: Any) -> Any:
        return i + 1, tf.cond(y[0] > 2.0, lambda: y / 2.0, lambda: y + 1.0)

    return tf.while_loop(lambda i, y: i < 5, body, [0, placeholder(2)])


def counted() -> Any:
    v = tf.get_variable("v", initializer=np.zeros(3, np.float32))
    with tf.control_dependencies([tf.assign_add(v, placeholder(3))]):
        return [v.read_value() if hasattr(v, "read_value") else tf.identity(v), tf.shape(v)]


BIG = np.arange(40_000, dtype=np.float32).reshape(200, 200)
X = np.random.RandomState(0).rand(4, 3).astype(np.float32)
PROGRAMS: dict[str, tuple[Callable[[], Any], list[Any]]] = {
    "training": (training, [{"x": X}, {"x": X + 1}, {"x": X}]),
    "random": (
        lambda: [tf.random_uniform([5]), tf.random_normal([2, 2], seed=4)],
        [{}, {}, {}],
    ),
    "many random": (lambda: tf.reduce_sum(tf.random_uniform([9000])), [{}, {}]),
    "known results": (
        lambda: [tf.shape(placeholder(None, 3)), tf.zeros([2], tf.bfloat16), tf.constant(1.5) * 2],
        [{"x": X}],
    ),
    "loop": (loop, [{"x": np.stack([X] * 6, 1)}] * 2),
    "branches": (branches, [{"x": np.array([1.0, 5.0], np.float32)}] * 2),
    "variables": (counted, [{"x": np.ones(3, np.float32)}] * 3),
    "large constant": (lambda: tf.matmul(placeholder(4, 200), tf.constant(BIG)), [{"x": BIG[:4]}]),
    "convolution": (
        lambda: tf.nn.conv2d(placeholder(1, 5, 5, 2), tf.ones([3, 3, 2, 4]), [1, 1, 1, 1], "SAME"),
        [{"x": np.ones([1, 5, 5, 2], np.float32)}] * 2,
    ),
    "static input": (
        lambda: tf.reshape(placeholder(4, 3), placeholder(None, name="s", dtype=tf.int32)) * 2.0,
        [{"x": X, "s": np.array([3, 4], np.int32)}] * 2,
    ),
    "unused input": (
        lambda: [tf.zeros_like(placeholder(4, 3)) + placeholder(3, name="y")],
        [{"x": X, "y": X[0]}] * 2,
    ),
    "complex": (
        lambda: tf.square(tf.complex(placeholder(4, 3), 1.0)),
        [{"x": X}],
    ),
}


@pytest.mark.parametrize("name", PROGRAMS)
def test_a_program_is_found_without_being_traced(folder, traces, name):
    build, feeds = PROGRAMS[name]
    first = run(build, *feeds)
    traced, loaded = traces.since()
    assert traced >= 1 and loaded == 0
    second = run(build, *feeds)
    assert traces.since() == (0, traced)
    assert equal(first, second)


def test_what_jax_has_read_is_not_written_again(folder, traces, monkeypatch, tmp_path):
    """An executable that was read and written once more may be another one."""
    jax = load_jax()
    settings = {
        "jax_compilation_cache_dir": str(tmp_path / "of JAX"),
        "jax_persistent_cache_min_compile_time_secs": 0.0,
        "jax_persistent_cache_min_entry_size_bytes": -1,
    }
    before = {name: jax.config.values[name] for name in settings}
    build, feeds = PROGRAMS["training"]
    try:
        for name, value in settings.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()
        kept_programs.enabled = False
        first = run(build, *feeds)
        kept_programs.enabled = True
        assert equal(run(build, *feeds), first)
        assert not folder.exists() or not list(folder.iterdir())
        run(lambda: tf.exp(placeholder(4, 3)) * 5.0, {"x": X})
        assert len(list(folder.iterdir())) == 1  # and JAX has no second copy
        assert len(list((tmp_path / "of JAX").glob("*-cache"))) == 2
    finally:
        for name, value in before.items():
            jax.config.update(name, value)
        compilation_cache.reset_cache()


def test_names_do_not_matter(folder, traces):
    run(lambda: tf.exp(placeholder(4, 3), name="one"), {"x": X})
    run(lambda: tf.exp(placeholder(4, 3, name="other"), name="two"), {"other": X})
    assert traces.since() == (1, 1)


def test_what_calls_other_libraries_is_not_kept(folder, traces):
    matrix = np.array([[2.0, 1.0], [1.0, 3.0]], np.float32)
    for _ in range(2):
        (found,) = run(lambda: tf.cholesky(placeholder(2, 2)) * 1.0, {"x": matrix})
        np.testing.assert_allclose(found @ found.T, matrix, rtol=1e-6)
    assert traces.since() == (2, 0)


@pytest.mark.parametrize("computed", [False, True], ids=["fed", "computed"])
@pytest.mark.parametrize("name", test_guards.CASES)
def test_checks_of_values_are_kept(folder, traces, name, computed):
    test_guards.test_wrong_values_raise_in_compiled_programs_as_in_numpy(name, computed)
    traced, _ = traces.since()
    test_guards.test_wrong_values_raise_in_compiled_programs_as_in_numpy(name, computed)
    assert traced >= 1 and traces.since() == (0, traced)


# -- what makes another program ---------------------------------------------------------------------------------


def other_signature(shape: tuple[int, ...], dtype: Any = np.float32) -> Any:
    return lambda: tf.exp(placeholder(None, None) * 1.0), {"x": np.ones(shape, dtype)}


def written(value: bool) -> Any:
    def build() -> Any:
        v = tf.get_variable("v", initializer=X, use_resource=True)
        return [v.assign_add(placeholder(4, 3)) if value else v + placeholder(4, 3)]

    return build, {"x": X}


def static(values: list[int]) -> Any:
    build, _ = PROGRAMS["static input"]
    return build, {"x": X, "s": np.array(values, np.int32)}


def of(build: Callable[[Any], Any], dtype: Any = tf.float32) -> Any:
    return lambda: build(placeholder(4, 3, dtype=dtype)), {"x": X}


def wired(flip: bool) -> Any:
    def build(x: Any) -> Any:
        y = tf.exp(x)
        return x - y if flip else y - x

    return of(build)


PAIRS: dict[str, tuple[Any, Any]] = {
    "op": (of(tf.exp), of(tf.sin)),
    "attr": (
        of(lambda x: tf.matmul(x, x, transpose_a=True)[:3, :3]),
        of(lambda x: tf.matmul(x, x, transpose_b=True)[:3, :3]),
    ),
    "value of a constant": (of(lambda x: x * 2.0), of(lambda x: x * 3.0)),
    "shape of a constant": (
        of(lambda x: x + tf.constant(np.ones(3, np.float32))),
        of(lambda x: x + tf.constant(np.ones((1, 3), np.float32))),
    ),
    "sign of a zero": (of(lambda x: x * 0.0), of(lambda x: x * -0.0)),
    "wiring": (wired(True), wired(False)),
    "outputs": (of(tf.exp), of(lambda x: [tf.exp(x), tf.exp(x) * 2.0])),
    "shape of a feed": (other_signature((4, 3)), other_signature((3, 4))),
    "dtype": (of(tf.exp), of(tf.exp, tf.float64)),
    "static value": (static([3, 4]), static([2, 6])),
    "write": (written(True), written(False)),
    "body of a loop": (
        of(lambda x: tf.while_loop(lambda y: y[0, 0] < 9.0, lambda y: y + 1.0, [x])),
        of(lambda x: tf.while_loop(lambda y: y[0, 0] < 9.0, lambda y: y + 2.0, [x])),
    ),
    "condition of a loop": (
        of(lambda x: tf.while_loop(lambda y: y[0, 0] < 9.0, lambda y: y + 1.0, [x])),
        of(lambda x: tf.while_loop(lambda y: y[0, 0] < 5.0, lambda y: y + 1.0, [x])),
    ),
    "seed": (
        of(lambda x: x + tf.random_uniform([3], seed=1)),
        of(lambda x: x + tf.random_uniform([3], seed=2)),
    ),
}


@pytest.mark.parametrize("name", PAIRS)
def test_another_program_is_not_taken_for_it(folder, traces, name):
    (first, x), (second, y) = PAIRS[name]
    run(first, x)
    traces.since()
    found = run(second, y)
    traced, _ = traces.since()
    kept_programs.enabled = False
    assert traced >= 1 and equal(found, run(second, y))


@pytest.fixture
def key() -> Callable[..., str]:
    """The key of a small program."""

    def make(*facts: Any) -> str:
        with tf.Graph().as_default():
            op = (placeholder(2) * 3.0).op
            program = Program([op], {op.inputs[1]: np.array(3.0, np.float32)}, set(op.outputs))
            return program_key.program_key(program, [], facts, load_jax())

    return make


def test_facts_are_part_of_the_key(key):
    facts: list[Any] = [
        (),
        (1,),
        (True,),
        (1.0,),
        ("1",),
        (b"1",),
        (tf.float32,),
        (TensorShape([1]),),
        (TensorShape([None]),),
        (np.array([1]),),
        (np.array([1], np.int32),),
        (np.array([[1]]),),
        (((1,),),),
        ((1, 1),),
        (None,),
    ]
    assert len({key(*f) for f in facts}) == len(facts)
    assert key(1) == key(1)


def change_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XLA_FLAGS", "--xla_cpu_enable_fast_math=true")


def change_version(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(load_jax(), "__version__", "0.0.1")


def change_threads(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "cpu_count", lambda: 77)


def change_source(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_key, "source_digest", lambda: "other")


def change_processor(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(compile_cache, "processor", lambda: "other")


def change_numpy(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(np, "__version__", "0.0.1")


def change_format(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(program_key, "FORMAT", -1)


@pytest.mark.parametrize(
    "change",
    [
        change_environment,
        change_version,
        change_threads,
        change_source,
        change_processor,
        change_numpy,
        change_format,
    ],
)
def test_surroundings_are_part_of_the_key(key, monkeypatch, change):
    before = key()
    change(monkeypatch)
    program_key._fixed.cache_clear()
    try:
        assert key() != before
    finally:
        monkeypatch.undo()
        program_key._fixed.cache_clear()
    assert key() == before


def test_settings_of_jax_are_part_of_the_key(key):
    jax = load_jax()
    before = key()
    old = jax.config.jax_default_matmul_precision
    try:
        jax.config.update("jax_default_matmul_precision", "highest")
        assert key() != before
    finally:
        jax.config.update("jax_default_matmul_precision", old)
    assert key() == before


def test_the_source_digest_tells_of_every_edit(monkeypatch, tmp_path):
    monkeypatch.setattr(program_key, "_PACKAGE", tmp_path)
    digest = program_key.source_digest.__wrapped__
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "b.py").write_text("x = 1")
    os.utime(tmp_path / "a" / "b.py", (1, 1))
    first = digest()
    (tmp_path / "a" / "b.py").write_text("x = 2")
    os.utime(tmp_path / "a" / "b.py", (1, 1))
    assert digest() != first
    os.utime(tmp_path / "a" / "b.py", (2**33, 2**33))  # after it was imported
    with pytest.raises(program_key.Unknown, match="has changed"):
        digest()


def test_kernels_from_elsewhere_have_no_key(key, monkeypatch):
    with tf.Graph().as_default():
        op = tf.exp(placeholder(2)).op
        monkeypatch.setattr(type(op.definition), "__module__", "somebodys.ops")
        program = Program([op], {}, set(op.outputs))
        with pytest.raises(program_key.Unknown, match=r"somebodys\.ops"):
            program_key.program_key(program, [], (), load_jax())


# -- what goes wrong ------------------------------------------------------------------------------------------------


def test_the_options_of_the_compiler_are_part_of_the_key(folder, traces, monkeypatch):
    run(lambda: tf.exp(placeholder(4, 3)), {"x": X})
    options = {"xla_cpu_enable_fast_min_max": True}
    monkeypatch.setattr(xla, "options_for", lambda *_: options)
    run(lambda: tf.exp(placeholder(4, 3)), {"x": X})
    assert traces.since() == (2, 0)
    run(lambda: tf.exp(placeholder(4, 3)), {"x": X})
    assert traces.since() == (0, 1)


def test_damaged_programs_are_compiled_again(folder, traces):
    build, feeds = PROGRAMS["training"]
    first = run(build, *feeds)
    traced, _ = traces.since()
    for path in folder.iterdir():
        path.write_bytes(flip(path.read_bytes()))
    assert equal(run(build, *feeds), first)
    assert traces.since() == (traced, 0)
    assert equal(run(build, *feeds), first)
    assert traces.since() == (0, traced)


def test_code_that_is_no_program_is_compiled_again(folder, traces, monkeypatch):
    real = program_files.read

    def read(key: str) -> Any:
        found = real(key)
        return found and (found[0], found[1], b"not a program")

    build, feeds = PROGRAMS["training"]
    first = run(build, *feeds)
    traced, _ = traces.since()
    monkeypatch.setattr(program_files, "read", read)
    assert equal(run(build, *feeds), first)
    assert traces.since() == (traced, 0)


@pytest.mark.parametrize("part", ["results", "written", "guards", "outputs", "kept"])
def test_facts_that_do_not_fit_are_passed_over(folder, traces, monkeypatch, part):
    real = program_files.read

    def read(key: str) -> Any:
        found = real(key)
        if found is not None:
            del found[0][part]
        return found

    build, feeds = PROGRAMS["training"]
    first = run(build, *feeds)
    traced, _ = traces.since()
    monkeypatch.setattr(program_files, "read", read)
    assert equal(run(build, *feeds), first)
    assert traces.since() == (traced, 0)


def test_a_jax_of_another_make_is_done_without(folder, traces, monkeypatch):
    build, feeds = PROGRAMS["training"]
    first = run(build, *feeds)
    traced, _ = traces.since()
    monkeypatch.setattr(ahead, "device_list", lambda device: [device].no_such_thing)
    assert equal(run(build, *feeds), first)
    assert traces.since() == (traced, 0)


def test_a_folder_that_is_only_read_serves(folder, traces, monkeypatch):
    build, feeds = PROGRAMS["training"]
    first = run(build, *feeds)
    traced, _ = traces.since()
    before = sorted(p.name for p in folder.iterdir())
    monkeypatch.setattr(compile_cache.os, "access", lambda path, mode: mode != os.W_OK)
    assert equal(run(build, *feeds), first)
    assert traces.since() == (0, traced)
    run(lambda: tf.sin(placeholder(4, 3)), {"x": X})
    assert sorted(p.name for p in folder.iterdir()) == before


def test_one_program_for_each_device(folder, traces):
    for gpu in (0, 1, 0, 1):
        with tf.Graph().as_default(), tf.device(f"/gpu:{gpu}"):
            x = placeholder(4, 3)
            y = tf.exp(x) * 2.0
            config = tf.ConfigProto()
            config.experimental.flowmesh.execution = "xla"
            config.experimental.flowmesh.simulate_gpus = 2
            with tf.Session(config=config) as session:
                np.testing.assert_allclose(session.run(y, {x: X}), np.exp(X) * 2, rtol=1e-6)
    traced, loaded = traces.since()
    assert traced + loaded == 4 and loaded >= 2


# -- getting ready ---------------------------------------------------------------------------------------------------


def test_a_graph_with_convolutions_has_its_programs_read_ahead(folder, traces, monkeypatch):
    build, feeds = PROGRAMS["convolution"]
    first = run(build, *feeds)
    (hint,) = folder.glob("*" + compile_cache.HINT)
    assert traces.since()[0] >= 1

    monkeypatch.setattr(ahead, "_ahead", state := ahead._Ahead())
    with tf.Graph().as_default() as graph:
        tf.set_random_seed(3)
        build()
        thread = ahead.expect(graph)
        assert thread is not None and ahead.expect(graph) is None
        thread.join()
    (found,) = [future.result() for future in state.ready.values()]
    assert found is not None
    assert equal(run(build, *feeds), first)
    assert not state.ready and traces.since() == (0, 1)
    assert hint.exists()


def test_hints_of_programs_that_are_gone_do_no_harm(folder, traces, monkeypatch):
    build, feeds = PROGRAMS["convolution"]
    first = run(build, *feeds)
    for path in folder.glob("*" + compile_cache.PROGRAM):
        path.unlink()
    monkeypatch.setattr(ahead, "_ahead", ahead._Ahead())
    traces.since()
    assert equal(run(build, *feeds), first)
    assert traces.since() == (1, 0)


def test_hints_of_devices_that_are_not_there_do_no_harm(folder, traces, monkeypatch):
    build, feeds = PROGRAMS["convolution"]
    first = run(build, *feeds)
    (hint,) = folder.glob("*" + compile_cache.HINT)
    hint.write_text(hint.read_text().replace('"cpu", 0', '"tpu", 5'))
    monkeypatch.setattr(ahead, "_ahead", ahead._Ahead())
    traces.since()
    assert equal(run(build, *feeds), first)
    assert traces.since()[1] == 1  # found under its own key, later


def test_a_graph_without_convolutions_needs_nothing():
    with tf.Graph().as_default() as graph:
        tf.exp(placeholder(3))
        assert ahead.expect(graph) is None


# -- from process to process ---------------------------------------------------------------------------------------------


PROGRAM = """
import logging, sys
import numpy as np
import flowmesh as tf
from flowmesh.runtime import kept_programs, xla

kept_programs.MINIMUM_SECONDS = 0.0
traces = []
traced = xla.CompiledProgram._traced
xla.CompiledProgram._traced = lambda self, *flat: traces.append(1) or traced(self, *flat)
config = tf.ConfigProto()
config.experimental.flowmesh.execution = "xla"
x = tf.placeholder(tf.float32, [3])
w = tf.Variable([1.0, 2.0, 3.0])
step = tf.train.AdamOptimizer().minimize(tf.reduce_sum(tf.square(x * w)))
with tf.Session(config=config) as session:
    session.run(tf.global_variables_initializer())
    for _ in range(3):
        session.run(step, {x: np.ones(3, np.float32)})
    print(session.run(w).tobytes().hex(), len(traces), xla.statistics()["loads"])
"""


def test_the_next_process_finds_the_programs_of_this_one(tmp_path):
    environment = {**os.environ, compile_cache.VARIABLE: str(tmp_path / "programs")}
    told = []
    for _ in range(2):
        done = subprocess.run(
            [sys.executable, "-c", PROGRAM],
            capture_output=True,
            text=True,
            timeout=120,
            env=environment,
            check=True,
        )
        told.append(done.stdout.split())
    (first, traced, none), (second, again, found) = told
    assert first == second
    assert int(traced) >= 1 and none == "0"
    assert again == "0" and found == traced
