"""Functions of elements: from Python code to a function of the graph's library that takes and gives the components."""

from __future__ import annotations

import inspect
from collections.abc import Callable
from typing import Any

from flowmesh.core.shapes import TensorShape
from flowmesh.frontend.data import structure
from flowmesh.graph.convert import convert_to_tensor
from flowmesh.graph.functions import trace, unique_function_name
from flowmesh.graph.graph import get_default_graph
from flowmesh.graph.tensor import Tensor


class StructuredFunction:
    """A Python function of elements, traced: `function` has the components as arguments, `output_spec` is that of its result."""

    def __init__(
        self,
        function: Callable[..., Any],
        transformation: str,
        input_spec: Any,
        add_to_graph: bool = True,
    ) -> None:
        """`transformation` is what calls it, as messages say ("Dataset.map()").

        Raises TypeError for a result that is no element, and what the function raises.
        """
        self.output_spec: Any = None
        base = transformation.replace(".", "_")[:-2]

        def body(*arguments: Tensor) -> list[Tensor]:
            nested = structure.from_tensors(input_spec, arguments)
            # Only plain tuples are several arguments.
            result = function(*nested) if type(nested) is tuple else function(nested)
            if isinstance(result, list):
                result = tuple(result)
            try:
                self.output_spec = structure.spec_of(result)
            except NotImplementedError:
                raise
            except (TypeError, ValueError):
                raise TypeError(
                    f"Unsupported return value from function passed to {transformation}: {result}."
                ) from None
            return [convert_to_tensor(t) for t in structure.to_tensors(self.output_spec, result)]

        self.function = trace(
            body,
            unique_function_name(f"{base}_{function_name(function)}"),
            structure.flat_types(input_spec),
            [TensorShape(shape) for shape in structure.flat_shapes(input_spec)],
        )
        if add_to_graph:
            get_default_graph().add_function(self.function)

    @property
    def captured(self) -> list[Tensor]:
        """The tensors that the function takes from outside."""
        return list(self.function.captured)

    @property
    def takes_refs(self) -> bool:
        """Whether it takes values of ref variables."""
        return any(_comes_from_ref(t, set()) for t in self.function.captured)


def _comes_from_ref(tensor: Tensor, seen: set[Tensor]) -> bool:
    if tensor.dtype._is_ref_dtype:
        return True
    if tensor in seen:
        return False
    seen.add(tensor)
    return any(_comes_from_ref(t, seen) for t in tensor.op.inputs)


def function_name(function: Callable[..., Any]) -> str:
    """What TensorFlow calls a function: its name, "Class.method", or the class of a callable object."""
    if inspect.ismethod(function):
        return f"{type(function.__self__).__name__}.{function.__func__.__name__}"
    if inspect.isfunction(function):
        return function.__name__
    return str(type(function))
