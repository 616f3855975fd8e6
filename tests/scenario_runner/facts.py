"""What films of scenarios are asked: small facts, each stating one thing that a scenario type must do."""

from __future__ import annotations

import math
from collections.abc import Iterator
from itertools import pairwise

import numpy as np

from tests.scenario_runner.films import TICK, Fact, Film, Track

MOVING = 0.5
"""From this speed on an actor moves, m/s."""

LANE = 1.75
"""Half of a lane, metres."""

OWN_LENGTHS = 3.3
"""Half lengths of the ego and a bicycle, metres."""


def first_row(film: Film, part: str) -> tuple[int, tuple[float, float, float, float, float]]:
    """Tick and row at which an actor was first seen."""
    assert part in film.parts, f"there is no {part}, only {sorted(film.parts)}"
    seen = next(film.parts[part].visible(), None)
    assert seen is not None, f"{part} never appeared"
    return seen


def stands(part: str, ahead: tuple[float, float], right: tuple[float, float]) -> Fact:
    """An actor stands so far ahead of the trigger and right of the route (both ranges in metres), and stays there."""

    def look(film: Film) -> None:
        _, row = first_row(film, part)
        along, aside = film.project(row[0], row[1])
        assert ahead[0] <= along <= ahead[1], f"{part} stands {along:.1f} m after the trigger"
        assert right[0] <= aside <= right[1], f"{part} stands {aside:.1f} m to the right"
        last = film.parts[part].rows[-1]
        assert math.dist(row[:2], last[:2]) < 0.3, f"{part} has moved"

    return look


def hides(part: str, at_most_s: float = 0.5) -> Fact:
    """An actor is hidden until the trigger and there soon after it."""

    def look(film: Film) -> None:
        assert film.triggered is not None
        tick, _ = first_row(film, part)
        assert 0.0 <= film.since(tick) <= at_most_s, f"{part} appeared {film.since(tick):.2f} s after the trigger"

    return look


def there_from_the_start(*parts: str) -> Fact:
    """Actors are there before the trigger, for example to be seen from afar."""

    def look(film: Film) -> None:
        for part in parts:
            assert first_row(film, part)[0] <= 2, f"{part} came later"

    return look


def appears(part: str, ahead: tuple[float, float], right: tuple[float, float]) -> Fact:
    """Where an actor is first seen: metres along the route from the trigger and to its right."""

    def look(film: Film) -> None:
        _, row = first_row(film, part)
        along, aside = film.project(row[0], row[1])
        assert ahead[0] <= along <= ahead[1], f"{part} appears {along:.1f} m after the trigger"
        assert right[0] <= aside <= right[1], f"{part} appears {aside:.1f} m to the right"

    return look


def comes_from_behind(part: str, metres: tuple[float, float]) -> Fact:
    """An actor appears behind the ego, so many metres away."""

    def look(film: Film) -> None:
        tick, _ = first_row(film, part)
        gap = film.ego_gap(film.parts[part], tick)
        assert metres[0] <= -gap <= metres[1], f"{part} appears {gap:.1f} m ahead of the ego"

    return look


def ego_stood_aside(right: tuple[float, float]) -> Fact:
    """How far right of the route the ego was in the first tick, metres."""

    def look(film: Film) -> None:
        _, aside = film.project(*film.ego.rows[0][:2])
        assert right[0] <= aside <= right[1], f"it was {aside:.1f} m to the right"

    return look


def first_move(film: Film, part: str) -> int:
    """Tick at which a visible actor first moved."""
    moving = (tick for tick, row in film.parts[part].visible() if row[4] > MOVING)
    tick = next(moving, None)
    assert tick is not None, f"{part} never moved"
    return tick


def starts_before_the_ego(part: str, seconds: float, metres: float, late_s: float = 0.35) -> Fact:
    """An actor stands until the ego's straight way to the conflict takes ``seconds`` or is ``metres`` long, then moves."""

    def look(film: Film) -> None:
        assert film.info is not None
        tick = first_move(film, part)
        at = film.info.places["conflict"].location
        x, y, _, _, speed = film.ego.rows[tick]
        way, limit = math.dist((x, y), (at.x, at.y)), max(seconds * speed, metres)
        assert limit - late_s * max(speed, 1.0) - 1.5 < way < limit + 2.0, (
            f"{part} moved {way:.1f} m before the conflict"
        )

    return look


def moves_at(part: str, speed: float, slack: float = 0.4, after_s: float = 1.0) -> Fact:
    """An actor's speed, m/s, once it has got going."""

    def look(film: Film) -> None:
        start = first_move(film, part) + round(after_s / TICK)
        speeds = [row[4] for tick, row in film.parts[part].visible() if tick >= start and row[4] > MOVING]
        assert speeds, f"{part} moved for less than {after_s} s"
        assert abs(float(np.median(speeds)) - speed) < slack, f"{part} moves at {np.median(speeds):.1f} m/s"

    return look


