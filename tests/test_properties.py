"""Whatever is read, from a command line to a checkpoint: it works, or is refused in one line.

Each check draws its input with Hypothesis. A few examples, the same each time, are in the default
suite; `-m slow` draws many others. What they find becomes an example in the tests of its own room.
"""

import contextlib
import copy
import io
import json
import tempfile
import warnings
from pathlib import Path

import numpy as np
import pytest
import torch
import typer
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from torch import nn
from typer.testing import CliRunner

from comparisons import main
from harness.catalog import load_model
from harness.data.loading import load_data
from harness.errors import CellError, RequestError
from harness.jobs import Cell, Job
from harness.networks.weights import Sidecar, load_weights, read_sidecar, save_weights
from harness.networks.weights_files import trained_weights_path
from harness.plan.settings import complete_settings
from harness.records.material import read_material
from harness.registry import ROOT
from harness.report.frame import load_results
from harness.report.site import make_findings, render_files
from harness.settings import load_settings, parse_assignment, recipe_hash, setting_names
from harness.settings_spec import Settings, TrainingSettings
from harness.training.checkpoints import load_checkpoint, save_checkpoint
from harness.training.loop import train

REFUSALS = (RequestError, CellError)
NUMBERS = st.sampled_from((-1, 0, 1, 2, 7, 2**31, 2**64, 10**30, 0.5, -0.5, 250.0, 1e-300, 1e300))
SCALARS = st.one_of(
    st.none(),
    st.booleans(),
    NUMBERS,
    st.integers(),
    st.floats(),
    st.text(max_size=8),
    st.sampled_from(("cpu", "ok", "trained", "../..", "a/b", "fp32", "\x00", "\ud800", "=", "~")),
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner),
    max_leaves=5,
)
ASSIGNMENTS = st.builds(
    "{}={}".format,
    st.sampled_from(setting_names()) | st.text(max_size=12),
    VALUES.map(str) | st.text(max_size=12) | st.sampled_from(("&a [*a]", "[" * 200, "!!set {a}")),
)


@st.composite
def altered(draw, tree):
    """Return JSON with one to three of its values replaced, removed or doubled."""
    tree = copy.deepcopy(tree)
    for _ in range(draw(st.integers(1, 3))):
        at, parent, key = tree, None, None
        while isinstance(at, dict | list) and at and (parent is None or draw(st.booleans())):
            parent = at
            key = draw(st.sampled_from(sorted(at) if isinstance(at, dict) else range(len(at))))
            at = at[key]
        if parent is None:
            continue
        if draw(st.integers(0, 3)) == 0:
            del parent[key]
        else:
            parent[key] = draw(VALUES | st.just([at, at]))
    return tree


@st.composite
def damaged(draw, data):
    """Return bytes with a part cut off, or some bytes changed."""
    data = bytearray(data)
    if draw(st.booleans()):
        del data[draw(st.integers(0, len(data))) :]
    for _ in range(draw(st.integers(0, 4))):
        if data:
            data[draw(st.integers(0, len(data) - 1))] = draw(st.integers(0, 255))
    return bytes(data)


def is_one_line(error):
    assert str(error).strip(), repr(error)
    assert "\n" not in str(error), error
    assert len(str(error)) < 1000, error


def check_settings(draw):
    texts = draw(st.lists(ASSIGNMENTS, min_size=1, max_size=3))
    model = draw(st.sampled_from(("mobilenet", "trunk", "vgg_pruned")))
    overrides = dict(map(parse_assignment, texts))
    complete_settings(load_settings("digits", model, overrides), load_model(model), None)


def check_settings_files(draw):
    plain = "all: {seed: 1, training: {epochs: 2}}\ndigits: {image_size: 32}\n"
    texts = st.text() | VALUES.map(str) | damaged(plain.encode()).map(lambda b: b.decode("latin-1"))
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "net.yaml").write_text(draw(texts), "utf-8", "surrogatepass")
        load_settings("digits", "net", folder=Path(folder))


