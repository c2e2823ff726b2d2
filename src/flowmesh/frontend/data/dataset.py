"""`Dataset`: a sequence of elements as a node of the graph, and its transformations (TensorFlow: `tf.data.Dataset`)."""

from __future__ import annotations

import builtins
import threading
import warnings
from collections.abc import Callable
from typing import Any

import numpy as np

from flowmesh.core import dtypes
from flowmesh.core.dtypes import as_dtype
from flowmesh.core.shapes import TensorShape, as_shape
from flowmesh.frontend.data import building, nest, structure
from flowmesh.frontend.data.building import AUTOTUNE, Recipe
from flowmesh.frontend.data.iterator import Iterator
from flowmesh.frontend.data.options import Options
from flowmesh.frontend.data.reduce import reduced
from flowmesh.graph.convert import convert_n_to_tensor, convert_to_tensor
from flowmesh.graph.functions import NO_CALL_SHAPES, trace
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.operation import Operation
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.control_flow import Assert
from flowmesh.ops.py_func import numpy_function
from flowmesh.ops.shape_ops import shape
from flowmesh.ops.strings import reduce_join
from flowmesh.ops.tensor_value import to_array

_STATEFUL = (
    "Failed to create a one-shot iterator for a dataset. `Dataset.make_one_shot_iterator()` does not support datasets that "
    "capture stateful objects, such as a `Variable` or `LookupTable`. In these cases, use "
    "`Dataset.make_initializable_iterator()`. (Original error: {})"
)


