"""The typed parts that records are made of.

A field has one name everywhere: in the record's file, in the tables that users get from
`harness.report.load_results`, and among the reasons in `not_measured`. Its unit is in the name.
"""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from annotated_types import Ge, Le

Count = Annotated[int, Ge(0)]
Positive = Annotated[int, Ge(1)]
Amount = Annotated[float, Ge(0)]
Percent = Annotated[float, Ge(0), Le(100)]
Layout = Literal["channels last", "contiguous"]
Share = Annotated[float, Ge(0), Le(1)]


@dataclass(frozen=True, kw_only=True)
class Accuracy:
    """The accuracy on the test images.

    Attributes:
        accuracy_top1: Percent of the test images.
        accuracy_top1_low: Lower end of its 95% Wilson interval, percent.
        accuracy_top1_high: Upper end of that interval, percent.
        accuracy_top5: Percent of images whose class is among the five highest logits.
        expected_calibration_error: Mean distance, in percent, between accuracy and softmax
            confidence of the predicted class, over 15 bins of confidence; None in older records.
        n_test: Number of test images.
        accuracy_method: How the network was run: what was done to it, precision, batch size.
        precision: Precision of the accuracy pass.
        predictions_sha256: Digest of the class that each test image was given; the classes are
            kept in `results/predictions/`.
        test_labels_sha256: Digest of the test images' labels in their order.
        evaluation_images_per_s: Speed of the accuracy pass, loading and resizing included.
        accuracy_fp32_check: For a bf16 pass, what fp32 makes of some of the test images: number
            of images, top-1 accuracy either way in percent, and how many changed class.
        confusion_matrix: Counts; rows are true classes, columns are predictions.
    """

    accuracy_top1: Percent | None = None
    accuracy_top1_low: Percent | None = None
    accuracy_top1_high: Percent | None = None
    accuracy_top5: Percent | None = None
    expected_calibration_error: Percent | None = None
    n_test: Positive | None = None
    accuracy_method: str = ""
    precision: str = "fp32"
    predictions_sha256: str | None = None
    test_labels_sha256: str | None = None
    evaluation_images_per_s: Amount | None = None
    accuracy_fp32_check: dict[str, Count | Amount] = field(default_factory=dict)
    confusion_matrix: list[list[Count]] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Latency:
    """The time that one image takes at batch 1, its data already on the device.

    Attributes:
        latency_ms_p05: 5th percentile.
        latency_ms_p50: Median.
        latency_ms_p95: 95th percentile.
        latency_ms_p99: 99th percentile.
        latency_rounds: Number of timed calls.
    """

    latency_ms_p05: Amount | None = None
    latency_ms_p50: Amount | None = None
    latency_ms_p95: Amount | None = None
    latency_ms_p99: Amount | None = None
    latency_rounds: Count | None = None


@dataclass(frozen=True, kw_only=True)
class Throughput:
    """The speed at the batch size where it is highest.

    Attributes:
        throughput_images_per_s: Images a second.
        throughput_batch_size: The batch size.
        throughput_peak_share: Arithmetic as a share of `peak_gflops_per_s`.
        peak_gflops_per_s: Speed that the device reached in one large fp32 product, 10^9
            operations a second.
    """

    throughput_images_per_s: Amount | None = None
    throughput_batch_size: Positive | None = None
    throughput_peak_share: Amount | None = None
    peak_gflops_per_s: Amount | None = None


@dataclass(frozen=True, kw_only=True)
class Memory:
    """Memory in MB of 10^6 bytes.

    Attributes:
        weights_mb: Bytes of parameters and buffers.
        peak_memory_mb: Largest sum of live activations of one image's forward pass.
        peak_process_mb: The same peak as the process's own high-water mark shows it.
        peak_training_memory_mb: The peak of a training step at the recipe's batch size: saved
            activations, gradients and the optimizer's state, in fp32.
    """

    weights_mb: Amount | None = None
    peak_memory_mb: Amount | None = None
    peak_process_mb: Amount | None = None
    peak_training_memory_mb: Amount | None = None


