"""Look into a TRUNK tree: draw it, explain groups, hold accuracy against cost, compare trees."""

from __future__ import annotations

import sys
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from typer import Option

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cli.tree_source import evaluate_routed, load_tree, takes_tree
from harness.jobs import Request

if TYPE_CHECKING:
    from matplotlib.figure import Figure

    from harness.report.table import Table

Output = Annotated[Path, Option(help="Folder of the pictures.", show_default="results/own/trees")]
NodeName = Annotated[str, Option("--node", help="A node's name, such as root or 0-3.")]
ClassName = Annotated[str | None, Option("--class", help="A class of the node, to compare.")]
Beam = Annotated[str, Option(metavar="NUMBERS", help="How many paths an image may follow.")]
Threshold = Annotated[
    str, Option(metavar="NUMBERS", help="Least probabilities of a choice that begins a new path.")
]
Record = Annotated[
    list[Path] | None, Option(help="Record of another network on the same images; repeatable.")
]
Volatility = Annotated[str, Option(metavar="FIRST:LAST:STEP", help="What to try, both ends too.")]

PICTURES = ROOT / "results" / "own" / "trees"

app = typer.Typer(help=__doc__, no_args_is_help=True, add_completion=False)


@app.command()
@takes_tree
def draw(request: Request, output: Output = PICTURES) -> None:
    """Route the test images through a tree and draw where they went, and how many rightly."""
    from trunk.drawing import plot_tree
    from trunk.explaining import edge_table
    from trunk.traffic import edge_traffic

    loaded = load_tree(request)
    _check_output(output)
    accuracy = evaluate_routed(loaded)
    edges = edge_traffic(loaded.trunk.tree, accuracy.confusion_matrix)
    title = f"{loaded.title}: {accuracy.n_test:,} test images, {accuracy.accuracy_top1:.2f}% right"
    stem = output / f"{loaded.dataset}-tree"
    _save(partial(plot_tree, loaded.trunk.tree, loaded.data.classes, edges, title), stem)
    _print_table(title, edge_table(edges, loaded.data.classes))


@app.command()
@takes_tree
def explain(
    request: Request,
    node: NodeName = "root",
    class_name: ClassName = None,
    output: Output = PICTURES,
) -> None:
    """Draw a node's likelihood matrix, and say which classes it groups, and why."""
    from trunk import explaining
    from trunk.drawing import plot_likelihood, plot_membership

    loaded = load_tree(request)
    names = loaded.data.classes
    found = explaining.find_node(loaded.trunk.tree, node)
    label = None if class_name is None else explaining.find_class(found, class_name, names)
    degrees = {} if label is None else explaining.memberships(found, label)
    _check_output(output)
    stem = output / f"{loaded.dataset}-node-{found.name}"
    _save(partial(plot_likelihood, found, names, loaded.title), stem)
    if label is not None:
        # By number: a class may be called "/", and files "a" and "A" are one on some systems.
        stem = stem.with_name(f"{stem.name}-class-{label}")
        _save(partial(plot_membership, found, names, label, degrees, loaded.title), stem)
    _print_table(explaining.describe_groups(found), explaining.group_table(found, names))
    if label is not None:
        heading = f"node {found.name}: membership of class {names[label]}; similar: above one half"
        _print_table(heading, explaining.membership_table(found, names, label, degrees))


@app.command()
@takes_tree
def ablate(request: Request, volatility: Volatility, output: Output = PICTURES) -> None:
    """Grow a tree at each volatility and compare accuracy, cost and shape.

    The trees are judged on the training images held out by tree.held_out, which growing them has
    not seen: so joint training, which sees all, is left out. Trees that are there are not grown
    again.
    """
    from cli.tree_ablation import grow_and_judge, parse_values
    from trunk.ablation import plot_ablation, write_rows

    values = parse_values(volatility)
    _check_output(output)
    rows = []
    for row in grow_and_judge(request, values):
        rows.append(row)
        stem = output / f"{row.dataset}-ablation"
        print(f"{write_rows(rows, stem.with_suffix('.csv'))} written")
    _save(partial(plot_ablation, rows), stem)


@app.command()
@takes_tree
def curve(
    request: Request,
    beam: Beam = "2,3",
    threshold: Threshold = "0,0.1,0.2,0.3,0.4,0.5",
    record: Record = None,
    output: Output = PICTURES,
) -> None:
    """Run the test images along one path and along several; show accuracy against cost.

    Every threshold that is asked for is shown, and none is chosen by the test images.
    """
    from cli.tree_curve import measure_ways, parse_ways, read_controls
    from trunk.ablation import write_rows
    from trunk.curve import curve_table, plot_curve

    ways = parse_ways(beam, threshold)
    loaded = load_tree(request)
    controls = read_controls(record or [], loaded)
    _check_output(output)
    points, busy = measure_ways(loaded, ways)
    points += controls
    stem = output / f"{loaded.dataset}-curve"
    print(f"{write_rows(points, stem.with_suffix('.csv'))} written")
    title = f"{loaded.title}: accuracy against cost, {points[0].images:,} test images"
    _save(partial(plot_curve, points, title), stem)
    _print_table(title + (f"; the machine was busy: {busy}" if busy else ""), curve_table(points))


def _check_output(output: Path) -> None:
    """Make sure that pictures can be written before images are routed for minutes."""
    from harness.records.cell import check_writable

    check_writable(output)


def _save(plot: Callable[[], Figure], stem: Path) -> None:
    """Write a picture as SVG and PNG beside each other."""
    from harness.report.canvas import figure_files, save_figure

    files = figure_files(stem)
    save_figure(plot, files)
    for path in files:
        print(f"{path} written")


def _print_table(title: str, table: Table) -> None:
    """Print a table below its title, which would be broken to the table's width within it."""
    from harness.report.terminal import print_table

    print(f"\n{title}")
    print_table(table, lines=False)


if __name__ == "__main__":
    app()
