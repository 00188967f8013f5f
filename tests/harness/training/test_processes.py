"""Several processes that train one network do what one process does."""

import contextlib
import copy
import dataclasses
import os
import socket
from functools import partial
from unittest.mock import patch

import pytest
import torch
from timm.layers import BatchNormAct2d, DropPath
from torch import nn
from torchvision.ops import StochasticDepth

from harness.data.batches import ImageBatches
from harness.data.preprocess import Preprocess
from harness.data.shares import Share
from harness.data.splits import MemorySplit
from harness.errors import CellError, RequestError
from harness.settings_spec import TrainingSettings
from harness.training import loop
from harness.training.checkpoints import load_checkpoint
from tests import commands

RECIPE = TrainingSettings(
    epochs=2,
    batch_size=32,
    drop_last=False,
    optimizer="sgd",
    learning_rate=0.05,
    shift_pixels=1,
    horizontal_flip=True,
    cutout=(1, 3),
    label_smoothing=0.1,
    channels_last=False,
)
MIXED = {"mixup_alpha": 0.5, "cutmix_alpha": 1.0, "random_resized_crop": (0.3, 1.0)}
NORMS = {
    "none": lambda channels: nn.ReLU(),
    "batch_norm": nn.BatchNorm2d,
    "with_activation": partial(BatchNormAct2d, act_layer=nn.SiLU),
}


def make_network(norm="batch_norm", draws=False):
    torch.manual_seed(3)
    return nn.Sequential(
        nn.Conv2d(1, 4, 3),
        NORMS[norm](4),
        *([nn.Dropout2d(0.2), StochasticDepth(0.2, "row")] if draws else []),
        nn.Conv2d(4, 4, 3, stride=2),
        NORMS[norm](4),
        *([nn.Dropout(0.3), DropPath(0.3)] if draws else []),
        nn.Flatten(),
        *([nn.Dropout(0.5, inplace=True)] if draws else []),
        nn.Linear(4 * 2 * 2, 3),
    )


def make_batches(recipe, images, share):
    generator = torch.Generator().manual_seed(0)
    pixels = torch.randint(256, (images, 1, 8, 8), dtype=torch.uint8, generator=generator)
    split = MemorySplit(pixels, torch.randint(3, (images,), generator=generator))
    preprocess = Preprocess(image_size=7, mean=(0.5,), std=(0.5,))
    return ImageBatches(split, preprocess, recipe, 5, "cpu", share=share)


ERRORS = {"CellError": CellError, "RequestError": RequestError}


class StopError(Exception):
    pass


def train(folder, recipe, images, network, share, stop_after=None):
    """Return the mean loss up to each step, and the trained network's state."""
    torch.manual_seed(11)
    losses, means = [], loop._Run._means

    def record(run):
        losses.append(means(run)[0])
        if len(losses) == stop_after:
            raise StopError
        return losses[-1], 0.0

    with (
        contextlib.suppress(StopError),
        patch.object(loop, "_STEPS_BETWEEN_REPORTS", 1),
        patch.object(loop._Run, "_means", record),
    ):
        loop.train(
            network,
            make_batches(recipe, images, share),
            recipe,
            device="cpu",
            checkpoint=folder / "checkpoint",
            checkpoint_seconds=0,
        )
    return losses, network.state_dict()


def in_process(rank, processes, port, work, folder):
    os.environ |= {
        "RANK": str(rank),
        "LOCAL_RANK": str(rank),
        "WORLD_SIZE": str(processes),
        "LOCAL_WORLD_SIZE": str(processes),
        "MASTER_ADDR": "127.0.0.1",
        "MASTER_PORT": str(port),
        "OMP_NUM_THREADS": "1",
    }
    torch.set_num_threads(1)
    try:
        result = work(share=Share(rank=rank, processes=processes))
    except (CellError, RequestError) as error:
        result = {"error": type(error).__name__, "text": str(error)}
    torch.save(result, folder / f"rank{rank}.pt")


def train_in(processes, folder, recipe=RECIPE, images=70, network=None, stop_after=None):
    """Return the losses and the state of the first process; all have the same state."""
    folder.mkdir(exist_ok=True)
    network = copy.deepcopy(network or make_network())
    recipe = dataclasses.replace(recipe, processes=processes)
    work = partial(train, folder, recipe, images, network, stop_after=stop_after)
    if processes == 1:
        return work(share=Share())
    with socket.socket() as free:
        free.bind(("127.0.0.1", 0))
        port = free.getsockname()[1]
    children = [
        commands._FORKS.Process(target=in_process, args=(rank, processes, port, work, folder))
        for rank in range(processes)
    ]
    for child in children:
        child.start()
    for child in children:
        child.join()
    assert [child.exitcode for child in children] == [0] * processes
    results = [torch.load(folder / f"rank{r}.pt", weights_only=True) for r in range(processes)]
    for result in results:
        if isinstance(result, dict):
            raise ERRORS[result["error"]](result["text"])
    for key, value in results[0][1].items():
        if recipe.norm_statistics == "sync" or "running" not in key:
            assert torch.equal(value, results[1][1][key])
    return results[0]


