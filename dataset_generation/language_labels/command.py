"""The label generators on the command line."""

from __future__ import annotations

from collections.abc import Callable, Sequence

from dataset_generation.language_labels.commentary.labeller import CommentaryLabeller
from dataset_generation.language_labels.profiles import Profile
from dataset_generation.language_labels.runner import Labeller, argument_parser, options_from, run_labellers
from dataset_generation.language_labels.vqa.labeller import VqaLabeller
from driving.records import COMMENTARY, VQA

LABELLERS: dict[str, Callable[[Profile], Labeller]] = {VQA.name: VqaLabeller, COMMENTARY.name: CommentaryLabeller}
"""Label kind to what makes it."""


def label_command(program: str, description: str, kinds: Sequence[str]) -> int:
    """Label a dataset as a command line asks, all kinds in one pass; returns the exit status."""
    arguments = argument_parser(program, description).parse_args()
    profile = options_from(arguments).profile
    return run_labellers([LABELLERS[kind](profile) for kind in kinds], arguments)
