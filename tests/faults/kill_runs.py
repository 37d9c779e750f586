"""Kills runs of edgecompress and checks what is left: python3 kill_runs.py --program bin/edgecompress --kills 1000

A run that was killed, at a random moment or at a named place, must leave no output, the old output, or the complete new one;
the same command must then give the bytes of a run that nobody disturbed. Needs nothing but Python 3.
"""

import argparse
import json
import os
import pathlib
import random
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import tiny_model

SOURCE = pathlib.Path(__file__).resolve().parents[2]
TINY = "tiny"  # instead of a model's folder: the one of tiny_model.py

RECIPE = """schema: edgecompress.recipe/v1
name: kills
calibration: { text: calibration.txt, samples: 2, sequence_length: 64 }
steps:
  - { id: cut, prune: { score: output-error, ratio: 25% } }
  - { id: mask, mask: { method: sparsegpt, pattern: "2:4", targets: ["*.mlp.*"] } }
  - { id: quant, quantize: { method: gptq, weights: { bits: 4, group_size: 32 } } }
  - { id: artifact, export: { format: genai } }
evaluate: { text: evaluation.txt, window: 64, max_windows: 2 }
"""

TRAINING = """schema: edgecompress.recipe/v1
name: training
calibration: { text: short.txt, samples: 8, sequence_length: 64 }
steps:
  - { id: quant, quantize: { method: rtn, weights: { bits: 4, group_size: 64 } } }
  - { id: train, recover: { phases: both, epochs: 1, block_epochs: 1, batch: 2, samples: 8, scale_learning_rate: 1% } }
  - { id: artifact, export: { format: genai } }
"""


def trained_commands(model, folder):
    """For a model that speaks, of some size."""
    (folder / "kills.ec.yaml").write_text(RECIPE)
    (folder / "training.ec.yaml").write_text(TRAINING)
    for name in ("calibration.txt", "evaluation.txt"):
        shutil.copy(SOURCE / "calibration" / name, folder)
    (folder / "short.txt").write_text((folder / "calibration.txt").read_text()[:3000])
    text = ["--calibration", str(folder / "calibration.txt"), "--samples", "2", "--sequence-length", "64"]
    run = lambda name, *more: ["run", str(folder / f"{name}.ec.yaml"), "--model", model, "--skip-speed-test", *more]
    return {"recipe": run("kills", "--keep-checkpoint"),
            "discard": run("kills"),
            "train": run("training"),
            "round": ["quantize", "--model", model, "--group-size", "32"],
            "mask": ["prune", "--model", model, "--mask", "2:4", "--mask-method", "wanda", *text],
            "export": ["export", "--model", model, "--format", "onnx"]}


def tiny_commands(folder):
    """For tiny_model.py's folder, which is written: hardly more than the start of the program."""
    model = str(tiny_model.write_model(folder / "model"))
    run = lambda name: ["run", str(tiny_model.write_recipe(folder, name)), "--model", model, "--skip-speed-test"]
    text = str(folder / "calibration.txt")
    return {"recipe": [*run("compress"), "--keep-checkpoint"],
            "discard": run("compress"),
            "train": run("train"),
            "qat": run("qat"),
            "round": ["quantize", "--model", model, "--group-size", "32"],
            "mask": ["prune", "--model", model, "--mask", "2:4", "--mask-method", "wanda", "--calibration", text,
                     "--samples", "2", "--sequence-length", "32"],
            "recover": ["recover", "--model", model, "--training", text, "--sequence-length", "32", "--batch", "2",
                        "--epochs", "2"],
            "export": ["export", "--model", model, "--format", "onnx"]}


