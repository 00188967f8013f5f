"""Attention over images: what is drawn, from which weights, and what is refused."""

import numpy as np
import pytest
import torch
import typer
from PIL import Image
from typer.testing import CliRunner

from cli import attention_maps
from harness.data.loading import load_job_data
from harness.jobs import Cell, Request
from harness.networks.attention import attention_maps as maps_of
from harness.networks.build import build_network, make_preprocess
from harness.networks.weights import Sidecar, save_weights
from harness.networks.weights_files import trained_weights_path
from harness.plan.jobs import make_job
from harness.report import canvas
from harness.report.attention import AttentionPicture, plot_attention
from harness.report.canvas import save_figure
from harness.settings import recipe_hash

DIGITS = ("--model", "deit", "--dataset", "digits")


@pytest.fixture
def drawn(monkeypatch):
    """The pictures, in place of files."""
    pictures = []
    monkeypatch.setattr(canvas, "save_figure", lambda plot, _: pictures.append(*plot.args))
    return pictures


def invoke(*arguments):
    app = typer.Typer()
    app.command()(attention_maps.main)
    return CliRunner().invoke(app, [str(argument) for argument in arguments])


def test_test_images_under_random_weights(drawn, tmp_path):
    done = invoke(*DIGITS, "--weights", "random", "--images", 3, "--output", tmp_path / "a.png")
    assert done.exit_code == 0, done.output
    (picture,) = drawn
    assert picture.title == (
        "DeiT-Tiny, random weights (seed 42)\nblock 11 of 0 to 11, mean of 3 heads"
    )
    assert (picture.images.shape, picture.images.dtype) == ((3, 32, 32, 1), np.uint8)
    assert (picture.shares.shape, picture.even_share) == ((3, 2, 2), 1 / 5)
    assert all(caption in "0123456789" for caption in picture.captions)
    assert "of the class token's attention" in done.stdout


@pytest.fixture
def trained(tmp_path):
    """Weights as training would leave them, and the job that they belong to."""
    request = Request(
        datasets=["digits"],
        models=["deit"],
        device="cpu",
        overrides={},
        assignments=["seed=5"],
        data_dir=tmp_path,
        data_file=None,
        weights_dir=tmp_path / "weights",
        results_dir=tmp_path,
        offline=True,
        force=False,
        verbose=False,
    )
    job, spec = make_job(request, Cell(dataset="digits", model="deit", device="cpu"))
    data = load_job_data(job, spec)
    network = build_network(spec, job.settings, 10, 1).eval()
    with torch.no_grad():
        network.head.bias.copy_(100.0 * (torch.arange(10) == 7))
        for block in network.blocks:
            block.attn.qkv.weight.mul_(10)
    path = trained_weights_path(job, data.source.sha256)
    epoch = {"loss": 0.5, "accuracy": 0.9, "learning_rate": 1e-3, "seconds": 0.5}
    sidecar = Sidecar(
        dataset="digits",
        model="deit",
        num_classes=10,
        image_size=32,
        recipe_hash=recipe_hash(job.settings),
        data_sha256=data.source.sha256,
        start="random",
        seed=5,
        threads=1,
        device="cpu",
        training_seconds=1.0,
        logs=[epoch | {"epoch": number} for number in (1, 2)],
        settings={},
    )
    save_weights(path, network, sidecar)
    return job, spec, data, network


def test_trained_weights_and_one_head_of_one_block(trained, drawn, tmp_path):
    job, spec, data, network = trained
    options = ("--weights-dir", tmp_path / "weights", "--set", "seed=5", "--images", 2)
    chosen = ("--layer", 4, "--head", 1, "--output", tmp_path / "a.svg")
    done = invoke(*DIGITS, *options, *chosen)
    assert done.exit_code == 0, done.output
    (picture,) = drawn
    assert picture.title == (
        "DeiT-Tiny, trained on Digits for 2 epochs from random weights\n"
        "block 4 of 0 to 11, head 1 of 0 to 2"
    )
    assert all(caption.endswith(", seen as 7") for caption in picture.captions)
    order = torch.randperm(360, generator=torch.Generator().manual_seed(5))[:2]
    stored, labels = next(data.test.batches(order, 2))
    assert [caption[0] for caption in picture.captions] == [str(int(x)) for x in labels]
    maps = maps_of(network, make_preprocess(job.settings, spec)(stored), 4)
    assert np.allclose(picture.shares, maps[:, 1, 0, 1:].reshape(2, 2, 2).numpy(), atol=1e-6)
    assert picture.shares.std() > 0.01


