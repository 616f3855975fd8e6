"""The visibility kernel: triangles in, nearest triangle per pixel out. Colour comes later, once per pixel.

Camera frame: X along the optical axis, Y right, Z up, metres. A pixel (x, y), both from the upper left corner, looks
along (1, (x + 0.5 - W/2) / f, -(y + 0.5 - H/2) / f). On that ray the plane through a triangle has an inverse depth
1/X that is linear in x and y, so three numbers per triangle give its exact depth at any pixel or fraction of one.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import cgutils, types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array

JIT: dict[str, Any] = {
    "cache": True,
    "nogil": True,
    "error_model": "numpy",
    "fastmath": {"contract", "nsz", "arcp", "nnan"},
    # Each kernel becomes one piece of machine code. A function that is called instead lies beside every caller once, each copy
    # with other roundings, and which one runs depends on whether the kernel was just compiled or came from the disk.
    "forceinline": True,
}

TWO_SIDED = 1
PAINT = 2
NO_TRIANGLE = -1
LANES = 16  # pixels of one vector, and between exact values of what changes slowly
ROWS = 8  # rows scanned at once
BATCH = 128  # triangles tested at once


def _borrowed(typing_context, arrays):
    """The same arrays (one, or tuples of them) without their reference counts, which inner loops then need not keep.

    The owners must outlive them: those who call from Python hold every array until the call returns.
    """

    def bare(context, builder, kind, value):
        if isinstance(kind, types.Tuple | types.UniTuple):
            parts = [bare(context, builder, part, builder.extract_value(value, i)) for i, part in enumerate(kind.types)]
            return context.make_tuple(builder, kind, parts)
        struct = make_array(kind)(context, builder, value=value)
        struct.meminfo = cgutils.get_null_value(struct.meminfo.type)
        struct.parent = cgutils.get_null_value(struct.parent.type)
        return struct._getvalue()

    def code(context, builder, signature, values):
        return bare(context, builder, signature.return_type, values[0])

    return arrays(arrays), code


borrowed: Any = intrinsic(_borrowed)


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
def _row_range(poly, count, height):
    """First and end row whose middles a polygon may touch; see `scan_rows`."""
    low, high = 1e30, -1e30
    for i in range(count):
        low = min(low, poly[i, 2])
        high = max(high, poly[i, 2])
    first = max(int(np.ceil(max(low, -1.0) - 0.5)), 0)
    return first, min(int(np.ceil(min(high, height + 1.0) - 0.5)), height)


@njit(**JIT)
def _edge(poly, i, j, first, end, height):
    """The side from corner `i` to `j` within some rows: x and y of its upper end, its slope, first and end row of its own."""
    if poly[i, 2] < poly[j, 2]:
        x0, y0, x1, y1 = poly[i, 1], poly[i, 2], poly[j, 1], poly[j, 2]
    else:
        x0, y0, x1, y1 = poly[j, 1], poly[j, 2], poly[i, 1], poly[i, 2]
    ra = max(first, int(np.ceil(max(y0, -1.0) - 0.5)))
    rb = min(end, int(np.ceil(min(y1, height + 1.0) - 0.5)))
    if rb <= ra:
        return 0.0, 0.0, 0.0, 0.0, 0.0
    return x0, y0, (x1 - x0) / (y1 - y0), float(ra), float(rb)


@njit(**JIT)
def scan_rows(poly, count, height, left, right):
    """Note per row where a convex polygon begins and ends.

    Args:
        poly: (>= count, 3) corners; columns 1 and 2 are x and y, pixels.
        count: Corners.
        height: Rows; row r has its middle at y = r + 0.5.
        left, right: (height + ROWS,) out, x of the two borders at the middle of each row touched; what lies behind these
            rows means nothing.

    Returns:
        First row and end row.
    """
    first, end = _row_range(poly, count, height)
    for row in range(first, end, ROWS):
        lows, highs = left[row : row + ROWS], right[row : row + ROWS]
        for k in range(ROWS):
            lows[k], highs[k] = 1e30, -1e30
    for i in range(count):
        x0, y0, slope, ra, rb = _edge(poly, i, i + 1 if i + 1 < count else 0, first, end, height)
        for row in range(int(ra), int(rb), ROWS):
            lows, highs = left[row : row + ROWS], right[row : row + ROWS]
            rest = rb - row
            for k in range(ROWS):
                x = x0 + (row + k + 0.5 - y0) * slope
                lows[k] = min(lows[k], x if k < rest else 1e30)
                highs[k] = max(highs[k], x if k < rest else -1e30)
    return first, end


def _nearest(typing_context, zbuf, ibuf, first, done, rest, w, step, number):
    """Keep the nearest in the block at `first`, of which `rest` pixels belong to the row segment and `done` lie behind.

    Written as vectors: compilers make one out of the same loop only behind tests of every slice's bounds and overlap.
    """

    def code(context, builder, signature, values):
        floats, ints = ir.VectorType(ir.FloatType(), LANES), ir.VectorType(ir.IntType(32), LANES)

        def block(k, kind):
            data = make_array(signature.args[k])(context, builder, value=values[k]).data
            return builder.bitcast(builder.gep(data, [values[2]]), kind.as_pointer())

        def spread(value, kind):
            one = builder.insert_element(ir.Constant(kind, ir.Undefined), value, ir.Constant(ir.IntType(32), 0))
            return builder.shuffle_vector(one, ir.Constant(kind, ir.Undefined), ir.Constant(ints, [0] * LANES))

        _, _, _, done, rest, w, step, number = values
        depths, ids = block(0, floats), block(1, ints)
        away = builder.fadd(spread(done, floats), ir.Constant(floats, [float(j) for j in range(LANES)]))
        here = builder.fadd(spread(w, floats), builder.fmul(spread(step, floats), away))
        depth, old = builder.load(depths, align=4), builder.load(ids, align=4)
        inside = builder.icmp_signed("<", ir.Constant(ints, [*range(LANES)]), spread(rest, ints))
        nearer = builder.and_(inside, builder.fcmp_ordered(">", here, depth))
        builder.store(builder.select(nearer, here, depth), depths, align=4)
        builder.store(builder.select(nearer, spread(number, ints), old), ids, align=4)
        return context.get_dummy_value()

    numbers = (types.intp, types.float32, types.int32, types.float32, types.float32, types.int32)
    return types.void(zbuf, ibuf, *numbers), code


nearest: Any = intrinsic(_nearest)


@njit(inline="always", **JIT)
def _fill(zbuf, ibuf, begin, end, w, step, number):
    """Keep the nearest of one row segment: larger inverse depth wins, the earlier triangle on a tie.

    Whole blocks are read and written, so the buffers go on for `LANES` behind the picture.
    """
    for first in range(begin, end, LANES):
        nearest(zbuf, ibuf, first, np.float32(first - begin), np.int32(end - first), w, step, number)


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
def _crossing(edge, row):
    """x of a side at the middle of a row, for the lower and for the upper bound; nothing where the side is not."""
    x0, y0, slope, ra, rb = edge
    x = x0 + (row - y0) * slope
    here = (row > ra) & (row < rb)
    return x if here else 1e30, x if here else -1e30


@njit(**JIT)
def _fill_polygon(buffers, poly, count, frame, a, b, c, number, spans):
    """Draw a convex polygon of three or four corners; returns whether it covers the middle of any pixel."""
    zbuf, ibuf = buffers
    width, height = frame
    first, end = _row_range(poly, count, height)
    last = count - 1
    e0, e1 = _edge(poly, 0, 1, first, end, height), _edge(poly, 1, 2, first, end, height)
    e2, e3 = _edge(poly, last, 0, first, end, height), _edge(poly, 2, last, first, end, height)
    drawn = False
    for top in range(first, end, ROWS):
        for k in range(ROWS):
            row = float(top + k) + 0.5
            low0, high0 = _crossing(e0, row)
            low1, high1 = _crossing(e1, row)
            low2, high2 = _crossing(e2, row)
            low3, high3 = _crossing(e3, row)
            low, high = min(min(low0, low1), min(low2, low3)), max(max(high0, high1), max(high2, high3))
            begin = np.ceil(max(low, 0.0) - 0.5)
            spans[k] = begin
            spans[ROWS + k] = np.ceil(min(high, width + 0.0) - 0.5)
            spans[2 * ROWS + k] = a * (begin + 0.5) + b * row + c
        for k in range(min(ROWS, end - top)):
            if spans[ROWS + k] > spans[k]:
                drawn = True
                at = (top + k) * width
                depth = np.float32(spans[2 * ROWS + k])
                _fill(zbuf, ibuf, at + int(spans[k]), at + int(spans[ROWS + k]), depth, np.float32(a), number)
    return drawn


@njit(**JIT)
def _between(u, v, w, slack_u, slack_v, slack_w, middle, focal):
    """Whether three corners, given by tangents, lie between the same two pixels' middles along an axis, not even near them."""
    half, one = np.float32(0.5), np.float32(1.0)
    ru, rv, rw = slack_u * (one + abs(u)), slack_v * (one + abs(v)), slack_w * (one + abs(w))
    low = middle + focal * min(u - ru, min(v - rv, w - rw)) - half
    high = middle + focal * max(u + ru, max(v + rv, w + rw)) - half
    return np.ceil(low) >= np.ceil(high)


