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


COMMAND_PHRASES: dict[int, str] = {
    RoadOption.LEFT: "go left at the next intersection",
    RoadOption.RIGHT: "go right at the next intersection",
    RoadOption.STRAIGHT: "go straight at the next intersection",
    RoadOption.LANEFOLLOW: "follow the road",
    RoadOption.CHANGELANELEFT: "do a lane change to the left",
    RoadOption.CHANGELANERIGHT: "do a lane change to the right",
}
"""Commands in the words of the published prompts and answers, which released checkpoints know to the letter."""
