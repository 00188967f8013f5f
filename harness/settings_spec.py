"""The settings of a cell: their names, types, limits and defaults."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Literal

from annotated_types import Ge, Gt, Le, Len, Lt

Precision = Literal["fp32", "bf16"]
TrainingPrecision = Literal["fp32", "tf32", "bf16", "fp16"]
Fp32Precision = Literal["ieee", "tf32", "torch"]
WeightsChoice = Literal["auto", "train", "imagenet", "published", "random"]
Compression = Literal["quantization", "pruning"]

LARGEST_SEED = 2**32 - 1
"""The largest seed that numpy's generator takes."""

# No setting is so large that the work would not end, or not fit into any machine.
_Count = Annotated[int, Ge(1), Le(100_000)]
_Batch = Annotated[int, Ge(1), Le(65_536)]
_Pixels = Annotated[int, Ge(1), Le(4096)]
_Seconds = Annotated[float, Gt(0), Le(86_400)]
_Share = Annotated[float, Gt(0), Le(1)]
_Alpha = Annotated[float, Ge(0.01), Le(100)]

_STRICT = {"extra": "forbid", "allow_inf_nan": False}


@dataclass(frozen=True, kw_only=True)
class TrainingSettings:
    """A recipe: everything that the trained weights depend on, apart from data and seed.

    `start` auto is ImageNet weights where they can be had, else a random start; the record and the
    key of the weights say which. `balance_classes` shows each class equally often.
    `freeze_layers` is how many of the first layer groups are not trained, and `freeze_backbone`
    leaves all but the head untrained: see `harness/networks/freezing.py`.

    Learning rate: `warmup_epochs`, which need not be whole, are those in which it rises linearly
    to `learning_rate` (Goyal et al., 2017, arXiv:1706.02677); the schedule follows (cosine:
    Loshchilov and Hutter, 2016, arXiv:1608.03983). `one_cycle` (Smith and Topin, 2017,
    arXiv:1708.07120) rises for `warmup_fraction` of all steps instead. `cosine_epochs` is when the
    cosine schedule would reach 0; None: at the last epoch. `layer_decay` multiplies the rate of a
    layer once for each layer between it and the output (Bao et al., BEiT, 2021, arXiv:2106.08254);
    `harness.networks.freezing.layer_depths` says what a layer is. `max_gradient_norm` scales
    longer gradients down to this norm (Pascanu et al., 2012, arXiv:1211.5063). `ema_decay`: the
    network ends with the exponential moving average of its weights and statistics after each step,
    which keeps this share of the average before it (Polyak and Juditsky, 1992,
    doi:10.1137/0330046).

    Training images are changed at random, at the network's resolution, by `random_resized_crop`
    (smallest and largest share of the area that is enlarged to the whole; Szegedy et al., 2014,
    arXiv:1409.4842), `rand_augment` (operations an image, magnitude; Cubuk et al., 2019,
    arXiv:1909.13719), `shift_pixels`, `horizontal_flip` and `cutout` (squares an image, side in
    pixels; DeVries and Taylor, 2017, arXiv:1708.04552). `alternate_flip` mirrors an image in every
    second epoch instead of at random (K. Jordan, 2024, arXiv:2404.00498). `mixup_alpha` (Zhang et
    al., 2017, arXiv:1710.09412) and `cutmix_alpha` (Yun et al., 2019, arXiv:1905.04899) mix the
    images of a batch in pairs, and their targets; with both, each batch is mixed by one of them,
    drawn with equal chances. Targets are softened by `label_smoothing` (Szegedy et al., 2015,
    arXiv:1512.00567).

    `micro_batch_size` adds up the gradients of a batch in parts that fit into memory; batch norm
    sees the parts. `fused_optimizer` updates all weights in one kernel, and `compile` is
    torch.compile's mode: see docs/gpu.md. `processes` train one network together, each with its
    share of every batch, and batch norm takes its statistics from the whole batch (sync) or from
    each process's own share (local): see docs/training.md.
    """

    start: Literal["auto", "imagenet", "random"] = "auto"
    epochs: _Count = 6
    batch_size: _Batch = 16
    drop_last: bool = True
    optimizer: Literal["adam", "adamw", "sgd"] = "adam"
    learning_rate: Annotated[float, Gt(0)] = 1e-4
    weight_decay: Annotated[float, Ge(0)] = 0.0
    betas: tuple[Annotated[float, Ge(0), Lt(1)], Annotated[float, Ge(0), Lt(1)]] = (0.9, 0.99)
    momentum: Annotated[float, Ge(0), Lt(1)] = 0.9
    schedule: Literal["constant", "cosine", "one_cycle", "step"] = "constant"
    warmup_fraction: Annotated[float, Gt(0), Lt(1)] = 0.3
    warmup_epochs: Annotated[float, Gt(0), Le(100_000)] | None = None
    cosine_epochs: _Count | None = None
    step_epochs: Annotated[tuple[_Count, ...], Len(0, 1000)] = ()
    step_factor: Annotated[float, Gt(0), Le(1)] = 0.1
    layer_decay: Annotated[float, Gt(0), Lt(1)] | None = None
    label_smoothing: Annotated[float, Ge(0), Lt(1)] = 0.0
    shift_pixels: Annotated[int, Ge(0), Le(4096)] = 0
    horizontal_flip: bool = False
    alternate_flip: bool = False
    random_resized_crop: tuple[_Share, _Share] | None = None
    rand_augment: tuple[Annotated[int, Ge(1), Le(100)], Annotated[int, Ge(0), Le(30)]] | None = None
    cutout: tuple[Annotated[int, Ge(1), Le(100)], _Pixels] | None = None
    mixup_alpha: _Alpha | None = None
    cutmix_alpha: _Alpha | None = None
    balance_classes: bool = False
    ema_decay: Annotated[float, Gt(0), Lt(1)] | None = None
    max_gradient_norm: Annotated[float, Gt(0)] | None = None
    precision: TrainingPrecision = "fp32"
    fused_optimizer: bool = False
    micro_batch_size: _Batch | None = None
    compile: Literal["default", "reduce-overhead", "max-autotune"] | None = None
    channels_last: bool = True
    processes: Annotated[int, Ge(1), Le(1024)] = 1
    norm_statistics: Literal["sync", "local"] = "sync"
    freeze_layers: Annotated[int, Ge(0), Le(100_000)] = 0
    freeze_backbone: bool = False


