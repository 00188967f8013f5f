"""Conversion of a network to each runtime; `harness.measure.runtimes` checks the result.

The libraries are optional and imported where they are used. Two of them report their use to their
makers by default, which is switched off before they are imported.
"""

from __future__ import annotations

import os
import sys
from collections.abc import Callable
from dataclasses import dataclass
from inspect import signature
from typing import Any

import torch
from torch import Tensor, nn
from torch.utils.dlpack import from_dlpack

from harness.errors import RequestError
from harness.measure.conditions import fp32_modes
from harness.measure.routed_onnx import export_onnx

Call = Callable[[Tensor], Tensor]

# Libraries beyond the harness's own dependencies, by runtime, which is also the extra's name.
LIBRARIES = {
    "onnxruntime": ("onnx", "onnxscript", "onnxruntime"),
    "openvino": ("onnx", "onnxscript", "openvino"),
}


@dataclass(frozen=True, kw_only=True)
class Built:
    """A network in a runtime.

    Attributes:
        call: Maps images like the example to logits, under `torch.inference_mode`.
        version: Version of the runtime's library.
        method: Options of the runtime that matter for speed.
    """

    call: Call
    version: str
    method: str


def build_eager(network: nn.Module, _example: Tensor) -> Built:
    """Return the module as it is."""
    return Built(call=network, version=torch.__version__, method="evaluation mode, fp32")


def build_compile(network: nn.Module, _example: Tensor) -> Built:
    """Return the module, compiled by inductor in the first call with each shape."""
    # By default all networks of one class share eight compilations; further ones stay eager.
    # Freezing keeps the weights twice and gained nothing (ResNet-18, MobileNetV2, ViT-B/16).
    compile_network: Any = torch.compile  # its annotations do not know isolate_recompiles
    known = signature(torch.compile).parameters
    apart = {"isolate_recompiles": True} if "isolate_recompiles" in known else {}  # not in 2.11
    return Built(
        call=compile_network(network, dynamic=False, **apart),
        version=torch.__version__,
        method="torch.compile, inductor, static shapes, fp32",
    )


def run_onnxruntime(model: bytes, example: Tensor) -> Built:
    """Return a session on the example's device; RequestError where ONNX Runtime cannot use it."""
    # Turns off the sending of usage data; read when the library is imported.
    os.environ["ORT_DISABLE_TELEMETRY"] = "1"
    import onnxruntime

    provider = "CUDAExecutionProvider" if example.is_cuda else "CPUExecutionProvider"
    if provider not in onnxruntime.get_available_providers():
        raise RequestError(f"runtime onnxruntime has no {provider} here: it is in onnxruntime-gpu")
    device = (example.device.type, example.device.index or 0)
    tf32 = int("tf32" in fp32_modes())
    settings = {"device_id": device[1], "use_tf32": tf32} if example.is_cuda else {}
    session = onnxruntime.InferenceSession(
        model, _session_options(), providers=[(provider, settings)]
    )
    if session.get_providers()[0] != provider:  # it falls back to the CPU
        raise RequestError(f"runtime onnxruntime cannot start its {provider}")
    source, target = session.get_inputs()[0].name, session.get_outputs()[0].name

    def call(images: Tensor) -> Tensor:
        binding = session.io_binding()
        binding.bind_ortvalue_input(source, onnxruntime.OrtValue.from_dlpack(images.contiguous()))
        binding.bind_output(target, *device)
        session.run_with_iobinding(binding)
        logits: Tensor = from_dlpack(binding.get_outputs()[0])
        return logits

    return Built(
        call=call,
        version=onnxruntime.__version__,
        method=f"ONNX by torch.export, {provider}, {torch.get_num_threads()} thread(s), "
        "sequential, fp32",
    )


def _session_options() -> Any:
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = torch.get_num_threads()
    options.inter_op_num_threads = 1
    options.execution_mode = onnxruntime.ExecutionMode.ORT_SEQUENTIAL
    options.log_severity_level = 3
    # By default its threads would spin for 35 ms after a call, into the next candidate's call.
    options.add_session_config_entry("session.force_spinning_stop", "1")
    return options


def run_openvino(model: bytes, example: Tensor) -> Built:
    """Return an inference request on the CPU; RequestError where the example is elsewhere."""
    if example.device.type != "cpu":
        raise RequestError(f"runtime openvino runs on the CPU, not on {example.device}")
    # Turns off the report of the import to the makers: openvino uses a stub without this module.
    sys.modules.setdefault("openvino_telemetry", None)  # type: ignore[arg-type]
    import openvino

    threads = torch.get_num_threads()
    options = {
        # The default is bf16 if the CPU has it.
        "INFERENCE_PRECISION_HINT": "f32",
        "PERFORMANCE_HINT": "LATENCY",
        "INFERENCE_NUM_THREADS": threads,
        # No other runtime pins its threads either.
        "ENABLE_CPU_PINNING": False,
    }
    core = openvino.Core()
    request = core.compile_model(core.read_model(model), "CPU", options).create_infer_request()

    def call(images: Tensor) -> Tensor:
        return torch.from_numpy(request.infer([images.numpy()], share_inputs=True)[0])

    return Built(
        call=call,
        version=openvino.__version__,
        method=f"ONNX by torch.export, CPU, {threads} thread(s), latency hint, fp32",
    )


FROM_ONNX: dict[str, Callable[[bytes, Tensor], Built]] = {
    "onnxruntime": run_onnxruntime,
    "openvino": run_openvino,
}


def _from_onnx(runtime: str) -> Callable[[nn.Module, Tensor], Built]:
    def build(network: nn.Module, example: Tensor) -> Built:
        model = export_onnx(network, example).SerializeToString()
        return FROM_ONNX[runtime](model, example)

    return build


BUILDERS: dict[str, Callable[[nn.Module, Tensor], Built]] = {
    "eager": build_eager,
    "compile": build_compile,
    **{runtime: _from_onnx(runtime) for runtime in FROM_ONNX},
}
