"""The true path: which node sees which image, and that its loss is the tree's own likelihood."""

import pytest
import torch
from torch import nn

from trunk.routing import Trunk
from trunk.true_path import (
    Teacher,
    along_true_paths,
    child_of_class,
    log_priors,
    true_path_loss,
)


@pytest.fixture
def trunk(small_tree):
    torch.manual_seed(0)
    return Trunk(small_tree).eval()


LABELS = torch.tensor([4, 1, 3, 0, 2, 1])
IMAGES = torch.rand(6, 1, 8, 8, generator=torch.Generator().manual_seed(1))


def test_every_node_sees_the_images_of_its_classes(trunk):
    seen = [
        (rows.tolist(), tuple(logits.shape), targets.tolist())
        for rows, logits, targets, _ in along_true_paths(trunk.branches(), (), IMAGES, LABELS)
    ]
    assert seen == [
        ([0, 1, 2, 3, 4, 5], (6, 3), [0, 1, 0, 0, 2, 1]),
        ([0, 2, 3], (3, 2), [0, 1, 0]),
        ([0, 3], (2, 2), [1, 0]),
    ]


def test_it_can_start_below_the_root(trunk):
    maps = trunk.networks["root"](IMAGES[[0, 2]])[0]
    steps = along_true_paths(trunk.branches(), (0,), maps, LABELS[[0, 2]])
    assert [targets.tolist() for _, _, targets, _ in steps] == [[0, 1], [1]]


def test_the_loss_is_minus_the_log_probability_of_the_class(trunk):
    loss, right = true_path_loss(trunk, IMAGES, LABELS, label_smoothing=0.0)
    torch.testing.assert_close(loss, nn.functional.nll_loss(trunk(IMAGES), LABELS))
    assert right.tolist() == (trunk.route(IMAGES) == LABELS).tolist()


@pytest.mark.parametrize("seed", range(5))
def test_right_means_routed_to_the_class(random_tree, seed):
    torch.manual_seed(seed)
    trunk = Trunk(random_tree(seed)).eval()
    images = torch.rand(20, 1, 8, 8)
    labels = torch.arange(20) % trunk.tree.num_classes
    # Some images that are right, whatever the weights.
    labels[:10] = trunk.route(images)[:10]
    _, right = true_path_loss(trunk, images, labels, label_smoothing=0.0)
    assert right[:10].all()
    assert right.tolist() == (trunk.route(images) == labels).tolist()


def test_smoothing_is_that_of_each_node(trunk):
    plain, _ = true_path_loss(trunk, IMAGES, LABELS, label_smoothing=0.0)
    smooth, _ = true_path_loss(trunk, IMAGES, LABELS, label_smoothing=0.3)
    wanted = sum(
        nn.functional.cross_entropy(logits, targets, reduction="sum", label_smoothing=0.3)
        for _, logits, targets, _ in along_true_paths(trunk.branches(), (), IMAGES, LABELS)
    )
    torch.testing.assert_close(smooth, wanted / 6)
    assert smooth != plain


class _Opinion(nn.Module):
    """Gives the same logits for every image."""

    def __init__(self, probabilities):
        super().__init__()
        self.logits = torch.tensor(probabilities).log()

    def forward(self, images):
        return images, self.logits.expand(len(images), -1)


def test_a_teacher_is_asked_about_the_children_of_each_node(trunk):
    """Of (0.1, 0.2, 0.3, 0.1, 0.3), the root's children (0 3 4), 1, 2 get 0.5, 0.2 and 0.3."""
    teacher = Teacher(_Opinion([0.1, 0.2, 0.3, 0.1, 0.3]), share=1.0)
    loss, _ = true_path_loss(trunk, IMAGES[:1], LABELS[:1], label_smoothing=0.0, teacher=teacher)
    wanted = {(): [0.5, 0.2, 0.3], (0,): [0.8, 0.2], (0, 0): [0.25, 0.75]}
    steps = along_true_paths(trunk.branches(), (), IMAGES[:1], LABELS[:1])
    expected = sum(
        -(torch.tensor(soft) * logits.log_softmax(1)).sum()
        for soft, (_, logits, _, _) in zip(wanted.values(), steps, strict=True)
    )
    torch.testing.assert_close(loss, expected)


def test_the_share_of_a_teacher(trunk):
    def loss(share):
        teacher = share and Teacher(_Opinion([0.1, 0.2, 0.3, 0.1, 0.3]), share=share)
        return true_path_loss(trunk, IMAGES, LABELS, label_smoothing=0.1, teacher=teacher)[0]

    torch.testing.assert_close(loss(0.25), 0.75 * loss(None) + 0.25 * loss(1.0))


def test_a_teacher_that_is_certain_of_another_node_gives_finite_targets(trunk):
    teacher = Teacher(_Opinion([0.0, 1.0, 0.0, 0.0, 0.0]), share=1.0)
    assert true_path_loss(trunk, IMAGES, LABELS, label_smoothing=0.0, teacher=teacher)[0].isfinite()


def test_adjusted_logits_count_classes_alike(trunk):
    # Children of the root: classes (0 3 4), 1 and 2; then (0 4) and 3; then 0 and 4.
    counts = torch.tensor([10, 20, 30, 5, 30])
    priors = log_priors(trunk.tree, counts, "cpu")
    arguments = (trunk, IMAGES[:1], LABELS[:1])
    loss, right = true_path_loss(*arguments, label_smoothing=0.0, priors=priors)
    means = [[15.0, 20.0, 30.0], [20.0, 5.0], [10.0, 30.0]]
    steps = along_true_paths(trunk.branches(), (), IMAGES[:1], LABELS[:1])
    expected = sum(
        nn.functional.cross_entropy(logits + torch.tensor(mean).log(), targets)
        for mean, (_, logits, targets, _) in zip(means, steps, strict=True)
    )
    torch.testing.assert_close(loss, expected)
    assert right.tolist() == true_path_loss(*arguments, label_smoothing=0.0)[1].tolist()


def test_every_node_on_a_path_learns_and_no_other(trunk):
    loss, _ = true_path_loss(trunk, IMAGES[[1, 2]], LABELS[[1, 2]], label_smoothing=0.0)
    loss.backward()
    learns = {
        name: any(p.grad is not None and p.grad.abs().sum() > 0 for p in network.parameters())
        for name, network in trunk.networks.items()
    }
    assert learns == {"root": True, "0": True, "0-0": False}


def test_children_of_classes():
    assert child_of_class(((1, 4), (0,))).tolist() == [1, 0, -1, -1, 0]


def test_branches_are_the_nodes(trunk, small_tree):
    branches = trunk.branches()
    assert list(branches) == [node.path for node in small_tree.nodes]
    assert branches[0,][0] == ((0, 4), (3,))
    assert branches[0,][1] is trunk.networks["0"]


def test_a_teacher_counts_classes_alike_as_well(trunk):
    priors = log_priors(trunk.tree, torch.tensor([10, 20, 30, 5, 30]), "cpu")
    teacher = Teacher(_Opinion([0.1, 0.2, 0.3, 0.1, 0.3]), share=1.0)
    given = {"label_smoothing": 0.0, "teacher": teacher}
    adjusted = true_path_loss(trunk, IMAGES, LABELS, **given, priors=priors)[0]
    torch.testing.assert_close(adjusted, true_path_loss(trunk, IMAGES, LABELS, **given)[0])
