"""Training runs as SLURM jobs through submitit: one task per GPU, requeued and resumed until the run is finished.

    python train.py experiment=simlingo_seed1 cluster=slurm cluster.partition=gpu

Shortly before its time is over, or when it is preempted, a job is queued again; the run continues from ``checkpoints/last``, the
state of the last validation or, in the middle of an epoch, of ``trainer.checkpoint_every_n_steps``. A job must last longer than
from one stored state to the next.
"""

from __future__ import annotations

import logging
from dataclasses import replace
from pathlib import Path
from typing import Any

from simlingo_training.config import ClusterSettings, TrainSettings

log = logging.getLogger(__name__)


class ClusterError(ValueError):
    """A job could not be submitted, or failed."""


class TrainingJob:
    """What a job executes; picklable, so it holds settings and names only."""

    def __init__(self, settings: TrainSettings) -> None:
        self.settings = settings

    def __call__(self) -> dict[str, dict[str, float]]:
        """Train in the job's process."""
        from simlingo_training.run import train_any

        return train_any(self.settings)

    def checkpoint(self) -> Any:
        """Called by submitit on a time limit or preemption: queue the same run again; it resumes from its own files."""
        import submitit

        return submitit.helpers.DelayedSubmission(TrainingJob(self.settings))


def slurm_parameters(cluster: ClusterSettings, name: str) -> dict[str, Any]:
    """Options for submitit's executor; one task per GPU, or one task without GPUs."""
    parameters: dict[str, Any] = {
        "job_name": name,
        "nodes": cluster.nodes,
        "ntasks_per_node": max(1, cluster.gpus_per_node),
        "cpus_per_task": cluster.cpus_per_task,
        "time": cluster.minutes,
        "use_srun": True,
    }
    if cluster.gpus_per_node:
        parameters["gpus_per_node"] = cluster.gpus_per_node
    if cluster.partition is not None:
        parameters["partition"] = cluster.partition
    if cluster.memory_gb is not None:
        parameters["mem"] = f"{cluster.memory_gb}GB"
    return parameters


def placed(settings: TrainSettings) -> TrainSettings:
    """The run with the trainer's machines and devices set to those of the job."""
    cluster = settings.cluster
    devices = cluster.gpus_per_node or settings.trainer.devices
    return replace(settings, trainer=replace(settings.trainer, num_nodes=cluster.nodes, devices=devices))


def submit(settings: TrainSettings) -> str:
    """Submit a run and return its job id; with ``cluster.wait`` wait for its end.

    Raises:
        ClusterError: If SLURM is not installed, or, when waiting, if the job failed; the message names its log folder.
    """
    import submitit

    cluster = settings.cluster
    folder = Path(settings.out).absolute() / "slurm"
    try:
        executor = submitit.SlurmExecutor(folder=folder, max_num_timeout=cluster.max_requeues)
    except RuntimeError as error:
        raise ClusterError(f"cluster=slurm needs sbatch on this machine: {error}") from error
    executor.update_parameters(**slurm_parameters(cluster, settings.name))
    job = executor.submit(TrainingJob(placed(settings)))
    log.info("submitted job %s; log in %s", job.job_id, folder)
    print(f"submitted SLURM job {job.job_id}; log in {folder}")
    if cluster.wait:
        try:
            job.result()
        except Exception as error:
            raise ClusterError(f"SLURM job {job.job_id} failed; see {folder}: {error}") from error
    return str(job.job_id)
