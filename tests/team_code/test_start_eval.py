"""`start_eval.py` with processes that stand in for simulator and evaluator, and once with the real ones."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import closing
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import pytest
import torch
from omegaconf import OmegaConf

import start_eval
from jobs.fleet import RouteTask, open_journal, results_path
from jobs.journal import JournalBusy
from jobs.ports import lease_ports
from jobs.worker import Exit, JobSpec, run_job
from simlingo_training.config import LoraSettings, ModelSettings
from simlingo_training.data.images import TileSpec
from simlingo_training.models import checkpoint as checkpoints
from team_code.agent_config import AgentConfig
from team_code.evaluation import doctor, plan
from team_code.evaluation.config import REPOSITORY, EvalConfig
from team_code.evaluation.manifest import claim

HERE = Path(__file__).parent
SIMULATOR = [sys.executable, str(HERE.parent / "jobs" / "fakes.py"), "server", "{port}", "good"]
AGENT = str(REPOSITORY / "leaderboard" / "autoagents" / "constant_speed_agent.py")
CHROMIUM = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")

Evaluate = Callable[..., tuple[int, dict[str, Any]]]


@pytest.fixture
def evaluate(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Evaluate:
    """Runs an evaluation of the demo routes and returns status and results; `ends` says how routes end."""
    monkeypatch.setattr(start_eval, "ability_scores", lambda rows, config: {})
    script = tmp_path / "script.json"

    def client_command(config: EvalConfig) -> Any:
        def command(tasks: Sequence[RouteTask], results: Path) -> tuple[str, ...]:
            ids = ",".join(task.route_id for task in tasks)
            return (sys.executable, str(HERE / "fake_evaluator.py"), str(results), ids, str(script))

        return command

    monkeypatch.setattr(plan, "client_command", client_command)

    draw = start_eval.report

    def run(
        name: str = "run", ends: dict[str, Any] | None = None, pages: bool = False, **options: Any
    ) -> tuple[int, dict[str, Any]]:
        """`pages`: whether the report is drawn, which takes longer than all the rest."""
        monkeypatch.setattr(start_eval, "report", draw if pages else lambda config, table: Path(config.out))
        script.write_text(json.dumps(ends or {}))
        out = tmp_path / name
        options = {"agent": AGENT, "attempts": 2, **options}
        config = EvalConfig(out=str(out), launch=SIMULATOR, videos=False, **options)
        status = start_eval.run(config)
        path = out / "results.json"
        return status, json.loads(path.read_text()) if path.exists() else {}

    return run


def jobs_of(folder: Path) -> list[str]:
    return sorted(path.name for path in (folder / "jobs").iterdir())


def test_a_complete_run_has_table_manifest_and_pages(
    evaluate: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, results = evaluate(ends={"901": 60.0}, pages=True)
    assert status == 0
    assert results["complete"] is True
    assert results["driving_score"]["value"] == pytest.approx((4 * 100 + 60) / 5)
    assert results["success_rate"]["value"] == pytest.approx(80.0)
    assert results["routes"] == results["routes_with_verdict"] == 5
    assert results["stage_ms"]["vision"] == {"ticks": 2000, "mean": 9.0, "p95": 18.0, "total_s": 18.0}
    assert results["records"][0]["stage_ms"]["text"]["mean"] == 12.0
    manifest = json.loads((tmp_path / "run" / "manifest.json").read_text())
    assert {"rules", "routes_sha256", "code", "packages", "config", "agent_sha256"} <= manifest.keys()
    page = (tmp_path / "run" / "report.html").read_text()
    for record in results["records"]:
        route_page = tmp_path / "run" / "report" / record["key"].replace("/", "-") / "index.html"
        assert f"report/{route_page.parent.name}/index.html" in page
        assert {"map.png", "motion.png", "latencies.png"} <= {path.name for path in route_page.parent.iterdir()}
    assert "driving score     92.00" in capsys.readouterr().out


def test_the_same_command_again_drives_nothing(evaluate: Evaluate, tmp_path: Path) -> None:
    _, first = evaluate()
    before = jobs_of(tmp_path / "run")
    status, second = evaluate(ends={"900": 0.0})
    assert status == 0
    assert second == first
    assert jobs_of(tmp_path / "run") == before


def test_more_seeds_are_added_to_a_run_and_told_apart(evaluate: Evaluate) -> None:
    evaluate(seeds=[1])
    status, results = evaluate(ends={"900": 50.0}, seeds=[1, 2])
    assert status == 0
    assert [seed["driving_score"] for seed in results["seeds"]] == [100.0, 90.0]
    assert results["seed_deviation"][0] == pytest.approx(10 / 2**0.5)


def test_a_table_with_holes_is_refused_until_they_are_filled(
    evaluate: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    status, results = evaluate(ends={"902": "crash"}, pages=True)
    assert status == 1
    assert results["complete"] is False
    assert results["driving_score"]["value"] == pytest.approx(80.0), "a hole counts as zero"
    assert results["driving_score_of_driven"] == pytest.approx(100.0)
    (hole,) = [record for record in results["records"] if record["record"] is None]
    assert (hole["key"], hole["outcome"], hole["attempts"]) == ("seed1/902", "crashed", 2)
    assert "SIGSEGV" in hole["reason"]
    assert "INCOMPLETE: 1 of 5" in capsys.readouterr().out
    assert "This table has holes" in (tmp_path / "run" / "report.html").read_text()
    status, results = evaluate(retry=True)
    assert status == 0
    assert results["complete"] is True


def test_two_runs_are_compared_drive_by_drive(evaluate: Evaluate, tmp_path: Path) -> None:
    evaluate("other", seeds=[1, 2])
    status, _ = evaluate("run", {"900": 40.0, "901": 70.0}, pages=True, compare=str(tmp_path / "other"))
    assert status == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "Over the 5 drives that both runs hold, the driving score differs by <b>-18.00</b>" in page
    assert page.index("<td>seed1/900</td>") < page.index("<td>seed1/901</td>"), "the largest loss stands first"


def test_report_mode_uses_the_routes_and_seeds_of_the_run(evaluate: Evaluate, tmp_path: Path) -> None:
    evaluate(seeds=[3], subset="900,901")
    status, _ = evaluate(mode="report", pages=True)
    assert status == 0
    page = (tmp_path / "run" / "report.html").read_text()
    assert "seed3/901" in page
    assert "seed1" not in page


def test_a_report_without_a_run_is_refused(evaluate: Evaluate) -> None:
    with pytest.raises(FileNotFoundError, match="no finished evaluation"):
        evaluate(mode="report")


@pytest.mark.parametrize(("name", "content"), [("manifest.json", '{"config": {"colour": 1}}'), ("outcomes.json", "[{")])
def test_a_report_of_a_damaged_run_names_the_file(evaluate: Evaluate, tmp_path: Path, name: str, content: str) -> None:
    evaluate()
    (tmp_path / "run" / name).write_text(content)
    with pytest.raises(ValueError, match=name):
        evaluate(mode="report")


def test_a_report_needs_no_checkpoint(evaluate: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    evaluate()
    capsys.readouterr()
    # As typed: `python start_eval.py mode=report out=…`, with the agent at its default, which wants a checkpoint to drive.
    assert start_eval.run(EvalConfig(mode="report", out=str(tmp_path / "run"))) == 0
    assert "route completion" in capsys.readouterr().out


def test_two_evaluations_cannot_share_a_folder(evaluate: Evaluate) -> None:
    evaluate()
    with pytest.raises(ValueError, match="differs in rules;"):
        evaluate(rules="leaderboard_2_1")


def test_an_agent_that_was_changed_is_another_one(evaluate: Evaluate, tmp_path: Path) -> None:
    """Otherwise whoever works on an agent would be shown the results of its first version again and again."""
    agent = tmp_path / "my_agent.py"
    shutil.copy(AGENT, agent)
    evaluate(agent=str(agent))
    agent.write_text(agent.read_text() + "# better now\n")
    with pytest.raises(ValueError, match=r"differs in agent_sha256;.* Choose another out="):
        evaluate(agent=str(agent))


def test_a_policy_server_may_move_between_runs(checkpoint: Path, tmp_path: Path) -> None:
    def config(**options: Any) -> EvalConfig:
        return EvalConfig(checkpoint=str(checkpoint), out=str(tmp_path), agent_options=options)

    claim(config(policy_server="node1:27500"), tmp_path, holds_drives=False)
    claim(config(policy_server="node2:27500"), tmp_path, holds_drives=True)
    claim(config(), tmp_path, holds_drives=True)
    with pytest.raises(ValueError, match="differs in agent_settings;"):
        claim(config(policy_server="node1:27500", commentary=False), tmp_path, holds_drives=True)


def test_a_folder_without_drives_is_nobodys(evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch) -> None:
    """Whoever notices a wrong option before the first drive begins corrects it and goes on."""
    with monkeypatch.context() as patch:
        patch.setattr(plan, "make_fleet", Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            evaluate(rules="leaderboard_2_1")
    status, results = evaluate()
    assert (status, results["complete"]) == (0, True)


def test_a_second_supervisor_leaves_the_first_ones_files_alone(
    evaluate: Evaluate, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Above all its policy server, which has the folder's name, and the settings that its next jobs will read."""
    evaluate()
    started = Mock(side_effect=AssertionError("the policy server of the other supervisor would be replaced"))
    monkeypatch.setattr(start_eval, "policy_service", started)
    monkeypatch.setattr(plan, "agent_argument", started)
    before = {path: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()}
    with closing(open_journal(tmp_path / "run")), pytest.raises(JournalBusy, match="another output folder"):
        evaluate(policy_server=True)
    assert {path: path.stat().st_mtime_ns for path in (tmp_path / "run").iterdir()} == before


