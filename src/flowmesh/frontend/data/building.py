"""The nodes of datasets: one function for each kind, which returns a `Recipe`."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Any

from flowmesh.core import dtypes
from flowmesh.core.shapes import TensorShape, as_shape
from flowmesh.frontend.data import nest, structure
from flowmesh.frontend.data.functions import StructuredFunction
from flowmesh.frontend.data.structure import DatasetSpec, TensorSpec
from flowmesh.graph import random_seed
from flowmesh.graph.constant_value import constant_value, constant_value_as_shape
from flowmesh.graph.convert import convert_n_to_tensor, convert_to_tensor
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.raw import raw
from flowmesh.graph.tensor import Tensor
from flowmesh.ops.constant import constant

AUTOTUNE = -1
"""Leaves a number to the runtime (tf.data.experimental.AUTOTUNE)."""
_BUFFER_BYTES = 256 * 1024


@dataclass
class Recipe:
    """What a dataset consists of: its variant, the spec of its elements, its input datasets and functions."""

    variant: Tensor
    spec: Any
    inputs: Sequence[Any] = ()
    functions: Sequence[StructuredFunction] = ()
    options: Any = field(default=None)


def integer(value: Any, name: str) -> Tensor:
    """An int64 tensor."""
    return convert_to_tensor(value, dtypes.int64, name)


def _or_default(name: str, value: Any, default: Any, dtype: Any = dtypes.int64) -> Tensor:
    return convert_to_tensor(default if value is None else value, dtype, name)


def flat(spec: Any) -> dict[str, Any]:
    """The attrs that describe the elements."""
    return {
        "output_types": structure.flat_types(spec),
        "output_shapes": structure.flat_shapes(spec),
    }


# -- sources ---------------------------------------------------------------------------------------------


def from_tensors(element: Any) -> Recipe:
    """One element."""
    element = structure.normalized(element)
    spec = structure.spec_of(element)
    tensors = structure.to_tensors(spec, element)
    shapes = structure.flat_shapes(spec)
    return Recipe(raw.TensorDataset(tensors, output_shapes=shapes), spec)


def from_slices(element: Any) -> Recipe:
    """The rows of tensors; ValueError for scalars and for tensors of different lengths."""
    element = structure.normalized(element)
    whole = structure.spec_of(element)
    tensors = structure.to_tensors(whole, element)
    spec = nest.map_structure(lambda s: s.unbatch(), whole)
    first = tensors[0].shape[0]
    for tensor in tensors[1:]:
        first.assert_is_compatible_with(tensor.shape[0])
    variant = raw.TensorSliceDataset(tensors, output_shapes=structure.flat_shapes(spec))
    return Recipe(variant, spec)


def from_sparse_slices(sparse: Any) -> Recipe:
    """The rows of a SparseTensor as (indices, values, dense_shape)."""
    if type(sparse).__name__ != "SparseTensor":
        raise TypeError(f"`sparse_tensor` must be a `tf.SparseTensor` object. Was {sparse}.")
    columns = sparse.indices.shape[1].value
    size = sparse.dense_shape.shape[0].value
    rank = columns - 1 if columns is not None else (None if size is None else size - 1)
    spec = (
        TensorSpec([None, rank], dtypes.int64),
        TensorSpec([None], sparse.values.dtype),
        TensorSpec([rank], dtypes.int64),
    )
    variant = raw.SparseTensorSliceDataset(sparse.indices, sparse.values, sparse.dense_shape)
    return Recipe(variant, spec)


def numbers(*args: Any) -> Recipe:
    """`range(stop)`, `range(start, stop)` or `range(start, stop, step)`."""
    if not 1 <= len(args) <= 3:
        raise ValueError(f"Invalid arguments to RangeDataset: {args}")
    start, stop, step = {1: (0, *args, 1), 2: (*args, 1), 3: args}[len(args)]
    spec = TensorSpec([], dtypes.int64)
    bounds = (integer(start, "start"), integer(stop, "stop"), integer(step, "step"))
    return Recipe(raw.RangeDataset(*bounds, **flat(spec)), spec)


def generated(
    argument: Any,
    init: Callable[..., Any],
    following: Callable[..., Any],
    final: Callable[..., Any],
) -> Recipe:
    """What a stateful function gives until it ends."""
    what = "Dataset.from_generator()"
    first = StructuredFunction(init, what, structure.spec_of(argument))
    second = StructuredFunction(following, what, first.output_spec)
    third = StructuredFunction(final, what, first.output_spec)
    variant = raw.GeneratorDataset(
        structure.to_tensors(structure.spec_of(argument), argument) + first.captured,
        second.captured,
        third.captured,
        init_func=first.function,
        next_func=second.function,
        finalize_func=third.function,
        **flat(second.output_spec),
    )
    return Recipe(variant, second.output_spec)


def zipped(datasets: Any, dataset_type: type) -> Recipe:
    """Elements side by side."""
    for dataset in nest.flatten(datasets):
        if not isinstance(dataset, dataset_type):
            message = (
                "The argument to `Dataset.zip()` must be a nested structure of `Dataset` objects."
            )
            if isinstance(dataset, list):
                message += (
                    " Nested structures do not support Python lists; please use a tuple instead."
                )
            raise TypeError(message)
    inputs = nest.flatten(datasets)
    spec = nest.pack(datasets, [d.element_spec for d in inputs])
    variant = raw.ZipDataset([d._variant_tensor for d in inputs], **flat(spec))
    return Recipe(variant, spec, inputs)


def concatenated(first: Any, second: Any) -> Recipe:
    """One dataset, then another of the same types."""
    types, other = structure.legacy(first.element_spec, 0), structure.legacy(second.element_spec, 0)
    if types != other:
        raise TypeError(f"Two datasets to concatenate have different types {types} and {other}")
    classes = structure.legacy(first.element_spec, 2)
    if classes != structure.legacy(second.element_spec, 2):
        raise TypeError(
            f"Two datasets to concatenate have different classes {classes} and {structure.legacy(second.element_spec, 2)}"
        )
    shapes = structure.legacy(first.element_spec, 1)
    pairs = zip(nest.flatten(shapes), nest.flatten(structure.legacy(second.element_spec, 1)))
    common = nest.pack(shapes, [structure.common_shape(a, b) for a, b in pairs])
    spec = structure.from_legacy(types, common, classes)
    variant = raw.ConcatenateDataset(first._variant_tensor, second._variant_tensor, **flat(spec))
    return Recipe(variant, spec, (first, second))


# -- the same elements -----------------------------------------------------------------------------------


def same(source: Any, builder: Callable[..., Any], *inputs: Any, **attrs: Any) -> Recipe:
    """A dataset with elements like its input's."""
    spec = source.element_spec
    variant = builder(source._variant_tensor, *inputs, **attrs, **flat(spec))
    return Recipe(variant, spec, (source,))


