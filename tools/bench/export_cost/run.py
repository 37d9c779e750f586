"""What it costs to turn a checkpoint into a 4-bit onnxruntime-genai folder: edgecompress beside onnxruntime-genai's builder.

Usage: run.py [--size 1b|300m|40m | --model DIR] [--edgecompress PROGRAM] [--python PROGRAM] [--work DIR] [--rounds N]

Both start from the same folder of float16 weights, which is read once before, so that both find it in the page cache.
Wall time, CPU time (user + system) and peak resident memory are the kernel's, for the process and its children.
Required: at most a quarter of the builder's memory and a third of its wall time; the exit code is 1 otherwise.
The numbers depend on what else the machine does: compare ratios of one run, never numbers of two.
"""
import argparse
import os
import pathlib
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(HERE.parent))
from program_cost import measure, read_once, show  # noqa: E402

LARGEST_MEMORY_RATIO = 1 / 4
LARGEST_TIME_RATIO = 1 / 3


def folder_bytes(folder):
    return sum(file.stat().st_size for file in folder.rglob("*") if file.is_file())


def edgecompress_costs(program, model, work):
    checkpoint, artifact = work / "checkpoint", work / "edgecompress"
    quantize = measure([program, "quantize", "--model", model, "-o", checkpoint, "--bits", 4, "--group-size", 32],
                       work / "quantize.log")
    export = measure([program, "export", "--model", checkpoint, "-o", artifact, "--format", "genai", "--skip-check"],
                     work / "export.log")
    size = folder_bytes(artifact)
    shutil.rmtree(checkpoint)
    shutil.rmtree(artifact)
    return {"edgecompress quantize": quantize, "edgecompress export": export,
            "edgecompress, both": quantize.then(export)}, size


def builder_costs(python, model, work):
    artifact = work / "builder"
    cost = measure([python, "-m", "onnxruntime_genai.models.builder", "-i", model, "-o", artifact, "-p", "int4", "-e",
                    "cpu", "-c", work / "cache"], work / "builder.log")
    size = folder_bytes(artifact)
    shutil.rmtree(artifact)
    return cost, size


def one_round(arguments, model, work):
    """Returns whether the ratios are as required."""
    read_once(model)
    ours, our_size = edgecompress_costs(arguments.edgecompress, model, work)
    for name, cost in ours.items():
        show(name, cost)
    both = ours["edgecompress, both"]
    read_once(model)
    theirs, their_size = builder_costs(arguments.python, model, work)
    show("onnxruntime-genai builder", theirs)
    time_ratio, memory_ratio = both.wall / theirs.wall, both.memory / theirs.memory
    print(f"ratios: wall {time_ratio:.2f} (required {LARGEST_TIME_RATIO:.2f}), CPU {both.cpu / theirs.cpu:.2f}, "
          f"peak memory {memory_ratio:.3f} (required {LARGEST_MEMORY_RATIO:.2f}); "
          f"artifacts {our_size / 1e6:.0f} and {their_size / 1e6:.0f} MB")
    return time_ratio <= LARGEST_TIME_RATIO and memory_ratio <= LARGEST_MEMORY_RATIO


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1b", help="of make_llama.py")
    parser.add_argument("--model", type=pathlib.Path, help="a folder to take instead of a synthetic one")
    parser.add_argument("--edgecompress", type=pathlib.Path, default=ROOT / "build/release/bin/edgecompress")
    parser.add_argument("--python", type=pathlib.Path, default=ROOT / "deps/venv/bin/python",
                        help="has onnxruntime-genai")
    parser.add_argument("--work", type=pathlib.Path, help="where folders are written for the time of the run")
    parser.add_argument("--rounds", type=int, default=1)
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.work) as temporary:
        work = pathlib.Path(temporary)
        model = arguments.model
        if model is None:
            model = work / "model"
            subprocess.run([arguments.python, HERE / "make_llama.py", model, "--size", arguments.size], check=True)
        print(f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        good = [one_round(arguments, model.resolve(), work) for _ in range(arguments.rounds)]
    sys.exit(0 if all(good) else 1)


main()
