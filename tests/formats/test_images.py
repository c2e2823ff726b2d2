"""Image files that are cut off."""

from __future__ import annotations

import io

import numpy as np
import pytest

from flowmesh.core import errors
from flowmesh.formats import images

pillow = pytest.importorskip("PIL.Image")


def test_a_gif_that_is_cut_off() -> None:
    frames = [pillow.fromarray(np.full((8, 9, 3), shade, np.uint8)) for shade in (10, 200)]
    out = io.BytesIO()
    frames[0].save(out, "GIF", save_all=True, append_images=frames[1:])
    whole = out.getvalue()
    assert images.decode_gif(whole).shape == (2, 8, 9, 3)
    for part in (whole[:8], whole[: len(whole) - 12], b"GIF89axx"):
        with pytest.raises(errors.InvalidArgumentError, match=r"Invalid GIF data \(size \d+\)"):
            images.decode_gif(part)


def test_a_jpeg_that_is_cut_off() -> None:
    pixels = np.random.RandomState(0).randint(0, 255, (64, 16, 3)).astype(np.uint8)
    whole = images.encode_jpeg(pixels)
    with pytest.raises(errors.InvalidArgumentError, match="Invalid JPEG data"):
        images.decode_jpeg(whole[: len(whole) // 2], 3)
    part = images.decode_jpeg(whole[: len(whole) * 5 // 6], 3, truncated=True)
    assert part.shape == (64, 16, 3)
    assert (part[:16] == images.decode_jpeg(whole, 3)[:16]).all()
