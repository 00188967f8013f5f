"""Depth, levels, chains and widths of graphs drawn by hand."""

from harness.profiling.graph import Graph


def diamond(make_operator):
    """One operator, two beside each other, one that waits for both."""
    return Graph(
        operators=(
            make_operator(flops=1, channels=8),
            make_operator(flops=10, predecessors=(0,), channels=32),
            make_operator(flops=100, predecessors=(0,)),
            make_operator(flops=5, predecessors=(1, 2), channels=1000),
        ),
        results=frozenset([3]),
    )


def test_levels_depth_and_the_heaviest_chain(make_operator):
    graph = diamond(make_operator)
    assert graph.levels == (1, 2, 2, 3)
    assert graph.depth == 3
    assert graph.critical_flops == 106


def test_the_width_leaves_out_the_last_layers(make_operator):
    assert diamond(make_operator).max_width == 32
    pooled = (make_operator(predecessors=(3,)), make_operator(predecessors=(4, 1)))
    operators = (*diamond(make_operator).operators, *pooled)
    # The second operator leads to the result past the last layer, too.
    assert Graph(operators=operators, results=frozenset([5])).max_width == 8
    assert Graph(operators=(make_operator(channels=7),), results=frozenset([0])).max_width is None


def test_an_empty_graph():
    graph = Graph(operators=(), results=frozenset())
    assert (graph.depth, graph.critical_flops, graph.max_width) == (0, 0, None)


def test_traffic_and_intensity_of_an_operator(make_operator):
    operator = make_operator(flops=60, input_bytes=4, output_bytes=8, weight_bytes=18)
    assert (operator.traffic_bytes, operator.intensity) == (30, 2.0)
    assert make_operator(flops=60).intensity == 0.0
