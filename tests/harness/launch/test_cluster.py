"""The settings of a cluster: times as sbatch takes them, near matches, one line for a mistake."""

import pytest

from harness.errors import RequestError
from harness.launch.cluster import load_cluster, read_minutes


def read(tmp_path, text):
    path = tmp_path / "cluster.yaml"
    path.write_text(text)
    return load_cluster(path)


@pytest.mark.parametrize(
    ("text", "minutes"),
    [
        ("90", 90),
        ("10:30", 11),
        ("10:00", 10),
        ("04:00:00", 240),
        ("00:00:01", 1),
        ("1-0", 1440),
        ("1-12:30", 2190),
        ("2-00:00:30", 2881),
    ],
)
def test_a_time_is_read_as_sbatch_reads_it(tmp_path, text, minutes):
    assert read_minutes(text) == minutes
    assert read(tmp_path, f"time: {text}").time == minutes
    assert read(tmp_path, f"time: '{text}'").time == minutes


def test_the_settings_that_come_with_the_project():
    cluster = load_cluster()
    assert (cluster.partition, cluster.time, cluster.cpus, cluster.memory) == (None, 240, 2, "8G")
    assert cluster.array_size < 1001


def test_a_model_may_ask_for_other_resources(tmp_path):
    cluster = read(
        tmp_path,
        "partition: short\naccount: 0123\ngpus: 0\ntime: 30\n"
        "models: {vit: {gpus: 2, time: 1-0, partition: null}}\n",
    )
    assert cluster.resources("resnet").account == "0123"
    own = cluster.resources("vit")
    assert (own.gpus, own.time, own.partition, own.account) == (2, 1440, None, "0123")
    assert cluster.resources("resnet") == cluster.resources("deit") != own


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("tme: 3", ["unknown setting", "'tme'", "did you mean time"]),
        ("models: {vitt: {gpus: 1}}", ["'vitt'", "did you mean vit"]),
        ("models: {vit: {gpu: 1}}", ["models.vit", "'gpu'", "did you mean gpus"]),
        ("models: {vit: {gpus: x}}", ["models.vit.gpus", "found 'x'"]),
        ("models: {vit: 3}", ["models.vit", "found '3'"]),
        ("gpus: -1", ["gpus", "found '-1'"]),
        ("cpus: 0", ["cpus", "found '0'"]),
        ("time: soon", ["time", "04:00:00", "found 'soon'"]),
        ("time: 1-", ["time", "found '1-'"]),
        ("time: 0", ["time", "found 0"]),
        ("memory: 8 GB", ["memory", "found '8 GB'"]),
        ("setup: module load cuda", ["setup", "found 'module load cuda'"]),
        ("sbatch: {signal: USR1}", ["sbatch.signal", "not an option that is left to you"]),
        ("sbatch: {--nice: 3}", ["sbatch.--nice", "without dashes"]),
        ("- time", ["settings", "found ['time']"]),
        ("time: [", ["line 2", "not YAML"]),
    ],
)
def test_a_mistake_is_one_line_that_names_it(tmp_path, text, words):
    with pytest.raises(RequestError) as caught:
        read(tmp_path, text + "\n")
    message = str(caught.value)
    assert "\n" not in message
    assert all(word in message for word in ["cluster.yaml", *words]), message


def test_a_file_that_is_not_there(tmp_path):
    with pytest.raises(RequestError, match=r"--launcher-config .*none.yaml: No such file"):
        load_cluster(tmp_path / "none.yaml")
