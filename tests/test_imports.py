"""Who may import whom, read from the source."""

import ast
import graphlib
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {"torch", "torchvision", "timm", "transformers", "pandas", "sklearn", "accelerate", "thop"}
HEAVY |= {"tensorboard", "mlflow", "wandb", "ml_dash"}
OURS = {"harness", "datasets", "monolithic_architectures", "trunk", "cli", "comparisons"}


def imported(path, at_import_time_only=False):
    """Return the dotted names that a file imports."""
    tree = ast.parse(path.read_text(encoding="utf-8"))
    nodes = tree.body if at_import_time_only else ast.walk(tree)
    names = set()
    for node in nodes:
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def members(path):
    """Return the dotted names of what a file takes out of modules and packages."""
    nodes = ast.walk(ast.parse(path.read_text(encoding="utf-8")))
    taken = [node for node in nodes if isinstance(node, ast.ImportFrom)]
    return {f"{node.module}.{alias.name}" for node in taken for alias in node.names}


def ours(path):
    return {name for name in imported(path) if name.split(".")[0] in OURS}


def files(pattern):
    found = sorted(ROOT.glob(pattern))
    assert found, pattern
    return found


LEAVES = {
    *("harness.spec", "harness.jobs", "harness.settings_spec", "harness.errors"),
    *("harness.routed", "harness.converted"),
}


@pytest.mark.parametrize("path", files("monolithic_architectures/*/model.py"), ids=str)
def test_a_model_imports_only_the_leaf(path):
    assert ours(path) <= LEAVES


@pytest.mark.parametrize("path", files("monolithic_architectures/*.py"), ids=str)
def test_the_families_import_no_model_and_few_rooms(path):
    rooms = LEAVES | {"harness.attention", "harness.freezing"}
    assert ours(path) <= rooms | {"monolithic_architectures.families"}


@pytest.mark.parametrize("path", files("datasets/*.py"), ids=str)
def test_a_dataset_imports_only_the_leaf_and_nothing_heavy(path):
    assert ours(path) <= LEAVES
    assert not {n.split(".")[0] for n in imported(path, at_import_time_only=True)} & HEAVY


@pytest.mark.parametrize("path", files("harness/measure/*.py"), ids=str)
def test_a_measure_knows_no_model_and_no_data_set(path):
    allowed = {n for n in ours(path) if n.startswith("harness.measure")} | {"harness.errors"}
    assert ours(path) <= allowed


@pytest.mark.parametrize("path", files("harness/**/*.py"), ids=str)
def test_the_harness_imports_no_command_and_no_model(path):
    assert not {n.split(".")[0] for n in ours(path)} - {"harness"}


def test_no_room_of_the_harness_needs_itself():
    rooms = {
        ".".join(path.relative_to(ROOT).with_suffix("").parts): path
        for path in files("harness/**/*.py")
    }
    needs = {room: (ours(path) | members(path)) & rooms.keys() for room, path in rooms.items()}
    graphlib.TopologicalSorter(needs).prepare()


ROOMS_OPEN_TO_TRUNK = LEAVES | {
    "harness.files",
    "harness.batches",
    "harness.published",
    "harness.stages",
    "harness.tracing",
    "harness.training",
    "harness.weights",
}


@pytest.mark.parametrize("path", files("trunk/*.py"), ids=str)
def test_trunk_imports_itself_and_a_few_rooms(path):
    assert {n for n in ours(path) if not n.startswith("trunk")} <= ROOMS_OPEN_TO_TRUNK


def test_the_leaves_import_nothing_of_the_house():
    assert ours(ROOT / "harness" / "errors.py") == set()
    assert ours(ROOT / "harness" / "spec.py") == {"harness.jobs", "harness.settings_spec"}
    assert ours(ROOT / "harness" / "jobs.py") == {"harness.settings_spec"}
    assert ours(ROOT / "harness" / "settings_spec.py") == set()
    assert ours(ROOT / "harness" / "routed.py") == set()
    assert ours(ROOT / "harness" / "converted.py") == set()


@pytest.mark.parametrize(
    "module",
    [
        *("comparisons", "harness.commands", "harness.report.site", "cli.regenerate_results"),
        *("harness.report.attention", "monolithic_architectures", "cli.attention_maps"),
        *("cli.compare_models", "harness.static.command"),
    ],
)
def test_nothing_heavy_is_imported(module):
    code = f"import sys, {module}; print(*(set(sys.modules) & {HEAVY!r}))"
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.returncode, done.stdout.strip()) == (0, ""), done.stderr


def test_the_committed_tables_are_made_without_anything_heavy():
    code = (
        "import sys\nfrom pathlib import Path\n"
        "from harness.report.site import stale_files\n"
        f"stale_files(Path({str(ROOT)!r}))\n"
        f"print(*(set(sys.modules) & {HEAVY!r}))"
    )
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True)
    assert (done.stdout.strip(), done.stderr) == ("", "")
