"""The crop: the part of a frame that the tracker looks at. Training and the runtime share it.

The geometry, exactly. A frame's pixel (i, j) covers [j, j + 1) x [i, i + 1), so that its centre is
at (j + .5, i + .5); boxes are left, top, right, bottom in that plane. The region of a box is its
centre; its width is context * w ** (1 - square) * s ** square, s the root of w * h, its height
likewise. So 0 warps width and height separately and 1 cuts a square; in any case the crop becomes a
square, and the region's area is context ** 2 times the box's. Output pixel (i, j) of n shows the
frame at

    x = region.left + (j + .5) * region.width / n,    y likewise,

bilinear between the four pixel centres around it. Where x or y is nearer to the frame's edge than
half a pixel, or beyond it, the edge's pixel is repeated. No low-pass filter: a region larger than
n pixels is sampled, not averaged, as `cv2.warpAffine` does.
"""

import torch
from torch import Tensor
from torch.nn import functional


def region(boxes: Tensor, context: float, square: float) -> Tensor:
    """Return what a crop covers.

    Args:
        boxes: (..., 4) left, top, right, bottom in frame pixels; each must have an area.
        context: How many times the box: the root of the ratio of their areas.
        square: 0: of the box's shape, to 1: a square.

    Returns:
        (..., 4) likewise.
    """
    centre = (boxes[..., :2] + boxes[..., 2:]) / 2  # (..., 2)
    size = boxes[..., 2:] - boxes[..., :2]  # (..., 2)
    side = size.prod(-1, keepdim=True).sqrt()  # (..., 1)
    half = size * (side / size) ** square * (context / 2)  # (..., 2)
    return torch.cat([centre - half, centre + half], -1)  # (..., 4)


def crop(frames: Tensor, views: Tensor, size: int) -> Tensor:
    """Cut a square out of each frame.

    Args:
        frames: (B, C, H, W) float.
        views: (B, 4) left, top, right, bottom in frame pixels, as `region` gives them.
        size: Pixels a side of the result.

    Returns:
        (B, C, size, size).
    """
    height, width = frames.shape[-2:]
    x, y = view_points(views, size, size)  # (B, size), (B, size)
    x = x * (2 / width) - 1  # (B, size) -1..1 from edge to edge
    y = y * (2 / height) - 1  # (B, size)
    grid = torch.stack(torch.broadcast_tensors(x[:, None, :], y[:, :, None]), -1)  # (B, s, s, 2)
    return functional.grid_sample(
        frames, grid, mode="bilinear", padding_mode="border", align_corners=False
    )  # (B, C, size, size)


def view_points(views: Tensor, height: int, width: int) -> tuple[Tensor, Tensor]:
    """Return where the pixel centres of views stand in the frame.

    Args:
        views: (..., 4) left, top, right, bottom in frame pixels.
        height: Pixels of the view.
        width: Likewise.

    Returns:
        x (..., width) and y (..., height) in frame pixels.
    """
    across = (torch.arange(width, device=views.device) + 0.5) / width  # (width,)
    down = (torch.arange(height, device=views.device) + 0.5) / height  # (height,)
    size = views[..., 2:] - views[..., :2]  # (..., 2)
    x = views[..., 0:1] + size[..., 0:1] * across  # (..., width)
    y = views[..., 1:2] + size[..., 1:2] * down  # (..., height)
    return x, y


def to_view(boxes: Tensor, views: Tensor, size: int) -> Tensor:
    """Map boxes from frame pixels to the pixels of square views.

    Args:
        boxes: (..., 4) left, top, right, bottom.
        views: (..., 4) likewise.
        size: Pixels a side of a view.
    """
    origin, extent = views[..., :2], views[..., 2:] - views[..., :2]  # (..., 2), (..., 2)
    corners = (boxes.unflatten(-1, (2, 2)) - origin[..., None, :]) / extent[..., None, :]
    return corners.flatten(-2) * size  # (..., 4)
