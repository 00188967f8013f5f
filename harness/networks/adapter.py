"""One interface to plain, routed and quantized networks; `adapt` alone asks which kind it is."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass, replace
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from harness.errors import CellError, RequestError
from harness.measure.latency import Network, in_turn
from harness.measure.memory import measure_state_mb, measure_weights_mb
from harness.measure.networks import copy_network, takes_channels_last
from harness.measure.runtimes import ROUTED_RUNTIMES, prepare, prepare_routed
from harness.networks.deployed import deploy, has_deployed_form
from harness.spec import BeamNetwork, DecidingNetwork, NetworkPath, QuantizedNetwork, RoutedNetwork

_TRIED_IMAGES = 2


@dataclass(frozen=True, kw_only=True, eq=False)
class Inference:
    """A copy of a network that is made for batches of test images.

    Attributes:
        forward: Maps N×C×H×W in that layout to N×K logits.
        classify: Maps the same to classes, int64 N; None: the class is that of the highest logit.
        method: What was done to the copy; empty for a plain copy, which may be compiled.
        layout: The layout in memory of the images that it takes.
    """

    forward: nn.Module
    classify: Callable[[Tensor], Tensor] | None = None
    method: str = ""
    layout: torch.memory_format = torch.channels_last

    @property
    def layout_name(self) -> str:
        """The layout in words."""
        return "channels last" if self.layout == torch.channels_last else "contiguous"


@dataclass(frozen=True, kw_only=True, eq=False)
class TimedCall:
    """A network in a runtime: what maps one image, 1×C×H×W, to logits or to its class.

    `method` is the library's version and options, and `max_difference` the largest relative
    difference from eager logits; None: not compared.
    """

    call: Network
    method: str
    max_difference: float | None = None


class NetworkAdapter:
    """How a plain network is measured, in which every image takes the same float layers."""

    precision: str | None = None
    """The type of a quantized network's weights, e.g. int8; None for others."""
    runs_on_meta = True
    timed_images = 1
    """The number of test images that its latency is taken over."""

    def __init__(self, network: nn.Module) -> None:
        self.network = network

    @property
    def counted(self) -> nn.Module:
        """The network whose parameters and operations stand for this one's."""
        return self.network

    @property
    def weights_mb(self) -> float:
        """The size of all weights in MB (10^6 bytes)."""
        return measure_weights_mb(self.network)

    @property
    def paths(self) -> tuple[NetworkPath, ...]:
        """The paths that images can take; empty where all images take the same one."""
        return ()

    def paths_named(self, names: Iterable[str]) -> tuple[NetworkPath, ...]:
        """Return the paths of these names; none where all images take the same one."""
        del names
        return ()

    @property
    def deployed(self) -> nn.Module:
        """The network in the form in which it is used and timed: re-parameterised, if it can be."""
        return deploy(self.network) if self.has_deployed_form else self.network

    @property
    def has_deployed_form(self) -> bool:
        """Whether the network is re-parameterised before it is used."""
        return has_deployed_form(self.network)

    def for_inference(self, images: Tensor) -> Inference:
        """Return a copy for batches; layouts are tried on some images N×C×H×W on its device."""
        fits = takes_channels_last(self.network, images[:_TRIED_IMAGES])
        layout = torch.channels_last if fits else torch.contiguous_format
        network = copy_network(self.network).eval()
        return Inference(forward=network.to(memory_format=layout), layout=layout)

    def timed_call(self, images: Tensor, runtime: str) -> TimedCall:
        """Return the network in a runtime, ready to be timed on `timed_images` test images.

        The images are on the network's device.

        Raises:
            CellError: The runtime cannot take the network.
        """
        prepared = prepare(self.deployed, images[:1], runtime)
        form = ", re-parameterised" if self.has_deployed_form else ""
        return TimedCall(
            call=prepared.call,
            method=f"{prepared.version}: {prepared.method}{form}",
            max_difference=prepared.max_difference,
        )


