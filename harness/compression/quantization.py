"""Quantisation in and after training, and int8 networks, by torch.ao.quantization's FX graph mode.

docs/compression.md compares it with torchao, in favour of which it warns that it is deprecated.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, cast

import torch
from torch import Tensor, nn
from torch.ao.quantization import (
    HistogramObserver,
    PerChannelMinMaxObserver,
    QConfig,
    QConfigMapping,
    get_default_qat_qconfig_mapping,
    get_default_qconfig,
    get_default_qconfig_mapping,
    quantize_fx,
)
from torch.ao.quantization.fx.custom_config import PrepareCustomConfig
from torch.fx import GraphModule

from harness.errors import RequestError
from harness.measure.networks import copy_network, meta_copy
from harness.networks.rehearsal import take_logits
from harness.util.error_text import describe_error
from harness.util.quiet import quiet

_SCALES, _ZERO_POINTS = "_scales", "_zero_points"
_CALIBRATION_BATCH = 64
# 255 × 64 × 2 fits in the 16 bits in which kernels without VNNI add two products.
_SMALL_WEIGHTS = PerChannelMinMaxObserver.with_args(
    dtype=torch.qint8, qscheme=torch.per_channel_symmetric, quant_min=-64, quant_max=64
)


class Int8Network(nn.Module):
    """A network that takes and returns float, and computes in int8 in between.

    Its state dict holds plain tensors: int8 weights, each with its scales (float32, one for each
    output channel) and zero points, float32 biases, and the scales of the activations, those too
    that torch's own layers leave out of their state. `backend` is the int8 engine of torch whose
    kernels it uses, `image_shape` the C×H×W of the images that its first ranges came from.
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
        self.kernels = f"int8 kernels of torch, {backend}"
        # In a tuple, because a module attribute would be saved with the weights.
        self._float_network = (float_network,)
        self._packed_for: torch.Size | None = None
        self.register_state_dict_post_hook(_to_plain)  # type: ignore[no-untyped-call]

    def forward(self, images: Tensor) -> Any:
        """Return the logits, N×K, of images N×C×H×W, or the maps and logits of a node.

        With several threads, torch lays out a layer's weights for the first shape of images and
        again in every call with another shape, which can take 25 times as long as the product. So
        they are packed anew, once, when the shape changes.
        """
        if self._packed_for not in (None, images.shape):
            with _engine(self.backend):
                for layer in self.graph.modules():
                    if hasattr(layer, "set_weight_bias"):
                        layer.set_weight_bias(*layer._weight_bias())  # type: ignore[operator]
        self._packed_for = images.shape
        return take_logits(self, (), self.graph(images))

    def load_state_dict(
        self, state_dict: Mapping[str, Any], strict: bool = True, assign: bool = False
    ) -> Any:
        """Load all that `state_dict` returned."""
        packed = self.graph.state_dict()  # with the versions that the layers expect
        for key, layer, name in _left_out(self.graph, packed):
            value = getattr(layer, name)
            if isinstance(value, Tensor):
                setattr(layer, name, _joined(f"graph.{key}", state_dict))
            else:
                setattr(layer, name, type(value)(state_dict[f"graph.{key}"].item()))
        for key, value in packed.items():
            plain = f"graph.{key}"
            if isinstance(value, tuple):
                bias = state_dict.get(f"{plain}.bias")
                packed[key] = (_joined(f"{plain}.weight", state_dict), bias)
            elif isinstance(value, Tensor) and value.is_quantized:
                packed[key] = _joined(plain, state_dict)
            else:
                packed[key] = state_dict.get(plain, value)
        with _engine(self.backend):  # weights are packed for the current engine
            return self.graph.load_state_dict(packed, strict, assign)

    def float_network(self) -> nn.Module:
        """Return the same layers in float, with batch norm folded, on the meta device."""
        return self._float_network[0]


def prepare(network: nn.Module, backend: str, images: Tensor) -> GraphModule:
    """Return a copy that rounds weights and activations as int8 will, and can be trained.

    Convolutions, batch norms and activations are fused; weights have one scale for each output
    channel. The ranges begin with those of some images, and follow every batch of training.

    The graph is that of evaluation: what the code of a network does in training alone, such as
    stochastic depth and functional dropout, is left out. Dropout layers stay.

    The network is float and on the CPU, the images N×C×H×W are ready for it, and `backend` is an
    int8 engine of torch.

    Raises:
        RequestError: Torch has no such backend for this CPU, or the graph depends on values.
    """
    _require_engine(backend)
    with quiet(), _engine(backend):
        configuration = get_default_qat_qconfig_mapping(backend)
        fake = _draw_graph(quantize_fx.prepare_qat_fx, _for_tracing(network), configuration, images)
        with torch.no_grad():
            fake.eval()(images.clone())
    return fake


