"""Re-parameterised networks: the form that is trained, and the smaller one that is deployed.

RepVGG, MobileOne, FastViT, GhostNetV3 and others train several branches that are one convolution in
use (Ding et al., "RepVGG", CVPR 2021). Modules of such networks have one of three methods by which
timm, too, knows them.
"""

from __future__ import annotations

import torch
from torch import nn

_METHODS = ("fuse", "reparameterize", "switch_to_deploy")


def has_deployed_form(network: nn.Module) -> bool:
    """Return whether a network is made to be re-parameterised before it is used."""
    parts = (part for part in network.modules() if part is not network)
    return any(callable(getattr(part, name, None)) for part in parts for name in _METHODS)


def deploy(network: nn.Module, *, inplace: bool = False) -> nn.Module:
    """Return the form of a network in evaluation mode that is deployed; `inplace` changes it."""
    from timm.utils import reparameterize_model

    device = next((p.device for p in network.parameters()), torch.device("cpu"))
    with torch.no_grad(), device:
        deployed: nn.Module = reparameterize_model(network, inplace=inplace)
    return deployed.eval()
