"""What `import flowmesh` costs: neither JAX nor grpc, and not half a second."""

from __future__ import annotations

import statistics
import subprocess
import sys

PROBE = """
import sys, time
start = time.perf_counter()
import flowmesh as tf
tf.constant, tf.train.Saver
seconds = time.perf_counter() - start
heavy = sorted({name.split(".")[0] for name in sys.modules} & {"jax", "jaxlib", "grpc", "tensorboard", "scipy", "rich"})
print(seconds, *heavy)
"""


def probe() -> tuple[float, list[str]]:
    out = subprocess.run(
        [sys.executable, "-c", PROBE], capture_output=True, text=True, check=True, timeout=60
    )
    seconds, *heavy = out.stdout.split()
    return float(seconds), heavy


def test_importing_everything_imports_no_backend_and_no_network() -> None:
    assert probe()[1] == []


def test_import_takes_under_half_a_second() -> None:
    probe()  # writes the byte code, warms the disk
    assert statistics.median(probe()[0] for _ in range(3)) < 0.5


def test_building_and_running_a_small_graph_needs_no_jax() -> None:
    program = (
        "import sys, flowmesh as tf\n"
        "x = tf.placeholder(tf.float32, [])\n"
        "with tf.Session() as sess:\n"
        "    assert sess.run(x + 1.0, {x: 2.0}) == 3.0\n"
        "assert 'jax' not in sys.modules and 'grpc' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
