"""The published tables, and what of ours was counted at the same shapes."""

from harness.reproduction.published import published_costs


def test_counts_are_those_of_the_published_size(make_cost):
    costs = [make_cost(image_size=size) for size in (32, 224, 256)]
    assert published_costs(costs)["resnet"].image_size == 224
    assert published_costs(costs[:1]) == {}
    ours = [make_cost(dataset="digits", image_size=size) for size in (64, 32)]
    assert published_costs(ours)["resnet"].image_size == 64
