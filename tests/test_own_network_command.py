"""A network as a user brings it, by whole commands: any layout, an edited file, a wrong output."""

import pytest

from harness.records.cell import CELLS
from tests.commands import BRIEF, copy_project, run

CELL = ("comparisons.py", "--dataset", "digits", "--threads", "1", "--offline", "--epochs", "1")
CELL += (*BRIEF, "--model")
HEAD = '''"""A network of a user."""

from torch import nn
from harness.spec import ModelSpec
from monolithic_architectures.{name}.parts import RELU


class Net(nn.Module):
    def __init__(self, k, c):
        super().__init__()
        self.a, self.b = nn.Conv2d(c, 6, 5), nn.Conv2d(6, 16, 5, 4)
        self.f = nn.Linear(16 * 6 * 6, k)

    def forward(self, x):
        x -= 0.5
        self.kept = RELU(self.b(RELU(self.a(x))))
        return {end}


def build(num_classes, in_channels, pretrained):
    return Net(num_classes, in_channels)


SPEC = ModelSpec(label="Own", build=build, image_size=32)
'''
VIEW = "self.f(self.kept.view(x.size(0), -1))"


@pytest.fixture(scope="module")
def project(tmp_path_factory):
    copy = tmp_path_factory.mktemp("project")
    copy_project(copy)
    return copy


def write_model(project, name, end):
    folder = project / "monolithic_architectures" / name
    folder.mkdir(exist_ok=True)
    (folder / "model.py").write_text(HEAD.format(name=name, end=end))
    (folder / "parts.py").write_text("from torch import relu as RELU\n")
    return folder


def test_a_network_with_view_runs_and_an_edited_part_of_it_is_noticed(project):
    folder = write_model(project, "view", VIEW)
    assert run(project, *CELL, "view", "--plan").returncode == 0
    done = run(project, *CELL, "view")
    assert done.returncode == 0, done.stderr
    path = project / "results/own/records/digits/view-cpu.json"
    first = CELLS.read(path)
    assert first.weights.training_layout == "contiguous"
    assert first.accuracy.accuracy_method.startswith("eager, contiguous")
    # 28² pixels of 6 by 5², 6² of 16 by 6·5², and the head.
    assert first.operations.gmacs == (28**2 * 6 * 25 + 36 * 16 * 150 + 576 * 10) / 1e9
    assert "done: an equal record exists (" in run(project, *CELL, "view").stderr

    parts = folder / "parts.py"
    parts.write_text("# another comment\nfrom torch import relu as RELU\n")
    assert "done: an equal record exists (" in run(project, *CELL, "view").stderr
    parts.write_text("from torch import tanh as RELU\n")
    done = run(project, *CELL, "view")
    assert "the code of view has changed since its record was made: train 1 epochs" in done.stderr
    second = CELLS.read(path)
    assert second.weights.code_digest != first.weights.code_digest
    assert second.weights.weights_sha256 != first.weights.weights_sha256

    parts.write_text("from torch import relu as RELU\n")
    done = run(project, *CELL, "view", "--plan")
    assert "weights trained for 1" in " ".join(done.stdout.replace("│", " ").split())


@pytest.mark.parametrize(
    ("end", "said"),
    [
        (f"{{'logits': {VIEW}}}", "it returns a dict (logits) for"),
        (f"({VIEW}, x)", "it returns a tuple (1×10, 1×1×32×32) for"),
        (f"{VIEW}[:, :1]", "it returns 1×1 for 1 images"),
    ],
)
def test_a_wrong_output_is_refused_before_training(project, end, said):
    write_model(project, "wrong", end)
    done = run(project, *CELL, "wrong", "--plan")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: Own: in evaluation mode ")
    assert said in line
    assert "build must return a network of N×K logits" in line


@pytest.mark.parametrize(
    ("returned", "said"),
    [
        ("", "Own: build must return an nn.Module, not TorchScript; it returned NoneType"),
        (
            "torch.jit.script(nn.Linear(2, num_classes))",
            "Own: build must return an nn.Module, not TorchScript; it returned Recursive",
        ),
        (
            "Net(num_classes, in_channels, 3)",
            "Own cannot be built at image_size 32: TypeError: Net.__init__() takes 3 positional ",
        ),
    ],
)
def test_a_network_that_is_not_built_is_refused_before_training(project, returned, said):
    model = write_model(project, "unbuilt", VIEW) / "model.py"
    built = "    return Net(num_classes, in_channels)"
    model.write_text(
        model.read_text().replace(built, f"    import torch; return {returned}".rstrip())
    )
    done = run(project, *CELL, "unbuilt", "--plan")
    assert done.returncode == 2
    assert done.stderr.splitlines()[-1].startswith(f"error: {said}")
    assert "Traceback" not in done.stderr


def test_a_slip_in_a_network_is_refused_before_training(project):
    write_model(project, "slip", "self.f(kept.view(x.size(0), -1))")
    done = run(project, *CELL, "slip", "--plan")
    assert done.returncode == 2
    assert (
        done.stderr
        == "error: Own does not run at image_size 32: NameError: name 'kept' is not defined\n"
    )


def test_a_network_that_fits_one_size_of_batch_is_refused_before_training(project):
    write_model(project, "kept", f"{VIEW} + vars(self).setdefault('first', x)[:, 0, :1, 0]")
    done = run(project, *CELL, "kept", "--plan")
    assert done.returncode == 2
    (line,) = done.stderr.splitlines()
    assert line.startswith("error: Own: a training step on 8×1×32×32 numbers: RuntimeError: ")
