"""The complete accounting, derived by hand for tiny networks, and set beside torch.export."""

import pytest
import torch
import torchvision
from torch import nn
from torch.nn import functional
from torch.nn.functional import dropout, interpolate, scaled_dot_product_attention

from harness.errors import CellError
from harness.measure.memory import LiveStorages
from harness.measure.networks import inference
from harness.measure.operations import count_macs
from harness.profiling.formulas import FUSED_ATTENTION
from harness.profiling.recording import record


def rows(recording):
    """Return what each operator computes and moves: name, MACs, FLOPs, bytes in, out, weights."""
    return [
        (o.name, o.macs, o.flops, o.input_bytes, o.output_bytes, o.weight_bytes)
        for o in recording.graph.operators
    ]


class Function(nn.Module):
    def __init__(self, function, **parameters):
        super().__init__()
        self.function = function
        for name, shape in parameters.items():
            self.register_parameter(name, nn.Parameter(torch.zeros(shape)))

    def forward(self, x):
        return self.function(x, *self.parameters())


IMAGE = 3 * 8 * 8


def test_a_residual_block_by_hand(residual):
    recording = record(*residual)
    macs = IMAGE * 27
    assert rows(recording) == [
        ("conv2d", macs, 2 * macs, 4 * IMAGE, 4 * IMAGE, 4 * 81),
        ("batch_norm", 0, 2 * IMAGE, 4 * IMAGE, 4 * IMAGE, 4 * 4 * 3),
        ("add", 0, IMAGE, 2 * 4 * IMAGE, 4 * IMAGE, 0),
        ("relu", 0, IMAGE, 4 * IMAGE, 4 * IMAGE, 0),
    ]
    graph = recording.graph
    assert [o.module for o in graph.operators] == ["conv", "norm", "", "act"]
    assert [o.predecessors for o in graph.operators] == [(), (0,), (1,), (2,)]
    assert graph.results == {3}
    # The norm's input and output; the sum takes the place of the input.
    assert recording.peak_activation_bytes == 2 * 4 * IMAGE


QKV, SCORES = 2 * 5 * 4, 2 * 5 * 5
FUSED_MACS = 2 * SCORES * 4


def fused_attention(x):
    heads = x.unflatten(-1, (2, 4)).transpose(1, 2)
    return scaled_dot_product_attention(heads, 2 * heads, 3 * heads)


def attention(x):
    heads = x.unflatten(-1, (2, 4)).transpose(1, 2)
    return (heads @ heads.transpose(-1, -2)).softmax(-1) @ heads


# A network, the shape of its input, and what its last operators compute and move.
ROWS = {
    "bias": (nn.Linear(10, 7), (2, 10), [("linear", 140, 280 + 14, 80, 56, 4 * 77)]),
    "one operator with both products": (
        Function(fused_attention),
        (1, 5, 8),
        [(FUSED_ATTENTION, FUSED_MACS, 2 * FUSED_MACS + 6 * SCORES, 3 * 4 * QKV, 4 * QKV, 0)],
    ),
    # The keys are the queries under another shape: the same numbers, read once.
    "written out": (
        Function(attention),
        (1, 5, 8),
        [
            ("matmul", 4 * SCORES, 8 * SCORES, 4 * QKV, 4 * SCORES, 0),
            ("softmax", 0, 5 * SCORES, 4 * SCORES, 4 * SCORES, 0),
            ("matmul", 4 * SCORES, 8 * SCORES, 4 * SCORES + 4 * QKV, 4 * QKV, 0),
        ],
    ),
    "a reshape that copies": (
        Function(lambda x: x.transpose(1, 2).reshape(1, -1)),
        (1, 4, 6),
        [("reshape", 0, 0, 96, 96, 0)],
    ),
    "expanded: read as often as it has numbers": (
        Function(lambda x, token: torch.cat([token.expand(5, 1, 6), x], 1), token=(1, 1, 6)),
        (5, 4, 6),
        [("cat", 0, 0, 4 * 120, 4 * 150, 4 * 6)],
    ),
    "made in a shape: reads nothing": (
        Function(lambda x: (x + 1).new_zeros(2, 3)),
        (1, 4),
        [("add", 0, 4, 16, 16, 0), ("new_zeros", 0, 0, 0, 24, 0)],
    ),
    "filling writes alone": (
        Function(lambda x: (x + 1)[0, :3].fill_(1.0)),
        (1, 4),
        [("add", 0, 4, 16, 16, 0), ("fill", 0, 0, 0, 12, 0)],
    ),
}