def test_a_simulator_that_cannot_start_leaves_reasons(evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch) -> None:
    command = [sys.executable, "-c", "print('no such GPU'); raise SystemExit(3)"]
    config = EvalConfig(launch=command)
    monkeypatch.setattr(plan, "server_spec", lambda _: doctor_spec(config))
    status, results = evaluate()
    assert status == 1
    assert results["outcomes"]["crashed"] == 5
    assert all("no such GPU" in record["reason"] for record in results["records"])


def doctor_spec(config: EvalConfig) -> Any:
    from jobs.servers import ServerSpec

    # Settling makes the stand-in for the evaluator start after its simulator, on which the real one waits.
    return ServerSpec(command=tuple(config.launch), settle_s=0.01)


@pytest.fixture(scope="module")
def checkpoint(tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.manual_seed(0)
    settings = ModelSettings(backbone="tiny", pretrained=False, tiles=TileSpec(192), lora=LoraSettings(enabled=False))
    return checkpoints.build(settings).save(tmp_path_factory.mktemp("tiny"))


def bad(config: EvalConfig) -> dict[str, str]:
    return {finding.name: finding.message for finding in doctor.examine(config) if not finding.good}


def test_doctor_finds_nothing_wrong_with_a_good_plan(checkpoint: Path, tmp_path: Path) -> None:
    assert bad(EvalConfig(checkpoint=str(checkpoint), out=str(tmp_path / "deep" / "out"))) == {}
    assert not (tmp_path / "deep").exists(), "looking changes nothing"


@pytest.mark.parametrize(
    ("options", "check", "advice"),
    [
        ({"checkpoint": "nowhere"}, "checkpoint", "train one with"),
        ({"agent": "simlingo_base"}, "checkpoint", "drive it with agent=simlingo"),
        ({"agent": "driver.py"}, "agent", "agent= is one of simlingo"),
        ({"agent_options": {"route_as": "map"}}, "agent", "route_as is target_point or command"),
        ({"agent_options": {"colour": "red"}}, "agent", "colour"),
        ({"routes": "nowhere.xml"}, "routes", "nowhere.xml"),
        ({"subset": "1"}, "routes", "not in the file"),
        ({"compare": "nowhere"}, "comparison", "folder of an evaluation that has ended"),
        ({"simulator": "carla"}, "simulator", "CARLA_ROOT"),
        ({"launch": ["no-such-program"]}, "simulator", "not an executable"),
        ({"launch": [sys.executable, "{prt}"]}, "simulator", "a placeholder that is none of port, town"),
        ({"agent_options": {"device": "cuda"}}, "accelerator", "nvidia-smi"),
    ],
)
def test_doctor_says_what_is_missing_and_how_to_mend_it(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], check: str, advice: str
) -> None:
    monkeypatch.delenv("CARLA_ROOT", raising=False)
    monkeypatch.setattr(torch.cuda, "device_count", lambda: 0)
    found = bad(EvalConfig(**{"checkpoint": str(checkpoint), "out": str(tmp_path), **options}))
    assert list(found) == [check]
    assert advice in found[check]