def calibrate(
    network: nn.Module,
    backend: str,
    images: Tensor,
    *,
    takes_int8: bool = False,
    whitening: str | None = None,
) -> Int8Network:
    """Return the int8 network of a float one that is not trained any further.

    The ranges of its activations are those that least change the distribution of their values
    over the images. A network that returns feature maps and logits returns the maps as int8, and
    with `takes_int8` it takes them so: no map is dequantized between two such networks.

    `whitening` names a first convolution that takes small differences between large values, by
    patterns such as -1, 2, -1. They stay exact, as -32, 64, -32, so that no brightness gets into a
    difference of colours; and images have 256 levels there, where torch's default has 128.

    The network is float, on the CPU and in evaluation mode; images, or maps, are float N×C×H×W.

    Raises:
        RequestError: As `prepare` and `convert`.
    """
    _require_engine(backend)
    custom = PrepareCustomConfig().set_input_quantized_indexes([0] if takes_int8 else [])
    with quiet(), _engine(backend):
        configuration = get_default_qconfig_mapping(backend)
        # A mean of int8 numbers is finer than they are, and torch's kernel rounds it to them.
        configuration.set_object_type("mean", None)
        if whitening:
            activation = get_default_qconfig(backend).activation
            configuration.set_module_name(whitening, QConfig(activation, _SMALL_WEIGHTS))
        copied = _for_tracing(network).eval()
        observed = _draw_graph(
            partial(quantize_fx.prepare_fx, prepare_custom_config=custom),
            copied,
            configuration,
            images,
        )
        if whitening:
            (inputs,) = observed.graph.find_nodes(op="placeholder")
            (observer,) = inputs.users
            setattr(observed, observer.target, HistogramObserver(reduce_range=False))
        with torch.no_grad():
            for batch in torch.split(images, _CALIBRATION_BATCH):
                observed(batch.clone())
    return convert(observed, network, backend, tuple(images.shape[1:]))


def _require_engine(backend: str) -> None:
    there = [engine for engine in torch.backends.quantized.supported_engines if engine != "none"]
    if backend not in there:
        raise RequestError(
            f"setting quantization.backend: torch has no {backend} kernels for this CPU; "
            f"there are: {', '.join(there) or 'none'}"
        )


def _draw_graph(
    prepare_fx: Callable[..., GraphModule],
    network: nn.Module,
    configuration: QConfigMapping,
    images: Tensor,
) -> GraphModule:
    configuration.set_object_type(nn.functional.prelu, None)
    try:
        graph = prepare_fx(network, configuration, (images[:1],))
        # int8 convolutions return channels last, whatever they get, and `view` refuses that.
        for node in graph.graph.find_nodes(op="call_method", target="view"):
            node.target = "reshape"
        graph.recompile()
    except Exception as error:
        raise RequestError(
            "the network cannot be quantised: its graph cannot be drawn up "
            f"({describe_error(error)})"
        ) from error
    return graph


class _FloatPReLU(nn.PReLU):
    """A PReLU that stays float: torch's int8 kernel multiplies positive numbers by the slope, too.

    Layers are known by their exact class, so this one is traced to its function.
    """


def _for_tracing(network: nn.Module) -> nn.Module:
    """Return a copy whose layers are in training mode, for fusion, and whose own code is not.

    Tracing writes down the branch that `training` takes, and that of evaluation has to stay.
    """
    copied = copy_network(network).train()
    for module in copied.modules():
        if type(module) is nn.PReLU:
            module.__class__ = _FloatPReLU
        if not type(module).__module__.startswith("torch.nn"):
            module.training = False
    return copied