@dataclass(frozen=True, kw_only=True)
class TreeSettings:
    """How a tree of networks is grown; see docs/trunk.md.

    A node is trained first to tell its classes apart, then to choose among its groups: the root
    by `Settings.training` and `grouping`, the nodes below by `class_below` and `grouping_below`
    (None: as the root).

    Attributes:
        backbone: The family of node networks.
        root_layers: Layer list of the root.
        layers_by_outputs: Layer lists by number of outputs, for nodes below the root.
        volatility: Grouping volatility v; a larger one groups less.
        root_volatility: Grouping volatility of the root; None: as the other nodes.
        held_out: Share of the training images that only grouping and folding look at; 0: none,
            they look at the training images. Any other share means the validation images, where
            there are some.
        grouping: Trains a node to choose among its groups.
        class_below: Trains the nodes below the root to tell their classes apart.
        grouping_below: Trains the nodes below the root to choose among their groups.
        dropout: Probability in the dropout layers of the backbone; None: the backbone's own.
        warm_start: Whether a node's second training starts from the features of its first.
        feature_views: How many times the images are augmented anew for the kept feature maps.
        fold: Whether a node that is worse than leaves in its place is taken out.
        joint: Trains all nodes together on the true path at the end; None: not done.
        logit_adjustment: Whether joint training corrects for classes with unequal numbers of
            images in its loss (Menon et al., 2020, arXiv:2007.07314).
        distillation: Share of a teacher's probabilities in the targets of joint training. The
            teacher is trained before, to tell all classes apart. None: it has no share.
        start_from_teacher: Whether the root starts from the teacher's first layers, and the nodes
            below it from its last ones, rather than at random.
        teacher: Trains the teacher, if there is one; None: by `joint`.
        teacher_layers: Layer list of the teacher.
    """

    backbone: Literal["compact", "efficient", "efficient_s", "efficient_xs", "mobilenet", "vgg"] = (
        "compact"
    )
    root_layers: str = "root"
    layers_by_outputs: dict[int, str] = field(default_factory=dict)
    volatility: Annotated[float, Gt(0), Le(1e6)] = 1.0
    root_volatility: Annotated[float, Gt(0), Le(1e6)] | None = None
    held_out: Annotated[float, Ge(0), Lt(1)] = 0.0
    grouping: TrainingSettings = field(default_factory=TrainingSettings)
    class_below: TrainingSettings | None = None
    grouping_below: TrainingSettings | None = None
    dropout: Annotated[float, Ge(0), Lt(1)] | None = None
    warm_start: bool = False
    feature_views: Annotated[int, Ge(1), Le(1000)] = 1
    fold: bool = False
    joint: TrainingSettings | None = None
    logit_adjustment: bool = False
    distillation: Annotated[float, Gt(0), Le(1)] | None = None
    start_from_teacher: bool = False
    teacher: TrainingSettings | None = None
    teacher_layers: str = "flat"

    @property
    def has_teacher(self) -> bool:
        """Whether a teacher is trained: something follows it."""
        return self.distillation is not None or self.start_from_teacher


@dataclass(frozen=True, kw_only=True)
class QuantizationSettings:
    """How a trained network becomes an int8 one; see docs/compression.md.

    Attributes:
        backend: Whose int8 kernels are used, of those that torch has for the CPU; it decides how
            many bits weights and activations get.
        calibration_images: The number of training images that the ranges of activations come
            from, without any training; None: `training` finds them.
        training: Trains on with all numbers rounded as int8 will round them.
    """

    backend: Literal["x86", "fbgemm", "onednn", "qnnpack"] = "x86"
    calibration_images: _Count | None = None
    training: TrainingSettings = field(default_factory=TrainingSettings)


