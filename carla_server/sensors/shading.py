"""The colour kernel: one pass over the visibility buffer, one colour per pixel.

Pixels are walked row by row in runs of one triangle, so what a triangle has in common (light on its plane, texture
level) is worked out once per run or once per frame and the inner loops are short enough to run on vector units.

Texels are three gamma-2 channels of 8 bits in fields of 10 bits (blue lowest): four of them can be added as integers
before they are taken apart. Light is linear; a pixel shows 255 sqrt(light), clipped.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from carla_server.sensors.raster import JIT, PAINT, TWO_SIDED

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
LIGHT_SIZE = 40

SEGMENT = 48
FIELD = 0x3FF
PER_FIELD = 1.0 / (4 * 255.0)


@njit(**JIT)
def _pixel(r, g, b):
    """Pack linear light into one BGRA pixel."""
    ri = np.uint32(255.0 * np.sqrt(min(max(r, np.float32(0.0)), np.float32(1.0))))
    gi = np.uint32(255.0 * np.sqrt(min(max(g, np.float32(0.0)), np.float32(1.0))))
    bi = np.uint32(255.0 * np.sqrt(min(max(b, np.float32(0.0)), np.float32(1.0))))
    return np.uint32(0xFF000000) | (ri << np.uint32(16)) | (gi << np.uint32(8)) | bi


@njit(**JIT)
def _map_value(field, u, v):
    """Bilinear value of a 2D float map at cell coordinates; the outermost cells continue outside."""
    size = field.shape[0]
    u = min(max(u - np.float32(0.5), np.float32(0.0)), np.float32(size - 1.001))
    v = min(max(v - np.float32(0.5), np.float32(0.0)), np.float32(size - 1.001))
    iu, iv = np.uint32(u), np.uint32(v)
    fu, fv = u - np.float32(iu), v - np.float32(iv)
    top = field[iv, iu] * (1 - fu) + field[iv, iu + np.uint32(1)] * fu
    low = field[iv + np.uint32(1), iu] * (1 - fu) + field[iv + np.uint32(1), iu + np.uint32(1)] * fu
    return top * (1 - fv) + low * fv


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
    lamp = _map_value(sunlit[1], u, v)
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
def _flat(out, w, dw, lit, light):
    """One colour under fog; the fog is exact at both ends of the segment."""
    n = out.size
    t0 = np.exp(-light[FOG] / max(w, np.float32(1e-6)))
    t1 = np.exp(-light[FOG] / max(w + dw * n, np.float32(1e-6)))
    step = np.float32((t1 - t0) / n)
    t0 = np.float32(t0)
    r0, g0, b0 = light[FOG_RGB], light[FOG_RGB + 1], light[FOG_RGB + 2]
    r1, g1, b1 = lit[0] - r0, lit[1] - g0, lit[2] - b0
    for i in range(n):
        t = t0 + step * np.float32(i)
        out[i] = _pixel(r0 + t * r1, g0 + t * g1, b0 + t * b1)


@njit(**JIT)
def _sky(out, dx, dy, dz, sx, sy, sz, dome):
    """Sky along a row: the view direction is d + i s; `dome` is the upper half octahedron on a square."""
    size = dome.shape[0]
    scale = np.float32(0.5 * (size - 1.001))
    for i in range(out.size):
        x = dx + sx * np.float32(i)
        y = dy + sy * np.float32(i)
        z = max(dz + sz * np.float32(i), np.float32(0.0))
        inv = np.float32(1.0) / (abs(x) + abs(y) + z)
        u = (np.float32(1.0) + (x + y) * inv) * scale
        v = (np.float32(1.0) + (x - y) * inv) * scale
        iu, iv = np.uint32(u), np.uint32(v)
        fu, fv = u - np.float32(iu), v - np.float32(iv)
        p00, p01 = dome[iv, iu], dome[iv, iu + np.uint32(1)]
        p10, p11 = dome[iv + np.uint32(1), iu], dome[iv + np.uint32(1), iu + np.uint32(1)]
        w00, w01, w10, w11 = (1 - fu) * (1 - fv), fu * (1 - fv), (1 - fu) * fv, fu * fv
        value = np.uint32(0xFF000000)
        for c in range(3):
            shift = np.uint32(10 * c)
            mixed = (
                w00 * np.float32((p00 >> shift) & np.uint32(FIELD))
                + w01 * np.float32((p01 >> shift) & np.uint32(FIELD))
                + w10 * np.float32((p10 >> shift) & np.uint32(FIELD))
                + w11 * np.float32((p11 >> shift) & np.uint32(FIELD))
            )
            value |= np.uint32(mixed) << np.uint32(8 * c)
        out[i] = value


@njit(**JIT)
def _ground(out, w, dw, wy, dirs, light, tex, levels, palette, sunlit):
    """Ground seen along one row segment.

    Args:
        out: (n,) uint32 pixels.
        w, dw, wy: Inverse depth there, its change per pixel to the right and per pixel down.
        dirs: (9,) float32: world view direction at the first pixel, its change per pixel right, and per pixel down.
        light: The light table.
        tex: (B,) uint8 palette indices of all levels.
        levels: (L, 6) float64 rows of offset, width, height, x0, y0, texels per metre.
        palette: (256,) uint32 packed texels.
        sunlit: (2, S, S) float32 share of sun, and lamp light, around the camera.
    """
    n = out.size
    half = np.float32(0.5) * np.float32(n)
    cam_x, cam_y = light[CAM_X], light[CAM_Y]
    mid_w = w + dw * half
    mid = np.float32(1.0) / mid_w
    mx, my = dirs[0] + dirs[3] * half, dirs[1] + dirs[4] * half
    # Footprint of a pixel on the ground: across (one pixel right) and along (one pixel down).
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
    base = np.uint64(levels[level, 0])
    width = np.uint64(levels[level, 1])
    per_m = np.float32(levels[level, 5])
    ox = (cam_x - np.float32(levels[level, 3])) * per_m
    oy = (cam_y - np.float32(levels[level, 4])) * per_m
    top_x, top_y = np.float32(levels[level, 1] - 1.001), np.float32(levels[level, 2] - 1.001)
    t0 = np.exp(-light[FOG] / max(w, np.float32(1e-6)))
    t1 = np.exp(-light[FOG] / max(w + dw * np.float32(n), np.float32(1e-6)))
    fog, fog_step = np.float32(t0), np.float32((t1 - t0) / n)
    sharp = level == 0 and major * per_m < 0.9
    s1x, s1y = (
        (np.float32(0.375) * bx + np.float32(0.125) * ax) * per_m,
        (np.float32(0.375) * by + np.float32(0.125) * ay) * per_m,
    )
    s2x, s2y = (
        (np.float32(0.125) * bx - np.float32(0.375) * ax) * per_m,
        (np.float32(0.125) * by - np.float32(0.375) * ay) * per_m,
    )
    lit_x = (cam_x - light[MAP_X]) * light[MAP_SCALE]
    lit_y = (cam_y - light[MAP_Y]) * light[MAP_SCALE]
    zero = np.float32(0.0)
    for i in range(n):
        f = np.float32(i)
        depth = np.float32(1.0) / (w + dw * f)
        wx = depth * (dirs[0] + dirs[3] * f)
        wyy = depth * (dirs[1] + dirs[4] * f)
        u, v = ox + wx * per_m, oy + wyy * per_m
        if sharp:
            u = min(max(u - np.float32(0.5), zero), top_x - 1)
            v = min(max(v - np.float32(0.5), zero), top_y - 1)
            iu, iv = np.uint64(u), np.uint64(v)
            fu, fv = u - np.float32(iu), v - np.float32(iv)
            at = base + iv * width + iu
            p0, p1 = palette[tex[at]], palette[tex[at + np.uint64(1)]]
            p2, p3 = palette[tex[at + width]], palette[tex[at + width + np.uint64(1)]]
            w0, w1, w2, w3 = (1 - fu) * (1 - fv), fu * (1 - fv), (1 - fu) * fv, fu * fv
            mask = np.uint32(FIELD)
            blue = 4 * (
                w0 * np.float32(p0 & mask)
                + w1 * np.float32(p1 & mask)
                + w2 * np.float32(p2 & mask)
                + w3 * np.float32(p3 & mask)
            )
            sh = np.uint32(10)
            green = 4 * (
                w0 * np.float32((p0 >> sh) & mask)
                + w1 * np.float32((p1 >> sh) & mask)
                + w2 * np.float32((p2 >> sh) & mask)
                + w3 * np.float32((p3 >> sh) & mask)
            )
            sh = np.uint32(20)
            red = 4 * (
                w0 * np.float32(p0 >> sh)
                + w1 * np.float32(p1 >> sh)
                + w2 * np.float32(p2 >> sh)
                + w3 * np.float32(p3 >> sh)
            )
        else:
            u0, v0 = min(max(u + s1x, zero), top_x), min(max(v + s1y, zero), top_y)
            total = palette[tex[base + np.uint64(v0) * width + np.uint64(u0)]]
            u0, v0 = min(max(u - s1x, zero), top_x), min(max(v - s1y, zero), top_y)
            total += palette[tex[base + np.uint64(v0) * width + np.uint64(u0)]]
            u0, v0 = min(max(u + s2x, zero), top_x), min(max(v + s2y, zero), top_y)
            total += palette[tex[base + np.uint64(v0) * width + np.uint64(u0)]]
            u0, v0 = min(max(u - s2x, zero), top_x), min(max(v - s2y, zero), top_y)
            total += palette[tex[base + np.uint64(v0) * width + np.uint64(u0)]]
            blue = np.float32(total & np.uint32(FIELD))
            green = np.float32((total >> np.uint32(10)) & np.uint32(FIELD))
            red = np.float32(total >> np.uint32(20))
        unit = np.float32(PER_FIELD)
        red, green, blue = red * unit, green * unit, blue * unit
        lu, lv = lit_x + wx * light[MAP_SCALE], lit_y + wyy * light[MAP_SCALE]
        sun = _map_value(sunlit[0], lu, lv) * light[SUN_Z]
        lamp = _map_value(sunlit[1], lu, lv)
        red = red * red * (light[SKY_RGB] + sun * light[SUN_RGB] + lamp * light[LAMP_RGB])
        green = green * green * (light[SKY_RGB + 1] + sun * light[SUN_RGB + 1] + lamp * light[LAMP_RGB + 1])
        blue = blue * blue * (light[SKY_RGB + 2] + sun * light[SUN_RGB + 2] + lamp * light[LAMP_RGB + 2])
        t = fog + fog_step * f
        out[i] = _pixel(
            light[FOG_RGB] + t * (red - light[FOG_RGB]),
            light[FOG_RGB + 1] + t * (green - light[FOG_RGB + 1]),
            light[FOG_RGB + 2] + t * (blue - light[FOG_RGB + 2]),
        )


@njit(**JIT)
def _textured(out, w, dw, wy, uvs, lit, light, atlas, spec):
    """A repeating texture times the light on its triangle, four samples per pixel.

    Args:
        out: (n,) uint32 pixels.
        w, dw, wy: Inverse depth, its change right and down.
        uvs: (6,) float32: u and v numerators at the first pixel, their change right, their change down.
        lit: (3,) light on the triangle.
        light: The light table.
        atlas: (B,) uint32 packed texels of all textures and levels.
        spec: (3,) int64: offset, log2 of width, log2 of height of level 0. Levels follow each other down to 1 x 1.
    """
    n = out.size
    half = np.float32(0.5) * np.float32(n)
    mid_w = w + dw * half
    um, vm = uvs[0] + uvs[2] * half, uvs[1] + uvs[3] * half
    u, v = um / mid_w, vm / mid_w
    ax, ay = (um + uvs[2]) / (mid_w + dw) - u, (vm + uvs[3]) / (mid_w + dw) - v
    bx, by = (um + uvs[4]) / (mid_w + wy) - u, (vm + uvs[5]) / (mid_w + wy) - v
    bits_u, bits_v = spec[1], spec[2]
    offset = spec[0]
    wide, tall = np.float32(1 << bits_u), np.float32(1 << bits_v)
    la = np.sqrt((ax * wide) ** 2 + (ay * tall) ** 2)
    lb = np.sqrt((bx * wide) ** 2 + (by * tall) ** 2)
    want = max(min(la, lb), max(la, lb) * np.float32(0.3))
    while want > 1.4 and (bits_u > 0 or bits_v > 0):
        offset += 1 << (bits_u + bits_v)
        bits_u = max(bits_u - 1, 0)
        bits_v = max(bits_v - 1, 0)
        want *= np.float32(0.5)
    wide, tall = np.float32(1 << bits_u), np.float32(1 << bits_v)
    mask_u, mask_v = np.int64((1 << bits_u) - 1), np.int64((1 << bits_v) - 1)
    s1x, s1y = (0.375 * bx + 0.125 * ax) * wide, (0.375 * by + 0.125 * ay) * tall
    s2x, s2y = (0.125 * bx - 0.375 * ax) * wide, (0.125 * by - 0.375 * ay) * tall
    t0 = np.exp(-light[FOG] / max(w, np.float32(1e-6)))
    t1 = np.exp(-light[FOG] / max(w + dw * np.float32(n), np.float32(1e-6)))
    fog, fog_step = np.float32(t0), np.float32((t1 - t0) / n)
    for i in range(n):
        f = np.float32(i)
        depth = np.float32(1.0) / (w + dw * f)
        u = (uvs[0] + uvs[2] * f) * depth * wide
        v = (uvs[1] + uvs[3] * f) * depth * tall
        total = atlas[
            np.uint64(
                offset + ((np.int64(np.floor(v + s1y)) & mask_v) << bits_u) + (np.int64(np.floor(u + s1x)) & mask_u)
            )
        ]
        total += atlas[
            np.uint64(
                offset + ((np.int64(np.floor(v - s1y)) & mask_v) << bits_u) + (np.int64(np.floor(u - s1x)) & mask_u)
            )
        ]
        total += atlas[
            np.uint64(
                offset + ((np.int64(np.floor(v + s2y)) & mask_v) << bits_u) + (np.int64(np.floor(u + s2x)) & mask_u)
            )
        ]
        total += atlas[
            np.uint64(
                offset + ((np.int64(np.floor(v - s2y)) & mask_v) << bits_u) + (np.int64(np.floor(u - s2x)) & mask_u)
            )
        ]
        unit = np.float32(PER_FIELD)
        blue = np.float32(total & np.uint32(FIELD)) * unit
        green = np.float32((total >> np.uint32(10)) & np.uint32(FIELD)) * unit
        red = np.float32(total >> np.uint32(20)) * unit
        t = fog + fog_step * f
        out[i] = _pixel(
            light[FOG_RGB] + t * (red * red * lit[0] - light[FOG_RGB]),
            light[FOG_RGB + 1] + t * (green * green * lit[1] - light[FOG_RGB + 1]),
            light[FOG_RGB + 2] + t * (blue * blue * lit[2] - light[FOG_RGB + 2]),
        )


@njit(**JIT)
def shade(ibuf, width, height, focal, src, drw, plane, tris, draws, light, dome, ground, atlas, specs, sunlit, out):
    """Colour every pixel of a visibility buffer.

    Args:
        ibuf: (H * W,) int32 from `rasterize`, with `src`, `drw`, `plane`.
        width, height, focal: Pixels.
        tris: (pos, nrm, rgb, kind, flags, part, tex, uv) of all triangles: (T, 9), (T, 3), (T, 3) float32, four
            integer columns (T,), (T, 6) float32.
        draws: (mats, rots, tints, emits): (D, 12) to camera, (D, 9) to world, (D, 3) paint, (D,) uint32 lit lamps.
        light: (LIGHT_SIZE,) float32.
        dome: (S, S) uint32 sky.
        ground: (texels, levels, palette) as `_ground` takes them.
        atlas, specs: Packed textures and (K, 3) int64 rows as `_textured` takes them.
        sunlit: (2, M, M) float32 light maps around the camera.
        out: (H * W,) uint32 BGRA pixels, written whole.
    """
    pos, nrm, rgb, kind, flags, part, tex, uv = tris
    mats, rots, tints, emits = draws
    texels, levels, palette = ground
    center_x, center_y = width * 0.5, height * 0.5
    used = src.size
    lit = np.empty((used, 3), np.float32)
    done = np.zeros(used, np.bool_)
    uvp = np.empty((used, 6))
    dirs = np.empty(9, np.float32)
    uvs = np.empty(6, np.float32)
    inv_f = 1.0 / focal
    for k in range(3):
        dirs[3 + k] = light[TO_WORLD + 3 * k + 1] * inv_f
        dirs[6 + k] = -light[TO_WORLD + 3 * k + 2] * inv_f
    for row in range(height):
        at = row * width
        sy = (row + 0.5 - center_y) * inv_f
        x = 0
        while x < width:
            n = ibuf[at + x]
            end = x + 1
            stop = min(width, x + SEGMENT)
            while end < stop and ibuf[at + end] == n:
                end += 1
            pixels = out[at + x : at + end]
            sx = (x + 0.5 - center_x) * inv_f
            if n < 0 or kind[src[n]] == GROUND:
                for k in range(3):
                    r = TO_WORLD + 3 * k
                    dirs[k] = light[r] + light[r + 1] * sx - light[r + 2] * sy
            if n < 0:
                _sky(pixels, dirs[0], dirs[1], dirs[2], dirs[3], dirs[4], dirs[5], dome)
                x = end
                continue
            t = src[n]
            w = np.float32(plane[n, 0] * (x + 0.5) + plane[n, 1] * (row + 0.5) + plane[n, 2])
            if kind[t] == GROUND:
                _ground(pixels, w, plane[n, 0], plane[n, 1], dirs, light, texels, levels, palette, sunlit)
            else:
                if not done[n]:
                    done[n] = True
                    _light_triangle(
                        n, t, drw[n], pos, nrm, rgb, kind, flags, part, mats, rots, tints, emits, light, sunlit, lit
                    )
                    if tex[t] >= 0:
                        _uv_plane(n, t, drw[n], pos, uv, mats, focal, center_x, center_y, uvp)
                if tex[t] >= 0:
                    for k in range(2):
                        uvs[k] = uvp[n, 3 * k] * (x + 0.5) + uvp[n, 3 * k + 1] * (row + 0.5) + uvp[n, 3 * k + 2]
                        uvs[2 + k] = uvp[n, 3 * k]
                        uvs[4 + k] = uvp[n, 3 * k + 1]
                    _textured(pixels, w, plane[n, 0], plane[n, 1], uvs, lit[n], light, atlas, specs[tex[t]])
                else:
                    _flat(pixels, w, plane[n, 0], lit[n], light)
            x = end


@njit(**JIT)
def resolve(
    zbuf, ibuf, width, focal, light, src, drw, kind, tag, instance, draw_tag, draw_instance, ground, texel_tag, outputs
):
    """Depth, tag and instance images from a visibility buffer.

    `outputs` is (depth, tag, instance), flat arrays of H * W elements, or of none where an image is not wanted.
    A pixel of ground takes its tag from the finest ground texel below it.
    """
    texels, levels = ground
    depth_out, tag_out, instance_out = outputs
    height = ibuf.size // width
    per_m = levels[0, 5]
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
                    iu = int(min(max((gx - levels[0, 3]) * per_m, 0.0), levels[0, 1] - 1))
                    iv = int(min(max((gy - levels[0, 4]) * per_m, 0.0), levels[0, 2] - 1))
                    value = texel_tag[texels[int(levels[0, 0]) + iv * int(levels[0, 1]) + iu]]
                tag_out[at] = value