def check_records(draw):
    """A record that is altered is read or named, and what is read can be shown."""
    name = draw(st.sampled_from(_RECORDS))
    tree = draw(altered(json.loads((ROOT / "results" / name).read_text())))
    text = json.dumps(tree) if draw(st.integers(0, 4)) else '{"a": ' * draw(st.integers(0, 9999))
    with tempfile.TemporaryDirectory() as folder:
        for each in _RECORDS:
            path = Path(folder) / each
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text if each == name else (ROOT / "results" / each).read_text())
        material = read_material(Path(folder))
        for line in material.broken:
            is_one_line(line)
            assert line.startswith(f"{folder}/{name}: ")
        found = (*material.records, *material.latencies, *material.costs)
        assert len(found) + len(material.broken) == len(_RECORDS)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            load_results(folder)
    render_files(make_findings(Path(folder), material))


_RECORDS = (
    *("records/digits/resnet-cpu.json", "records/digits/trunk-cpu.json"),
    *("records/digits/resnet_quantized-cpu.json", "latency/digits-cpu-1t.json"),
    "costs/emnist/vgg-224.json",
)


def make_job(folder):
    return Job(
        cell=Cell(dataset="digits", model="net", device="cpu"),
        settings=Settings(image_size=8, seed=1, training=TrainingSettings(start="random")),
        **dict.fromkeys(("data_dir", "weights_dir", "results_dir"), Path(folder)),
        data_file=None,
        offline=True,
        command="",
    )


def check_weights(draw):
    """Weights and sidecars that are altered are refused, or are what they were."""
    network = nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))
    with tempfile.TemporaryDirectory() as folder:
        job = make_job(folder)
        path = trained_weights_path(job, "d")
        log = {"epoch": 1, "loss": 0.5, "accuracy": 0.9, "learning_rate": 1e-3, "seconds": 1.5}
        sidecar = Sidecar(
            dataset="digits",
            model="net",
            num_classes=4,
            image_size=8,
            recipe_hash=recipe_hash(job.settings),
            data_sha256="d",
            start="random",
            seed=1,
            threads=1,
            device="cpu",
            training_seconds=1.0,
            logs=[log],
            settings={"precision": "fp32"},
        )
        save_weights(path, network, sidecar)
        beside = path.with_suffix(".json")
        if draw(st.booleans()):
            beside.write_text(json.dumps(draw(altered(json.loads(beside.read_text())))))
        else:
            file = draw(st.sampled_from((path, beside)))
            file.write_bytes(draw(damaged(file.read_bytes())))
        found = read_sidecar(trained_weights_path(job, "d"))
        load_weights(path, network, found)


def check_checkpoints(draw):
    """Training goes on from an altered checkpoint, or refuses it."""
    images = [(torch.ones(2, 3), torch.tensor([0, 1]))] * 2
    batches = type("Batches", (), {"steps": 2, "images": 4, "epoch": lambda self, n, s: images[s:]})
    recipe = TrainingSettings(epochs=2, batch_size=2)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "net.checkpoint"
        with contextlib.suppress(KeyboardInterrupt):
            train(nn.Linear(3, 2), batches(), recipe, device="cpu", checkpoint=path, on_epoch=stop)
        if draw(st.booleans()):
            state = load_checkpoint(path)
            part = draw(st.sampled_from(sorted(state)))
            inner = state[part]
            if isinstance(inner, dict) and inner and draw(st.booleans()):
                inner[draw(st.sampled_from(sorted(inner)))] = draw(VALUES)
            else:
                state[part] = draw(VALUES | st.just([inner, inner]))
            save_checkpoint(path, state)
        else:
            path.write_bytes(draw(damaged(path.read_bytes())))
        logs = train(nn.Linear(3, 2), batches(), recipe, device="cpu", checkpoint=path)
        assert [log["epoch"] for log in logs] == [1, 2]


def stop(_):
    raise KeyboardInterrupt


def check_npz(draw):
    arrays = {
        "train_images": np.zeros((4, 3, 3), np.uint8),
        "train_labels": np.arange(4) % 2,
        "test_images": np.zeros((2, 3, 3), np.uint8),
        "test_labels": np.arange(2),
        "classes": np.array(["a", "b"]),
    }
    name = draw(st.sampled_from(sorted(arrays)))
    change = draw(st.integers(0, 3))
    if change == 0:
        del arrays[name]
    elif change == 1:
        kind = draw(st.sampled_from((bool, "f2", "f8", "i1", "u8", "c8", "U3", "S2", "M8[s]")))
        shape = draw(st.lists(st.integers(0, 4), max_size=5))
        arrays[name] = np.zeros(shape, kind)
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "mine.npz"
        np.savez(path, **arrays)
        if change > 1:
            path.write_bytes(draw(damaged(path.read_bytes())))
        load_own(path)