@dataclass(frozen=True, kw_only=True)
class Operations:
    """Parameters and arithmetic.

    Attributes:
        params: Number of parameters.
        params_trainable: Number of parameters that training may change: all of them, unless
            layers are frozen.
        gmacs: True multiply-accumulates of one image, 10^9.
        gflops: Operations of one image, two to a multiply-accumulate, 10^9.
        gmacs_thop: Multiply-accumulates as thop counts them, 10^9 (the published "G-Flops").
        network_forms: Which forms of a re-parameterised network figures are of; empty for others.
    """

    params: Count | None = None
    params_trainable: Count | None = None
    gmacs: Amount | None = None
    gflops: Amount | None = None
    gmacs_thop: Amount | None = None
    network_forms: str = ""


@dataclass(frozen=True, kw_only=True)
class Energy:
    """Energy and cache use by hardware counters.

    Attributes:
        energy_j_per_image: Joules an image, at the batch size of the throughput.
        cache_references_per_image: Cache references an image, at batch 1.
        cache_misses_per_image: Cache misses an image, at batch 1.
    """

    energy_j_per_image: Amount | None = None
    cache_references_per_image: Amount | None = None
    cache_misses_per_image: Amount | None = None


@dataclass(frozen=True, kw_only=True)
class PathCosts:
    """What one path through a routed network costs.

    Attributes:
        classes: Number of classes at its end.
        params: Number of parameters that run on it; the other figures are of them, too.
        images: Number of test images that took it.
        latency_ms_p50: Median time of an image on it.
    """

    name: str
    classes: Positive
    params: Count
    weights_mb: Amount
    gmacs: Amount
    gmacs_thop: Amount | None
    images: Positive
    latency_ms_p50: Amount


@dataclass(frozen=True, kw_only=True)
class Compression:
    """What a compressed model was made from, and what both networks cost.

    Attributes:
        base: Name of the model that was compressed. Names with `base` at one end are of fields of
            the base, in the units of the field without it: `params_base`, `base_epochs`.
        method: quantization or pruning.
        accuracy_base: Top-1 accuracy of the base, percent.
        accuracy_fake_quantized: Top-1 accuracy with fake quantization, percent.
        accuracy_pruned: Top-1 accuracy after pruning, before fine-tuning, percent.
        weights_ratio_to_base: `weights_mb` divided by the base's.
        speed_up_wanted: Quotient of multiply-accumulates that the settings ask for.
        speed_up: Quotient of multiply-accumulates that was reached.
        latency_ratio_to_base: Latency divided by the base's in the same rounds; `_low` and `_high`
            are the ends of its 95% interval.
        latency_drift_base: Drift of the base's median over the rounds, as a share.
    """

    base: str
    method: str
    base_weights_sha256: str | None = None
    base_start: str | None = None
    base_epochs: Count | None = None
    base_training_seconds: Amount | None = None
    accuracy_base: Percent | None = None
    accuracy_fake_quantized: Percent | None = None
    accuracy_pruned: Percent | None = None
    params_base: Count
    weights_mb_base: Amount
    weights_ratio_to_base: Amount
    gmacs_base: Amount | None
    gmacs_thop_base: Amount | None
    speed_up_wanted: Amount | None
    speed_up: Amount | None
    latency_ms_p50_base: Amount
    latency_ratio_to_base: Amount
    latency_ratio_to_base_low: Amount
    latency_ratio_to_base_high: Amount
    latency_rounds: Count
    latency_drift_base: float


@dataclass(frozen=True, kw_only=True)
class Load:
    """What else the machine did during a measurement; None: the system does not tell.

    Attributes:
        load_average_before: Mean number of runnable processes in the minute before.
        load_average_after: The same at the end.
        others_share: Share of the CPU that other processes took.
        stolen_share: Share of the CPU that the hypervisor gave to other machines.
    """

    load_average_before: Amount | None = None
    load_average_after: Amount | None = None
    others_share: float | None = None
    stolen_share: float | None = None


