"""Requests on a cluster, with stand-ins for the commands of Slurm."""

import dataclasses
import json
from types import SimpleNamespace

import pytest

from harness import commands, grid
from harness.jobs import Part, Result
from harness.launch.arrays import submit_in_arrays
from harness.launch.cluster import load_cluster
from harness.launch.ledger import Ledger, read_order
from harness.measurements import MEASUREMENTS
from harness.measurements.task import Task
from tests.dry_measurement import Dry
from tests.emulated_cuda import emulated_cuda
from tests.refusals import make_request

# Each writes down what it is called with; sbatch counts its jobs and may refuse one.
SBATCH = """#!/bin/bash
cd {folder}
count=$(ls script-* 2>/dev/null | wc -l)
if [[ -f refuse-$count ]]; then cat refuse-$count >&2; exit 1; fi
cp "$1" script-$count
echo "Submitted batch job $((100 + count))"
"""
SQUEUE = """#!/bin/bash
cat {folder}/queue
"""
SCANCEL = """#!/bin/bash
echo "$@" >> {folder}/cancelled
"""


class Slurm:
    def __init__(self, folder):
        self.folder = folder
        self.tell()

    def tell(self, *lines):
        """Set what squeue says."""
        (self.folder / "queue").write_text("".join(f"{line}\n" for line in lines))

    def refuse(self, number, text):
        (self.folder / f"refuse-{number}").write_text(text)

    @property
    def scripts(self):
        return [path.read_text() for path in sorted(self.folder.glob("script-*"))]


@pytest.fixture
def slurm(tmp_path_factory, monkeypatch):
    folder = tmp_path_factory.mktemp("slurm")
    for name, text in {"sbatch": SBATCH, "squeue": SQUEUE, "scancel": SCANCEL, "srun": ""}.items():
        (folder / name).write_text(text.format(folder=folder) or "#!/bin/bash\n")
        (folder / name).chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")
    monkeypatch.setitem(MEASUREMENTS, "dry", Dry())
    monkeypatch.setattr(grid, "_PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr(commands, "_FOLLOW_SECONDS", 0.01)
    return Slurm(folder)


def ask(tmp_path, numbers="1,2,3", config="", **changes):
    path = tmp_path / "cluster.yaml"
    path.write_text(config)
    return make_request(
        tmp_path,
        datasets=[numbers],
        models=["resnet"],
        measure="dry",
        launcher="slurm",
        launcher_config=path,
        device="auto",
        **changes,
    )


def finish(tmp_path, number, started="2026-11-29T12:00:00"):
    path = tmp_path / "results/dry" / f"{number}.json"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps({"started": started}))


def test_what_is_done_or_queued_is_not_submitted(tmp_path, slurm, capsys):
    finish(tmp_path, 1)
    assert commands.carry_out(ask(tmp_path), detach=True) == 0
    assert "jobs submitted: 2" in capsys.readouterr().err
    (script,) = slurm.scripts
    assert "#SBATCH --array=0-1%2" in script
    slurm.tell("100_0|RUNNING|n7|None", "100_1|PENDING||Priority")
    assert commands.carry_out(ask(tmp_path, "1,2,3,4"), detach=True) == 0
    assert "jobs submitted: 1" in capsys.readouterr().err
    assert "--array" not in slurm.scripts[1]
    # A finished job is no longer in the queue, and its result is there.
    slurm.tell()
    for number in (2, 3, 4):
        finish(tmp_path, number)
    assert commands.carry_out(ask(tmp_path, "1,2,3,4")) == 0
    assert "jobs submitted: 0" in capsys.readouterr().err
    assert len(slurm.scripts) == 2
    assert commands.carry_out(ask(tmp_path, "1,2", force=True), detach=True) == 0
    assert "jobs submitted: 2" in capsys.readouterr().err


