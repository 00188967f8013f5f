"""Which recipe `--recipe` names for each model."""

from __future__ import annotations

from harness.errors import RequestError
from harness.jobs import Request
from harness.registry import expand_names, model_files, split_names


def choose_recipe(request: Request, model: str) -> str:
    """Return the recipe that a request names for a model, or "", the usual one.

    `--recipe efficient` is for all models, `--recipe trunk=efficient,vgg_bn=tuned` for these.

    Raises:
        RequestError: A model that is not known, not asked for, or named twice.
    """
    if "=" not in request.recipe:
        return request.recipe
    asked = expand_names("model", request.models, model_files())
    chosen: dict[str, str] = {}
    for part in split_names("recipe", [request.recipe]):
        name, _, recipe = map(str.strip, part.partition("="))
        if not (name and recipe):
            raise RequestError(f"--recipe '{part}': write MODEL=NAME, or one NAME for all models")
        for each in expand_names("model", [name], model_files()):
            if each not in asked:
                raise RequestError(
                    f"--recipe {part}: {each} is not among --model {','.join(asked)}"
                )
            if each in chosen:
                raise RequestError(f"--recipe {request.recipe}: {each} is named twice")
            chosen[each] = recipe
    return chosen.get(model, "")
