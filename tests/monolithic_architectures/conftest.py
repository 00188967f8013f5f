"""Networks of the families, built by name, and their weights."""

import torch

from monolithic_architectures import create_model


def build(name, **options):
    return create_model({"architecture": name, **options})


def build_meta(name, **options):
    with torch.device("meta"):
        return build(name, **options)


def count(parameters):
    return sum(parameter.numel() for parameter in parameters)


def changed(network, donor):
    state = network.state_dict()
    assert set(state) == set(donor)
    return {key for key in donor if not torch.equal(state[key], donor[key])}
