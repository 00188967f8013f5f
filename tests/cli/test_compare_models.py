"""The command, as a user runs it."""

import json
import subprocess
import sys
from pathlib import Path

import pytest
import typer
from PIL import Image
from typer.testing import CliRunner

from cli.compare_models import main
from harness.profiling import plots, results
from harness.records.cell import CELLS
from harness.report.canvas import new_figure

ROOT = Path(__file__).resolve().parents[2]


def invoke(*arguments):
    app = typer.Typer()
    app.command()(main)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def options_of(*arguments):
    """Return the options of a command line by name, as `parse_request` takes them."""
    app = typer.Typer()
    app.command()(main)
    command = typer.main.get_command(app)
    options = command.make_context("", [str(argument) for argument in arguments]).params
    return {**options, "names": options["names"] or []}


def test_models_of_all_sources_side_by_side():
    result = invoke("mobilenet_v2", "timm:test_vit", "ours:mobilenet")
    assert result.exit_code == 0, result.stderr
    header = next(line for line in result.stdout.splitlines() if "timm:test_vit" in line)
    assert header.split() == ["mobilenet_v2", "timm:test_vit", "ours:mobilenet"]
    gmacs = next(line for line in result.stdout.splitlines() if line.startswith("GMACs"))
    assert gmacs.split()[1::2] == ["0.301", "0.301"]
    assert "accounting: complete" in result.stdout


def test_wildcards_sorting_and_json():
    result = invoke("squeezenet*", "--sort-by", "flops", "--format", "json", "--image-size", "64")
    assert result.exit_code == 0, result.stderr
    models = json.loads(result.stdout)["models"]
    assert [model["model"] for model in models] == ["squeezenet1_1", "squeezenet1_0"]
    assert all(model["image_size"] == 64 for model in models)


def test_a_model_that_fails_has_its_reason_and_the_others_are_shown():
    result = invoke("ours:dinov2", "squeezenet1_1", "--format", "json")
    assert result.exit_code == 1
    failed, shown = json.loads(result.stdout)["models"]
    assert failed["reason"].startswith("DINOv2 tells at most 768 classes apart")
    assert shown["params"] == 1_235_496


def test_where_nothing_can_be_shown_the_code_is_2_and_the_reasons_are_there():
    result = invoke("ours:dinov2", "vit_b_16", "--image-size", "100")
    assert result.exit_code == 2
    assert "ours:dinov2: no figures: " in result.stdout
    assert "vit_b_16: no figures: cannot be built: AssertionError" in result.stdout


