"""SimLingo: one image, a prompt and two target points in; text, a path and waypoints in time out.

Dimension letters: B rows, L padded text length, Q queries, D width, T tiles, S tile side, n supervised positions.

Layout of a row: text (image placeholders inside), queries right behind its last token, padding. With padding at the end
and causal attention no attention mask is needed, and positions count from the first token of each row.
"""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import nn

from simlingo_training.config import ModelSettings
from simlingo_training.models.backbone import Backbone, add_lora
from simlingo_training.models.families import build_backbone
from simlingo_training.models.heads import DrivingHeads, NumberEncoder, QueryNumbers
from simlingo_training.models.losses import token_losses


@dataclass
class ModelInput:
    """A batch as the network sees it.

    Attributes:
        tiles: (B, T, S, S, 3) uint8.
        ids: (B, L) token ids, padded on the right.
        lengths: (B,) tokens of each row.
        target_points: (B, 2, 2) ego frame, metres.
        speed: (B,) m/s.
        supervised: (2, n) row and position of the tokens that predict a supervised one; empty at inference.
        targets: (n,) ids of the tokens to predict there.
    """

    tiles: torch.Tensor
    ids: torch.Tensor
    lengths: torch.Tensor
    target_points: torch.Tensor
    speed: torch.Tensor
    supervised: torch.Tensor
    targets: torch.Tensor


@dataclass
class ModelOutput:
    """Predictions of a teacher-forced pass.

    Attributes:
        path: (B, 20, 2) metres, None without path queries.
        speed_waypoints: (B, 10, 2) metres.
        token_losses: (n,) cross-entropy at the supervised positions, float32; empty where there is no text.
        query_states: (B, Q, D) hidden states of the queries, after the final norm.
        token_states: (n, D) those at the supervised positions.
        visual: (B, N, D) visual tokens as they enter the decoder; None where a network does not tell them.
    """

    path: torch.Tensor | None
    speed_waypoints: torch.Tensor
    token_losses: torch.Tensor
    query_states: torch.Tensor
    token_states: torch.Tensor
    visual: torch.Tensor | None = None