def load_own(path):
    return load_data(
        path.stem,
        None,
        data_dir=path.parent,
        data_file=path,
        offline=True,
        image_size=8,
        memory_limit_gb=1.0,
    )


def check_folders(draw):
    from PIL import Image

    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder) / "mine"
        kinds = st.sampled_from(("png", "jpg", "bmp", "webp", "tif", "ppm"))
        modes = st.sampled_from(("1", "L", "LA", "P", "RGB", "RGBA", "CMYK", "I;16", "F"))
        for part in ("train", "test"):
            for name in ("a", "b"):
                (root / part / name).mkdir(parents=True)
                out, kind, mode = io.BytesIO(), draw(kinds), draw(modes)
                with contextlib.suppress(OSError, ValueError, KeyError):
                    Image.new(mode, (4, 4)).save(
                        out, {"jpg": "jpeg", "tif": "tiff"}.get(kind, kind)
                    )
                data = out.getvalue()
                data = draw(damaged(data)) if draw(st.booleans()) else data
                (root / part / name / f"1.{kind}").write_bytes(data)
        load_own(root)


OPTIONS = {
    "--model": ("trunk", "mobilenet", "mobilenet,", "all", "", ",", "resnt", "../x"),
    "--dataset": ("digits", "digits,digits", "", " ", "emnist", "none"),
    "--device": ("cpu", "cuda:9", "", "tpu"),
    "--weights": ("random", "auto", "published", "imagenet", ""),
    "--threads": ("1", "0", "1000000000", "1.5", "many"),
    "--seeds": ("1,2", "", ",", "x", "4294967296"),
    "--measure": ("all", "cost", "latency", ""),
    "--runtime": ("eager", "", "eagr"),
    "--tracker": ("none", "", ",", "tensorbord"),
    "--recipe": ("", "published", "../default", "x" * 300),
    "--data-file": ("/dev/zero", ".", "absent.npz", "x" * 300),
    "--data-dir": ("absent", "x" * 300, "/dev/null"),
    "--weights-dir": ("absent", "x" * 300, "/dev/null"),
    "--results-dir": ("absent", "x" * 300, "/dev/null"),
    "--published-dir": ("absent", "/dev/null"),
}


def check_command_lines(draw):
    """A command is planned, or refused in one line with exit code 2; nothing is written."""
    names = draw(st.sets(st.sampled_from(sorted(OPTIONS)), min_size=1, max_size=4))
    words = [
        "--plan",
        "--offline",
        *(f"--set={text}" for text in draw(st.lists(ASSIGNMENTS, max_size=1))),
    ]
    named = sorted(names | {"--model", "--dataset"})
    words += [f"{name}={draw(st.sampled_from(OPTIONS[name]))}" for name in named]
    app = typer.Typer()
    app.command()(main)
    with tempfile.TemporaryDirectory() as folder, contextlib.chdir(folder):
        done = CliRunner().invoke(app, words)
        assert not list(Path().iterdir()), words
    assert done.exit_code in (0, 2), (words, done.output, done.exception)
    if done.exit_code:
        errors = [line for line in done.stderr.splitlines() if line.startswith("error: ")]
        assert len(errors) == 1, (words, done.stderr, done.exception)


EXAMPLES = {
    check_settings: 40,
    check_settings_files: 30,
    check_records: 6,
    check_weights: 30,
    check_checkpoints: 5,
    check_npz: 30,
    check_folders: 6,
    check_command_lines: 3,
}


def try_examples(check, count, *, derandomize):
    @settings(
        max_examples=count,
        derandomize=derandomize,
        deadline=None,
        database=None,
        phases=[Phase.generate],
        suppress_health_check=list(HealthCheck),
    )
    @given(st.data())
    def examples(data):
        try:
            check(data.draw)
        except REFUSALS as error:
            is_one_line(error)

    examples()


@pytest.mark.parametrize("check", EXAMPLES, ids=lambda check: check.__name__)
def test_it_works_or_is_refused_in_one_line(check):
    try_examples(check, EXAMPLES[check], derandomize=True)


@pytest.mark.slow
@pytest.mark.parametrize("check", EXAMPLES, ids=lambda check: check.__name__)
def test_it_works_or_is_refused_in_one_line_many_times(check):
    try_examples(check, 40 * EXAMPLES[check], derandomize=False)
