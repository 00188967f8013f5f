"""Weights saved the way the publication saved them: every cell loads them, with equal logits.

The networks are put together here as the authors' programs do it, apart from our own models.
"""

import dataclasses
import sys
import warnings
from types import ModuleType, SimpleNamespace

import numpy as np
import pytest
import timm
import torch
import torchvision.models as zoo
from torch import nn
from torch.ao import quantization
from torch.nn import functional

from harness.catalog import load_model
from harness.errors import RequestError
from harness.jobs import Cell, Job
from harness.networks.published import published_file
from harness.records.cost import COSTS
from harness.registry import load_dataset
from harness.run import provision
from harness.run.cell import run_cell
from harness.run.count import count_costs
from harness.settings import complete_settings, load_settings
from harness.util.files import file_sha256

WIDTHS = [[45, 45], [90, 90], [181] * 3, [362] * 3, [362] * 3]
HEADS = {"resnet50": "fc", "vgg16": "classifier.6", "mobilenet_v2": "classifier.1"}
HEADS |= {"convnext_base": "classifier.2", "vit_b_16": "heads.head"}
STEMS = {
    "resnet50": ("conv1", lambda: nn.Conv2d(1, 64, 7, stride=2, padding=3, bias=False)),
    "vgg16": ("features.0", lambda: nn.Conv2d(1, 64, 3, padding=1)),
    "mobilenet_v2": ("features.0.0", lambda: nn.Conv2d(1, 32, 3, stride=2, padding=1, bias=False)),
    "convnext_base": ("features.0", lambda: nn.Conv2d(1, 128, 4, stride=4)),
    "vit_b_16": ("conv_proj", lambda: nn.Conv2d(1, 768, 16, stride=16)),
}


def from_torchvision(name, classes, channels):
    network = zoo.get_model(name)
    head = network.get_submodule(HEADS[name])
    network.set_submodule(HEADS[name], nn.Linear(head.in_features, classes))
    if channels == 1:
        stem, make = STEMS[name]
        network.set_submodule(stem, make())
    return network


def deit(classes, channels):
    network = timm.create_model("deit_tiny_patch16_224", in_chans=channels)
    network.head = nn.Linear(192, classes)
    return network


class DinoV2(nn.Module):
    """The network of torch.hub's `dinov2_vitb14_reg`, from its description."""

    def __init__(self, channels):
        super().__init__()

        def add(name, *shape):
            parent, _, own = name.rpartition(".")
            self.get_submodule(parent).register_parameter(own, nn.Parameter(torch.empty(shape)))

        add("cls_token", 1, 1, 768)
        add("pos_embed", 1, 1370, 768)
        add("register_tokens", 1, 4, 768)
        add("mask_token", 1, 768)
        self.patch_embed = nn.ModuleDict({"proj": nn.Conv2d(channels, 768, 14, stride=14)})
        self.blocks = nn.ModuleList(self.block() for _ in range(12))
        for block in range(12):
            add(f"blocks.{block}.ls1.gamma", 768)
            add(f"blocks.{block}.ls2.gamma", 768)
        self.norm = nn.LayerNorm(768, eps=1e-6)

    def block(self):
        norms = {name: nn.LayerNorm(768, eps=1e-6) for name in ("norm1", "norm2")}
        attention = nn.ModuleDict({"qkv": nn.Linear(768, 2304), "proj": nn.Linear(768, 768)})
        mlp = nn.ModuleDict({"fc1": nn.Linear(768, 3072), "fc2": nn.Linear(3072, 768)})
        scales = {"ls1": nn.Module(), "ls2": nn.Module()}
        return nn.ModuleDict({**norms, "attn": attention, "mlp": mlp, **scales})

    def forward(self, images):
        patches = self.patch_embed["proj"](images).flatten(2).mT
        grid = self.pos_embed[:, 1:].reshape(1, 37, 37, 768).permute(0, 3, 1, 2)
        grid = functional.interpolate(grid, size=(16, 16), mode="bicubic", antialias=True)
        first = self.cls_token + self.pos_embed[:, :1]
        x = torch.cat([first, self.register_tokens, patches + grid.flatten(2).mT], dim=1)
        for block in self.blocks:
            parts = block["attn"]["qkv"](block["norm1"](x)).reshape(1, -1, 3, 12, 64)
            mixed = functional.scaled_dot_product_attention(*parts.permute(2, 0, 3, 1, 4))
            mixed = block["attn"]["proj"](mixed.transpose(1, 2).flatten(2))
            x = x + block["ls1"].gamma * mixed
            hidden = functional.gelu(block["mlp"]["fc1"](block["norm2"](x)))
            x = x + block["ls2"].gamma * block["mlp"]["fc2"](hidden)
        return self.norm(x)[:, 0]


class QuantizedResNet50(nn.Module):
    def __init__(self, model_fp32):
        super().__init__()
        self.quant, self.dequant = quantization.QuantStub(), quantization.DeQuantStub()
        self.model_fp32 = model_fp32

    def forward(self, images):
        return self.dequant(self.model_fp32(self.quant(images)))


