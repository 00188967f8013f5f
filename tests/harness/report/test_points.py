"""Accuracy against cost: who is on the front, who is left out, what was published."""

from harness.report.points import (
    COSTS,
    Point,
    group_points,
    measured_points,
    pareto_front,
    published_points,
)

LATENCY, GMACS, SIZE = COSTS


def point(name, cost, accuracy):
    return Point(
        id=name,
        title=name,
        model=name,
        group="",
        cost=cost,
        accuracy=accuracy,
        low=accuracy,
        high=accuracy,
    )


def names(points):
    return [each.id for each in points]


def test_the_front_is_what_no_other_beats():
    points = [
        point("dear and best", 9, 99),
        point("beaten by cheap", 2, 80),
        point("cheap", 1, 90),
        point("as dear, worse", 9, 98),
        point("as good, dearer", 3, 90),
        point("middle", 4, 95),
    ]
    assert names(pareto_front(points)) == ["cheap", "middle", "dear and best"]


def test_equals_are_both_on_the_front():
    points = [point("b", 1, 90), point("a", 1, 90), point("c", 2, 90)]
    assert names(pareto_front(points)) == ["a", "b"]
    assert pareto_front([]) == []


def test_chance_and_gaps_are_no_points(make_run):
    records = [
        make_run("good"),
        make_run("untrained", weights_origin="random"),
        make_run("pretrained", weights_origin="imagenet"),
        make_run("failed", status="failed", accuracy_top1=None),
        make_run("unmeasured", gmacs=None),
        make_run("published", weights_origin="published"),
    ]
    assert names(measured_points(records, GMACS)) == ["digits/good-cpu", "digits/published-cpu"]


def test_times_are_compared_on_one_machine_and_counts_on_all(make_run):
    records = [
        make_run("a", threads=1),
        make_run("b"),
        make_run("c", device="cuda", device_name="a GPU"),
    ]
    assert list(group_points(measured_points(records, LATENCY))) == [
        "a GPU",
        "a processor, 1 thread",
        "a processor, 2 threads",
    ]
    assert list(group_points(measured_points(records, SIZE))) == [""]


def test_an_interval_that_is_not_there_is_no_length(make_run):
    record = make_run(accuracy_top1_low=None, accuracy_top1_high=None)
    (found,) = measured_points([record], LATENCY)
    assert (found.low, found.accuracy, found.high, found.cost) == (90, 90, 90, 4)


def test_published_figures_and_ranges():
    found = {each.cell.model: each for each in published_points("cifar10", GMACS)}
    assert len(found) == 10
    assert (found["resnet"].low, found["resnet"].high, found["resnet"].accuracy) == (
        *(4.13, 4.13),
        85.09,
    )
    assert (found["trunk"].low, found["trunk"].high) == (0.08, 0.09)
    assert published_points("digits", GMACS) == []