WRONG = {
    "no model": ([], "error: name one or more models"),
    "unknown model": (["resnet181"], "error: unknown model 'resnet181': did you mean resnet18 "),
    "unknown source": (["tv:resnet18"], "error: unknown source 'tv'"),
    "accounting": (["resnet18", "--accounting", "complet"], "did you mean complete?"),
    "format": (["resnet18", "--format", "htm"], "unknown --format 'htm': did you mean html?"),
    "sort": (["resnet18", "--sort-by", "flop"], "unknown --sort-by 'flop': did you mean flops?"),
    "image size": (["resnet18", "--image-size", "big"], "--image-size 'big': input should be"),
    "no images": (["resnet18", "--batch-size", "0"], "--batch-size '0': input should be greater"),
    "hardware": (["resnet18", "--hardware", "a10"], "unknown hardware 'a10': did you mean a100"),
    "half by hand": (["resnet18", "--peak-tflops", "3"], "--peak-tflops and --bandwidth-gbs go"),
    "negative": (
        ["resnet18", "--peak-tflops", "-3", "--bandwidth-gbs", "2"],
        "--peak-tflops '-3': input should be greater than 0",
    ),
    "both": (
        ["resnet18", "--hardware", "t4", "--peak-tflops", "3", "--bandwidth-gbs", "2"],
        "not both",
    ),
    "latency": (["resnet18", "--sort-by", "latency"], "--sort-by latency wants --hardware"),
    "plot": (["resnet18", "--plot", "x.gif"], "--plot x.gif: a file ending in .png or .svg wanted"),
    "no folder": (["resnet18", "--plot", "new/x.png"], "--plot new/x.png: there is no folder new"),
    "huge": (["resnet18", "--image-size", "1000000"], "--image-size '1000000': input should be le"),
    "huge side": (["resnet18", "--image-size", "64x1000000"], "--image-size '64x1000000'"),
    "channels": (["resnet18", "--channels", str(10**9)], "--channels '1000000000': input should"),
    "all of it": (
        ["resnet18", "--image-size", "16384", "--batch-size", "1000000"],
        "8.05e+14 numbers: at most 1e+12 can be counted",
    ),
    "form": (["resnet18", "--form", "deployed"], "unknown --form 'deployed': did you mean deploy?"),
    "no layers": (["resnet18", "--block-depth", "2"], "--block-depth goes with --per-layer"),
    "detector": (["fasterrcnn_resnet50_fpn"], "is a detector of torchvision: image classifiers"),
    "no file": (["nowhere.py:build"], "nowhere.py: no such file"),
    "no callable": (["nowhere.py"], "name the callable that makes the network, nowhere.py:NAME"),
    "no onnx": (["nowhere.onnx"], "nowhere.onnx: no such file"),
    "no module": (["torch.nowhere:build"], "no module named 'torch.nowhere'"),
    "arguments": (["torch.nn:Identity?x"], "?name=value&name=value wanted"),
    "zoo": (["--where", "gmac < 1"], "unknown figure of --where 'gmac': did you mean gmacs?"),
    "zoo text": (["--where", "import os"], "--where 'import os': "),
    "zoo number": (["--where", "gmacs + 1"], "--where 'gmacs + 1': a comparison wanted"),
    "zoo one": (["--pareto", "accuracy"], "--pareto accuracy: two or more figures wanted"),
    "zoo words": (["--pareto", "accuracy,model"], "model is no number"),
    "zoo like": (["--like", "resnt18"], "unknown model of --like 'resnt18': did you mean resnet18"),
    "zoo size": (
        ["--top", "3", "--image-size", "32"],
        "--image-size: --where, --pareto, --top and",
    ),
    "zoo sort": (["resnet18", "--sort-by", "accuracy"], "--sort-by accuracy goes with --where"),
    "layers": (["--per-layer", "resnet*"], "--per-layer resnet*: one model wanted, this means 5"),
    "csv": (
        ["resnet18", "--per-layer", "resnet18", "--format", "csv"],
        "--format csv holds one table",
    ),
    "results": (["squeezenet1_1", "--with-results", "digit"], "did you mean digits?"),
    "list": (["--list", "qqqqqq"], "error: unknown model 'qqqqqq'"),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_request_is_one_line_and_code_2(case, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    arguments, message = WRONG[case]
    result = invoke(*arguments)
    assert result.exit_code == 2
    assert message in result.stderr
    assert result.stderr.startswith("error: ")
    assert result.stderr.count("\n") == 1
    assert result.stdout == ""
    assert not list(tmp_path.iterdir())


def test_the_list_takes_patterns():
    result = invoke("--list", "torchvision:vit_*", "ours:*")
    assert result.exit_code == 0
    names = result.stdout.split()
    assert names[:5] == ["vit_b_16", "vit_b_32", "vit_h_14", "vit_l_16", "vit_l_32"]
    assert "ours:resnet" in names


def test_layers_of_a_model_alone_and_beside_others():
    alone = invoke("--per-layer", "squeezenet1_1", "--hardware", "t4", "--format", "csv")
    assert alone.exit_code == 0, alone.stderr
    header, first, *_ = alone.stdout.splitlines()
    assert header.startswith("model,accounting,")
    assert first.startswith("squeezenet1_1,complete,1,3,1000,fp32,features.0,conv2d,")
    both = invoke("mobilenet_v2", "--per-layer", "squeezenet1_1")
    assert "squeezenet1_1 at 224 px, by module" in both.stdout
    assert "parameters, M" in both.stdout
    assert invoke("--per-layer", "ours:dinov2").exit_code == 2
    # Layers of a model that fails leave the others.
    result = invoke("squeezenet1_1", "--per-layer", "ours:dinov2")
    assert result.exit_code == 1
    assert "ours:dinov2: no figures: " in result.stdout


def test_hardware_by_hand_gives_times():
    options = ("--peak-tflops", "1", "--bandwidth-gbs", "100", "--precision", "fp16")
    tree = json.loads(invoke("squeezenet1_1", *options, "--format", "json").stdout)
    assert tree["hardware"] == {
        "name": "1 TFLOP/s and 100 GB/s",
        "precision": "fp16",
        "peak_gflops_per_s": 1000,
        "bandwidth_gb_per_s": 100,
        "source": "the command line",
    }
    assert tree["models"][0]["ridge_flops_per_byte"] == 10
    assert tree["models"][0]["latency_bound_ms"] > tree["models"][0]["gflops"]


def test_a_picture_is_written_and_a_recommendation_names_the_hardware(tmp_path, monkeypatch):
    monkeypatch.setattr(plots, "plot_report", lambda report: new_figure(len(report.analyses), 1))
    picture = tmp_path / "a.png"
    result = invoke(*("squeezenet1_1", "squeezenet1_0", "--recommend", "server", "--plot", picture))
    assert result.exit_code == 0, result.stderr
    assert "NVIDIA A100" in result.stdout
    assert str(picture) in result.stderr
    with Image.open(picture) as image:
        assert image.format == "PNG"
    assert list(picture.parent.iterdir()) == [picture]


def test_measured_figures_stand_beside(tmp_path):
    source = ROOT / "results/records/digits/resnet-cpu.json"
    copied = tmp_path / "records/digits/resnet-cpu.json"
    copied.parent.mkdir(parents=True)
    copied.write_bytes(source.read_bytes())
    options = ("--with-results", "digits", "--results-dir", tmp_path, "--format", "json")
    result = invoke("resnet50", "squeezenet1_1", *options)
    first, second = json.loads(result.stdout)["models"]
    record = CELLS.read(source).flat
    assert first["measured_accuracy_top1"] == record["accuracy_top1"]
    assert first["measured_as"] == "resnet"
    assert first["measured_image_size"] == record["image_size"]
    assert set(first["not_measured"]) <= {"energy_j_per_image"}
    assert second["measured_accuracy_top1"] is None


def test_a_file_of_ones_own_with_arguments_and_its_layers(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    Path("mine.py").write_text(
        "from torch import nn\n"
        "def build(num_classes=2, width=8):\n"
        "    return nn.Sequential(nn.Conv2d(3, width, 3), nn.BatchNorm2d(width), nn.Flatten(),\n"
        "                         nn.Linear(width * 36, num_classes))\n"
    )
    name = "mine.py:build?num_classes=10&width=4"
    result = invoke(name, "--per-layer", name, "--image-size", "8", "--format", "json")
    assert result.exit_code == 0, result.stderr
    tree = json.loads(result.stdout)
    assert tree["models"][0]["gmacs"] * 1e9 == pytest.approx(36 * 4 * 27 + 144 * 10)
    layers = [(each["module"], each["output"], each["params"]) for each in tree["layers"]]
    assert layers == [
        ("0", "1×4×6×6", 4 * 28),
        ("1", "1×4×6×6", 8),
        ("3", "1×10", 1450),
    ]
    # Kept for the backward pass: the image; what the norm reads and its statistics; the norm's
    # output, which the linear layer reads.
    saved = [each["saved_mb"] * 1e6 for each in tree["layers"]]
    assert saved == pytest.approx([4 * 192, 4 * (144 + 8), 4 * 144])
    assert tree["layers_total"]["params"] == 4 * 28 + 8 + 1450


def test_models_are_timed_in_turn_beside_the_prediction(monkeypatch):
    monkeypatch.setattr(results, "_ROUNDS", 20)
    monkeypatch.setattr(results, "_SECONDS", 0.01)
    options = ("--image-size", "32", "--hardware", "t4", "--measure", "--format", "json")
    result = invoke("timm:test_resnet", "timm:test_vit", "ours:dinov2", *options)
    assert result.exit_code == 1, result.stderr
    first, second, failed = json.loads(result.stdout)["models"]
    for model in (first, second):
        assert model["timed_latency_ms_p50"] > model["latency_bound_ms"] > 0
        assert model["timed_latency_ms_p05"] <= model["timed_latency_ms_p95"]
    assert failed["timed_latency_ms_p50"] is None


def test_help_loads_nothing_heavy():
    code = (
        "import sys; sys.argv = ['compare_models.py', '--help']\n"
        "import typer\n"
        "from cli.compare_models import main\n"
        "try:\n typer.run(main)\n"
        "except SystemExit: pass\n"
        "heavy = {'torch', 'torchvision', 'timm', 'transformers', 'matplotlib', 'pydantic'}\n"
        "print('heavy:', *(set(sys.modules) & heavy))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert "--per-layer" in done.stdout
    assert done.stdout.splitlines()[-1].strip() == "heavy:", done.stderr
