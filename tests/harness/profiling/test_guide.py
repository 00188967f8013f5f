"""The guide and the tool say the same: every metric, every table, every worked example."""

import ast
import dataclasses
import operator
import re
import shlex
from pathlib import Path

import pytest
import torch
import typer

from cli.compare_models import main
from harness.profiling.analysis import analyse_all
from harness.profiling.columns import COLUMNS
from harness.profiling.comparing import compare
from harness.profiling.forms import render
from harness.profiling.metrics import Metrics
from harness.profiling.names import ModelName
from harness.profiling.request import parse_request
from harness.report.table import show_number

ROOT = Path(__file__).resolve().parents[3]
GUIDE = (ROOT / "docs" / "MODEL_COMPARISON_METRICS.md").read_text(encoding="utf-8")
METRICS = [field.name for field in dataclasses.fields(Metrics)]
SECTIONS = dict(re.findall(r"^### `(\w+)`\n(.*?)(?=^##|\Z)", GUIDE, re.MULTILINE | re.DOTALL))
EXAMPLE = re.compile(
    r"^Example: `(\w+)`( in the published accounting)?[^`]*:\s`([^`]+)` = \*\*(.+?)\*\*$",
    re.MULTILINE,
)
TABLES = re.findall(
    r"<!-- made by: python cli/compare_models.py (.*?) -->\n(.*?)<!-- made: end -->",
    GUIDE,
    re.DOTALL,
)
SIGNS = {
    ast.Add: operator.add,
    ast.Sub: operator.sub,
    ast.Mult: operator.mul,
    ast.Div: operator.truediv,
    ast.Pow: operator.pow,
}


def compute(expression):
    """Return what the arithmetic of an example comes to."""
    text = expression.replace(",", "").replace("×", "*").replace("^", "**")

    def value(node):
        if isinstance(node, ast.Constant):
            return node.value
        return SIGNS[type(node.op)](value(node.left), value(node.right))

    return value(ast.parse(text, mode="eval").body)


@pytest.fixture(name="reports", scope="module")
def _reports():
    """What the commands of the two tables find, published accounting first."""
    app = typer.Typer()
    app.command()(main)
    command = typer.main.get_command(app)
    options = [command.make_context("", shlex.split(arguments)).params for arguments, _ in TABLES]
    return [compare(parse_request(each)) for each in options]


def test_every_metric_of_the_guide_is_in_the_tool_and_the_other_way_round():
    assert list(SECTIONS) == METRICS
    assert [column.get for column in COLUMNS] == METRICS


def test_the_guide_names_every_option_of_the_command_and_no_other():
    app = typer.Typer()
    app.command()(main)
    command = typer.main.get_command(app)
    parts = [part for each in command.params for part in (*each.opts, *each.secondary_opts)]
    options = {part for part in parts if part.startswith("--") and "completion" not in part}
    of_others = {"--measure", "--check"}
    named = set(re.findall(r"(?<![\w-])--[a-z][a-z-]*", GUIDE))
    assert options - named == set()
    assert named - options - of_others == set()


@pytest.mark.parametrize("metric", METRICS)
def test_every_metric_says_how_to_read_it_when_to_use_it_and_has_an_example(metric):
    text = " ".join(SECTIONS[metric].split())
    assert "Read it " in text
    assert "Use it " in text
    assert EXAMPLE.findall(SECTIONS[metric])
    assert SECTIONS[metric].count("Example: ") == len(EXAMPLE.findall(SECTIONS[metric]))


@pytest.fixture(name="find_metrics", scope="module")
def _find_metrics(reports):
    found = {(a.name.name, r.options.accounting): a.metrics for r in reports for a in r.analyses}
    name = ModelName(source="torchvision", name="googlenet")
    (row,) = analyse_all([name], reports[1].options)
    found["googlenet", "complete"] = row.metrics
    return lambda *key: found[key]


@pytest.mark.parametrize("metric", METRICS)
def test_the_worked_examples_come_to_what_the_tool_says(metric, find_metrics):
    column = next(column for column in COLUMNS if column.get == metric)
    for model, published, expression, printed in EXAMPLE.findall(SECTIONS[metric]):
        metrics = find_metrics(model, "published" if published else "complete")
        assert column.show(metrics) == printed
        if metric == "intensity_class":
            assert expression == f"{metrics.intensity_flops_per_byte:.3f} < 10"
        else:
            assert show_number(compute(expression), column.digits) == printed


@pytest.mark.skipif(
    f'"torch=={torch.__version__.split("+")[0]}"' not in (ROOT / "pyproject.toml").read_text(),
    reason="counts of operators depend on torch's version",
)
def test_the_tables_are_what_the_commands_print(reports):
    for (command, table), report in zip(TABLES, reports, strict=True):
        assert command.endswith(" --format markdown")
        text = render(report, "markdown", transpose=False)
        assert text == table, f"run: python cli/compare_models.py {command}"


# Figures of published tables, to the digits that were printed.
PRINTED = {
    "resnet18": {
        "params": "11.69",
        "gmacs": "1.814",
        "gflops": "3.644",
        "flops_per_param": "311.7",
        "traffic_mb": "116.95",
        "intensity_flops_per_byte": "24.76",
    },
    "mobilenet_v2": {
        "params": "3.50",
        "gmacs": "0.3008",
        "gflops": "0.641",
        "flops_per_param": "182.96",
        "traffic_mb": "172.82",
        "intensity_flops_per_byte": "4.675",
    },
    "resnet50": {"gflops": "8.249", "flops_per_param": "322.8"},
    "efficientnet_b0": {"flops_per_param": "152.75"},
    "swin_t": {"gflops": "5.93"},
    "vit_b_16": {"intensity_flops_per_byte": "29.49"},
}


@pytest.mark.parametrize("model", PRINTED)
def test_the_published_accounting_gives_the_printed_digits(model, find_metrics):
    metrics = find_metrics(model, "published")
    for name, printed in PRINTED[model].items():
        value = getattr(metrics, name) / (1e6 if name == "params" else 1)
        assert f"{value:.{len(printed.partition('.')[2])}f}" == printed


def test_the_constants_of_the_guide_are_those_of_the_formulas():
    from harness.profiling import formulas, metrics, published

    for words in (
        f"batch norm in evaluation | {formulas.PER_BATCH_NORM_ELEMENT} for each element",
        f"instance norm | {formulas.PER_NORM_ELEMENT} for each element",
        f"RMS norm | {formulas.PER_RMS_NORM_ELEMENT} for each element",
        f"softmax | {formulas.PER_SOFTMAX_ELEMENT} for each element",
        f"besides its products | {formulas.PER_SCORE} for each score",
        f"a norm of vectors {formulas.PER_NORM_OF_VECTOR_ELEMENT}; "
        f"variance {formulas.PER_VARIANCE_ELEMENT}",
        f"linear {formulas.PER_LINEAR_POINT}, bilinear {formulas.PER_BILINEAR_PIXEL}, "
        f"bicubic {formulas.PER_BICUBIC_PIXEL}",
        f"batch norm {published.PER_BATCH_NORM_ELEMENT} for each element",
        f"compute-bound above {metrics.COMPUTE_BOUND_ABOVE:g} FLOPs per byte",
        f"memory-bound below {metrics.MEMORY_BOUND_BELOW:g}",
    ):
        assert words in " ".join(GUIDE.split())