class Dataset:
    """A sequence of elements: tensors, or tuples, namedtuples and dicts of tensors.

    Transformations return new datasets; an iterator gives the elements. Functions of elements are traced: they build a graph of their own, and
    tensors of the graph around them become further arguments.
    """

    def __init__(self, recipe: Recipe) -> None:
        self._recipe = recipe
        self._variant_tensor = recipe.variant
        self._graph = get_default_graph()

    # -- what it is ----------------------------------------------------------------------------------

    @property
    def element_spec(self) -> Any:
        """The structure of the elements, with a spec for each component."""
        return self._recipe.spec

    @property
    def output_types(self) -> Any:
        """The dtypes of the components."""
        return structure.legacy(self.element_spec, 0)

    @property
    def output_shapes(self) -> Any:
        """The shapes of the components."""
        return structure.legacy(self.element_spec, 1)

    @property
    def output_classes(self) -> Any:
        """The classes of the components."""
        return structure.legacy(self.element_spec, 2)

    def __repr__(self) -> str:
        shapes = str(nest.map_structure(str, self.output_shapes)).replace("'", "")
        types = str(nest.map_structure(repr, self.output_types)).replace("'", "")
        return f"<{type(self).__name__} shapes: {shapes}, types: {types}>"

    def __iter__(self) -> Any:
        """There is no eager mode: RuntimeError."""
        raise RuntimeError(
            "__iter__() is only supported inside of tf.function or when eager execution is enabled."
        )

    def _inputs(self) -> list[Any]:
        return list(self._recipe.inputs)

    def options(self) -> Options:
        """The options of this dataset and its inputs."""
        options = Options()
        for source in self._inputs():
            options = options.merge(source.options())
        return options if self._recipe.options is None else options.merge(self._recipe.options)

    def with_options(self, options: Options) -> Dataset:
        """The same dataset with options; ValueError when its own say something else."""
        self.options().merge(options)
        recipe = self._recipe
        return DatasetV1Adapter(Recipe(recipe.variant, recipe.spec, (self,), (), options))

    # -- sources -------------------------------------------------------------------------------------

    @staticmethod
    def from_tensors(tensors: Any) -> Dataset:
        """A dataset of one element."""
        return DatasetV1Adapter(building.from_tensors(tensors))

    @staticmethod
    def from_tensor_slices(tensors: Any) -> Dataset:
        """The rows of tensors, which all have the same first dimension; ValueError otherwise."""
        return DatasetV1Adapter(building.from_slices(tensors))

    @staticmethod
    def from_sparse_tensor_slices(sparse_tensor: Any) -> Dataset:
        """The rows of a SparseTensor as (indices, values, dense_shape)."""
        return DatasetV1Adapter(building.from_sparse_slices(sparse_tensor))

    @staticmethod
    def from_generator(
        generator: Callable[..., Any],
        output_types: Any,
        output_shapes: Any = None,
        args: Any = None,
    ) -> Dataset:
        """What a Python generator yields: `generator(*args)` is called for each pass, in the process that built the graph.

        Running it raises InvalidArgumentError for elements that are not of `output_types` and `output_shapes`. TypeError for a `generator` that
        cannot be called.
        """
        if not callable(generator):
            raise TypeError("`generator` must be callable.")
        if output_shapes is None:
            output_shapes = nest.map_structure(lambda _: TensorShape(None), output_types)
        else:
            output_shapes = nest.map_structure_up_to(output_types, as_shape, output_shapes)
        tensors = () if args is None else tuple(convert_n_to_tensor(args, name="args"))
        passes = _Passes(generator, output_types, output_shapes)

        def get_iterator_id_fn(unused_dummy: Any) -> Any:
            return numpy_function(passes.begin, tensors, dtypes.int64)

        def generator_next_fn(iterator_id: Any) -> Any:
            values = numpy_function(passes.following, [iterator_id], passes.types)
            for value, known in zip(values, passes.shapes):
                value.set_shape(known)
            return nest.pack(output_types, values)

        def finalize_fn(iterator_id: Any) -> Any:
            return numpy_function(passes.end, [iterator_id], dtypes.int64)

        def flat_map_fn(dummy: Any) -> Any:
            return DatasetV1Adapter(
                building.generated(dummy, get_iterator_id_fn, generator_next_fn, finalize_fn)
            )

        return Dataset.from_tensors(0).flat_map(flat_map_fn)

    @staticmethod
    def range(*args: Any) -> Dataset:
        """The int64 numbers of `range(*args)`."""
        return DatasetV1Adapter(building.numbers(*args))

    @staticmethod
    def zip(datasets: Any) -> Dataset:
        """Elements side by side, in the structure of `datasets`; TypeError for anything but datasets in it."""
        return DatasetV1Adapter(building.zipped(datasets, Dataset))

    @staticmethod
    def list_files(file_pattern: Any, shuffle: bool | None = None, seed: Any = None) -> Dataset:
        """The names of the files that match one or more patterns, in random order unless `shuffle` is False.

        Running it raises InvalidArgumentError when there is none.
        """
        graph = get_default_graph()
        with graph.name_scope("list_files"):
            pattern = convert_to_tensor(file_pattern, dtypes.string, "file_pattern")
            matching = raw.MatchingFiles(pattern)
            some = raw.Greater(shape(matching)[0], 0, name="match_not_empty")  # type: ignore[index]
            patterns = reduce_join(pattern, separator=", ")
            message = raw.Add("No files matched pattern: ", patterns, name="message")
            check = Assert(some, [message], summarize=1, name="assert_not_empty")
            with graph.control_dependencies([check]):
                names = raw.Identity(matching)
            dataset = Dataset.from_tensor_slices(names)
            if shuffle is None or shuffle:
                count = shape(names, out_type=dtypes.int64)[0]  # type: ignore[index]
                dataset = dataset.shuffle(raw.Maximum(count, 1), seed=seed)
            return dataset

    # -- transformations -----------------------------------------------------------------------------

    def concatenate(self, dataset: Dataset) -> Dataset:
        """These elements, then those of `dataset`; TypeError when they have other types."""
        return DatasetV1Adapter(building.concatenated(self, dataset))

    def prefetch(self, buffer_size: Any) -> Dataset:
        """Makes up to `buffer_size` elements in the background before they are asked for."""
        return DatasetV1Adapter(building.prefetched(self, buffer_size))

    def repeat(self, count: Any = None) -> Dataset:
        """`count` passes; for ever without it."""
        return DatasetV1Adapter(building.repeated(self, count))

    def enumerate(self, start: Any = 0) -> Dataset:
        """Pairs of a number and an element."""
        numbers = Dataset.range(start, np.iinfo(np.int64).max)
        return Dataset.zip((numbers, self))

    def shuffle(
        self, buffer_size: Any, seed: Any = None, reshuffle_each_iteration: bool | None = None
    ) -> Dataset:
        """Random order through a buffer of `buffer_size`; TensorFlow's order for equal seeds. Each pass has another one, unless
        `reshuffle_each_iteration` is False."""
        return DatasetV1Adapter(
            building.shuffled(self, buffer_size, seed, reshuffle_each_iteration)
        )

    def cache(self, filename: Any = "") -> Dataset:
        """Keeps the elements of the first complete pass, in memory or in a file."""
        name = convert_to_tensor(filename, dtypes.string, "filename")
        return DatasetV1Adapter(building.same(self, raw.CacheDataset, name))

    def take(self, count: Any) -> Dataset:
        """The first `count` elements."""
        return DatasetV1Adapter(
            building.same(self, raw.TakeDataset, building.integer(count, "count"))
        )

    def skip(self, count: Any) -> Dataset:
        """All but the first `count` elements."""
        return DatasetV1Adapter(
            building.same(self, raw.SkipDataset, building.integer(count, "count"))
        )

    def shard(self, num_shards: Any, index: Any) -> Dataset:
        """Each `num_shards`-th element, from number `index` on."""
        return DatasetV1Adapter(building.sharded(self, num_shards, index))

    def batch(self, batch_size: Any, drop_remainder: Any = False) -> Dataset:
        """`batch_size` elements together; the last batch may be smaller, or is left out."""
        return DatasetV1Adapter(building.batched(self, batch_size, drop_remainder))

    def padded_batch(
        self,
        batch_size: Any,
        padded_shapes: Any,
        padding_values: Any = None,
        drop_remainder: Any = False,
    ) -> Dataset:
        """`batch_size` elements together, padded to `padded_shapes` (None: to the largest of the batch).

        Raises ValueError or TypeError for shapes and values that do not fit.
        """
        return DatasetV1Adapter(
            building.padded(self, batch_size, padded_shapes, padding_values, drop_remainder)
        )

    def map(self, map_func: Callable[..., Any], num_parallel_calls: Any = None) -> Dataset:
        """`map_func` of each element, in order; up to `num_parallel_calls` at a time."""
        return DatasetV1Adapter(building.mapped(self, map_func, num_parallel_calls))

    map_with_legacy_function = map

    def flat_map(self, map_func: Callable[..., Any]) -> Dataset:
        """The elements of the datasets that `map_func` makes of the elements; TypeError when it makes none."""
        return DatasetV1Adapter(building.flat_mapped(self, map_func))

    def interleave(
        self,
        map_func: Callable[..., Any],
        cycle_length: Any = AUTOTUNE,
        block_length: Any = 1,
        num_parallel_calls: Any = None,
    ) -> Dataset:
        """`block_length` elements in turn of each of `cycle_length` datasets that `map_func` makes."""
        return DatasetV1Adapter(
            building.interleaved(self, map_func, cycle_length, block_length, num_parallel_calls)
        )

    def filter(self, predicate: Callable[..., Any]) -> Dataset:
        """The elements for which `predicate` (a scalar bool) is true; ValueError for any other result."""
        return DatasetV1Adapter(building.filtered(self, predicate))

    filter_with_legacy_function = filter

    def apply(self, transformation_func: Callable[[Dataset], Any]) -> Dataset:
        """`transformation_func` of this dataset; TypeError when that is no dataset."""
        dataset = transformation_func(self)
        if not isinstance(dataset, Dataset):
            raise TypeError(f"`transformation_func` must return a Dataset. Got {dataset}.")
        return dataset

    def window(
        self, size: Any, shift: Any = None, stride: Any = 1, drop_remainder: Any = False
    ) -> Dataset:
        """Datasets of `size` elements, each beginning `shift` (default: `size`) elements behind the one before."""
        return DatasetV1Adapter(building.windows(self, size, shift, stride, drop_remainder))

    def unbatch(self) -> Dataset:
        """The rows of each element."""

        def normalize(*components: Any) -> Any:
            return components if len(components) > 1 else components[0]

        mapped = Dataset.map(self, normalize)
        return _UnbatchDataset(building.unbatched(mapped))

    def reduce(self, initial_state: Any, reduce_func: Callable[..., Any]) -> Any:
        """The state after `reduce_func(state, element)` of all elements, as tensors; TypeError when it changes the state's structure."""
        return reduced(self, initial_state, reduce_func)

    # -- iterators -----------------------------------------------------------------------------------

    def make_one_shot_iterator(self) -> Iterator:
        """An iterator that begins by itself, once; ValueError for a dataset that needs variables or placeholders."""
        try:
            factory = trace(
                lambda: [self._with_optimizations()._variant_tensor],
                "_make_dataset*",
                [],
                wrap_outputs=False,
                capture_by_value=True,
                copied=_variant_ops(self._variant_tensor),
                description="Factory function for a dataset.",
                attrs=NO_CALL_SHAPES,
            )
        except ValueError as error:
            if "Cannot capture a stateful node" in str(error):
                raise ValueError(_STATEFUL.format(error)) from None
            raise
        get_default_graph().functions.setdefault(factory.name, factory)
        resource = raw.OneShotIterator(dataset_factory=factory, **building.flat(self.element_spec))
        return Iterator(resource, None, self.output_types, self.output_shapes, self.output_classes)

    def make_initializable_iterator(self, shared_name: str | None = None) -> Iterator:
        """An iterator that begins when its `initializer` is run, each time from the first element on."""
        dataset = self._with_optimizations()
        resource = raw.IteratorV2(
            container="", shared_name=shared_name or "", **building.flat(self.element_spec)
        )
        with get_default_graph().colocate_with(resource):
            initializer = raw.MakeIterator(dataset._variant_tensor, resource)
        return Iterator(
            resource, initializer, self.output_types, self.output_shapes, self.output_classes
        )

    def _with_optimizations(self) -> Dataset:
        """The dataset behind the nodes that TensorFlow puts before each iterator."""
        dataset: Dataset = self
        options = self.options()
        threading_options = options.experimental_threading  # type: ignore[attr-defined]
        for name, builder in (
            ("max_intra_op_parallelism", raw.MaxIntraOpParallelismDataset),
            ("private_threadpool_size", raw.PrivateThreadPoolDataset),
        ):
            number = getattr(threading_options, name)
            if number is not None:
                label = "num_threads" if name.startswith("private") else name
                recipe = building.same(dataset, builder, building.integer(number, label))
                dataset = DatasetV1Adapter(recipe)
        optimization = options.experimental_optimization  # type: ignore[attr-defined]
        chosen = optimization.chosen()
        if options.experimental_deterministic is False:  # type: ignore[attr-defined]
            chosen.append("make_sloppy")
        if chosen and self._takes_refs():
            warnings.warn(
                "tf.data static optimizations are not compatible with tf.Variable. The following optimizations will be "
                f"disabled: {', '.join(chosen)}. To enable optimizations, use resource variables instead by calling "
                "`tf.enable_resource_variables()` at the start of the program.",
                stacklevel=3,
            )
        elif chosen:
            names = convert_to_tensor(chosen, dtypes.string, "optimizations")
            configs = ["map_vectorization:use_choose_fastest:false"]
            recipe = building.same(
                dataset, raw.OptimizeDataset, names, optimization_configs=configs
            )
            dataset = DatasetV1Adapter(recipe)
        if optimization.autotune is not False:
            dataset = DatasetV1Adapter(
                building.same(
                    dataset, raw.ModelDataset, cpu_budget=optimization.autotune_cpu_budget or 0
                )
            )
        return dataset

    def _takes_refs(self) -> bool:
        return any(f.takes_refs for f in self._recipe.functions) or any(
            source._takes_refs() for source in self._inputs()
        )


