"""ResNet-50 in int8, by quantisation-aware training (Jacob et al., 2018, arXiv:1712.05877)."""

from __future__ import annotations

from harness.spec import CompressedSpec

SPEC = CompressedSpec(label="ResNet-50 int8", base="resnet", compression="quantization")