def test_a_picture_of_no_data_set(drawn, tmp_path):
    Image.fromarray(np.full((40, 70, 3), (200, 100, 0), np.uint8)).save(tmp_path / "p.png")
    options = ("--set", "image_size=48", "--weights", "random", "--image", tmp_path / "p.png")
    done = invoke("--model", "deit", *options, "--output", tmp_path / "a.png")
    assert done.exit_code == 0, done.output
    (picture,) = drawn
    assert picture.captions == ("p.png",)
    assert picture.images.shape == (1, 48, 48, 3)
    assert picture.images[0, 20, 20].tolist() == [200, 100, 0]
    assert picture.shares.shape == (1, 3, 3)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--model", "dei", "--dataset", "digits"), "unknown model 'dei': did you mean deit?"),
        (("--model", "deit,vit", "--dataset", "digits"), "--model: name one"),
        (("--model", "deit"), "--dataset is missing"),
        (("--model", "deit", "--dataset", "digit"), "unknown data set 'digit'"),
        ((*DIGITS, "--weights-dir", "none"), "no such weights; `python comparisons.py --dataset"),
        ((*DIGITS, "--weights", "train"), "--weights train: nothing is trained here"),
        ((*DIGITS, "--weights", "best"), "setting weights"),
        ((*DIGITS, "--weights", "random", "--layer", "12"), "layer_idx is 12"),
        ((*DIGITS, "--weights", "random", "--layer", "x"), "--layer x: a whole number wanted"),
        ((*DIGITS, "--weights", "random", "--head", "3"), "--head 3: 0 to 2 or mean wanted"),
        ((*DIGITS, "--head", "all"), "--head all: mean or a whole number wanted"),
        ((*DIGITS, "--images", "0"), "--images 0: 1 to 16 wanted"),
        ((*DIGITS, "--weights", "random", "--image", "none.png"), "none.png"),
        (
            ("--model", "resnet", "--dataset", "digits", "--weights", "random"),
            "ResNet has no attention layer",
        ),
        (
            ("--model", "deit", "--image", "p.png", "--weights", "published"),
            "--weights published: of which --dataset?",
        ),
    ],
)
def test_a_wrong_request_is_one_line(arguments, message, tmp_path):
    done = invoke(*arguments, "--output", tmp_path / "out.png")
    assert done.exit_code == 2, done.output
    assert done.stderr.startswith("error: ")
    assert message in done.stderr
    assert done.stderr.count("\n") == 1
    assert not list(tmp_path.iterdir())


def test_another_kind_of_file_is_refused(tmp_path):
    done = invoke(*DIGITS, "--output", tmp_path / "a.gif")
    assert (done.exit_code, done.stderr.count("\n")) == (2, 1)
    assert "a name in .png or .svg wanted" in done.stderr


def picture_of(count, channels):
    generator = np.random.default_rng(0)
    return AttentionPicture(
        title="A $net",
        images=generator.integers(0, 256, (count, 8, 8, channels), dtype=np.uint8),
        captions=tuple(f"image_{index}$" for index in range(count)),
        shares=generator.random((count, 2, 2)),
        even_share=0.2,
    )


@pytest.mark.parametrize(("count", "channels"), [(1, 3), (3, 1)])
def test_every_image_is_drawn_with_its_shares(count, channels):
    picture = picture_of(count, channels)
    axes = plot_attention(picture).axes
    assert [each.get_title() for each in axes[:count]] == list(picture.captions)
    for each, image, shares in zip(axes[count:], picture.images, picture.shares, strict=False):
        below, above = each.images
        assert np.array_equal(below.get_array().reshape(image.shape), image)
        assert np.array_equal(above.get_array(), shares)
        # Over the whole image, on one scale.
        assert above.get_extent() == [-0.5, 7.5, 7.5, -0.5]
        assert above.get_clim() == (0, picture.shares.max())


def test_the_same_picture_is_the_same_file(tmp_path):
    for name in ("a", "b"):
        files = [tmp_path / f"{name}.{kind}" for kind in ("png", "svg")]
        save_figure(lambda: plot_attention(picture_of(2, 1)), files)
    for kind in ("png", "svg"):
        first = (tmp_path / f"a.{kind}").read_bytes()
        assert first == (tmp_path / f"b.{kind}").read_bytes()
        assert len(first) > 1000
