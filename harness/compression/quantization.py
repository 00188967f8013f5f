"""Quantisation-aware training and int8 networks, by the FX graph mode of `torch.ao.quantization`.

Why that way and not torchao's is in docs/compression.md.
"""

from __future__ import annotations

import copy
import warnings
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import torch
from torch import Tensor, nn
from torch.ao.quantization import disable_observer, get_default_qat_qconfig_mapping, quantize_fx
from torch.fx import GraphModule

from harness.errors import RequestError
from harness.measure.networks import meta_copy
from harness.util.error_text import describe_error

_SCALES, _ZERO_POINTS = "_scales", "_zero_points"


class Int8Network(nn.Module):
    """A network that takes and returns float, and computes in int8 between.

    Its state dict holds plain tensors: int8 weights, each with its scales (float32, one for each
    output channel) and zero points, float32 biases, and the scales of the activations.

    Attributes:
        backend: Of torch's int8 engines, the one whose kernels it uses.
        image_shape: C×H×W of the images that its ranges began with.
    """

    precision = "int8"

    def __init__(
        self,
        graph: GraphModule,
        backend: str,
        float_network: nn.Module,
        image_shape: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.graph, self.backend, self.image_shape = graph, backend, image_shape
        # In a tuple, or it would be a part whose weights are saved.
        self._float_network = (float_network,)
        self._packed_for: torch.Size | None = None
        self.register_state_dict_post_hook(_to_plain)  # type: ignore[no-untyped-call]

    @property
    def kernels(self) -> str:
        """What runs its layers."""
        return f"int8 kernels of torch, {self.backend}"

    def forward(self, images: Tensor) -> Tensor:
        """Return the logits, N×K, of images N×C×H×W.

        With several threads a layer's weights are laid out for the first shape of images that it
        meets, and laid out anew in every call with another, which can take 25 times as long as the
        product. So they are packed anew, once, where the shape changes.
        """
        if self._packed_for not in (None, images.shape):
            self._pack_anew()
        self._packed_for = images.shape
        logits: Tensor = self.graph(images)
        return logits

    def _pack_anew(self) -> None:
        with _engine(self.backend):
            for layer in self.graph.modules():
                if hasattr(layer, "set_weight_bias"):
                    layer.set_weight_bias(*layer._weight_bias())  # type: ignore[operator]

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Take up what `state_dict` returned, all of it."""
        packed = self.graph.state_dict()  # with the versions that the layers look for
        for key, value in packed.items():
            plain = f"graph.{key}"
            if isinstance(value, tuple):
                bias = state_dict.get(f"{plain}.bias")
                packed[key] = (_joined(f"{plain}.weight", state_dict), bias)
            elif isinstance(value, Tensor) and value.is_quantized:
                packed[key] = _joined(plain, state_dict)
            else:
                packed[key] = state_dict.get(plain, value)
        with _engine(self.backend):  # weights are packed for the engine that is set
            return self.graph.load_state_dict(packed, strict, assign)

    def float_network(self) -> nn.Module:
        """Return its layers in float, batch norm folded, on the meta device."""
        return self._float_network[0]


def check_backend(backend: str) -> None:
    """Make sure that torch has a backend's kernels for this CPU.

    Raises:
        RequestError: It has not.
    """
    there = [engine for engine in torch.backends.quantized.supported_engines if engine != "none"]
    if backend not in there:
        raise RequestError(
            f"setting quantization.backend: torch has no {backend} kernels for this CPU; "
            f"there are: {', '.join(there) or 'none'}"
        )


def prepare(network: nn.Module, backend: str, images: Tensor) -> GraphModule:
    """Return a copy that rounds weights and activations as int8 will, and can be trained.

    Convolutions, batch norms and activations are fused; weights have one scale for each output
    channel. The ranges begin with those of some images, and move on with every batch of training.

    Args:
        network: Float, on the CPU.
        backend: As `check_backend`.
        images: N×C×H×W, ready for the network.

    Raises:
        RequestError: No such backend, or the network's graph depends on values.
    """
    check_backend(backend)
    with _quiet(), _engine(backend):
        configuration = get_default_qat_qconfig_mapping(backend)
        try:
            fake: GraphModule = quantize_fx.prepare_qat_fx(
                copy.deepcopy(network).train(), configuration, (images[:1],)
            )
        except Exception as error:
            raise RequestError(
                f"the network cannot be quantised: its graph cannot be drawn up "
                f"({describe_error(error)})"
            ) from error
        with torch.no_grad():
            fake.eval()(images)
    return fake


def freeze(fake: GraphModule) -> None:
    """Keep a trained network's ranges from now on."""
    fake.apply(disable_observer)


def convert(
    fake: GraphModule, network: nn.Module, backend: str, image_shape: tuple[int, ...]
) -> Int8Network:
    """Return the int8 network of a fake-quantised one.

    Args:
        fake: From `prepare`, trained or not; it is not changed.
        network: The one that `prepare` was given, for the shapes of its layers.
        backend: Likewise.
        image_shape: C×H×W of the images.

    Raises:
        RequestError: No layer would run in int8.
    """
    with _quiet(), _engine(backend):
        graph: GraphModule = quantize_fx.convert_fx(copy.deepcopy(fake).eval())
        shapes = quantize_fx.fuse_fx(meta_copy(network))
    int8 = Int8Network(graph, backend, shapes, image_shape)
    if not any(tensor.dtype == torch.int8 for tensor in int8.state_dict().values()):
        raise RequestError("the network cannot be quantised: none of its layers has int8 kernels")
    return int8.eval()


def with_any_ranges(network: nn.Module, backend: str, images: Tensor) -> Int8Network:
    """Return the int8 network of a float one, its ranges from some images, without training.

    Args:
        network: Float, on the CPU.
        backend: As `check_backend`.
        images: N×C×H×W; any will do where weights are loaded after.

    Raises:
        RequestError: As `prepare` and `convert`.
    """
    fake = prepare(network, backend, images)
    return convert(fake, network, backend, tuple(images.shape[1:]))


def _to_plain(_network: nn.Module, state: dict[str, Any], *_: object) -> None:
    """Replace what only torch's quantised layers understand by plain tensors."""
    for key, value in list(state.items()):
        if isinstance(value, Tensor) and not value.is_quantized:
            continue
        del state[key]
        if isinstance(value, Tensor):
            state |= _split(key, value)
        elif isinstance(value, tuple):  # a linear layer's weight and bias
            state |= _split(f"{key}.weight", value[0])
            if value[1] is not None:
                state[f"{key}.bias"] = value[1]


def _split(key: str, weight: Tensor) -> dict[str, Tensor]:
    if weight.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric):
        scales, zero_points = weight.q_per_channel_scales(), weight.q_per_channel_zero_points()
    else:
        scales = torch.tensor(weight.q_scale(), dtype=torch.float64)
        zero_points = torch.tensor(weight.q_zero_point())
    return {
        key: weight.int_repr(),
        # They were computed in float32, and a zero point is one of the int8 values.
        key + _SCALES: scales.to(torch.float32),
        key + _ZERO_POINTS: zero_points.to(torch.int8),
    }


