"""A real Slurm cluster for tests, started by the script `slurm_cluster` beside this file."""

import os
import shutil
import subprocess
import time
from pathlib import Path

from tests.commands import ROOT, Running

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
        self.environment = {
            "SLURM_CONF": str(folder / "slurm.conf"),
            "OMP_NUM_THREADS": "1",
            "PATH": f"/usr/sbin:/sbin:{os.environ['PATH']}",
            # Jobs outlive the commands, whose folders are deleted.
            "TMPDIR": str(folder),
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
            command, env=os.environ | self.environment, capture_output=True, text=True, check=True
        ).stdout

    def start(self, project, *arguments, **environment):
        """Start `comparisons.py` in a project and return the process."""
        environment |= self.environment
        return Running(project, "comparisons.py", *arguments, environment=environment)

    def run(self, project, *arguments, **environment):
        """Run `comparisons.py` in a project and return what `subprocess.run` would."""
        return self.start(project, *arguments, **environment).wait()

    def jobs(self, form="%i %T %N"):
        """Return the lines of squeue about the jobs that wait or run."""
        return self.call("squeue", "--noheader", "--array", f"--format={form}").splitlines()


def wait_for(condition, what, process=None):
    """Wait until a condition holds, and return its value; a limit is there against hangs alone."""
    end = time.monotonic() + 3600
    while not (found := condition()):
        assert time.monotonic() < end, what
        if process is not None and process.ended:
            raise AssertionError(f"ended without {what}: {process.wait()}")
        time.sleep(0.2)
    return found


# What a job runs first, where it is told so: it saves most of the time that a short job takes.
SHORT_CUTS = f"""
import os, sys

if "SHORT_CUTS" in os.environ:
    sys.path.append({str(ROOT)!r})
    from tests.commands import take_short_cuts

    take_short_cuts()
"""


def write_config(folder, text="", name="cluster.yaml", time=60):
    path = Path(folder) / name
    path.write_text(f"time: {time}\ncpus: 2\nmemory: 1G\nsignal_seconds: 10\n{text}")
    return path
