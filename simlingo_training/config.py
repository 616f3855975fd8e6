"""Settings of a training run: types, defaults, meaning. The values of each experiment stand in ``config/``.

Hydra composes them; `from_hydra` turns the composed configuration into these objects, which check themselves.
"""

from __future__ import annotations

import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from omegaconf import MISSING, OmegaConf

from simlingo_training.data.images import TileSpec

NUM_PATH_POINTS = 20
"""Path points, one metre apart, the first at the ego vehicle."""

NUM_SPEED_WAYPOINTS = 10
"""Waypoints in time."""

WAYPOINT_STEP_S = 0.25
"""Time between two waypoints and between two recorded frames, seconds."""


def require(condition: bool, message: str) -> None:
    """Raise ValueError with ``message`` unless ``condition`` holds."""
    if not condition:
        raise ValueError(message)


@dataclass
class LoraSettings:
    """Low-rank adapters on all linear layers of the language model.

    Attributes:
        enabled: False leaves the whole language model trainable (how the tiny presets train from scratch).
        rank: Inner dimension.
        alpha: The update is scaled by alpha / rank.
        dropout: On the adapter input, in training only.
        shared_dropout: With fused layers, draw one mask for the adapters that read the same input (query, key, value; gate,
            up) instead of one for each; faster, but not what the released weights were trained with.
    """

    enabled: bool = True
    rank: int = 32
    alpha: int = 64
    dropout: float = 0.1
    shared_dropout: bool = False

    def __post_init__(self) -> None:
        require(self.rank >= 1, f"LoRA rank counts from 1; got {self.rank}")
        require(0 <= self.dropout < 1, f"LoRA dropout lies in [0, 1); got {self.dropout}")


