"""A child process in place of the harness's own: counts, and writes where and when it did."""

import json
import os
import sys
import time
from pathlib import Path

job = json.loads(sys.stdin.readline())
began = time.monotonic()
total = 0
for number in range(job["count"]):
    total += number
report = {
    "gpu": os.environ["CUDA_VISIBLE_DEVICES"],
    "cores": sorted(os.sched_getaffinity(0)),
    "began": began,
    "ended": time.monotonic(),
}
Path(job["answer"]).write_text(json.dumps(report))
print(f"counted to {job['count']}")
