"""Driving with a checkpoint: `Policy`, its input `Observation` and output `Prediction`."""

from simlingo_training.inference.policy import Policy, Session
from simlingo_training.inference.records import Observation, Prediction

__all__ = ["Observation", "Policy", "Prediction", "Session"]
