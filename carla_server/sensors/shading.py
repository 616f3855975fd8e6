"""The colour kernel: one pass over the visibility buffer, one colour per pixel.

Pixels are walked row by row in runs of one triangle, so what a triangle has in common (light on its plane, texture
level) is worked out once per run or once per frame and the inner loops are short enough to run on vector units.

Texels are three gamma-2 channels of 8 bits in fields of 10 bits (blue lowest): four of them can be added as integers
before they are taken apart. Light is linear; a pixel shows 255 sqrt(light), clipped.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
from llvmlite import ir
from numba import njit
from numba.core import types
from numba.extending import intrinsic
from numba.np.arrayobj import make_array
from numpy.typing import NDArray

from carla_server.sensors.raster import JIT, LANES, PAINT, TWO_SIDED, borrowed

LIT = 0
GROUND = 1
LAMP = 2
GLASS = 3
GLOW = 4

# Rows of the light table: one float32 vector says everything about this frame's light and camera.
SUN_X, SUN_Y, SUN_Z = 0, 1, 2  # towards the sun, unit vector; SUN_Z also is its share on level ground
SUN_RGB = 3  # three each
SKY_RGB = 6
BOUNCE_RGB = 9
LAMP_RGB = 12
FOG = 15  # extinction, 1/m
CAM_X, CAM_Y = 16, 17
MAP_X, MAP_Y, MAP_SCALE = 18, 19, 20  # corner of the light maps, metres, and their cells per metre
WET = 21
CAM_Z = 22
GLOW_GAIN = 23  # strength of lit windows
TO_WORLD = 24  # nine: rotation from camera to world
MIRROR_RGB = 33
FOG_RGB = 36
RAIN, WIND, MOMENT = 40, 41, 42  # amount 0 to 1, slant of the streaks, number of the moment
MAPPED = 39  # whether the light maps say anything but full sun and no lamps
LAMPED = 43  # whether any lamps shine on the ground
LIGHT_SIZE = 44

SEGMENT = 128  # pixels worked on at once
STRAIGHT_DOWN = 1e-12  # directions whose level parts are smaller have no azimuth
FIELD = 0x3FF
PER_FIELD = 1.0 / (4 * 255.0)
# pi in two parts, the first short enough that its multiples are exact, and the Taylor series of (sin x - x) / x^3 in x^2.
PI_HIGH, PI_LOW = 3.1415926218032837, 3.178650954705639e-08
SINE = tuple((-1.0) ** k / math.factorial(2 * k + 1) for k in range(10, 0, -1))


@njit(**JIT)
def _pixel(r, g, b):
    """Pack linear light into one BGRA pixel."""
    zero, one, full = np.float32(0.0), np.float32(1.0), np.float32(255.0)
    ri = np.uint32(full * np.sqrt(min(max(r, zero), one)))
    gi = np.uint32(full * np.sqrt(min(max(g, zero), one)))
    bi = np.uint32(full * np.sqrt(min(max(b, zero), one)))
    return np.uint32(0xFF000000) | (ri << np.uint32(16)) | (gi << np.uint32(8)) | bi


@njit(**JIT)
def _map_value(maps, k, u, v):
    """Bilinear value of light map `k` of `maps` (K, M, M) at cell coordinates; the outermost cells continue outside."""
    zero, half, one = np.float32(0.0), np.float32(0.5), np.uint32(1)
    top = np.float32(np.int32(maps.shape[1])) - np.float32(1.001)
    u, v = min(max(u - half, zero), top), min(max(v - half, zero), top)
    iu, iv = np.uint32(u), np.uint32(v)
    fu, fv = u - np.float32(iu), v - np.float32(iv)
    upper, lower = maps[k, iv, iu], maps[k, iv + one, iu]
    upper += fu * (maps[k, iv, iu + one] - upper)
    lower += fu * (maps[k, iv + one, iu + one] - lower)
    return upper + fv * (lower - upper)


@njit(**JIT)
def _light_triangle(n, t, d, pos, nrm, rgb, kind, flags, part, mats, rots, tints, emits, light, sunlit, lit):
    """Colour of triangle `t` of draw `d` in this frame's light, into lit[n, 0:3]. Texture not yet applied."""
    m, r = mats[d], rots[d]
    nx = r[0] * nrm[t, 0] + r[1] * nrm[t, 1] + r[2] * nrm[t, 2]
    ny = r[3] * nrm[t, 0] + r[4] * nrm[t, 1] + r[5] * nrm[t, 2]
    nz = r[6] * nrm[t, 0] + r[7] * nrm[t, 1] + r[8] * nrm[t, 2]
    mx = (pos[t, 0] + pos[t, 3] + pos[t, 6]) / 3
    my = (pos[t, 1] + pos[t, 4] + pos[t, 7]) / 3
    mz = (pos[t, 2] + pos[t, 5] + pos[t, 8]) / 3
    vx = m[0] * mx + m[1] * my + m[2] * mz + m[3]
    vy = m[4] * mx + m[5] * my + m[6] * mz + m[7]
    vz = m[8] * mx + m[9] * my + m[10] * mz + m[11]
    # The normal seen from the camera decides which side of a two-sided triangle is lit.
    if flags[t] & TWO_SIDED:
        cx = m[0] * nrm[t, 0] + m[1] * nrm[t, 1] + m[2] * nrm[t, 2]
        cy = m[4] * nrm[t, 0] + m[5] * nrm[t, 1] + m[6] * nrm[t, 2]
        cz = m[8] * nrm[t, 0] + m[9] * nrm[t, 1] + m[10] * nrm[t, 2]
        if cx * vx + cy * vy + cz * vz > 0:
            nx, ny, nz = -nx, -ny, -nz
    red, green, blue = rgb[t, 0], rgb[t, 1], rgb[t, 2]
    if flags[t] & PAINT:
        red, green, blue = red * tints[d, 0], green * tints[d, 1], blue * tints[d, 2]
    if kind[t] == GLOW or (kind[t] == LAMP and (emits[d] >> part[t]) & 1):
        strength = light[GLOW_GAIN] if kind[t] == GLOW else np.float32(1.0)
        lit[n, 0], lit[n, 1], lit[n, 2] = red * strength, green * strength, blue * strength
        return
    if kind[t] == LAMP:
        red, green, blue = 0.18 * red + 0.02, 0.18 * green + 0.02, 0.18 * blue + 0.02
    wx = light[CAM_X] + light[TO_WORLD] * vx + light[TO_WORLD + 1] * vy + light[TO_WORLD + 2] * vz
    wy = light[CAM_Y] + light[TO_WORLD + 3] * vx + light[TO_WORLD + 4] * vy + light[TO_WORLD + 5] * vz
    u, v = (wx - light[MAP_X]) * light[MAP_SCALE], (wy - light[MAP_Y]) * light[MAP_SCALE]
    shine = max(nx * light[SUN_X] + ny * light[SUN_Y] + nz * light[SUN_Z], np.float32(0.0))
    up = 0.5 + 0.5 * nz
    lamp = _map_value(sunlit, 1, u, v)
    for c in range(3):
        base = red if c == 0 else (green if c == 1 else blue)
        amb = light[SKY_RGB + c] * up + light[BOUNCE_RGB + c] * (1 - up)
        lit[n, c] = base * (
            amb + light[SUN_RGB + c] * shine + light[LAMP_RGB + c] * lamp * (0.45 + 0.55 * (1 - abs(nz)))
        )
    if kind[t] == GLASS:
        # Glass mirrors the sky where the mirrored view ray points up.
        dist = np.sqrt(vx * vx + vy * vy + vz * vz) + 1e-6
        ex = (light[TO_WORLD] * vx + light[TO_WORLD + 1] * vy + light[TO_WORLD + 2] * vz) / dist
        ey = (light[TO_WORLD + 3] * vx + light[TO_WORLD + 4] * vy + light[TO_WORLD + 5] * vz) / dist
        ez = (light[TO_WORLD + 6] * vx + light[TO_WORLD + 7] * vy + light[TO_WORLD + 8] * vz) / dist
        cosine = ex * nx + ey * ny + ez * nz
        rz = ez - 2 * cosine * nz
        fresnel = 0.08 + 0.6 * (1 - min(abs(cosine), 1.0)) ** 3
        sky = min(max(0.25 + rz * 1.5, 0.05), 1.0) * fresnel
        for c in range(3):
            lit[n, c] += light[MIRROR_RGB + c] * sky