@njit(**JIT)
def candidates(wide, flags, first, end, m, limits, found, seen):
    """Triangles of a range that may be in view: a quick test on vector units before the exact one.

    Args:
        wide: (9, T) float32 corners of all triangles, one row per coordinate.
        flags: (T,) uint8, bits TWO_SIDED and PAINT.
        first, end: Range, at most `BATCH` long.
        m: (12,) float32 row-major 3 x 4 matrix to the camera frame.
        limits: Closest X drawn, metres, the tangents of half the field of view to the side and upwards, and the focal length,
            pixels; float32.
        found: (2 * BATCH,) int32 out, places of these triangles in the range.
        seen: (9 * BATCH,) float32 out, corners in the camera frame of all triangles of the range, one coordinate after the
            other. One array, so that its parts need not be told apart at run time.

    Returns:
        How many were found. None is missing that is drawn: all tests leave room for rounding.
    """
    slack, edge = np.float32(1e-3), np.float32(1e-3)
    near, side, rise, focal = limits
    one, tiny = np.float32(1.0), np.float32(1e-5)
    count = end - first
    may = found[BATCH:]
    x0r, y0r, z0r = wide[0, first:end], wide[1, first:end], wide[2, first:end]
    x1r, y1r, z1r = wide[3, first:end], wide[4, first:end], wide[5, first:end]
    x2r, y2r, z2r = wide[6, first:end], wide[7, first:end], wide[8, first:end]
    signs = flags[first:end]
    m0, m1, m2, m3, m4, m5 = m[0], m[1], m[2], m[3], m[4], m[5]
    m6, m7, m8, m9, m10, m11 = m[6], m[7], m[8], m[9], m[10], m[11]
    for j in range(count):
        ax = m0 * x0r[j] + m1 * y0r[j] + m2 * z0r[j] + m3
        ay = m4 * x0r[j] + m5 * y0r[j] + m6 * z0r[j] + m7
        az = m8 * x0r[j] + m9 * y0r[j] + m10 * z0r[j] + m11
        bx = m0 * x1r[j] + m1 * y1r[j] + m2 * z1r[j] + m3
        by = m4 * x1r[j] + m5 * y1r[j] + m6 * z1r[j] + m7
        bz = m8 * x1r[j] + m9 * y1r[j] + m10 * z1r[j] + m11
        cx = m0 * x2r[j] + m1 * y2r[j] + m2 * z2r[j] + m3
        cy = m4 * x2r[j] + m5 * y2r[j] + m6 * z2r[j] + m7
        cz = m8 * x2r[j] + m9 * y2r[j] + m10 * z2r[j] + m11
        far = max(ax, max(bx, cx))
        inside = far > near - slack
        right = min(ay - side * ax, min(by - side * bx, cy - side * cx))
        left = max(ay + side * ax, max(by + side * bx, cy + side * cx))
        above = min(az - rise * ax, min(bz - rise * bx, cz - rise * cx))
        below = max(az + rise * ax, max(bz + rise * bx, cz + rise * cx))
        inside &= (right < slack) & (left > -slack) & (above < slack) & (below > -slack)
        ux, uy, uz = bx - ax, by - ay, bz - az
        vx, vy, vz = cx - ax, cy - ay, cz - az
        seen[j], seen[BATCH + j], seen[2 * BATCH + j] = ax, ay, az
        seen[3 * BATCH + j], seen[4 * BATCH + j], seen[5 * BATCH + j] = bx, by, bz
        seen[6 * BATCH + j], seen[7 * BATCH + j], seen[8 * BATCH + j] = cx, cy, cz
        facing = (uy * vz - uz * vy) * ax + (uz * vx - ux * vz) * ay + (ux * vy - uy * vx) * az
        size = (abs(ux) + abs(uy) + abs(uz) + abs(vx) + abs(vy) + abs(vz)) * (abs(ax) + abs(ay) + abs(az))
        inside &= (facing < edge * size) | (signs[j] & np.uint8(TWO_SIDED) != 0)
        # What lies between the middles of two rows or columns covers no pixel.
        ap, bp, cp = one / ax, one / bx, one / cx
        ar, br, cr = slack * ap + tiny, slack * bp + tiny, slack * cp + tiny
        thin = _between(ay * ap, by * bp, cy * cp, ar, br, cr, side * focal, focal)
        thin |= _between(az * ap, bz * bp, cz * cp, ar, br, cr, rise * focal, focal)
        inside &= (min(ax, min(bx, cx)) < near + slack) | ~thin
        may[j] = np.int32(inside)
    used = 0
    for j in range(count):
        found[used] = j
        used += may[j]
    return used


