"""The ledger adds up to the wall time and names every stage."""

from __future__ import annotations

import pytest

from leaderboard.utils.stage_ledger import StageLedger


def test_stages_of_the_agent_and_the_rest_add_up() -> None:
    ledger = StageLedger()
    ledger.add_agent(50.0, 20.0, {"vision": 10.0, "text": 15.0})
    ledger.add_agent(30.0, 10.0, {"vision": 12.0})
    summary = ledger.summary()
    assert sum(row["total_s"] for row in summary.values()) == pytest.approx(0.080)
    assert summary["vision"] == {"ticks": 2, "mean": 11.0, "median": 11.0, "p95": 11.9, "total_s": 0.022}
    assert summary["text"]["ticks"] == 1
    assert summary["agent"]["mean"] == pytest.approx((5.0 + 8.0) / 2)


def test_a_stage_that_raises_is_noted() -> None:
    ledger = StageLedger()
    with pytest.raises(RuntimeError), ledger.stage("simulator"):
        raise RuntimeError
    assert ledger.summary()["simulator"]["ticks"] == 1