def moves_within(part: str, seconds: float) -> Fact:
    """An actor stands until the trigger and moves soon after it."""

    def look(film: Film) -> None:
        after = film.since(first_move(film, part))
        assert 0.0 < after < seconds, f"{part} moved {after:.1f} s after the trigger"

    return look


def gains_on_the_ego(part: str) -> Fact:
    """An actor behind the ego gets nearer but stays behind."""

    def look(film: Film) -> None:
        track = film.parts[part]
        gaps = [film.ego_gap(track, tick) for tick, _ in track.visible()]
        assert max(gaps) < 0.0, f"{part} got {max(gaps):.1f} m ahead"
        assert max(gaps) > gaps[0] + 5.0, f"{part} stayed {-max(gaps):.1f} m behind"

    return look


def overtakes(part: str) -> Fact:
    """An actor behind the ego ends up ahead of it."""

    def look(film: Film) -> None:
        track = film.parts[part]
        gaps = [film.ego_gap(track, tick) for tick, _ in track.visible()]
        assert gaps[0] < 0.0 < gaps[-1], f"{part} came from {gaps[0]:.1f} to {gaps[-1]:.1f} m"

    return look


def crosses(*parts: str) -> Fact:
    """Actors come across the ego's lane."""

    def look(film: Film) -> None:
        for part in parts:
            sides = [film.project(row[0], row[1])[1] for _, row in film.parts[part].visible()]
            assert min(sides) < 0.0 < max(sides), f"{part} stayed between {min(sides):.1f} and {max(sides):.1f} m"

    return look


def comes_into_the_lane(part: str, within: float = 0.8) -> Fact:
    """An actor beside the ego's lane gets into it."""

    def look(film: Film) -> None:
        sides = [abs(film.project(row[0], row[1])[1]) for _, row in film.parts[part].visible()]
        assert sides[0] > 1.2, f"{part} begins {sides[0]:.1f} m beside the route"
        assert min(sides) < within, f"{part} got no nearer than {min(sides):.1f} m"

    return look


def removed(*parts: str) -> Fact:
    """Actors are gone before the film ends, all without arguments."""

    def look(film: Film) -> None:
        for part in parts or tuple(film.parts):
            assert film.parts[part].ticks[-1] < len(film.ego.ticks) - 1, f"{part} is still there"

    return look


def stream(at_least: int, speed: float, slack: float = 0.5) -> Fact:
    """Vehicles are sent through at a speed, m/s."""

    def look(film: Film) -> None:
        assert len(film.stream) >= at_least, f"only {len(film.stream)} vehicles came"
        speeds = [row[4] for track in film.stream.values() for row in track.rows[10:]]
        assert abs(float(np.median(speeds)) - speed) < slack, f"they drive {np.median(speeds):.1f} m/s"

    return look


def stream_models(*models: str) -> Fact:
    """Of what models the stream is."""

    def look(film: Film) -> None:
        assert {track.type_id for track in film.stream.values()} <= set(models)

    return look


def stream_gaps(low: float, high: float) -> Fact:
    """Vehicles of the stream follow each other at distances from an interval, metres."""

    def look(film: Film) -> None:
        births = sorted(film.stream.values(), key=lambda track: track.ticks[0])
        gaps = []
        for before, after in pairwise(births):
            row = before.at(after.ticks[0])
            if row is not None and after.ticks[0] > (film.triggered or 0) + 5:
                gaps.append(math.dist(row[:2], after.rows[0][:2]))
        assert all(low - 1.0 <= gap <= high + 3.0 for gap in gaps), f"gaps of {[round(gap, 1) for gap in gaps]} m"

    return look


def stream_turn(low: float, high: float) -> Fact:
    """The stream's heading against the ego's at the trigger when it first appears, degrees from 0 to 360."""

    def look(film: Film) -> None:
        assert film.triggered is not None
        own = film.ego.rows[film.triggered][3]
        turns = [(track.rows[0][3] - own) % 360.0 for track in film.stream.values()]
        assert turns, "there is no stream"
        assert all(low <= turn <= high for turn in turns), f"it comes at {[round(turn) for turn in turns]} degrees"

    return look


def stream_comes_towards() -> Fact:
    """The stream drives against the route wherever it is beside it."""

    def look(film: Film) -> None:
        beside = []
        for track in film.stream.values():
            for x, y, _, yaw, _ in track.rows:
                along, right = film.project(x, y)
                turn = math.radians(yaw) - film.points[film.index_at(along), 2]
                beside += [math.cos(turn)] if abs(right) < 3 * LANE else []
        assert beside, "it never comes beside the route"
        assert max(beside) < -0.85, "it does not come towards the ego"

    return look


