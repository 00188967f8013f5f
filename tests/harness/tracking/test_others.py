"""MLflow, ML-Dash, Weights & Biases and what accelerate has besides, in their local stores."""

import json
import shutil
import time

import pytest
from accelerate.tracking import LOGGER_TYPE_TO_CLASS, GeneralTracker

from harness.networks.weights_files import trained_weights_path


def read_mlflow(job):
    """Return status, loss curve, results, parameters, tags and files of the only run."""
    client_of = pytest.importorskip("mlflow").MlflowClient
    client = client_of(f"sqlite:///{job.runs_dir / 'mlflow.db'}")
    (experiment,) = client.search_experiments(filter_string="name = 'emnist-net'")
    (run,) = client.search_runs([experiment.experiment_id])
    history = client.get_metric_history(run.info.run_id, "train/loss")
    return {
        "status": run.info.status,
        "loss": sorted((metric.step, metric.value) for metric in history),
        "accuracy": run.data.metrics.get("test/accuracy_top1"),
        "parameters": run.data.params,
        "facts": run.data.tags,
        "files": {file.path for file in client.list_artifacts(run.info.run_id)},
    }


def read_ml_dash(job):
    (folder,) = job.runs_dir.glob("ml-dash/*/emnist-net/*")
    points = [json.loads(line) for line in (folder / "metrics/train/data.jsonl").open()]
    results = folder / "metrics/test/data.jsonl"
    parameters = json.loads((folder / "parameters.json").read_text())["data"]
    return {
        "loss": [(point["data"]["step"], point["data"]["loss"]) for point in points],
        "accuracy": json.loads(results.read_text())["data"]["accuracy_top1"],
        "parameters": {name: str(value) for name, value in parameters.items()},
        "facts": {name.removeprefix("facts."): value for name, value in parameters.items()},
        "files": {path.name for path in folder.glob("files/*/*")},
        "lines": [json.loads(line)["message"] for line in (folder / "logs/logs.jsonl").open()],
    }


READERS = {"mlflow": read_mlflow, "ml-dash": read_ml_dash}


@pytest.fixture(scope="module")
def mlflow_tables(tmp_path_factory):
    """A database with MLflow's tables, which take longer to make than all that is tested here."""
    mlflow = pytest.importorskip("mlflow")
    file = tmp_path_factory.mktemp("mlflow") / "mlflow.db"
    mlflow.MlflowClient(f"sqlite:///{file}").search_experiments()
    return file


@pytest.fixture
def mlflow_job(make_job, mlflow_tables, monkeypatch):
    """A job that is tracked by MLflow, which no earlier test has told where to write."""
    pytest.importorskip("mlflow").set_tracking_uri(None)
    monkeypatch.delenv("MLFLOW_TRACKING_URI", raising=False)

    def make(**changes):
        job = make_job("mlflow", **changes)
        job.runs_dir.mkdir()
        shutil.copy(mlflow_tables, job.runs_dir)
        return job

    return make


@pytest.fixture(params=READERS)
def job(request, make_job):
    pytest.importorskip(request.param.replace("-", "_"))
    return (
        request.getfixturevalue("mlflow_job")()
        if request.param == "mlflow"
        else make_job(request.param)
    )


def test_a_run_has_curves_results_parameters_and_files(job, run, data, capsys, pictures):
    logs = run(job).logs
    found = READERS[job.trackers[0]](job)
    assert found["loss"] == [(log["epoch"], log["loss"]) for log in logs]
    assert found["accuracy"] == 87.5
    assert found["parameters"]["training.epochs"] == "4"
    assert found["facts"]["status"] == "ok"
    weights = trained_weights_path(job, data.source.sha256)
    assert found["facts"]["weights"] == str(weights)
    wanted = {weights.name, "net-cpu.json", "net-cpu-training.png", "log.txt"}
    assert wanted <= found["files"]
    # What was handed over is still where it was.
    assert weights.exists()
    assert capsys.readouterr().out == ""


def test_a_continued_run_goes_on_with_its_curves(job, run, interrupt):
    interrupt(3)
    with pytest.raises(KeyboardInterrupt):
        run(job)
    logs = run(job).logs
    found = READERS[job.trackers[0]](job)
    assert found["loss"] == [(log["epoch"], log["loss"]) for log in logs]
    assert found["accuracy"] == 87.5


def test_lines_of_the_log_reach_ml_dash(make_job, run):
    pytest.importorskip("ml_dash")
    job = make_job("ml-dash")
    run(job)
    lines = read_ml_dash(job)["lines"]
    assert [line.split(": loss")[0] for line in lines] == [
        f"emnist/net-cpu: epoch {epoch}/4" for epoch in (1, 2, 3, 4)
    ]


def test_mlflow_knows_how_a_run_ended(mlflow_job, run, interrupt):
    job = mlflow_job()
    interrupt(3)
    with pytest.raises(KeyboardInterrupt):
        run(job)
    assert read_mlflow(job)["status"] == "KILLED"
    run(job, status="failed")
    assert read_mlflow(job)["status"] == "FAILED"
    assert read_mlflow(job)["facts"]["reason"] == "it broke"


def test_offline_mlflow_stays_on_this_machine(mlflow_job, run, monkeypatch):
    job = mlflow_job()
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    run(job)
    assert read_mlflow(job)["status"] == "FINISHED"


def test_a_server_that_is_not_there_costs_one_warning(mlflow_job, run, monkeypatch, caplog):
    job = mlflow_job(offline=False)
    monkeypatch.setenv("MLFLOW_TRACKING_URI", "http://127.0.0.1:9")
    monkeypatch.setenv("MLFLOW_HTTP_REQUEST_MAX_RETRIES", "0")
    assert len(run(job).logs) == 4
    (warning,) = [record for record in caplog.records if record.levelname == "WARNING"]
    assert warning.getMessage().startswith("tracker mlflow: ")
    assert warning.getMessage().endswith("; the run goes on without it")


def test_wandb_in_its_offline_mode(make_job, run, interrupt):
    pytest.importorskip("wandb")
    job = make_job("wandb")
    interrupt(3)
    with pytest.raises(KeyboardInterrupt):
        run(job)
    run(job)
    # A file for each process, of one run: they are joined when they are sent.
    files = list(job.runs_dir.glob("wandb/offline-run-*/run-*.wandb"))
    assert len({file.name for file in files}) == 1
    wait_for(lambda: b"test/accuracy_top1" in b"".join(file.read_bytes() for file in files))


def wait_for(condition, seconds=3600):
    """Wait for a process of wandb's own, which writes after the run is closed."""
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def test_another_tracker_of_accelerate_gets_parameters_and_numbers(make_job, run, monkeypatch):
    told = []

    class Other(GeneralTracker):
        name = "other"
        requires_logging_directory = True
        tracker = None

        def __init__(self, project, folder):
            super().__init__()
            told.append((project, folder))

        def start(self):
            told.append("start")

        def store_init_configuration(self, values):
            told.append(values["training.epochs"])

        def log(self, values, step=None, **_):
            told.append((step, sorted(values)[0]))

        def finish(self):
            told.append("finish")

    monkeypatch.setitem(LOGGER_TYPE_TO_CLASS, "other", Other)
    job = make_job("other")
    run(job)
    epochs = [(step, "train/accuracy") for step in (1, 2, 3, 4)]
    begun = [("emnist-net", job.runs_dir), "start", 4]
    assert told == [*begun, *epochs, (4, "cost/duration_s"), "finish"]
