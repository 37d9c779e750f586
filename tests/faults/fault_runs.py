"""Breaks the world around edgecompress and checks what it does: python3 fault_runs.py --program FILE --calls failing_calls.so

Prints one row per fault, as docs/security.md has them. A fault must end in the expected exit code with the old state, and the same
command must afterwards, undisturbed, give the bytes of a run that nobody disturbed.
"""

import argparse
import errno
import hashlib
import json
import os
import pathlib
import shutil
import signal
import subprocess
import sys
import tempfile
import time

import tiny_model
from kill_runs import SOURCE, Bench, contents

EXIT = {"malformed": 65, "missing": 66, "memory": 71, "output": 73, "io": 74, "conflict": 75, "numeric": 76}
ROWS = []


def row(number, fault):
    def register(function):
        ROWS.append((number, fault, function))
        return function
    return register


class Faults(Bench):
    """Runs the data-free command, with system calls that fail."""

    def __init__(self, program, model, folder, calls, samples, large):
        super().__init__(program, model, folder)
        self.large = large
        self.calls = calls
        self.samples = samples
        self.number = 0
        self.prepare(["round", "export", "mask", "recipe"])

    def output(self):
        self.number += 1
        return self.folder / f"out-{self.number}"

    def run(self, name="round", output=None, more=(), command=None, **environment):
        arguments = command or [*self.commands[name], "-o", str(output)]
        done = subprocess.run([self.program, *arguments, *more], capture_output=True,
                              env={**os.environ, **environment})
        return done.returncode, done.stderr.decode(errors="replace")

    def fail(self, call, error, turn, sticky=False, name="round"):
        """Exit code, message and output of a run whose turn-th call fails."""
        output = self.output()
        plan = f"{call}:{error}:{turn}" + (":sticky" if sticky else "")
        code, text = self.run(name, output, LD_PRELOAD=self.calls, EDGECOMPRESS_FAIL=plan)
        return code, text, output

    def finish_command(self, arguments, output):
        code, text = self.run(command=[*arguments, "-o", str(output)])
        expect(code == 0, text)

    def count(self, call, name="round"):
        output = self.output()
        counts = pathlib.Path(f"{output}-counts")
        code, text = self.run(name, output, LD_PRELOAD=self.calls, EDGECOMPRESS_FAIL_COUNT=str(counts))
        expect(code == 0, text)
        return sum(int(line.split()[2]) for line in counts.read_text().splitlines() if line.split()[1] == call)

    def turns(self, total):
        """Which of `total` calls fail: all, or the first, the last and some between."""
        if self.samples == 0 or total <= self.samples:
            return range(1, total + 1)
        return sorted({1 + i * (total - 1) // (self.samples - 1) for i in range(self.samples)})

    def every_turn(self, call, error, code, words, sticky=False):
        """The n-th call fails, for the n of turns(): old state, and a second run is whole."""
        runs = 0
        for name in ("round", "export"):
            total = self.count(call, name)
            expect(total > 0, f"{name} makes no call of {call}")
            for turn in self.turns(total):
                found, text, output = self.fail(call, error, turn, sticky, name)
                where = f"{name}, {call} {turn} of {total}"
                expect(found == code, f"{where}: exit code {found}\n{text}")
                expect(words in text, f"{where}: no \"{words}\" in\n{text}")
                expect(not output.exists(), f"{where}: something was published")
                self.finish(name, output)
                self.check_finished(name, output, where)
                runs += 1
        return f"exit {code}; {runs} calls failed, one after the other"


def expect(holds, message):
    if not holds:
        raise AssertionError(message)


@row("F4", "disk full while writing (ENOSPC, once and for good)")
def disk_full(faults):
    first = faults.every_turn("write", errno.ENOSPC, EXIT["io"], "free are")
    second = faults.every_turn("write", errno.ENOSPC, EXIT["io"], "free are", sticky=True)
    return f"{first}; {second}"


@row("F4", "no space to reserve a shard")
def no_space_reserved(faults):
    return faults.every_turn("posix_fallocate", errno.ENOSPC, EXIT["io"], "needed")


@row("F6", "the input's disk fails to give a page")
def read_fails(faults):
    command = [*faults.commands["round"], "--threads", "1"]
    within = {"LD_PRELOAD": faults.calls, "EDGECOMPRESS_FAIL_WITHIN": str(faults.model / "model.safetensors")}
    for program in ("edgecompress", "edgecompress-engine"):
        output = faults.output()
        code, text = faults.run(command=[*command, "-o", str(output)], EDGECOMPRESS_FAIL="page:5:1", EDGECOMPRESS_FAIL_IN=program,
                                **within)
        if program == "edgecompress" and code == 0:  # which reads headers only
            faults.check_finished("round", output, "an unread page")
            continue
        expect(code == EXIT["io"] and "error[S38]: cannot read " in text and "failing-page" in text and "at byte " in text,
               f"{code}\n{text}")
        expect(not output.exists(), "something was published")
        faults.finish("round", output)
        faults.check_finished("round", output, "a page that was lost")
    return "exit 74 with file and byte, no death by SIGBUS"


@row("F7", "fsync fails (EIO)")
def sync_fails(faults):
    return faults.every_turn("fsync", errno.EIO, EXIT["io"], "Input/output error")


@row("F8", "short writes and interrupted ones (EINTR)")
def short_writes(faults):
    for error in ("short", errno.EINTR):
        for turn, sticky in ((1, False), (9, False), *((((1, True)),) if error == "short" else ())):
            code, text, output = faults.fail("write", error, turn, sticky)
            expect(code == 0, text)
            faults.check_finished("round", output, "short write")
    return "not noticed: the same bytes"


@row("F9", "close fails (EIO)")
def close_fails(faults):
    total = faults.count("close")
    for turn in faults.turns(total):
        code, text, output = faults.fail("close", errno.EIO, turn)
        if code == 0:  # of a folder or of a file that was only read
            faults.check_finished("round", output, f"close {turn}")
            continue
        expect(code == EXIT["io"] and not output.exists(), text)
        faults.finish("round", output)
        faults.check_finished("round", output, f"close {turn}")
    return "exit 74, or the same bytes where only a folder or an input was closed"


@row("F11", "a file cannot be created")
def create_fails(faults):
    return faults.every_turn("create", errno.EACCES, EXIT["output"], "Permission denied")


@row("F2", "the renames of journal and output fail")
def rename_fails(faults):
    code, text, output = faults.fail("renameat2", errno.EIO, 1)
    expect(code == EXIT["io"] and not output.exists(), text)
    faults.finish("round", output)
    faults.check_finished("round", output, "rename")
    for turn in (1, 3):
        code, text, output = faults.fail("rename", errno.EIO, turn)
        expect(code == EXIT["io"] and not output.exists(), text)
        faults.finish("round", output)
        faults.check_finished("round", output, "rename of the journal")
    return "exit 74, old state"


@row("F10", "the output's parent is missing, or a file")
def parent_missing(faults):
    for parent in (faults.folder / "no", faults.folder / "kills.ec.yaml"):
        code, text = faults.run(output=parent / "out")
        expect(code == EXIT["output"] and str(parent) in text, text)
    return "exit 73"


def mounted(faults, options):
    """A file system of its own, or None where mounting is not permitted."""
    point = faults.output()
    point.mkdir()
    done = subprocess.run(["mount", "-t", "tmpfs", "-o", options, "tmpfs", str(point)], capture_output=True)
    return point if done.returncode == 0 else None


@row("F4", "a file system of 2 MiB")
def small_file_system(faults):
    point = mounted(faults, "size=2m")
    if point is None:
        return "skipped: mounting is not permitted here"
    try:
        output = point / "out"
        code, text = faults.run(output=output)
        expect(code == EXIT["io"] and not output.exists(), text)
        subprocess.run(["mount", "-o", "remount,size=30m", str(point)], check=True)
        faults.finish("round", output)
        faults.check_finished("round", output, "after more space")
    finally:
        subprocess.run(["umount", str(point)], check=True)
    return "exit 74; after making room the same command goes on"


@row("F11", "a read-only file system")
def read_only_file_system(faults):
    point = mounted(faults, "size=3m,ro")
    if point is None:
        return "skipped: mounting is not permitted here"
    try:
        code, text = faults.run(output=point / "out")
        expect(code == EXIT["output"], text)
    finally:
        subprocess.run(["umount", str(point)], check=True)
    return "exit 73"


@row("F4", "a limit on file sizes (SIGXFSZ)")
def file_size_limit(faults):
    output = faults.output()
    code = subprocess.run(["sh", "-c", f'ulimit -f 100; "$0" "$@" 2>/dev/null', faults.program,
                           *faults.commands["round"], "-o", str(output)]).returncode
    expect(code == EXIT["io"] and not output.exists(), f"exit code {code}")
    return "exit 74"


@row("F12", "the output exists")
def output_exists(faults):
    output = faults.output()
    faults.finish("round", output)
    before = contents(output)
    code, text = faults.run(output=output)
    expect(code == EXIT["output"] and "--overwrite" in text, text)
    code, text = faults.run(output=output, more=["--overwrite"])
    expect(code == 0 and contents(output) == before, text)
    return "exit 73; replaced whole with --overwrite"


@row("F13", "input and output are the same, or nested, by a link too")
def nested(faults):
    link = faults.output()
    link.symlink_to(faults.model)
    for output in (faults.model, faults.model / "out", link, link / "out"):
        code, text = faults.run(output=output, more=["--overwrite"])
        expect(code == 2 and "O-NESTED" in text, text)
    return "exit 2"


@row("F14", "two writers of one output")
def two_writers(faults):
    output = faults.output()
    first = faults.start("round", output)
    lock = pathlib.Path(str(output) + ".lock")
    while not lock.exists() and first.poll() is None:
        time.sleep(0.001)
    code, text = faults.run(output=output)
    first.communicate()
    expect(first.returncode == 0, "the first writer was disturbed")
    expect(code in (EXIT["conflict"], EXIT["output"]), text)  # 73 when the first was through already
    faults.check_finished("round", output, "two writers")
    return "exit 75, the first is not disturbed"


@row("F15", "the holder of the lock was killed")
def lock_holder_killed(faults):
    output = faults.output()
    process = faults.start("round", output, kill_at="file-written:2")
    process.communicate()
    expect(process.returncode == -signal.SIGKILL, "not killed")
    faults.finish("round", output)
    faults.check_finished("round", output, "killed holder")
    return "the next run goes on"


def model_copy(faults):
    model = faults.output()
    shutil.copytree(faults.model, model)
    return model


@row("F16", "a shard cut in its header, in the middle, before its last byte")
def truncated(faults):
    model = model_copy(faults)
    shard = model / "model.safetensors"
    size = shard.stat().st_size
    for length in (size - 1, size // 2, 1000, 4, 0):
        os.truncate(shard, length)
        output = faults.output()
        code, text = faults.run(command=["quantize", "--model", str(model), "-o", str(output)])
        expect(code == EXIT["malformed"] and not output.exists(), text)
    return "exit 65"


@row("F17", "a bit of a weight flipped, with --input-manifest")
def flipped_bit(faults):
    model = model_copy(faults)
    names = ["config.json", "model.safetensors", "tokenizer.json"]
    names = [name for name in names if (model / name).exists()]
    manifest = faults.output().with_suffix(".sha256")
    lines = [f"{hashlib.sha256((model / name).read_bytes()).hexdigest()}  {name}\n" for name in names]
    manifest.write_text("".join(lines))

    def quantize(manifest, *flags):
        output = faults.output()
        code, text = faults.run(command=["quantize", "--model", str(model), "-o", str(output),
                                         "--input-manifest", str(manifest), *flags])
        return code, text, output

    code, text, output = quantize(manifest)
    expect(code == 0, text)
    told = json.loads((output / "report.json").read_text())["model"]["input_manifest_sha256"]
    expect(told == hashlib.sha256(manifest.read_bytes()).hexdigest(), told)
    shard = model / "model.safetensors"
    data = bytearray(shard.read_bytes())
    data[-100] ^= 1
    shard.write_bytes(data)
    code, text, output = quantize(manifest)
    expect(code == EXIT["malformed"] and "I-HASH" in text and "model.safetensors" in text, text)
    expect("config.json" not in text and not output.exists(), text)
    code, text, output = quantize(manifest, "--dry-run")
    expect(code == EXIT["malformed"] and "I-HASH" in text, text)
    manifest.write_text(lines[0])
    code, text, output = quantize(manifest)
    expect(code == EXIT["malformed"] and "model.safetensors: not listed" in text, text)
    expect(not output.exists(), "something was published")
    return "exit 65 before any work; the report names the list"


@row("F18", "a shard is made shorter, or rewritten, during the run")
def changed_input(faults):
    model = model_copy(faults)
    shard = model / "model.safetensors"
    whole = shard.read_bytes()
    for change in (lambda: os.truncate(shard, 4096), lambda: os.utime(shard)):
        shard.write_bytes(whole)
        output = faults.output()
        process = subprocess.Popen([faults.program, "quantize", "--model", str(model), "-o", str(output)],
                                   stderr=subprocess.PIPE)
        partial = pathlib.Path(str(output) + ".partial")
        while not partial.exists() and process.poll() is None:
            time.sleep(0.001)
        change()
        text = process.communicate()[1].decode()
        expect(process.returncode == EXIT["io"] and "S38" in text and str(shard) in text,
               f"exit code {process.returncode}\n{text}")
        expect(not output.exists(), "something was published")
    return "exit 74, no death by SIGBUS"


def overwrite_weight(model, value, count=1):
    """Puts 16-bit values at the start of block 1's gate_proj."""
    shard = model / "model.safetensors"
    data = bytearray(shard.read_bytes())
    length = int.from_bytes(data[:8], "little")
    header = json.loads(data[8:8 + length])
    begin = 8 + length + header["model.layers.1.mlp.gate_proj.weight"]["data_offsets"][0]
    data[begin:begin + 2 * count] = value.to_bytes(2, "little") * count
    shard.write_bytes(data)


@row("F19", "NaN and infinity in a weight")
def nonfinite_weights(faults):
    for value in (0x7E00, 0x7C00, 0xFC00):
        model = model_copy(faults)
        overwrite_weight(model, value)
        for arguments in (["quantize", "--group-size", "32"], ["prune", "--mask", "2:4"]):
            output = faults.output()
            code, text = faults.run(command=[*arguments, "--model", str(model), "-o", str(output)])
            expect(code == EXIT["numeric"] and "model.layers.1.mlp.gate_proj" in text, f"{code}\n{text}")
            expect(not output.exists(), "something was published")
            expect(not pathlib.Path(str(output) + ".partial").exists(), "something was left")
    return "exit 76, with the layer; nothing is left"


@row("F21", "a row of zeros")
def zero_row(faults):
    model = model_copy(faults)
    overwrite_weight(model, 0, 256)
    output = faults.output()
    faults.finish_command(["quantize", "--group-size", "32", "--model", str(model)], output)
    faults.verify(output, "a row of zeros")
    return "quantized; the output verifies"


@row("F27", "an allocation of 64 KiB or more fails")
def allocation_fails(faults):
    runs, survived = 0, 0
    for name in ("round", "mask"):
        total = faults.count("malloc", name)
        for turn in faults.turns(total):
            code, text, output = faults.fail("malloc", errno.ENOMEM, turn, name=name)
            where = f"{name}, allocation {turn} of {total}"
            runs += 1
            if code == 0:  # somebody had another way
                survived += 1
            else:
                expect(code == EXIT["memory"] and "M-ALLOC" in text, f"{where}: exit code {code}\n{text}")
                expect(not output.exists(), f"{where}: something was published")
                faults.finish(name, output)
            faults.check_finished(name, output, where)
    return f"exit 71; {runs} allocations failed one after the other, {survived} without harm"


@row("F28", "less memory than the run needs")
def little_memory(faults):
    output = faults.output()
    code, text = faults.run(output=output, more=["--max-memory", "20MiB"])
    expect(code == EXIT["memory"] and "M-BUDGET" in text and "needs at least" in text, text)
    return "exit 71 before any work, with the number that is needed"


@row("F30", "SIGINT, SIGTERM and SIGHUP")
def signals(faults):
    for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        output = faults.output()
        process = faults.start("recipe", output)
        journal = pathlib.Path(str(output) + ".partial/resume/state.json")
        while not journal.exists() and process.poll() is None:
            time.sleep(0.002)
        process.send_signal(number)
        text = process.communicate()[1].decode()
        expect(process.returncode == 128 + number, f"exit code {process.returncode}\n{text}")
        expect("the same command goes on" in text and not output.exists(), text)
        if number == signal.SIGINT:
            faults.finish("recipe", output)
            continue
        shutil.rmtree(str(output) + ".partial")
    return "exit 130, 143, 129; the same command goes on"


@row("F31", "standard output full, closed, or a pipe that nobody reads; standard error closed")
def streams(faults):
    shell = ["sh", "-c"]
    program = faults.program
    full = subprocess.run([*shell, f"{program} inspect {faults.model} --json >/dev/full 2>/dev/null"]).returncode
    expect(full == EXIT["io"], f"full: {full}")
    pipe = subprocess.run([*shell, f"{program} inspect {faults.model} --json | head -c 1 >/dev/null"]).returncode
    expect(pipe == 0, f"pipe: {pipe}")
    output = faults.output()
    command = " ".join(faults.commands["round"])
    closed = subprocess.run([*shell, f"{program} {command} -o {output} >/dev/null 2>&-"]).returncode
    expect(closed == 0, f"closed: {closed}")
    faults.check_finished("round", output, "stderr closed")
    # what is printed must not go into the first file that is opened
    logged = subprocess.run([*shell, f"exec {program} {command} -o {output} --log-file {output}-log -v >/dev/null 2>&-"]).returncode
    expect(logged == 0, f"closed, with a log: {logged}")
    faults.check_finished("round", output, "stderr closed, with a log")
    log = pathlib.Path(f"{output}-log").read_text()
    expect(log.count("threads, ") == 1, f"what belongs on the screen is in the log:\n{log}")
    return "exit 74 when full or closed; a run needs no standard error"


@row("F34", "other time zones and locales, HOME unset")
def environments(faults):
    for environment in ({"TZ": "Pacific/Kiritimati"}, {"LC_ALL": "de_DE.UTF-8"}, {"LC_ALL": "tr_TR.UTF-8"},
                        {"LC_ALL": "POSIX"}, {"HOME": ""}):
        output = faults.output()
        code, text = faults.run(output=output, **environment)
        expect(code == 0, text)
        faults.check_finished("round", output, str(environment))
    return "the same bytes"


@row("F34", "the working folder was deleted")
def deleted_folder(faults):
    folder = faults.output()
    folder.mkdir()
    command = " ".join([*faults.commands["round"], "-o", str(faults.output())])
    done = subprocess.run(["sh", "-c", f'cd {folder} && rmdir {folder} && "$0" {command}', faults.program], capture_output=True, text=True)
    expect(done.returncode == EXIT["missing"] and "the working folder is gone" in done.stderr, f"{done.returncode}\n{done.stderr}")
    return "exit 66"


def hollow_model(folder):
    """A model of 16-bit zeros whose weights take more than 2 GiB, as holes."""
    settings = {**tiny_model.config(), "hidden_size": 2048, "intermediate_size": 8192, "num_hidden_layers": 18,
                "num_attention_heads": 16, "num_key_value_heads": 16, "head_dim": 128, "dtype": "float16"}
    header, end = {}, 0
    for name, shape in tiny_model.shapes(settings).items():
        begin, end = end, end + 2 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [begin, end]}
    expect(end > 2**31, "more than 2 GiB")
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(settings))
    text = json.dumps(header).encode()
    with open(folder / "model.safetensors", "wb") as file:
        file.write(len(text).to_bytes(8, "little") + text)
        file.truncate(8 + len(text) + end)
    return folder


@row("F35", "weights of more than 2 GiB in an artifact (--large)")
def large_artifact(faults):
    if not faults.large:
        return "skipped: not asked for"
    model, output = hollow_model(faults.output()), faults.output()
    faults.finish_command(["export", "--model", str(model), "--skip-check"], output)
    graph, data = (output / "model.onnx").stat().st_size, (output / "model.onnx.data").stat().st_size
    expect(data > 2**31 > 2**21 > graph, f"data {data}, graph {graph}")
    faults.verify(output, "more than 2 GiB")
    shutil.rmtree(output)
    return f"{data} bytes of external data beside a graph of {graph}; the folder verifies"


@row("F36", "a processor without AVX2 (qemu)")
def old_processor(faults):
    qemu = shutil.which("qemu-x86_64") or shutil.which("qemu-x86_64-static")
    if qemu is None:
        return "skipped: qemu-x86_64 is absent"
    old = [qemu, "-cpu", "Nehalem", faults.program]
    done = subprocess.run([*old, *faults.commands["round"], "-o", str(faults.output())], capture_output=True, text=True)
    expect(done.returncode == 69 and "U-PROCESSOR" in done.stderr, f"{done.returncode}\n{done.stderr}")
    done = subprocess.run([*old, "inspect", str(faults.model)], capture_output=True, text=True)
    expect(done.returncode == 0, f"inspect: {done.returncode}\n{done.stderr}")
    return "exit 69 that names what is missing, no death by SIGILL"


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True)
    parser.add_argument("--calls", required=True, help="the built failing_calls module")
    parser.add_argument("--model", default=str(SOURCE / "tests/models/mini-llama"))
    parser.add_argument("--samples", type=int, default=0, help="of the calls that can fail so many, evenly; 0: all of them")
    parser.add_argument("--large", action="store_true", help="also what needs some 5 GB of disk")
    parser.add_argument("--only", default="", help="rows, F4,F7 for example")
    options = parser.parse_args()
    failures = 0
    with tempfile.TemporaryDirectory(prefix="edgecompress-faults-") as folder:
        faults = Faults(options.program, options.model, pathlib.Path(folder), options.calls, options.samples, options.large)
        for number, fault, check in ROWS:
            if options.only and number not in options.only.split(","):
                continue
            begin = time.monotonic()
            try:
                print(f"| {number} | {fault} | {check(faults)} | {time.monotonic() - begin:.1f} s", flush=True)
            except (AssertionError, SystemExit) as failure:
                failures += 1
                print(f"| {number} | {fault} | FAILED: {failure}", flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
