"""How a GPU computes fp32 products: set for a block, readable by all of torch, restored."""

import pytest
import torch

from harness.measure.conditions import fp32_modes, fp32_precision


@pytest.mark.parametrize(
    ("mode", "modes"),
    [("ieee", ("ieee", "ieee")), ("tf32", ("tf32", "tf32")), ("torch", ("tf32", "ieee"))],
)
def test_a_mode_is_set_for_a_block(mode, modes):
    before = fp32_modes()
    assert before == ("tf32", "ieee")
    with fp32_precision(mode):
        assert fp32_modes() == modes
        # What other parts of torch read.
        assert torch.get_float32_matmul_precision() == ("high" if mode == "tf32" else "highest")
        with torch.backends.cudnn.flags(enabled=False):
            pass
    assert fp32_modes() == before
