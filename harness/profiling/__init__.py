"""What can be said of a network from its graph alone: no weights, no data, nothing computed."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from torch import nn

    from harness.profiling.layers import Profile
    from harness.profiling.recording import Inputs


def profile(module: nn.Module, example_inputs: Inputs, **options: Any) -> Profile:
    """Count one forward pass of a module, without running it and without copying its weights.

    >>> from torch import nn, zeros
    >>> profile(nn.Conv2d(3, 8, 3), zeros(1, 3, 10, 10)).metrics.gmacs * 1e9
    13824.0

    Args:
        module: Any module; it is counted in evaluation mode and stays as it is.
        example_inputs: One tensor, a tuple of positional arguments, or arguments by name; only
            shapes and types of tensors matter.
        options: `accounting`, `precision`, `roof` or `training` of
            `harness.profiling.request.Options`.

    Returns:
        Its `metrics`, its `graph`, and its `layers()`.

    Raises:
        CellError: The module cannot be run without values, or not on such inputs.
        RequestError: An option is unknown or has a wrong value.
    """
    import torch
    from torch.utils._pytree import tree_map_only

    from harness.measure.networks import meta_copy
    from harness.profiling.analysis import profile_network
    from harness.profiling.request import Options, parse_options

    inputs = tree_map_only(torch.Tensor, lambda tensor: tensor.to("meta"), example_inputs)
    return profile_network(meta_copy(module), inputs, parse_options(options, Options))
