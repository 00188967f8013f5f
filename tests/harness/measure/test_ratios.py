"""Ratios, their intervals and reruns on a clock that only the networks move."""

import numpy as np
import pytest
import torch

from harness.errors import RequestError
from harness.measure import latency
from harness.measure.latency import in_turn
from harness.measure.ratios import Rounds, compare_latency, measure_drift, time_side_by_side

IMAGE = torch.zeros(1, 1, 2, 2)
UNTIMED_MS = 7


class Candidate:
    """Its timed calls take what `time_ms` says of their round, counted over all reruns."""

    def __init__(self, clock, time_ms):
        self.clock, self.time_ms = clock, time_ms
        self.calls = 0

    def __call__(self, _image):
        timed = self.calls % 2
        milliseconds = self.time_ms(self.calls // 2) if timed else UNTIMED_MS
        self.clock.now_ns += round(milliseconds * 1e6)
        self.calls += 1


def run(clock, *, rounds=30, seconds=1e9, seed=0, reference="base", **times_ms):
    """Return the rounds of one process, and the networks."""
    networks = {name: Candidate(clock, time_ms) for name, time_ms in times_ms.items()}
    examples = dict.fromkeys(networks, IMAGE)
    found = time_side_by_side(
        networks, examples, reference=reference, rounds=rounds, seconds=seconds, seed=seed
    )
    return found, networks


def compare(clock, *, seed=0, **options):
    """Return the ratios that one process finds, and the networks."""
    found, networks = run(clock, seed=seed, **options)
    return compare_latency([found], reference="base", seed=seed), networks


def steady(milliseconds):
    return lambda _: milliseconds


def noisy(milliseconds, seed):
    drawn = np.random.default_rng(seed).lognormal(np.log(milliseconds), 0.02, 1000)
    return lambda index: float(drawn[index])


def test_a_drift_that_all_share_cancels(clock):
    # 3% up over the rounds, and a round in three at twice the time
    def pace(index):
        return (1 + 0.001 * index) * (2 if index % 3 == 1 else 1)

    found, _ = compare(clock, base=lambda i: 4 * pace(i), fast=pace, slow=lambda i: 6 * pace(i))
    ratios = {name: (r.ratio_low, r.ratio, r.ratio_high) for name, r in found.items()}
    assert ratios["base"] == (1, 1, 1)
    assert ratios["fast"] == pytest.approx((0.25,) * 3, abs=1e-5)
    assert ratios["slow"] == pytest.approx((1.5,) * 3, abs=1e-5)
    assert found["slow"].latency.latency_ms_p95 > 1.9 * 6


def test_the_ratio_is_the_median_of_ratios_not_the_ratio_of_medians(clock):
    # ratios by round 1, 2, 3, 1, 2, 3, ...; medians 20 and 30
    base = lambda index: (30, 10, 20)[index % 3]  # noqa: E731
    other = lambda index: (30, 20, 60)[index % 3]  # noqa: E731
    found, _ = compare(clock, base=base, other=other)
    assert found["other"].ratio == 2
    assert found["other"].latency.latency_ms_p50 == 30
    assert found["base"].latency.latency_ms_p50 == 20


def test_times_are_kept_beside_the_ratios(clock):
    found, networks = compare(clock, base=steady(4), other=steady(3), rounds=25)
    assert found["other"].latency.latency_ms_p50 == 3
    assert found["other"].latency.latency_rounds == 25
    assert {network.calls for network in networks.values()} == {50}


def test_rounds_end_with_the_time(clock):
    # a round takes 2 × 7 + 4 + 3 = 21 ms: the 24th is the first that ends after 500 ms
    found, _ = compare(clock, base=steady(4), other=steady(3), seconds=0.5)
    assert found["base"].latency.latency_rounds == 24


def test_the_interval_holds_the_median_and_follows_from_the_seed(clock):
    times = {"base": noisy(10, 1), "other": noisy(13, 2)}
    found, _ = compare(clock, **times, seed=5, rounds=60)
    other = found["other"]
    assert other.ratio_low < other.ratio < other.ratio_high
    assert other.ratio == pytest.approx(1.3, rel=0.02)
    # about ±1.96 · 1.2533 σ/√n, with σ that of a ratio of two such times
    width = 2 * 1.96 * 1.2533 * 0.02 * 2**0.5 * 1.3 / 60**0.5
    assert width / 2 < other.ratio_high - other.ratio_low < width * 2

    again, _ = compare(clock, **times, seed=5, rounds=60)
    assert again["other"] == other
    seeded = [compare(clock, **times, seed=s, rounds=60)[0]["other"] for s in range(5)]
    assert {ratio.ratio for ratio in seeded} == {other.ratio}
    assert len({ratio.ratio_low for ratio in seeded}) > 1


def test_the_interval_is_that_of_the_bootstrap(clock):
    found, _ = compare(clock, base=steady(10), other=noisy(13, 2), rounds=401)
    other, pace = found["other"], noisy(13, 2)
    values = np.array([round(pace(index) * 1e6) / 1e7 for index in range(401)])
    generator = np.random.default_rng(99)
    medians = np.median(generator.choice(values, (10_000, 401)), axis=1)
    assert other.ratio == pytest.approx(np.median(values))
    # Medians are some of few values, so that an end may be one of them.
    hair = 1e-9
    for outside, with_the_end in (
        (medians < other.ratio_low - hair, medians < other.ratio_low + hair),
        (medians > other.ratio_high + hair, medians > other.ratio_high - hair),
    ):
        assert outside.mean() < 0.03
        assert with_the_end.mean() > 0.02


@pytest.mark.parametrize(
    ("times_ms", "drift"),
    [
        ([10] * 21, 0),
        ([10] * 7 + [99] * 7 + [12] * 7, 0.2),
        ([10] * 7 + [99] * 7 + [8] * 7, 0.2),
        # one slow call does not make a drift: medians
        ([10] * 14 + [10, 10, 500, 10, 10, 10, 10], 0),
        # 20 rounds have thirds of six
        ([10] * 6 + [20] * 8 + [11] * 6, 0.1),
    ],
)
def test_drift_is_from_the_first_third_to_the_last(times_ms, drift):
    assert measure_drift(times_ms) == pytest.approx(drift)


def step(at, before, after):
    """Return times that change for good in one round, counted over all reruns."""
    return lambda index: before if index < at else after


@pytest.mark.parametrize(
    ("base", "rounds_run", "reruns", "drift"),
    [
        (steady(100), 30, 0, 0),
        (step(15, 100, 104.9), 30, 0, 0.049),
        (step(15, 100, 106), 60, 1, 0),
        (step(15, 100, 94), 60, 1, 0),
        # in the middle of the first and of the second 30 rounds
        (lambda i: (100, 110, 130)[(i + 15) // 30] if i < 60 else 130, 90, 2, 0),
        # 1% more each round, until the end
        (lambda i: 100 * 1.01**i, 90, 2, 1.01**20 - 1),
    ],
)
def test_all_is_timed_again_while_the_reference_drifts(clock, base, rounds_run, reruns, drift):
    found, networks = run(clock, base=base, other=steady(50))
    assert {network.calls // 2 for network in networks.values()} == {rounds_run}
    assert found.reruns == reruns
    assert found.drift == pytest.approx(drift, abs=1e-6)
    assert {len(times) for times in found.times_ms.values()} == {30}


def test_figures_are_of_the_last_rounds_alone(clock):
    found, _ = compare(clock, base=step(15, 100, 200), other=steady(50))
    assert found["base"].latency.latency_ms_p05 == 200
    assert found["other"].ratio == 0.25


def test_only_the_references_drift_counts(clock):
    found, networks = run(clock, base=steady(100), other=step(15, 50, 100))
    assert (found.reruns, found.drift) == (0, 0)
    assert networks["other"].calls == 60


def test_an_unknown_reference(clock):
    with pytest.raises(RequestError, match=r"reference vit is not among \['base', 'other'\]"):
        run(clock, base=steady(1), other=steady(1), reference="vit")


def test_too_few_rounds(clock):
    with pytest.raises(RequestError, match="at least 20 rounds, not 19"):
        run(clock, base=steady(1), rounds=19)


def process(other, base=10.0, **changes):
    """Return the rounds of a process: the reference takes 10 ms unless told otherwise."""
    base = [base] * len(other) if isinstance(base, float) else base
    fields = {"times_ms": {"base": base, "other": other}, "on_gpu": False}
    return Rounds(**(fields | {"drift": 0.0, "reruns": 0} | changes))


def test_the_ratio_is_the_median_of_the_processes(clock):
    slow = process([30.0] * 25, base=20.0)
    found = compare_latency(
        [process([11.0, 12.0, 40.0]), process([13.0] * 20), slow], reference="base", seed=0
    )
    other = found["other"]
    assert other.by_process == (1.2, 1.3, 1.5)
    assert other.ratio == 1.3
    assert found["base"].by_process == (1, 1, 1)
    assert (found["base"].ratio, found["base"].ratio_low, found["base"].ratio_high) == (1, 1, 1)
    # Times are those of all calls together: 3 + 20 + 25.
    assert other.latency.latency_rounds == 48
    assert other.latency.latency_ms_p50 == 30
    assert other.latency.latency_ms_p05 == 13
    assert other.latency.latency_ms_p99 == pytest.approx(30 + 0.53 * 10)
    assert found["base"].latency.latency_ms_p50 == 20


@pytest.mark.parametrize(
    ("biases", "ratio", "low", "high"),
    [
        ([1.0] * 5, 1.0, 1.0, 1.0),
        ([1.0, 1.2], 1.1, 1.0, 1.2),
        # Of 27 draws of three out of three, seven have the lowest twice or more.
        ([0.9, 1.0, 1.2], 1.0, 0.9, 1.2),
        # Of 3125 draws of five out of five, the lowest is the median in 181 (5.8%), and so on.
        ([0.8, 0.9, 1.0, 1.1, 1.2], 1.0, 0.8, 1.2),
        # ... and one of nine hardly ever is the median, so that the interval leaves it out.
        ([0.5, *[1.0] * 7, 2.0], 1.0, 1.0, 1.0),
    ],
)
def test_the_bias_of_a_process_is_averaged_and_within_the_interval(biases, ratio, low, high):
    """Rounds of a process agree, so that a process is all that there is to draw."""
    processes = [process([10.0 * bias] * 20) for bias in biases]
    other = compare_latency(processes, reference="base", seed=0)["other"]
    assert (other.ratio, other.ratio_low, other.ratio_high) == pytest.approx((ratio, low, high))


def test_a_shared_slowness_of_a_process_is_no_bias():
    processes = [process([4.0 * pace] * 20, base=8.0 * pace) for pace in (1.0, 1.3, 2.0)]
    other = compare_latency(processes, reference="base", seed=0)["other"]
    assert (other.ratio, other.ratio_low, other.ratio_high) == (0.5, 0.5, 0.5)


@pytest.mark.parametrize(("count", "least"), [(1, 0.1), (3, 0.72), (5, 0.85)])
def test_how_often_the_interval_holds_the_truth(count, least):
    """Biases of 5%, as with two threads; one process knows nothing of them."""
    random = np.random.default_rng(count)
    held = []
    for trial in range(100):
        biases = random.lognormal(0, 0.05, count)
        noise = random.lognormal(0, 0.04, (count, 20))
        processes = [process([*row]) for row in 10 * biases[:, None] * noise]
        other = compare_latency(processes, reference="base", seed=trial)["other"]
        held.append(other.ratio_low <= 1 <= other.ratio_high)
    assert least < np.mean(held) < (0.5 if count == 1 else 1.0)


def test_several_processes_vary_less_than_one():
    random = np.random.default_rng(0)
    ratios = {1: [], 5: []}
    for count, found in ratios.items():
        for _ in range(200):
            processes = [process([bias] * 20) for bias in 10 * random.lognormal(0, 0.05, count)]
            found.append(compare_latency(processes, reference="base", seed=0)["other"].ratio)
    # For the median of five normal values, 0.536 of the deviation of one.
    assert np.std(ratios[1]) == pytest.approx(0.05, rel=0.15)
    assert np.std(ratios[5]) == pytest.approx(0.05 * 0.536, rel=0.15)


def test_what_one_process_could_not_time_is_left_out():
    one = process([12.0] * 20)
    other = process([12.0] * 20, times_ms={"base": [10.0] * 20})
    assert [*compare_latency([one, other], reference="base", seed=0)] == ["base"]


def test_images_come_in_turn_each_untimed_then_timed():
    seen = []
    call = in_turn(seen.append, torch.arange(3.0).view(3, 1, 1, 1))
    for _ in range(8):
        call(torch.full((1, 1, 1, 1), 9.0))
    assert [image.item() for image in seen] == [0, 0, 1, 1, 2, 2, 0, 0]
    assert {tuple(image.shape) for image in seen} == {(1, 1, 1, 1)}


def test_images_in_turn_hand_on_what_the_network_returns():
    call = in_turn(lambda image: image.sum(), torch.ones(2, 1, 2, 2))
    assert call(IMAGE) == 4


def test_a_gpus_warm_up_leaves_images_in_step(clock, monkeypatch):
    """Each timed call sees the image of the untimed one before, however long the warm-up was."""

    class OnGpu(torch.Tensor):
        is_cuda = True

    seen, timed = [], []

    def network(image):
        clock.now_ns += 400_000_000  # three single calls are a warm-up of a second
        seen.append(image.item())

    def time_call(network, example):
        network(example)
        timed.append(len(seen) - 1)
        return 1.0

    monkeypatch.setattr(latency, "_time_call_ms", time_call)
    call = in_turn(network, torch.arange(5.0).view(5, 1, 1, 1))
    latency.time_rounds(
        {"n": call}, {"n": torch.zeros(1).as_subclass(OnGpu)}, rounds=20, seconds=1, seed=0
    )
    assert len(seen) - 2 * 20 > 0
    assert all(seen[index] == seen[index - 1] for index in timed[-20:])
