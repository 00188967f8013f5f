"""Event files, read by TensorBoard's own reader: whole curves, whatever happened on the way."""

import json

import pytest
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.summary.writer import event_file_writer

from harness.networks.weights_files import tracking_path, unfinished_path
from harness.records.cell import CELLS
from harness.run.provision import ready_network
from harness.tracking.adapters import TensorBoard
from harness.tracking.run import open_tracker
from tests.records import cell_record

from .conftest import SPEC, STAGED


@pytest.fixture(autouse=True)
def _names_in_order(monkeypatch):
    # Readers go by the names of event files: time in seconds, host, process and a count. The runs
    # of these tests share all but the count, which is to be as long for each.
    monkeypatch.setattr(event_file_writer, "_global_uid", event_file_writer.AtomicCounter(1000))


def the_run(job):
    (folder,) = (job.runs_dir / "emnist-net").iterdir()
    return folder


def read(folder):
    reader = EventAccumulator(str(folder), size_guidance={"tensors": 0})
    reader.Reload()
    return reader


def curve(job, name):
    return [(event.step, event.value) for event in read(the_run(job)).Scalars(name)]


def text(reader, name):
    return [e.tensor_proto.string_val[0].decode() for e in reader.Tensors(f"{name}/text_summary")]


def expected(logs, key):
    return [(step, pytest.approx(log[key], rel=1e-6)) for step, log in enumerate(logs, start=1)]


def test_a_run_has_curves_results_parameters_lines_and_pictures(make_job, run, pictures):
    job = make_job("tensorboard")
    logs = run(job).logs
    for key in ("loss", "accuracy", "learning_rate", "seconds"):
        assert curve(job, f"train/{key}") == expected(logs, key)
    assert curve(job, "test/accuracy_top1") == [(4, 87.5)]
    assert curve(job, "cost/latency_ms_p50") == [(4, 1.25)]
    assert the_run(job).name.endswith("-seed42")
    reader = read(the_run(job))
    assert "cost/energy_j_per_image" not in reader.Tags()["scalars"]
    assert "| training.epochs | 4 |" in text(reader, "parameters")[0]
    assert "| a |" not in text(reader, "parameters")[0]
    assert f"| weights | {job.weights_dir}" in text(reader, "facts")[0]
    assert [line[:26] for line in text(reader, "log")] == [
        f"emnist/net-cpu: epoch {epoch}/4:" for epoch in (1, 2, 3, 4)
    ]
    assert (the_run(job) / "log.txt").read_text().splitlines() == text(reader, "log")
    assert reader.Tags()["images"] == ["figures/net-cpu-training"]
    assert "_hparams_/session_start_info" in reader.summary_metadata


@pytest.mark.parametrize("epoch", [1, 2, 4])
def test_a_continued_run_goes_on_with_its_curves(make_job, run, interrupt, epoch):
    job = make_job("tensorboard")
    interrupt(epoch)
    with pytest.raises(KeyboardInterrupt):
        run(job)
    logs = run(job).logs
    assert curve(job, "train/loss") == expected(logs, "loss")
    assert curve(job, "train/seconds") == expected(logs, "seconds")
    assert curve(job, "test/accuracy_top1") == [(4, 87.5)]
    assert len(text(read(the_run(job)), "parameters")) == 1


def test_an_epoch_that_was_written_but_not_noted_is_not_doubled(make_job, run, interrupt, data):
    job = make_job("tensorboard")
    interrupt(4)
    with pytest.raises(KeyboardInterrupt):
        run(job)
    noted = tracking_path(unfinished_path(job, data.source.sha256))
    progress = json.loads(noted.read_text())
    assert progress["epochs"] == {"tensorboard": 3}
    # As if the process had been killed between the two.
    noted.write_text(json.dumps(progress | {"epochs": {"tensorboard": 2}}))
    logs = run(job).logs
    assert curve(job, "train/loss") == expected(logs, "loss")
    assert not noted.exists()


def test_one_that_is_killed_while_it_starts_keeps_its_name(make_job, run, monkeypatch):
    job, begin = make_job("tensorboard"), TensorBoard.start

    def killed(self):
        begin(self)
        raise KeyboardInterrupt

    monkeypatch.setattr(TensorBoard, "start", killed)
    with pytest.raises(KeyboardInterrupt):
        run(job)
    monkeypatch.setattr(TensorBoard, "start", begin)
    logs = run(job).logs
    assert curve(job, "train/loss") == expected(logs, "loss")


