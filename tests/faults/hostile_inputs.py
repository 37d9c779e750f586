"""What nobody gives on purpose, to every command: python3 hostile_inputs.py --program bin/edgecompress

Pipes, devices, folders and links in circles in the place of every file and folder, numbers out of range, odd texts, recipes that name
themselves, little of every resource, leftovers that somebody else made. Each must end in time with the exit code that stands here,
with one message, and without an output. Needs nothing but Python 3.
"""

import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

import tiny_model

LIMIT_SECONDS = 60
USAGE, MALFORMED, MISSING, UNSUPPORTED, OUTPUT, IO, CONFLICT = 2, 65, 66, 69, 73, 74, 75


class World:
    """A model, its texts, and what may stand in the place of a file."""

    def __init__(self, program, folder):
        self.program, self.folder = program, folder
        self.model = tiny_model.write_model(folder / "model")
        self.recipe = tiny_model.write_recipe(folder, "compress")
        self.text = folder / "calibration.txt"
        os.mkfifo(folder / "pipe")
        (folder / "folder").mkdir()
        (folder / "circle").symlink_to("circle")
        (folder / "circles").mkdir()
        (folder / "circles" / "config.json").symlink_to("config.json")
        self.odd = {"a pipe": folder / "pipe", "a folder": folder / "folder", "a link in a circle": folder / "circle",
                    "a device": pathlib.Path("/dev/zero"), "nothing": folder / "none"}
        self.failures = self.outputs = self.cases = 0

    def file(self, name, content):
        path = self.folder / name
        path.write_bytes(content if isinstance(content, bytes) else content.encode())
        return path

    def output(self):
        self.outputs += 1
        return self.folder / f"out-{self.outputs}"

    def writing(self, command, *more):
        return [command, "--model", self.model, "-o", self.output(), *more]

    def rounding(self, *more):
        return self.writing("quantize", "--group-size", "32", *more)

    def masking(self, *more):
        return self.writing("prune", "--mask", "2:4", "--mask-method", "wanda", "--sequence-length", "32", *more)

    def training(self, *more):
        return self.writing("recover", "--sequence-length", "32", "--epochs", "1", *more)

    def scoring(self, *more):
        return ["eval", "--model", self.model, "--window", "32", *more]

    def expect(self, name, codes, arguments, shell='exec "$0" "$@"', **environment):
        """codes: an exit code, or several that will do."""
        self.cases += 1
        codes = codes if isinstance(codes, tuple) else (codes,)
        arguments = [str(argument) for argument in arguments]
        try:
            done = subprocess.run(["sh", "-c", shell, self.program, *arguments], capture_output=True, stdin=subprocess.DEVNULL,
                                  timeout=LIMIT_SECONDS, env={**os.environ, **environment}, cwd=self.folder)
        except subprocess.TimeoutExpired:
            return self.fail(name, "it hangs", arguments)
        text = done.stderr.decode(errors="replace")
        if done.returncode not in codes:
            return self.fail(name, f"exit code {done.returncode}, not {codes}\n    {text[:400]}", arguments)
        if done.returncode > 1 and "2>" not in shell and text.count("error[") != 1:
            return self.fail(name, f"{text.count('error[')} errors in\n    {text[:400]}", arguments)
        if done.returncode > 1 and done.returncode != IO and "-o" in arguments:
            output = arguments[arguments.index("-o") + 1]
            if output.startswith(str(self.folder / "out-")) and os.path.lexists(output):
                return self.fail(name, "an output", arguments)

    def fail(self, name, what, arguments):
        self.failures += 1
        print(f"{name}: {what}\n    {' '.join(arguments)}", flush=True)


def odd_files(world):
    """Where a command reads."""
    for name, path in world.odd.items():
        no_file = (MISSING, MALFORMED) if name == "a folder" else MISSING
        for command in ("inspect", "verify", "report", "recipe check", "recipe show", "recipe explain", "recipe lock"):
            more = ["--model", world.model] if command in ("recipe explain", "recipe lock") else []
            # verify lists what is wrong with a folder
            code = 1 if command == "verify" and name == "a folder" else no_file
            world.expect(f"{command}, {name}", code, [*command.split(), path, *more])
        world.expect(f"status, {name}", (0, OUTPUT), ["status", path])
        world.expect(f"diff, {name}", no_file, ["diff", path, path])
        world.expect(f"a recipe, {name}", MISSING, ["run", path, "--model", world.model, "-o", world.output()])
        world.expect(f"a plan's recipe, {name}", MISSING, ["plan", path, "--model", world.model])
        world.expect(f"a model, {name}", no_file, ["quantize", "--model", path, "-o", world.output()])
        world.expect(f"a teacher, {name}", no_file, world.training("--training", world.text, "--teacher", path))
        if name == "nothing":
            continue
        world.expect(f"an output, {name}", OUTPUT, ["quantize", "--model", world.model, "-o", path])
        if name in ("a pipe", "a link in a circle"):
            world.expect(f"a scored text, {name}", MISSING, world.scoring("--text", path))
            world.expect(f"a calibration text, {name}", MISSING, world.masking("--calibration", path))
            world.expect(f"a training text, {name}", MISSING, world.training("--training", path))
            world.expect(f"ONNX Runtime, {name}", MISSING, world.writing("export", "--onnxruntime", path))
    world.expect("a config.json that is a link to itself", MALFORMED, ["inspect", world.folder / "circles"])
    world.expect("an output without a name", OUTPUT, ["quantize", "--model", world.model, "-o", ""])
    world.expect("an output with a long name", OUTPUT, ["quantize", "--model", world.model, "-o", world.folder / ("x" * 300)])
    world.expect("an output in /proc", (OUTPUT, IO), ["quantize", "--model", world.model, "-o", "/proc/edgecompress"])