def prepared_for_quantization(network):
    """Return a ResNet-50 as the authors trained it on; it has seen an image."""
    network.eval()
    quantization.fuse_modules(network, [["conv1", "bn1", "relu"]], inplace=True)
    for number in range(1, 5):
        for block in network.get_submodule(f"layer{number}"):
            quantization.fuse_modules(block, [["conv1", "bn1"], ["conv2", "bn2"]], inplace=True)
            for name, part in block.named_children():
                if name == "downsample":
                    quantization.fuse_modules(part, [["0", "1"]], inplace=True)
    made = QuantizedResNet50(network)
    made.qconfig = quantization.get_default_qconfig("fbgemm")
    with warnings.catch_warnings(action="ignore"):
        quantization.prepare_qat(made, inplace=True)
    made(torch.rand(1, network.conv1.in_channels, 64, 64))
    return made


class VGG(nn.Module):
    """The pruned network of Torch-Pruning's benchmark, as the authors' logs print it."""

    def __init__(self, classes, channels):
        super().__init__()
        for number, widths in enumerate(WIDTHS):
            layers = []
            for width in widths:
                convolution = nn.Conv2d(channels, width, 3, padding=1)
                layers += [convolution, nn.BatchNorm2d(width), nn.ReLU(inplace=True)]
                channels = width
            self.add_module(f"block{number}", nn.Sequential(*layers[:-1]))
        for number in range(4):
            self.add_module(f"pool{number}", nn.MaxPool2d(2, 2))
        self.pool4 = nn.AdaptiveAvgPool2d((1, 1))
        self.classifier = nn.Linear(362, classes)

    def forward(self, x):
        for block, pool in enumerate((self.pool0, self.pool1, self.pool2, None, self.pool4)):
            x = functional.relu(self.get_submodule(f"block{block}")(x))
            x = x if pool is None else pool(x)
        return self.classifier(x.flatten(1))


MAKERS = {
    "resnet": lambda *shape: from_torchvision("resnet50", *shape),
    "resnet_quantized": lambda *shape: from_torchvision("resnet50", *shape),
    "vgg_pruned": VGG,
    "vgg": lambda *shape: from_torchvision("vgg16", *shape),
    "convnext": lambda *shape: from_torchvision("convnext_base", *shape),
    "mobilenet": lambda *shape: from_torchvision("mobilenet_v2", *shape),
    "vit": lambda *shape: from_torchvision("vit_b_16", *shape),
    "dinov2": lambda _, channels: DinoV2(channels),
    "deit": deit,
}
TRANSFORMERS = ("vit", "dinov2", "deit")


def publish(model, classes, channels):
    """Return a network made by the publisher's program, with weights as if they were trained."""
    with torch.device("meta"):  # random starts of 100 million numbers take seconds
        network = MAKERS[model](classes, channels)
    network = network.to_empty(device="cpu").eval()
    noise = torch.rand(1_000_003, generator=torch.Generator().manual_seed(0))
    for name, tensor in network.state_dict().items():
        if name.endswith("num_batches_tracked"):
            tensor.fill_(7)
            continue
        for part in tensor.view(-1).split(len(noise)):
            part.copy_(noise[: len(part)])
        if tensor.ndim > 1:
            tensor.sub_(0.5).mul_((12 / tensor[0].numel()) ** 0.5)
        else:
            tensor.add_(0.5)
    return prepared_for_quantization(network) if model == "resnet_quantized" else network


def save(network, path, monkeypatch):
    path.parent.mkdir(parents=True)
    if not isinstance(network, VGG):
        torch.save(network.state_dict(), path)
        return
    with monkeypatch.context() as patch:
        name = "engine.models.cifar.vgg"
        parts = name.split(".")
        for length in range(1, 1 + len(parts)):
            module = ".".join(parts[:length])
            patch.setitem(sys.modules, module, ModuleType(module))
        patch.setattr(sys.modules[name], "VGG", VGG, raising=False)
        patch.setattr(VGG, "__module__", name)
        torch.save(network, path)


def publish_file(tmp_path, dataset, model, monkeypatch):
    """Return a network that the publisher made, and its file, which has the published digest."""
    shape = load_dataset(dataset)
    network = publish(model, len(shape.classes), shape.channels)
    file = published_file(dataset, model)
    path = tmp_path / file.path
    save(network, path, monkeypatch)
    fake = dataclasses.replace(file, digest=file_sha256(path), digest_kind="sha256", bytes="")
    monkeypatch.setattr(provision, "published_file", lambda *_: fake)
    return network, path


def make_job(tmp_path, dataset, model, data_file=None, **overrides):
    settings = load_settings(dataset, model, {"weights": "published", **overrides})
    return Job(
        cell=Cell(dataset=dataset, model=model, device="cpu"),
        settings=complete_settings(settings, load_model(model), load_dataset(dataset)),
        data_dir=tmp_path,
        data_file=data_file,
        weights_dir=tmp_path / "weights",
        published_dir=tmp_path,
        results_dir=tmp_path,
        offline=True,
        command="",
    )