def test_doctor_finds_missing_maps_busy_ports_and_full_disks(
    checkpoint: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    config = EvalConfig(checkpoint=str(checkpoint), out=str(tmp_path))
    text = config.routes_file.read_text().replace('town="Mini01"', 'town="Atlantis"')
    (tmp_path / "routes.xml").write_text(text)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10, 9, 1))
    with lease_ports() as lease:
        monkeypatch.setattr(doctor.ports, "lease_ports", lambda: lease_ports(lease.rpc, lease.rpc + 8))
        config.routes = str(tmp_path / "routes.xml")
        found = bad(config)
    assert found["routes"].startswith("no map of Atlantis")
    assert "no block of 8 free TCP ports" in found["ports"]
    assert "free some" in found["disk"]


def test_paths_may_hold_every_letter(tmp_path: Path) -> None:
    """What reaches the evaluator and its agent is what was given, whatever placeholders and separators it resembles."""
    odd = tmp_path / "lora+head {best} {port} } für 2+2"
    odd.mkdir()
    routes = shutil.copy(EvalConfig().routes_file, odd / "routes+{town}.xml")
    config = EvalConfig(agent=AGENT, checkpoint=str(odd), routes=str(routes), out=str(odd / "out"))
    for options in ({}, {"route_as": "command"}):
        config.agent_options = options
        tasks = plan.read_tasks(config)
        results = results_path(odd / "out" / "jobs" / "0000")
        command = plan.client_command(config)(tasks[:1], results)
        echo = (sys.executable, "-c", "import json, sys; print(json.dumps(sys.argv[1:]))", *command[3:])
        folder = odd / f"job{len(options)}"
        spec = JobSpec(str(folder), None, echo, "Mini01", 1, str(folder / "progress"))
        assert run_job(spec).exit is Exit.DONE
        given = json.loads((folder / "client.log").read_text())
        arguments = dict(zip(given[::2], given[1::2], strict=True))
        assert arguments["--routes"] == str(routes)
        assert arguments["--checkpoint"] == str(results)
        assert arguments["--port"].isdecimal()
        settings, save_name = AgentConfig.parse(arguments["--agent-config"] + "+RouteScenario_1_rep0")
        assert (settings.checkpoint, save_name) == (str(odd), "RouteScenario_1_rep0")
        assert settings.route_as == options.get("route_as", "target_point")


