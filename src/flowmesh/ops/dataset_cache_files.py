"""A dataset cached in a file: a checkpoint with one tensor for each component of each element."""

from __future__ import annotations

from typing import Any

from flowmesh.core import errors
from flowmesh.core.file_policy import FilePolicy, check_path
from flowmesh.formats.checkpoint import BundleReader, BundleWriter, checkpoint_exists
from flowmesh.resources.datasets import END, Dataset, DatasetIterator, IterationContext

_WIDTH = 6
"""Digits of the numbers in the names of tensors."""


def _key(element: int, component: int) -> str:
    return f"{element:0{_WIDTH}d}_{component:0{_WIDTH}d}"


class FileCache(Dataset):
    """The elements of the input, read from a file once a pass over the input is complete."""

    def __init__(self, source: Dataset, prefix: str, files: FilePolicy | None) -> None:
        super().__init__(source.types, source.shapes_of_elements, source)
        check_path(files, prefix)
        self.prefix = prefix

    def iterate(self, context: IterationContext) -> DatasetIterator:
        if checkpoint_exists(self.prefix):
            return _Reader(self.prefix, len(self.types))
        return _Writer(self.inputs[0].iterate(context), self)


class _Reader(DatasetIterator):
    def __init__(self, prefix: str, components: int) -> None:
        self._bundle = BundleReader(prefix)
        self._components = components
        self._at = 0

    def next(self) -> Any:
        if _key(self._at, 0) not in self._bundle:
            return END
        element = tuple(self._bundle.read(_key(self._at, i)) for i in range(self._components))
        self._at += 1
        return element

    def close(self) -> None:
        self._bundle.close()


class _Writer(DatasetIterator):
    """Passes elements on and writes them down; the file appears when all of them have been written."""

    def __init__(self, source: DatasetIterator, dataset: FileCache) -> None:
        self._source = source
        self._dataset = dataset
        self._bundle: BundleWriter | None = BundleWriter(dataset.prefix)
        self._at = 0

    def next(self) -> Any:
        if self._bundle is None:
            return END
        element = self._source.next()
        if element is END:
            self._bundle.finish()
            self._bundle = None
            return END
        if self._at >= 10**_WIDTH:
            raise errors.InvalidArgumentError(
                None,
                None,
                f"Upper bound exceeded: a cache file holds {10**_WIDTH} elements, and the dataset has more. Cache it in memory.",
            )
        for i, (value, dtype) in enumerate(zip(element, self._dataset.types)):
            self._bundle.add(_key(self._at, i), value, dtype)
        self._at += 1
        return element

    def close(self) -> None:
        self._source.close()
        if self._bundle is not None:
            self._bundle.discard()
            self._bundle = None
