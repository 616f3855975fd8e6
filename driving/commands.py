"""Navigation commands shared by route planner, expert, labels and agents."""

from enum import IntEnum


class RoadOption(IntEnum):
    """What the route does next. The values are those of CARLA's planners and of the recorded data."""

    VOID = -1
    LEFT = 1
    RIGHT = 2
    STRAIGHT = 3
    LANEFOLLOW = 4
    CHANGELANELEFT = 5
    CHANGELANERIGHT = 6
