"""A real Slurm cluster for tests, started by the script `slurm_cluster` beside this file."""

import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

from tests.commands import ROOT

SCRIPT = ROOT / "tests" / "slurm_cluster"


def why_none():
    """Return why there can be no cluster here, or an empty text."""
    if os.getuid() != 0:
        return "a Slurm cluster is started by root"
    missing = [
        name for name in ("slurmctld", "slurmd", "sbatch", "munged") if not shutil.which(name)
    ]
    if missing:
        return f"no {', '.join(missing)}: apt-get install slurm-wlm munge"
    return ""


class SlurmCluster:
    """Nodes n1, n2, ... on this machine, and the commands of a user of theirs."""

    def __init__(self, folder, nodes=2, lines=()):
        self.folder = folder
        self.environment = os.environ | {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "OMP_NUM_THREADS": "1",
            "PATH": f"/usr/sbin:/sbin:{os.environ['PATH']}",
        }
        # Below those that the kernel gives to anyone.
        port = 10000 + os.getpid() % 2000 * 10
        self.script("start", str(nodes), str(port), *lines)

    def script(self, verb, *arguments):
        """Start, stop, fail or repair."""
        subprocess.run([SCRIPT, verb, self.folder, *arguments], check=True, timeout=3600)

    def call(self, *command):
        """Return what a command of Slurm prints."""
        return subprocess.run(
            command, env=self.environment, capture_output=True, text=True, check=True
        ).stdout

    def start(self, project, *arguments):
        """Start `comparisons.py` in a project and return the process."""
        return subprocess.Popen(
            [sys.executable, "comparisons.py", *map(str, arguments)],
            cwd=project,
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, project, *arguments):
        """Run `comparisons.py` in a project and return what `subprocess.run` would."""
        process = self.start(project, *arguments)
        output, error = process.communicate()
        return subprocess.CompletedProcess(arguments, process.returncode, output, error)

    def jobs(self, form="%i %T %N"):
        """Return the lines of squeue about the jobs that wait or run."""
        return self.call("squeue", "--noheader", "--array", f"--format={form}").splitlines()


def wait_for(condition, what, process=None):
    """Wait until a condition holds, and return its value; a limit is there against hangs alone."""
    end = time.monotonic() + 3600
    while not (found := condition()):
        assert time.monotonic() < end, what
        if process is not None and process.poll() is not None:
            raise AssertionError(f"ended without {what}: {process.communicate()}")
        time.sleep(0.2)
    return found


def write_config(folder, text="", name="cluster.yaml", time=60):
    path = Path(folder) / name
    path.write_text(f"time: {time}\ncpus: 2\nmemory: 1G\nsignal_seconds: 10\n{text}")
    return path