def test_the_states_of_jobs(tmp_path, slurm, capsys):
    commands.carry_out(ask(tmp_path, "1,2,3,4,5"), detach=True)
    capsys.readouterr()
    slurm.tell("100_0|RUNNING|n7|None", "100_1|PENDING||Priority")
    finish(tmp_path, 3)
    ledger = Ledger(tmp_path / "results")
    parts = [read_order(path).part for path in (ledger.folder / "orders").iterdir()]
    (refused,) = (ledger.refusal_path(each.key) for each in parts if "4" in each.request.datasets)
    refused.parent.mkdir()
    refused.write_text("of another commit")
    assert commands.carry_out(ask(tmp_path, "1,2,3,4,5,6"), status=True) == 1
    jobs = tmp_path / "results/.launch/jobs"
    assert capsys.readouterr().out.splitlines() == [
        "dry 1: running on n7",
        "dry 2: queued: Priority",
        "dry 3: done",
        f"dry 4: refused: of another commit: log {jobs}/100_3_0_log.out",
        f"dry 5: lost: its job ended and left no record: log {jobs}/100_4_0_log.out",
        "dry 6: to do",
        "1 done, 1 to do, 1 queued, 1 lost, 1 refused, 1 running",
    ]
    assert commands.carry_out(ask(tmp_path, "1,2,3"), status=True) == 3
    assert commands.carry_out(ask(tmp_path, "3"), status=True) == 0


def test_retry_runs_what_failed_and_nothing_else(tmp_path, slurm, capsys):
    commands.carry_out(ask(tmp_path, "1,2"), detach=True)
    finish(tmp_path, 1)
    assert commands.carry_out(ask(tmp_path, "1,2,3", retry=2), detach=True) == 0
    assert "jobs submitted: 1" in capsys.readouterr().err.splitlines()[-2]
    orders = [read_order(path) for path in (tmp_path / "results/.launch/orders").iterdir()]
    assert {order.part.request.datasets[0]: order.tries for order in orders} == {"1": 1, "2": 2}


def test_cancel_ends_the_jobs_of_this_request(tmp_path, slurm, capsys):
    commands.carry_out(ask(tmp_path, "1,2,3"), detach=True)
    slurm.tell("100_0|RUNNING|n1|None", "100_2|PENDING||Priority", "99|RUNNING|n2|None")
    assert commands.carry_out(ask(tmp_path, "2,3"), cancel=True) == 0
    assert (slurm.folder / "cancelled").read_text() == "100_2\n"
    assert "jobs cancelled: 1" in capsys.readouterr().err


def test_ctrl_c_detaches(tmp_path, slurm, capsys, monkeypatch):
    def interrupt(_):
        raise KeyboardInterrupt

    monkeypatch.setattr("harness.launch.following.time", SimpleNamespace(sleep=interrupt))
    slurm.tell("100_0|RUNNING|n1|None", "100_1|RUNNING|n1|None")
    assert commands.carry_out(ask(tmp_path, "1,2")) == 130
    error = capsys.readouterr().err
    assert "dry 1: running on n1" in error
    assert error.endswith("with --cancel it ends them\n")
    assert not (slurm.folder / "cancelled").exists()


def test_large_grids_are_split_and_limited(tmp_path, slurm):
    config = "array_size: 4\nparallel: 3\nsetup: [module load cuda]\nsbatch: {nice: 100}\n"
    commands.carry_out(ask(tmp_path, "1,2,3,4,5,6,7,8,9", config), detach=True)
    arrays = [line for script in slurm.scripts for line in script.splitlines() if "--array" in line]
    assert arrays == ["#SBATCH --array=0-3%3", "#SBATCH --array=0-3%3"]
    assert len(slurm.scripts) == 3
    script = slurm.scripts[0]
    assert "#SBATCH --nice=100" in script
    assert "wckey" not in script
    assert "#SBATCH --signal=USR2@120" in script
    lines = script.splitlines()
    assert lines.index("module load cuda") < lines.index(
        "export SRUN_CPUS_PER_TASK=$SLURM_CPUS_PER_TASK"
    )


