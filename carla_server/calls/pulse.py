"""What a client's calls tell about the thread of its Traffic Manager, and when a tick has to wait for it.

In synchronous mode `world.tick()` runs one step of the Traffic Manager after the world has moved: the client signals the
thread to begin and waits until it signals its end. A step asks for lights and weather, sends one batch of controls, then the
thread asks for the settings and sleeps. Two things go wrong in the client (`TrafficManagerLocal.cpp`):

* Its signals are sent without a lock. One that falls into the instant between a thread's look at its flag and its sleep
  is lost, and both threads wait for ever. So a tick is answered only some time after the thread went to sleep, and one
  that still missed its signal is set going again.
* A step that nobody asked for leaves the flag of its end behind. The next `world.tick()` then does not wait for its own
  step, and from there on every step runs beside the client's next actions. So a tick waits for the batch of the step
  before it, and nobody is woken who may only be slow.

Times are seconds on `time.monotonic`'s clock.
"""

from __future__ import annotations

import logging
from dataclasses import dataclass
from enum import Enum

from carla_server.wire.rpc import Call

log = logging.getLogger(__name__)

#: A tick is answered no earlier than this after the thread went to sleep: it needs some of that to get there, seconds.
REST_S = 0.0015
#: The call by which a step ends follows its batch within this, or nothing is known of it, seconds.
SETTLING_S = 0.01
#: How long a tick waits for the batch of the step before it, seconds, if so many steps have come in time before.
STEP_PATIENCE_S, IN_TIME = 1.0, 3
#: A thread that asks for the settings more often than this after a tick runs by itself, in asynchronous mode.
POLLING = 8
#: A client whose tick was answered, and that called nothing since, missed the signal to begin after this time; one that
#: calls other things but sends no batch so long after the first of them, seconds.
MISSED_S, MISSED_AMONG_CALLS_S = 3.0, 20.0
#: A client that calls nothing at all for this long after a step may have missed the signal of its end. Long, because it
#: may as well be thinking, unless it tells that it stands, and a step too many changes what traffic does, seconds.
SILENCE_S = 120.0
#: By asking about a recording of this name, which there is not, a client tells that a thread of it stands inside `world.tick()`
#: for seconds. CARLA answers that there is no such file.
TELLING, TOLD_NAME = "show_recorder_file_info", "simlingo.client-stands-in-tick"
#: A client that tells so this often, and calls nothing else after a step has ended, missed the signal of its end.
TELLINGS = 3


def tells_it_stands(call: Call) -> bool:
    """Whether a call only tells that its client stands inside `world.tick()`."""
    return call.name == TELLING and call.arguments[:1] == (TOLD_NAME,)


class Missed(Enum):
    """Which signal inside a client was lost."""

    BEGIN = "begin"
    END = "end"


@dataclass
class Pulse:
    """Steps of the Traffic Manager of one client.

    Attributes:
        heard: When the client last sent anything but tellings that it stands.
        ticked: When a tick was answered whose step has not sent its batch yet; None if it has.
        batch: When the last batch was answered.
        settled: When the thread went to sleep after it; None if it was not heard to.
        in_time: How many steps in a row sent their batch before the next tick was asked for.
    """

    heard: float = 0.0
    ticked: float | None = None
    batch: float = 0.0
    settled: float | None = None
    in_time: int = 0
    _spoke: float | None = None
    _polls: int = 0
    _tellings: int = 0
    _helped: bool = True

    def called(self, name: str, now: float) -> None:
        """Note that a call was answered, other than a telling that the client stands."""
        self._tellings = 0
        if name == "tick_cue":
            self.ticked, self.settled, self._spoke, self._polls, self._helped = now, None, None, 0, False
            return
        self._spoke = now if self._spoke is None else self._spoke
        if name == "apply_batch":
            self.in_time += self.ticked is not None
            self.batch, self.ticked, self.settled = now, None, None
        elif name == "get_episode_settings":
            self._polls += 1
            if self.ticked is None and self.settled is None:
                self.settled = now

    def stood(self) -> None:
        """Note that the client told that it stands, and that no other call of it waits. It counts once a step has ended."""
        self._tellings += self.settled is not None

    def hold(self, now: float) -> float:
        """Seconds until the next tick should be tried, or when a call came before; 0 if it may run now."""
        if self.ticked is not None:
            if self.in_time < IN_TIME or self._polls > POLLING:
                self.in_time = 0
                return 0.0
            if now - self.ticked < STEP_PATIENCE_S:
                return STEP_PATIENCE_S - (now - self.ticked)
            log.warning("a tick did not wait for its client's Traffic Manager, which has not sent its batch")
            self.in_time = 0
            return 0.0
        slept = self.settled if self.settled is not None else self.batch + SETTLING_S
        if self.settled is None and now < slept:
            return slept - now
        return max(0.0, slept + REST_S - now)

    def missed(self, now: float) -> Missed | None:
        """Signal that the client seems to have lost, told at most once per tick."""
        if self._helped:
            return None
        if self.ticked is None:
            stands = self._tellings >= TELLINGS
            lost = Missed.END if stands or now - self.heard > SILENCE_S else None
        else:
            silent = self.heard <= self.ticked and now - self.ticked > MISSED_S
            idle = self._spoke is not None and now - self._spoke > MISSED_AMONG_CALLS_S
            lost = Missed.BEGIN if self._polls <= POLLING and (silent or idle) else None
        if lost is not None:
            self._helped = True
        return lost

    def still_missed(self, lost: Missed, now: float) -> bool:
        """Whether a signal that seemed to be lost still does."""
        self._helped = False
        return self.missed(now) is lost
