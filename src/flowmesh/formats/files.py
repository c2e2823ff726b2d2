"""Writing files so that readers never see half of one."""

from __future__ import annotations

import contextlib
import os
import uuid


def write_atomically(path: str, data: bytes) -> None:
    """Writes a file; readers see the old content or all of the new."""
    temporary = f"{path}.tmp{uuid.uuid4().hex}"
    try:
        with open(temporary, "wb") as file:
            file.write(data)
        os.replace(temporary, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.remove(temporary)
        raise
