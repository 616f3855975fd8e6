"""Switching criteria off for the time of a scenario, so that overlapping scenarios do not switch them on for each other."""

from __future__ import annotations

from srunner.scenariomanager import blackboard


class CriterionSwitches:
    """Which scenarios want which criterion off. A criterion is on again when the last of them lets go."""

    def __init__(self) -> None:
        self._holders: dict[str, set[int]] = {
            blackboard.WRONG_DIRECTION_SWITCH: set(),
            blackboard.BLOCKED_SWITCH: set(),
        }

    def hold_off(self, switch: str, owner: int) -> None:
        """Switch a criterion off for ``owner``; ``switch`` is one of the blackboard's switch names."""
        holders = self._holders[switch]
        if not holders:
            blackboard.set(switch, False)
        holders.add(owner)

    def let_go(self, switch: str, owner: int) -> None:
        """``owner`` no longer needs the criterion off; nothing happens if it did not hold it."""
        holders = self._holders[switch]
        if owner not in holders:
            return
        holders.discard(owner)
        if not holders:
            blackboard.set(switch, True)

    def release(self, owner: int) -> None:
        """Let go of everything ``owner`` holds."""
        for switch in self._holders:
            self.let_go(switch, owner)
