"""`tf.contrib.framework`: argument scopes, variables by name, nested structures, the global step."""

from __future__ import annotations

from flowmesh.api import (
    nest as nest,
)
from flowmesh.frontend.contrib_framework import (
    add_arg_scope as add_arg_scope,
    add_model_variable as add_model_variable,
    arg_scope as arg_scope,
    arg_scope_func_key as arg_scope_func_key,
    arg_scoped_arguments as arg_scoped_arguments,
    current_arg_scope as current_arg_scope,
    filter_variables as filter_variables,
    get_local_variables as get_local_variables,
    get_model_variables as get_model_variables,
    get_name_scope as get_name_scope,
    get_trainable_variables as get_trainable_variables,
    get_unique_variable as get_unique_variable,
    get_variable_full_name as get_variable_full_name,
    get_variables as get_variables,
    get_variables_by_name as get_variables_by_name,
    get_variables_by_suffix as get_variables_by_suffix,
    get_variables_to_restore as get_variables_to_restore,
    global_variable as global_variable,
    has_arg_scope as has_arg_scope,
    local_variable as local_variable,
    model_variable as model_variable,
    variable as variable,
)
from flowmesh.frontend.graph_functions import (
    is_tensor as is_tensor,
)
from flowmesh.frontend.smart_cond import (
    smart_cond as smart_cond,
)
from flowmesh.ops.control import (
    with_dependencies as with_dependencies,
)
from flowmesh.training.global_step import (
    assert_global_step as assert_global_step,
    create_global_step as create_global_step,
    get_global_step as get_global_step,
    get_or_create_global_step as get_or_create_global_step,
)

__all__ = [
    "add_arg_scope",
    "add_model_variable",
    "arg_scope",
    "arg_scope_func_key",
    "arg_scoped_arguments",
    "assert_global_step",
    "create_global_step",
    "current_arg_scope",
    "filter_variables",
    "get_global_step",
    "get_local_variables",
    "get_model_variables",
    "get_name_scope",
    "get_or_create_global_step",
    "get_trainable_variables",
    "get_unique_variable",
    "get_variable_full_name",
    "get_variables",
    "get_variables_by_name",
    "get_variables_by_suffix",
    "get_variables_to_restore",
    "global_variable",
    "has_arg_scope",
    "is_tensor",
    "local_variable",
    "model_variable",
    "nest",
    "smart_cond",
    "variable",
    "with_dependencies",
]
