"""A run as a job on a real one-node SLURM cluster; skipped where SLURM is not installed."""

from dataclasses import replace

import pytest

from simlingo_training import run
from simlingo_training.cluster import slurm_parameters, submit
from simlingo_training.config import ClusterSettings
from tests.simlingo_training.test_training import small_run


def test_one_task_per_gpu():
    found = slurm_parameters(ClusterSettings(kind="slurm", nodes=2, gpus_per_node=4, partition="gpu"), "run")
    assert (found["nodes"], found["ntasks_per_node"], found["gpus_per_node"], found["partition"]) == (2, 4, 4, "gpu")
    assert "gpus_per_node" not in slurm_parameters(ClusterSettings(kind="slurm", gpus_per_node=0), "run")


def test_unknown_clusters_are_refused():
    with pytest.raises(ValueError, match="slurm"):
        ClusterSettings(kind="pbs")


@pytest.mark.usefixtures("slurm_cluster")
def test_a_tiny_run_finishes_as_a_job(data_root, tmp_path):
    settings = small_run(data_root, tmp_path)
    trainer = replace(settings.trainer, max_epochs=1)
    job = ClusterSettings(kind="slurm", gpus_per_node=0, cpus_per_task=1, minutes=5, wait=True)
    submit(replace(settings, trainer=trainer, cluster=job))
    assert run.is_finished(tmp_path)
    assert (tmp_path / "validation.json").is_file()