@njit(**JIT)
def _uv_plane(n, t, d, pos, uv, mats, focal, center_x, center_y, uvp):
    """Numerators of u and v over 1/X, linear in the pixel: into uvp[n, 0:6]. Same algebra as for inverse depth."""
    m = mats[d]
    p = np.empty((3, 3))
    for k in range(3):
        x, y, z = pos[t, 3 * k], pos[t, 3 * k + 1], pos[t, 3 * k + 2]
        p[k, 0] = m[0] * x + m[1] * y + m[2] * z + m[3]
        p[k, 1] = m[4] * x + m[5] * y + m[6] * z + m[7]
        p[k, 2] = m[8] * x + m[9] * y + m[10] * z + m[11]
    k0, k1 = np.zeros(3), np.zeros(3)
    det = 0.0
    for i in range(3):
        j, k = (i + 1) % 3, (i + 2) % 3
        c0 = p[j, 1] * p[k, 2] - p[j, 2] * p[k, 1]
        c1 = p[j, 2] * p[k, 0] - p[j, 0] * p[k, 2]
        c2 = p[j, 0] * p[k, 1] - p[j, 1] * p[k, 0]
        if i == 0:
            det = p[0, 0] * c0 + p[0, 1] * c1 + p[0, 2] * c2
        k0[0] += uv[t, 2 * i] * c0
        k0[1] += uv[t, 2 * i] * c1
        k0[2] += uv[t, 2 * i] * c2
        k1[0] += uv[t, 2 * i + 1] * c0
        k1[1] += uv[t, 2 * i + 1] * c1
        k1[2] += uv[t, 2 * i + 1] * c2
    a, b = k0[1] / det / focal, -k0[2] / det / focal
    uvp[n, 0], uvp[n, 1], uvp[n, 2] = a, b, k0[0] / det - a * center_x - b * center_y
    a, b = k1[1] / det / focal, -k1[2] / det / focal
    uvp[n, 3], uvp[n, 4], uvp[n, 5] = a, b, k1[0] / det - a * center_x - b * center_y


@njit(**JIT)
def _clearness(way):
    """exp(-way), `way` >= 0, to better than 1e-4."""
    part = min(way, np.float32(64.0)) * np.float32(1.0 / 64.0)
    left = np.float32(1.0) - part + np.float32(0.5) * part * part
    for _ in range(6):
        left *= left
    return left


@njit(**JIT)
def _fog_span(light, w, dw, n):
    """What is left of a colour at the first pixel of a segment, and its change per pixel."""
    least, count = np.float32(1e-6), np.float32(np.int32(n))
    t0 = _clearness(light[FOG] / max(w, least))
    return t0, (_clearness(light[FOG] / max(w + dw * count, least)) - t0) / count


