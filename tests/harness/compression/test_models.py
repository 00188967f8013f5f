"""Cells of compressed models: made from their base's own weights, in stages that are done once."""

import dataclasses
import json
import shutil

import pytest
import torch

from harness.compression import models, quantization
from harness.errors import RequestError
from harness.networks.weights import read_sidecar
from harness.networks.weights_files import base_job, trained_weights_path, unfinished_path
from harness.run import provision
from harness.run.provision import ready_network
from harness.settings_spec import PruningSettings, QuantizationSettings, TrainingSettings
from harness.training import fit, loop, stages
from tests.harness.compression.conftest import BASE, RECIPE, SECTIONS, job_in

WAYS = ["quantization", "pruning"]
ON_THE_WAY = {"quantization": "accuracy_fake_quantized", "pruning": "accuracy_pruned"}


class Killed(BaseException):
    """As SIGKILL: nothing catches it."""


def equal(one, other):
    state = other.state_dict()
    return all(torch.equal(value, state[key]) for key, value in one.state_dict().items())


@pytest.fixture(scope="module")
def finished(make_spec, data, tmp_path_factory):
    """The job and the network of a whole run of each way."""
    jobs = {way: job_in(tmp_path_factory.mktemp(way), way) for way in WAYS}
    return {way: (job, ready_network(job, make_spec(way), data)) for way, job in jobs.items()}


def copy_weights(source, target, data):
    """Put the weights of one job where another looks for them."""
    old, new = (trained_weights_path(job, data.source.sha256) for job in (source, target))
    new.parent.mkdir(parents=True, exist_ok=True)
    for suffix in (".safetensors", ".json"):
        shutil.copy(old.with_suffix(suffix), new.with_suffix(suffix))


@pytest.mark.parametrize("way", WAYS)
def test_a_base_is_trained_first_where_its_own_cell_finds_it(finished, make_spec, data, way):
    (job, ready), spec = finished[way], make_spec(way)
    own = dataclasses.replace(
        base_job(job, spec), settings=dataclasses.replace(job.settings, **{way: None})
    )
    assert own.cell.model == "tiny"
    base = ready_network(own, BASE, data)
    assert ready.sidecar.compression["base_weights_sha256"] == base.sha256
    assert ready.sidecar.compression["base"] == ready.sidecar.start == "tiny"
    assert ready.sidecar.compression["base_epochs"] == 2
    folder = job.weights_dir / "emnist"
    assert not unfinished_path(own, data.source.sha256).with_suffix(".checkpoint").exists()
    assert len(list(folder.glob("*.safetensors"))) == 2


@pytest.mark.parametrize("way", WAYS)
def test_weights_of_the_base_are_taken_as_they_are(
    finished, make_spec, make_job, data, way, monkeypatch
):
    job, spec = make_job(way), make_spec(way)
    copy_weights(base_job(finished[way][0], spec), base_job(job, spec), data)
    monkeypatch.setattr(fit, "train_network", lambda *a: pytest.fail("trained again"))
    assert ready_network(job, spec, data).origin == "trained"


@pytest.mark.parametrize("way", WAYS)
def test_what_was_saved_is_loaded_with_its_notes(finished, make_spec, data, way, monkeypatch):
    job, first = finished[way]
    monkeypatch.setattr(provision, "learn", lambda *a: pytest.fail("trained again"))
    second = ready_network(job, make_spec(way), data)
    assert equal(first.network, second.network)
    images = torch.randn(2, 1, 8, 8)
    torch.testing.assert_close(first.network(images), second.network(images))
    notes = second.sidecar.compression
    assert notes == json.loads(json.dumps(first.sidecar.compression))
    assert 0 <= notes["accuracy_base"] <= 100
    assert 0 <= notes[ON_THE_WAY[way]] <= 100
    assert [log["stage"] for log in second.sidecar.logs] == 2 * [
        {"quantization": "quantization", "pruning": "fine_tuning"}[way]
    ]


