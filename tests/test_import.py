"""What `import flowmesh` costs: neither JAX nor grpc, and not half a second."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

PROBE = """
import sys, time
start = time.process_time()  # other tests may run on the same core
import flowmesh as tf
tf.constant, tf.train.Saver
seconds = time.process_time() - start
heavy = sorted({name.split(".")[0] for name in sys.modules} & {"jax", "jaxlib", "grpc", "tensorboard", "scipy", "rich"})
print(seconds, *heavy)
"""


def probe(cache: Path) -> tuple[float, list[str]]:
    """A fresh interpreter with its byte code in `cache`, as after an installation."""
    environment = {k: v for k, v in os.environ.items() if k != "PYTHONDONTWRITEBYTECODE"}
    out = subprocess.run(
        [sys.executable, "-c", PROBE],
        capture_output=True,
        text=True,
        check=True,
        timeout=60,
        env={**environment, "PYTHONPYCACHEPREFIX": str(cache)},
    )
    seconds, *heavy = out.stdout.split()
    return float(seconds), heavy


def test_importing_everything_imports_no_backend_and_no_network(tmp_path: Path) -> None:
    assert probe(tmp_path)[1] == []


def test_import_takes_under_half_a_second(tmp_path: Path) -> None:
    probe(tmp_path)  # writes the byte code, warms the disk
    # Other tests share the caches of the processor: one undisturbed time tells.
    assert any(probe(tmp_path)[0] < 0.5 for _ in range(25))


def test_building_and_running_a_small_graph_needs_no_jax() -> None:
    program = (
        "import sys, flowmesh as tf\n"
        "x = tf.placeholder(tf.float32, [])\n"
        "with tf.Session() as sess:\n"
        "    assert sess.run(x + 1.0, {x: 2.0}) == 3.0\n"
        "assert 'jax' not in sys.modules and 'grpc' not in sys.modules\n"
    )
    subprocess.run([sys.executable, "-c", program], check=True, timeout=60)
