"""Drive it yourself, whole: the command, the simulator, a small model, and a browser that types."""

from __future__ import annotations

import json
import re
import shutil
import signal
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import torch

from jobs import ports
from simlingo_training.config import LoraSettings, ModelSettings
from simlingo_training.data.images import TileSpec
from simlingo_training.models import checkpoint as checkpoints
from team_code.drive.__main__ import main

CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
START_S = 240.0


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A small checkpoint with random weights; it drives nowhere, but at every tick."""
    torch.manual_seed(0)
    settings = ModelSettings(
        backbone="tiny", pretrained=False, tiles=TileSpec(192), lora=LoraSettings(enabled=False), max_new_tokens=12
    )
    return checkpoints.build(settings).save(tmp_path_factory.mktemp("tiny"))


def until(condition: Callable[[], bool], timeout_s: float) -> bool:
    end = time.monotonic() + timeout_s
    while time.monotonic() < end:
        if condition():
            return True
        time.sleep(0.2)
    return False


@pytest.fixture(scope="module")
def drive(checkpoint: Path, tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[str, subprocess.Popen[str]]]:
    """The running command and the address it printed."""
    with ports.lease_ports() as lease:
        command = [sys.executable, "-m", "team_code.drive", "--checkpoint", str(checkpoint), "--no-browser"]
        command += ["--port", str(lease.rpc), "--routes-subset", "900", "--pace", "0"]
        command += ["--logs", str(tmp_path_factory.mktemp("logs")), "--option", "device=cpu"]
        # A shell that starts tests in the background lets its children ignore Ctrl-C.
        handler = signal.signal(signal.SIGINT, signal.default_int_handler)
        process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
        signal.signal(signal.SIGINT, handler)
        assert process.stdout is not None
        line = ""
        while "drive it yourself at" not in line:
            line = process.stdout.readline()
            assert line, "the command ended before the page was there"
        yield line.split(" at ")[1].split()[0].rstrip("/"), process
        process.send_signal(signal.SIGINT)
        process.wait(60)


def state(address: str) -> dict[str, Any]:
    with urllib.request.urlopen(f"{address}/state.json", timeout=20) as answer:
        value: dict[str, Any] = json.loads(answer.read())
        return value


def post(address: str, path: str, value: dict[str, Any]) -> None:
    headers = {"Content-Type": "application/json"}
    urllib.request.urlopen(urllib.request.Request(address + path, json.dumps(value).encode(), headers), timeout=20)


def test_the_car_drives_and_answers(drive: tuple[str, subprocess.Popen[str]]) -> None:
    address, _ = drive
    assert until(lambda: state(address)["frame"] is not None, 60)
    before = state(address)
    assert before["route_name"] == "900"
    post(address, "/say", {"kind": "ask", "text": "Is there a traffic light?"})
    post(address, "/say", {"kind": "instruct", "text": "Drive faster.", "safety": True})

    def moods() -> list[str]:
        return [entry["mood"] for entry in state(address)["conversation"]]

    assert until(lambda: "answer" in moods() and bool({"followed", "refused", "no answer"} & set(moods())), 30)
    assert state(address)["frame"]["step"] > before["frame"]["step"]


def test_pause_stops_the_world(drive: tuple[str, subprocess.Popen[str]]) -> None:
    address, _ = drive
    post(address, "/pause", {"paused": True})
    time.sleep(0.5)
    stopped = state(address)["time_s"]
    time.sleep(0.5)
    assert state(address)["time_s"] == stopped
    post(address, "/pause", {"paused": False})
    assert until(lambda: state(address)["time_s"] > stopped, 20)


@pytest.mark.skipif(CHROMIUM is None, reason="no Chromium on this machine")
def test_a_browser_shows_drive_and_conversation(drive: tuple[str, subprocess.Popen[str]], tmp_path: Path) -> None:
    assert CHROMIUM is not None
    address, _ = drive
    post(address, "/say", {"kind": "ask", "text": "What is <b>that</b>?"})
    quiet = ("--no-first-run", "--disable-background-networking", "--disable-component-update", "--disable-sync")
    options = ("--headless", "--no-sandbox", "--disable-gpu", *quiet, f"--user-data-dir={tmp_path}")
    command = [CHROMIUM, *options, "--virtual-time-budget=4000", "--dump-dom", f"{address}/"]
    page = subprocess.run(command, capture_output=True, text=True, timeout=120, check=True).stdout
    assert re.search(r'<i id="route">900</i>', page)
    assert re.search(r'src="[^"]*/picture\.jpg', page)
    assert "What is &lt;b&gt;that&lt;/b&gt;?" in page, "what people type is text, not markup"
    assert re.search(r'<span id="speed">\d+</span>', page)


def test_nothing_is_left_running(drive: tuple[str, subprocess.Popen[str]]) -> None:
    """The last test of the module: Ctrl-C ends everything the command started."""
    _, process = drive
    children = psutil.Process(process.pid).children(recursive=True)
    assert len(children) >= 2
    process.send_signal(signal.SIGINT)
    assert process.wait(60) == 0
    assert psutil.wait_procs(children, timeout=5)[1] == []


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        (("--checkpoint", "nowhere"), "expected a checkpoint directory"),
        (("--checkpoint", "{checkpoint}", "--option", "colour=red"), "colour"),
        (("--checkpoint", "{checkpoint}", "--routes", "nowhere.xml"), "nowhere.xml"),
    ],
)
def test_wrong_arguments_are_named(
    checkpoint: Path,
    tmp_path: Path,
    arguments: tuple[str, ...],
    words: str,
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
) -> None:
    filled = [text.format(checkpoint=checkpoint) for text in arguments]
    monkeypatch.setattr(sys, "argv", ["drive", *filled, "--logs", str(tmp_path), "--no-browser"])
    assert main() == 2
    assert words in capsys.readouterr().err
