"""The MNIST reader of TensorFlow's tutorials (`tensorflow.examples.tutorials.mnist.input_data`), from files on disk.

Nothing is ever downloaded: the four IDX files must lie in the folder that the program names, gzipped or not.
"""

from __future__ import annotations

import os
from collections import namedtuple
from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.dtypes import as_dtype
from flowmesh.formats.idx import parse_idx
from flowmesh.graph.random_seed import get_seed

Datasets = namedtuple("Datasets", ["train", "validation", "test"])

TRAIN_IMAGES = "train-images-idx3-ubyte.gz"
TRAIN_LABELS = "train-labels-idx1-ubyte.gz"
TEST_IMAGES = "t10k-images-idx3-ubyte.gz"
TEST_LABELS = "t10k-labels-idx1-ubyte.gz"


def dense_to_one_hot(labels_dense: np.ndarray, num_classes: int) -> np.ndarray:
    """Class indices [n] as one-hot rows [n, num_classes] of float64."""
    return np.eye(num_classes)[labels_dense.ravel()]


class DataSet:
    """Images and labels, dealt out in batches, reshuffled after every epoch."""

    def __init__(
        self,
        images: np.ndarray,
        labels: np.ndarray,
        fake_data: bool = False,
        one_hot: bool = False,
        dtype: Any = dtypes.float32,
        reshape: bool = True,
        seed: int | None = None,
    ) -> None:
        """`images` uint8 [n, rows, columns, 1]; float32 in [0, 1] afterwards, flattened with `reshape`."""
        seed1, seed2 = get_seed(seed)
        np.random.seed(seed1 if seed is None else seed2)
        dtype = as_dtype(dtype).base_dtype
        if dtype not in (dtypes.uint8, dtypes.float32):
            raise TypeError(f"Invalid image dtype {dtype!r}, expected uint8 or float32")
        self.one_hot = one_hot
        self._fake = fake_data
        if fake_data:
            self._num_examples = 10000
            return
        if images.shape[0] != labels.shape[0]:
            raise AssertionError(f"images.shape: {images.shape} labels.shape: {labels.shape}")
        self._num_examples = images.shape[0]
        if reshape:
            if images.shape[3] != 1:
                raise AssertionError(f"images of one channel are expected, not {images.shape}")
            images = images.reshape(images.shape[0], images.shape[1] * images.shape[2])
        if dtype == dtypes.float32:
            images = np.multiply(images.astype(np.float32), 1.0 / 255.0)
        self._images, self._labels = images, labels
        self._epochs_completed = 0
        self._index_in_epoch = 0

    @property
    def images(self) -> np.ndarray:
        """All images."""
        return self._images

    @property
    def labels(self) -> np.ndarray:
        """All labels."""
        return self._labels

    @property
    def num_examples(self) -> int:
        """How many there are."""
        return self._num_examples

    @property
    def epochs_completed(self) -> int:
        """How often all of them have been dealt out."""
        return self._epochs_completed

    def next_batch(self, batch_size: int, fake_data: bool = False, shuffle: bool = True) -> Any:
        """The next `batch_size` images and labels."""
        if fake_data:
            label: Any = [1] + [0] * 9 if self.one_hot else 0
            return [[1] * 784 for _ in range(batch_size)], [label for _ in range(batch_size)]
        start = self._index_in_epoch
        if self._epochs_completed == 0 and start == 0 and shuffle:
            self._reorder()
        if start + batch_size <= self._num_examples:
            self._index_in_epoch = start + batch_size
            return self._images[start : start + batch_size], self._labels[
                start : start + batch_size
            ]
        self._epochs_completed += 1
        rest_images, rest_labels = self._images[start:], self._labels[start:]
        if shuffle:
            self._reorder()
        self._index_in_epoch = batch_size - len(rest_images)
        return (
            np.concatenate((rest_images, self._images[: self._index_in_epoch]), axis=0),
            np.concatenate((rest_labels, self._labels[: self._index_in_epoch]), axis=0),
        )

    def _reorder(self) -> None:
        order = np.arange(self._num_examples)
        np.random.shuffle(order)
        self._images, self._labels = self._images[order], self._labels[order]