def odd_numbers(world):
    for value in ("0", "-1", "1025", "99999999999999999999", "1.5", ""):
        world.expect(f"--threads {value}", USAGE, world.rounding("--threads", value))
    for value in ("0", "1", "-5", "129", "9223372036854775807"):
        world.expect(f"--window {value}", USAGE, ["eval", "--model", world.model, "--text", world.text, "--window", value])
    for value in ("-1", "1", "9223372036854775807", "100000000"):
        world.expect(f"--context-length {value}", USAGE, world.writing("export", "--context-length", value))
    for value in ("2", "64"):  # shorter than the windows that an artifact is checked on by itself
        world.expect(f"--context-length {value}", 0, world.writing("export", "--context-length", value))
    world.expect("--samples 2^63 - 1", MALFORMED, world.masking("--calibration", world.text, "--samples", "9223372036854775807"))
    for value in ("0", "101%", "-1GiB", "nan", "1e300GiB"):
        world.expect(f"--max-memory {value}", USAGE, world.rounding("--max-memory", value))
    for value in ("nan", "inf", "-1"):
        world.expect(f"--learning-rate {value}", USAGE, world.training("--training", world.text, "--learning-rate", value))
    context = world.file("context.ec.yaml", "schema: edgecompress.recipe/v1\nname: x\nsteps:\n"
                         "  - { id: q, quantize: { method: rtn, weights: { group_size: 32 } } }\n"
                         "  - { id: e, export: { format: genai, context_length: 16 } }\nevaluate: { text: evaluation.txt, window: 32 }\n")
    world.expect("windows longer than the artifact's context", USAGE, ["run", context, "--model", world.model, "-o", world.output()])
    short = world.file("short.ec.yaml", "schema: edgecompress.recipe/v1\nname: x\nsteps:\n"
                       "  - { id: q, quantize: { method: rtn, weights: { group_size: 32 } } }\n"
                       "  - { id: e, export: { format: genai, context_length: 16 } }\n")
    world.expect("a speed test within a short context", 0, ["run", short, "--model", world.model, "-o", world.output()])


def odd_texts(world):
    some = ["--windows", "2"]
    for name, content in (("one line of 10 MB", b"a" * 10_000_000), ("10 MB of new lines", b"\n" * 10_000_000),
                          ("NUL bytes", b"ab\0cd\0" * 100)):
        world.expect(name, 0, world.scoring("--text", world.file("odd.txt", content), *some))
    for name, content in (("UTF-16", "hello ".encode("utf-16") * 100), ("a lone surrogate", b"\xed\xa0\x80" * 100), ("nothing", b""),
                          ("one letter", b"a")):
        world.expect(name, MALFORMED, world.scoring("--text", world.file("odd.txt", content)))
    for name, content in (("no JSON", b'{"text": "a"}\n{bad\n'), ("a negative id", b'{"input_ids": [-1, 2]}\n'),
                          ("an id of 20 digits", b'{"input_ids": [99999999999999999999]}\n'), ("100,000 levels", b"[" * 100_000),
                          ("null", b"null\n")):
        world.expect(name, MALFORMED, world.masking("--calibration", world.file("odd.jsonl", content), "--samples", "2"))


