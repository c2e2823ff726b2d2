"""The MNIST reader, on small files in its format."""

from __future__ import annotations

import gzip
from pathlib import Path

import numpy as np
import pytest

from flowmesh.core import errors
from flowmesh.formats.idx import parse_idx, write_idx
from flowmesh.frontend import mnist


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    random = np.random.RandomState(0)
    for images, labels, count, packed in (
        (mnist.TRAIN_IMAGES, mnist.TRAIN_LABELS, 60, True),
        (mnist.TEST_IMAGES, mnist.TEST_LABELS, 20, False),
    ):
        for name, data in (
            (images, random.randint(0, 256, (count, 28, 28)).astype(np.uint8)),
            (labels, random.randint(0, 10, count).astype(np.uint8)),
        ):
            raw = write_idx(data)
            if packed:
                (tmp_path / name).write_bytes(gzip.compress(raw))
            else:
                (tmp_path / name.removesuffix(".gz")).write_bytes(raw)
    return tmp_path


def test_sets_are_split_scaled_and_flattened(folder: Path) -> None:
    data = mnist.read_data_sets(str(folder), one_hot=True, validation_size=10)
    assert (
        data.train.num_examples == 50
        and data.validation.num_examples == 10
        and data.test.num_examples == 20
    )
    assert data.train.images.shape == (50, 784) and data.train.images.dtype == np.float32
    assert 0.99 < data.train.images.max() <= 1.0
    assert data.train.labels.shape == (50, 10) and (data.train.labels.sum(1) == 1).all()


def test_batches_go_through_every_example_once_an_epoch(folder: Path) -> None:
    train = mnist.read_data_sets(str(folder), validation_size=0, seed=3).train
    before = sorted(map(bytes, train.images))
    seen = [row for _ in range(6) for row in train.next_batch(10)[0]]
    assert sorted(map(bytes, seen)) == before
    assert train.epochs_completed == 0
    images, labels = train.next_batch(25)
    assert train.epochs_completed == 1 and len(images) == len(labels) == 25


def test_missing_files_are_named(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match=r"train-images-idx3-ubyte.gz.*never downloads"):
        mnist.read_data_sets(str(tmp_path))


@pytest.mark.parametrize(
    "data", [b"", b"\0\0\x08", b"\0\0\x07\x01\0\0\0\1x", b"\0\0\x08\x01\0\0\0\5xx", b"\x1f\x8bjunk"]
)
def test_malformed_files_are_data_loss(data: bytes) -> None:
    with pytest.raises(errors.DataLossError, match="no IDX file"):
        parse_idx(data, "x")
