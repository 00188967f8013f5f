"""Joint training of a grown tree: every node on the true path of each image."""

from __future__ import annotations

from functools import partial
from typing import cast

import torch
from torch import Tensor, nn

from harness.errors import RequestError
from harness.settings_spec import TrainingSettings, TreeSettings
from harness.training.stages import Fitting
from trunk.backbones import BACKBONES
from trunk.nodes import NodeModule
from trunk.routing import Trunk
from trunk.tree import Node, NodeNetwork, Tree
from trunk.true_path import Teacher, log_priors, true_path_loss


def check_joint(fitting: Fitting, settings: TreeSettings) -> None:
    """Check the settings of joint training before anything is trained.

    Raises:
        RequestError: They contradict each other, or the teacher does not fit the images.
    """
    joint = settings.joint
    if settings.distillation is not None or settings.start_from_teacher:
        if joint is None:
            raise RequestError("a teacher is for joint training: tree.joint is not set")
        _build_teacher(fitting, settings)
    elif settings.teacher is not None:
        raise RequestError(
            "tree.teacher: nothing follows it: set tree.distillation or tree.start_from_teacher"
        )
    recipes = [recipe for recipe in (joint, settings.teacher) if recipe is not None]
    balanced = any(recipe.balance_classes for recipe in recipes)
    if settings.logit_adjustment and (joint is None or balanced):
        raise RequestError(
            "tree.logit_adjustment corrects joint training for unequal classes: set "
            "tree.joint, and balance_classes to false in it and in tree.teacher"
        )
    if settings.start_from_teacher:
        lists = BACKBONES[settings.backbone].layers
        path = (*lists.get(settings.root_layers, ()), *lists.get("other", ()))
        if lists[settings.teacher_layers] != path or settings.layers_by_outputs:
            raise RequestError(
                "tree.start_from_teacher: the layers of tree.teacher_layers must be those of a "
                f"root and the node below it; of {settings.backbone} they are not"
            )


def train_jointly(
    fitting: Fitting, settings: TreeSettings, recipe: TrainingSettings, trunk: Trunk, labels: Tensor
) -> None:
    """Train a tree in place by a recipe; `labels`, int64, are -1 for images to leave out."""
    counts = labels[labels >= 0].bincount(minlength=fitting.num_classes)

    def train(stage: str, tree: Trunk, recipe: TrainingSettings, teacher: Teacher | None) -> None:
        adjusted = settings.logit_adjustment
        objective = partial(
            true_path_loss,
            label_smoothing=recipe.label_smoothing,
            teacher=teacher,
            priors=log_priors(tree.tree, counts, fitting.device) if adjusted else None,
        )
        batches = fitting.image_batches(recipe, labels)
        fitting.stages.train(stage, tree, batches, recipe, objective)

    teacher = None
    if settings.distillation is not None or settings.start_from_teacher:
        fitting.seed_all("teacher")
        flat = _build_teacher(fitting, settings)
        train("teacher", flat, settings.teacher or recipe, None)
        network = cast("NodeModule", flat.networks["root"])
        if settings.distillation is not None:
            teacher = Teacher(network, settings.distillation)
        if settings.start_from_teacher:
            _start_from(network, trunk)
    fitting.seed_all("joint")
    train("joint", trunk, recipe, teacher)


def _build_teacher(fitting: Fitting, settings: TreeSettings) -> Trunk:
    """Return a tree of one node, all of whose children are leaves."""
    size = fitting.preprocess.image_size
    network = NodeNetwork(
        backbone=settings.backbone,
        layers=settings.teacher_layers,
        input_shape=(fitting.channels, size, size),
        outputs=fitting.num_classes,
    )
    leaves = tuple((label,) for label in range(fitting.num_classes))
    return Trunk(Tree(nodes=(Node(path=(), groups=leaves, network=network),)))


@torch.no_grad()
def _start_from(teacher: NodeModule, trunk: Trunk) -> None:
    """Give the root and the nodes below it the layers of a network for all classes.

    A node's logit of a child is the mean of the teacher's logits of the child's classes. The
    teacher has no features to choose at the root by, so that the root begins without a preference.
    """
    depth = len(cast("NodeModule", trunk.networks["root"]).features)
    for node in trunk.tree.nodes:
        network = cast("NodeModule", trunk.networks[node.name])
        if len(node.path) > 1:
            continue
        layers = teacher.features[depth:] if node.path else teacher.features[:depth]
        network.features.load_state_dict(nn.Sequential(*layers).state_dict())
        for own, taught in zip(
            network.classifier.parameters(), teacher.classifier.parameters(), strict=True
        ):
            own.zero_()
            if node.path:
                own.copy_(torch.stack([taught[list(group)].mean(0) for group in node.groups]))
