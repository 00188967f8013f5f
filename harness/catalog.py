"""Load the specification of a model by name; that of a compressed model is made from its base."""

from __future__ import annotations

from harness.errors import RequestError
from harness.registry import load_spec, model_files
from harness.spec import CompressedSpec, ModelSpec


def load_model(name: str) -> ModelSpec:
    """Import a model's file and return its SPEC; of a compressed model, what that comes to.

    Raises:
        RequestError: No such model, or its file cannot be imported or has no SPEC.
    """
    spec = load_spec("model", name, model_files())
    if isinstance(spec, ModelSpec):
        return spec
    if not isinstance(spec, CompressedSpec):
        raise RequestError(
            f"model '{name}': SPEC in its model.py is not a ModelSpec or CompressedSpec"
        )
    # Imported here because it is slow to import and most models do not need it.
    from harness.compression.models import compressed_model

    base = load_spec(f"base of {name}", spec.base, model_files())
    quantizes = isinstance(base, ModelSpec) and base.quantize and spec.compression == "quantization"
    if not isinstance(base, ModelSpec) or (base.fit is not None and not quantizes):
        raise RequestError(
            f"model '{name}': its base {spec.base} is not trained the common way, and only such "
            "models can be compressed"
        )
    return compressed_model(spec, base)
