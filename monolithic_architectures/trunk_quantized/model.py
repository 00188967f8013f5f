"""TRUNK in int8: every node of a trained tree quantized after training (arXiv:1712.05877)."""

from __future__ import annotations

from harness.spec import CompressedSpec

SPEC = CompressedSpec(label="TRUNK int8", base="trunk", compression="quantization")
