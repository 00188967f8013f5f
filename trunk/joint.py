"""Joint training of a grown tree: every node on the true path of each image."""

from __future__ import annotations

from functools import partial

from torch import Tensor

from harness.errors import RequestError
from harness.settings_spec import TrainingSettings, TreeSettings
from harness.training.stages import Fitting
from trunk.nodes import Logits, NodeModule, build_node
from trunk.routing import Trunk
from trunk.tree import NodeNetwork
from trunk.true_path import Teacher, log_priors, true_path_loss


def check_joint(fitting: Fitting, settings: TreeSettings) -> None:
    """Check the settings of joint training before anything is trained.

    Raises:
        RequestError: They contradict each other, or the teacher does not fit the images.
    """
    joint = settings.joint
    if settings.distillation is not None:
        if joint is None:
            raise RequestError("tree.distillation softens joint training: tree.joint is not set")
        _build_teacher(fitting, settings)
    if settings.logit_adjustment and (joint is None or joint.balance_classes):
        raise RequestError(
            "tree.logit_adjustment corrects joint training for unequal classes: set "
            "tree.joint, and tree.joint.balance_classes to false"
        )


def train_jointly(
    fitting: Fitting, settings: TreeSettings, recipe: TrainingSettings, trunk: Trunk, labels: Tensor
) -> None:
    """Train a tree in place by a recipe; `labels`, int64, are -1 for images to leave out."""
    teacher = priors = None
    if settings.distillation is not None:
        teacher = Teacher(_train_teacher(fitting, settings, recipe, labels), settings.distillation)
    if settings.logit_adjustment:
        counts = labels[labels >= 0].bincount(minlength=fitting.num_classes)
        priors = log_priors(trunk.tree, counts, fitting.device)
    fitting.seed_all("joint")
    objective = partial(
        true_path_loss, label_smoothing=recipe.label_smoothing, teacher=teacher, priors=priors
    )
    batches = fitting.image_batches(recipe, labels)
    fitting.stages.train("joint", trunk, batches, recipe, objective)


def _train_teacher(
    fitting: Fitting, settings: TreeSettings, recipe: TrainingSettings, labels: Tensor
) -> NodeModule:
    """Return a network that was trained to tell all classes apart."""
    fitting.seed_all("teacher")
    network = _build_teacher(fitting, settings)
    batches = fitting.image_batches(recipe, labels)
    fitting.stages.train("teacher", Logits(network), batches, recipe)
    return network


def _build_teacher(fitting: Fitting, settings: TreeSettings) -> NodeModule:
    size = fitting.preprocess.image_size
    return build_node(
        NodeNetwork(
            backbone=settings.backbone,
            layers=settings.teacher_layers,
            input_shape=(fitting.channels, size, size),
            outputs=fitting.num_classes,
        )
    )
