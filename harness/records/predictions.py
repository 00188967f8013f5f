"""The predicted class of each test image, kept in a compact file beside the cell's record."""

from __future__ import annotations

import base64
import hashlib
import zlib
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from harness.errors import RequestError
from harness.records.cell import Record
from harness.records.parts import Positive
from harness.records.store import STRICT, Store

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray


@dataclass(frozen=True, kw_only=True)
class Predictions:
    """The classes that a cell's test images were given, in the order of the images.

    Both texts are base64 of zlib's compression, so that neither numpy nor a pickle is needed.

    Attributes:
        labels_sha256: Digest of the labels as little-endian uint16.
        classes: The class of each as little-endian uint16, compressed.
        right: A bit for each image, 1 where the class is its label, the first image in the lowest
            bit of the first byte; compressed.
    """

    __pydantic_config__ = STRICT

    schema: Literal[1] = 1
    images: Positive
    labels_sha256: str
    classes: str
    right: str

    @cached_property
    def sha256(self) -> str:
        """Digest of the classes, and of which of them are right."""
        return hashlib.sha256(_unpack(self.classes) + _unpack(self.right)).hexdigest()

    @cached_property
    def right_bits(self) -> int:
        """A number whose bit i is set where image i was classified rightly."""
        return int.from_bytes(_unpack(self.right), "little")

    @property
    def right_array(self) -> NDArray[np.bool_]:
        """Whether each image was classified rightly, booleans N."""
        import numpy as np

        packed = np.frombuffer(_unpack(self.right), np.uint8)
        return np.unpackbits(packed, count=self.images, bitorder="little").astype(bool)


PREDICTIONS = Store(kind="file of predictions", cls=Predictions, schema=Predictions.schema)
"""The predictions beside the records of a results folder, at their `predictions_place`."""


def make_predictions(classes: NDArray[np.uint16], labels: NDArray[np.int64]) -> Predictions:
    """Return the predictions of N test images, by their predicted classes and their labels."""
    import numpy as np

    right = np.packbits(classes == labels, bitorder="little")
    return Predictions(
        images=len(labels),
        labels_sha256=hashlib.sha256(labels.astype("<u2").tobytes()).hexdigest(),
        classes=_pack(classes.astype("<u2").tobytes()),
        right=_pack(right.tobytes()),
    )


def predictions_place(dataset: str, stem: str) -> Path:
    """Return where the predictions of the record of that name lie below a results folder."""
    return Path("predictions") / dataset / f"{stem}.json"


def find_predictions(results: Path, record: Record) -> tuple[Predictions | None, str]:
    """Return the predictions of a record, or None and why there are none that can be used."""
    digests = (record.accuracy.predictions_sha256, record.accuracy.test_labels_sha256)
    if digests[0] is None:
        return None, "it was made before predictions were kept"
    path = results / predictions_place(record.cell.dataset, record.stem)
    if not path.exists():
        return None, "its predictions are not there"
    try:
        found = PREDICTIONS.read(path)
        digest = found.sha256
    except (RequestError, ValueError, zlib.error):
        return None, f"predictions/{record.cell.dataset}/{path.name} is damaged"
    if (digest, found.labels_sha256) != digests:
        return None, "the predictions beside it are those of another run"
    return found, ""


def _pack(values: bytes) -> str:
    return base64.b64encode(zlib.compress(values, 9)).decode("ascii")


def _unpack(text: str) -> bytes:
    return zlib.decompress(base64.b64decode(text, validate=True))