def repeated(source: Any, count: Any) -> Recipe:
    """`count` passes; None or -1: for ever."""
    return same(source, raw.RepeatDataset, integer(-1 if count is None else count, "count"))


def seeds(seed: Any) -> tuple[Tensor, Tensor]:
    """The two seeds of an op that shuffles, as tensors."""
    first, second = random_seed.get_seed(seed)
    one = integer(0 if first is None else first, "seed")
    if second is None:
        return one, constant(0, dtypes.int64, name="seed2")
    graph = get_default_graph()
    with graph.name_scope("seed2") as scope:
        two = convert_to_tensor(second, dtypes.int64)
        zero = raw.LogicalAnd(raw.Equal(one, 0), raw.Equal(two, 0))
        most = constant(2**31 - 1, dtypes.int64)
        return one, raw.Select(zero, most, two, name=scope)


def shuffled(source: Any, buffer_size: Any, seed: Any, again: bool | None) -> Recipe:
    """The elements in random order."""
    size = integer(buffer_size, "buffer_size")
    both = seeds(seed)
    reshuffles = True if again is None else again
    return same(source, raw.ShuffleDataset, size, *both, reshuffle_each_iteration=reshuffles)


def shuffled_and_repeated(source: Any, buffer_size: Any, count: Any, seed: Any) -> Recipe:
    """The elements of several passes in random order."""
    size = integer(buffer_size, "buffer_size")
    passes = integer(-1 if count is None else count, "count")
    return same(source, raw.ShuffleAndRepeatDataset, size, *seeds(seed), passes)


def prefetched(source: Any, buffer_size: Any) -> Recipe:
    """Elements made in the background."""
    size = integer(AUTOTUNE if buffer_size is None else buffer_size, "buffer_size")
    return same(source, raw.PrefetchDataset, size)


def sharded(source: Any, num_shards: Any, index: Any) -> Recipe:
    """Each `num_shards`-th element."""
    shards, number = integer(num_shards, "num_shards"), integer(index, "index")
    return same(source, raw.ShardDataset, shards, number)


