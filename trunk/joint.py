"""Joint training of a grown tree along true paths, and a teacher, one network for all classes."""

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
from trunk.tree import Groups, Node, NodeNetwork, NodePath, Tree
from trunk.true_path import Teacher, log_priors, true_path_loss


def check_joint(fitting: Fitting, settings: TreeSettings) -> None:
    """Check the settings of joint training before anything is trained.

    Raises:
        RequestError: They contradict each other, or the teacher does not fit the images.
    """
    joint = settings.joint
    if settings.has_teacher:
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


def train_teacher(fitting: Fitting, settings: TreeSettings, labels: Tensor) -> NodeModule | None:
    """Train one network to tell all classes apart, if a tree is to have a teacher.

    `labels`, int64, are -1 for images to leave out.
    """
    recipe = settings.teacher or settings.joint
    if recipe is None or not settings.has_teacher:
        return None
    fitting.seed_all("teacher")
    flat = _build_teacher(fitting, settings)
    _train(fitting, settings, "teacher", flat, recipe, labels)
    return cast("NodeModule", flat.networks["root"])


def train_jointly(
    fitting: Fitting,
    settings: TreeSettings,
    recipe: TrainingSettings,
    trunk: Trunk,
    labels: Tensor,
    teacher: NodeModule | None = None,
) -> None:
    """Train a tree in place by a recipe; `labels`, int64, are -1 for images to leave out."""
    share = settings.distillation
    taught = Teacher(teacher, share) if teacher is not None and share is not None else None
    fitting.seed_all("joint")
    _train(fitting, settings, "joint", trunk, recipe, labels, taught)


@torch.no_grad()
def start_from_teacher(
    teacher: NodeModule, network: NodeModule, path: NodePath, groups: Groups
) -> None:
    """Give the root, or a node below it, its layers of a network for all classes.

    There, the logit of a child is the mean of the teacher's logits of the child's classes. The
    root's choices, for which the teacher has no layer, and all deeper nodes start at random.
    """
    if len(path) > 1:
        return
    depth = len(network.features)
    layers = teacher.features[-depth:] if path else teacher.features[:depth]
    network.features.load_state_dict(nn.Sequential(*layers).state_dict())
    if path:
        pairs = zip(network.classifier.parameters(), teacher.classifier.parameters(), strict=True)
        for own, taught in pairs:
            own.copy_(torch.stack([taught[list(group)].mean(0) for group in groups]))


def _train(
    fitting: Fitting,
    settings: TreeSettings,
    stage: str,
    trunk: Trunk,
    recipe: TrainingSettings,
    labels: Tensor,
    teacher: Teacher | None = None,
) -> None:
    """Train all nodes of a tree in place, each on the images whose true path it is on."""
    priors = None
    if settings.logit_adjustment:
        counts = labels[labels >= 0].bincount(minlength=fitting.num_classes)
        priors = log_priors(trunk.tree, counts, fitting.device)
    objective = partial(
        true_path_loss, label_smoothing=recipe.label_smoothing, teacher=teacher, priors=priors
    )
    fitting.stages.train(stage, trunk, fitting.image_batches(recipe, labels), recipe, objective)


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
