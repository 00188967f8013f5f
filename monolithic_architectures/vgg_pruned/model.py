"""VGG-16-BN with half of its work pruned away (DepGraph: Fang et al., 2023, arXiv:2301.12900)."""

from __future__ import annotations

from harness.spec import CompressedSpec

SPEC = CompressedSpec(label="VGG-16-BN pruned", base="vgg_bn", compression="pruning")
