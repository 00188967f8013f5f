"""A network and its weights: trained, loaded, published, pre-trained or random, and refused."""

import dataclasses
import hashlib
import json

import pytest
import torch
from torch import nn

from harness.data.batches import ImageBatches
from harness.data.loading import DataSource, ImageData
from harness.data.splits import MemorySplit
from harness.errors import CellError, RequestError
from harness.measure.operations import count_trainable_parameters
from harness.networks import published, weights_files
from harness.networks.build import build_network, check_fit, make_preprocess
from harness.networks.weights import read_sidecar
from harness.networks.weights_files import trained_weights_path, unfinished_path, with_start
from harness.run import provision
from harness.run.provision import ready_network
from harness.settings_spec import Settings, TrainingSettings
from harness.spec import ModelSpec
from harness.training import fit
from tests import jobs


def build(num_classes, in_channels, pretrained):
    if pretrained:
        raise FileNotFoundError("no such file here")
    return nn.Sequential(nn.Conv2d(in_channels, 4, 3), nn.Flatten(), nn.Linear(4 * 36, num_classes))


SPEC = ModelSpec(label="Tiny", build=build, image_size=8)
RECIPE = TrainingSettings(epochs=2, batch_size=4, start="auto", shift_pixels=1)


@pytest.fixture
def data():
    generator = torch.Generator().manual_seed(0)
    images = torch.randint(0, 256, (12, 1, 8, 8), dtype=torch.uint8, generator=generator)
    split = MemorySplit(images, torch.arange(12) % 3)
    source = DataSource(name="made", sha256="d" * 64, digest_of="nothing", official=False)
    return ImageData(train=split, test=split, classes=tuple("abc"), channels=1, source=source)


@pytest.fixture
def make_job(tmp_path):
    def make(weights="auto"):
        settings = Settings(weights=weights, image_size=8, training=RECIPE)
        return jobs.make_job("emnist", "net", tmp_path, settings=settings)

    return make


def test_trained_weights_are_saved_and_loaded_again(make_job, data, monkeypatch):
    job = make_job()
    first = ready_network(job, SPEC, data)
    assert first.origin == "trained"
    assert first.sidecar.start == "random"
    assert len(first.sidecar.logs) == 2
    monkeypatch.setattr(fit, "train", lambda *a, **k: pytest.fail("trained again"))
    second = ready_network(job, SPEC, data)
    assert second.sha256 == first.sha256
    state = second.network.state_dict()
    assert all(torch.equal(v, state[k]) for k, v in first.network.state_dict().items())


def test_what_the_recipe_freezes_is_frozen_in_training_and_after_loading(make_job, data):
    job = make_job()
    recipe = dataclasses.replace(RECIPE, freeze_backbone=True)
    job = dataclasses.replace(job, settings=dataclasses.replace(job.settings, training=recipe))
    untrained = build_network(SPEC, job.settings, 3, 1).state_dict()
    for ready in (ready_network(job, SPEC, data), ready_network(job, SPEC, data)):
        assert ready.origin == "trained"
        assert [p.requires_grad for p in ready.network.parameters()] == [False, False, True, True]
        state = ready.network.state_dict()
        changed = {key for key in state if not torch.equal(state[key], untrained[key])}
        assert changed == {"2.weight", "2.bias"}
        assert count_trainable_parameters(ready.network) == 3 * (4 * 36 + 1)


def test_asking_to_train_trains_again_to_the_same_weights(make_job, data):
    first = ready_network(make_job(), SPEC, data)
    provision.discard_checkpoint(make_job(), data.source.sha256)
    again = ready_network(make_job("train"), SPEC, data)
    assert again.sha256 == first.sha256
    assert again.sidecar.logs[0]["seconds"] != first.sidecar.logs[0]["seconds"]


def test_the_checkpoint_stays_until_the_record_is_written(make_job, data):
    job = make_job("train")
    first = ready_network(job, SPEC, data)
    again = ready_network(job, SPEC, data)
    assert again.sidecar.logs == first.sidecar.logs
    provision.discard_checkpoint(job, data.source.sha256)
    assert not list((job.weights_dir / "emnist").glob("*.checkpoint*"))


def test_weights_of_other_classes_are_refused(make_job, data):
    job = make_job()
    ready_network(job, SPEC, data)
    path = trained_weights_path(job, data.source.sha256).with_suffix(".json")
    path.write_text(json.dumps(json.loads(path.read_text()) | {"num_classes": 5}))
    with pytest.raises(RequestError, match="trained for 5 classes, the data has 3"):
        ready_network(job, SPEC, data)