def interrupt_training(monkeypatch, title, after_step):
    """Kill the training whose title ends so, in its second epoch after a step."""
    step = loop._Run._step

    def killed(self, *batch):
        if self.title.endswith(title) and len(self.logs) == 1 and self.tally.step == after_step:
            raise Killed
        return step(self, *batch)

    monkeypatch.setattr(loop._Run, "_step", killed)


def interrupt_call(monkeypatch, module, name):
    def killed(*args, **kwargs):
        raise Killed

    monkeypatch.setattr(module, name, killed)


PHASES = {
    ("quantization", "float training"): lambda m: interrupt_training(m, "tiny-cpu", 3),
    ("quantization", "accuracy of the base"): lambda m: interrupt_call(
        m, provision, "measure_accuracy"
    ),
    ("quantization", "preparation"): lambda m: interrupt_call(m, quantization, "prepare"),
    ("quantization", "training"): lambda m: interrupt_training(m, " quantization", 3),
    ("quantization", "conversion"): lambda m: interrupt_call(m, quantization, "convert"),
    ("quantization", "saving"): lambda m: interrupt_call(m, fit, "save_weights"),
    ("pruning", "float training"): lambda m: interrupt_training(m, "tiny-cpu", 3),
    ("pruning", "pruning"): lambda m: interrupt_call(m, models.torch, "zeros"),
    ("pruning", "keeping"): lambda m: interrupt_call(m, stages, "write_state"),
    ("pruning", "fine-tuning"): lambda m: interrupt_training(m, " fine_tuning", 3),
    ("pruning", "saving"): lambda m: interrupt_call(m, fit, "save_weights"),
}


@pytest.mark.parametrize(("way", "phase"), PHASES)
def test_a_killed_run_ends_with_the_same_weights(
    finished, make_spec, make_job, data, way, phase, monkeypatch
):
    (done, whole), job, spec = finished[way], make_job(way), make_spec(way)
    with monkeypatch.context() as patch:
        if phase != "float training":
            copy_weights(base_job(done, spec), base_job(job, spec), data)
        PHASES[way, phase](patch)
        with pytest.raises(Killed):
            ready_network(job, spec, data)
    assert not trained_weights_path(job, data.source.sha256).exists()
    again = ready_network(job, spec, data)
    assert again.sha256 == whole.sha256
    assert equal(again.network, whole.network)
    timeless = [
        {**ready.sidecar.compression, "base_training_seconds": None} for ready in (whole, again)
    ]
    assert timeless[0] == timeless[1]


@pytest.mark.parametrize("way", WAYS)
def test_mixed_images_are_fine_tuned_on_and_a_killed_run_ends_the_same(
    finished, make_spec, data, way, tmp_path, monkeypatch
):
    mixed = dataclasses.replace(
        RECIPE,
        mixup_alpha=1.0,
        cutmix_alpha=1.0,
        random_resized_crop=(0.5, 1.0),
        label_smoothing=0.1,
        balance_classes=True,
        schedule="cosine",
        warmup_epochs=1.5,
    )
    section, spec = {way: dataclasses.replace(SECTIONS[way], training=mixed)}, make_spec(way)
    whole_job, job = (job_in(tmp_path / name, way, **section) for name in ("whole", "parts"))
    for each in (whole_job, job):
        copy_weights(base_job(finished[way][0], spec), base_job(each, spec), data)
    whole = ready_network(whole_job, spec, data)
    with monkeypatch.context() as patch:
        interrupt_training(
            patch, {"quantization": " quantization", "pruning": " fine_tuning"}[way], 2
        )
        with pytest.raises(Killed):
            ready_network(job, spec, data)
    again = ready_network(job, spec, data)
    assert again.sha256 == whole.sha256 != finished[way][1].sha256


def test_pruned_shapes_are_in_the_sidecar(finished, data):
    job, ready = finished["pruning"]
    path = trained_weights_path(job, data.source.sha256)
    shapes = read_sidecar(path).structure
    width = ready.network[0].out_channels
    assert width < 64
    assert shapes["attributes"]["0"] == {"out_channels": width}
    assert shapes["tensors"]["3.weight"] == [ready.network[3].out_channels, width, 3, 3]