def test_a_disk_need_not_hold_again_what_was_driven(evaluate: Evaluate, monkeypatch: pytest.MonkeyPatch) -> None:
    evaluate(subset="900,901,902,903")
    room = doctor.MEGABYTES_PER_ROUTE * 2_000_000
    monkeypatch.setattr(shutil, "disk_usage", lambda _: shutil._ntuple_diskusage(10 * room, 9 * room, room))
    status, results = evaluate()
    assert (status, results["complete"]) == (0, True)
    assert evaluate("other") == (2, {})


@pytest.mark.parametrize("line", ["[", '{"event": "outcome"}'])
def test_a_damaged_journal_is_told_once(tmp_path: Path, line: str) -> None:
    """By whoever opens it, not by a check of the disk that breaks."""
    (tmp_path / "journal.jsonl").write_text(line + "\n")
    assert bad(EvalConfig(agent=AGENT, out=str(tmp_path))) == {}
    with pytest.raises(ValueError, match="line 1"):
        start_eval.run(EvalConfig(agent=AGENT, out=str(tmp_path)))


def test_bad_plans_are_not_started(evaluate: Evaluate, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    status, results = evaluate(subset="1")
    assert (status, results) == (2, {})
    assert "BAD  routes" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("options", "cards", "advice"),
    [
        ({"gpus": 2}, 1, "this machine has 1"),
        ({"gpus": 2, "cluster": "slurm"}, 1, ""),
        ({"gpus": 2}, 2, ""),
        ({"gpus": 2}, 0, ""),
    ],
)
def test_doctor_counts_cards_of_the_machine_that_drives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], cards: int, advice: str
) -> None:
    monkeypatch.setattr(doctor, "_find_cards", lambda: (cards, "card"))
    found = bad(EvalConfig(agent=AGENT, out=str(tmp_path), **options))
    assert advice in found.get("accelerator", "")
    assert ("accelerator" in found) == bool(advice)