def odd_recipes(world):
    head = "schema: edgecompress.recipe/v1\nname: x\n"
    step = "steps:\n  - { id: q, quantize: { method: rtn, weights: { group_size: 32 } } }\n"
    for name, code, text in (("itself", USAGE, f"{head}extends: itself.ec.yaml\n{step}"),
                             ("itself in a list", USAGE, f"{head}extends: [listed.ec.yaml]\n{step}"),
                             ("a folder", USAGE, f"{head}extends: folder\n{step}"), ("a pipe", USAGE, f"{head}extends: pipe\n{step}"),
                             ("a link in a circle", USAGE, f"{head}extends: circle\n{step}")):
        file = {"itself": "itself.ec.yaml", "itself in a list": "listed.ec.yaml"}.get(name, "odd.ec.yaml")
        world.expect(f"a recipe that extends {name}", (code, MISSING), ["recipe", "check", world.file(file, text)])
    for name, text in (("a pipe", "pipe"), ("a folder", "folder"), ("a link in a circle", "circle")):
        recipe = world.file("odd.ec.yaml", f"{head}evaluate: {{ text: {text} }}\n{step}")
        world.expect(f"a recipe whose text is {name}", MISSING, ["run", recipe, "--model", world.model, "-o", world.output()])
    many = "".join(f"  - {{ id: p{i}, prune: {{ score: magnitude-l2, ratio: 1% }} }}\n" for i in range(5000))
    world.expect("a recipe of 5000 steps", 0, ["recipe", "check", world.file("odd.ec.yaml", f"{head}steps:\n{many}")])
    good = world.file("good.ec.yaml", head + step)
    for change in ("a=b", "steps=1", "=", "steps.q.quantize.weights.bits=99999999999", "steps.q.x=1"):
        world.expect(f"--set {change}", USAGE, ["recipe", "check", good, "--set", change])


def little_of_everything(world):
    for limit in ("ulimit -n 8", "ulimit -f 0"):
        world.expect(limit, (IO, MISSING, OUTPUT), world.rounding(), shell=f'{limit}; exec "$0" "$@"')
    world.expect("TMPDIR that is not there", (IO, 0), ["plan", world.recipe, "--shape", "llama-2-7b", "--skip-time"],
                 TMPDIR="/nonexistent")
    world.expect("HOME that is not there", 0, world.rounding(), shell='unset HOME; exec "$0" "$@"')
    world.expect("odd variables of other libraries", 0, world.rounding(), OMP_NUM_THREADS="-1", MKL_NUM_THREADS="0", OMP_STACKSIZE="1")
    world.expect("operators that are a folder", (MISSING, MALFORMED), world.writing("export", "--format", "genai-sparse"),
                 EDGECOMPRESS_OPERATORS=str(world.folder / "folder"))
    world.expect("a summary that is a folder", (0, OUTPUT, IO), world.rounding(), GITHUB_STEP_SUMMARY=str(world.folder / "folder"))
    for command in (["inspect", world.model], ["recipe", "schema"], ["limits"], ["--version"], ["--help"]):
        world.expect(f"{command[0]}, standard output closed", IO, command, shell='exec "$0" "$@" >&-')


def foreign_leftovers(world):
    """In the places of what an interrupted run leaves."""
    def partial(output):
        place = pathlib.Path(f"{output}.partial")
        (place / "resume").mkdir(parents=True)
        return place

    def staging_link(output):
        pathlib.Path(f"{output}.partial").symlink_to("/etc")

    def state_link(output):
        pathlib.Path(f"{output}.partial").mkdir()
        pathlib.Path(f"{output}.partial/resume").symlink_to("/etc")

    def output_link(output):
        pathlib.Path(f"{output}.partial").mkdir()
        pathlib.Path(f"{output}.partial/output").symlink_to(world.folder / "folder")

    makers = {"a file": lambda output: pathlib.Path(f"{output}.partial").write_text("x"), "a link": staging_link,
              "a lock that is a folder": lambda output: pathlib.Path(f"{output}.lock").mkdir(),
              "a lock that is a link": lambda output: pathlib.Path(f"{output}.lock").symlink_to("/etc/passwd"),
              "a lock that is a pipe": lambda output: os.mkfifo(f"{output}.lock"),
              "a journal that is a pipe": lambda output: os.mkfifo(partial(output) / "state.json"),
              "a journal that is a folder": lambda output: (partial(output) / "resume/state.json").mkdir(),
              "a journal that is a link to itself": lambda output: (partial(output) / "resume/state.json").symlink_to("state.json"),
              "a journal of another kind": lambda output: (partial(output) / "resume/state.json").write_text("[]"),
              "resume that is a link": state_link, "output that is a link": output_link,
              "an output that is a link to nothing": lambda output: output.symlink_to("nowhere")}
    for name, make in makers.items():
        command = world.rounding()
        make(command[command.index("-o") + 1])
        world.expect(f"left behind: {name}", (0, MISSING, OUTPUT, IO, CONFLICT), command)
    if any((world.folder / "folder").iterdir()):
        world.fail("left behind", "something was written through a link", [])


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True)
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgecompress-hostile-") as folder:
        world = World(options.program, pathlib.Path(folder))
        for part in (odd_files, odd_numbers, odd_texts, odd_recipes, little_of_everything, foreign_leftovers):
            part(world)
    print(f"{world.cases} cases, {world.failures} wrong")
    return 1 if world.failures else 0


if __name__ == "__main__":
    sys.exit(main())
