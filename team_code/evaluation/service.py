"""The policy server of an evaluation: a child process that ends with it and is started again when it dies."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from pathlib import Path

from jobs.kept import KeptService, ServiceError
from jobs.processes import usable_cores
from team_code.evaluation.config import EvalConfig
from team_code.evaluation.plan import agent_settings
from team_code.policy_client import READY, PolicyServerError

START_TIMEOUT_S = 600.0
"""Loading the full model from a slow disk and compiling it takes minutes."""


def server_command(config: EvalConfig) -> list[str]:
    """How the policy server of an evaluation is started, without its port."""
    settings = agent_settings(config)
    command = [sys.executable, "-m", "team_code.policy_server", "--checkpoint", config.checkpoint]
    command += ["--device", settings.device, "--text-every", str(settings.text_ticks)]
    # Simulators and agents need a core each; a model that wants the same ones slows all of them down many times over.
    command += ["--threads", str(config.threads or max(1, usable_cores() - config.workers))]
    return [*command, "--dropout"] if settings.keeps_dropout else command


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
    service = KeptService(server_command(config), Path(config.out) / "policy_server.log", READY, START_TIMEOUT_S)
    try:
        address = service.start()
        yield replace(config, agent_options={**config.agent_options, "policy_server": address})
    except ServiceError as error:
        raise PolicyServerError(str(error)) from error
    finally:
        service.stop()