@njit(**JIT)
def _flat(out, n, w, dw, lit, light):
    """One colour under fog; the fog is exact at both ends of the segment."""
    t0, step = _fog_span(light, w, dw, n)
    r0, g0, b0 = light[FOG_RGB], light[FOG_RGB + 1], light[FOG_RGB + 2]
    r1, g1, b1 = lit[0] - r0, lit[1] - g0, lit[2] - b0
    for first in range(0, n, LANES):
        block = out[first : first + LANES]
        t = t0 + step * np.float32(np.int32(first))
        for j in range(LANES):
            left = t + step * np.float32(np.int32(j))
            block[j] = _pixel(r0 + left * r1, g0 + left * g1, b0 + left * b1)


@njit(**JIT)
def _dome_color(x, y, z, dome, out, at):
    """Bilinear sky colour towards (x, y, z), gamma 2, 0 to 255: into out[0:3, at]."""
    z = max(z, np.float32(0.0))
    scale = np.float32(0.5 * (dome.shape[0] - 1.001))
    total = abs(x) + abs(y) + z
    if total < np.float32(STRAIGHT_DOWN):
        x, total = np.float32(1.0), np.float32(1.0)
    inv = np.float32(1.0) / total
    u = (np.float32(1.0) + (x + y) * inv) * scale
    v = (np.float32(1.0) + (x - y) * inv) * scale
    iu, iv = np.uint32(u), np.uint32(v)
    fu, fv = u - np.float32(iu), v - np.float32(iv)
    one, whole = np.uint32(1), np.float32(1.0)
    p00, p01, p10, p11 = dome[iv, iu], dome[iv, iu + one], dome[iv + one, iu], dome[iv + one, iu + one]
    w00, w01, w10, w11 = (whole - fu) * (whole - fv), fu * (whole - fv), (whole - fu) * fv, fu * fv
    for c in range(3):
        shift, mask = np.uint32(10 * c), np.uint32(FIELD)
        out[c, at] = (
            w00 * np.float32((p00 >> shift) & mask)
            + w01 * np.float32((p01 >> shift) & mask)
            + w10 * np.float32((p10 >> shift) & mask)
            + w11 * np.float32((p11 >> shift) & mask)
        )


@njit(**JIT)
def _sky(out, n, dirs, dome, ends):
    """Sky along a row segment: exact at every `LANES`th pixel, straight between."""
    share = np.float32(1.0 / LANES)
    _dome_color(dirs[0], dirs[1], dirs[2], dome, ends, 1)
    for first in range(0, n, LANES):
        block = out[first : first + LANES]
        f = np.float32(np.int32(first + LANES))
        b0, g0, r0 = ends[0, 1], ends[1, 1], ends[2, 1]
        _dome_color(dirs[0] + dirs[3] * f, dirs[1] + dirs[4] * f, dirs[2] + dirs[5] * f, dome, ends, 1)
        b1, g1, r1 = (ends[0, 1] - b0) * share, (ends[1, 1] - g0) * share, (ends[2, 1] - r0) * share
        for j in range(LANES):
            f = np.float32(np.int32(j))
            block[j] = (
                np.uint32(0xFF000000)
                | (np.uint32(r0 + r1 * f) << np.uint32(16))
                | (np.uint32(g0 + g1 * f) << np.uint32(8))
                | np.uint32(b0 + b1 * f)
            )


@njit(**JIT)
def _ground_footprint(w, dw, wy, n, dirs, levels):
    """Level of detail for a ground segment and the pixel's steps on the ground, metres.

    Returns:
        Level, whether single texels are larger than pixels, and (x, y) one pixel right, (x, y) one pixel down.
    """
    half = np.float32(0.5) * np.float32(n)
    mid_w = w + dw * half
    mid = np.float32(1.0) / mid_w
    mx, my = dirs[0] + dirs[3] * half, dirs[1] + dirs[4] * half
    right = np.float32(1.0) / (mid_w + dw)
    down = np.float32(1.0) / max(mid_w + wy, mid_w * np.float32(0.5))
    ax = right * (mx + dirs[3]) - mid * mx
    ay = right * (my + dirs[4]) - mid * my
    bx = down * (mx + dirs[6]) - mid * mx
    by = down * (my + dirs[7]) - mid * my
    la, lb = np.sqrt(ax * ax + ay * ay), np.sqrt(bx * bx + by * by)
    minor, major = min(la, lb), max(la, lb)
    want = max(minor, major * np.float32(0.125)) * np.float32(levels[0, 5])
    level = 0
    while want > 1.4 and level < levels.shape[0] - 1:
        want *= np.float32(0.5)
        level += 1
    sharp = level == 0 and major * np.float32(levels[0, 5]) < 0.9
    return level, sharp, ax, ay, bx, by