# The slow ones take about 25 seconds together.
CELLS = [
    pytest.param(model, dataset, marks=[pytest.mark.slow] if model in large else [])
    for dataset, large in (("emnist", ("vgg",)), ("cifar10", ("vgg", "convnext", "vit", "dinov2")))
    for model in MAKERS
]


@pytest.mark.parametrize(("model", "dataset"), CELLS)
def test_what_the_publisher_saved_is_loaded(model, dataset, tmp_path, monkeypatch):
    theirs, path = publish_file(tmp_path, dataset, model, monkeypatch)
    shape = load_dataset(dataset)
    job = make_job(tmp_path, dataset, model)
    try:
        ready = provision.ready_network(
            job, load_model(model), SimpleNamespace(classes=shape.classes, channels=shape.channels)
        )
    finally:
        path.unlink()  # half a gigabyte, of which pytest would keep several
    assert ready.origin == "published"
    assert not ready.network.training
    side = 224 if model in TRANSFORMERS else 64
    images = torch.rand(1, shape.channels, side, side)
    with torch.inference_mode():
        wanted, found = theirs(images), ready.network(images)
    assert wanted.std() > 1e-3
    torch.testing.assert_close(found, wanted, rtol=1e-4, atol=1e-4 * float(wanted.abs().max()))


@pytest.mark.parametrize("model", MAKERS)
def test_svhn_has_the_shapes_of_cifar10_and_a_file_of_its_own(model):
    shapes = [load_dataset(name) for name in ("svhn", "cifar10")]
    assert len({(len(shape.classes), shape.channels) for shape in shapes}) == 1
    files = {published_file(name, model).path for name in ("svhn", "cifar10", "emnist")}
    assert len(files) == 3


QUICK = {
    "image_size": 32,
    "threads": 1,
    "measurement.latency_rounds": 20,
    "measurement.latency_seconds": 0.01,
    "measurement.throughput_seconds": 0.01,
    "measurement.throughput_batch_sizes": (1, 2),
}


@pytest.mark.slow  # about 20 seconds each, and they wait until nothing else is measured
@pytest.mark.parametrize(
    ("model", "title", "precision"),
    [
        ("resnet_quantized", "ResNet-50 with observers", "fp32 with observers"),
        ("vgg_pruned", "VGG-16-BN pruned", "fp32"),
    ],
)
def test_a_cell_of_a_compressed_model_is_measured(model, title, precision, tmp_path, monkeypatch):
    publish_file(tmp_path, "cifar10", model, monkeypatch)
    generator = np.random.default_rng(0)
    images = {
        f"{part}_images": generator.integers(0, 256, (10, 32, 32, 3), dtype=np.uint8)
        for part in ("train", "test")
    }
    labels = {f"{part}_labels": np.arange(10) for part in ("train", "test")}
    classes = np.array(load_dataset("cifar10").classes)
    np.savez(tmp_path / "few.npz", classes=classes, **images, **labels)
    job = make_job(tmp_path, "cifar10", model, tmp_path / "few.npz", **QUICK)
    record = run_cell(job)
    assert (record.status, record.title) == ("ok", f"{title} (published weights)")
    assert record.stem == f"{model}-published-cpu"
    assert record.weights.weights_origin == "published"
    assert record.accuracy.precision == precision
    assert record.accuracy.n_test == 10
    operations, memory = record.operations, record.memory
    assert record.latency.latency_ms_p50 > 0
    assert memory.peak_memory_mb > 0
    if model == "resnet_quantized":
        # thop knows nothing but the last batch norm of each block, and the mean.
        assert operations.gmacs_thop < 0.01 * operations.gmacs
        assert memory.weights_mb == pytest.approx(94.98, abs=0.01)
    else:
        assert operations.gmacs_thop == pytest.approx(0.20, abs=0.005)
        assert memory.weights_mb == pytest.approx(29.48, abs=0.01)


def test_the_published_form_is_counted_without_its_file(tmp_path):
    record = count_costs(make_job(tmp_path, "svhn", "resnet_quantized"))
    assert COSTS.locate(record).name == "resnet_quantized-published-224.json"
    assert (record.variant, record.label) == ("published", "ResNet-50 with observers")
    assert f"{record.gmacs_thop:.2f} {record.file_mb:.2f}" == "0.02 95.20"
    # 4 for each number that the last batch norm of a block gives, 49 + 1 for each of 2048 means.
    norms = 3 * 256 * 56**2 + 4 * 512 * 28**2 + 6 * 1024 * 14**2 + 3 * 2048 * 7**2
    assert record.gmacs_thop * 1e9 == 4 * norms + 50 * 2048
    # The shape of the pruned network is that of its weights.
    with pytest.raises(RequestError, match=r"svhn_vgg16_l1\.pth is not there"):
        count_costs(make_job(tmp_path, "svhn", "vgg_pruned"))
