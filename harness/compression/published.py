"""The compressed networks as they were published, which differ from those that are made here.

docs/compression.md says how they were found out.
"""

from __future__ import annotations

import copy
import re
from collections.abc import Sequence
from typing import Any

import torch
from torch import Tensor, nn
from torch.ao import quantization as ao
from torchvision.models.resnet import Bottleneck, ResNet

from harness.compression import pruning
from harness.errors import RequestError
from harness.measure.networks import inference
from harness.spec import StateDict
from harness.util.quiet import quiet

# Where each of the five blocks of Torch-Pruning's VGG-16-BN begins in the layers of `vgg_bn`.
_FIRST_LAYERS = (0, 7, 14, 24, 33)


class ObservedResNet(nn.Module):
    """ResNet-50 with observers, which follow the ranges of its numbers and round none of them.

    The keys of its state dict are those of the published files: `model_fp32` is the float network,
    with an observer after each layer and for each weight.
    """

    precision = "fp32 with observers"
    kernels = "float kernels of torch with observers"

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.quant, self.dequant = ao.QuantStub(), ao.DeQuantStub()
        self.model_fp32 = network

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, N×K, of images N×C×H×W."""
        logits: Tensor = self.dequant(self.model_fp32(self.quant(images)))
        return logits

    def float_network(self) -> nn.Module:
        """Return a copy whose layers have the same types, without the observers."""
        copied = copy.deepcopy(self)
        for name, part in [*copied.named_modules()]:
            if isinstance(part, ao.ObserverBase):
                copied.set_submodule(name, nn.Identity())
        return copied


def observe_resnet(network: ResNet) -> ObservedResNet:
    """Return the network that was published as the quantization-aware training of a ResNet-50.

    The first convolution, the first two of each block and those of the shortcuts are fused with
    their batch norm, but not the third ones. `prepare_qat` is given torch's configuration for
    quantization *after* training: observers where that of training has fake quantization.
    torchvision's ResNet-50, on the CPU, is not changed.
    """
    fused = copy.deepcopy(network).eval()
    with quiet():
        ao.fuse_modules(fused, [["conv1", "bn1", "relu"]], inplace=True)
        for block in fused.modules():
            if isinstance(block, Bottleneck):
                ao.fuse_modules(block, [["conv1", "bn1"], ["conv2", "bn2"]], inplace=True)
                if block.downsample is not None:
                    ao.fuse_modules(block.downsample, [["0", "1"]], inplace=True)
        observed = ObservedResNet(fused)
        observed.qconfig = ao.get_default_qconfig("fbgemm")
        ao.prepare_qat(observed, inplace=True)
        with inference(observed):  # an observer has its shape from its first image
            observed(torch.zeros(1, network.conv1.in_channels, 32, 32))
    return observed.eval()


def name_as_vgg_bn(state: StateDict) -> StateDict:
    """Return the state dict of Torch-Pruning's VGG-16-BN under the keys of `vgg_bn`."""

    def rename(key: str) -> str:
        if match := re.fullmatch(r"block([0-4])\.(\d+)\.(\w+)", key):
            block, layer, own = match.groups()
            return f"0.{_FIRST_LAYERS[int(block)] + int(layer)}.{own}"
        return re.sub(r"^classifier\.", "3.", key)

    return {rename(key): tensor for key, tensor in state.items()}


def narrow_vgg_bn(network: nn.Module, widths: Sequence[int]) -> None:
    """Give the convolutions of `vgg_bn`, in place, other numbers of output channels.

    Raises:
        RequestError: There are more or fewer convolutions.
    """
    convolutions = sum(isinstance(part, nn.Conv2d) for part in network.modules())
    if len(widths) != convolutions:
        raise RequestError(f"{len(widths)} convolutions, VGG-16-BN has {convolutions}")
    tensors, attributes, left = dict[str, Any](), dict[str, Any](), iter(widths)
    inputs = None
    for name, part in network.named_modules():
        if isinstance(part, nn.Conv2d):
            inputs, width = inputs or part.in_channels, next(left)
            attributes[name] = {"in_channels": inputs, "out_channels": width}
            tensors[f"{name}.weight"] = [width, inputs, *part.kernel_size]
            tensors[f"{name}.bias"] = [width]
            inputs = width
        elif isinstance(part, nn.BatchNorm2d):
            attributes[name] = {"num_features": inputs}
            keys = ("weight", "bias", "running_mean", "running_var")
            tensors |= {f"{name}.{key}": [inputs] for key in keys}
        elif isinstance(part, nn.Linear):
            attributes[name] = {"in_features": inputs}
            tensors[f"{name}.weight"] = [part.out_features, inputs]
    pruning.reshape(network, {"tensors": tensors, "attributes": attributes})
