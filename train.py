"""Train SimLingo or SimLingo-Base.

python train.py experiment=simlingo_tiny data.root=database/simlingo
python train.py experiment=simlingo_seed1 trainer.devices=8 trainer.strategy=ddp
python train.py experiment=simlingo_tiny --cfg job        # show the composed configuration
"""

import sys

import hydra
from hydra.core.config_store import ConfigStore
from omegaconf import DictConfig
from omegaconf.errors import OmegaConfBaseException

from simlingo_training.config import TrainSettings, from_hydra

ConfigStore.instance().store(name="train_schema", node=TrainSettings)


@hydra.main(version_base="1.3", config_path="config", config_name="train")
def main(config: DictConfig) -> None:
    """Compose, check, train. Ends with status 2 and one message when data or configuration are wrong."""
    try:
        settings = from_hydra(config)
        if settings.cluster.kind == "slurm":
            from simlingo_training.cluster import submit

            submit(settings)
        else:
            from simlingo_training.run import train_any

            train_any(settings)
    except (ValueError, OSError, OmegaConfBaseException) as error:
        print(f"train.py: {error}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