@njit(**JIT)
def _ground_addresses(index, share, sharp, w, dw, dirs, row, cam, steps, n):
    """Texel addresses of the four samples of each pixel of a ground segment, and bilinear shares when `sharp`."""
    per_m = np.float32(row[5])
    base, width = np.uint32(row[0]), np.uint32(row[1])
    ox, oy = (cam[0] - np.float32(row[3])) * per_m, (cam[1] - np.float32(row[4])) * per_m
    top_x, top_y = np.float32(row[1] - 2.001), np.float32(row[2] - 2.001)
    zero, half, one = np.float32(0.0), np.float32(0.5), np.uint32(1)
    dx, dy, sx, sy = dirs[0] * per_m, dirs[1] * per_m, dirs[3] * per_m, dirs[4] * per_m
    if sharp:
        for first in range(0, n, LANES):
            begin, rows, mix = np.float32(np.int32(first)), index[first:], share[first:]
            for j in range(LANES):
                f = begin + np.float32(np.int32(j))
                depth = np.float32(1.0) / (w + dw * f)
                u = min(max(ox + depth * (dx + sx * f) - half, zero), top_x)
                v = min(max(oy + depth * (dy + sy * f) - half, zero), top_y)
                iu, iv = np.uint32(u), np.uint32(v)
                mix[j] = u - np.float32(iu)
                mix[SEGMENT + j] = v - np.float32(iv)
                at = base + iv * width + iu
                rows[j] = at
                rows[SEGMENT + j] = at + one
                rows[2 * SEGMENT + j] = at + width
                rows[3 * SEGMENT + j] = at + width + one
        return
    ax, ay, bx, by = steps[0] * per_m, steps[1] * per_m, steps[2] * per_m, steps[3] * per_m
    large, small = np.float32(0.375), np.float32(0.125)
    s1x, s1y = large * bx + small * ax, large * by + small * ay
    s2x, s2y = small * bx - large * ax, small * by - large * ay
    for first in range(0, n, LANES):
        begin, rows = np.float32(np.int32(first)), index[first:]
        for j in range(LANES):
            f = begin + np.float32(np.int32(j))
            depth = np.float32(1.0) / (w + dw * f)
            u = ox + depth * (dx + sx * f)
            v = oy + depth * (dy + sy * f)
            ua, va = min(max(u + s1x, zero), top_x), min(max(v + s1y, zero), top_y)
            ub, vb = min(max(u - s1x, zero), top_x), min(max(v - s1y, zero), top_y)
            uc, vc = min(max(u + s2x, zero), top_x), min(max(v + s2y, zero), top_y)
            ud, vd = min(max(u - s2x, zero), top_x), min(max(v - s2y, zero), top_y)
            rows[j] = base + np.uint32(va) * width + np.uint32(ua)
            rows[SEGMENT + j] = base + np.uint32(vb) * width + np.uint32(ub)
            rows[2 * SEGMENT + j] = base + np.uint32(vc) * width + np.uint32(uc)
            rows[3 * SEGMENT + j] = base + np.uint32(vd) * width + np.uint32(ud)


@njit(**JIT)
def _ground_texels(index, share, sharp, tex, palette, wet, n):
    """Look up and mix the four texels of each pixel: packed sums into the first row of `index` (four times the value).

    The mirroring share goes into the third row of `share` if `wet`.
    """
    if wet:
        for i in range(n):
            share[2 * SEGMENT + i] = np.float32(palette[tex[index[i]]] >> np.uint32(30))
    if not sharp:
        for i in range(n):
            index[i] = (
                palette[tex[index[i]]]
                + palette[tex[index[SEGMENT + i]]]
                + palette[tex[index[2 * SEGMENT + i]]]
                + palette[tex[index[3 * SEGMENT + i]]]
            )
        return
    for i in range(n):
        index[i] = palette[tex[index[i]]]
        index[SEGMENT + i] = palette[tex[index[SEGMENT + i]]]
        index[2 * SEGMENT + i] = palette[tex[index[2 * SEGMENT + i]]]
        index[3 * SEGMENT + i] = palette[tex[index[3 * SEGMENT + i]]]
    _mix_texels(index, share, n)


@njit(**JIT)
def _mix_texels(index, share, n):
    """Mix four texels per pixel by their bilinear shares: packed values times four into the first row of `index`."""
    mask, four = np.uint32(FIELD), np.float32(4.0)
    for first in range(0, n, LANES):
        rows, mix = index[first:], share[first:]
        for j in range(LANES):
            fu, fv = mix[j], mix[SEGMENT + j]
            p, q, r, s = rows[j], rows[SEGMENT + j], rows[2 * SEGMENT + j], rows[3 * SEGMENT + j]
            total = np.uint32(0)
            for c in range(3):
                shift = np.uint32(10 * c)
                a, b = np.float32((p >> shift) & mask), np.float32((q >> shift) & mask)
                c0, d = np.float32((r >> shift) & mask), np.float32((s >> shift) & mask)
                low, high = a + fu * (b - a), c0 + fu * (d - c0)
                total |= np.uint32(four * (low + fv * (high - low))) << shift
            rows[j] = total


@njit(**JIT)
def _ground_light(light, sunlit, u, v):
    """Shares of sun and lamp light at a place on the ground, cells of the light maps."""
    if light[MAPPED] == 0:
        return light[SUN_Z], np.float32(0.0)
    lamp = _map_value(sunlit, 1, u, v) if light[LAMPED] > 0 else np.float32(0.0)
    return _map_value(sunlit, 0, u, v) * light[SUN_Z], lamp


