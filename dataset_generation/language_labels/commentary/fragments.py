"""The canonical pieces of commentary, by the keys of the published template file."""

REMAIN_STOPPED = "Remain stopped"
STOP_NOW = "Stop now"
MAINTAIN_SPEED = "Maintain your current speed"
MAINTAIN_REDUCED_SPEED = "Maintain the reduced speed"
ACCELERATE = "Accelerate"
DECELERATE = "Decelerate"
WAIT_FOR_GAP = "Wait for a gap in the traffic before changing lanes"

GO_BACK = "Return to your original route after avoiding the obstacle."
FOLLOW_ROUTE = "Follow the route."
EXIT_PARKING = "Exit the parking lot."
PREPARE_LANE_CHANGE = "Prepare to do a lane change."
TURN_LEFT = "Turn left."
TURN_RIGHT = "Turn right."
SHIFT_RIGHT = (
    "Shift a bit to the right to make space for the traffic that invades the lane because of the traffic cones."
)

AVOIDANCE = {
    "ParkedObstacle": "Steer clear of the parked vehicle.",
    "HazardAtSideLane": "Overtake the bikes on your lane.",
    "VehicleOpensDoor": "Avoid the vehicle that is opening its door.",
    "YieldToEmergencyVehicle": "Give way to the emergency vehicle.",
    "Accident": "Avoid the accident on your lane.",
    "ConstructionObstacle": "Go around the construction site.",
    "InvadingTurn": "Steer clear of the oncoming traffic entering your lane due to the construction cones.",
}
"""Scenario, without ``TwoWays``, to how the ego vehicle passes it."""


def lower_first(sentence: str) -> str:
    """The sentence with a lower-case first letter."""
    return sentence[:1].lower() + sentence[1:]