@pytest.mark.parametrize(
    ("text", "words"),
    [
        (
            "sbatch: error: invalid partition specified: nope\n"
            "sbatch: error: Batch job submission failed: Invalid partition name specified\n",
            ["3 jobs (partition nope", "Invalid partition name specified"],
        ),
        (
            "sbatch: error: QOSMaxSubmitJobPerUserLimit\n"
            "sbatch: error: Batch job submission failed: Job violates accounting/QOS policy (job "
            "submit limit, user's size and/or time limits)\n",
            ["Job violates accounting/QOS policy"],
        ),
        ("", ["it said nothing"]),
    ],
)
def test_what_the_cluster_refuses_is_one_line(tmp_path, slurm, capsys, text, words):
    slurm.refuse(0, text)
    assert commands.carry_out(ask(tmp_path, config="partition: nope")) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(word in error for word in words), error
    # Nothing counts as submitted.
    assert Ledger(tmp_path / "results").read() == {}


def test_a_full_queue_keeps_what_was_submitted(tmp_path, slurm, capsys):
    slurm.refuse(1, "sbatch: error: QOSMaxSubmitJobPerUserLimit\n")
    config = "array_size: 2"
    assert commands.carry_out(ask(tmp_path, "1,2,3,4,5", config)) == 2
    error = capsys.readouterr().err
    assert "2 of 5 jobs were submitted: the same command submits the others" in error
    slurm.tell("100_0|PENDING||Priority", "100_1|PENDING||Priority")
    (slurm.folder / "refuse-1").unlink()
    assert commands.carry_out(ask(tmp_path, "1,2,3,4,5", config), detach=True) == 0
    assert "jobs submitted: 3" in capsys.readouterr().err


def test_the_plan_shows_arrays_and_hours(tmp_path, slurm, capsys):
    finish(tmp_path, 1)
    request = ask(tmp_path, "1,2,3", "time: 1:30:00\nmemory: 3G\n")
    assert commands.carry_out(request, plan=True) == 0
    output = " ".join(capsys.readouterr().out.split())
    assert "2 jobs of 3 cells (1 done, 2 to do)" in output
    assert "3.0 at the most" in output
    assert "memory 3G" in output
    assert slurm.scripts == []


def test_a_compressed_model_comes_after_its_base_or_its_sibling(tmp_path):
    names = {
        "pruned": ("vgg_pruned", "vgg_bn"),
        "vgg_bn": ("vgg_bn", None),
        "int8": ("resnet_quantized", "resnet-x"),
        "int8 too": ("resnet_quantized", "resnet-x"),
        "vit": ("vit", None),
    }
    request = ask(tmp_path, config="models: {vit: {cpus: 8}}")
    parts = [
        Part(title=name, key=name, model=model, after=after, request=request)
        for name, (model, after) in names.items()
    ]
    arrays = []

    def submit(group, array):
        titles = [part.title for part in array]
        arrays.append((titles, group.after, group.resources.cpus))
        return [f"job of {title}" for title in titles]

    submit_in_arrays(parts, {}, load_cluster(request.launcher_config), submit)
    assert arrays == [
        (["vgg_bn", "int8"], None, 2),
        (["vit"], None, 8),
        (["pruned"], "job of vgg_bn", 2),
        (["int8 too"], "job of int8", 2),
    ]


def test_a_task_refuses_another_version(tmp_path, slurm, monkeypatch, capsys):
    commands.carry_out(ask(tmp_path, "1"), detach=True)
    (path,) = (tmp_path / "results/.launch/orders").iterdir()
    monkeypatch.setattr("tests.dry_measurement.SECONDS", 0.0)
    order = json.loads(path.read_text())
    order["version"]["files"] = "0"
    path.write_text(json.dumps(order))
    assert Task(path)() == 2
    assert "were changed after this job was submitted: submit it again" in capsys.readouterr().err
    order["version"]["commit"] = "0123abc"
    path.write_text(json.dumps(order))
    assert Task(path)() == 2
    assert "submitted from commit 0123abc" in capsys.readouterr().err
    assert commands.carry_out(ask(tmp_path, "1"), status=True) == 1
    assert "dry 1: refused: submitted from commit 0123abc" in capsys.readouterr().out
    assert not (tmp_path / "results/dry").exists()


