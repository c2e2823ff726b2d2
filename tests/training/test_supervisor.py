"""Session managers and supervisors: the chief makes the model ready, others wait, all stop together."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from flowmesh.formats.events import read_events
from flowmesh.proto.event_pb2 import SessionLog
from flowmesh.training import supervisor, supervisor_threads
from tests.training.names import tf

TIMEOUT = 20


@pytest.fixture(autouse=True)
def _writers() -> Iterator[None]:
    before = supervisor._writer_factory
    supervisor.set_summary_writer_factory(tf.summary.FileWriter)
    yield
    supervisor.set_summary_writer_factory(before)  # type: ignore[arg-type]


def _model() -> tuple[Any, Any, Any]:
    """Two variables, a global step and a train op that adds one to `w`."""
    with tf.device("/cpu:0"):
        w = tf.Variable(1.0, name="w")
        step = tf.train.create_global_step()
    return w, step, tf.group(w.assign_add(1.0), step.assign_add(1), name="train")


def _ready_op() -> Any:
    from flowmesh.frontend.variable_collections import report_uninitialized_variables

    return report_uninitialized_variables()


# -- session manager -----------------------------------------------------------------------------------


def test_prepare_initializes_then_restores(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        w, _, train = _model()
        manager = tf.train.SessionManager(ready_op=_ready_op())
        init, saver = tf.global_variables_initializer(), tf.train.Saver()
        arguments = {"init_op": init, "saver": saver, "checkpoint_dir": str(tmp_path)}
        with manager.prepare_session("", **arguments) as session:
            session.run(train)
            path = saver.save(session, tmp_path / "m", global_step=1)
        with manager.prepare_session("", **arguments) as session:
            assert session.run(w) == 2.0
        with manager.prepare_session(
            "", saver=saver, checkpoint_filename_with_path=path
        ) as session:
            assert session.run(w) == 2.0
        recovered, ready = manager.recover_session("", saver=saver, checkpoint_dir=str(tmp_path))
        with recovered:
            assert ready
        fresh, ready = manager.recover_session("", saver=saver, checkpoint_dir=str(tmp_path / "x"))
        with fresh:
            assert not ready


def test_prepare_runs_init_fn_and_feeds() -> None:
    with tf.Graph().as_default():
        x = tf.placeholder(tf.float32, [])
        w = tf.Variable(x, name="w")
        manager = tf.train.SessionManager(ready_op=_ready_op())
        seen = []
        with manager.prepare_session(
            "", init_op=w.initializer, init_feed_dict={x: 4.0}, init_fn=seen.append
        ) as session:
            assert seen == [session]
            assert session.run(w) == 4.0


def test_prepare_errors() -> None:
    with tf.Graph().as_default():
        w, step, _ = _model()
        manager = tf.train.SessionManager(ready_op=_ready_op())
        with pytest.raises(RuntimeError, match="no init_op or init_fn or local_init_op was given"):
            manager.prepare_session("")
        with pytest.raises(
            RuntimeError, match=r"did not make model ready.*not initialized: global_step"
        ):
            manager.prepare_session("", init_op=w.initializer)
        local = tf.train.SessionManager(
            local_init_op=step.initializer, ready_for_local_init_op=_ready_op()
        )
        with pytest.raises(
            RuntimeError, match=r"ready for local_init.*not initialized: global_step"
        ):
            local.prepare_session("", init_op=w.initializer)
        with pytest.raises(ValueError, match="Can not provide both checkpoint_dir and"):
            manager.prepare_session(
                "", checkpoint_dir="a", checkpoint_filename_with_path="b", saver=3
            )
        with pytest.raises(ValueError, match="must also pass a local_init_op"):
            tf.train.SessionManager(ready_for_local_init_op=w)


def test_waiting_ends_and_names_what_is_missing() -> None:
    with tf.Graph().as_default():
        _model()
        manager = tf.train.SessionManager(ready_op=_ready_op(), recovery_wait_secs=0.01)
        with pytest.raises(
            tf.errors.DeadlineExceededError,
            match=r"not ready after waiting 0 secs\. Variables not initialized: w, global_step",
        ):
            manager.wait_for_session("", max_wait_secs=0.05)


def test_waiting_ends_when_the_model_is_ready() -> None:
    with tf.Graph().as_default():
        local = tf.Variable(
            1.0, name="here", collections=[tf.GraphKeys.LOCAL_VARIABLES], trainable=False
        )
        manager = tf.train.SessionManager(
            local_init_op=local.initializer, ready_op=_ready_op(), recovery_wait_secs=0
        )
        with manager.wait_for_session("", max_wait_secs=TIMEOUT) as session:
            assert session.run(local) == 1.0


# -- supervisor ----------------------------------------------------------------------------------------


def _first_rounds(monkeypatch: pytest.MonkeyPatch) -> list[threading.Event]:
    """Set when a supervisor's threads have done their work for the first time: those that start after the end do none."""
    kinds = [
        supervisor_threads.SVSummaryThread,
        supervisor_threads.SVStepCounterThread,
        supervisor_threads.SVTimerCheckpointThread,
    ]

    def watched(kind: Any) -> threading.Event:
        done, run_loop = threading.Event(), kind.run_loop

        def noted(self: Any) -> None:
            run_loop(self)
            done.set()

        monkeypatch.setattr(kind, "run_loop", noted)
        return done

    return [watched(kind) for kind in kinds]


