"""What running a program costs, as the kernel counts it. For the benches in the folders beside this file."""
import dataclasses
import os
import pathlib
import subprocess
import sys
import time


@dataclasses.dataclass(frozen=True)
class Cost:
    wall: float = 0.0  # seconds
    cpu: float = 0.0  # seconds of user and system
    memory: float = 0.0  # peak resident bytes

    def then(self, other):
        """One after the other."""
        return Cost(self.wall + other.wall, self.cpu + other.cpu, max(self.memory, other.memory))


def measure(call, log):
    """Runs a program to its end, its output in the file `log`. Where it fails the bench ends with what it said."""
    with open(log, "wb") as output:
        start = time.monotonic()
        process = subprocess.Popen(list(map(str, call)), stdout=output, stderr=subprocess.STDOUT)
        _, status, usage = os.wait4(process.pid, 0)
        wall = time.monotonic() - start
    if status != 0:
        sys.exit(f"{' '.join(map(str, call))} failed:\n{pathlib.Path(log).read_text()[-3000:]}")
    return Cost(wall, usage.ru_utime + usage.ru_stime, usage.ru_maxrss * 1024)


def show(name, cost):
    print(f"{name:24} {cost.wall:8.1f} s wall {cost.cpu:8.1f} s CPU {cost.memory / 2**20:8.0f} MiB", flush=True)


def read_once(folder):
    """So that its files lie in the page cache."""
    for path in sorted(folder.iterdir()):
        with path.open("rb", buffering=0) as file:
            while file.read(1 << 24):
                pass