# -- with functions --------------------------------------------------------------------------------------


def mapped(
    source: Any, function: Callable[..., Any], parallel: Any, inter_op: bool = True
) -> Recipe:
    """`function` of each element."""
    made = StructuredFunction(function, "Dataset.map()", source.element_spec)
    attrs = {"f": made.function, "use_inter_op_parallelism": inter_op, **flat(made.output_spec)}
    inputs = [source._variant_tensor, made.captured]
    if parallel is None:
        variant = raw.MapDataset(*inputs, **attrs)
    else:
        calls = convert_to_tensor(parallel, dtypes.int32, "num_parallel_calls")
        variant = raw.ParallelMapDataset(*inputs, calls, **attrs)
    return Recipe(variant, made.output_spec, (source,), (made,))


def _inner_spec(made: StructuredFunction) -> Any:
    if not isinstance(made.output_spec, DatasetSpec):
        raise TypeError(f"`map_func` must return a `Dataset` object. Got {type(made.output_spec)}")
    return made.output_spec.element_spec


def flat_mapped(source: Any, function: Callable[..., Any]) -> Recipe:
    """The elements of the datasets that `function` makes."""
    made = StructuredFunction(function, "Dataset.flat_map()", source.element_spec)
    spec = _inner_spec(made)
    variant = raw.FlatMapDataset(
        source._variant_tensor, made.captured, f=made.function, **flat(spec)
    )
    return Recipe(variant, spec, (source,), (made,))


def interleaved(
    source: Any, function: Callable[..., Any], cycle: Any, block: Any, parallel: Any
) -> Recipe:
    """Elements of several datasets in turn."""
    made = StructuredFunction(function, "Dataset.interleave()", source.element_spec)
    spec = _inner_spec(made)
    inputs = [source._variant_tensor, made.captured]
    inputs += [integer(cycle, "cycle_length"), integer(block, "block_length")]
    if parallel is None:
        variant = raw.InterleaveDataset(*inputs, f=made.function, **flat(spec))
    else:
        inputs.append(integer(parallel, "num_parallel_calls"))
        variant = raw.ParallelInterleaveDatasetV2(*inputs, f=made.function, **flat(spec))
    return Recipe(variant, spec, (source,), (made,))


def parallel_interleaved(
    source: Any,
    function: Callable[..., Any],
    cycle: Any,
    block: Any,
    sloppy: Any = False,
    ahead: Any = None,
    inputs_ahead: Any = None,
) -> Recipe:
    """As `interleaved`, by the older op."""
    what = "tf.data.experimental.parallel_interleave()"
    made = StructuredFunction(function, what, source.element_spec)
    spec = _inner_spec(made)
    variant = raw.ParallelInterleaveDataset(
        source._variant_tensor,
        made.captured,
        integer(cycle, "cycle_length"),
        integer(block, "block_length"),
        convert_to_tensor(sloppy, dtypes.bool, "sloppy"),
        _or_default("buffer_output_elements", ahead, 2 * block),
        _or_default("prefetch_input_elements", inputs_ahead, 2 * cycle),
        f=made.function,
        **flat(spec),
    )
    return Recipe(variant, spec, (source,), (made,))


def filtered(source: Any, predicate: Callable[..., Any]) -> Recipe:
    """The elements for which `predicate` is true."""
    made = StructuredFunction(predicate, "Dataset.filter()", source.element_spec)
    spec = made.output_spec
    if not isinstance(spec, TensorSpec) or not spec.is_compatible_with(TensorSpec([], dtypes.bool)):
        raise ValueError(
            f"`predicate` return type must be convertible to a scalar boolean tensor. Was {spec}."
        )
    variant = raw.FilterDataset(
        source._variant_tensor, made.captured, predicate=made.function, **flat(source.element_spec)
    )
    return Recipe(variant, source.element_spec, (source,), (made,))


def taken_while(source: Any, predicate: Callable[..., Any]) -> Recipe:
    """The elements up to the first one for which `predicate` is false."""
    what = "tf.data.experimental.take_while()"
    made = StructuredFunction(predicate, what, source.element_spec)
    variant = raw.TakeWhileDataset(
        source._variant_tensor, made.captured, predicate=made.function, **flat(source.element_spec)
    )
    return Recipe(variant, source.element_spec, (source,), (made,))


# -- several elements together ---------------------------------------------------------------------------


def _batched_spec(spec: Any, size: Tensor, drops: Tensor) -> Any:
    known = constant_value(size) if constant_value(drops) else None
    return nest.map_structure(lambda s: s.batch(None if known is None else int(known)), spec)