@pytest.mark.parametrize("case", ROWS)
def test_operators_by_hand(case, on_meta):
    network, shape, expected = ROWS[case]
    assert rows(record(*on_meta(network, *shape)))[-len(expected) :] == expected


def views(x):
    first, second = (x + 1).flatten(1).chunk(2, 1)
    return dropout(second, training=False).view(1, 2, -1) * first.reshape(1, 2, -1)


def in_place(x):
    y = x * 2
    y[:, :2].add_(1)
    return y + 1


def branches(x):
    a, b, c = x * 2, x * 3, x.exp()
    return (a + b) * c


# A network, and the operators that each of its operators waits for, for an input of 1×4×2×2.
WAITS = {
    "views are no operators": (Function(views), [("add", ()), ("mul", (0,))]),
    "dropout that is on": (
        Function(lambda x: dropout(x * 2, training=True)),
        [("mul", ()), ("dropout", (0,))],
    ),
    "dropout that is off, in place too": (
        nn.Sequential(
            nn.ReLU(), nn.Dropout(inplace=True), nn.Sequential(nn.Dropout2d(), nn.ReLU())
        ),
        [("relu", ()), ("relu", (0,))],
    ),
    "in place": (Function(in_place), [("mul", ()), ("add", (0,)), ("add", (1,))]),
    "branches": (
        Function(branches),
        [("mul", ()), ("mul", ()), ("exp", ()), ("add", (0, 1)), ("mul", (2, 3))],
    ),
}


@pytest.mark.parametrize("case", WAITS)
def test_operators_wait_for_those_whose_results_they_read(case, on_meta):
    network, expected = WAITS[case]
    operators = record(*on_meta(network, 1, 4, 2, 2)).graph.operators
    assert [(o.name, o.predecessors) for o in operators] == expected


def test_precision_changes_the_bytes_of_floating_point_numbers_alone(on_meta):
    network, image = on_meta(Function(lambda x: x.argmax(-1)), 1, 4, 6)
    ((_, _, _, input_bytes, output_bytes, _),) = rows(record(network, image, element_bytes=1))
    assert (input_bytes, output_bytes) == (24, 4 * 8)
    halves, wholes = (rows(record(network, image, element_bytes=n)) for n in (2, 4))
    assert [halves[0][3], wholes[0][3]] == [48, 96]


def test_multihead_attention_is_not_hidden_in_a_fast_path(on_meta):
    layer = nn.TransformerEncoderLayer(8, 2, 16, batch_first=True)
    names = [o.name for o in record(*on_meta(layer, 1, 5, 8)).graph.operators]
    assert (names.count("linear"), names.count(FUSED_ATTENTION)) == (4, 1)


NUMBERS = 4 * 6 * 6