def test_a_task_that_the_cluster_ended_too_often_fails(tmp_path, slurm, monkeypatch, capsys):
    commands.carry_out(ask(tmp_path, "1", "max_requeues: 2"), detach=True)
    (path,) = (tmp_path / "results/.launch/orders").iterdir()
    monkeypatch.setattr("tests.dry_measurement.SECONDS", 0.0)
    monkeypatch.setenv("SLURM_RESTART_COUNT", "2")
    assert Task(path)() == 0
    assert (tmp_path / "results/dry/1.json").exists()


@pytest.mark.parametrize(
    ("changes", "flags", "words"),
    [
        ({"launcher": "slrum"}, {}, ["unknown --launcher 'slrum'", "did you mean slurm"]),
        ({"launcher": "local"}, {}, ["--launcher-config goes with --launcher slurm"]),
        ({}, {"plan": True, "status": True}, ["--plan and --status do not go together"]),
        ({"device": "cuda:1"}, {}, ["--device cuda:1", "cpu or cuda"]),
        ({"device": "cuda", "measure": "dry"}, {}, ["--device cuda", "ask for 0 GPUs"]),
        ({"measure": "cost"}, {}, ["--measure cost runs here"]),
    ],
)
def test_options_that_do_not_go_together(tmp_path, slurm, capsys, changes, flags, words):
    request = dataclasses.replace(ask(tmp_path, "digits"), measure="all", device="cpu")
    request = dataclasses.replace(request, **changes)
    assert commands.carry_out(request, **flags) == 2
    error = capsys.readouterr().err
    assert error.count("\n") == 1
    assert all(word in error for word in words), error


def test_without_slurm_here(tmp_path, slurm, capsys, monkeypatch):
    monkeypatch.setattr("shutil.which", lambda name: None)
    assert commands.carry_out(ask(tmp_path)) == 2
    assert "is Slurm installed?" in capsys.readouterr().err


def test_a_result_from_before_the_submission_is_no_result_of_it(tmp_path, slurm):
    request = ask(tmp_path, "1")
    finish(tmp_path, 1, "2026-01-01T00:00:00")
    made = grid.Grid(Dry(), Dry().plan(request), request)
    submission = grid.Submission(key=made.parts[0].key, job="5", before="2026-01-01T00:00:00")
    (part,) = made.parts
    planned = made.planned[part.key] = dataclasses.replace(made.planned[part.key], done=False)
    assert made._state(part, submission, {}, patient=False).name == "lost"
    assert Dry().find_result(planned) == Result(started="2026-01-01T00:00:00", reason=None)


@pytest.fixture
def two_gpus(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "4,7")
    monkeypatch.setattr("harness.launch.devices.gpu_is_there", lambda gpu: True)
    with emulated_cuda():
        monkeypatch.setattr("torch.cuda.device_count", lambda: 2)
        yield


def ask_here(tmp_path, numbers, **changes):
    own = {"measure": "dry", "device": "cuda:0,cuda:1", "datasets": [numbers]}
    return make_request(tmp_path, models=["resnet"], **own | changes)


def test_several_gpus_take_the_parts_of_a_request(tmp_path, slurm, two_gpus, capsys, monkeypatch):
    monkeypatch.setattr("tests.dry_measurement.SECONDS", 0.1)
    (tmp_path / "results/dry").mkdir(parents=True)
    (tmp_path / "results/dry/broken").write_text("3")
    assert commands.carry_out(ask_here(tmp_path, "1,2,3,4,5")) == 1
    captured = capsys.readouterr()
    assert "5 dry parts" in captured.out
    assert "dry 3: failed on GPU" in captured.err
    for number in (1, 2, 4, 5):
        assert f"dry {number}: done on GPU" in captured.err
        assert (tmp_path / f"results/dry/{number}.json").exists()
    request = ask_here(tmp_path, "1,2,3", device="cpu")
    assert commands.carry_out(request, status=True) == 3
    assert capsys.readouterr().out.splitlines()[-1] == "2 done, 1 to do"


def test_a_comparison_of_latencies_has_one_gpu(tmp_path, two_gpus, capsys):
    request = ask_here(tmp_path, "digits", measure="latency", overrides={"weights": "random"})
    assert commands.carry_out(request) == 2
    assert "a comparison of latencies has one device for itself" in capsys.readouterr().err
