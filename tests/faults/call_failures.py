"""Makes every system call and allocation of small runs fail in turn: python3 call_failures.py --program FILE --calls failing_calls.so

Of each kind of call the n-th fails, once, for every n (or --samples of them, evenly). The run must end with a documented exit code,
with no output, the old one or the complete new one, and the same command must then, undisturbed, give the bytes of a run that nobody
disturbed. Prints one line for each kind of call, with the exit codes that were met.
"""

import argparse
import collections
import errno
import os
import pathlib
import random
import select
import shutil
import signal
import subprocess
import sys
import tempfile
import time

from kill_runs import TINY, Bench, contents

# What a call fails with.
ERRORS = {"write": errno.ENOSPC, "writev": errno.ENOSPC, "read": errno.EIO, "fsync": errno.EIO, "close": errno.EIO,
          "ftruncate": errno.EIO, "posix_fallocate": errno.ENOSPC, "create": errno.ENOSPC, "open": errno.EMFILE,
          "openat": errno.EMFILE, "mkdir": errno.ENOSPC, "rename": errno.EIO, "renameat2": errno.EIO, "unlink": errno.EIO,
          "unlinkat": errno.EIO, "remove": errno.EIO, "mmap": errno.ENOMEM, "page": errno.EIO, "stat": errno.EIO,
          "lstat": errno.EIO, "fstat": errno.EIO, "statvfs": errno.EIO, "flock": errno.ENOLCK, "fdopendir": errno.ENOMEM,
          "readdir": errno.EIO, "realpath": errno.EIO, "execv": errno.ENOMEM, "memory": errno.ENOMEM}
# What docs/cli.md has, but for 70, which says that edgecompress is at fault.
DOCUMENTED = {0, 2, 65, 66, 69, 71, 73, 74, 75, 76}
PROGRAMS = ("edgecompress", "edgecompress-engine")
LIMIT_SECONDS = 120
RECORD = 64  # bytes of a plan, as failing_calls.cpp reads them


class Server:
    """A program that stopped at its first watched file, to go on from there as often as wanted (failing_calls.cpp)."""

    def __init__(self, arguments, environment):
        self.arguments = arguments
        self.environment = environment
        self.start()

    def start(self):
        self.folder = tempfile.TemporaryDirectory(prefix="edgecompress-serve-")
        folder = pathlib.Path(self.folder.name)
        for name in ("plans", "ends"):
            os.mkfifo(folder / name)
        self.errors = open(folder / "errors", "a+b")
        self.process = subprocess.Popen(self.arguments, env={**self.environment, "EDGECOMPRESS_FAIL_SERVE": str(folder)},
                                        stdout=subprocess.DEVNULL, stderr=self.errors, start_new_session=True)
        self.plans = open(folder / "plans", "wb", buffering=0)
        self.ends = open(folder / "ends", "rb", buffering=0)

    def run(self, plan):
        """Exit code and messages of one run; no exit code when it hangs."""
        self.errors.truncate(0)
        self.plans.write(plan.encode().ljust(RECORD, b"\0"))
        if not select.select([self.ends], [], [], LIMIT_SECONDS)[0]:
            self.stop()
            self.start()
            return None, ""
        status = int.from_bytes(self.ends.read(4), sys.byteorder)
        self.errors.seek(0)
        return os.waitstatus_to_exitcode(status), self.errors.read().decode(errors="replace")

    def stop(self):
        os.killpg(self.process.pid, signal.SIGKILL)
        self.process.wait()
        for each in (self.plans, self.ends, self.errors):
            each.close()
        self.folder.cleanup()


