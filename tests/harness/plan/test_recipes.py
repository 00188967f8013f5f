"""`--recipe`: one name for all models, or one for each that is named."""

import pytest

from harness.jobs import Cell
from harness.plan.jobs import make_job
from harness.plan.latency import plan_latency
from harness.plan.recipes import choose_recipe
from harness.settings import load_settings
from tests.refusals import make_request, refuse


def test_a_recipe_is_for_all_models_or_for_those_it_names(tmp_path):
    models = ["resnet", "trunk,vgg"]
    every = make_request(tmp_path, models=models, recipe="published")
    some = make_request(tmp_path, models=models, recipe="trunk=efficient, vgg=tuned")
    assert [choose_recipe(every, model) for model in ("resnet", "trunk")] == ["published"] * 2
    chosen = [choose_recipe(some, model) for model in ("resnet", "trunk", "vgg")]
    assert chosen == ["", "efficient", "tuned"]


def test_a_cell_has_the_settings_of_its_recipe_and_a_command_of_its_own(tmp_path):
    request = make_request(tmp_path, models=["resnet", "trunk"], recipe="trunk=efficient")
    trunk, _ = make_job(request, Cell(dataset="digits", model="trunk", device="cpu"))
    resnet, _ = make_job(request, Cell(dataset="digits", model="resnet", device="cpu"))
    efficient = load_settings("digits", "trunk", recipe="efficient")
    assert trunk.settings.tree.backbone == efficient.tree.backbone != "compact"
    assert trunk.command.endswith("--model trunk --device cpu --recipe efficient")
    assert resnet.settings.training == load_settings("digits", "resnet").training
    assert "--recipe" not in resnet.command


def test_compared_latencies_name_the_recipe_of_each_model(tmp_path):
    request = make_request(
        tmp_path, models=["resnet", "trunk"], recipe="trunk=efficient", measure="latency"
    )
    (job,) = plan_latency(request)
    assert "--model resnet,trunk --device cpu --recipe trunk=efficient --measure" in job.command
    tree = load_settings("digits", "trunk", recipe="efficient").tree
    assert [each.settings.tree for each in job.jobs] == [None, tree]


@pytest.mark.parametrize(
    ("recipe", "message"),
    [
        ("trnk=efficient", "unknown model 'trnk': did you mean trunk?"),
        ("vgg=published", "--recipe vgg=published: vgg is not among --model resnet,trunk"),
        ("trunk=", "--recipe 'trunk=': write MODEL=NAME, or one NAME for all models"),
        ("trunk=efficient,tuned", "--recipe 'tuned': write MODEL=NAME"),
        ("trunk=efficient,trunk=tuned", "trunk is named twice"),
        ("trunk=eficient", "unknown recipe of trunk 'eficient': did you mean efficient?"),
    ],
)
def test_what_names_no_model_of_the_request_is_refused(capsys, tmp_path, recipe, message):
    request = make_request(tmp_path, models=["resnet", "trunk"], recipe=recipe)
    refuse(capsys, tmp_path, request, message)