class DatasetV1Adapter(Dataset):
    """What sources and transformations return."""


class _UnbatchDataset(DatasetV1Adapter):
    """What `unbatch` returns."""


def _from_variant(tensor: Tensor, element_spec: Any) -> Dataset:
    return DatasetV1Adapter(Recipe(tensor, element_spec))


structure.dataset_from_variant = _from_variant


def _variant_ops(variant: Tensor) -> set[Operation]:
    """The ops that make a dataset and its inputs."""
    found: set[Operation] = set()
    waiting = [variant.op]
    while waiting:
        op = waiting.pop()
        if op not in found:
            found.add(op)
            waiting += [t.op for t in op.inputs if t.dtype == dtypes.variant]
    return found


class _Passes:
    """The passes over a Python generator that are under way, by number."""

    def __init__(self, generator: Callable[..., Any], types: Any, shapes: Any) -> None:
        self._generator = generator
        self._structure = types
        self.types = [as_dtype(t) for t in nest.flatten(types)]
        self.shapes: list[TensorShape] = nest.flatten(shapes)
        self._lock = threading.Lock()
        self._next = 0
        self._arguments: dict[int, tuple[Any, ...]] = {}
        self._iterators: dict[int, Any] = {}

    def begin(self, *args: Any) -> np.ndarray:
        """The number of a new pass."""
        with self._lock:
            number, self._next = self._next, self._next + 1
            self._arguments[number] = args
        return np.array(number, np.int64)

    def following(self, number: Any) -> list[np.ndarray]:
        """The next element's components. StopIteration at the end; TypeError or ValueError for one that is not as announced."""
        number = int(number)
        iterator = self._iterators.get(number)
        if iterator is None:
            iterator = iter(self._generator(*self._arguments.pop(number)))
            self._iterators[number] = iterator
        values = next(iterator)
        try:
            flat = nest.flatten_up_to(self._structure, values)
        except (TypeError, ValueError):
            raise TypeError(
                "`generator` yielded an element that did not match the expected structure. The expected structure was "
                f"{self._structure}, but the yielded element was {values}."
            ) from None
        items = builtins.zip(flat, self.types, self.shapes)
        return [_component(value, dtype, shape) for value, dtype, shape in items]

    def end(self, number: Any) -> np.ndarray:
        """Forgets a pass."""
        self._arguments.pop(int(number), None)
        iterator = self._iterators.pop(int(number), None)
        if hasattr(iterator, "close"):
            iterator.close()
        return np.array(0, np.int64)