def test_a_start_that_cannot_be_had(make_job, data, caplog):
    spec = dataclasses.replace(SPEC, pretrained="SOME_WEIGHTS")
    ready = ready_network(make_job(), spec, data)
    assert ready.sidecar.start == "random"
    assert "SOME_WEIGHTS weights of Tiny cannot be had (no such file here)" in caplog.text
    with pytest.raises(RequestError, match="SOME_WEIGHTS weights of Tiny cannot be had"):
        ready_network(make_job("imagenet"), spec, data)
    with pytest.raises(RequestError, match="Tiny has no pre-trained weights"):
        ready_network(make_job("imagenet"), SPEC, data)


@pytest.fixture
def hub():
    """A model whose ImageNet weights can be had once `there` is set."""
    there = set()

    def build_from_hub(num_classes, in_channels, pretrained):
        if pretrained and not there:
            raise FileNotFoundError("no such file here")
        network = build(num_classes, in_channels, False)
        if pretrained:
            nn.init.ones_(network[0].weight)
        return network

    return dataclasses.replace(SPEC, build=build_from_hub, pretrained="SOME_WEIGHTS"), there


def test_a_recipe_that_starts_from_imagenet_is_refused_without(make_job, data, hub):
    job = with_start(make_job(), "imagenet")
    with pytest.raises(RequestError) as raised:
        ready_network(job, hub[0], data)
    assert str(raised.value) == (
        "SOME_WEIGHTS weights of Tiny cannot be had (no such file here): this recipe starts from "
        "them; --set training.start=random goes without"
    )
    assert {path.suffix for path in job.weights_dir.rglob("*.*")} <= {".lock"}


def test_a_missed_start_is_stored_apart_and_tried_again(make_job, data, hub, monkeypatch):
    spec, there = hub
    job, sha256 = make_job(), data.source.sha256
    missed = ready_network(job, spec, data)
    assert missed.sidecar.start == "random"
    assert trained_weights_path(job, sha256) == unfinished_path(with_start(job, "random"), sha256)
    with monkeypatch.context() as patch:
        patch.setattr(fit, "train", lambda *a, **k: pytest.fail("trained again"))
        assert ready_network(job, spec, data).sha256 == missed.sha256
    provision.discard_checkpoint(job, sha256)

    there.add("now")
    had = ready_network(job, spec, data)
    assert had.sidecar.start == "imagenet"
    assert trained_weights_path(job, sha256) == unfinished_path(with_start(job, "imagenet"), sha256)
    monkeypatch.setattr(fit, "train", lambda *a, **k: pytest.fail("trained again"))
    there.clear()
    for start, kept in (("auto", had), ("imagenet", had), ("random", missed)):
        assert ready_network(with_start(job, start), spec, data).sha256 == kept.sha256


@pytest.mark.parametrize("start", ["imagenet", "random"])
def test_weights_of_earlier_versions_are_found_by_their_start(
    make_job, data, hub, monkeypatch, start
):
    spec, there = hub
    job, sha256 = make_job(), data.source.sha256
    if start == "imagenet":
        there.add("now")
    kept = ready_network(job, spec, data)
    path, old = trained_weights_path(job, sha256), unfinished_path(job, sha256)
    for suffix in (".safetensors", ".json"):
        path.with_suffix(suffix).rename(old.with_suffix(suffix))
    monkeypatch.setattr(fit, "train", lambda *a, **k: pytest.fail("trained again"))
    there.clear()
    for asked in ("auto", start):
        assert ready_network(with_start(job, asked), spec, data).sha256 == kept.sha256
    other = with_start(job, {"imagenet": "random", "random": "imagenet"}[start])
    assert not trained_weights_path(other, sha256).exists()


def test_random_weights_come_from_the_seed(make_job, data):
    one = ready_network(make_job("random"), SPEC, data)
    two = ready_network(make_job("random"), SPEC, data)
    assert (one.origin, one.sha256, one.sidecar) == ("random", None, None)
    assert torch.equal(one.network[0].weight, two.network[0].weight)