def _read(folder: str, name: str) -> np.ndarray:
    plain = name.removesuffix(".gz")
    for candidate in (name, plain, plain.replace("-idx", ".idx")):
        path = os.path.join(folder, candidate)
        if os.path.exists(path):
            with open(path, "rb") as file:
                return parse_idx(file.read(), path)
    raise FileNotFoundError(
        f"{os.path.join(folder, name)} is not there (nor without .gz). Flowmesh never downloads data: put the four MNIST "
        f"files ({TRAIN_IMAGES}, {TRAIN_LABELS}, {TEST_IMAGES}, {TEST_LABELS}) into {folder!r}."
    )


def extract_images(f: Any) -> np.ndarray:
    """uint8 [n, rows, columns, 1] from an open IDX file."""
    return parse_idx(f.read(), getattr(f, "name", ""))[..., np.newaxis]


def extract_labels(f: Any, one_hot: bool = False, num_classes: int = 10) -> np.ndarray:
    """uint8 [n], or one-hot rows, from an open IDX file."""
    labels = parse_idx(f.read(), getattr(f, "name", ""))
    return dense_to_one_hot(labels, num_classes) if one_hot else labels


def read_data_sets(
    train_dir: str,
    fake_data: bool = False,
    one_hot: bool = False,
    dtype: Any = dtypes.float32,
    reshape: bool = True,
    validation_size: int = 5000,
    seed: int | None = None,
    source_url: str = "",
) -> Datasets:
    """The training, validation and test sets in `train_dir`.

    Raises FileNotFoundError, naming the files, when they are not there; ValueError for a bad `validation_size`.
    """
    if fake_data:
        empty = np.zeros([0])

        def fake() -> DataSet:
            return DataSet(empty, empty, fake_data=True, one_hot=one_hot, dtype=dtype, seed=seed)

        return Datasets(fake(), fake(), fake())
    train_images = _read(train_dir, TRAIN_IMAGES)[..., np.newaxis]
    train_labels = _read(train_dir, TRAIN_LABELS)
    test_images = _read(train_dir, TEST_IMAGES)[..., np.newaxis]
    test_labels = _read(train_dir, TEST_LABELS)
    if one_hot:
        train_labels, test_labels = (dense_to_one_hot(x, 10) for x in (train_labels, test_labels))
    if not 0 <= validation_size <= len(train_images):
        raise ValueError(
            f"Validation size should be between 0 and {len(train_images)}. Received: {validation_size}."
        )

    def made(images: np.ndarray, labels: np.ndarray) -> DataSet:
        return DataSet(images, labels, one_hot=one_hot, dtype=dtype, reshape=reshape, seed=seed)

    return Datasets(
        train=made(train_images[validation_size:], train_labels[validation_size:]),
        validation=made(train_images[:validation_size], train_labels[:validation_size]),
        test=made(test_images, test_labels),
    )


def load_mnist(train_dir: str = "MNIST-data") -> Datasets:
    """`read_data_sets` of the default folder."""
    return read_data_sets(train_dir)


def load_arrays(path: str = "mnist.npz") -> Any:
    """`(x_train, y_train), (x_test, y_test)` as uint8 arrays [n, 28, 28] and [n] (TensorFlow: `tf.keras.datasets.mnist.load_data`).

    Read from `path`, or from that file in `~/.keras/datasets`; FileNotFoundError, saying where it was looked for, when there is none.
    """
    home = os.path.join(os.path.expanduser("~"), ".keras", "datasets", path)
    for candidate in (path, home):
        if os.path.exists(candidate):
            with np.load(candidate, allow_pickle=False) as data:
                return (data["x_train"], data["y_train"]), (data["x_test"], data["y_test"])
    raise FileNotFoundError(
        f"Neither {path} nor {home} is there. Flowmesh never downloads data: put the file mnist.npz (arrays x_train, y_train, "
        "x_test, y_test) into one of these places."
    )