def _component(value: Any, dtype: Any, shape: TensorShape) -> np.ndarray:
    try:
        if dtype == dtypes.string:
            array = to_array(value, dtypes.string)
        else:
            array = np.asarray(value, dtype.as_numpy_dtype)
    except (TypeError, ValueError, OverflowError):
        raise TypeError(
            "`generator` yielded an element that could not be converted to the expected type. The expected type was "
            f"{dtype.name}, but the yielded element was {value}."
        ) from None
    if not shape.is_compatible_with(TensorShape(list(array.shape))):
        raise ValueError(
            f"`generator` yielded an element of shape {array.shape} where an element of shape {shape} was expected."
        )
    return array


def make_one_shot_iterator(dataset: Dataset) -> Iterator:
    """`dataset.make_one_shot_iterator()` (tf.compat.v1.data.make_one_shot_iterator)."""
    return dataset.make_one_shot_iterator()


def make_initializable_iterator(dataset: Dataset, shared_name: str | None = None) -> Iterator:
    """`dataset.make_initializable_iterator()` (tf.compat.v1.data.make_initializable_iterator)."""
    return dataset.make_initializable_iterator(shared_name)


def get_structure(dataset_or_iterator: Any) -> Any:
    """The spec of the elements (tf.data.experimental.get_structure); TypeError for what has none."""
    try:
        return dataset_or_iterator.element_spec
    except AttributeError:
        raise TypeError(
            f"`dataset_or_iterator` must be a Dataset or Iterator object, but got {type(dataset_or_iterator)}."
        ) from None


def get_output_types(dataset_or_iterator: Any) -> Any:
    """The dtypes of the components (tf.compat.v1.data.get_output_types)."""
    return structure.legacy(get_structure(dataset_or_iterator), 0)


def get_output_shapes(dataset_or_iterator: Any) -> Any:
    """The shapes of the components (tf.compat.v1.data.get_output_shapes)."""
    return structure.legacy(get_structure(dataset_or_iterator), 1)


def get_output_classes(dataset_or_iterator: Any) -> Any:
    """The classes of the components (tf.compat.v1.data.get_output_classes)."""
    return structure.legacy(get_structure(dataset_or_iterator), 2)