def convert(
    fake: GraphModule, network: nn.Module, backend: str, image_shape: tuple[int, ...]
) -> Int8Network:
    """Return the int8 network of one that `prepare` or `calibrate` drew up, which is not changed.

    The network, the backend and the shape C×H×W of the images are those that `prepare` was given.

    Raises:
        RequestError: No layer would run in int8.
    """
    with quiet(), _engine(backend):
        graph: GraphModule = quantize_fx.convert_fx(copy.deepcopy(fake).eval())
        _keep_maps_quantized(graph)
        shapes = quantize_fx.fuse_fx(meta_copy(network))
    int8 = Int8Network(graph, backend, shapes, image_shape)
    if not any(tensor.dtype == torch.int8 for tensor in int8.state_dict().values()):
        raise RequestError("the network cannot be quantised: none of its layers has int8 kernels")
    return int8.eval()


def _keep_maps_quantized(graph: GraphModule) -> None:
    """Take the conversion to float off the feature maps of a graph that returns (maps, logits)."""
    (output,) = graph.graph.find_nodes(op="output")
    results = output.args[0]
    if isinstance(results, tuple) and results[0].target == "dequantize":
        output.args = ((results[0].args[0], *results[1:]),)
        graph.graph.eliminate_dead_code()
        graph.recompile()


def with_any_ranges(network: nn.Module, backend: str, images: Tensor) -> Int8Network:
    """Return the int8 network of a float one, with the ranges of some images, without training.

    Any images N×C×H×W will do where weights are loaded afterwards.

    Raises:
        RequestError: As `prepare` and `convert`.
    """
    fake = prepare(network, backend, images)
    return convert(fake, network, backend, tuple(images.shape[1:]))


def _left_out(graph: GraphModule, state: Mapping[str, Any]) -> Iterator[tuple[str, nn.Module, str]]:
    """Yield key, layer and name of attributes that are no state of a layer, but should be.

    These are the output scales of ELU, sigmoid and softmax, among others.
    """
    for prefix, layer in graph.named_modules():
        for name, value in vars(layer).items():
            number = isinstance(value, (int, float)) and name.endswith(("scale", "zero_point"))
            if number or isinstance(value, Tensor):
                key = f"{prefix}.{name}".lstrip(".")
                if key not in state:
                    yield key, layer, name


def _to_plain(network: nn.Module, state: dict[str, Any], prefix: str, *_: object) -> None:
    """Replace the values that only torch's quantised layers understand by plain tensors."""
    graph, start = cast("Int8Network", network).graph, f"{prefix}graph."
    inner = {
        key.removeprefix(start): value for key, value in state.items() if key.startswith(start)
    }
    for key, layer, name in _left_out(graph, inner):
        value = getattr(layer, name)
        state[start + key] = value if isinstance(value, Tensor) else torch.tensor(value)
    for key, value in [item for item in state.items() if item[0].startswith(start)]:
        if not isinstance(value, Tensor):
            del state[key]
        elif value.is_quantized:
            state |= _split(key, state.pop(key))
        if isinstance(value, tuple):  # a linear layer's weight and bias
            weight, bias = value
            state |= _split(f"{key}.weight", weight)
            if bias is not None:
                state[f"{key}.bias"] = bias


def _split(key: str, weight: Tensor) -> dict[str, Tensor]:
    if weight.qscheme() in (torch.per_channel_affine, torch.per_channel_symmetric):
        scales, zero_points = weight.q_per_channel_scales(), weight.q_per_channel_zero_points()
    else:
        scales = torch.tensor(weight.q_scale(), dtype=torch.float64)
        zero_points = torch.tensor(weight.q_zero_point())
    return {
        key: weight.int_repr(),
        # Scales were computed in float32, and a zero point is one of the int8 values.
        key + _SCALES: scales.to(torch.float32),
        key + _ZERO_POINTS: zero_points.to(weight.int_repr().dtype),
    }


def _joined(key: str, plain: Mapping[str, Tensor]) -> Tensor:
    values, scales = plain[key], plain[key + _SCALES].double()
    zero_points = plain[key + _ZERO_POINTS].long()
    if scales.ndim == 0:
        return torch._make_per_tensor_quantized_tensor(values, scales.item(), int(zero_points))
    return torch._make_per_channel_quantized_tensor(values, scales, zero_points, axis=0)


@contextmanager
def _engine(backend: str) -> Iterator[None]:
    """Let layers be packed for a backend; restore the former one afterwards."""
    before = torch.backends.quantized.engine
    torch.backends.quantized.engine = backend
    try:
        yield
    finally:
        torch.backends.quantized.engine = before
