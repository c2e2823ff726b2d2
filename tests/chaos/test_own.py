"""`flowmesh chaos --victim`: a fault in the user's own program."""

from __future__ import annotations

from pathlib import Path

from tests.cli.commands import flowmesh, needs_pidfd, script

TRAIN = """
import tensorflow as tf
flags = tf.app.flags
for name in ("ps_hosts", "worker_hosts", "job_name"):
    flags.DEFINE_string(name, "", "")
flags.DEFINE_integer("task_index", 0, "")

def main(_):
    f = flags.FLAGS
    spec = {"ps": f.ps_hosts.split(","), "worker": f.worker_hosts.split(",")}
    server = tf.train.Server(spec, f.job_name, f.task_index)
    if f.job_name == "ps":
        server.join()
    with tf.device("/job:ps/task:0"):
        more = tf.Variable(0.0).assign_add(1.0)
    with tf.Session(server.target) as session:
        session.run(tf.global_variables_initializer())
        print("training", flush=True)
        while True:
            session.run(more)

tf.app.run(main)
"""


@needs_pidfd
def test_a_killed_ps_ends_the_program(tmp_path: Path) -> None:
    path = script(tmp_path, TRAIN)
    words = ["--victim", "ps/0", "--when", "training", "--workers", "1", "--bound", "30", path]
    done = flowmesh("chaos", *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert "the cluster ended by itself" in done.stdout
    assert "worker/0   exited with code 1" in done.stdout
    assert "UnavailableError" in done.stdout
    assert "/job:ps/replica:0/task:0" in done.stdout


@needs_pidfd
def test_a_program_that_hangs_is_found(tmp_path: Path) -> None:
    path = script(tmp_path, "import signal\nprint('here', flush=True)\nsignal.pause()\n")
    words = ["--victim", "worker/1", "--when", "here", "--ps", "0", "--bound", "0.5", path]
    done = flowmesh("chaos", *words)
    assert done.returncode == 1
    assert "HANGS: not over 0.5 s after the fault" in done.stdout


def test_a_victim_there_is_not(tmp_path: Path) -> None:
    path = script(tmp_path, "print('here')")
    done = flowmesh("chaos", "--victim", "ps/7", path)
    assert done.returncode == 2
    assert "no task ps/7" in done.stderr