@njit(**JIT)
def _ground(out, n, w, dw, wy, dirs, light, tex, levels, palette, sunlit, work, index):
    """Ground seen along one row segment.

    Addresses and colours are worked out in loops without memory look-ups, the look-ups in loops without arithmetic:
    only so do the former run on vector units.

    Args:
        out: (>= n,) uint32 pixels; up to `LANES` - 1 behind the segment are written too.
        n: Length of the segment, at most `SEGMENT`.
        w, dw, wy: Inverse depth at the first pixel, its change per pixel to the right and per pixel down.
        dirs: (9,) float32: world view direction at the first pixel, its change per pixel right, and per pixel down.
        light: The light table.
        tex: (B,) uint8 palette indices of all levels.
        levels: (L, 6) float64 rows of offset, width, height, x0, y0, texels per metre, finest first.
        palette: (256,) uint32 packed texels; the two highest bits say how much an entry mirrors when wet.
        sunlit: (2, S, S) float32 share of sun, and lamp light, around the camera.
        work, index: (4 * SEGMENT,) float32 and uint32 scratch.
    """
    level, sharp, ax, ay, bx, by = _ground_footprint(w, dw, wy, n, dirs, levels)
    cam, steps = (light[CAM_X], light[CAM_Y]), (ax, ay, bx, by)
    _ground_addresses(index, work, sharp, w, dw, dirs, levels[level], cam, steps, n)
    _ground_texels(index, work, sharp, tex, palette, light[WET] > 0, n)
    fog, fog_step = _fog_span(light, w, dw, n)
    scale, least = light[MAP_SCALE], np.float32(1e-6)
    ox, oy = (light[CAM_X] - light[MAP_X]) * scale, (light[CAM_Y] - light[MAP_Y]) * scale
    depth = scale / w
    sun1, lamp1 = _ground_light(light, sunlit, ox + depth * dirs[0], oy + depth * dirs[1])
    r0, g0, b0 = light[FOG_RGB], light[FOG_RGB + 1], light[FOG_RGB + 2]
    unit, share = np.float32(PER_FIELD * PER_FIELD), np.float32(1.0 / LANES)
    sky_r, sky_g, sky_b = light[SKY_RGB] * unit, light[SKY_RGB + 1] * unit, light[SKY_RGB + 2] * unit
    sun_r, sun_g, sun_b = light[SUN_RGB] * unit, light[SUN_RGB + 1] * unit, light[SUN_RGB + 2] * unit
    lamp_r, lamp_g, lamp_b = light[LAMP_RGB] * unit, light[LAMP_RGB + 1] * unit, light[LAMP_RGB + 2] * unit
    mask = np.uint32(FIELD)
    for first in range(0, n, LANES):
        block, rows = out[first : first + LANES], index[first:]
        begin, f = np.float32(np.int32(first)), np.float32(np.int32(first + LANES))
        sun0, lamp0 = sun1, lamp1
        depth = scale / max(w + dw * f, least)
        sun1, lamp1 = _ground_light(
            light, sunlit, ox + depth * (dirs[0] + dirs[3] * f), oy + depth * (dirs[1] + dirs[4] * f)
        )
        sun_step, lamp_step = (sun1 - sun0) * share, (lamp1 - lamp0) * share
        clear = fog + fog_step * begin
        for j in range(LANES):
            f = np.float32(np.int32(j))
            total = rows[j]
            b = np.float32(total & mask)
            g = np.float32((total >> np.uint32(10)) & mask)
            r = np.float32((total >> np.uint32(20)) & mask)
            sun, lamp, t = sun0 + sun_step * f, lamp0 + lamp_step * f, clear + fog_step * f
            r = r * r * (sky_r + sun * sun_r + lamp * lamp_r)
            g = g * g * (sky_g + sun * sun_g + lamp * lamp_g)
            b = b * b * (sky_b + sun * sun_b + lamp * lamp_b)
            block[j] = _pixel(r0 + t * (r - r0), g0 + t * (g - g0), b0 + t * (b - b0))


@njit(inline="always", **JIT)
def _sine(x):
    """sin(x) to 1e-15 for |x| < 1e5, without the call that would keep a loop from running on vector units."""
    turns = np.floor(x * (1.0 / np.pi) + 0.5)
    rest = (x - turns * PI_HIGH) - turns * PI_LOW
    square = rest * rest
    total = 0.0
    for k in range(len(SINE)):
        total = total * square + SINE[k]
    odd = turns - 2.0 * np.floor(0.5 * turns)
    return (1.0 - 2.0 * odd) * (rest + rest * square * total)