def assert_alike(one, several):
    assert several[0] == pytest.approx(one[0], abs=1e-5)
    torch.testing.assert_close(several[1], one[1], rtol=1e-4, atol=1e-5)


# 32, 32, and a last batch of 6, of 5 or of 1.
@pytest.mark.parametrize(
    ("norm", "draws", "images"),
    [("none", False, 69), *(("batch_norm", True, images) for images in (70, 69, 65))],
)
def test_two_processes_make_the_steps_of_one(tmp_path, norm, draws, images):
    network = make_network(norm, draws)
    one = train_in(1, tmp_path / "one", images=images, network=network)
    two = train_in(2, tmp_path / "two", images=images, network=network)
    assert len(one[0]) == 6
    assert_alike(one, two)


@pytest.mark.parametrize(
    ("norm", "recipe"),
    [
        ("with_activation", dataclasses.replace(RECIPE, channels_last=True)),
        ("batch_norm", dataclasses.replace(RECIPE, rand_augment=(1, 5))),
        ("batch_norm", dataclasses.replace(RECIPE, max_gradient_norm=0.1)),
        ("batch_norm", dataclasses.replace(RECIPE, **MIXED)),
    ],
)
def test_three_processes_make_the_steps_of_one(tmp_path, norm, recipe):
    network = make_network(norm, draws=True)
    one = train_in(1, tmp_path / "one", recipe, network=network)
    assert_alike(one, train_in(3, tmp_path / "three", recipe, network=network))


def test_local_statistics_are_those_of_a_share(tmp_path):
    local = dataclasses.replace(RECIPE, norm_statistics="local", epochs=1)
    one, two = (train_in(n, tmp_path / str(n), local) for n in (1, 2))
    assert abs(one[0][0] - two[0][0]) > 1e-4


@pytest.mark.parametrize(("before", "after"), [(2, 1), (1, 2), (2, 3)])
def test_a_training_continues_with_another_number_of_processes(tmp_path, before, after):
    network = make_network(draws=True)
    whole = train_in(1, tmp_path / "whole", network=network)
    train_in(before, tmp_path / "parts", network=network, stop_after=5)
    state = load_checkpoint(tmp_path / "parts" / "checkpoint")
    assert (len(state["logs"]), state["tally"]["step"]) == (1, 1)
    losses, weights = train_in(after, tmp_path / "parts", network=network)
    assert_alike((whole[0][4:], whole[1]), (losses, weights))


def test_a_continued_training_ends_with_the_same_bits(tmp_path):
    network = make_network(draws=True)
    whole = train_in(2, tmp_path / "whole", network=network)
    train_in(2, tmp_path / "parts", network=network, stop_after=5)
    parts = train_in(2, tmp_path / "parts", network=network)
    assert parts[0] == whole[0][4:]
    assert all(torch.equal(value, parts[1][key]) for key, value in whole[1].items())


def test_a_share_of_one_image_has_no_statistics_of_its_own(tmp_path):
    local = dataclasses.replace(RECIPE, norm_statistics="local", processes=2)
    with pytest.raises(RequestError, match="the last batch has 3 images, too few for 2 processes"):
        train(tmp_path, local, 67, make_network(), Share())


def test_all_processes_stop_where_the_loss_is_not_finite(tmp_path):
    recipe = dataclasses.replace(RECIPE, learning_rate=1e30)
    with pytest.raises(CellError, match="training loss is nan in epoch 1"):
        train_in(2, tmp_path / "two", recipe)


@pytest.mark.parametrize("count", range(1, 12))
@pytest.mark.parametrize("processes", [1, 2, 3, 5])
def test_shares_make_up_a_batch(count, processes):
    shares = [Share(rank=rank, processes=processes) for rank in range(processes)]
    taken = [list(range(count))[share.rows(count)] for share in shares]
    if count < processes:
        assert all(rows == list(range(count)) for rows in taken)
    else:
        assert [row for rows in taken for row in rows] == list(range(count))
        assert max(map(len, taken)) - min(map(len, taken)) <= 1
        weights = [len(rows) / count for rows in taken]
        assert [share.weight(count) for share in shares] == weights
    assert sum(share.weight(count) for share in shares) == pytest.approx(1)