class SimLingo(nn.Module):
    """The network. Training mode only switches adapter dropout on; nothing else behaves differently."""

    def __init__(self, settings: ModelSettings, image_token: int, point_token: int) -> None:
        """Build with random weights.

        Args:
            settings: Architecture.
            image_token, point_token: Ids of ``<IMG_CONTEXT>`` and ``<TARGET_POINT>`` in the tokenizer used.

        Raises:
            ValueError: If tile size and backbone do not fit.
        """
        super().__init__()
        self.backbone: Backbone = build_backbone(settings)
        if settings.tiles.tile_px != self.backbone.tile_px:
            raise ValueError(
                f"model.tiles.tile_px is {settings.tiles.tile_px} but backbone {settings.backbone!r} takes tiles of "
                f"{self.backbone.tile_px} pixels; set model.tiles.tile_px={self.backbone.tile_px}"
            )
        if settings.lora.enabled:
            add_lora(self.backbone, settings.lora)
        if settings.freeze_vision:
            self.backbone.vision_modules()[0].requires_grad_(False)
        self.point_encoder = NumberEncoder(self.backbone.width)
        self.heads = DrivingHeads(self.backbone.width, settings.path_queries, straight_prior=settings.straight_prior)
        self.query_numbers = QueryNumbers(self.backbone.width) if settings.numbers_in_queries else None
        self.image_token = image_token
        self.point_token = point_token

    def embed_text(self, ids: torch.Tensor, tiles: torch.Tensor, target_points: torch.Tensor) -> torch.Tensor:
        """Text embeddings with visual tokens and target points in their places.

        Args:
            ids: (B, L) token ids.
            tiles: (B, T, S, S, 3) uint8.
            target_points: (B, 2, 2) ego frame, metres.

        Returns:
            (B, L, D).
        """
        return self.place_inputs(ids, self.backbone.encode_tiles(tiles), target_points)

    def place_inputs(self, ids: torch.Tensor, features: torch.Tensor, target_points: torch.Tensor) -> torch.Tensor:
        """Text embeddings (B, L, D) with visual tokens (B, T * P, D) and target points (B, 2, 2) in their places."""
        embeddings = self.backbone.embed(ids).to(features.dtype)
        embeddings = fill(embeddings, ids == self.image_token, features.flatten(0, 1))
        is_point = ids == self.point_token
        points = self.point_encoder(target_points).to(features.dtype)
        # Rows without the placeholder (commands as text) take no points.
        order = (is_point.cumsum(1) - 1).clamp(min=0, max=points.shape[1] - 1)
        encoded = points.gather(1, order[..., None].expand(-1, -1, points.shape[2]))
        return torch.where(is_point[..., None], encoded, embeddings)

    def queries(self, ids: torch.Tensor, speed: torch.Tensor, target_points: torch.Tensor) -> torch.Tensor:
        """Action queries (B, Q, D) of rows with token ids (B, L), speeds (B,) m/s and target points (B, 2, 2), metres."""
        queries = self.heads.queries().expand(len(ids), -1, -1)
        if self.query_numbers is None:
            return queries
        return queries + self.query_numbers(speed, target_points, (ids == self.point_token).any(1))

    def append_queries(self, text: torch.Tensor, lengths: torch.Tensor, queries: torch.Tensor) -> torch.Tensor:
        """Put queries (B, Q, D) behind the last token of each row: text (B, L, D), lengths (B,) to (B, L + Q, D)."""
        rows = torch.cat([text, queries.to(text.dtype)], dim=1)
        order = row_order(lengths, text.shape[1], queries.shape[1])
        return rows.gather(1, order[..., None].expand(-1, -1, rows.shape[2]))

    def read_places(self, batch: ModelInput) -> torch.Tensor:
        """Where hidden states are read: places (B * Q + n,) in flattened rows (B, L + Q), those of the queries first."""
        queries = torch.arange(self.heads.num_queries, device=batch.lengths.device)
        length = batch.ids.shape[1] + len(queries)
        starts = length * torch.arange(len(batch.ids), device=batch.lengths.device)
        row, position = batch.supervised
        return torch.cat([((starts + batch.lengths)[:, None] + queries).flatten(), length * row + position])

    def forward(self, batch: ModelInput) -> ModelOutput:
        """Teacher-forced pass."""
        visual = self.backbone.encode_tiles(batch.tiles)
        text = self.place_inputs(batch.ids, visual, batch.target_points)
        queries = self.queries(batch.ids, batch.speed, batch.target_points)
        rows = self.append_queries(text, batch.lengths, queries)
        read = self.backbone.decode_at(rows, self.read_places(batch))
        count = queries.shape[0] * queries.shape[1]
        query_states, token_states = read[:count].view(*queries.shape[:2], -1), read[count:]
        path, speed_waypoints = self.heads(query_states, batch.speed)
        losses = token_losses(token_states, self.backbone.output_layer(), batch.targets)
        return ModelOutput(path, speed_waypoints, losses, query_states, token_states, visual)


def fill(embeddings: torch.Tensor, places: torch.Tensor, values: torch.Tensor) -> torch.Tensor:
    """Overwrite the m marked positions of (B, L, D), in row-major order, with values (m, D).

    The number of marks is checked where the batch is built; checking or finding it here would stall a GPU.
    """
    rows, columns = torch.nonzero_static(places, size=len(values)).unbind(1)
    return embeddings.index_put((rows, columns), values.to(embeddings.dtype))


def row_order(lengths: torch.Tensor, text_length: int, num_queries: int) -> torch.Tensor:
    """Index that turns [text, queries] rows into [text without padding, queries, padding].

    Args:
        lengths: (B,) tokens of each row.
        text_length: L.
        num_queries: Q.

    Returns:
        (B, L + Q) source positions.
    """
    place = torch.arange(text_length + num_queries, device=lengths.device)[None]
    after_text = place - lengths[:, None]
    is_query = (after_text >= 0) & (after_text < num_queries)
    source = torch.where(is_query, text_length + after_text, place)
    return torch.where(after_text >= num_queries, place - num_queries, source)
