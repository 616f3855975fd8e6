"""The SimLingo driver that shows itself on a page and does what is typed there; started by ``python -m team_code.drive``."""

from __future__ import annotations

import time
from functools import lru_cache

import carla

from driving.camera import decode_jpeg, rgb
from leaderboard.envs.sensor_interface import SensorData
from simlingo_training.data import prompts
from simlingo_training.inference import Observation, Policy, Session
from team_code.agent_simlingo import SimLingoAgent, Thought, TickInput
from team_code.drive.cockpit import Cockpit, Kind, Request
from team_code.drive.config import LiveConfig
from team_code.drive.page_server import serve
from team_code.prompting import Instruction, Verdict, spoken, verdict

MEASURED_OVER_S = 1.0
"""Wall time over which game time is held against the wall clock, seconds."""


def get_entry_point() -> str:
    """Name of the agent class, for the evaluator."""
    return "LiveAgent"


@lru_cache(maxsize=1)
def open_cockpit(port: int, world_view: str) -> Cockpit:
    """The cockpit of this process, its page being served."""
    cockpit = Cockpit()
    serve(cockpit, port, world_view)
    return cockpit


class LiveAgent(SimLingoAgent):
    """Drives, shows, listens."""

    config_class = LiveConfig
    config: LiveConfig
    policy: Policy

    def setup(self, path_to_conf_file: str) -> None:
        """See `AutonomousAgent.setup`."""
        super().setup(path_to_conf_file)
        if not isinstance(self.policy, Policy):
            raise ValueError("the live driver needs a checkpoint with language; SimLingo-Base has none")
        self.cockpit = open_cockpit(self.config.page_port, self.config.world_view)
        self.asked: list[str] = []
        self.instruction_ends = 0.0
        self.told: Verdict | None = None
        self.started_wall = self.started_game = self.ratio = 0.0

    def run_step(self, input_data: SensorData, timestamp: float) -> carla.VehicleControl:
        """See `AutonomousAgent.run_step`."""
        if self.step < 0:
            self._begin(timestamp)
        for request in self.cockpit.take():
            self._hear(request, timestamp)
        if self.instruction is not None and timestamp >= self.instruction_ends:
            self._release()
        control = super().run_step(input_data, timestamp)
        self._keep_pace(timestamp)
        return control

    def _begin(self, timestamp: float) -> None:
        route = [[round(t.location.x, 1), round(t.location.y, 1)] for t, _ in self.org_dense_route_world_coord[::2]]
        self.cockpit.begin(self.save_name.split("_rep")[0].removeprefix("RouteScenario_") or "without a name", route)
        self.started_wall, self.started_game = time.monotonic(), timestamp

    # -- listening -------------------------------------------------------------------------------------------------------

    def _hear(self, request: Request, now: float) -> None:
        if request.kind is Kind.ASK:
            self.asked.append(request.text)
        elif request.kind is Kind.RELEASE:
            self._release()
        else:
            self.instruction = Instruction(request.text, request.safety, request.navigation)
            self.instruction_ends = now + self.config.hold_s
            self.told = None

    def _release(self) -> None:
        if self.instruction is not None:
            self.cockpit.say("Back on the route.", "note")
        self.instruction, self.told = None, None

    def _think(self, tick: TickInput, now: float) -> Thought:
        instruction = self.instruction
        thought = super()._think(tick, now)
        if instruction is not None:
            self._tell(thought.prediction.text)
        for question in self.asked:
            self.cockpit.say(self._answer(question, tick), "answer")
        self.asked.clear()
        return thought

    def _tell(self, answer: str) -> None:
        """Pass on what became of the instruction when that changes; an instruction that is not followed ends here."""
        found = verdict(answer)
        if found is not self.told:
            self.told = found
            self.cockpit.say(spoken(answer) or "(no answer)", found.value)
        if found is not Verdict.FOLLOWED:
            self.instruction, self.told = None, None

    def _wants_whole_image(self) -> bool:
        return True

    def _answer(self, question: str, tick: TickInput) -> str:
        """Answer a question about the present picture, beside driving, without changing what the driver remembers."""
        distance = float(((tick.target_points[0]) ** 2).sum() ** 0.5)
        navigation = self.navigation.sentence(*tick.targets, distance)
        prompt = prompts.question_prompt(tick.speed, navigation, question)
        image = rgb(decode_jpeg(tick.jpeg))
        prediction = self.policy.act(Observation(image, tick.speed, tick.target_points, prompt), Session())
        return spoken(prediction.text) or "(no answer)"

    # -- showing ---------------------------------------------------------------------------------------------------------

    def _write(self, tick: TickInput, thought: Thought, control: carla.VehicleControl) -> None:
        super()._write(tick, thought, control)
        self.cockpit.show(self._frame(tick, thought, control), rgb(tick.image_bgr))

    def _keep_pace(self, timestamp: float) -> None:
        """Wait until the wall clock has caught up with the game; a drive that is behind does not hurry later."""
        game = timestamp - self.started_game
        wall = time.monotonic() - self.started_wall
        if self.config.pace and game / self.config.pace > wall:
            time.sleep(game / self.config.pace - wall)
        if wall > MEASURED_OVER_S:
            self.ratio = game / (time.monotonic() - self.started_wall)
            self.started_wall, self.started_game = time.monotonic(), timestamp
        self.cockpit.tick(timestamp, self.ratio)
