"""The hooks that come with the system: what they write, when they act, and their errors."""

from __future__ import annotations

import json
import logging
import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

import flowmesh as tf
from flowmesh.core.platform import tf_logging
from flowmesh.formats.events import read_events
from flowmesh.proto.event_pb2 import SessionLog


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    before = tf.logging.get_verbosity()
    tf.logging.set_verbosity(tf.logging.INFO)
    with tf.Graph().as_default():
        yield
    tf.summary.FileWriterCache.clear()
    tf.logging.set_verbosity(before)


@pytest.fixture
def logged(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The lines that are logged."""
    lines: list[str] = []
    handler = logging.Handler()
    handler.emit = lambda record: lines.append(record.getMessage())  # type: ignore[method-assign]
    logger = tf_logging.get_logger()
    monkeypatch.setattr(logger, "handlers", [handler])
    return lines


def _train() -> Any:
    return tf.assign_add(tf.train.get_or_create_global_step(), 1, name="train")


def _events(folder: Path) -> list[Any]:
    tf.summary.FileWriterCache.clear()
    return [event for file in sorted(folder.glob("events*")) for event in read_events(str(file))]


def _run(steps: int, train: Any, *hooks: Any) -> None:
    with tf.train.MonitoredSession(hooks=list(hooks)) as session:
        for _ in range(steps):
            session.run(train)


# -- timers --------------------------------------------------------------------------------------------


def test_timer_by_steps() -> None:
    timer = tf.train.SecondOrStepTimer(every_steps=3)
    assert timer.should_trigger_for_step(5) and timer.last_triggered_step() is None
    assert timer.update_last_triggered_step(5) == (None, None)
    assert [timer.should_trigger_for_step(s) for s in (5, 6, 7, 8)] == [False, False, False, True]
    seconds, steps = timer.update_last_triggered_step(9)
    assert steps == 4 and seconds is not None and seconds >= 0
    timer.reset()
    assert timer.should_trigger_for_step(9)


def test_timer_by_seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    now = [100.0]
    monkeypatch.setattr("flowmesh.training.hooks_support.time.time", lambda: now[0])
    timer = tf.train.SecondOrStepTimer(every_secs=2.0)
    timer.update_last_triggered_step(1)
    now[0] = 101.9
    assert not timer.should_trigger_for_step(2)
    now[0] = 102.0
    assert timer.should_trigger_for_step(2) and not timer.should_trigger_for_step(1)
    assert timer.update_last_triggered_step(2) == (2.0, 1)


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda t: t.SecondOrStepTimer(), "Either every_secs or every_steps should be provided."),
        (lambda t: t.SecondOrStepTimer(1, 1), "Can not provide both every_secs and every_steps."),
        (lambda t: t.LoggingTensorHook([]), "either at_end and/or exactly one of every_n_iter"),
        (lambda t: t.LoggingTensorHook(["a"], 1, 1), "either at_end and/or exactly one of"),
        (lambda t: t.LoggingTensorHook(["a"], 0), "invalid every_n_iter=0."),
        (lambda t: t.SummarySaverHook(1), "Exactly one of scaffold or summary_op must be provided."),
        (lambda t: t.StepCounterHook(None), "exactly one of every_n_steps and every_n_secs should be"),
        (lambda t: t.StopAtStepHook(1, 1), "Only one of num_steps or last_step can be specified."),
        (lambda t: t.StopAtStepHook(), "One of num_steps or last_step must be specified."),
        (lambda t: t.CheckpointSaverHook("x", 1, 1), "Can not provide both every_secs and every_st"),
        (lambda t: t.CheckpointSaverHook("x", 1, saver=1, scaffold=1), "both saver and scaffold."),
        (lambda t: t.ProfilerHook(), "Either every_secs or every_steps should be provided."),
    ],
)  # fmt: skip
def test_arguments(make: Any, message: str) -> None:
    with pytest.raises(ValueError) as caught:
        make(tf.train)
    assert message in str(caught.value)


def test_a_global_step_is_needed(tmp_path: Path) -> None:
    hooks = {
        "StopAtStepHook": tf.train.StopAtStepHook(1),
        "SummarySaverHook": tf.train.SummarySaverHook(1, summary_op=1),
        "_GlobalStepWaiterHook": tf.train.GlobalStepWaiterHook(1),
        "ProfilerHook": tf.train.ProfilerHook(1, output_dir=str(tmp_path)),
        "CheckpointSaverHook": tf.train.CheckpointSaverHook(str(tmp_path), 1),
        "StepCounterHook": tf.train.StepCounterHook(),
    }
    for name, hook in hooks.items():
        with pytest.raises(RuntimeError) as caught:
            hook.begin()
        assert str(caught.value) == f"Global step should be created to use {name}."


# -- steps ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("arguments", "steps"), [({"num_steps": 2}, 3), ({"last_step": 4}, 4)])
def test_stop_at_step(arguments: Any, steps: int) -> None:
    train = _train()
    start = tf.train.Scaffold(init_fn=lambda scaffold, session: session.run(train))
    hook = tf.train.StopAtStepHook(**arguments)
    with tf.train.MonitoredSession(tf.train.ChiefSessionCreator(start), hooks=[hook]) as session:
        while not session.should_stop():
            value = session.run(train)
    assert value == steps


def test_nan(logged: list[str]) -> None:
    x = tf.placeholder(tf.float32, [])
    with (
        pytest.raises(tf.train.NanLossDuringTrainingError, match=r"^NaN loss during training\.$"),
        tf.train.MonitoredSession(hooks=[tf.train.NanTensorHook(x)]) as session,
    ):
        session.run(x, {x: 1.0})
        session.run(x, {x: float("nan")})
    hook = tf.train.NanTensorHook(x, fail_on_nan_loss=False)
    with tf.train.MonitoredSession(hooks=[hook]) as session:
        session.run(x, {x: float("nan")})
        assert session.should_stop()
    assert logged.count("Model diverged with loss = NaN.") == 2


def test_global_step_waiter() -> None:
    train, hook = _train(), tf.train.GlobalStepWaiterHook(2)
    hook.begin()
    with tf.Session() as session:
        session.run(tf.global_variables_initializer())
        context = tf.train.SessionRunContext(None, session)
        waiter = threading.Thread(target=hook.before_run, args=(context,))
        waiter.start()
        session.run(train)
        assert waiter.is_alive()
        session.run(train)
        waiter.join(20)
        assert not waiter.is_alive()
        hook.before_run(context)


def test_final_ops() -> None:
    train = _train()
    x = tf.placeholder(tf.float32, [])
    step = tf.train.get_global_step()
    hook = tf.train.FinalOpsHook({"step": step, "x": x * 2}, {x: 2.0})
    assert hook.final_ops_values is None
    _run(3, train, hook)
    assert hook.final_ops_values == {"step": 3, "x": 4.0}


def test_logging(logged: list[str]) -> None:
    train = _train()
    tf.constant([1.5, 2.0], name="c")
    by_name = tf.train.LoggingTensorHook(["c:0"], every_n_iter=2)
    line = tf.train.LoggingTensorHook(
        {"b": train, "a": "c:0"}, at_end=True, formatter=lambda values: f"<{sorted(values)}>"
    )
    _run(3, train, by_name, line)
    assert logged.count("c:0 = [1.5 2. ]") == 1
    assert (
        sum(text.startswith("c:0 = [1.5 2. ] (") and text.endswith(" sec)") for text in logged) == 1
    )
    assert logged.count("<['a', 'b']>") == 1


def test_logging_by_the_name_of_an_operation(logged: list[str]) -> None:
    train = _train()
    tf.constant([1.5, 2.0], name="c")
    pair = tf.constant([3, 4])
    tf.split(pair, 2, name="two")
    _run(1, train, tf.train.LoggingTensorHook({"loss": "c"}, every_n_iter=1))
    assert "loss = [1.5 2. ]" in logged
    with pytest.raises(ValueError, match="Name two is ambiguous"):
        tf.train.LoggingTensorHook(["two"], every_n_iter=1).begin()
    with tf.Graph().as_default():
        other = tf.train.LoggingTensorHook({"c": pair}, every_n_iter=1)
        with pytest.raises(ValueError, match="should have graph attribute that is equal"):
            other.begin()


def test_step_counter(tmp_path: Path, logged: list[str]) -> None:
    train = _train()
    _run(5, train, tf.train.StepCounterHook(every_n_steps=2, output_dir=str(tmp_path)))
    events = [e for e in _events(tmp_path) if e.HasField("summary")]
    assert [e.step for e in events] == [3, 5]
    assert {v.tag for e in events for v in e.summary.value} == {"global_step/sec"}
    assert sum(text.startswith("global_step/sec: ") for text in logged) == 2


def test_step_counter_warns_of_a_step_that_stands_still(logged: list[str]) -> None:
    _train()
    _run(7, tf.constant(1.0), tf.train.StepCounterHook(every_n_steps=1))
    assert (
        sum("global step (tf.train.get_global_step) has not been increased" in t for t in logged)
        == 1
    )


# -- files ---------------------------------------------------------------------------------------------


class Listener(tf.train.CheckpointSaverListener):
    """Notes what is called; stops the training at a step."""

    def __init__(self, stop_at: int) -> None:
        self.calls: list[Any] = []
        self.stop_at = stop_at

    def begin(self) -> None:
        self.calls.append("begin")

    def before_save(self, session: Any, global_step_value: int) -> None:
        self.calls.append(("before", global_step_value))

    def after_save(self, session: Any, global_step_value: int) -> bool:
        self.calls.append(("after", global_step_value))
        return global_step_value == self.stop_at

    def end(self, session: Any, global_step_value: int) -> None:
        self.calls.append(("end", global_step_value))


def test_checkpoints_and_listeners(tmp_path: Path) -> None:
    train, listener = _train(), Listener(stop_at=4)
    scaffold = tf.train.Scaffold()
    hook = tf.train.CheckpointSaverHook(
        str(tmp_path), save_steps=2, scaffold=scaffold, listeners=[listener]
    )
    with tf.train.MonitoredSession(tf.train.ChiefSessionCreator(scaffold), [hook]) as session:
        while not session.should_stop():
            session.run(train)
    saves = [c for step in (0, 2, 4) for c in (("before", step), ("after", step))]
    assert listener.calls == ["begin", *saves, ("end", 4)]
    state = tf.train.get_checkpoint_state(str(tmp_path))
    assert [p.rsplit("-")[-1] for p in state.all_model_checkpoint_paths] == ["0", "2", "4"]
    assert (tmp_path / "graph.pbtxt").exists()
    events = _events(tmp_path)
    assert sum(e.HasField("graph_def") for e in events) == 2  # the writer adds it, too
    assert sum(e.HasField("meta_graph_def") for e in events) == 2
    logs = [e for e in events if e.HasField("session_log")]
    assert [(e.step, e.session_log.status) for e in logs] == [
        (s, SessionLog.CHECKPOINT) for s in (0, 2, 4)
    ]


def test_a_checkpoint_at_the_end_and_a_saver_from_the_collection(tmp_path: Path) -> None:
    train = _train()
    hook = tf.train.CheckpointSaverHook(str(tmp_path), save_secs=1000)
    _run(3, train, hook)
    assert tf.train.latest_checkpoint(str(tmp_path)) == str(tmp_path / "model.ckpt-3")


def test_a_checkpoint_hook_without_a_saver(tmp_path: Path) -> None:
    _train()
    hook = tf.train.CheckpointSaverHook(str(tmp_path), save_secs=1000)
    with pytest.raises(RuntimeError, match="No items in collection savers"):
        hook._get_saver()


def test_summaries(tmp_path: Path) -> None:
    train = _train()
    loss = tf.summary.scalar("loss", tf.constant(2.0))
    hook = tf.train.SummarySaverHook(save_steps=2, output_dir=str(tmp_path), summary_op=loss)
    _run(6, train, hook)
    events = _events(tmp_path)
    found = [(e.step, v.tag, v.simple_value) for e in events for v in e.summary.value]
    assert found == [(1, "loss", 2.0), (3, "loss", 2.0), (5, "loss", 2.0)]
    logs = [(e.step, e.session_log.status) for e in events if e.HasField("session_log")]
    assert logs == [(1, SessionLog.START)]


def test_profiles(tmp_path: Path) -> None:
    train = _train()
    _run(5, train, tf.train.ProfilerHook(save_steps=2, output_dir=str(tmp_path)))
    files = sorted(p.name for p in tmp_path.glob("timeline-*.json"))
    assert len(files) == 2
    for file in files:
        assert json.loads((tmp_path / file).read_text())["traceEvents"]
    tags = [
        e.tagged_run_metadata.tag for e in _events(tmp_path) if e.HasField("tagged_run_metadata")
    ]
    assert [f"timeline-{tag.split('_')[1]}.json" for tag in tags] == files


def test_a_training_session_writes_what_its_arguments_say(tmp_path: Path) -> None:
    train = _train()
    tf.summary.scalar("loss", tf.constant(2.0))
    logs = tmp_path / "logs"
    with tf.train.MonitoredTrainingSession(
        checkpoint_dir=str(tmp_path / "model"), summary_dir=str(logs), save_checkpoint_steps=2,
        save_summaries_steps=2, log_step_count_steps=2, hooks=[tf.train.StopAtStepHook(last_step=4)],
    ) as session:  # fmt: skip
        while not session.should_stop():
            session.run(train)
    tags = {v.tag for e in _events(logs) for v in e.summary.value}
    assert tags == {"loss", "global_step/sec"}
    assert tf.train.latest_checkpoint(str(tmp_path / "model")).endswith("model.ckpt-4")