@njit(inline="always", **JIT)
def _draw(flag, j, number, frame, buffers, room):
    """Draw the triangle at place `j` of the corners seen; returns whether it covers the middle of any pixel.

    Its plane is noted then.
    """
    width, height, focal, near = frame
    zbuf, ibuf, plane = buffers
    tri, poly, seen, spans = room
    center_x, center_y = width * 0.5, height * 0.5
    for i in range(3):
        for k in range(3):
            tri[i, k] = seen[(3 * i + k) * BATCH + j]
    x0, y0, z0 = tri[0, 0], tri[0, 1], tri[0, 2]
    x1, y1, z1 = tri[1, 0], tri[1, 1], tri[1, 2]
    x2, y2, z2 = tri[2, 0], tri[2, 1], tri[2, 2]
    if x0 < near and x1 < near and x2 < near:
        return False
    nx = (y1 - y0) * (z2 - z0) - (z1 - z0) * (y2 - y0)
    ny = (z1 - z0) * (x2 - x0) - (x1 - x0) * (z2 - z0)
    nz = (x1 - x0) * (y2 - y0) - (y1 - y0) * (x2 - x0)
    offset = nx * x0 + ny * y0 + nz * z0
    if offset > -1e-12 and (offset < 1e-12 or not flag & TWO_SIDED):
        return False
    if _outside(tri, center_x / focal, center_y / focal):
        return False
    if x0 >= near and x1 >= near and x2 >= near:
        for i in range(3):
            for k in range(3):
                poly[i, k] = tri[i, k]
        count = 3
    else:
        count = _clip_near(tri, near, poly)
    _project(poly, count, focal, center_x, center_y)
    inv = 1.0 / offset
    a = ny * inv / focal
    b = -nz * inv / focal
    c = nx * inv - a * center_x - b * center_y
    if not _fill_polygon((zbuf, ibuf), poly, count, (width, height), a, b, c, np.int32(number), spans):
        return False
    plane[number, 0], plane[number, 1], plane[number, 2] = a, b, c
    return True