def stream_leaves_on_the_route() -> Fact:
    """Vehicles of the stream come onto the ego's road and drive on in its direction."""

    def look(film: Film) -> None:
        rows = [row for track in film.stream.values() for row in track.rows]
        onto = []
        for x, y, _, yaw, _ in rows:
            along, right = film.project(x, y)
            turn = math.radians(yaw) - film.points[film.index_at(along), 2]
            onto.append(abs(right) < LANE and math.cos(turn) > 0.95 and along > 5.0)
        assert any(onto), "it never comes onto the ego's road"

    return look


def stream_beside(low: float, high: float) -> Fact:
    """Where the stream runs while it is beside the route, metres to the right of it."""

    def look(film: Film) -> None:
        sides = [film.project(row[0], row[1])[1] for track in film.stream.values() for row in track.rows]
        assert sides, "there is no stream"
        assert low <= float(np.median(sides)) <= high, f"it runs {np.median(sides):.1f} m to the right"

    return look


def stream_starts(low_s: float, high_s: float) -> Fact:
    """When the first vehicle of the stream appears, seconds after the trigger."""

    def look(film: Film) -> None:
        first = min((track.ticks[0] for track in film.stream.values()), default=None)
        assert first is not None, "there is no stream"
        assert low_s <= film.since(first) <= high_s, f"it starts {film.since(first):.1f} s after the trigger"

    return look


def own_light(*spans: tuple[float, float, str]) -> Fact:
    """States of the ego's light: (from, to, state), seconds after the trigger; as far as the scenario lasts."""

    def look(film: Film) -> None:
        assert film.own_light[0] is not None, "the ego meets no light"
        for low, high, state in spans:
            seen = {str(film.own_light[tick]) for tick in film.active() if low <= film.since(tick) <= high}
            assert seen <= {state}, f"from {low} to {high} s it is {seen}"
            assert seen, f"the scenario ended before {low} s"

    return look


def other_lights(low: float, high: float, *states: str) -> Fact:
    """States that the junction's other lights show in a span, seconds after the trigger, sorted."""

    def look(film: Film) -> None:
        seen = {str(s) for tick in film.active() if low <= film.since(tick) <= high for s in film.other_lights[tick]}
        assert sorted(seen) == sorted(states), f"they show {sorted(seen)}"

    return look


def ends_after(seconds: float, slack: float = 0.6) -> Fact:
    """How long it lasts from the trigger."""

    def look(film: Film) -> None:
        assert film.ended is not None, "it never ended"
        assert abs(film.since(film.ended) - seconds) < slack, f"it ended after {film.since(film.ended):.1f} s"

    return look


def ends_after_coming_near(part: str, metres: float, seconds: float) -> Fact:
    """It ends so many seconds after the ego came nearer than ``metres`` to an actor."""

    def look(film: Film) -> None:
        assert film.ended is not None, "it never ended"
        track = film.parts[part]
        near = (tick for tick, row in track.visible() if math.dist(row[:3], film.ego.rows[tick][:3]) < metres)
        came = next(near, None)
        assert came is not None, "the ego never came near"
        assert abs((film.ended - came) * TICK - seconds) < 0.4, f"after {(film.ended - came) * TICK:.1f} s"

    return look


def ends_after_overtaking(part: str, metres: float, slack: float = 4.0) -> Fact:
    """It ends when the ego has driven so far since it got ahead of an actor."""

    def look(film: Film) -> None:
        assert film.ended is not None, "it never ended"
        track = film.parts[part]
        ahead = (tick for tick in film.active() if track.at(tick) and film.ego_gap(track, tick) < -OWN_LENGTHS)
        passed = next(ahead, None)
        assert passed is not None, f"the ego never passed {part}"
        driven = ego_drove(film, passed, film.ended)
        assert abs(driven - metres) < slack, f"it ended {driven:.1f} m later"

    return look


def ends_when_it_drove(part: str, metres: float, slack: float = 2.5) -> Fact:
    """It ends when an actor has driven so far."""

    def look(film: Film) -> None:
        assert film.ended is not None, "it never ended"
        path = np.array([row[:2] for _, row in film.parts[part].visible()])
        driven = float(np.hypot(*np.diff(path, axis=0).T).sum())
        assert abs(driven - metres) < slack, f"it drove {driven:.1f} m"

    return look


def ends_behind(place: str, most: float = 6.0) -> Fact:
    """It ends when the ego passes a place of its record."""

    def look(film: Film) -> None:
        assert film.ended is not None, "it never ended"
        assert film.info is not None
        at = film.info.places[place].location
        x, y, _, _, _ = film.ego.rows[film.ended]
        beyond = film.project(x, y)[0] - film.project(at.x, at.y)[0]
        assert -3.0 <= beyond <= most, f"it ended {beyond:.1f} m behind {place}"

    return look


