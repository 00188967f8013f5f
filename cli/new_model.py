"""Write the folder of a new model: a small network that works, to be made into yours."""

from __future__ import annotations

import re
import sys
from pathlib import Path
from typing import Annotated

import typer

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from harness.errors import CellError, RequestError
from harness.registry import model_files
from harness.util.files import write_text

TEMPLATE = '''\
"""{label}: say in a line what it is and where it was published."""

from __future__ import annotations

from torch import nn

from harness.spec import ModelSpec


def build(num_classes: int, in_channels: int, pretrained: bool) -> nn.Module:
    """Return three convolutions and a linear layer; images of any size from 8 pixels on."""
    widths = [in_channels, 32, 64, 128]
    layers: list[nn.Module] = []
    for before, after in zip(widths, widths[1:], strict=False):
        layers += [nn.Conv2d(before, after, 3, stride=2, padding=1, bias=False)]
        layers += [nn.BatchNorm2d(after), nn.ReLU()]
    layers += [nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(widths[-1], num_classes)]
    return nn.Sequential(*layers)


SPEC = ModelSpec(label="{label}", build=build, image_size=32)
'''

Name = Annotated[str, typer.Argument(help="Lower-case letters, digits and underscores.")]


def main(name: Name) -> None:
    """Write monolithic_architectures/NAME/model.py; nothing else needs an edit."""
    try:
        path = create_model(ROOT, name)
    except (CellError, RequestError) as error:
        print(f"error: {error}", file=sys.stderr)
        sys.exit(2)
    print(f"{path.relative_to(ROOT)} written; try it:")
    print(f"  python comparisons.py --dataset digits --model {name}")


def create_model(root: Path, name: str) -> Path:
    """Write the folder of a new model below `root` and return its file.

    Raises:
        RequestError: The name is taken, or is none.
        CellError: The file cannot be written.
    """
    if not re.fullmatch(r"[a-z][a-z0-9_]*", name) or name in ("all", "default"):
        raise RequestError(
            f"'{name}' cannot be a model's name: lower-case letters, digits and underscores, "
            "starting with a letter, not 'all' or 'default'"
        )
    path = root / "monolithic_architectures" / name / "model.py"
    if name in model_files(root) or path.parent.exists():
        raise RequestError(f"there is a model '{name}' already")
    write_text(path, TEMPLATE.format(label=name.replace("_", " ").title()))
    return path


if __name__ == "__main__":
    typer.run(main)
