"""The visibility kernel: triangles in, nearest triangle per pixel out. Colour comes later, once per pixel.

Camera frame: X along the optical axis, Y right, Z up, metres. A pixel (x, y), both from the upper left corner, looks
along (1, (x + 0.5 - W/2) / f, -(y + 0.5 - H/2) / f). On that ray the plane through a triangle has an inverse depth
1/X that is linear in x and y, so three numbers per triangle give its exact depth at any pixel or fraction of one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from numba import njit

JIT: dict[str, Any] = {
    "cache": True,
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"contract", "nsz", "arcp", "nnan"},
}

TWO_SIDED = 1
PAINT = 2
NO_TRIANGLE = -1


@njit(**JIT)
def _clip_near(tri, near, poly):
    """Cut the camera-frame triangle (3, 3) at X = near into `poly`; returns the number of corners (0, 3 or 4).

    A cut edge is always walked from its visible to its hidden end, so neighbours sharing it agree to the last bit.
    """
    count = 0
    for i in range(3):
        j = (i + 1) % 3
        inside_i = tri[i, 0] >= near
        inside_j = tri[j, 0] >= near
        if inside_i:
            for k in range(3):
                poly[count, k] = tri[i, k]
            count += 1
        if inside_i != inside_j:
            a, b = (i, j) if inside_i else (j, i)
            t = (near - tri[a, 0]) / (tri[b, 0] - tri[a, 0])
            for k in range(3):
                poly[count, k] = tri[a, k] + t * (tri[b, k] - tri[a, k])
            poly[count, 0] = near
            count += 1
    return count


@njit(**JIT)
def _project(poly, count, focal, center_x, center_y):
    """Replace Y and Z of camera-frame corners by pixel coordinates, in place."""
    for i in range(count):
        inv = focal / poly[i, 0]
        poly[i, 1] = center_x + poly[i, 1] * inv
        poly[i, 2] = center_y - poly[i, 2] * inv


@njit(**JIT)
def scan_rows(poly, count, height, left, right):
    """Note per row where a convex polygon begins and ends.

    Args:
        poly: (>= count, 3) corners; columns 1 and 2 are x and y, pixels.
        count: Corners.
        height: Rows; row r has its middle at y = r + 0.5.
        left, right: (height,) out, x of the two borders at the middle of each row touched.

    Returns:
        First row and end row.
    """
    low, high = 1e30, -1e30
    for i in range(count):
        low = min(low, poly[i, 2])
        high = max(high, poly[i, 2])
    first = max(int(np.ceil(max(low, -1.0) - 0.5)), 0)
    end = min(int(np.ceil(min(high, height + 1.0) - 0.5)), height)
    for row in range(first, end):
        left[row] = 1e30
        right[row] = -1e30
    for i in range(count):
        j = i + 1 if i + 1 < count else 0
        if poly[i, 2] < poly[j, 2]:
            x0, y0, x1, y1 = poly[i, 1], poly[i, 2], poly[j, 1], poly[j, 2]
        else:
            x0, y0, x1, y1 = poly[j, 1], poly[j, 2], poly[i, 1], poly[i, 2]
        ra = max(first, int(np.ceil(max(y0, -1.0) - 0.5)))
        rb = min(end, int(np.ceil(min(y1, height + 1.0) - 0.5)))
        if rb <= ra:
            continue
        slope = (x1 - x0) / (y1 - y0)
        for row in range(ra, rb):
            x = x0 + (row + 0.5 - y0) * slope
            if x < left[row]:
                left[row] = x
            if x > right[row]:
                right[row] = x
    return first, end


@njit(**JIT)
def _fill(zbuf, ibuf, begin, end, w, step, number):
    """Keep the nearest of one row segment: larger inverse depth wins, the earlier triangle on a tie."""
    depths = zbuf[begin:end]
    ids = ibuf[begin:end]
    for i in range(depths.size):
        here = w + step * np.float32(i)
        if here > depths[i]:
            depths[i] = here
            ids[i] = number


@njit(**JIT)
def _to_camera(pos, t, m, tri):
    """Corners of triangle `t` in the camera frame: into tri (3, 3)."""
    for k in range(3):
        x, y, z = pos[t, 3 * k], pos[t, 3 * k + 1], pos[t, 3 * k + 2]
        tri[k, 0] = m[0] * x + m[1] * y + m[2] * z + m[3]
        tri[k, 1] = m[4] * x + m[5] * y + m[6] * z + m[7]
        tri[k, 2] = m[8] * x + m[9] * y + m[10] * z + m[11]


@njit(**JIT)
def _outside(tri, side, rise):
    """Whether all corners lie beyond one side of the field of view."""
    for axis in range(1, 3):
        slope = side if axis == 1 else rise
        if tri[0, axis] > slope * tri[0, 0] and tri[1, axis] > slope * tri[1, 0] and tri[2, axis] > slope * tri[2, 0]:
            return True
        if (
            -tri[0, axis] > slope * tri[0, 0]
            and -tri[1, axis] > slope * tri[1, 0]
            and -tri[2, axis] > slope * tri[2, 0]
        ):
            return True
    return False


@njit(**JIT)
def _fill_rows(zbuf, ibuf, first, end, left, right, width, a, b, c, number):
    """Fill the rows of a polygon; returns whether it covers the middle of any pixel."""
    drawn = False
    for row in range(first, end):
        xa = max(0, int(np.ceil(max(left[row], 0.0) - 0.5)))
        xb = min(width, int(np.ceil(min(right[row], width + 0.0) - 0.5)))
        if xb > xa:
            drawn = True
            w = np.float32(a * (xa + 0.5) + b * (row + 0.5) + c)
            _fill(zbuf, ibuf, row * width + xa, row * width + xb, w, np.float32(a), number)
    return drawn


@njit(**JIT)
def rasterize(pos, flags, starts, ends, mats, width, height, focal, near, zbuf, ibuf, src, drw, plane):
    """Draw triangle ranges into the visibility buffers.

    Args:
        pos: (T, 9) float32 corners of all triangles in their own frames, metres.
        flags: (T,) uint8, bits TWO_SIDED and PAINT.
        starts, ends: (D,) int64 half-open triangle range of each draw.
        mats: (D, 12) float32 row-major 3 x 4 matrix from each draw's frame to the camera frame.
        width, height: Pixels.
        focal: Pixels.
        near: Closest X drawn, metres.
        zbuf: (H * W,) float32 inverse depth; filled with 1/far beforehand.
        ibuf: (H * W,) int32 row in the tables below; filled with NO_TRIANGLE beforehand.
        src: (N,) int32 out, triangle of each row.
        drw: (N,) int32 out, draw of each row.
        plane: (N, 3) float32 out, inverse depth = a (x + 0.5) + b (y + 0.5) + c at pixel (x, y).

    Returns:
        Rows used, or -1 when the tables are too short; then enlarge them, clear the buffers and draw again.
    """
    center_x, center_y = width * 0.5, height * 0.5
    side, rise = center_x / focal, center_y / focal
    tri = np.empty((3, 3))
    poly = np.empty((4, 3))
    left = np.empty(height)
    right = np.empty(height)
    used = 0
    for d in range(starts.size):
        m = mats[d]
        for t in range(starts[d], ends[d]):
            _to_camera(pos, t, m, tri)
            x0, y0, z0 = tri[0, 0], tri[0, 1], tri[0, 2]
            x1, y1, z1 = tri[1, 0], tri[1, 1], tri[1, 2]
            x2, y2, z2 = tri[2, 0], tri[2, 1], tri[2, 2]
            if x0 < near and x1 < near and x2 < near:
                continue
            nx = (y1 - y0) * (z2 - z0) - (z1 - z0) * (y2 - y0)
            ny = (z1 - z0) * (x2 - x0) - (x1 - x0) * (z2 - z0)
            nz = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
            offset = nx * x0 + ny * y0 + nz * z0
            if offset > -1e-12 and (offset < 1e-12 or not flags[t] & TWO_SIDED):
                continue
            if _outside(tri, side, rise):
                continue
            if x0 >= near and x1 >= near and x2 >= near:
                poly[:3] = tri
                count = 3
            else:
                count = _clip_near(tri, near, poly)
            _project(poly, count, focal, center_x, center_y)
            first, end = scan_rows(poly, count, height, left, right)
            inv = 1.0 / offset
            a = ny * inv / focal
            b = -nz * inv / focal
            c = nx * inv - a * center_x - b * center_y
            if end > first and used == src.size:
                return -1
            if _fill_rows(zbuf, ibuf, first, end, left, right, width, a, b, c, np.int32(used)):
                src[used] = t
                drw[used] = d
                plane[used, 0] = a
                plane[used, 1] = b
                plane[used, 2] = c
                used += 1
    return used
