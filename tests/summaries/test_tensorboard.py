"""TensorBoard itself shows what a FileWriter wrote: through its data interface, and on its pages in a browser."""

from __future__ import annotations

import io
import json
import re
import subprocess
import sys
import threading
import urllib.parse
import urllib.request
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

import flowmesh as tf
from tests.summaries import chromium

pytestmark = pytest.mark.slow
pytest.importorskip("tensorboard", reason="TensorBoard is not installed")


def _train(folder: Path) -> None:
    """A run of three steps on two devices, the last with a full trace."""
    with tf.Graph().as_default() as graph:
        with tf.device("/cpu:1"), tf.name_scope("parameters"):
            w = tf.Variable([0.0, 1.0, 2.0], name="weights")
        with tf.device("/cpu:0"), tf.name_scope("model"):
            loss = tf.reduce_sum(tf.square(w - 1.0), name="loss")
        train = tf.train.GradientDescentOptimizer(0.25).minimize(loss)
        tf.summary.scalar("the_loss", loss)
        tf.summary.histogram("the_weights", w)
        tf.summary.image("a_picture", tf.ones([1, 2, 3, 3]))
        tf.summary.text("a_note", tf.constant("**words**"))
        tf.summary.audio("a_sound", tf.zeros([1, 8, 1]), 8000)
        merged = tf.summary.merge_all()
        config = tf.ConfigProto(device_count={"CPU": 2})
        full = tf.RunOptions(trace_level=tf.RunOptions.FULL_TRACE)
        with tf.Session(config=config) as sess, tf.summary.FileWriter(str(folder), graph) as writer:
            sess.run(tf.global_variables_initializer())
            for step in range(3):
                metadata = tf.RunMetadata()
                text, _ = sess.run([merged, train], options=full, run_metadata=metadata)
                writer.add_summary(text, step)
            writer.add_run_metadata(metadata, "step_two", 2)


@pytest.fixture(scope="module")
def address(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of a TensorBoard that shows the run."""
    folder = tmp_path_factory.mktemp("logs")
    _train(folder / "run1")
    command = [sys.executable, "-m", "tensorboard.main", "--logdir", str(folder)]
    command += ["--port", "0", "--host", "127.0.0.1", "--load_fast", "false"]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, text=True
    )
    try:
        assert process.stderr is not None
        lines = []
        for line in process.stderr:
            lines.append(line)
            found = re.search(r"http://[\w.]+:\d+/", line)
            if found:
                break
        else:
            pytest.fail("TensorBoard did not start:\n" + "".join(lines))
        _wait_for_data(found.group())
        yield found.group()
    finally:
        process.terminate()
        process.communicate(timeout=30)


def _get(address: str, path: str, **query: Any) -> bytes:
    url = f"{address}data/{path}?{urllib.parse.urlencode(query)}"
    with urllib.request.urlopen(url, timeout=60) as answer:
        return bytes(answer.read())


def _wait_for_data(address: str) -> None:
    """TensorBoard loads the files in its own time: asks until all of the last event is there."""
    pause = threading.Event()
    for _ in range(600):
        if b"step_two" in _get(address, "plugin/graphs/info"):
            return
        pause.wait(0.1)
    pytest.fail("TensorBoard has not loaded the run")


def test_scalars_and_histograms(address: str) -> None:
    assert json.loads(_get(address, "runs")) == ["run1"]
    series = json.loads(_get(address, "plugin/scalars/scalars", run="run1", tag="the_loss"))
    assert [(step, value) for _, step, value in series] == [(0, 2.0), (1, 0.5), (2, 0.125)]
    found = json.loads(_get(address, "plugin/histograms/histograms", run="run1", tag="the_weights"))
    assert [step for _, step, _ in found] == [0, 1, 2]
    assert sum(count for _, _, count in found[0][2]) == 3


def test_pictures_notes_and_sounds(address: str) -> None:
    images = json.loads(_get(address, "plugin/images/tags"))["run1"]
    assert list(images) == ["a_picture/image/0"]
    assert json.loads(_get(address, "plugin/text/tags")) == {"run1": ["a_note"]}
    notes = json.loads(_get(address, "plugin/text/text", run="run1", tag="a_note"))
    assert "<strong>words</strong>" in notes[0]["text"]
    assert list(json.loads(_get(address, "plugin/audio/tags"))["run1"]) == ["a_sound/audio/0"]


def test_the_graph_with_its_devices_and_the_trace(address: str) -> None:
    graph = _get(address, "plugin/graphs/graph", run="run1", conceptual="false").decode()
    node = re.search(r'node \{\s+name: "parameters/weights"\s+op: "\w+"\s+device: "([^"]+)"', graph)
    assert node is not None and node.group(1) == "/device:CPU:1"
    info = json.loads(_get(address, "plugin/graphs/info"))["run1"]
    assert info["run_graph"] and info["tags"]["step_two"]["profile"]
    trace = _get(address, "plugin/graphs/run_metadata", run="run1", tag="step_two").decode()
    devices = set(re.findall(r'device: "([^"]+)"', trace))
    assert {d.partition("/device:")[2] for d in devices} >= {"CPU:0", "CPU:1"}
    assert "all_end_rel_micros" in trace and "node_name:" in trace


def _colours(png: bytes) -> int:
    image = pytest.importorskip("PIL.Image").open(io.BytesIO(png)).convert("RGB")
    return len(np.unique(np.asarray(image).reshape(-1, 3), axis=0))


@pytest.fixture(scope="module")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[chromium.Chromium]:
    program = chromium.installed()
    if program is None:
        pytest.skip(f"no browser: none of {', '.join(chromium.NAMES)} is installed")
    with chromium.Chromium(program, tmp_path_factory.mktemp("profile")) as started:
        yield started


PAGES = {
    "scalars": ("#timeseries", ["the_loss", "the_weights", "a_picture"]),
    "graph": ("#graphs&run=run1", ["parameters", "model", "Main Graph", "step_two"]),
    "histograms": ("#histograms", ["the_weights", "run1"]),
}


@pytest.mark.parametrize("page", PAGES)
def test_the_pages_in_a_browser(
    page: str, address: str, browser: chromium.Chromium, tmp_path: Path
) -> None:
    place, words = PAGES[page]
    browser.open("about:blank")
    browser.open(address + place)
    text = browser.text_with(*words)
    assert [word for word in words if word not in text] == []
    if page == "graph":
        assert browser.click(
            "Device"
        )  # colours by device; the legend shows where their names differ
        legend = " ".join(browser.text_with("unknown device").split())
        assert re.search(r"Legend .*\b1 0 unknown device", legend)
    picture = browser.screenshot()
    (tmp_path / f"{page}.png").write_bytes(picture)  # to look at when this fails
    assert picture.startswith(b"\x89PNG") and _colours(picture) > 30
