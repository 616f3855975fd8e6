"""Smooth reference lines out of straight pieces and arcs."""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass

TINY = 1e-7


@dataclass(frozen=True)
class Pose:
    """A point with a heading: metres east and north, radians counter-clockwise from east."""

    x: float
    y: float
    heading: float

    def moved(self, ahead: float, left: float = 0.0) -> Pose:
        """The pose `ahead` metres further and `left` metres to the left, heading unchanged."""
        cos, sin = math.cos(self.heading), math.sin(self.heading)
        return Pose(self.x + ahead * cos - left * sin, self.y + ahead * sin + left * cos, self.heading)

    def turned(self, angle: float) -> Pose:
        """The same point with the heading turned counter-clockwise by `angle` radians."""
        return Pose(self.x, self.y, self.heading + angle)


@dataclass(frozen=True)
class Piece:
    """A straight (curvature 0) or circular piece of a reference line."""

    length: float
    curvature: float = 0.0

    def end(self, start: Pose) -> Pose:
        """Pose at the end of the piece if it begins at `start`."""
        if abs(self.curvature) < TINY:
            return start.moved(self.length)
        turn = self.curvature * self.length
        radius = 1.0 / self.curvature
        moved = start.moved(radius * math.sin(turn), radius * (1.0 - math.cos(turn)))
        return moved.turned(turn)


@dataclass(frozen=True)
class Curve:
    """A start pose and the pieces that follow each other from there without a kink."""

    start: Pose
    pieces: tuple[Piece, ...]

    @property
    def length(self) -> float:
        """Metres."""
        return sum(piece.length for piece in self.pieces)

    @property
    def end(self) -> Pose:
        """Pose at the end."""
        return self.at(self.length)

    def at(self, s: float) -> Pose:
        """Pose at distance `s`, extended straight beyond both ends."""
        pose = self.start
        if s <= 0:
            return pose.moved(s)
        for piece in self.pieces:
            if s <= piece.length:
                return Piece(s, piece.curvature).end(pose)
            pose = piece.end(pose)
            s -= piece.length
        return pose.moved(s)

    def trimmed(self, first: float, last: float) -> Curve:
        """The part between distances `first` and `last`, metres.

        Raises:
            ValueError: Nothing is left.
        """
        if last - first < 1.0:
            raise ValueError(f"trimming {self.length:.1f} m to [{first:.1f}, {last:.1f}] leaves less than 1 m")
        pieces, s = [], 0.0
        for piece in self.pieces:
            lower, upper = max(s, first), min(s + piece.length, last)
            if upper - lower > 1e-6:
                pieces.append(Piece(upper - lower, piece.curvature))
            s += piece.length
        return Curve(self.at(first), tuple(pieces))


def polyline(points: Sequence[tuple[float, float, float]]) -> Curve:
    """A line through corner points (x, y, radius), each corner rounded by its radius.

    Raises:
        ValueError: Two neighbouring roundings need more room than their distance.
    """
    pieces: list[Piece] = []
    used = 0.0
    heading = _heading(points[0], points[1])
    start = Pose(points[0][0], points[0][1], heading)
    for before, corner, after in zip(points, points[1:], points[2:]):
        turn = _wrap(_heading(corner, after) - heading)
        tangent = corner[2] * math.tan(abs(turn) / 2)
        straight = math.dist(before[:2], corner[:2]) - used - tangent
        if straight < -1e-9:
            raise ValueError(f"the bend at ({corner[0]}, {corner[1]}) with radius {corner[2]} lacks {-straight:.1f} m")
        pieces.append(Piece(max(straight, 0.0)))
        if abs(turn) > TINY:
            pieces.append(Piece(corner[2] * abs(turn), math.copysign(1.0 / corner[2], turn)))
        used, heading = tangent, _heading(corner, after)
    straight = math.dist(points[-2][:2], points[-1][:2]) - used
    if straight < -1e-9:
        raise ValueError(f"the last bend before ({points[-1][0]}, {points[-1][1]}) lacks {-straight:.1f} m")
    pieces.append(Piece(max(straight, 0.0)))
    return Curve(start, tuple(piece for piece in pieces if piece.length > 1e-6))


def connect(first: Pose, last: Pose) -> Curve:
    """A curve from `first` to `last` that leaves and arrives along their headings.

    One arc with straight remainders where the headings' lines meet ahead of one pose and behind the other; otherwise
    two arcs (a biarc with equal tangent lengths; Bolton, Biarc curves, 1975).
    """
    turn = _wrap(last.heading - first.heading)
    dx, dy = last.x - first.x, last.y - first.y
    ahead = dx * math.cos(first.heading) + dy * math.sin(first.heading)
    aside = -dx * math.sin(first.heading) + dy * math.cos(first.heading)
    if abs(turn) < 1e-6 and abs(aside) < 1e-6:
        return Curve(first, (Piece(ahead),))
    if 1e-3 < abs(turn) < math.pi - 1e-2:
        # Lengths from both poses to the meeting point of their lines.
        after = aside / math.sin(turn)
        before = ahead - after * math.cos(turn)
        if before > 1e-6 and after > 1e-6:
            tangent = min(before, after)
            radius = tangent / math.tan(abs(turn) / 2)
            pieces = (
                Piece(before - tangent),
                Piece(radius * abs(turn), math.copysign(1 / radius, turn)),
                Piece(after - tangent),
            )
            return Curve(first, tuple(piece for piece in pieces if piece.length > 1e-6))
    return _biarc(first, last)


def _biarc(first: Pose, last: Pose) -> Curve:
    t0 = (math.cos(first.heading), math.sin(first.heading))
    t1 = (math.cos(last.heading), math.sin(last.heading))
    v = (last.x - first.x, last.y - first.y)
    vv, vt = v[0] ** 2 + v[1] ** 2, v[0] * (t0[0] + t1[0]) + v[1] * (t0[1] + t1[1])
    spread = 2.0 * (1.0 - t0[0] * t1[0] - t0[1] * t1[1])
    d = (-vt + math.sqrt(vt**2 + spread * vv)) / spread if spread > 1e-9 else vv / (2.0 * vt)
    middle = (
        0.5 * (first.x + last.x + d * (t0[0] - t1[0])),
        0.5 * (first.y + last.y + d * (t0[1] - t1[1])),
    )
    one = _arc_through(first, *middle)
    two = _arc_through(one.end(first), last.x, last.y)
    return Curve(first, tuple(piece for piece in (one, two) if piece.length > 1e-6))


def _arc_through(start: Pose, x: float, y: float) -> Piece:
    dx, dy = x - start.x, y - start.y
    chord = math.hypot(dx, dy)
    half = _wrap(math.atan2(dy, dx) - start.heading)
    if abs(half) < 1e-9:
        return Piece(chord)
    return Piece(chord * half / math.sin(half), 2.0 * math.sin(half) / chord)


def _heading(a: Sequence[float], b: Sequence[float]) -> float:
    return math.atan2(b[1] - a[1], b[0] - a[0])


def _wrap(angle: float) -> float:
    return (angle + math.pi) % (2 * math.pi) - math.pi