@dataclass(frozen=True, kw_only=True)
class PruningSettings:
    """How channels are taken out of a trained network; see docs/compression.md.

    Attributes:
        speed_up: Multiply-accumulates before over those after; they are met within 3%.
        steps: In how many equal steps all channels of a layer would be gone; pruning stops at the
            first that reaches `speed_up`.
        importance: What is summed over a channel's weights, in all layers that lose it together:
            absolute values (l1) or squares (group_norm).
        training: Trains what is left.
    """

    speed_up: Annotated[float, Gt(1), Le(1e6)] = 2.0
    steps: _Count = 400
    importance: Literal["l1", "group_norm"] = "l1"
    training: TrainingSettings = field(default_factory=TrainingSettings)


@dataclass(frozen=True, kw_only=True)
class DataSettings:
    """Which images of a `--data-file` are tested on, where it does not say so itself.

    Attributes:
        test_share: The share of each class that is tested on and not trained on; None: the file
            has test images.
        test_seed: The seed that they are drawn with; the same images for all `--seeds`.
    """

    test_share: Annotated[float, Gt(0), Lt(1)] | None = None
    test_seed: Annotated[int, Ge(0), Lt(2**63)] = 0


@dataclass(frozen=True, kw_only=True)
class TuningSettings:
    """The search that a recipe was found by (`--tune`); `--recipe tuned` fills it in.

    Attributes:
        trials: Number of recipes that were tried.
        images: Training images that each saw in an epoch.
        epochs: How often it saw them, unless it was given up.
        searched: Dotted keys of the settings that the trials drew.
        space: Digest of the search space.
    """

    trials: _Count
    images: Annotated[int, Ge(1)]
    epochs: _Count
    searched: tuple[str, ...]
    space: str


@dataclass(frozen=True, kw_only=True)
class EvaluationSettings:
    """How accuracy is measured.

    In a tree of networks, an image follows up to `beam` paths, of which the most likely leaf
    counts; a path after the first one begins at a choice of at least the probability
    `beam_threshold`. Costs are measured in the same way; see docs/trunk.md.
    """

    batch_size: _Batch = 16
    precision: Precision = "fp32"
    beam: Annotated[int, Ge(1), Le(100_000)] = 1
    beam_threshold: Annotated[float, Ge(0), Le(1)] = 0.0


@dataclass(frozen=True, kw_only=True)
class MeasurementSettings:
    """How long and how often costs are measured.

    `latency_seconds` are for each model, in each process. `latency_processes` is how many time the
    models when they are compared (`--measure latency`): five are the fewest with which the ratio's
    interval is near what it says, see `harness.measure.ratios`. A cell is measured in one.
    `fp32_precision` is how a GPU computes fp32 products: see `harness.measure.conditions`.
    """

    latency_rounds: Annotated[int, Ge(20), Le(1_000_000)] = 100
    latency_seconds: _Seconds = 10.0
    latency_processes: Annotated[int, Ge(1), Le(1000)] = 5
    throughput_batch_sizes: Annotated[tuple[_Batch, ...], Len(1, 100)] = (1, 4, 16, 64)
    throughput_seconds: _Seconds = 2.0
    fp32_precision: Fp32Precision = "ieee"


@dataclass(frozen=True, kw_only=True)
class Settings:
    """Everything that a cell's result depends on, apart from code, data and machine.

    `image_size` and the statistics are those of the model and of the data set where None.
    `stem` small changes a network to look at small images closely: see
    `harness/networks/small_stem.py`.
    Training writes a checkpoint after each epoch, and every `checkpoint_minutes` within one.
    `tree` is for models that are grown, `quantization` and `pruning` for those made from another
    model, of which `training` is the recipe then; None for the others.
    """

    __pydantic_config__ = _STRICT  # of all sections, too

    seed: Annotated[int, Ge(0), Le(LARGEST_SEED)] = 42
    threads: Annotated[int, Ge(1), Le(1024)] | None = None
    weights: WeightsChoice = "auto"
    image_size: _Pixels | None = None
    stem: Literal["small"] | None = None
    mean: tuple[Annotated[float, Ge(-1000), Le(1000)], ...] | None = None
    std: tuple[Annotated[float, Ge(1e-6), Le(1e6)], ...] | None = None
    normalize: bool = True
    memory_limit_gb: Annotated[float, Gt(0), Le(1e6)] = 4.0
    checkpoint_minutes: Annotated[float, Ge(0), Le(1e6)] = 5.0
    data: DataSettings = field(default_factory=DataSettings)
    training: TrainingSettings = field(default_factory=TrainingSettings)
    tree: TreeSettings | None = None
    quantization: QuantizationSettings | None = None
    pruning: PruningSettings | None = None
    evaluation: EvaluationSettings = field(default_factory=EvaluationSettings)
    measurement: MeasurementSettings = field(default_factory=MeasurementSettings)
    tuning: TuningSettings | None = None
