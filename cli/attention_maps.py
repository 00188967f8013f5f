"""Draw where a vision transformer looks: the class token's attention, laid over images."""

from __future__ import annotations

import sys
from functools import partial
from pathlib import Path
from typing import Annotated

import typer
from typer import Option

ROOT = Path(__file__).resolve().parent.parent
sys.path.insert(0, str(ROOT))

from cli import options
from harness.errors import RequestError, exit_on_error
from harness.jobs import Request
from harness.util.offline import go_offline

Model = Annotated[str, Option(help="A model's name: vit, deit, dinov2.")]
ImageFile = Annotated[Path | None, Option("--image", help="A picture, in place of test images.")]
Weights = Annotated[
    str,
    Option(help="auto (those trained for the data set, or imagenet), published, imagenet, random."),
]
# Numbers are texts here: what is wrong with them is explained in one line.
Count = Annotated[str, Option("--images", metavar="NUMBER", help="Test images, drawn by the seed.")]
Layer = Annotated[
    str, Option(metavar="NUMBER", help="The block, from 0; negative: from the last, -1.")
]
Head = Annotated[str, Option(help="mean, or a head's number from 0.")]
Output = Annotated[Path, Option(help="The picture to write, .png or .svg.")]

_MOST_IMAGES = 16


def main(
    model: Model,
    output: Output,
    dataset: options.OneDataset = None,
    image: ImageFile = None,
    weights: Weights = "auto",
    count: Count = "4",
    layer: Layer = "-1",
    head: Head = "mean",
    data_dir: options.DataDir = ROOT / "data",
    data_file: options.DataFile = None,
    weights_dir: options.WeightsDir = ROOT / "weights",
    published_dir: options.PublishedDir = None,
    recipe: options.Recipe = "",
    assignments: options.Assignments = None,
    offline: options.Offline = False,
) -> None:
    """Draw where a vision transformer looks: the class token's attention, laid over images."""
    chosen = None if weights == "auto" else weights
    request = options.make_request({**locals(), "weights": chosen})
    with exit_on_error():
        shares = draw(request, image, count=count, layer=layer, head=head, output=output)
    print(f"{output} written: the patches get {shares} of the class token's attention")


def draw(
    request: Request, image: Path | None, *, count: str, layer: str, head: str, output: Path
) -> str:
    """Draw one layer's attention over images, and return which share of it the patches get."""
    if output.suffix not in (".png", ".svg"):
        raise RequestError(f"--output {output}: a name in .png or .svg wanted")
    images = _number("--images", count)
    if not 1 <= images <= _MOST_IMAGES:
        raise RequestError(f"--images {count}: 1 to {_MOST_IMAGES} wanted")
    index = _number("--layer", layer)
    number = None if head == "mean" else _number("--head", head, "mean or a whole number")

    if request.offline:
        go_offline()
    from cli.attention_source import find_looking
    from harness.networks.attention import attention_layers, attention_maps, class_token_attention
    from harness.report.attention import AttentionPicture, plot_attention
    from harness.report.canvas import save_figure

    looking = find_looking(request, image, images)
    maps = attention_maps(looking.network, looking.inputs, index)
    heads, tokens = maps.shape[1:3]
    if number is not None and not 0 <= number < heads:
        raise RequestError(f"--head {head}: 0 to {heads - 1} or mean wanted")
    patches = class_token_attention(looking.network, maps, looking.inputs.shape[-1])
    patches = patches.mean(1) if number is None else patches[:, number]
    layers = len(attention_layers(looking.network))
    which = f"mean of {heads} heads" if number is None else f"head {number} of 0 to {heads - 1}"
    picture = AttentionPicture(
        title=f"{looking.title}\nblock {index % layers} of 0 to {layers - 1}, {which}",
        images=looking.images.permute(0, 2, 3, 1).numpy(),
        captions=looking.captions,
        shares=patches.numpy(),
        even_share=1 / tokens,
    )
    save_figure(partial(plot_attention, picture), [output])
    each = patches.sum((1, 2))
    return f"{100 * each.min():.0f}–{100 * each.max():.0f}%"


def _number(option: str, text: str, wanted: str = "a whole number") -> int:
    try:
        return int(text)
    except ValueError:
        raise RequestError(f"{option} {text}: {wanted} wanted") from None


if __name__ == "__main__":
    typer.run(main)
