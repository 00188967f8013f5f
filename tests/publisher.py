"""The published networks and their files, put together as the authors' programs do it.

They share no code with the models of this project, so that what loads them is really tested.
"""

import sys
import warnings
from types import ModuleType

import timm
import torch
import torchvision.models as zoo
from torch import nn
from torch.ao import quantization
from torch.nn import functional

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