def batched(source: Any, batch_size: Any, drop_remainder: Any) -> Recipe:
    """`batch_size` elements together."""
    size = integer(batch_size, "batch_size")
    drops = convert_to_tensor(drop_remainder, dtypes.bool, "drop_remainder")
    spec = _batched_spec(source.element_spec, size, drops)
    variant = raw.BatchDatasetV2(source._variant_tensor, size, drops, **flat(spec))
    return Recipe(variant, spec, (source,))


def mapped_and_batched(
    source: Any, function: Callable[..., Any], batch_size: Any, parallel: Any, drop_remainder: Any
) -> Recipe:
    """`function` of each element, in batches."""
    what = "tf.data.experimental.map_and_batch()"
    made = StructuredFunction(function, what, source.element_spec)
    size = integer(batch_size, "batch_size")
    calls = integer(parallel, "num_parallel_calls")
    drops = convert_to_tensor(drop_remainder, dtypes.bool, "drop_remainder")
    spec = _batched_spec(made.output_spec, size, drops)
    variant = raw.MapAndBatchDataset(
        source._variant_tensor,
        made.captured,
        size,
        calls,
        drops,
        f=made.function,
        preserve_cardinality=True,
        **flat(spec),
    )
    return Recipe(variant, spec, (source,), (made,))


def _fits(padded: TensorShape, shape: TensorShape) -> bool:
    if padded.key is None or shape.key is None:
        return True
    return len(padded.key) == len(shape.key) and all(
        a is None or b is None or a >= b for a, b in zip(padded.key, shape.key)
    )


def _padded_shape(wanted: Any, shape: TensorShape) -> Tensor:
    try:
        known = as_shape(wanted)
        dims = known.as_list()
        tensor = convert_to_tensor([-1 if d is None else d for d in dims], dtypes.int64)
    except (TypeError, ValueError):
        tensor = convert_to_tensor(wanted, preferred_dtype=dtypes.int64)
        if tensor.shape.ndims not in (None, 1):
            raise ValueError(
                f"Padded shape {wanted} must be a 1-D tensor of tf.int64 values, but its shape was {tensor.shape}."
            ) from None
        if tensor.dtype != dtypes.int64:
            raise TypeError(
                f"Padded shape {wanted} must be a 1-D tensor of tf.int64 values, but its element type was "
                f"{tensor.dtype.name}."
            ) from None
        known = constant_value_as_shape(tensor)
    if not _fits(known, shape):
        raise ValueError(
            f"The padded shape {known} is not compatible with the corresponding input component shape {shape}."
        )
    return tensor


def _padding_value(value: Any, dtype: Any) -> Tensor:
    tensor = convert_to_tensor(value, name="padding_value")
    if not tensor.shape.is_compatible_with(TensorShape([])):
        raise ValueError(f"Padding value should be a scalar, but is not: {tensor}")
    if tensor.dtype != dtype:
        raise TypeError(f"Padding value tensor ({tensor}) does not match output type: {dtype}")
    return tensor


def padded(
    source: Any, batch_size: Any, padded_shapes: Any, padding_values: Any, drop_remainder: Any
) -> Recipe:
    """`batch_size` elements together, padded to one shape."""
    size = integer(batch_size, "batch_size")
    types = structure.legacy(source.element_spec, 0)
    shapes = structure.legacy(source.element_spec, 1)
    if padding_values is None:
        padding_values = nest.map_structure(structure.zero_of, types)
    wanted = zip(nest.flatten_up_to(shapes, padded_shapes), nest.flatten(shapes))
    targets = [_padded_shape(a, b) for a, b in wanted]
    fillers = nest.map_structure_up_to(shapes, _padding_value, padding_values, types)
    drops = convert_to_tensor(drop_remainder, dtypes.bool, "drop_remainder")
    whole = constant_value(size) if constant_value(drops) else None
    spec = nest.pack(
        shapes,
        [
            TensorSpec(
                TensorShape([None if whole is None else int(whole)]).concatenate(
                    constant_value_as_shape(target)
                ),
                dtype,
            )
            for target, dtype in zip(targets, nest.flatten(types))
        ],
    )
    inputs = [source._variant_tensor, size, targets, nest.flatten(fillers)]
    shapes = structure.flat_shapes(spec)
    variant = raw.PaddedBatchDatasetV2(*inputs, drops, output_shapes=shapes)
    return Recipe(variant, spec, (source,))