@pytest.mark.parametrize("way", WAYS)
def test_a_broken_structure_is_refused(finished, make_spec, make_job, data, way):
    job, spec = make_job(way), make_spec(way)
    copy_weights(finished[way][0], job, data)
    path = trained_weights_path(job, data.source.sha256).with_suffix(".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"structure": {"image_shape": 3}}))
    with pytest.raises(RequestError, match=rf"{path.name}: structure: not "):
        ready_network(job, spec, data)


@pytest.mark.parametrize("way", WAYS)
def test_a_float_checkpoint_that_does_not_fit_is_refused(make_spec, make_job, data, way):
    job, spec = make_job(way), make_spec(way)
    own = base_job(job, spec)
    wide = dataclasses.replace(BASE, build=lambda *sizes: BASE.build(5, *sizes[1:]))
    ready_network(own, wide, data)
    with pytest.raises(RequestError, match=r"tiny-.*safetensors: 8.bias has shape \(5,\)"):
        ready_network(job, spec, data)
    assert not trained_weights_path(job, data.source.sha256).exists()


def test_what_cannot_be_compressed_is_refused_before_its_base_is_trained(make_spec, make_job, data):
    job = make_job("pruning", pruning=PruningSettings(speed_up=1e6, steps=8, training=RECIPE))
    with pytest.raises(RequestError, match="out of reach"):
        ready_network(job, make_spec("pruning"), data)
    # The lock of the training is hidden.
    assert not list(job.weights_dir.rglob("[!.]*.*"))


def test_rounding_is_not_trained_in_bf16(make_spec, make_job, data):
    recipe = dataclasses.replace(RECIPE, precision="bf16")
    section = dataclasses.replace(SECTIONS["quantization"], training=recipe)
    job = make_job("quantization", quantization=section)
    with pytest.raises(RequestError, match=r"quantization.training.precision: bf16"):
        ready_network(job, make_spec("quantization"), data)


@pytest.mark.parametrize("way", WAYS)
def test_random_weights_are_compressed_too(make_spec, make_job, data, way):
    job = make_job(way, weights="random")
    ready = ready_network(job, make_spec(way), data)
    assert (ready.origin, ready.sidecar) == ("random", None)
    if way == "quantization":
        assert isinstance(ready.network, quantization.Int8Network)
    else:
        assert ready.network[0].out_channels < 64


def test_ranges_can_come_from_images_without_training(make_spec, make_job, data, monkeypatch):
    spec, job = (
        make_spec("quantization"),
        make_job("quantization", quantization=QuantizationSettings(calibration_images=16)),
    )
    ready = ready_network(job, spec, data)
    assert isinstance(ready.network, quantization.Int8Network)
    assert ready.sidecar.logs == []
    assert ready.sidecar.compression.get("accuracy_fake_quantized") is None
    monkeypatch.setattr(provision, "learn", lambda *a: pytest.fail("made again"))
    again = ready_network(job, spec, data)
    assert equal(ready.network, again.network)


def test_int8_is_for_the_cpu(make_spec):
    assert make_spec("quantization").devices == ("cpu",)
    assert make_spec("pruning").devices == ("cpu", "cuda")


def test_no_bits_of_a_recipe_are_lost(make_spec, make_job, data):
    """A compressed cell with another recipe has weights of its own, from the same base."""
    spec = make_spec("pruning")
    other = PruningSettings(steps=64, training=TrainingSettings(epochs=1, batch_size=4))
    paths = [
        trained_weights_path(job, data.source.sha256)
        for job in (make_job("pruning"), make_job("pruning", pruning=other))
    ]
    bases = [
        trained_weights_path(base_job(job, spec), data.source.sha256)
        for job in (make_job("pruning"), make_job("pruning", pruning=other))
    ]
    assert paths[0] != paths[1]
    assert bases[0] == bases[1]