def test_training_with_checkpoints_and_summaries(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    first_rounds = _first_rounds(monkeypatch)
    logdir = str(tmp_path / "logs")
    with tf.Graph().as_default() as graph:
        w, step, train = _model()
        tf.summary.scalar("weight", w)
        sv = tf.train.Supervisor(logdir=logdir, save_model_secs=1000, save_summaries_secs=1000)
        assert graph.finalized
        assert sv.is_chief
        assert sv.save_path == f"{logdir}/model.ckpt"
        assert sv.global_step is step
        assert sv.summary_op.op.type == "MergeSummary"
        assert graph.get_collection(tf.GraphKeys.SAVERS) == [sv.saver]
        with sv.managed_session() as session:
            while not sv.should_stop():
                session.run(train)
                if session.run(step) == 3:
                    assert all(done.wait(60) for done in first_rounds)
                    sv.request_stop()
            sv.summary_computed(session, session.run(sv.summary_op))
        sv.stop()
    assert tf.train.latest_checkpoint(logdir) in [f"{logdir}/model.ckpt-{i}" for i in range(4)]
    assert (tmp_path / "logs" / "graph.pbtxt").exists()
    (events,) = (tmp_path / "logs").glob("events.*")
    found = list(read_events(str(events)))
    kinds = [e.WhichOneof("what") for e in found]
    assert kinds[:4] == ["file_version", "graph_def", "meta_graph_def", "session_log"]
    assert found[3].session_log.status == SessionLog.START
    assert found[-1].session_log.status == SessionLog.STOP
    by_tag = {v.tag: (e.step, v.simple_value) for e in found for v in e.summary.value}
    assert by_tag["weight"] == (3, 4.0)
    assert "global_step/sec" in by_tag


def test_a_restarted_chief_goes_on_from_the_checkpoint(tmp_path: Path) -> None:
    for start in (0, 2):
        with tf.Graph().as_default():
            w, step, train = _model()
            sv = tf.train.Supervisor(logdir=tmp_path, save_model_secs=0, save_summaries_secs=0)
            with sv.managed_session() as session:
                assert session.run([w, step]) == [1.0 + start, start]
                session.run(train)
                session.run(train)
                path = sv.saver.save(session, sv.save_path, global_step=step)
            assert sv.saver.last_checkpoints[-1] == path
    assert sv.saver.last_checkpoints == [f"{tmp_path}/model.ckpt-{i}" for i in (2, 4)]


def test_arguments_are_used(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        w, step, _ = _model()
        init = tf.global_variables_initializer()
        saver = tf.train.Saver([w])
        sv = tf.train.Supervisor(
            init_op=init, saver=saver, global_step=step, summary_op=None, logdir=tmp_path,
            checkpoint_basename="other", summary_writer=None, save_model_secs=0, ready_op=None,
            local_init_op=None,
        )  # fmt: skip
        assert (sv.init_op, sv.saver, sv.summary_op, sv.summary_writer) == (init, saver, None, None)
        assert (sv.ready_op, sv.local_init_op) == (None, None)
        with sv.managed_session() as session:
            assert session.run(w) == 1.0
            with pytest.raises(RuntimeError, match="requires a summary writer"):
                sv.summary_computed(session, b"")
        assert tf.train.latest_checkpoint(tmp_path) is None


def test_without_a_directory_no_services_run() -> None:
    with tf.Graph().as_default():
        w, _, _ = _model()
        sv = tf.train.Supervisor()
        with sv.managed_session() as session:
            assert session.run(w) == 1.0
            assert sv.start_standard_services(session) is None


def test_exceptions_in_the_session_are_raised_at_its_end() -> None:
    with tf.Graph().as_default():
        _model()
        sv = tf.train.Supervisor()
        with pytest.raises(KeyError, match="mine"), sv.managed_session():
            raise KeyError("mine")
        assert sv.should_stop()
        with sv.managed_session():  # it can be used again
            assert not sv.should_stop()
            raise tf.errors.OutOfRangeError(None, None, "the end of the input is no error")


def test_an_interrupt_ends_the_session() -> None:
    with tf.Graph().as_default():
        _model()
        sv = tf.train.Supervisor()
        with pytest.raises(KeyboardInterrupt), sv.managed_session() as session:
            raise KeyboardInterrupt
        with pytest.raises(RuntimeError, match="closed Session"):
            session.run("w:0")


def test_failing_services_stop_the_training(tmp_path: Path) -> None:
    with tf.Graph().as_default():
        w, _, _ = _model()
        bad = tf.raw_ops.CheckNumerics(w.value() / 0.0, message="service failed")
        sv = tf.train.Supervisor(logdir=tmp_path, summary_op=tf.summary.scalar("bad", bad))
        with (
            pytest.raises(tf.errors.InvalidArgumentError, match="service failed"),
            sv.managed_session(),
        ):
            assert sv.coord.wait_for_stop(TIMEOUT)


def test_loop_and_queue_runners() -> None:
    with tf.Graph().as_default():
        _, step, train = _model()
        sv = tf.train.Supervisor()
        with sv.managed_session() as session:
            reached = threading.Event()

            def turn() -> None:
                session.run(train)
                if session.run(step) >= 2:
                    reached.set()

            sv.loop(0, turn)
            assert reached.wait(TIMEOUT)
            assert sv.start_queue_runners(session) == []
        assert sv.coord.joined


def test_other_replicas_wait_for_the_chief() -> None:
    with tf.Graph().as_default():
        _model()
        sv = tf.train.Supervisor(is_chief=False, recovery_wait_secs=0.01)
        assert (sv.saver.as_saver_def().restore_op_name, sv.save_path) == ("save/restore_all", None)
        with pytest.raises(tf.errors.DeadlineExceededError, match="Variables not initialized: w"):
            sv.prepare_or_wait_for_session(max_wait_secs=0.05)
        with pytest.raises(RuntimeError, match="Only chief supervisor can start standard services"):
            sv.start_standard_services(None)
    with tf.Graph().as_default():
        tf.Variable(1.0)
        with pytest.raises(ValueError, match="all Variables must have their device set"):
            tf.train.Supervisor(is_chief=False)


def test_a_writer_must_be_installed(tmp_path: Path) -> None:
    supervisor.set_summary_writer_factory(None)  # type: ignore[arg-type]
    with tf.Graph().as_default():
        _model()
        with pytest.raises(RuntimeError, match="no summary writer is installed"):
            tf.train.Supervisor(logdir=tmp_path)