class Sweep(Bench):
    """One command whose calls fail."""

    def __init__(self, program, calls, folder, name, overwrite):
        super().__init__(program, TINY, folder)
        self.name = name
        self.calls = calls
        self.overwrite = overwrite
        self.prepare([name, "round"] if overwrite else [name])
        self.output = folder / "out"
        if overwrite:
            self.finish("round", self.output)
            self.old = contents(self.output)
            self.old_copy = folder / "old"
            self.output.rename(self.old_copy)

    def arguments(self):
        more = ["--overwrite"] if self.overwrite else []
        return [self.program, *self.commands[self.name], "-o", str(self.output), "--threads", "1", *more]

    def environment(self, **more):
        # the launcher and the engine need the same libraries
        return {**os.environ, "LD_PRELOAD": self.calls, "EDGECOMPRESS_FAIL_WITHIN": str(self.folder), **more}

    def serve(self, program):
        """The command up to its first file, once; copies of it go on."""
        return Server(self.arguments(), self.environment(EDGECOMPRESS_FAIL_IN=program))

    def begin(self):
        for path in (self.output, *self.left_behind()):
            shutil.rmtree(path) if path.is_dir() else path.unlink(missing_ok=True)
        if self.overwrite:
            shutil.copytree(self.old_copy, self.output)

    def left_behind(self):
        return [path for path in self.folder.iterdir() if path.name.startswith("out.")]

    def count(self):
        """(program, call) -> how often it is made."""
        self.begin()
        counts = self.folder / "counts"
        done = subprocess.run(self.arguments(), env=self.environment(EDGECOMPRESS_FAIL_COUNT=str(counts)),
                              capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{self.name}, nothing failing: exit code {done.returncode}\n{done.stderr}")
        totals = {}
        for line in counts.read_text().splitlines():
            program, call, total = line.split()
            totals[program, call] = int(total)
        counts.unlink()
        return totals

    def fail(self, server, call, turn):
        """What is wrong with what a run leaves whose turn-th call fails, its exit code, and whether another run was needed to see it."""
        self.begin()
        code, text = server.run(f"{call}:{ERRORS[call]}:{turn}")
        if code is None:
            return ["it hangs"], None, False
        problems = self.problems_of_end(code, text)
        try:
            found = contents(self.output) if self.output.exists() else None
            old = self.old if self.overwrite else None
            if found not in (old, self.expected[self.name]):
                problems.append("part of an output")
            elif code == 0 and found != self.expected[self.name]:
                problems.append("exit code 0 without the output")
            again = bool(self.left_behind())
            if again:
                self.finish_undisturbed(server)
                self.check_finished(self.name, self.output, "undisturbed behind it")
        except (SystemExit, KeyError, ValueError) as problem:
            return [*problems, str(problem), text], code, True
        return [*problems, text] if problems else [], code, again

    def finish_undisturbed(self, server):
        if self.output.exists() and not self.overwrite:
            self.finish(self.name, self.output)
            return
        code, text = server.run("")
        if code != 0:
            raise SystemExit(f"{self.name}: the undisturbed command ended with {code}:\n{text}")

    def problems_of_end(self, code, text):
        if code not in DOCUMENTED:
            return [f"exit code {code}"]
        if code != 0 and text.count("error[") != 1:
            return [f"{text.count('error[')} errors in the message"]
        return []


def turns(total, samples):
    if samples == 0 or total <= samples:
        return range(1, total + 1)
    return sorted({1 + (2 * i + 1) * total // (2 * samples) for i in range(samples)})


def sweep_call(sweep, program, call, chosen, total):
    """Prints a line. Returns how many turns went wrong, and how many there were."""
    begin = time.monotonic()
    codes, again, wrong = collections.Counter(), 0, 0
    server = sweep.serve(program)
    for turn in chosen:
        problems, code, finished = sweep.fail(server, call, turn)
        codes[code] += 1
        again += finished
        if problems:
            wrong += 1
            print(f"WRONG {sweep.name}: {program}, {call} {turn} of {total}: " + "\n    ".join(problems), flush=True)
    server.stop()
    ends = ", ".join(f"{code}: {count}" for code, count in sorted(codes.items(), key=str))
    print(f"| {sweep.name}{' over an old output' if sweep.overwrite else ''} | {program} | {call} | {len(chosen)} of {total} | {ends} | "
          f"{again} | {wrong} | {time.monotonic() - begin:.0f} s |", flush=True)
    return wrong, len(chosen)


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True)
    parser.add_argument("--calls", required=True, help="the built failing_calls module")
    parser.add_argument("--commands", default="round,discard,train,export")
    parser.add_argument("--kinds", default=",".join(ERRORS), help="kinds of calls; memory: allocations of any size")
    parser.add_argument("--samples", type=int, default=0, help="of each kind so many, evenly; 0: every one")
    parser.add_argument("--allocations", type=int, default=0, help="the same for allocations")
    parser.add_argument("--allocating", default=",".join(PROGRAMS), help="programs whose allocations fail")
    parser.add_argument("--overwrite", action="store_true", help="over an old output, which must stay as it was")
    options = parser.parse_args()
    random.seed(1)
    wrong = failed = 0
    print("| command | program | call | failed | exit codes | run again | wrong | time |\n| --- | --- | --- | --- | --- | --- | --- | --- |")
    for name in options.commands.split(","):
        with tempfile.TemporaryDirectory(prefix="edgecompress-calls-") as folder:
            sweep = Sweep(options.program, options.calls, pathlib.Path(folder), name, options.overwrite)
            totals = sweep.count()
            for call in options.kinds.split(","):
                for program in PROGRAMS:
                    total = totals.get((program, call), 0)
                    if total == 0 or (call == "memory" and program not in options.allocating.split(",")):
                        continue
                    chosen = turns(total, options.allocations if call == "memory" else options.samples)
                    more = sweep_call(sweep, program, call, chosen, total)
                    wrong, failed = wrong + more[0], failed + more[1]
    print(f"{failed} calls failed, one in each run; {wrong} runs ended wrongly")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
