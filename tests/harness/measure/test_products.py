"""Products other than convolutions and matrix products, by hand; those without a formula."""

import pytest
import torch
from torch import nn
from torchvision.ops import DeformConv2d

from harness.errors import CellError
from harness.measure.operations import count_macs, measure_operations

IMAGE = torch.rand(1, 1, 8, 8)


class Call(nn.Module):
    """A network that calls a function of its weights and images."""

    def __init__(self, function):
        super().__init__()
        self.function = function
        self.cube = nn.Parameter(torch.rand(4, 5, 6))
        self.complex = nn.Parameter(torch.rand(8, 8, dtype=torch.complex64))

    def forward(self, x):
        return self.function(self, x)


class Deformable(nn.Module):
    def __init__(self):
        super().__init__()
        self.offset = nn.Conv2d(1, 18, 3, padding=1)
        self.deform = DeformConv2d(1, 4, 3, padding=1, bias=False)

    def forward(self, x):
        return self.deform(x, self.offset(x))


BY_HAND = {
    # 8 rows of 5 by 4×5×6 by 8 rows of 6: x·W is 8·4·5·6, and times y another 8·4·6.
    "bilinear": (
        lambda net, x: nn.functional.bilinear(x[0, 0, :, :5], x[0, 0, :, :6], net.cube),
        8 * 4 * 6 * (5 + 1),
    ),
    "cdist": (lambda _, x: torch.cdist(x, x), 8 * 8 * 8),
    "pdist": (lambda _, x: torch.pdist(x[0, 0]), 28 * 8),
    "einsum": (lambda _, x: torch.einsum("bcij,bcjk->bcik", x, x), 8**3),
    # 5 N log2 N operations are half as many multiply-accumulates; N is 64.
    "complex fft": (lambda _, x: torch.fft.fft2(x.to(torch.complex64)), 5 * 64 * 6 // 2),
    "real fft": (lambda _, x: torch.fft.rfft2(x), 5 * 64 * 6 // 4),
    "there and back": (lambda _, x: torch.fft.irfft2(torch.fft.rfft2(x)), 5 * 64 * 6 // 2),
    # Each product of two complex numbers is four of real ones.
    "complex": (lambda net, x: x[0, 0].to(torch.complex64) @ net.complex, 4 * 8**3),
    "pointwise": (lambda _, x: (x * x).lgamma().sort().values.topk(3).values, 0),
}


@pytest.mark.parametrize("name", BY_HAND)
def test_by_hand(name):
    function, macs = BY_HAND[name]
    assert count_macs(Call(function), IMAGE) == macs


def test_a_deformable_convolution():
    assert count_macs(Deformable(), IMAGE) == 64 * 18 * 9 + 64 * 4 * 9


@pytest.mark.parametrize(
    ("function", "named"),
    [
        (lambda _, x: torch.linalg.inv(x), "aten::linalg_inv_ex"),
        (lambda _, x: torch.linalg.matrix_exp(x), "aten::linalg_matrix_exp"),
        (lambda _, x: torch.ops.own.times(x, x), "own::times"),
    ],
)
def test_what_multiplies_without_a_formula_is_named(function, named):
    with torch.library._scoped_library("own", "FRAGMENT") as library:
        library.define("times(Tensor a, Tensor b) -> Tensor")
        library.impl("times", lambda a, b: a @ b, "CompositeExplicitAutograd")
        found = measure_operations(Call(function), IMAGE)
        with pytest.raises(CellError, match=named):
            count_macs(Call(function), IMAGE)
    reason = f"operators that multiply have no formula: {named}"
    assert (found.gmacs, found.gflops) == (None, None)
    assert found.reasons["gmacs"] == found.reasons["gflops"] == reason
    assert found.gmacs_thop is not None