def windows(source: Any, size: Any, shift: Any, stride: Any, drop_remainder: Any) -> Recipe:
    """Datasets of `size` elements."""
    spec = nest.map_structure(DatasetSpec, source.element_spec)
    sizes = [integer(size, "size"), integer(size if shift is None else shift, "shift")]
    sizes.append(integer(stride, "stride"))
    drops = convert_to_tensor(drop_remainder, dtypes.bool, "drop_remainder")
    variant = raw.WindowDataset(source._variant_tensor, *sizes, drops, **flat(spec))
    return Recipe(variant, spec, (source,))


def unbatched(source: Any) -> Recipe:
    """The rows of each element; ValueError for elements with scalars or of different lengths."""
    shapes = structure.flat_shapes(source.element_spec)
    if any(shape.ndims == 0 for shape in shapes):
        raise ValueError("Cannot unbatch an input with scalar components.")
    sizes = {shape[0].value for shape in shapes if shape.ndims} - {None}
    if len(sizes) > 1:
        raise ValueError("Cannot unbatch an input whose components have different batch sizes.")
    spec = nest.map_structure(lambda s: s.unbatch(), source.element_spec)
    variant = raw.UnbatchDataset(source._variant_tensor, **flat(spec))
    return Recipe(variant, spec, (source,))


# -- files -----------------------------------------------------------------------------------------------


def _file_arguments(compression_type: Any, buffer_size: Any) -> list[Tensor]:
    return [
        _or_default("compression_type", compression_type, "", dtypes.string),
        _or_default("buffer_size", buffer_size, _BUFFER_BYTES),
    ]


def text_lines(filename: Any, compression_type: Any, buffer_size: Any) -> Recipe:
    """The lines of files."""
    arguments = _file_arguments(compression_type, buffer_size)
    return Recipe(raw.TextLineDataset(filename, *arguments), TensorSpec([], dtypes.string))


def tf_records(filename: Any, compression_type: Any, buffer_size: Any) -> Recipe:
    """The records of TFRecord files."""
    arguments = _file_arguments(compression_type, buffer_size)
    return Recipe(raw.TFRecordDataset(filename, *arguments), TensorSpec([], dtypes.string))


def fixed_length(
    filename: Any, record: Any, header: Any, footer: Any, buffer_size: Any, compression_type: Any
) -> Recipe:
    """Records of one size."""
    record = integer(record, "record_bytes")
    sizes = [_or_default("header_bytes", header, 0), record]
    sizes.append(_or_default("footer_bytes", footer, 0))
    sizes.append(_or_default("buffer_size", buffer_size, _BUFFER_BYTES))
    compression = _or_default("compression_type", compression_type, "", dtypes.string)
    variant = raw.FixedLengthRecordDatasetV2(filename, *sizes, compression)
    return Recipe(variant, TensorSpec([], dtypes.string))


CSV_TYPES = (dtypes.float32, dtypes.float64, dtypes.int32, dtypes.int64, dtypes.string)
_CSV_BUFFER_BYTES = 4 * 1024 * 1024


def csv_records(
    filenames: Any,
    record_defaults: Any,
    compression_type: Any,
    buffer_size: Any,
    header: Any,
    field_delim: Any,
    use_quote_delim: Any,
    na_value: Any,
    select_cols: Any,
) -> Recipe:
    """The records of CSV files."""
    names = convert_to_tensor(filenames, dtypes.string, "filenames")
    compression = _or_default("compression_type", compression_type, "", dtypes.string)
    defaults = convert_n_to_tensor(
        [constant([], d) if _is_csv_type(d) else d for d in record_defaults],
        name="record_defaults",
    )
    arguments = [
        _or_default("buffer_size", buffer_size, _CSV_BUFFER_BYTES),
        convert_to_tensor(header, dtypes.bool, "header"),
        convert_to_tensor(field_delim, dtypes.string, "field_delim"),
        convert_to_tensor(use_quote_delim, dtypes.bool, "use_quote_delim"),
        convert_to_tensor(na_value, dtypes.string, "na_value"),
        _or_default("select_cols", select_cols, []),
    ]
    spec = tuple(TensorSpec([], d.dtype) for d in defaults)
    shapes = structure.flat_shapes(spec)
    variant = raw.CSVDataset(names, compression, *arguments, defaults, output_shapes=shapes)
    return Recipe(variant, spec)


def _is_csv_type(value: Any) -> bool:
    return not isinstance(value, (Tensor, list, tuple)) and any(value is t for t in CSV_TYPES)