def _joined(key: str, plain: Mapping[str, Tensor]) -> Tensor:
    values, scales = plain[key], plain[key + _SCALES].double()
    zero_points = plain[key + _ZERO_POINTS].long()
    if scales.ndim == 0:
        return torch._make_per_tensor_quantized_tensor(values, scales.item(), int(zero_points))
    return torch._make_per_channel_quantized_tensor(values, scales, zero_points, axis=0)


@contextmanager
def _engine(backend: str) -> Iterator[None]:
    """Let layers be packed for a backend; put the former one back after."""
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = backend
    try:
        yield
    finally:
        torch.backends.quantized.engine = before


@contextmanager
def _quiet() -> Iterator[None]:
    """Silence what no user can do anything about: messages of `torch.ao.quantization`."""
    with warnings.catch_warnings():
        # It is deprecated in favour of torchao, and so are the tensors that its kernels take, of
        # which torch warns once a process: docs/compression.md says why we stay.
        warnings.filterwarnings("ignore", "torch.ao.quantization is deprecated", DeprecationWarning)
        warnings.filterwarnings("ignore", "torch.quantize_per_tensor, torch.quantize", UserWarning)
        # Its own configuration of x86 sets reduce_range, and it warns of that for every layer.
        warnings.filterwarnings("ignore", "Please use quant_min and quant_max", UserWarning)
        yield
