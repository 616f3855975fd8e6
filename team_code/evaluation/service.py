"""The policy server of an evaluation, as a child process that ends with it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from jobs import processes
from team_code.evaluation.config import EvalConfig
from team_code.policy_server import READY, PolicyServerError

START_TIMEOUT_S = 600.0
"""Loading the full model from a slow disk and compiling it takes minutes."""


@contextmanager
def policy_service(config: EvalConfig) -> Iterator[EvalConfig]:
    """Run a policy server while the block runs, if the configuration asks for one.

    Yields:
        The configuration whose agents ask the server.

    Raises:
        PolicyServerError: If the server does not start; the message ends with its log.
    """
    if not config.policy_server:
        yield config
        return
    log = Path(config.out) / "policy_server.log"
    log.unlink(missing_ok=True)
    command = [sys.executable, "-m", "team_code.policy_server", "--checkpoint", config.checkpoint, "--port", "0"]
    command += ["--device", str(config.agent_options.get("device", "auto"))]
    command += ["--text-every", str(config.agent_options.get("text_every", 1))]
    process = processes.start(command, log, f"policy:{log.resolve()}")
    try:
        processes.wait_until(lambda: process.poll() is not None or READY in log.read_text(), START_TIMEOUT_S)
        if process.poll() is not None or READY not in log.read_text():
            raise PolicyServerError(f"the policy server did not start; its log {log} ends:\n{processes.tail(log)}")
        address = log.read_text().split("address=")[1].split()[0]
        yield replace(config, agent_options={**config.agent_options, "policy_server": address})
    finally:
        processes.stop(process)
