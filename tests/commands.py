"""Commands as a user runs them, in a copy of the project, without waiting for imports each time.

A command and its worker take ten seconds each to import torch and torchvision. Here both are forks
of one process that has imported them, so that all code of the project runs as it does for a user,
in processes of its own. Figures, which take as long as a small training, are empty pictures, and
the peak of the device is that of small products. `test_newcomer` runs the same without these short
cuts.
"""

import gc
import logging
import multiprocessing
import os
import runpy
import shutil
import subprocess
import sys
import tempfile
import traceback
from functools import partial
from pathlib import Path
from types import SimpleNamespace

from matplotlib.figure import Figure

ROOT = Path(__file__).resolve().parent.parent
_ROOMS = ("harness", "cli", "configs", "datasets", "monolithic_architectures")
_FORKS = multiprocessing.get_context("forkserver")
_FORKS.set_forkserver_preload(
    [
        *("torch", "torchvision", "timm", "transformers", "accelerate", "thop", "sklearn.datasets"),
        *("pandas", "pydantic", "typer", "rich.table", "matplotlib.figure", "jinja2"),
        *("torch_pruning", "torch.ao.quantization", "torch.utils.tensorboard"),
        *("pydantic.dataclasses", "typer._adapters", "sklearn.model_selection"),
        *("matplotlib.backends.backend_svg", "torch.utils.flop_counter", "pyarrow.pandas_compat"),
        *("PIL.GifImagePlugin", "tensorboard.plugins.hparams.plugin_data_pb2"),
    ]
)
# The shortest measurements of a cell that its settings allow.
BRIEF = (
    *("--set", "measurement.latency_rounds=20", "--set", "measurement.latency_seconds=0.01"),
    *("--set", "measurement.throughput_seconds=0.01"),
    *("--set", "measurement.throughput_batch_sizes=[1]"),
)


def copy_project(folder):
    """Copy what a user's clone holds of code and settings."""
    for room in _ROOMS:
        shutil.copytree(ROOT / room, folder / room, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy(ROOT / "comparisons.py", folder)


def run(project, *arguments):
    """Run a script of the project and return what `subprocess.run` would."""
    return Running(project, *arguments).wait()


class Running:
    """A script of the project that runs in the background."""

    def __init__(self, project, *arguments, environment=None):
        self.arguments = [str(each) for each in arguments]
        self._output = Path(tempfile.mkdtemp(dir=tempfile.gettempdir()))
        for name in ("stdout", "stderr"):
            (self._output / name).touch()
        self._process = _FORKS.Process(
            target=_run_script,
            args=(str(project), self.arguments, str(self._output), environment or {}),
        )
        self._process.start()

    @property
    def pid(self):
        return self._process.pid

    @property
    def ended(self):
        return self._process.exitcode is not None

    def kill(self):
        self._process.kill()
        self._process.join()

    def wait(self):
        self._process.join()
        texts = [(self._output / name).read_text() for name in ("stdout", "stderr")]
        shutil.rmtree(self._output)
        return subprocess.CompletedProcess(self.arguments, self._process.exitcode, *texts)


def _run_script(project, arguments, output, environment):
    # What was imported before is neither searched for garbage nor copied for that.
    gc.freeze()
    os.chdir(project)
    # A folder for locks of its own: other tests measure meanwhile.
    os.environ |= {"TMPDIR": output} | environment
    tempfile.tempdir = os.environ["TMPDIR"]
    for descriptor, name in ((1, "stdout"), (2, "stderr")):
        file = os.open(f"{output}/{name}", os.O_WRONLY | os.O_CREAT)
        os.dup2(file, descriptor)
        setattr(sys, name, os.fdopen(descriptor, "w", buffering=1, closefd=False))
    script = Path(arguments[0]).resolve()
    home = script.parent.parent if script.parent.name == "cli" else script.parent
    sys.path[:] = [str(home), *(path for path in sys.path if path not in ("", str(ROOT)))]
    sys.argv = arguments
    take_short_cuts()
    from harness.report import figures

    figures.save_figure = partial(_save_empty, figures.save_figure)
    runpy.run_path(arguments[0], run_name="__main__")


def take_short_cuts():
    """Let this process fork its children, which need not import torch again, and calibrate fast."""
    from harness.launch import local
    from harness.measure import peak, pinning, process_memory

    peak._SIDE["cpu"], peak._IMAGES = 256, 1
    pinning._SECONDS_TO_LOOK = 0.01

    local.subprocess = SimpleNamespace(Popen=_ForkedWorker, PIPE=subprocess.PIPE)
    process_memory.multiprocessing = SimpleNamespace(
        get_context=lambda _: multiprocessing.get_context("fork")
    )


def _save_empty(save, plot, files, **options):
    save(lambda: Figure(figsize=(0.2, 0.2)), files, **options)


# Never closed: that would wait for their lock.
_COPIED = []


class _ForkedWorker:
    """The part of `subprocess.Popen` that is used to start a worker, by fork instead of by exec."""

    def __init__(self, command, *, stdin, stdout, stderr, env):
        _, _, module, *options = command
        read, write = os.pipe()
        sys.stdout.flush()
        self.pid = os.fork()
        if self.pid:
            os.close(read)
            self.stdin = os.fdopen(write, "wb")
            return
        os.environ.update(env)
        for descriptor, file in ((1, stdout), (2, stderr)):
            if file is not None:
                os.dup2(file.fileno(), descriptor)
        os.close(write)
        os.dup2(read, 0)
        sys.stdin = os.fdopen(0, closefd=False)
        os._exit(_run_worker(module, options))

    def send_signal(self, number):
        os.kill(self.pid, number)

    def wait(self):
        return os.waitstatus_to_exitcode(os.waitpid(self.pid, 0)[1])


def _run_worker(module, options):
    logging.root.handlers.clear()
    # Another thread of the parent may have been writing, so that the copied streams are locked.
    _COPIED.extend((sys.stdout, sys.stderr))
    sys.stdout, sys.stderr = (os.fdopen(n, "w", buffering=1, closefd=False) for n in (1, 2))
    sys.argv = [module, *options]
    try:
        runpy.run_module(module, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        return end.code
    except BaseException:
        traceback.print_exc()
        return 1
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
    return 0
