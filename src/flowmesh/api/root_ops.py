"""The ops among the names of `import flowmesh as tf` itself."""

from __future__ import annotations

from flowmesh.core.platform.tf_logging import (
    get_logger as get_logger,
)
from flowmesh.ops.accumulator_ops import (
    ConditionalAccumulator as ConditionalAccumulator,
    ConditionalAccumulatorBase as ConditionalAccumulatorBase,
    SparseConditionalAccumulator as SparseConditionalAccumulator,
)
from flowmesh.ops.assertions import (
    add_check_numerics_ops as add_check_numerics_ops,
    assert_equal as assert_equal,
    assert_greater as assert_greater,
    assert_greater_equal as assert_greater_equal,
    assert_integer as assert_integer,
    assert_less as assert_less,
    assert_less_equal as assert_less_equal,
    assert_near as assert_near,
    assert_negative as assert_negative,
    assert_non_negative as assert_non_negative,
    assert_non_positive as assert_non_positive,
    assert_none_equal as assert_none_equal,
    assert_positive as assert_positive,
    assert_rank as assert_rank,
    assert_rank_at_least as assert_rank_at_least,
    assert_rank_in as assert_rank_in,
    assert_scalar as assert_scalar,
    assert_type as assert_type,
    is_numeric_tensor as is_numeric_tensor,
)
from flowmesh.ops.cast import (
    bitcast as bitcast,
    cast as cast,
    saturate_cast as saturate_cast,
    to_bfloat16 as to_bfloat16,
    to_complex64 as to_complex64,
    to_complex128 as to_complex128,
    to_double as to_double,
    to_float as to_float,
    to_int32 as to_int32,
    to_int64 as to_int64,
)
from flowmesh.ops.clip import (
    clip_by_average_norm as clip_by_average_norm,
    clip_by_global_norm as clip_by_global_norm,
    clip_by_norm as clip_by_norm,
    clip_by_value as clip_by_value,
    global_norm as global_norm,
)
from flowmesh.ops.comparison import (
    argmax as argmax,
    argmin as argmin,
    equal as equal,
    greater as greater,
    greater_equal as greater_equal,
    is_finite as is_finite,
    is_inf as is_inf,
    is_nan as is_nan,
    less as less,
    less_equal as less_equal,
    logical_and as logical_and,
    logical_not as logical_not,
    logical_or as logical_or,
    logical_xor as logical_xor,
    not_equal as not_equal,
)
from flowmesh.ops.concat import (
    parallel_stack as parallel_stack,
)
from flowmesh.ops.constant import (
    constant as constant,
)
from flowmesh.ops.contraction import (
    einsum as einsum,
    tensordot as tensordot,
)
from flowmesh.ops.control import (
    group as group,
    no_op as no_op,
    tuple as tuple,
)
from flowmesh.ops.control_flow import (
    Assert as Assert,
    case as case,
    cond as cond,
)
from flowmesh.ops.data_flow import (
    FIFOQueue as FIFOQueue,
    PaddingFIFOQueue as PaddingFIFOQueue,
    PriorityQueue as PriorityQueue,
    QueueBase as QueueBase,
    RandomShuffleQueue as RandomShuffleQueue,
)
from flowmesh.ops.decode_csv import (
    decode_csv as decode_csv,
)
from flowmesh.ops.diagonal import (
    diag as diag,
    diag_part as diag_part,
    matrix_band_part as matrix_band_part,
    matrix_diag as matrix_diag,
    matrix_diag_part as matrix_diag_part,
    matrix_set_diag as matrix_set_diag,
)
from flowmesh.ops.dynamic import (
    dynamic_partition as dynamic_partition,
    dynamic_stitch as dynamic_stitch,
)
from flowmesh.ops.elementwise import (
    acos as acos,
    acosh as acosh,
    asin as asin,
    asinh as asinh,
    atan as atan,
    atanh as atanh,
    ceil as ceil,
    cos as cos,
    cosh as cosh,
    digamma as digamma,
    erf as erf,
    erfc as erfc,
    exp as exp,
    expm1 as expm1,
    floor as floor,
    lgamma as lgamma,
    log as log,
    log1p as log1p,
    negative as negative,
    reciprocal as reciprocal,
    rint as rint,
    round as round,
    rsqrt as rsqrt,
    sigmoid as sigmoid,
    sign as sign,
    sin as sin,
    sinh as sinh,
    sqrt as sqrt,
    square as square,
    tan as tan,
    tanh as tanh,
)
from flowmesh.ops.fill import (
    broadcast_to as broadcast_to,
    fill as fill,
    ones as ones,
    ones_like as ones_like,
    zeros as zeros,
    zeros_like as zeros_like,
)
from flowmesh.ops.finite import (
    verify_tensor_all_finite as verify_tensor_all_finite,
)
from flowmesh.ops.gather import (
    batch_gather as batch_gather,
    gather as gather,
    gather_nd as gather_nd,
)
from flowmesh.ops.identity import (
    check_numerics as check_numerics,
    ensure_shape as ensure_shape,
    identity as identity,
    identity_n as identity_n,
    stop_gradient as stop_gradient,
)
from flowmesh.ops.image_patches import (
    extract_image_patches as extract_image_patches,
)
from flowmesh.ops.io_ops import (
    matching_files as matching_files,
    read_file as read_file,
    write_file as write_file,
)
from flowmesh.ops.logging_ops import (
    Print as Print,
    print_v2 as print,
)
from flowmesh.ops.masks import (
    boolean_mask as boolean_mask,
    meshgrid as meshgrid,
    sequence_mask as sequence_mask,
)
from flowmesh.ops.math_extra import (
    bincount as bincount,
    cross as cross,
    histogram_fixed_width as histogram_fixed_width,
    histogram_fixed_width_bins as histogram_fixed_width_bins,
    linspace as lin_space,
    linspace as linspace,
)
from flowmesh.ops.math_functions import (
    abs as abs,
    accumulate_n as accumulate_n,
    add as add,
    add_n as add_n,
    angle as angle,
    atan2 as atan2,
    complex as complex,
    conj as conj,
    div as div,
    div_no_nan as div_no_nan,
    divide as divide,
    floor_div as floor_div,
    floordiv as floordiv,
    floormod as floormod,
    imag as imag,
    log_sigmoid as log_sigmoid,
    maximum as maximum,
    minimum as minimum,
    mod as mod,
    multiply as multiply,
    pow as pow,
    real as real,
    realdiv as realdiv,
    scalar_mul as scalar_mul,
    squared_difference as squared_difference,
    subtract as subtract,
    truediv as truediv,
    truncatediv as truncatediv,
    truncatemod as truncatemod,
)
from flowmesh.ops.matmul import (
    matmul as matmul,
    sparse_matmul as sparse_matmul,
)
from flowmesh.ops.matrix_functions import (
    cholesky as cholesky,
    cholesky_solve as cholesky_solve,
    eye as eye,
    matrix_determinant as matrix_determinant,
    matrix_inverse as matrix_inverse,
    matrix_solve as matrix_solve,
    matrix_transpose as matrix_transpose,
    matrix_triangular_solve as matrix_triangular_solve,
    norm as norm,
    qr as qr,
    self_adjoint_eig as self_adjoint_eig,
    self_adjoint_eigvals as self_adjoint_eigvals,
    svd as svd,
    trace as trace,
)
from flowmesh.ops.pad import (
    pad as pad,
    tile as tile,
)
from flowmesh.ops.parsing_functions import (
    FixedLenFeature as FixedLenFeature,
    FixedLenSequenceFeature as FixedLenSequenceFeature,
    SparseFeature as SparseFeature,
    VarLenFeature as VarLenFeature,
    decode_compressed as decode_compressed,
    decode_json_example as decode_json_example,
    parse_example as parse_example,
    parse_single_example as parse_single_example,
    parse_single_sequence_example as parse_single_sequence_example,
)
from flowmesh.ops.placeholder import (
    placeholder as placeholder,
    placeholder_with_default as placeholder_with_default,
)
from flowmesh.ops.py_func import (
    numpy_function as numpy_function,
    py_func as py_func,
)
from flowmesh.ops.random_ops import (
    multinomial as multinomial,
    random_crop as random_crop,
    random_gamma as random_gamma,
    random_normal as random_normal,
    random_shuffle as random_shuffle,
    random_uniform as random_uniform,
    truncated_normal as truncated_normal,
)
from flowmesh.ops.reader_ops import (
    FixedLengthRecordReader as FixedLengthRecordReader,
    IdentityReader as IdentityReader,
    ReaderBase as ReaderBase,
    TextLineReader as TextLineReader,
    TFRecordReader as TFRecordReader,
    WholeFileReader as WholeFileReader,
)
from flowmesh.ops.reduce_functions import (
    count_nonzero as count_nonzero,
    cumprod as cumprod,
    cumsum as cumsum,
    reduce_all as reduce_all,
    reduce_any as reduce_any,
    reduce_logsumexp as reduce_logsumexp,
    reduce_max as reduce_max,
    reduce_mean as reduce_mean,
    reduce_min as reduce_min,
    reduce_prod as reduce_prod,
    reduce_sum as reduce_sum,
)
from flowmesh.ops.reshape import (
    expand_dims as expand_dims,
    reshape as reshape,
    squeeze as squeeze,
)
from flowmesh.ops.reverse import (
    reverse as reverse,
    reverse as reverse_v2,
    reverse_sequence as reverse_sequence,
)
from flowmesh.ops.scatter import (
    scatter_add as scatter_add,
    scatter_div as scatter_div,
    scatter_max as scatter_max,
    scatter_min as scatter_min,
    scatter_mul as scatter_mul,
    scatter_nd_add as scatter_nd_add,
    scatter_nd_sub as scatter_nd_sub,
    scatter_nd_update as scatter_nd_update,
    scatter_sub as scatter_sub,
    scatter_update as scatter_update,
)
from flowmesh.ops.scatter_nd import (
    scatter_nd as scatter_nd,
    tensor_scatter_add as tensor_scatter_add,
    tensor_scatter_add as tensor_scatter_nd_add,
    tensor_scatter_sub as tensor_scatter_nd_sub,
    tensor_scatter_sub as tensor_scatter_sub,
    tensor_scatter_update as tensor_scatter_nd_update,
    tensor_scatter_update as tensor_scatter_update,
)
from flowmesh.ops.segment_functions import (
    segment_max as segment_max,
    segment_mean as segment_mean,
    segment_min as segment_min,
    segment_prod as segment_prod,
    segment_sum as segment_sum,
    sparse_segment_mean as sparse_segment_mean,
    sparse_segment_sqrt_n as sparse_segment_sqrt_n,
    sparse_segment_sum as sparse_segment_sum,
    unsorted_segment_max as unsorted_segment_max,
    unsorted_segment_mean as unsorted_segment_mean,
    unsorted_segment_min as unsorted_segment_min,
    unsorted_segment_prod as unsorted_segment_prod,
    unsorted_segment_sqrt_n as unsorted_segment_sqrt_n,
    unsorted_segment_sum as unsorted_segment_sum,
)
from flowmesh.ops.sequence import (
    one_hot as one_hot,
    range as range,
)
from flowmesh.ops.shape_ops import (
    broadcast_dynamic_shape as broadcast_dynamic_shape,
    broadcast_static_shape as broadcast_static_shape,
    rank as rank,
    shape as shape,
    shape_n as shape_n,
    size as size,
)
from flowmesh.ops.slicing import (
    slice_ as slice,
    strided_slice as strided_slice,
)
from flowmesh.ops.space import (
    batch_to_space as batch_to_space,
    batch_to_space_nd as batch_to_space_nd,
    depth_to_space as depth_to_space,
    required_space_to_batch_paddings as required_space_to_batch_paddings,
    space_to_batch as space_to_batch,
    space_to_batch_nd as space_to_batch_nd,
    space_to_depth as space_to_depth,
)
from flowmesh.ops.sparse_merge import (
    sparse_merge as sparse_merge,
    sparse_reorder as sparse_reorder,
)
from flowmesh.ops.sparse_serialize import (
    deserialize_many_sparse as deserialize_many_sparse,
    parse_tensor as parse_tensor,
    serialize_many_sparse as serialize_many_sparse,
    serialize_sparse as serialize_sparse,
    serialize_tensor as serialize_tensor,
)
from flowmesh.ops.sparse_values import (
    sparse_placeholder as sparse_placeholder,
    sparse_tensor_to_dense as sparse_tensor_to_dense,
    sparse_to_dense as sparse_to_dense,
)
from flowmesh.ops.special_functions import (
    betainc as betainc,
    igamma as igamma,
    igammac as igammac,
    lbeta as lbeta,
    polygamma as polygamma,
    zeta as zeta,
)
from flowmesh.ops.stack import (
    stack as stack,
    unstack as unstack,
)
from flowmesh.ops.state import (
    assign as assign,
    assign_add as assign_add,
    assign_sub as assign_sub,
    count_up_to as count_up_to,
)
from flowmesh.ops.string_hash import (
    string_to_hash_bucket as string_to_hash_bucket,
    string_to_hash_bucket_fast as string_to_hash_bucket_fast,
    string_to_hash_bucket_strong as string_to_hash_bucket_strong,
)
from flowmesh.ops.string_numbers import (
    as_string as as_string,
    decode_base64 as decode_base64,
    decode_raw as decode_raw,
    encode_base64 as encode_base64,
    string_to_number as string_to_number,
)
from flowmesh.ops.string_regex import (
    regex_replace as regex_replace,
)
from flowmesh.ops.string_split import (
    string_split as string_split,
)
from flowmesh.ops.strings import (
    reduce_join as reduce_join,
    string_join as string_join,
    string_strip as string_strip,
    substr as substr,
)
from flowmesh.ops.tensor_array import (
    TensorArray as TensorArray,
)
from flowmesh.ops.transpose import (
    invert_permutation as invert_permutation,
    transpose as transpose,
)
from flowmesh.ops.unique import (
    setdiff1d as listdiff,
    setdiff1d as setdiff1d,
    unique as unique,
    unique_with_counts as unique_with_counts,
    where as where,
)
from flowmesh.ops.while_loop import (
    while_loop as while_loop,
)

__all__ = sorted(n for n in globals() if not n.startswith("_") and n != "annotations")  # noqa: PLE0605