EXTRA = {
    "layer_norm": (nn.LayerNorm(6), 7 * NUMBERS),
    "layer_norm_plain": (nn.LayerNorm(6, elementwise_affine=False), 5 * NUMBERS),
    "group_norm": (nn.GroupNorm(2, 4), 7 * NUMBERS),
    "rms_norm": (nn.RMSNorm(6), 4 * NUMBERS),
    "softmax": (nn.Softmax(-1), 5 * NUMBERS),
    "gelu": (nn.GELU(), NUMBERS),
    "hardswish": (nn.Hardswish(), NUMBERS),
    "max_pool": (nn.MaxPool2d(3, stride=3), 9 * 4 * 4),
    "pool_cut": (nn.AvgPool2d(100, ceil_mode=True), NUMBERS),
    "pool_ceil": (nn.MaxPool2d(4, stride=4, ceil_mode=True), NUMBERS),
    # Along each axis, the windows begin at -1, 1 and 3: two, three and three pixels.
    "pool_padded": (nn.MaxPool2d(3, stride=2, padding=1), 4 * 8 * 8),
    # Windows of every second pixel, from -1, 0, 1 and 2: 1 3; 0 2 4; 1 3 5; 2 4.
    "pool_dilated": (nn.MaxPool2d(3, stride=1, padding=1, dilation=2), 4 * 10 * 10),
    "pool_1d": (Function(lambda x: functional.avg_pool1d(x[0], 4, ceil_mode=True)), NUMBERS),
    "batch_statistics": (
        Function(lambda x: functional.batch_norm(x, None, None, training=True)),
        5 * NUMBERS,
    ),
    "floor_divide": (Function(lambda x: x // 2), NUMBERS),
    "glu": (nn.GLU(1), 2 * NUMBERS // 2),
    # A composite operator counts those that it is made of: a difference, a sum, a norm here.
    "composite": (Function(lambda x: functional.pairwise_distance(x, x)), 4 * NUMBERS),
    "avg_pool": (nn.AvgPool2d((2, 3)), 6 * 4 * 3 * 2),
    "adaptive": (nn.AdaptiveAvgPool2d(1), NUMBERS),
    "mean": (Function(lambda x: x.mean(-1)), NUMBERS),
    "variance": (Function(lambda x: x.var(-1)), 4 * NUMBERS),
    "vector_norm": (Function(lambda x: torch.linalg.vector_norm(x, dim=1)), 2 * NUMBERS),
    "bilinear": (Function(lambda x: interpolate(x, size=3, mode="bilinear")), 7 * 4 * 9),
    "nearest": (Function(lambda x: interpolate(x, size=3)), 0),
    "copy": (Function(lambda x: x.transpose(1, 2).contiguous()), 0),
    "concatenation": (Function(lambda x: torch.cat([x, x], 1)), 0),
    "padding": (nn.ZeroPad2d(1), 0),
    "conv_with_bias": (nn.Conv2d(4, 2, 1), 2 * 36 * 8 + 72),
}


@pytest.mark.parametrize("case", EXTRA)
def test_operations_by_hand(case, on_meta):
    network, expected = EXTRA[case]
    recording = record(*on_meta(network, 1, 4, 6, 6))
    assert [o.flops for o in recording.graph.operators] == [expected]
    assert recording.graph.unknown == ()


def test_complex_numbers_are_four_products_and_twice_the_bytes(on_meta):
    network = nn.Linear(384, 256, bias=False, dtype=torch.complex64).to("meta")
    recording = record(network, torch.empty(1, 384, dtype=torch.complex64, device="meta"))
    assert rows(recording) == [
        ("linear", 4 * 98_304, 8 * 98_304, 8 * 384, 8 * 256, 8 * 98_304),
    ]
    product = Function(lambda x: x * x + x)
    operators = record(product, torch.empty(5, dtype=torch.complex64, device="meta"))
    assert [o.flops for o in operators.graph.operators] == [6 * 5, 2 * 5]


def test_tables_that_a_first_pass_makes_are_there_in_later_ones(on_meta):
    class Cached(nn.Module):
        table = None

        def forward(self, x):
            if self.table is None:
                self.table = torch.zeros(1000, device=x.device) + 1
            return x + self.table[0]

    recording = record(*on_meta(Cached(), 1, 4))
    assert rows(recording) == [("add", 0, 4, 16, 16, 4)]
    assert recording.peak_activation_bytes == 16


def test_the_peak_has_what_composite_operators_make_inside(on_meta):
    pooled = record(*on_meta(nn.MaxPool2d(2), 1, 4, 6, 6))
    # Values, and int64 places of the maxima.
    assert pooled.peak_activation_bytes == (4 + 8) * 36
    heads = Function(lambda x: x.transpose(1, 2) @ x.transpose(1, 2))
    recording = record(*on_meta(heads, 2, 6, 2, 6))
    # Both operands, copied to be matrices one after the other, and the product.
    assert recording.peak_activation_bytes == 4 * 3 * 144


def test_activations_are_what_products_write_but_fused_attention(on_meta):
    network = nn.Sequential(nn.Conv2d(3, 5, 1), nn.ReLU(), nn.Flatten(), nn.Linear(20, 7))
    graph = record(*on_meta(network, 2, 3, 2, 2)).graph
    assert [o.activations for o in graph.operators] == [40, 0, 14]
    assert graph.operators[-1].output_shapes == ((2, 7),)
    assert graph.operators[-1].channels == 7
    *_, fused = record(*on_meta(Function(fused_attention), 1, 5, 8)).graph.operators
    assert (fused.name, fused.activations) == (FUSED_ATTENTION, 0)


def test_an_operator_without_a_formula_counts_0_and_is_named(on_meta):
    recording = record(*on_meta(Function(lambda x: x.sort(-1).values), 1, 4))
    assert [(o.name, o.flops) for o in recording.graph.operators] == [("sort", 0)]
    assert recording.graph.unknown == ("sort",)


def test_a_module_that_is_used_twice_has_its_first_name(on_meta):
    layer = nn.Linear(4, 4)
    graph = record(*on_meta(nn.Sequential(layer, nn.Sequential(layer)), 1, 4)).graph
    assert [o.module for o in graph.operators] == ["0", "0"]


def test_a_parameter_may_be_an_argument_and_keeps_its_gradient(on_meta):
    class Token(nn.Module):
        def __init__(self):
            super().__init__()
            self.token = nn.Parameter(torch.zeros(1, 4))
            self.layer = nn.Linear(4, 2)

        def forward(self, x):
            return self.layer(self.token) + self.layer(x)

    network, image = on_meta(Token(), 1, 4)
    assert [o.name for o in record(network, image).graph.operators] == ["linear", "linear", "add"]
    assert network.token.requires_grad
    assert not network.layer._forward_hooks
    assert count_macs(network, image) == 16


def test_a_path_that_depends_on_values_is_refused_in_one_line(on_meta):
    network = Function(lambda x: x if x.sum() > 0 else -x)
    with pytest.raises(CellError, match=r"^cannot run on the meta device: \S+") as caught:
        record(*on_meta(network, 1, 4))
    assert "\n" not in str(caught.value)


def zoo(name):
    with torch.device("meta"):
        return torchvision.models.get_model(name, weights=None).eval()


IMAGE_224 = torch.empty(1, 3, 224, 224, device="meta")


class Shuffled(nn.Module):
    """Views that copy and views that do not, work in place, several results, dropout."""

    def __init__(self):
        super().__init__()
        self.conv = nn.Conv2d(4, 4, 3, padding=1)
        self.act = nn.Sequential(nn.Hardswish(inplace=True), nn.Dropout())

    def forward(self, x):
        first, second = self.act(self.conv(x)).chunk(2, 1)
        x = torch.stack([first, second], 2).transpose(1, 2).reshape(1, 4, 6, 6)
        return x.max(-1).values.softmax(-1).flatten(1)


def test_the_operators_are_those_of_torch_export(on_meta):
    vit = torchvision.models.VisionTransformer(16, 8, 2, 2, 8, 16)
    for network, image in (on_meta(Shuffled(), 1, 4, 6, 6), on_meta(vit, 1, 3, 16, 16)):
        with torch.no_grad():
            exported = torch.export.export(network, (image,), strict=False)
        targets = [node.target for node in exported.graph.nodes if node.op == "call_function"]
        # Taking one of several results is no operator.
        schemas = [target._schema for target in targets if hasattr(target, "_schema")]
        names = [each.name.removeprefix("aten::").removesuffix("_") for each in schemas]
        recorded = [o.name for o in record(network, image).graph.operators]
        # A reshape may be a view or not: other tests have both.
        kept = [name for name in names if name not in VIEWS]
        assert [name for name in recorded if name != "reshape"] == kept


VIEWS = {"view", "reshape", "permute", "transpose", "expand", "select", "squeeze", "unsqueeze"}
VIEWS |= {"unflatten", "flatten", "chunk", "dropout"}


@pytest.mark.parametrize("name", ["mobilenet_v3_small", "swin_t"])
def test_products_and_memory_are_those_that_are_measured(name):
    network = zoo(name)
    recording = record(network, IMAGE_224)
    assert sum(o.macs for o in recording.graph.operators) == count_macs(network, IMAGE_224)
    live = LiveStorages([*network.parameters(), *network.buffers(), IMAGE_224])
    with inference(network), live:
        network(IMAGE_224)
    assert recording.peak_activation_bytes == live.peak_bytes