@dataclass
class ModelSettings:
    """Architecture.

    Attributes:
        backbone: Name of a packaged configuration (``internvl2_1b``, ``tiny``), a local folder, or a model on the
            Hugging Face hub; a folder or hub model may use InternVL's original or transformers' file layout.
        pretrained: Load the backbone's weights (folder or hub). False starts from random weights.
        tokenizer: Folder or hub name of the tokenizer; ``packaged`` is the small one shipped with this package.
        lora: Adapters of the language model.
        freeze_vision: Train only the projector of the vision side.
        path_queries: False drops the path output (ablation: waypoints only).
        straight_prior: Predict how path and waypoints differ from holding wheel and speed. The released models do not.
        numbers_in_queries: Add an encoding of speed and target points to the action queries, beside the text that tells
            them: a small network learns to read numbers from text very slowly. The released models do not.
        tiles: Image tiling.
        max_new_tokens: Limit of a generated answer.
        attention: Attention kernel: ``sdpa``, ``eager`` or ``flash_attention_2``.
        overrides: Sizes that replace those of the backbone configuration, by section (``vision``, ``text``).
    """

    backbone: str = "internvl2_1b"
    pretrained: bool = False
    tokenizer: str = "packaged"
    lora: LoraSettings = field(default_factory=LoraSettings)
    freeze_vision: bool = False
    path_queries: bool = True
    straight_prior: bool = False
    numbers_in_queries: bool = False
    tiles: TileSpec = field(default_factory=TileSpec)
    max_new_tokens: int = 100
    attention: str = "sdpa"
    overrides: dict[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        known = ("sdpa", "eager", "flash_attention_2")
        require(self.attention in known, f"attention is one of {known}; got {self.attention!r}")
        require(
            not (self.pretrained and self.tokenizer == "packaged"),
            "model.pretrained=true loads weights that know the tokens of their own tokenizer, not those of the packaged one; "
            f"set model.tokenizer={self.backbone}",
        )


@dataclass
class BaseModelSettings:
    """Architecture of SimLingo-Base: no text, a small decoder over vision, speed and route tokens.

    Attributes:
        backbone: Name of a packaged configuration (``clip_vit_l_336``, ``tiny``) or a JSON file.
        path_queries: False drops the path output.
        equalise: Equalise the brightness histogram of every image, as the published training did.
        wide_ranges: Normalise by 110 km/h and 200 m instead of 64 km/h and 32 m.
    """

    backbone: str = "clip_vit_l_336"
    path_queries: bool = True
    equalise: bool = False
    wide_ranges: bool = False


@dataclass
class AugmentationSettings:
    """Changes of the picture in training.

    Attributes:
        shift: Use the recorded shifted and turned camera in a share of the samples.
        shift_probability: That share.
        colour: Blur, noise, dropout, brightness, contrast, grey, elastic; each with ``colour_probability``.
        colour_probability: Chance of each operator.
        before_tiling: Change the full-resolution image as the published loader does; otherwise the tiles are
            changed, which costs less and allows the tile cache.
        strong_probability: Chance of each change of `data.augment.STRONG_OPERATORS`, made to the tiles where ``colour`` is
            on and ``before_tiling`` is not; not published.
        mirror_probability: Share of the samples without sides in their text whose picture, path, waypoints and target
            points are mirrored, as if traffic kept to the other side; not published.
    """

    shift: bool = True
    shift_probability: float = 0.5
    colour: bool = True
    colour_probability: float = 0.5
    before_tiling: bool = False
    strong_probability: float = 0.0
    mirror_probability: float = 0.0

    def __post_init__(self) -> None:
        for name in ("shift_probability", "colour_probability", "strong_probability", "mirror_probability"):
            value = getattr(self, name)
            require(0 <= value <= 1, f"{name} lies in [0, 1]; got {value}")


@dataclass
class TaskShares:
    """How often a driving sample becomes which task; normalised. Where a label is missing, its share goes to the task behind
    it: that of commentary to questions, theirs to driving.

    Attributes:
        driving: Waypoints without text.
        commentary: Commentary predicted or (one in five) given.
        vqa: One question about the scene.
    """

    driving: float = 1 / 3
    commentary: float = 1 / 3
    vqa: float = 1 / 3

    def __post_init__(self) -> None:
        require(min(self.driving, self.commentary, self.vqa) >= 0, f"task shares are not negative; got {self}")
        require(self.driving + self.commentary + self.vqa > 0, "at least one task share is positive")


@dataclass
class CacheSettings:
    """Ways to avoid reading the data set from a slow disk twice.

    Attributes:
        table_dir: Folder of the frame table; None puts it into the data root.
        use_disk_cache: Keep the tiles of every image read in ``cache_dir``.
        cache_dir: Node-local folder of the cache and of the pre-staged copy; None takes one below the system's
            temporary folder.
        dataset_cache_size_gb: The cache stops growing there, gigabytes.
        use_data_prestage: Copy the data set to ``cache_dir`` before training starts.
        in_memory: Keep tiles in the memory of each worker (small data sets).
    """

    table_dir: str | None = None
    use_disk_cache: bool = False
    cache_dir: str | None = None
    dataset_cache_size_gb: float = 100.0
    use_data_prestage: bool = False
    in_memory: bool = False

    @property
    def folder(self) -> Path:
        """Folder of the cache and of the pre-staged copy."""
        return Path(self.cache_dir) if self.cache_dir else Path(tempfile.gettempdir()) / "simlingo_cache"


@dataclass
class DataSettings:
    """Which samples are drawn and how.

    Attributes:
        root: Data root; contains ``data/``, and beside it ``commentary/``, ``drivelm/``, ``dreamer/``.
        buckets: File of the buckets; None draws every frame equally.
        templates: Folder of the paraphrase files; missing files switch their paraphrases off.
        bucket_weights: Share of each bucket of the driving samples; empty means ``{"all": 1}``.
        bucket_sampling: ``intended`` makes the realised shares equal to the weights; ``published`` gives every
            sample of a bucket the bucket's weight, as the released weights were trained.
        dreamer_share: Share of instruction (dreaming) samples; 0 leaves them out.
        tasks: Shares of the driving samples.
        samples_per_epoch: Draws per epoch; None takes the published rule (min over buckets of size / weight).
        fixed_samples: Draw that many samples once and repeat them, changed pictures included: what a model must be able to
            learn by heart. None trains on all.
        batch_size: Per device.
        num_workers: Loader processes per device; 0 loads in the training process.
        length_window: Batches that are drawn together and then filled in the order of their rows' lengths, so that rows of a
            batch need little padding; 1 fills them in the order of the draws.
        pad_multiple: Rows are padded to a multiple of that many tokens; compiled models like few lengths.
        object_cells: Cells per side of a visual token in the maps of what is to be seen where (`data.objects`), which training
            may predict beside the drive; 0 does without, and boxes are not read.
        hist_len: Frames in; only 1 is supported by the model.
        pred_len: Future frames read; the last one is not used, so 11 gives 10 waypoints.
        skip_first_n_frames: Frames left out at the start of each route.
        use_old_towns, use_town13: Include routes of the ``lb1_split`` group; train on Town13. Of sets ``validation_…`` and
            splits ``routes_validation`` only the expert's driving is ever trained on, not text or dreams.
        val_fraction: Share of the routes held out, by a hash of town, route file and route; repeats of a route go with it. The
            published loader draws runs anew for each bucket instead, so that most of what it validates on is trained on.
        split_by_town: Train on ``routes_training`` and validate on ``routes_validation`` groups instead.
        filter_results: Leave out routes that the expert did not drive cleanly.
        cut_bonnet: Drop the bonnet rows.
        use_safety_flag: Half of the instruction samples may refuse.
        route_as: Kinds of navigation sentence, see `prompts.navigation_options`.
        use_free_sentences: Offer paraphrased navigation sentences.
        paraphrase_probability: Chance that a commentary or question is replaced by a paraphrase.
        augmentation: Picture changes.
        cache: Tile cache and pre-staging.
        val_samples: Most validation samples, spread evenly; None takes all.
    """

    root: str = "database/simlingo"
    buckets: str | None = None
    templates: str = "data/augmented_templates"
    bucket_weights: dict[str, float] = field(default_factory=dict)
    bucket_sampling: str = "intended"
    dreamer_share: float = 0.5
    tasks: TaskShares = field(default_factory=TaskShares)
    samples_per_epoch: int | None = None
    fixed_samples: int | None = None
    batch_size: int = 8
    num_workers: int = 8
    length_window: int = 1
    pad_multiple: int = 1
    object_cells: int = 0
    hist_len: int = 1
    pred_len: int = 11
    skip_first_n_frames: int = 10
    use_old_towns: bool = True
    use_town13: bool = True
    val_fraction: float = 0.01
    split_by_town: bool = False
    filter_results: bool = True
    cut_bonnet: bool = True
    use_safety_flag: bool = True
    route_as: str = "target_point_command"
    use_free_sentences: bool = True
    paraphrase_probability: float = 0.6
    augmentation: AugmentationSettings = field(default_factory=AugmentationSettings)
    cache: CacheSettings = field(default_factory=CacheSettings)
    val_samples: int | None = None

    def __post_init__(self) -> None:
        require(self.hist_len == 1, f"the model takes one image, so hist_len is 1; got {self.hist_len}")
        needed = NUM_SPEED_WAYPOINTS + 1
        require(self.object_cells >= 0, f"object_cells counts from 0; got {self.object_cells}")
        require(self.pred_len >= needed, f"pred_len is at least {needed}; got {self.pred_len}")
        known = ("intended", "published")
        require(self.bucket_sampling in known, f"bucket_sampling is one of {known}; got {self.bucket_sampling!r}")
        require(0 <= self.dreamer_share <= 1, f"dreamer_share lies in [0, 1]; got {self.dreamer_share}")
        require(0 <= self.val_fraction < 1, f"val_fraction lies in [0, 1); got {self.val_fraction}")
        counts = (
            ("batch_size", self.batch_size),
            ("length_window", self.length_window),
            ("pad_multiple", self.pad_multiple),
            ("samples_per_epoch", self.samples_per_epoch),
            ("fixed_samples", self.fixed_samples),
        )
        for name, count in counts:
            require(count is None or count >= 1, f"{name} counts from 1; got {count}")
        for name in ("num_workers", "skip_first_n_frames", "val_samples"):
            value = getattr(self, name)
            require(value is None or value >= 0, f"{name} counts from 0; got {value}")
        chance = self.paraphrase_probability
        require(0 <= chance <= 1, f"paraphrase_probability lies in [0, 1]; got {chance}")
        shares = self.bucket_weights.values()
        require(all(share >= 0 for share in shares), f"bucket_weights are not negative; got {self.bucket_weights}")
        require(not shares or sum(shares) > 0, f"at least one of bucket_weights is positive; got {self.bucket_weights}")


@dataclass
class OptimSettings:
    """Optimiser and schedule (AdamW, one-cycle cosine).

    Attributes:
        lr: Peak learning rate.
        vision_lr: Peak learning rate of the vision side; None takes ``lr``.
        weight_decay: Decoupled weight decay.
        betas: Decay rates of the moments.
        pct_start: Share of the steps spent warming up.
        cycle_momentum: Let the schedule move the first beta between 0.95 and 0.85, as the published run did; not under
            ``max_minutes``.
        decay_all: Decay biases, norms and queries too, as the published run did.
        gradient_clip: Largest gradient norm.
        fused: Use the fused optimiser kernel where there is one; not under ``bf16-mixed`` and ``16-mixed``.
        path_weight, speed_weight, language_weight: Factors of the three losses.
        object_weight: Factor of the loss of the maps of what is to be seen where; counts with ``data.object_cells``.
        turning_point_m: Errors of points up to there count squared, larger ones linearly, metres. Where the future is open,
            squares teach the mean of what may happen (a car that waits at a light creeps), lines the likelier of both.
    """

    lr: float = 3e-5
    vision_lr: float | None = None
    weight_decay: float = 0.1
    betas: tuple[float, float] = (0.9, 0.999)
    pct_start: float = 0.05
    cycle_momentum: bool = False
    decay_all: bool = True
    gradient_clip: float = 0.3
    fused: bool = True
    path_weight: float = 1.0
    speed_weight: float = 1.0
    language_weight: float = 1.0
    object_weight: float = 0.5
    turning_point_m: float = 1.0

    def __post_init__(self) -> None:
        require(self.lr > 0, f"lr is positive; got {self.lr}")
        require(self.turning_point_m > 0, f"turning_point_m is a distance above 0; got {self.turning_point_m}")
        require(0 < self.pct_start < 1, f"pct_start lies in (0, 1); got {self.pct_start}")


@dataclass
class TrainerSettings:
    """How long and on what.

    Attributes:
        max_epochs: Passes of ``samples_per_epoch`` samples; -1 for no limit but those of ``max_steps`` or ``max_minutes``.
        max_steps: Stop after that many optimiser steps; -1 for no limit.
        max_minutes: End after that many minutes at the latest, with the learning rate annealed by then; None for no
            limit. The result then depends on the speed of the machine.
        accelerator: ``auto``, ``cpu`` or ``gpu``.
        devices: Devices per node.
        num_nodes: Machines.
        precision: ``bf16-master`` (bfloat16 backbone, float32 masters in the optimiser) or one of Lightning's names:
            ``32-true``, ``bf16-mixed``, ``16-mixed``. A CPU always computes in float32.
        strategy: ``auto``, ``ddp``, ``fsdp2`` (parameters, gradients and optimiser divided among the devices), or another of
            Lightning's names, such as ``deepspeed_stage_2`` (needs the package deepspeed).
        accumulate: Batches per optimiser step.
        compile: Compile the layers of the backbone.
        fused_layers: Compute the layers of the backbone with fewer and larger matrix products, see `models.fused`.
        attention_kernel: Which of torch's attention kernels is tried first: ``default``, ``cudnn`` (the fastest on H100 and
            H200) or ``flash``. ``flash4`` takes FlashAttention 4 in the vision tower and cuDNN elsewhere; it needs a Hopper or
            Blackwell GPU and the package flash-attn-4.
        memory_budget: Share of the activations that compiled layers may keep; what is dropped is computed again.
        recompute_pointwise: Compiled layers of the vision tower compute norms and activation functions again in the backward
            pass instead of keeping their results: much less memory for little time.
        keep_activations: Of these keep the results of the activation functions, when layers are fused: a bit faster again,
            with two thirds of the memory.
        ema_decay: Keep an exponential average of the weights, validate it and store it; 0 does without. Early in the run
            the decay is smaller, (1 + step) / (10 + step).
        checkpoint_activations: Recompute activations of vision layers in the backward pass.
        val_every_n_epochs: Validation and checkpoint interval.
        checkpoint_every_n_steps: Also store a checkpoint for resuming that often; 0 stores at validations only.
        keep_all: Keep every stored checkpoint, not only the best and the last.
        log_every_n_steps: Interval of step metrics.
        visualise: Draw predictions of a few samples at every validation.
        threads: Threads of torch on the CPU; 0 leaves torch's choice.
    """

    max_epochs: int = 15
    max_steps: int = -1
    max_minutes: float | None = None
    accelerator: str = "auto"
    devices: int = 1
    num_nodes: int = 1
    precision: str = "bf16-mixed"
    strategy: str = "auto"
    accumulate: int = 1
    compile: bool = False
    fused_layers: bool = False
    attention_kernel: str = "default"
    memory_budget: float = 1.0
    recompute_pointwise: bool = False
    keep_activations: bool = False
    ema_decay: float = 0.0
    checkpoint_activations: bool = False
    val_every_n_epochs: int = 2
    checkpoint_every_n_steps: int = 0
    keep_all: bool = False
    log_every_n_steps: int = 10
    visualise: bool = True
    threads: int = 0

    def __post_init__(self) -> None:
        known = ("default", "cudnn", "flash", "flash4")
        require(self.attention_kernel in known, f"attention_kernel is one of {known}; got {self.attention_kernel!r}")
        require(0 <= self.ema_decay < 1, f"ema_decay lies in [0, 1); got {self.ema_decay}")
        together = self.ema_decay > 0 and self.strategy == "fsdp2"
        require(
            not together, "ema_decay averages whole weights; with strategy=fsdp2 they are divided. Use strategy=ddp"
        )
        require(0 <= self.memory_budget <= 1, f"memory_budget lies in [0, 1]; got {self.memory_budget}")
        for name in ("devices", "num_nodes", "accumulate", "val_every_n_epochs", "log_every_n_steps"):
            require(getattr(self, name) >= 1, f"{name} counts from 1; got {getattr(self, name)}")
        for name in ("checkpoint_every_n_steps", "threads"):
            require(getattr(self, name) >= 0, f"{name} counts from 0; got {getattr(self, name)}")
        for name in ("max_epochs", "max_steps"):
            value = getattr(self, name)
            require(value >= 1 or value == -1, f"{name} counts from 1, or is -1 for no limit; got {value}")
        minutes = self.max_minutes
        require(minutes is None or minutes > 0, f"max_minutes is a time above 0; got {minutes}")
        is_limited = self.max_epochs > 0 or self.max_steps > 0 or minutes is not None
        require(is_limited, "max_epochs=-1 needs max_steps or max_minutes, or training would never end")


@dataclass
class LoggingSettings:
    """Where metrics go.

    Attributes:
        wandb: Log to Weights & Biases; offline unless logged in.
        wandb_project: Project name.
        tensorboard: Write TensorBoard events.
        csv: Write ``metrics.csv``.
    """

    wandb: bool = True
    wandb_project: str = "simlingo"
    tensorboard: bool = True
    csv: bool = True


@dataclass
class ClusterSettings:
    """Where the run executes.

    Attributes:
        kind: ``local`` (this process) or ``slurm``.
        partition: SLURM partition; None takes the cluster's default.
        nodes: Machines; sets the trainer's ``num_nodes``.
        gpus_per_node: One task for each; 0 trains on the CPU. Sets the trainer's ``devices``.
        cpus_per_task: Cores per task: one for the step, the rest for loading.
        memory_gb: Per node; None takes the cluster's default.
        minutes: Time limit of one job.
        max_requeues: How often a job that ran out of time is queued again.
        wait: Wait for the job's end.
    """

    kind: str = "local"
    partition: str | None = None
    nodes: int = 1
    gpus_per_node: int = 8
    cpus_per_task: int = 8
    memory_gb: int | None = None
    minutes: int = 4320
    max_requeues: int = 100
    wait: bool = False

    def __post_init__(self) -> None:
        known = ("local", "slurm")
        require(self.kind in known, f"cluster.kind is one of {known}; got {self.kind!r}")


@dataclass
class TrainSettings:
    """One training run.

    Attributes:
        name: Label of the run.
        out: Folder of everything the run writes.
        kind: ``simlingo`` or ``simlingo_base``.
        recipe: ``module:function`` that builds model, data and training module of the kind.
        seed: Decides weights, order and draws.
        resume: Continue from ``last`` in ``out`` when it exists.
        init_from: Checkpoint directory, or released file or DeepSpeed folder, whose weights the run starts from.
        base: Architecture of ``kind: simlingo_base``, which does not read ``model``.
        model, data, optim, trainer, logging, cluster: See there.
    """

    name: str = MISSING
    out: str = "outputs/${name}"
    kind: str = "simlingo"
    recipe: str = "simlingo_training.run:simlingo_recipe"
    seed: int = 42
    resume: bool = True
    init_from: str | None = None
    model: ModelSettings = field(default_factory=ModelSettings)
    base: BaseModelSettings = field(default_factory=BaseModelSettings)
    data: DataSettings = field(default_factory=DataSettings)
    optim: OptimSettings = field(default_factory=OptimSettings)
    trainer: TrainerSettings = field(default_factory=TrainerSettings)
    logging: LoggingSettings = field(default_factory=LoggingSettings)
    cluster: ClusterSettings = field(default_factory=ClusterSettings)


def from_hydra(config: Any) -> TrainSettings:
    """Resolve a composed configuration and build the typed settings.

    Raises:
        omegaconf.errors.OmegaConfBaseException: For an unknown key or a value of the wrong type.
        ValueError: If settings contradict each other.
    """
    values = OmegaConf.to_container(config, resolve=True)
    assert isinstance(values, dict)
    values.pop("hydra", None)
    settings = OmegaConf.to_object(OmegaConf.merge(OmegaConf.structured(TrainSettings), values))
    assert isinstance(settings, TrainSettings)
    return settings
