"""Command-line flags: the names of `tf.flags` and `tf.app.flags`."""

from __future__ import annotations

from flowmesh.core.platform.flags import (
    FLAGS as FLAGS,
    DEFINE_alias as DEFINE_alias,
    DEFINE_bool as DEFINE_bool,
    DEFINE_boolean as DEFINE_boolean,
    DEFINE_enum as DEFINE_enum,
    DEFINE_float as DEFINE_float,
    DEFINE_integer as DEFINE_integer,
    DEFINE_list as DEFINE_list,
    DEFINE_multi_float as DEFINE_multi_float,
    DEFINE_multi_integer as DEFINE_multi_integer,
    DEFINE_multi_string as DEFINE_multi_string,
    DEFINE_string as DEFINE_string,
    Error as Error,
    FlagValues as FlagValues,
    mark_flag_as_required as mark_flag_as_required,
    mark_flags_as_required as mark_flags_as_required,
    register_validator as register_validator,
    validator as validator,
)
