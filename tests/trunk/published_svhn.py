"""A small tree in the published layout: the SVHN maps, which have the published digests."""

import json

import torch

from trunk.nodes import build_node
from trunk.tree import NodeNetwork

SVHN_GROUPS = ((0, 6, 8, 9), (1,), (2,), (3, 5), (4,), (7,))
SVHN_INPUTS = {
    "root": ([3, 32, 32], 6),
    "sg1": ([32, 40, 40], 4),
    "sg2": ([], 1),
    "sg9": ([], 1),
    "sg11": ([], 1),
    "sg12": ([], 1),
    "sg3": ([32, 40, 40], 1),
    "sg4": ([32, 40, 40], 1),
    "sg5": ([32, 40, 40], 2),
    "sg6": ([48, 52, 52], 1),
    "sg8": ([48, 52, 52], 1),
    "sg7": ([32, 40, 40], 1),
    "sg10": ([32, 40, 40], 1),
}


def write_json(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value, indent=4), encoding="utf-8")


def write_svhn(root, wrapped=False):
    """Write a tree in the published layout: the SVHN maps, random weights."""
    folder = root / "svhn" / "mobilenet" / "0.7"
    places = {
        label: [index, group.index(label) if len(group) > 1 else -1, -1]
        for index, group in enumerate(SVHN_GROUPS)
        for label in group
    }
    write_json(folder / "target_map.json", {str(label): places[label] for label in range(10)})
    write_json(folder / "model_weights" / "inputs_to_models.json", SVHN_INPUTS)
    (folder / "model_softmax").mkdir()
    write_node(folder, "root", SVHN_GROUPS, wrapped)
    write_node(folder, "sg1", ((0,), (1,), (2,), (3,)), wrapped)
    write_node(folder, "sg5", ((0,), (1,)), wrapped)
    return folder


def write_node(folder, name, groups, wrapped):
    numbered = {f"Group {number}": group for number, group in enumerate(groups, start=1)}
    write_json(folder / f"{name}_supergroups.json", numbered)
    likelihood = torch.eye(sum(map(len, groups)))
    torch.save(likelihood, folder / "model_softmax" / f"{name}_avg_softmax.pt")
    network = NodeNetwork(
        backbone="mobilenet",
        layers="root" if name == "root" else "other",
        input_shape=tuple(SVHN_INPUTS[name][0]),
        outputs=len(groups),
    )
    state = build_node(network).state_dict()
    state = {"epoch": 3, "model_state_dict": state} if wrapped else state
    torch.save(state, folder / "model_weights" / f"{name}.pt")
