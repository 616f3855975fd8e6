"""Pictures of what the model predicts: in the camera image and from above, beside the expert's."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from textwrap import fill
from typing import Any

import matplotlib

matplotlib.use("Agg")

import numpy as np
import pytorch_lightning as pl
import torch
from matplotlib import pyplot as plt
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray
from pytorch_lightning.loggers import TensorBoardLogger, WandbLogger

from driving.camera import DRIVING_CAMERA
from driving.files import atomic_writer
from simlingo_training.data.collate import Batch
from simlingo_training.data.images import ImageU8
from simlingo_training.models.simlingo import ModelOutput

Array = NDArray[np.float64]


LINE_LENGTH = 110
"""Characters after which texts are wrapped."""


@dataclass(frozen=True)
class LineStyle:
    """How one kind of points is drawn everywhere."""

    label: str
    colour: str
    marker: str


STYLES = {
    "path_label": LineStyle("expert path", "#2ca02c", "."),
    "path": LineStyle("predicted path", "#1f77b4", "."),
    "waypoints_label": LineStyle("expert waypoints", "#98df8a", "o"),
    "waypoints": LineStyle("predicted waypoints", "#ff7f0e", "o"),
}


@dataclass(frozen=True)
class Scene:
    """One sample to draw.

    Attributes:
        image: (H, W, 3) uint8 RGB whole camera image.
        points: Key of `STYLES` to points (n, 2), ego frame, metres.
        title: Line above the image.
        said: Line below it.
    """

    image: ImageU8
    points: dict[str, Array]
    title: str
    said: str


def add_points_in_image(axes: Axes, scene: Scene) -> None:
    """The camera image with all points on the ground plane."""
    axes.imshow(scene.image)
    height, width = scene.image.shape[:2]
    for name, points in scene.points.items():
        pixels, in_front = DRIVING_CAMERA.project_ground(points)
        seen = in_front & (pixels[:, 0] >= 0) & (pixels[:, 0] < width) & (pixels[:, 1] >= 0) & (pixels[:, 1] < height)
        style = STYLES[name]
        axes.plot(*pixels[seen].T, style.marker, color=style.colour, markersize=4)
    axes.set_title(fill(scene.title, LINE_LENGTH), fontsize=7)
    axes.set_xlabel("\n".join(fill(line, LINE_LENGTH) for line in scene.said.splitlines()), fontsize=7)
    axes.set_xticks([])
    axes.set_yticks([])


def add_points_from_above(axes: Axes, scene: Scene) -> None:
    """All points seen from above: forward up, right to the right, metres, the ego vehicle at the origin."""
    for name, points in scene.points.items():
        style = STYLES[name]
        axes.plot(
            points[:, 1],
            points[:, 0],
            style.marker + "-",
            color=style.colour,
            markersize=3,
            linewidth=1,
            label=style.label,
        )
    axes.plot(0, 0, "k^", markersize=6)
    axes.set_aspect("equal", adjustable="datalim")
    axes.set_xlabel("right [m]", fontsize=7)
    axes.set_ylabel("forward [m]", fontsize=7)
    axes.tick_params(labelsize=6)


def draw(scenes: list[Scene]) -> Figure:
    """One row per scene: camera image, view from above."""
    figure, rows = plt.subplots(
        len(scenes), 2, figsize=(10, 3.2 * len(scenes)), squeeze=False, width_ratios=[3, 1], layout="constrained"
    )
    for row, scene in zip(rows, scenes):
        add_points_in_image(row[0], scene)
        add_points_from_above(row[1], scene)
    rows[0][1].legend(fontsize=6)
    return figure


def said_tokens(model: Any, output: ModelOutput, batch: Batch, row: int) -> list[int]:
    """Most likely tokens of one row, each after the true ones before it."""
    if not output.token_losses.numel():
        return []
    mine = output.token_states[batch.inputs.supervised[0] == row]
    return model.backbone.output_layer()(mine).argmax(-1).tolist()


class DrawPredictions(pl.Callback):
    """Draws a few validation samples at every validation, into the run folder and the loggers that take pictures."""

    def __init__(self, folder: Path, count: int = 6) -> None:
        self.folder = folder
        self.count = count

    def on_validation_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Draw on the first process; all predict, because a divided model needs all of them."""
        data: Any = getattr(trainer, "datamodule", None)
        if trainer.sanity_checking or data is None or not data.num_validation:
            return
        scenes = self._scenes(data, pl_module)
        if not trainer.is_global_zero:
            return
        figure = draw(scenes)
        with atomic_writer(self.folder / f"step_{trainer.global_step:07d}.png") as stream:
            figure.savefig(stream, dpi=90, format="png")
        for logger in trainer.loggers:
            if isinstance(logger, TensorBoardLogger):
                logger.experiment.add_figure("visualise/predictions", figure, trainer.global_step)
            elif isinstance(logger, WandbLogger):
                logger.log_image("visualise/predictions", [figure], trainer.global_step)
        plt.close(figure)

    @torch.no_grad()
    def _scenes(self, data: Any, module: Any) -> list[Scene]:
        batch = data.validation_sample(self.count).to(module.device)
        output: ModelOutput = module(batch)
        scenes = []
        for row, key in enumerate(batch.keys):
            points = {"path_label": batch.path[row], "waypoints_label": batch.waypoints[row]}
            if output.path is not None:
                points["path"] = output.path[row]
            points["waypoints"] = output.speed_waypoints[row]
            said = (
                data.tokenizer.decode(said_tokens(module.model, output, batch, row)).removeprefix("assistant").strip()
            )
            scenes.append(
                Scene(
                    data.image(key),
                    {name: value.float().cpu().numpy().astype(np.float64) for name, value in points.items()},
                    batch.prompts[row],
                    f"expected: {batch.answers[row]}\nsaid: {said}",
                )
            )
        return scenes
