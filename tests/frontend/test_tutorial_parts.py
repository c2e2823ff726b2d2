"""What tutorials and benchmark programs use beside the core: the digit classifier, reductions over devices, data files."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

import flowmesh as tf


def test_the_digit_classifier_learns() -> None:
    model = tf.contrib.mnist_tutorial
    digits = np.arange(20, dtype=np.int32) % 10
    lit = np.arange(model.IMAGE_PIXELS) // 79 == digits[:, None]
    with tf.Graph().as_default(), tf.Session() as sess:
        tf.set_random_seed(1)
        images, labels = tf.constant(lit.astype(np.float32)), tf.constant(digits)
        logits = model.inference(images, 32, 16)
        loss = model.loss(logits, labels)
        train = model.training(loss, 0.2)
        right = model.evaluation(logits, labels)
        assert logits.op.name == "softmax_linear/add" and logits.shape.as_list() == [20, 10]
        names = [v.op.name for v in tf.trainable_variables()]
        assert names[:2] == ["hidden1/weights", "hidden1/biases"] and len(names) == 6
        sess.run(tf.global_variables_initializer())
        first = sess.run(loss)
        for _ in range(200):
            sess.run(train)
        assert sess.run(loss) < first / 2
        assert sess.run(right) > 14 and sess.run("global_step:0") == 200
        assert len(tf.get_collection(tf.GraphKeys.SUMMARIES)) == 1


def test_keras_digits_come_from_a_file(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    with pytest.raises(FileNotFoundError, match="Flowmesh never downloads data"):
        tf.keras.datasets.mnist.load_data()
    folder = tmp_path / ".keras" / "datasets"
    folder.mkdir(parents=True)
    x, y = np.arange(18, dtype=np.uint8).reshape(2, 3, 3), np.array([1, 2], np.uint8)
    np.savez(folder / "mnist.npz", x_train=x, y_train=y, x_test=x[:1], y_test=y[:1])
    (found, labels), (test, _) = tf.keras.datasets.mnist.load_data()
    assert (found == x).all() and labels.tolist() == [1, 2] and test.shape == (1, 3, 3)


def _on_devices(count: int, *shape: int) -> tuple[list[tf.Tensor], np.ndarray]:
    values = np.random.RandomState(5).rand(count, *shape).astype(np.float32)
    tensors = []
    for number in range(count):
        with tf.device(f"/cpu:{number}"):
            tensors.append(tf.constant(values[number]))
    return tensors, values


def _session(count: int) -> tf.Session:
    return tf.Session(config=tf.ConfigProto(device_count={"CPU": count}))


@pytest.mark.parametrize(
    ("name", "reference"),
    [("all_sum", np.sum), ("all_prod", np.prod), ("all_min", np.min), ("all_max", np.max)],
)
def test_nccl_reductions_reach_each_device(name: str, reference: object) -> None:
    with tf.Graph().as_default(), _session(3) as sess:
        tensors, values = _on_devices(3, 2, 2)
        results = getattr(tf.contrib.nccl, name)(tensors)
        assert [r.device for r in results] == [t.device for t in tensors]
        for found in sess.run(results):
            np.testing.assert_allclose(found, reference(values, axis=0), rtol=1e-6)  # type: ignore[operator]
        with tf.device("/cpu:1"):
            total = tf.contrib.nccl.reduce_sum(tensors)
        np.testing.assert_allclose(sess.run(total), values.sum(0), rtol=1e-6)


def test_nccl_reductions_check_what_they_are_given() -> None:
    with tf.Graph().as_default():
        tensors, _ = _on_devices(2, 2)
        with pytest.raises(ValueError, match="Must pass >0 tensors"):
            tf.contrib.nccl.all_sum([])
        with pytest.raises(ValueError, match="must all have the same shape"):
            with tf.device("/cpu:0"):
                other = tf.constant([1.0])
            tf.contrib.nccl.all_sum([tensors[0], other])
        with pytest.raises(ValueError, match="Device assignment required"):
            tf.contrib.nccl.all_sum([tensors[0], tf.constant([1.0, 2.0])])


def test_all_reduce_deals_the_work_out() -> None:
    reduce = tf.contrib.all_reduce
    with tf.Graph().as_default() as graph, _session(4) as sess:
        tensors, values = _on_devices(4, 2, 3)
        halved = lambda x: x / np.float32(2)  # noqa: E731
        found = [
            reduce.build_ring_all_reduce(tensors, 1, 1, [0, 1, 2, 3], tf.add, halved),
            reduce.build_recursive_hd_all_reduce(tensors, tf.add, halved),
            reduce.build_shuffle_all_reduce(tensors, ["/cpu:1", "/cpu:2"], tf.add, halved),
            reduce.build_nccl_all_reduce(tensors, tf.add, halved),
        ]
        for results in found:
            assert [r.shape.as_list() for r in results] == [[2, 3]] * 4
            for value in sess.run(results):
                np.testing.assert_allclose(value, values.sum(0) / 2, rtol=1e-6)
        adders = {op.device for op in graph.get_operations() if op.type.startswith("Add")}
        assert {"/device:CPU:1", "/device:CPU:2"} <= adders
        with pytest.raises(ValueError, match="power of two"):
            reduce.build_recursive_hd_all_reduce(tensors[:3], tf.add)