@pytest.mark.parametrize("noted", ["", "{", '{"other": 1}', "[]"])
def test_a_note_of_no_use_begins_a_new_run(make_job, run, interrupt, data, noted):
    job = make_job("tensorboard")
    interrupt(3)
    with pytest.raises(KeyboardInterrupt):
        run(job)
    tracking_path(unfinished_path(job, data.source.sha256)).write_text(noted)
    first = the_run(job)
    logs = run(job).logs
    (second,) = set((job.runs_dir / "emnist-net").iterdir()) - {first}
    curve = [(event.step, event.value) for event in read(second).Scalars("train/loss")]
    assert curve == expected(logs, "loss")


def test_every_stage_has_its_curves_one_after_the_other(make_job, run, monkeypatch):
    job = make_job("tensorboard")
    logs = run(job, STAGED).logs
    assert [log["stage"] for log in logs] == ["first"] * 4 + ["second"] * 4
    whole = expected(logs, "loss")
    assert curve(job, "train/first/loss") == whole[:4]
    assert curve(job, "train/second/loss") == whole[4:]
    assert curve(job, "test/accuracy_top1") == [(8, 87.5)]


def test_a_continued_training_in_stages_goes_on_with_its_curves(make_job, run, monkeypatch):
    from harness.training.stages import ImageBatches

    job, whole = make_job("tensorboard"), ImageBatches.epoch
    seen = []

    def epoch(self, number, first_step):
        seen.append(number)
        if len(seen) == 6:
            raise KeyboardInterrupt
        return whole(self, number, first_step)

    monkeypatch.setattr(ImageBatches, "epoch", epoch)
    with pytest.raises(KeyboardInterrupt):
        run(job, STAGED)
    logs = run(job, STAGED).logs
    assert seen == [1, 2, 3, 4, 1, 2, 2, 3, 4]
    assert curve(job, "train/first/loss") == expected(logs, "loss")[:4]
    assert curve(job, "train/second/loss") == expected(logs, "loss")[4:]


def test_runs_that_are_repeated_do_not_mix(make_job, run):
    job = make_job("tensorboard")
    run(job)
    (job.weights_dir / "emnist").rename(job.weights_dir / "kept")
    run(job)
    folders = list((job.runs_dir / "emnist-net").iterdir())
    assert len(folders) == 2
    for folder in folders:
        assert [event.step for event in read(folder).Scalars("train/loss")] == [1, 2, 3, 4]


def test_weights_that_are_there_leave_a_run_without_curves(make_job, run):
    run(make_job())
    job = make_job("tensorboard")
    assert not job.runs_dir.exists()
    run(job)
    assert "train/loss" not in read(the_run(job)).Tags()["scalars"]
    assert curve(job, "test/accuracy_top1") == [(0, 87.5)]


def test_a_network_that_is_not_trained_has_results(make_job, run):
    job = make_job("tensorboard", weights="random")
    run(job)
    assert curve(job, "test/accuracy_top1") == [(0, 87.5)]
    assert "| weights |" not in text(read(the_run(job)), "facts")[0]
    assert not job.weights_dir.exists()


def test_a_cell_that_broke_before_it_began_says_so(make_job):
    job = make_job("tensorboard")
    record = cell_record(
        dataset="emnist", model="net", label="Net", device="cpu", status="failed", reason="no room"
    )
    with open_tracker(job) as tracker:
        tracker.log_record(record, CELLS.write(job.results_dir, record))
    assert "| reason | no room |" in text(read(the_run(job)), "facts")[0]


def test_a_trained_cell_that_was_not_recorded_goes_on_with_its_run(make_job, run, data):
    job = make_job("tensorboard")
    with pytest.raises(KeyboardInterrupt), open_tracker(job) as tracker:  # noqa: PT012
        tracker.begin({"data_sha256": data.source.sha256})
        ready_network(job, SPEC, data, tracker)
        raise KeyboardInterrupt
    logs = run(job).logs
    assert curve(job, "train/loss") == expected(logs, "loss")
    assert [value for _, value in curve(job, "test/accuracy_top1")] == [87.5]


def test_a_request_that_is_refused_before_training_leaves_nothing(make_job, data):
    job = make_job("tensorboard")
    with pytest.raises(ValueError, match="refused"), open_tracker(job) as tracker:  # noqa: PT012
        tracker.begin({"data_sha256": data.source.sha256})
        raise ValueError("refused")
    assert not job.runs_dir.exists()
