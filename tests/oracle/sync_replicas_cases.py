"""Synchronous training over one ps and two workers, the same program for TensorFlow 1.15 and for Flowmesh.

`python tests/oracle/sync_replicas_cases.py` with TensorFlow writes what it computes to `sync_replicas.json`.
"""

import contextlib
import json
import socket
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

FIXTURE = Path(__file__).parent / "sync_replicas.json"
CASES = ("gradient_descent", "momentum", "adam", "averages", "backup", "more_gradients")
STEPS = 4


def optimizer(tf, case):
    if case == "momentum":
        return tf.train.MomentumOptimizer(0.1, 0.9)
    if case == "adam":
        return tf.train.AdamOptimizer(0.1)
    return tf.train.GradientDescentOptimizer(0.1)


class Replica:
    """The graph and the session of one worker."""

    def __init__(self, tf, case, target, index):
        self.graph = tf.Graph()
        self.average = [1.0, 2.0]
        aggregate = {"backup": 1, "more_gradients": 3}.get(case, 2)
        with self.graph.as_default():
            setter = tf.train.replica_device_setter(
                ps_tasks=1, worker_device=f"/job:worker/task:{index}"
            )
            with tf.device(setter):
                step = tf.train.get_or_create_global_step()
                dense = tf.get_variable("dense", initializer=tf.constant([1.0, 2.0]))
                rows = tf.get_variable(
                    "rows", initializer=tf.constant([[1.0, 1.0], [2.0, 2.0], [3.0, 3.0]])
                )
                self.x = tf.placeholder(tf.float32, [2])
                self.ids = tf.placeholder(tf.int32, [2])
                loss = tf.reduce_sum(dense * dense * self.x)
                loss += tf.reduce_sum(tf.gather(rows, self.ids) * self.x)
                more = {}
                if case == "averages":
                    average = tf.train.ExponentialMovingAverage(0.5)
                    more = {"variable_averages": average, "variables_to_average": [dense]}
                opt = tf.train.SyncReplicasOptimizer(
                    optimizer(tf, case), aggregate, total_num_replicas=2, **more
                )
                self.train = opt.minimize(loss, global_step=step)
                self.state = [step, dense, rows]
                if case == "averages":
                    self.state.append(average.average(dense))
            tokens = 1 if case == "more_gradients" else 0
            hook = opt.make_session_run_hook(index == 0, num_tokens=tokens)
            self.session = tf.train.MonitoredTrainingSession(
                target, is_chief=index == 0, hooks=[hook], stop_grace_period_secs=5
            )

    def step(self, number, index):
        x = [0.5 + number, 1.0 + index]
        ids = [(number + index) % 3, 2]
        self.session.run(self.train, {self.x: x, self.ids: ids})

    def values(self):
        """The state, as soon as the average has followed the step (it does so after the tokens are given out)."""
        values = self.session.run(self.state)
        while len(values) > 3 and values[3].tolist() == self.average:
            values = self.session.run(self.state)
        self.average = values[-1].tolist()
        return [v.tolist() for v in values]


def run(tf, case, target_of):
    """The global step and the variables after each step. `target_of(i)` is the target of worker i."""
    replicas = [Replica(tf, case, target_of(i), i) for i in range(2)]
    history = []
    with ThreadPoolExecutor(2) as pool, contextlib.ExitStack() as stack:
        for replica in replicas:
            stack.callback(replica.session.close)
        for number in range(STEPS):
            if case == "backup":  # the second comes too late in the first step, and in time later
                replicas[0 if number in (0, 3) else 1].step(number, number % 2)
            elif case == "more_gradients":  # the first gives two: one for the token it was given
                replicas[0].step(number, 0)
                history.append(replicas[0].values())
                done = [pool.submit(r.step, number, i) for i, r in enumerate(replicas)]
                [d.result() for d in done]
                history.append(replicas[0].values())
                break
            else:
                done = [pool.submit(r.step, number, i) for i, r in enumerate(replicas)]
                [d.result() for d in done]
            history.append(replicas[0].values())
    return history


def main():
    import tensorflow as tf

    ports = []
    for _ in range(3):
        with socket.socket() as free:
            free.bind(("127.0.0.1", 0))
            ports.append(free.getsockname()[1])
    found = {}
    spec = {"ps": [f"localhost:{ports[0]}"], "worker": [f"localhost:{p}" for p in ports[1:]]}
    servers = [tf.train.Server(spec, "ps", 0)]
    servers += [tf.train.Server(spec, "worker", i) for i in range(2)]
    for case in CASES:
        tf.Session.reset(servers[0].target)
        found[case] = run(tf, case, lambda i: servers[1 + i].target)
    FIXTURE.write_text(json.dumps(found, indent=1) + "\n")


if __name__ == "__main__":
    main()