class Bench:
    """The commands to be killed, and the bytes that each gives undisturbed."""

    def __init__(self, program, model, folder):
        self.program = program
        self.folder = folder
        self.model = folder / "model" if model == TINY else pathlib.Path(model)
        self.commands = tiny_commands(folder) if model == TINY else trained_commands(model, folder)
        self.expected = {}
        self.seconds = {}

    def start(self, name, output, kill_at=None, more=()):
        environment = dict(os.environ)
        environment.pop("EDGECOMPRESS_KILL_AT", None)
        if kill_at:
            environment["EDGECOMPRESS_KILL_AT"] = kill_at
        threads = str(random.choice([1, 2, 3]))
        return subprocess.Popen([self.program, *self.commands[name], "-o", str(output), "--threads", threads, *more],
                                env=environment, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE)

    def finish(self, name, output):
        """Runs undisturbed; over an output that a run killed behind its publication has left."""
        process = self.start(name, output, more=["--overwrite"] if output.exists() else [])
        error = process.communicate()[1].decode()
        if process.returncode != 0:
            raise SystemExit(f"{name}: the undisturbed command ended with {process.returncode}:\n{error}")
        return error

    def prepare(self, names):
        for name in names:
            output = self.folder / f"expected-{name}"
            begin = time.monotonic()
            self.finish(name, output)
            self.seconds[name] = time.monotonic() - begin
            self.expected[name] = contents(output)

    def check_killed(self, output, where):
        """No output, or a complete one."""
        if output.exists():
            self.verify(output, where)

    def check_finished(self, name, output, where):
        self.verify(output, where)
        found = contents(output)
        different = sorted(file for file in self.expected[name].keys() | found.keys()
                           if self.expected[name].get(file) != found.get(file))
        if different:
            raise SystemExit(f"{name}, {where}: other bytes than undisturbed in {different}")
        for leftover in (".partial", ".lock"):
            if pathlib.Path(str(output) + leftover).exists():
                raise SystemExit(f"{name}, {where}: {output}{leftover} was left behind")
        shutil.rmtree(output)

    def verify(self, output, where):
        done = subprocess.run([self.program, "verify", str(output)], capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{where}: {output} does not verify:\n{done.stdout}{done.stderr}")


def contents(folder):
    """Every file's bytes; of the report all but what differs between two runs, and not the manifest, which hashes the report."""
    files = {}
    for path in sorted(folder.rglob("*")):
        if path.is_file() and path.name != "edgecompress.manifest.json":
            files[str(path.relative_to(folder))] = path.read_bytes()
    report = json.loads(files["report.json"])
    del report["environment"]
    files["report.json"] = report
    return files


def random_kills(bench, name, kills):
    """Kills one run again and again at random moments, until it is through or was killed often enough to start another."""
    killed = resumed = outputs = 0
    while killed < kills:
        output = bench.folder / f"random-{name}-{outputs}"
        outputs += 1
        for attempt in range(4):
            process = bench.start(name, output)
            try:
                process.communicate(timeout=random.uniform(0, 1.1 * bench.seconds[name]))
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                process.communicate()
                killed += 1
                bench.check_killed(output, "killed at random")
            if output.exists():
                break
            if process.returncode not in (0, -signal.SIGKILL):
                raise SystemExit(f"{name}: an undisturbed attempt ended with {process.returncode}")
        resumed += "an interrupted run had finished" in bench.finish(name, output)
        bench.check_finished(name, output, "after random kills")
    return killed, outputs, resumed


def point_kills(bench, name, stride):
    """Kills at every stride-th passing of any named place, and resumes."""
    passing, killed, resumed = 1, 0, 0
    while True:
        output = bench.folder / f"point-{name}-{passing}"
        process = bench.start(name, output, f"*:{passing}")
        process.communicate()
        if process.returncode == 0:
            bench.check_finished(name, output, "not killed")
            return killed, resumed
        if process.returncode != -signal.SIGKILL:
            raise SystemExit(f"{name}: place {passing} ended with {process.returncode}")
        killed += 1
        bench.check_killed(output, f"killed at place {passing}")
        resumed += "an interrupted run had finished" in bench.finish(name, output)
        bench.check_finished(name, output, f"killed at place {passing}")
        passing += stride


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True)
    parser.add_argument("--model", default=str(SOURCE / "tests/models/mini-llama"), help="a folder, or tiny: tiny_model.py's")
    parser.add_argument("--kills", type=int, default=60, help="random kills, shared among the commands")
    parser.add_argument("--stride", type=int, default=1, help="of the named places every n-th; 0: none")
    parser.add_argument("--seed", type=int, default=0, help="0: drawn, and printed")
    parser.add_argument("--commands", default="", help="default: all")
    options = parser.parse_args()
    seed = options.seed or random.SystemRandom().randrange(1, 2**31)
    print(f"seed {seed}", flush=True)
    random.seed(seed)
    with tempfile.TemporaryDirectory(prefix="edgecompress-kills-") as folder:
        bench = Bench(options.program, options.model, pathlib.Path(folder))
        names = options.commands.split(",") if options.commands else list(bench.commands)
        bench.prepare(names)
        total = 0
        for i, name in enumerate(names):
            share = options.kills // len(names) + (i < options.kills % len(names))
            killed, outputs, resumed = random_kills(bench, name, share)
            total += killed
            print(f"{name}: {killed} random kills of {outputs} outputs, {resumed} of them resumed at last: all bytes the same",
                  flush=True)
            if options.stride:
                killed, resumed = point_kills(bench, name, options.stride)
                total += killed
                print(f"{name}: killed at {killed} places, {resumed} resumed behind a block: all bytes the same", flush=True)
        print(f"{total} kills")


if __name__ == "__main__":
    sys.exit(main())