def ego_drove(film: Film, first: int, last: int) -> float:
    """Metres of the ego's path between two ticks."""
    path = np.array([row[:2] for row in film.ego.rows[first : last + 1]])
    return float(np.hypot(*np.diff(path, axis=0).T).sum())


def ends_when_driven(metres: float, slack: float = 4.0, after: str = "", after_s: float = 0.0) -> Fact:
    """It ends when the ego has driven so far since the trigger, some seconds later, or since an actor was last seen."""

    def look(film: Film) -> None:
        assert film.ended is not None, "it never ended"
        assert film.triggered is not None
        begin = film.parts[after].ticks[-1] if after else film.triggered + round(after_s / TICK)
        driven = ego_drove(film, begin, film.ended)
        assert abs(driven - metres) < slack, f"it ended after {driven:.1f} m"

    return look


def ends_after_junction(beyond: float, slack: float = 3.0) -> Fact:
    """It ends when the ego has crossed the junction and driven so many metres."""

    def look(film: Film) -> None:
        assert film.ended is not None, "it never ended"
        driven = ego_drove(film, film.left_junction(), film.ended)
        assert abs(driven - beyond) < slack, f"it ended {driven:.1f} m behind the junction"

    return look


# ---- background traffic -------------------------------------------------------------------------------------------------


def cars_ahead(film: Film, tick: int, most: float) -> Iterator[tuple[Track, float, float]]:
    """(track, metres ahead of the ego along the route, speed) of background cars on the ego's lane."""
    ego = film.project(*film.ego.rows[tick][:2])[0]
    for track in film.traffic.values():
        row = track.at(tick)
        if row is not None:
            along, right = film.project(row[0], row[1])
            if 0.0 < along - ego < most and abs(right) < LANE:
                yield track, along - ego, row[4]


def lane_is_free(until: float, after_s: float = 0.3) -> Fact:
    """No background car stands between the ego and a place so many metres after the trigger, soon after it."""

    def look(film: Film) -> None:
        assert film.triggered is not None
        tick = film.triggered + round(after_s / TICK)
        ego = film.project(*film.ego.rows[tick][:2])[0]
        near = [round(gap) for _, gap, _ in cars_ahead(film, tick, until - ego)]
        assert not near, f"background cars {near} m ahead"

    return look


def traffic_ahead_stands(low: float, high: float) -> Fact:
    """Background cars ahead stand in a span, seconds after the trigger, and there are some."""

    def look(film: Film) -> None:
        speeds = [
            speed
            for tick in film.active()
            if low <= film.since(tick) <= high
            for _, _, speed in cars_ahead(film, tick, 60.0)
        ]
        assert speeds, "nobody is ahead"
        assert max(speeds) < MOVING, f"they drive up to {max(speeds):.1f} m/s"

    return look


def traffic_is_slower_than(kmh: float, low: float, high: float) -> Fact:
    """All background cars drive at most so fast in a span, seconds after the trigger, and there are some."""

    def look(film: Film) -> None:
        spans = [tick for tick in film.active() if low <= film.since(tick) <= high]
        rows = [row for tick in spans for track in film.traffic.values() if (row := track.at(tick)) is not None]
        assert rows, "there is no traffic"
        assert max(row[4] for row in rows) < kmh / 3.6 + 1.0, f"up to {max(row[4] for row in rows) * 3.6:.0f} km/h"

    return look


def junction_is_empty(after_s: float = 1.0) -> Fact:
    """No background car is inside the ego's junction from some time after the trigger until the ego has crossed it."""

    def look(film: Film) -> None:
        inside = [tick for tick in film.active() if film.in_junction[tick] and film.since(tick) > after_s]
        assert inside, "the ego came into no junction"
        for tick in inside:
            x, y = film.ego.rows[tick][:2]
            near = [
                track for track in film.traffic.values() if (row := track.at(tick)) and math.dist(row[:2], (x, y)) < 9.0
            ]
            moving = [track.type_id for track in near if (row := track.at(tick)) and row[4] > MOVING]
            assert not moving, f"{moving} beside the ego {film.since(tick):.1f} s after the trigger"

    return look


def ego_is_disturbed(times: int) -> Fact:
    """So many times the ego's steering does not do what was asked."""

    def look(film: Film) -> None:
        off = [tick for tick in film.active() if abs(film.steering[tick][0] - film.steering[tick][1]) > 0.005]
        spells = 1 + sum(b - a > 10 for a, b in pairwise(off)) if off else 0
        assert spells == times, f"{spells} times"

    return look