@njit(**JIT)
def rasterize(wide, flags, starts, ends, mats, width, height, focal, near, zbuf, ibuf, src, drw, plane):
    """Draw triangle ranges into the visibility buffers.

    Args:
        wide: (9, T) float32 corners of all triangles in their own frames, metres, one row per coordinate.
        flags: (T,) uint8, bits TWO_SIDED and PAINT.
        starts, ends: (D,) int64 half-open triangle range of each draw.
        mats: (D, 12) float32 row-major 3 x 4 matrix from each draw's frame to the camera frame.
        width, height: Pixels.
        focal: Pixels.
        near: Closest X drawn, metres.
        zbuf: (H * W + LANES,) float32 inverse depth; filled with 1/far beforehand.
        ibuf: (H * W + LANES,) int32 row in the tables below; filled with NO_TRIANGLE beforehand.
        src: (N,) int32 out, triangle of each row.
        drw: (N,) int32 out, draw of each row.
        plane: (N, 3) float32 out, inverse depth = a (x + 0.5) + b (y + 0.5) + c at pixel (x, y).

    Returns:
        Rows used, or -1 when the tables are too short; then enlarge them, clear the buffers and draw again.
    """
    spans = np.empty(3 * ROWS)
    room = (np.empty((3, 3)), np.empty((4, 3)), np.empty(9 * BATCH, np.float32), spans, np.empty(2 * BATCH, np.int32))
    ranges = borrowed((starts, ends, mats))
    tables = borrowed((src, drw))
    frame = (width, height, focal, near)
    return _rasterize(borrowed((wide, flags)), ranges, frame, borrowed((zbuf, ibuf, plane)), tables, borrowed(room))


@njit(**JIT)
def _rasterize(triangles, ranges, frame, buffers, tables, room):
    """See `rasterize`."""
    wide, flags = triangles
    starts, ends, mats = ranges
    src, drw = tables
    tri, poly, seen, spans, found = room
    width, height, focal, near = frame
    slopes = (np.float32(near), np.float32(width * 0.5 / focal), np.float32(height * 0.5 / focal), np.float32(focal))
    used = 0
    for d in range(starts.size):
        m = mats[d]
        for first in range(starts[d], ends[d], BATCH):
            count = candidates(wide, flags, first, min(first + BATCH, ends[d]), m, slopes, found, seen)
            for k in range(count):
                if used == src.size:
                    return -1
                t = first + found[k]
                if _draw(flags[t], found[k], used, frame, buffers, (tri, poly, seen, spans)):
                    src[used], drw[used] = t, d
                    used += 1
    return used
