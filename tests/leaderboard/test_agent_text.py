"""Where an agent's configuration ends and the name of the route's output folder begins."""

from __future__ import annotations

from pathlib import Path

import pytest

from leaderboard.autoagents.agent_text import split_save_name

SAVE_NAME = "RouteScenario_1_rep0_Mini01_None_3_01_02_03_04_05"


@pytest.mark.parametrize("name", ["plain", "lora+head", "+", "lora+head {best} für 2+2"])
@pytest.mark.parametrize("save_name", ["", SAVE_NAME, "RouteScenario_1+2_rep0"])
def test_a_path_may_hold_every_letter(tmp_path: Path, name: str, save_name: str) -> None:
    (tmp_path / name).mkdir()
    path = str(tmp_path / name)
    assert split_save_name(f"{path}+{save_name}" if save_name else path) == (path, save_name)


@pytest.mark.parametrize("text", ["", "corrected", "6.5"])
def test_what_is_no_path_ends_before_the_save_name(text: str) -> None:
    assert split_save_name(text) == (text, "")
    assert split_save_name(f"{text}+{SAVE_NAME}") == (text, SAVE_NAME)


def test_a_name_too_long_for_a_file_is_no_error() -> None:
    assert split_save_name("x" * 300 + "+y") == ("x" * 300, "y")
