"""Trees as ONNX: the same classes as `route`, and only the nodes on the path run."""

from importlib.util import find_spec

import pytest
import torch

from harness.errors import CellError
from harness.measure import runtimes
from harness.measure.routed_onnx import export_onnx, export_routed
from harness.measure.runtimes import ROUTED_RUNTIMES, prepare_routed
from harness.networks.adapter import adapt
from tests.trunk.test_quantized import three_levels

# Imported by the harness alone, which first switches off what they send to their makers.
pytestmark = pytest.mark.skipif(
    find_spec("onnxruntime") is None, reason="onnxruntime is not installed"
)


@pytest.fixture(scope="module")
def trunk():
    return three_levels("compact").prepare_for_inference()


@pytest.fixture(scope="module")
def images():
    return torch.randn(200, 3, 8, 8, generator=torch.Generator().manual_seed(1))


@pytest.fixture(scope="module", autouse=True)
def exported(trunk, images):
    """The model, exported once, because that takes seconds."""
    model = export_routed(trunk.decisions(), images[:1])
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(runtimes, "export_routed", lambda *_: model)
        yield model


@pytest.mark.parametrize("runtime", ROUTED_RUNTIMES)
def test_every_image_gets_the_class_of_route(trunk, images, runtime):
    if find_spec(runtime) is None:
        pytest.skip(f"{runtime} is not installed")
    classes = trunk.route(images)
    assert len(classes.unique()) == 5
    built = prepare_routed(trunk.decisions(), images, classes, runtime)
    assert built.call(images[:1]).tolist() == classes[:1].tolist()
    classes = classes.clone()
    classes[7] = (classes[7] + 1) % 5
    with pytest.raises(CellError, match="1 of 200 images get another class"):
        prepare_routed(trunk.decisions(), images, classes, runtime)


def test_each_node_but_the_root_is_a_branch(trunk, exported):
    import onnx

    model = onnx.load_from_string(exported)
    onnx.checker.check_model(model)
    (output,) = model.graph.output
    assert output.type.tensor_type.elem_type == onnx.TensorProto.INT64
    kinds = [node.op_type for node in model.graph.node]
    assert kinds.count("If") == 1
    (choice,) = (node for node in model.graph.node if node.op_type == "If")
    branches = {each.name: [node.op_type for node in each.g.node] for each in choice.attribute}
    assert branches["else_branch"] == ["Gather"]
    inner = branches["then_branch"]
    assert (inner.count("ArgMax"), inner.count("If")) == (1, 1)
    weights = 4 * sum(p.numel() for p in trunk.parameters())
    assert weights < model.ByteSize() < 1.6 * weights  # none is there twice


def test_a_node_is_exported_alone(trunk, images, monkeypatch):
    monkeypatch.setenv("ORT_DISABLE_TELEMETRY", "1")
    import onnxruntime

    maps, logits = trunk.networks["root"](images[:1])
    session = onnxruntime.InferenceSession(
        export_onnx(trunk.networks["root"], images[:1]).SerializeToString()
    )
    found = session.run(None, {session.get_inputs()[0].name: images[:1].numpy()})
    for value, wanted in zip(found, (maps, logits), strict=True):
        torch.testing.assert_close(torch.from_numpy(value), wanted, rtol=1e-4, atol=1e-4)


def test_a_row_says_how_it_was_timed(trunk, images):
    adapter = adapt(trunk)
    timed = adapter.timed_call(images[:8], "onnxruntime")
    assert "ONNX by torch.export" in timed.method
    assert "8 images in turn" in timed.method
    classes = [int(timed.call(images[:1])) for _ in range(16)]  # each twice: one call is untimed
    assert classes == trunk.route(images[:8]).repeat_interleave(2).tolist()
    with pytest.raises(CellError, match="no fixed graph for compile"):
        adapter.timed_call(images[:8], "compile")
