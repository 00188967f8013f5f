"""What the layers contract in `pyproject.toml` (`lint-imports`) cannot see."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parent.parent
HEAVY = {"torch", "torchvision", "timm", "transformers", "sklearn", "accelerate", "thop"}
HEAVY |= {"matplotlib", "tensorboard", "mlflow", "wandb", "ml_dash"}
OURS = {"harness", "datasets", "monolithic_architectures", "trunk", "cli", "studies", "comparisons"}
SPECIFICATION = {"harness.spec", "harness.errors", "monolithic_architectures.families"}


def imported(path, nodes=ast.walk):
    """Return the dotted names of the modules that a file imports."""
    names = set()
    for node in nodes(ast.parse(path.read_text(encoding="utf-8"))):
        if isinstance(node, ast.Import):
            names |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
    return names


def test_a_model_file_imports_the_specification_alone():
    """Model folders are no packages, so import-linter does not read them."""
    paths = sorted(ROOT.glob("monolithic_architectures/*/model.py"))
    assert paths
    for path in paths:
        ours = {name for name in imported(path) if name.split(".")[0] in OURS}
        assert ours <= SPECIFICATION, path


def test_a_data_set_file_imports_nothing_heavy_until_images_are_loaded():
    paths = sorted(ROOT.glob("datasets/*.py"))
    assert paths
    for path in paths:
        top_level = {name.split(".")[0] for name in imported(path, lambda tree: tree.body)}
        assert not top_level & HEAVY, path


@pytest.mark.parametrize(
    "module",
    [
        "comparisons",
        "harness.commands",
        "harness.report.site",
        "harness.report.attention",
        "monolithic_architectures",
        "cli.attention_maps",
        "cli.compare_models",
        "cli.regenerate_results",
    ],
)
def test_nothing_heavy_is_imported(module):
    code = f"import sys, {module}; print(*(set(sys.modules) & {HEAVY | {'pandas'}!r}))"
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