def test_published_weights_are_adapted_and_loaded(make_job, data, tmp_path, monkeypatch):
    state = {f"module.{k}": v for k, v in build(3, 1, False).state_dict().items()}
    path = tmp_path / "weights" / "published" / "w.pt"
    path.parent.mkdir(parents=True)
    torch.save(state, path)
    digest = hashlib.sha256(path.read_bytes()).hexdigest()
    file = published.PublishedFile(
        dataset="emnist", model="net", digest=digest, commit="c", path="w.pt"
    )
    monkeypatch.setattr(provision, "published_file", lambda dataset, model: file)
    spec = dataclasses.replace(
        SPEC, adapt_published=lambda s: {k.removeprefix("module."): v for k, v in s.items()}
    )
    ready = ready_network(make_job("published"), spec, data)
    assert (ready.origin, ready.sha256) == ("published", digest)
    assert torch.equal(ready.network[0].weight, state["module.0.weight"])
    with pytest.raises(RequestError, match=r"w\.pt: not weights of this network: lacks"):
        ready_network(make_job("published"), SPEC, data)


def test_a_network_that_cannot_be_trained_is_refused_before(make_job, data):
    def broken(num_classes, in_channels, pretrained):
        return nn.Sequential(nn.Flatten(), nn.Linear(5, num_classes))

    spec = dataclasses.replace(SPEC, build=broken)
    with pytest.raises(RequestError, match="rehearsal of training on 4×1×8×8 numbers: Runtime"):
        ready_network(make_job(), spec, data)
    with pytest.raises(RequestError, match="Tiny does not run at image_size 8: Runtime"):
        check_fit(make_job().settings, spec, 3, 1)


class NeedsData(nn.Module):
    """Takes a path that depends on values, so that it cannot run on the meta device."""

    def __init__(self, num_classes):
        super().__init__()
        self.head = nn.Linear(64, num_classes)

    def forward(self, images):
        scale = 2.0 if images.sum().item() > 0 else 1.0
        return scale * self.head(images.flatten(1))


def test_a_network_that_needs_real_values_fits(make_job):
    spec = dataclasses.replace(SPEC, build=lambda classes, channels, _: NeedsData(classes))
    check_fit(make_job().settings, spec, 3, 1)


def test_batches_depend_on_seed_epoch_and_step_alone(data):
    settings = Settings(image_size=8, training=RECIPE)
    preprocess = make_preprocess(settings, SPEC)
    batches = ImageBatches(data.train, preprocess, settings.training, settings.seed, "cpu")
    whole = list(batches.epoch(1, 0))
    assert len(whole) == batches.steps == 3
    assert batches.images == 12
    rest = list(batches.epoch(1, 2))
    assert len(rest) == 1
    assert torch.equal(rest[0][0], whole[2][0])
    assert (
        sorted(torch.cat([labels for _, labels in whole]).tolist()) == [0] * 4 + [1] * 4 + [2] * 4
    )
    other = list(batches.epoch(2, 0))
    assert not torch.equal(torch.cat([x for x, _ in other]), torch.cat([x for x, _ in whole]))


def test_the_sidecar_says_where_the_weights_are_from(make_job, data):
    job = make_job()
    ready_network(job, SPEC, data)
    sidecar = read_sidecar(trained_weights_path(job, data.source.sha256))
    assert (sidecar.data_sha256, sidecar.num_classes, sidecar.image_size) == ("d" * 64, 3, 8)
    assert sidecar.settings["epochs"] == 2


def test_weights_from_before_the_code_was_noted_are_found_and_those_of_other_code_are_not(
    make_job, data, monkeypatch
):
    monkeypatch.setattr(weights_files, "model_code", lambda _: "")
    old = ready_network(make_job(), SPEC, data)
    monkeypatch.setattr(weights_files, "model_code", lambda _: "first")
    assert ready_network(make_job(), SPEC, data).sha256 == old.sha256
    first = ready_network(make_job("train"), SPEC, data)
    path = trained_weights_path(make_job(), data.source.sha256)
    monkeypatch.setattr(weights_files, "model_code", lambda _: "second")
    assert trained_weights_path(make_job(), data.source.sha256) != path
    assert first.sidecar.code == fit.model_code("net")


def test_saved_weights_that_are_not_the_networks_are_deleted(make_job, data, monkeypatch):
    real = provision.load_weights

    def load_other(path, network, sidecar):
        real(path, network, sidecar)
        network[-1].bias.data += 1

    monkeypatch.setattr(provision, "load_weights", load_other)
    with pytest.raises(CellError, match="saved weights: .*logits differ by"):
        ready_network(make_job(), SPEC, data)
    assert not trained_weights_path(make_job(), data.source.sha256).exists()