@dataclass(frozen=True, kw_only=True)
class Machine:
    """What a measurement ran on, and whether anything disturbed it.

    Attributes:
        device_name: Model of the processor or GPU.
        threads: Number of CPU threads.
        cores: The hardware threads that they were pinned to while costs were measured; None where
            they were not pinned.
        load: What else the machine did.
        busy: Why the machine counts as busy; None where it does not.
    """

    device_name: str = ""
    threads: Count = 0
    cores: list[Count] | None = None
    load: Load | None = None
    busy: str | None = None


@dataclass(frozen=True, kw_only=True)
class Epoch:
    """The log of one epoch of training.

    Attributes:
        stage: Name of the stage, where there are several.
        loss: Mean training loss.
        accuracy: Share of the training images that were classified rightly.
        learning_rate: Learning rate at its end.
    """

    stage: str | None = None
    epoch: Positive
    loss: float
    accuracy: Share
    learning_rate: Amount
    seconds: Amount


@dataclass(frozen=True, kw_only=True)
class Weights:
    """The weights that were measured, and how they were trained.

    Attributes:
        weights_origin: trained, published, imagenet or random.
        weights_sha256: Digest of the weights file; None for random and imagenet weights.
        start: What training started from: imagenet, random, or the name of a trained model.
        stem_start: What the stem started from where that is something else: random, if a small stem
            stands in for that of ImageNet weights; None: what all started from.
        epochs: Number of epochs.
        training_seconds: Sum over the epochs.
        training_device: The kind of device that the network was trained on: cpu or cuda.
        training_precision: fp32 or bf16.
        training_processes: Number of processes that trained the network together; None in records
            of earlier versions, which used one.
        training_layout: How images lay in memory in training: channels last, or contiguous where
            the network or the settings want that; None: not noted.
        code_digest: The digest of the code that builds the network; None: not noted.
        history: The log of each epoch.
    """

    weights_origin: Literal["", "trained", "published", "imagenet", "random"] = ""
    weights_sha256: str | None = None
    start: str | None = None
    stem_start: Literal["random"] | None = None
    epochs: Count | None = None
    training_seconds: Amount | None = None
    training_device: str | None = None
    training_precision: str | None = None
    training_processes: Positive | None = None
    training_layout: Layout | None = None
    code_digest: str | None = None
    history: list[Epoch] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class UsedSettings:
    """The settings of a run.

    Attributes:
        image_size: Side of the images at the network's input, pixels.
        seed: Seed of every random choice.
        repeat: Whether the run repeats a cell with another seed (`--seeds`).
        settings_hash: Hash of all settings.
        settings: The settings themselves.
    """

    image_size: Count = 0
    seed: int = 0
    repeat: bool = False
    settings_hash: str = ""
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass(frozen=True, kw_only=True)
class Data:
    """The images.

    Attributes:
        data_name: Name of the source of the images.
        data_sha256: Digest of the images.
        data_digest_of: What the digest is taken over.
        data_official: Whether train and test are the official split.
        classes: Class names in the order of the labels.
        data_notes: What was done to the images, and what was left out, in words.
    """

    data_name: str = ""
    data_sha256: str = ""
    data_digest_of: str = ""
    data_official: bool = False
    classes: list[str] = field(default_factory=list)
    data_notes: list[str] = field(default_factory=list)


@dataclass(frozen=True, kw_only=True)
class Provenance:
    """Where a record comes from.

    Attributes:
        git_commit: Commit of this project.
        git_dirty: Whether the working tree differed from that commit.
        started: UTC, ISO 8601.
        duration_s: Duration of the whole measurement, seconds.
        command: The command that makes it again.
        environment: The machine and the versions of the software.
    """

    git_commit: str | None = None
    git_dirty: bool | None = None
    started: str = ""
    duration_s: Amount = 0.0
    command: str = ""
    environment: dict[str, Any] = field(default_factory=dict)