class RoutedAdapter(NetworkAdapter):
    """How a network is measured that sends images along different paths."""

    timed_images = 256

    def __init__(self, network: nn.Module, routed: RoutedNetwork) -> None:
        super().__init__(network)
        self.routed = routed
        self._whole = _adapt_whole(network)
        self.precision, self.runs_on_meta = self._whole.precision, self._whole.runs_on_meta

    @property
    def counted(self) -> nn.Module:
        """The network whose parameters stand for this one's."""
        return self._whole.counted

    @property
    def weights_mb(self) -> float:
        """The size of all weights in MB (10^6 bytes)."""
        return self._whole.weights_mb

    @property
    def paths(self) -> tuple[NetworkPath, ...]:
        """All paths; every class is on exactly one."""
        return self.routed.paths()

    @property
    def several_paths(self) -> BeamNetwork | None:
        """The network, if its images may follow several paths."""
        network = self.routed
        return network if isinstance(network, BeamNetwork) and network.beam_words else None

    def paths_named(self, names: Iterable[str]) -> tuple[NetworkPath, ...]:
        """Return the paths of these names, as far as they exist, or all of one path an image."""
        if self.several_paths is None:
            return self.paths
        found = map(self.several_paths.find_path, names)
        return tuple(path for path in found if path is not None)

    def taken_paths(
        self, images: Tensor, predictions: Tensor, batch_size: int
    ) -> list[tuple[NetworkPath, Tensor]]:
        """Return the paths that images N×C×H×W take, with the indices of the images on each.

        The predicted classes, int64 N, tell them, unless images may follow several paths: then
        batches are routed again.
        """
        if self.several_paths is None:
            rows = [
                (path, torch.isin(predictions, torch.tensor(path.classes))) for path in self.paths
            ]
        else:
            prepared: Any = self.routed.prepare_for_inference()
            batches = torch.split(images, batch_size)
            names = np.array([name for batch in batches for name in prepared.name_paths(batch)])
            paths = self.paths_named(np.unique(names).tolist())
            rows = [(path, torch.from_numpy(names == path.name)) for path in paths]
        return [(path, found.nonzero()[:, 0]) for path, found in rows if found.any()]

    def for_inference(self, images: Tensor) -> Inference:
        """Return a copy with batch norm folded, which routes batches."""
        del images
        prepared: Any = self.routed.prepare_for_inference()
        method = f"routed{self._beam}, {self._kernels or 'batch norm folded'}, channels last"
        return Inference(forward=prepared, classify=prepared.route, method=method)

    def timed_call(self, images: Tensor, runtime: str) -> TimedCall:
        """Return a call that routes the images in turn, in eager torch or as ONNX with `If`."""
        turn = f"{len(images)} images in turn"
        if runtime == "eager":
            number = self._kernels or "fp32"
            method = f"{torch.__version__}: evaluation mode, {number}{self._beam}, {turn}"
            return TimedCall(call=in_turn(self.routed.route, images), method=method)
        if runtime not in ROUTED_RUNTIMES or not isinstance(self.routed, DecidingNetwork):
            raise CellError(f"it is routed: there is no fixed graph for {runtime}")
        if self.several_paths:
            raise CellError(f"it follows several paths: there is no fixed graph for {runtime}")
        if self._kernels:
            raise CellError(f"its {self._kernels} are not to be had in {runtime}")
        prepared: Any = self.routed.prepare_for_inference()
        built = prepare_routed(prepared.decisions(), images, prepared.route(images), runtime)
        method = f"{built.version}: {built.method}, {turn}"
        return TimedCall(call=in_turn(built.call, images), method=method)

    @property
    def _kernels(self) -> str:
        quantized: object = self.network
        return quantized.kernels if isinstance(quantized, QuantizedNetwork) else ""

    @property
    def _beam(self) -> str:
        return f" along {self.several_paths.beam_words}" if self.several_paths else ""


class QuantizedAdapter(NetworkAdapter):
    """How a network of integer kernels is measured; its float layers are what can be counted."""

    runs_on_meta = False

    def __init__(self, network: nn.Module, quantized: QuantizedNetwork) -> None:
        super().__init__(network)
        self.quantized, self.precision = quantized, quantized.precision

    @property
    def counted(self) -> nn.Module:
        """A float network with the same layers."""
        return self.quantized.float_network()

    @property
    def weights_mb(self) -> float:
        """The size of its state in MB: no module has its weights as parameters or buffers."""
        return measure_state_mb(self.network)

    def for_inference(self, images: Tensor) -> Inference:
        """Return a copy, which cannot be compiled further."""
        plain = super().for_inference(images)
        return replace(plain, method=f"{self.quantized.kernels}, {plain.layout_name}")

    def timed_call(self, images: Tensor, runtime: str) -> TimedCall:
        """Return the network itself; other runtimes than eager torch lack its kernels."""
        if runtime != "eager":
            raise CellError(f"its {self.quantized.kernels} are not to be had in {runtime}")
        method = f"{torch.__version__}: evaluation mode, {self.quantized.kernels}"
        return replace(super().timed_call(images, runtime), method=method, max_difference=None)


def follow_paths(network: nn.Module, paths: int, threshold: float) -> nn.Module:
    """Return a network whose images follow up to so many paths; see `BeamNetwork.with_beam`.

    Raises:
        RequestError: Its images cannot follow several.
    """
    if paths == 1:
        return network
    if not isinstance(network, BeamNetwork):
        raise RequestError(f"setting evaluation.beam: an image has 1 path in it, found {paths}")
    return network.with_beam(paths, threshold)


def adapt(network: nn.Module) -> NetworkAdapter:
    """Return the adapter of a network."""
    if isinstance(network, RoutedNetwork):
        return RoutedAdapter(network, network)
    return _adapt_whole(network)


def _adapt_whole(network: nn.Module) -> NetworkAdapter:
    if isinstance(network, QuantizedNetwork):
        return QuantizedAdapter(network, network)
    return NetworkAdapter(network)
