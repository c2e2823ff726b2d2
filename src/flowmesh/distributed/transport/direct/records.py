"""What a step says about itself (RunOptions, RunMetadata, StepStats), as a tensor beside those of the step: it may have any size."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any, TypeVar

import numpy as np
from google.protobuf.message import DecodeError, Message

from flowmesh.core import errors
from flowmesh.distributed.transport.direct import frames
from flowmesh.distributed.transport.direct.frames import Descriptor, Encoded

M = TypeVar("M", bound=Message)


def encode(message: Message) -> Encoded:
    """The message as a string."""
    return frames.encode(np.array(message.SerializeToString(), object))


def take(tensors: Sequence[Descriptor], kind: type[M]) -> tuple[Sequence[Descriptor], M]:
    """The tensors without the last, and the message that the last holds; InvalidArgumentError when it holds none."""
    *rest, last = tensors or (None,)
    try:
        data: Any = frames.decode(last).item() if last is not None else None
        return rest, kind.FromString(data)
    except (AttributeError, TypeError, ValueError, DecodeError) as error:
        raise errors.InvalidArgumentError(
            None, None, f"The last of the tensors is no {kind.__name__} message: {error}"
        ) from None
