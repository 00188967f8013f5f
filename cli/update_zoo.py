"""Make the table of the zoo, results/zoo: every architecture of the libraries by its costs.

python cli/update_zoo.py                     # all, half an hour on one core; can be resumed
python cli/update_zoo.py 'timm:repvgg*'      # these rows again
python cli/update_zoo.py --check 5           # do 5 rows, chosen by --seed, still hold?
"""

from __future__ import annotations

import random
import sys
from pathlib import Path
from typing import Annotated

import typer
from typer import Argument, Option

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from harness.errors import RequestError, exit_on_error

Names = Annotated[list[str] | None, Argument(help="Models or patterns; all by default.")]
Check = Annotated[int, Option(metavar="NUMBER", help="Count so many again; exit 1 if one differs.")]
Seed = Annotated[int, Option(help="Of the choice that --check makes.")]


def main(names: Names = None, check: Check = 0, seed: Seed = 0) -> None:
    """Count the architectures of torchvision, timm and transformers into results/zoo."""
    from rich.console import Console
    from rich.progress import track

    from harness.profiling.names import resolve_names
    from harness.profiling.zoo import differing_models, update_zoo, zoo_names

    with exit_on_error():
        known = zoo_names()
        if not 0 <= check <= len(known):
            raise RequestError(f"--check {check}: up to {len(known)} models can be counted")
        if check:
            differing = differing_models(random.Random(seed).sample(known, check))  # noqa: S311
            print(*(f"{line}\n" for line in differing), sep="", end="")
            sys.exit(int(bool(differing)))
        again = resolve_names(names) if names else None
        console = Console(stderr=True)
        total = len(again or known)
        for _ in track(update_zoo(again), "counting", total=total, console=console):
            pass


if __name__ == "__main__":
    typer.run(main)