def test_only_several_cards_are_shared_out(tmp_path: Path) -> None:
    """One card is whichever the user or SLURM shows; of several, each job sees its own."""
    for cards, shown in ((1, None), (4, "{card}")):
        fleet = plan.make_fleet(EvalConfig(agent=AGENT, out=str(tmp_path / str(cards)), gpus=cards))
        assert fleet.config.environment.get("CUDA_VISIBLE_DEVICES") == shown
        assert fleet.config.gpus == cards


@pytest.mark.parametrize(
    ("options", "threads"),
    [({"workers": 2}, "4"), ({"workers": 16}, "1"), ({"threads": 1}, "1"), ({"cluster": "slurm"}, None)],
)
def test_models_share_the_cores_of_the_machine_that_drives(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], threads: str | None
) -> None:
    monkeypatch.setattr(plan, "usable_cores", lambda: 8)
    environment = plan.make_fleet(EvalConfig(agent=AGENT, out=str(tmp_path), **options)).config.environment
    assert environment.get("OMP_NUM_THREADS") == threads


@pytest.mark.parametrize(
    ("options", "words"),
    [
        ({"mode": "dance"}, "mode is one of"),
        ({"workers": 0}, "workers is at least 1"),
        ({"gpus": 0}, "gpus is at least 1"),
        ({"threads": -1}, "threads is 0"),
        ({"seeds": [1, 1]}, "each seed once"),
        ({"cluster": "slurm", "policy_server": True}, "this machine only"),
    ],
)
def test_contradictory_settings_are_refused(options: dict[str, Any], words: str) -> None:
    with pytest.raises(ValueError, match=words):
        EvalConfig(**options)


@pytest.mark.parametrize(
    ("options", "raised", "status", "words"),
    [
        ({"workers": 0}, None, 2, "start_eval: workers is at least 1; got 0"),
        ({}, KeyboardInterrupt, 130, "interrupted; run the same command again"),
    ],
)
def test_the_command_ends_with_a_sentence_instead_of_a_traceback(
    monkeypatch: pytest.MonkeyPatch,
    capsys: pytest.CaptureFixture[str],
    options: dict[str, Any],
    raised: type[BaseException] | None,
    status: int,
    words: str,
) -> None:
    monkeypatch.setattr(start_eval, "run", Mock(side_effect=raised))
    with pytest.raises(SystemExit) as ended:
        start_eval.main.__wrapped__(OmegaConf.merge(OmegaConf.structured(EvalConfig), options))
    assert ended.value.code == status
    assert words in capsys.readouterr().err


def test_the_command_drives_a_route_on_the_embedded_simulator(tmp_path: Path) -> None:
    """The real thing: Hydra, supervisor, worker, simulator, evaluator, agent, report."""
    out = tmp_path / "out"
    command = [sys.executable, "start_eval.py", "agent=leaderboard/autoagents/npc_agent.py", "subset=904"]
    done = subprocess.run(
        [*command, f"out={out}", "videos=false"],
        cwd=REPOSITORY,
        capture_output=True,
        text=True,
        timeout=280,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    results = json.loads((out / "results.json").read_text())
    assert results["complete"] is True
    assert results["outcomes"]["finished"] + results["outcomes"]["failed"] == 1
    assert {"simulator", "render", "agent", "scenario"} == results["stage_ms"].keys()
    assert results["driving_smoothness"] is not None
    assert (out / "report" / "seed1-904" / "motion.png").stat().st_size > 5000
    if CHROMIUM is None:
        return
    options = ("--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking")
    shown = subprocess.run(
        [CHROMIUM, *options, f"--user-data-dir={tmp_path / 'browser'}", "--dump-dom", f"file://{out}/report.html"],
        capture_output=True, text=True, timeout=120, check=True,
    ).stdout  # fmt: skip
    assert 'href="report/seed1-904/index.html"' in shown