@njit(**JIT)
def _wet_shares(w, dw, dirs, light, strengths):
    """How much the ground mirrors at every `LANES`th pixel of a segment: grazing views more, puddles more."""
    third = np.float32(1.0 / 3.0)
    x0, y0, z0, x1, y1, z1 = dirs[0], dirs[1], dirs[2], dirs[3], dirs[4], dirs[5]
    cam_x, cam_y, wet = light[CAM_X], light[CAM_Y], light[WET]
    for k in range(SEGMENT // LANES):
        f = np.float32(np.int32(k * LANES))
        dx, dy, dz = x0 + x1 * f, y0 + y1 * f, z0 + z1 * f
        steep = min(abs(dz) / np.sqrt(dx * dx + dy * dy + dz * dz), np.float32(1.0))
        away = np.float32(1.0) - steep
        depth = np.float32(1.0) / (w + dw * f)
        gx, gy = cam_x + depth * dx, cam_y + depth * dy
        puddle = _sine(0.55 * gx + 1.7 * _sine(0.31 * gy)) + _sine(0.43 * gy + 1.3 * _sine(0.37 * gx))
        deep = min(max(0.72 + 0.28 * puddle, 0.35), 1.0)
        strengths[k] = np.float32(wet * deep * (0.05 + 0.80 * away * away * away * away)) * third


@njit(**JIT)
def _wet(out, mirror, n, w, dw, dirs, light, gloss, strengths):
    """Lay a reflection over ground just drawn: `mirror` (n,) holds the pixels as far above the horizon as it is below.

    For things far away against the camera's height that is where a level mirror shows them.
    """
    low = np.uint32(255)
    _wet_shares(w, dw, dirs, light, strengths)
    for first in range(0, n, LANES):
        strength = strengths[first // LANES]
        here_block, there_block, mix = (
            out[first : first + LANES],
            mirror[first : first + LANES],
            gloss[2 * SEGMENT + first :],
        )
        for j in range(LANES):
            k = strength * mix[j]
            here, there = here_block[j], there_block[j]
            b0, b1 = np.float32(here & low), np.float32(there & low)
            g0, g1 = np.float32((here >> np.uint32(8)) & low), np.float32((there >> np.uint32(8)) & low)
            r0, r1 = np.float32((here >> np.uint32(16)) & low), np.float32((there >> np.uint32(16)) & low)
            here_block[j] = (
                np.uint32(0xFF000000)
                | (np.uint32(r0 + k * (r1 - r0)) << np.uint32(16))
                | (np.uint32(g0 + k * (g1 - g0)) << np.uint32(8))
                | np.uint32(b0 + k * (b1 - b0))
            )


@njit(**JIT)
def _rain(out, width, height, amount, slant, bright, seed):
    """Streaks of falling rain, lighter than what is behind them; the same seed draws the same drops."""
    state = np.uint64(seed) * np.uint64(2862933555777941757) + np.uint64(3037000493)
    drops = int(amount * 0.0024 * width * height)
    for _ in range(drops):
        state = state * np.uint64(6364136223846793005) + np.uint64(1442695040888963407)
        x = float((state >> np.uint64(33)) % np.uint64(width))
        y = int((state >> np.uint64(13)) % np.uint64(height + 40)) - 40
        near = float((state >> np.uint64(53)) & np.uint64(255)) / 255.0
        length = int(4 + (6 + 26 * near * near) * height / 512.0)
        alpha = 0.10 + 0.16 * near
        for k in range(length):
            row, column = y + k, int(x + slant * k)
            if row < 0 or row >= height or column < 0 or column >= width:
                continue
            pixel = out[row * width + column]
            value = np.uint32(0xFF000000)
            for c in range(3):
                shift = np.uint32(8 * c)
                old = float((pixel >> shift) & np.uint32(255))
                value |= np.uint32(old + alpha * max(bright - old, 0.0)) << shift
            out[row * width + column] = value


@njit(**JIT)
def _texture_level(spec, ax, ay, bx, by):
    """Level for a pixel whose steps right and down are (ax, ay) and (bx, by) repetitions: offset, log2 of its sizes."""
    offset, bits_u, bits_v = spec[0], spec[1], spec[2]
    wide, tall = np.float32(1 << bits_u), np.float32(1 << bits_v)
    la = np.sqrt((ax * wide) ** 2 + (ay * tall) ** 2)
    lb = np.sqrt((bx * wide) ** 2 + (by * tall) ** 2)
    want = max(min(la, lb), max(la, lb) * np.float32(0.3))
    while want > 1.4 and (bits_u > 0 or bits_v > 0):
        offset += 1 << (bits_u + bits_v)
        bits_u = max(bits_u - 1, 0)
        bits_v = max(bits_v - 1, 0)
        want *= np.float32(0.5)
    return offset, bits_u, bits_v


@njit(**JIT)
def _texture_addresses(index, n, w, dw, wy, uvs, spec):
    """Texel addresses of the four samples of each pixel of a textured segment; arguments as of `_textured`."""
    one, half = np.float32(1.0), np.float32(0.5) * np.float32(np.int32(n))
    mid_w = w + dw * half
    um, vm = uvs[0] + uvs[2] * half, uvs[1] + uvs[3] * half
    middle, right, down = one / mid_w, one / (mid_w + dw), one / (mid_w + wy)
    u, v = um * middle, vm * middle
    ax, ay = (um + uvs[2]) * right - u, (vm + uvs[3]) * right - v
    bx, by = (um + uvs[4]) * down - u, (vm + uvs[5]) * down - v
    offset, bits_u, bits_v = _texture_level(spec, ax, ay, bx, by)
    wide, tall = np.float32(1 << bits_u), np.float32(1 << bits_v)
    # Repetition is taken out near the first pixel, so that what is left is positive and small.
    away, start = np.float32(64.0), one / w
    u0 = (away - np.floor(uvs[0] * start)) * wide
    v0 = (away - np.floor(uvs[1] * start)) * tall
    large, small = np.float32(0.375), np.float32(0.125)
    s1x, s1y = (large * bx + small * ax) * wide, (large * by + small * ay) * tall
    s2x, s2y = (small * bx - large * ax) * wide, (small * by - large * ay) * tall
    nu, nv, du, dv = uvs[0] * wide, uvs[1] * tall, uvs[2] * wide, uvs[3] * tall
    mask_u, mask_v = np.uint32((1 << bits_u) - 1), np.uint32((1 << bits_v) - 1)
    shift, base = np.uint32(bits_u), np.uint32(offset)
    zero, top = np.float32(0.0), np.float32(1e6)
    for first in range(0, n, LANES):
        begin, rows = np.float32(np.int32(first)), index[first:]
        for j in range(LANES):
            f = begin + np.float32(np.int32(j))
            depth = one / (w + dw * f)
            u = min(max(u0 + (nu + du * f) * depth, zero), top)
            v = min(max(v0 + (nv + dv * f) * depth, zero), top)
            rows[j] = base + ((np.uint32(v + s1y) & mask_v) << shift) + (np.uint32(u + s1x) & mask_u)
            rows[SEGMENT + j] = base + ((np.uint32(v - s1y) & mask_v) << shift) + (np.uint32(u - s1x) & mask_u)
            rows[2 * SEGMENT + j] = base + ((np.uint32(v + s2y) & mask_v) << shift) + (np.uint32(u + s2x) & mask_u)
            rows[3 * SEGMENT + j] = base + ((np.uint32(v - s2y) & mask_v) << shift) + (np.uint32(u - s2x) & mask_u)


@njit(**JIT)
def _textured(out, n, w, dw, wy, uvs, lit, light, atlas, spec, index):
    """A repeating texture times the light on its triangle, four samples per pixel.

    Args:
        out: (>= n,) uint32 pixels; up to `LANES` - 1 behind the segment are written too.
        n: Length of the segment, at most `SEGMENT`.
        w, dw, wy: Inverse depth, its change right and down.
        uvs: (6,) float32: u and v numerators at the first pixel, their change right, their change down.
        lit: (3,) light on the triangle.
        light: The light table.
        atlas: (B,) uint32 packed texels of all textures and levels.
        spec: (3,) int64: offset, log2 of width, log2 of height of level 0. Levels follow each other down to 1 x 1.
        index: (4 * SEGMENT,) uint32 scratch.
    """
    _texture_addresses(index, n, w, dw, wy, uvs, spec)
    for i in range(n):
        index[i] = (
            atlas[index[i]] + atlas[index[SEGMENT + i]] + atlas[index[2 * SEGMENT + i]] + atlas[index[3 * SEGMENT + i]]
        )
    fog, fog_step = _fog_span(light, w, dw, n)
    unit = np.float32(PER_FIELD)
    mask = np.uint32(FIELD)
    r0, g0, b0 = light[FOG_RGB], light[FOG_RGB + 1], light[FOG_RGB + 2]
    lr, lg, lb = lit[0] * unit * unit, lit[1] * unit * unit, lit[2] * unit * unit
    for first in range(0, n, LANES):
        block, rows = out[first : first + LANES], index[first:]
        clear = fog + fog_step * np.float32(np.int32(first))
        for j in range(LANES):
            total = rows[j]
            blue = np.float32(total & mask)
            green = np.float32((total >> np.uint32(10)) & mask)
            red = np.float32(total >> np.uint32(20))
            t = clear + fog_step * np.float32(np.int32(j))
            block[j] = _pixel(
                r0 + t * (red * red * lr - r0), g0 + t * (green * green * lg - g0), b0 + t * (blue * blue * lb - b0)
            )


@njit(**JIT)
def _horizon(light, center_y, focal):
    """Row where the view direction has no vertical part, for mirrors in level ground."""
    tilt = light[TO_WORLD + 8] if abs(light[TO_WORLD + 8]) > 1e-3 else np.float32(1e-3)
    return int(2 * (center_y + focal * light[TO_WORLD + 6] / tilt))


@njit(**JIT)
def _directions(light, dirs, sx, sy, inv_f):
    """World view direction at a pixel, its change per pixel right and per pixel down: into dirs[0:9]."""
    for k in range(3):
        r = TO_WORLD + 3 * k
        dirs[k] = light[r] + light[r + 1] * sx - light[r + 2] * sy
        dirs[3 + k] = light[r + 1] * inv_f
        dirs[6 + k] = -light[r + 2] * inv_f


def _equals(typing_context, ibuf, first, number):
    """How many of the `LANES` numbers from `first` on equal `number` before one differs."""

    def code(context, builder, signature, values):
        ints = ir.VectorType(ir.IntType(32), LANES)
        data = make_array(signature.args[0])(context, builder, value=values[0]).data
        block = builder.bitcast(builder.gep(data, [values[1]]), ints.as_pointer())
        one = builder.insert_element(ir.Constant(ints, ir.Undefined), values[2], ir.Constant(ir.IntType(32), 0))
        all_of_it = builder.shuffle_vector(one, ir.Constant(ints, ir.Undefined), ir.Constant(ints, [0] * LANES))
        differ = builder.icmp_signed("!=", builder.load(block, align=4), all_of_it)
        bits = builder.zext(builder.bitcast(differ, ir.IntType(LANES)), ir.IntType(64))
        stopped = builder.or_(bits, ir.Constant(ir.IntType(64), 1 << LANES))
        return builder.cttz(stopped, ir.Constant(ir.IntType(1), 1))

    return types.int64(ibuf, types.intp, types.int32), code


equals: Any = intrinsic(_equals)


@njit(**JIT)
def _run_end(ibuf, begin, stop):
    """End of the run of equal numbers that begins at `begin`, at most `stop`."""
    n, end = ibuf[begin], begin + 1
    while end < stop:
        count = equals(ibuf, end, n)
        end += count
        if count < LANES:
            break
    return min(end, stop)


@njit(**JIT)
def _uv_at(uvp, n, x, y, uvs):
    """Texture numerators at a pixel and their changes: into uvs[0:6]."""
    for k in range(2):
        uvs[k] = uvp[n, 3 * k] * x + uvp[n, 3 * k + 1] * y + uvp[n, 3 * k + 2]
        uvs[2 + k] = uvp[n, 3 * k]
        uvs[4 + k] = uvp[n, 3 * k + 1]


def scratch(triangles: int) -> tuple[NDArray[Any], ...]:
    """Room in which `shade` works on that many visible triangles."""
    return (
        np.empty((triangles, 3), np.float32),  # light on each
        np.empty((triangles, 6)),  # planes of their texture numerators
        np.zeros(triangles, np.bool_),  # which of these are known
        np.empty(9, np.float32),
        np.empty(6, np.float32),
        np.zeros(4 * SEGMENT, np.float32),
        np.zeros(4 * SEGMENT, np.uint32),
        np.empty((3, 2), np.float32),
        np.empty(SEGMENT // LANES, np.float32),
    )


@njit(**JIT)
def shade(buffer, width, height, focal, tris, draws, light, dome, ground, textures, sunlit, room, out):
    """Colour every pixel of a visibility buffer.

    Args:
        buffer: (ibuf, src, drw, plane) from `rasterize`; ibuf is (H * W + LANES,) int32.
        width, height, focal: Pixels.
        tris: (pos, nrm, rgb, kind, flags, part, tex, uv) of all triangles: (T, 9), (T, 3), (T, 3) float32, four
            integer columns (T,), (T, 6) float32.
        draws: (mats, rots, tints, emits): (D, 12) to camera, (D, 9) to world, (D, 3) paint, (D,) uint32 lit lamps.
        light: (LIGHT_SIZE,) float32.
        dome: (S, S) uint32 sky.
        ground: (texels, levels, palette) as `_ground` takes them, but levels (K, L, 6) for all images; a ground
            triangle's texture number says which.
        textures: (atlas, specs): packed textures and (K, 3) int64 rows as `_textured` takes them.
        sunlit: (2, M, M) float32 light maps around the camera.
        room: See `scratch`, for at least as many triangles as `src` has.
        out: (H * W + LANES,) uint32 BGRA pixels, written whole; what lies behind the picture means nothing.
    """
    _shade_rows(
        borrowed(buffer),
        width,
        height,
        focal,
        borrowed(tris),
        borrowed(draws),
        borrowed(light),
        borrowed(dome),
        borrowed(ground),
        borrowed(textures),
        borrowed(sunlit),
        borrowed(room),
        borrowed(out),
    )


@njit(**JIT)
def _shade_rows(buffer, width, height, focal, tris, draws, light, dome, ground, textures, sunlit, room, out):
    """See `shade`."""
    ibuf, src, drw, plane = buffer
    atlas, specs = textures
    pos, nrm, rgb, kind, flags, part, tex, uv = tris
    mats, rots, tints, emits = draws
    texels, levels, palette = ground
    lit, uvp, done, dirs, uvs, work, index, ends, strengths = room
    center_x, center_y, inv_f = width * 0.5, height * 0.5, 1.0 / focal
    horizon = _horizon(light, center_y, focal)
    done[: src.size] = False
    for row in range(height):
        at = row * width
        end = 0
        while end < width:
            x = end
            n = ibuf[at + x]
            end = _run_end(ibuf, at + x, at + min(width, x + SEGMENT)) - at
            count, pixels = end - x, out[at + x : at + end + LANES]
            if n < 0 or kind[src[n]] == GROUND:
                _directions(light, dirs, (x + 0.5 - center_x) * inv_f, (row + 0.5 - center_y) * inv_f, inv_f)
            if n < 0:
                _sky(pixels, count, dirs, dome, ends)
                continue
            t = src[n]
            dw, wy = plane[n, 0], plane[n, 1]
            w = np.float32(dw * (x + 0.5) + wy * (row + 0.5) + plane[n, 2])
            if kind[t] == GROUND:
                image = levels[tex[t]]
                _ground(pixels, count, w, dw, wy, dirs, light, texels, image, palette, sunlit, work, index)
                if light[WET] > 0:
                    back = width * min(max(horizon - row, 0), max(row - 1, 0))
                    _wet(pixels, out[back + x : back + end + LANES], count, w, dw, dirs, light, work, strengths)
                continue
            if not done[n]:
                done[n] = True
                d = drw[n]
                _light_triangle(n, t, d, pos, nrm, rgb, kind, flags, part, mats, rots, tints, emits, light, sunlit, lit)
                if tex[t] >= 0:
                    _uv_plane(n, t, d, pos, uv, mats, focal, center_x, center_y, uvp)
            if tex[t] >= 0:
                _uv_at(uvp, n, x + 0.5, row + 0.5, uvs)
                _textured(pixels, count, w, dw, wy, uvs, lit[n], light, atlas, specs[tex[t]], index)
            else:
                _flat(pixels, count, w, dw, lit[n], light)
    if light[RAIN] > 0:
        bright = 255.0 * np.sqrt(min(light[FOG_RGB + 1] * 1.3 + 0.07, 1.0))
        _rain(out, width, height, light[RAIN], light[WIND], bright, int(light[MOMENT]))


@njit(**JIT)
def ground_tag(x, y, texels, rows, texel_tag):
    """Tag of the finest ground texel at a world point, metres; `rows` (L, 6) of the image it lies on."""
    u = int(min(max((x - rows[0, 3]) * rows[0, 5], 0.0), rows[0, 1] - 1))
    v = int(min(max((y - rows[0, 4]) * rows[0, 5], 0.0), rows[0, 2] - 1))
    return texel_tag[texels[int(rows[0, 0]) + v * int(rows[0, 1]) + u]]


@njit(**JIT)
def resolve(
    zbuf,
    ibuf,
    width,
    focal,
    light,
    src,
    drw,
    kind,
    tex,
    tag,
    instance,
    draw_tag,
    draw_instance,
    ground,
    texel_tag,
    outputs,
):
    """Depth, tag and instance images from a visibility buffer.

    `outputs` is (depth, tag, instance), flat arrays of H * W elements, or of none where an image is not wanted.
    A pixel of ground takes its tag from the finest ground texel below it.
    """
    texels, levels = ground
    depth_out, tag_out, instance_out = outputs
    height = ibuf.size // width
    for row in range(height):
        sy = (row + 0.5 - 0.5 * height) / focal
        for x in range(width):
            at = row * width + x
            n = ibuf[at]
            if depth_out.size:
                depth_out[at] = np.float32(1.0) / zbuf[at]
            if n < 0:
                if tag_out.size:
                    tag_out[at] = 11
                if instance_out.size:
                    instance_out[at] = 0
                continue
            t, d = src[n], drw[n]
            if instance_out.size:
                instance_out[at] = draw_instance[d] if draw_instance[d] != 0 else instance[t]
            if tag_out.size:
                value = draw_tag[d] if draw_tag[d] != 0 else tag[t]
                if kind[t] == GROUND:
                    sx = (x + 0.5 - 0.5 * width) / focal
                    far = 1.0 / zbuf[at]
                    gx = light[CAM_X] + far * (light[TO_WORLD] + light[TO_WORLD + 1] * sx - light[TO_WORLD + 2] * sy)
                    gy = light[CAM_Y] + far * (
                        light[TO_WORLD + 3] + light[TO_WORLD + 4] * sx - light[TO_WORLD + 5] * sy
                    )
                    value = ground_tag(gx, gy, texels, levels[tex[t]], texel_tag)
                tag_out[at] = value
