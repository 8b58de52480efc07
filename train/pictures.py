"""Pictures: photographs told from drawings, twins found, tiles and cut-outs cut."""

from pathlib import Path

import cv2
import numpy as np

from edge.types import Array, Image

SUFFIXES = (".jpg", ".jpeg", ".png", ".webp", ".tif", ".ppm")
EMPTY = 0.7  # a tile that is flat to this share shows nothing
FLAT_SHARE, FEW_COLOURS, ONE_COLOUR = 0.6, 120, 0.85
"""A drawing: at least so much of it is flat or an even gradient, or it has fewer colours, or eight
colours make up so much of it. A coarse sieve: see docs/data.md."""


def read(path: Path) -> Image | None:
    """Return (height, width, 3 or 4) RGB or RGBA; None where it is no picture that can be read."""
    image = cv2.imdecode(np.fromfile(path, np.uint8), cv2.IMREAD_UNCHANGED)
    if image is None or image.dtype != np.uint8:
        return None
    channels = image.shape[2] if image.ndim == 3 else 1
    way = {1: cv2.COLOR_GRAY2RGB, 3: cv2.COLOR_BGR2RGB, 4: cv2.COLOR_BGRA2RGBA}[channels]
    return np.asarray(cv2.cvtColor(image, way), np.uint8)


def _flat_share(image: Image) -> float:
    grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY).astype(np.float32)
    return float((np.abs(cv2.Laplacian(grey, cv2.CV_32F)) < 1.5).mean())


def is_photograph(image: Image, mask: Image | None = None) -> bool:
    """Tell a photograph from a drawing, a plot or a screenshot.

    Args:
        image: (height, width, 3) RGB.
        mask: (height, width), where it counts; None for everywhere.
    """
    scale = 256 / min(image.shape[:2])
    small = cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA)
    grey = cv2.cvtColor(small, cv2.COLOR_RGB2GRAY).astype(np.float32)
    counted = np.ones(grey.shape, bool)
    if mask is not None:
        counted = cv2.resize(mask, grey.shape[::-1], interpolation=cv2.INTER_AREA) > 200
    if counted.sum() < 64:
        return False
    flat = (np.abs(cv2.Laplacian(grey, cv2.CV_32F))[counted] < 1.5).mean()
    bins = (small[counted] // 16).astype(int) @ (256, 16, 1)  # (pixels,) 16 steps a channel
    counts = np.sort(np.bincount(bins, minlength=4096))[::-1]
    few = FEW_COLOURS // (1 if mask is None else 3)  # a thing has fewer colours than a view
    return bool(
        flat < FLAT_SHARE
        and (counts > 0).sum() >= few
        and counts[:8].sum() < ONE_COLOUR * counts.sum()
    )


def fingerprint(image: Image) -> Array:
    """Return (256,) bits that twins share: the same picture in another size, crop or coding."""
    grey = cv2.cvtColor(np.ascontiguousarray(image[..., :3]), cv2.COLOR_RGB2GRAY)
    small = cv2.resize(grey, (17, 16), interpolation=cv2.INTER_AREA).astype(int)
    bits: Array = (small[:, 1:] > small[:, :-1]).ravel()
    return bits


def _tiling_scale(height: int, width: int, size: int, most: int) -> float:
    """Return the smallest scale that gives the most tiles, of those that give no more than that."""
    smallest = size / min(height, width)
    scales = [size * n / side for n in range(1, most + 1) for side in (height, width)]
    counts = {
        scale: int(height * scale / size + 1e-6) * int(width * scale / size + 1e-6)
        for scale in sorted(scales)
        if smallest <= scale <= 1
    }
    allowed = {scale: count for scale, count in counts.items() if count <= most}
    return max(allowed, key=lambda scale: allowed[scale]) if allowed else smallest


def tiles(image: Image, size: int, most: int) -> list[Image]:
    """Cut a photograph into squares that do not overlap, after making it smaller where it is large.

    Args:
        image: (height, width, 3) RGB.
        size: Pixels a side.
        most: At most so many, spread evenly; flat ones are left out.

    Returns:
        (size, size, 3) each; a photograph smaller than a tile is enlarged to one.
    """
    height, width = image.shape[:2]
    scale = _tiling_scale(height, width, size, most)
    way = cv2.INTER_AREA if scale < 1 else cv2.INTER_CUBIC
    new = (max(size, round(width * scale)), max(size, round(height * scale)))
    image = np.asarray(cv2.resize(image, new, interpolation=way), np.uint8)
    down, across = image.shape[0] // size, image.shape[1] // size
    tops = np.linspace(0, image.shape[0] - size, down).astype(int)
    lefts = np.linspace(0, image.shape[1] - size, across).astype(int)
    cut = [image[top : top + size, left : left + size] for top in tops for left in lefts]
    return [tile for tile in cut[:most] if _flat_share(tile) < EMPTY]


def cut_out(image: Image, size: int) -> tuple[Image, float] | None:
    """Trim a thing to its opaque part and stretch that to a square.

    Args:
        image: (height, width, 4) RGBA.
        size: Pixels a side of the result.

    Returns:
        (size, size, 4) and width / height of the thing; None where it is too small, nearly empty,
        full to the corners, or drawn.
    """
    opaque = image[..., 3] > 127
    if not opaque.any():
        return None
    rows, columns = np.flatnonzero(opaque.any(1)), np.flatnonzero(opaque.any(0))
    part = image[rows[0] : rows[-1] + 1, columns[0] : columns[-1] + 1]
    height, width = part.shape[:2]
    share = (part[..., 3] > 127).mean()
    if min(height, width) < 48 or not 0.25 < share < 0.98 or not 0.25 < width / height < 4:
        return None
    colours, alpha = np.ascontiguousarray(part[..., :3]), np.ascontiguousarray(part[..., 3])
    if not is_photograph(colours, alpha):
        return None
    weights = alpha[..., None] / np.float32(255)
    way = cv2.INTER_AREA if min(height, width) >= size else cv2.INTER_LINEAR
    solid = cv2.resize(colours * weights, (size, size), interpolation=way)  # premultiplied
    cover = cv2.resize(weights[..., 0], (size, size), interpolation=way)[..., None]
    colours = np.clip(solid / np.maximum(cover, 1e-3), 0, 255)
    return np.rint(np.concatenate([colours, cover * 255], 2)).astype(np.uint8), width / height
