"""What a model that is larger than the memory it may take costs: round to nearest INT4 and a genai folder, in one run.

Usage: run.py [--size 7b|1b|300m|40m | --model DIR] [--edgecompress PROGRAM] [--work DIR] [--max-memory SIZE]

Beside it stands the time to read the same files once and to write as many bytes as the run wrote, to the disk. No file of the
model is in the page cache when either begins. And, for a synthetic model, the time of rounding and packing alone: the same run over
an eighth of the blocks, from the page cache to a folder in memory, for as many bytes.
Required: a peak of at most 3 GiB of resident memory, and at most 1.5 times reading, writing and packing; the exit code is 1 otherwise.
"""
import argparse
import json
import os
import pathlib
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(HERE.parent))
from program_cost import measure, read_once, show  # noqa: E402

LARGEST_MEMORY = 3 << 30
LARGEST_RATIO = 1.5
IN_MEMORY = "/dev/shm"
PIECE = 1 << 24
RECIPE = """schema: edgecompress.recipe/v1
name: streaming
steps:
  - { id: quant, quantize: { method: rtn, weights: { bits: 4, group_size: 128 } } }
  - { id: artifact, export: { format: genai } }
"""


def forget(folder):
    """Drops the files' pages from the page cache."""
    for path in folder.iterdir():
        with path.open("rb") as file:
            os.fsync(file.fileno())
            os.posix_fadvise(file.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)


def run(program, model, work, max_memory):
    (work / "streaming.ec.yaml").write_text(RECIPE)
    return measure([program, "run", work / "streaming.ec.yaml", "--model", model, "-o", work / "artifact", "--skip-check",
                    "--skip-speed-test", "--max-memory", max_memory], work / "log")


def copy_seconds(model, written_bytes, target):
    """Reading every file of the model once, and writing `written_bytes`."""
    start = time.monotonic()
    read_once(model)
    read = time.monotonic() - start
    piece = os.urandom(PIECE)
    with target.open("wb", buffering=0) as file:
        for begin in range(0, written_bytes, PIECE):
            file.write(piece[:min(PIECE, written_bytes - begin)])
        os.fsync(file.fileno())
    target.unlink()
    return read, time.monotonic() - start - read


def make_model(path, size, *flags):
    subprocess.run([sys.executable, HERE.parent / "export_cost/make_llama.py", path, "--size", size, *flags], check=True)


def size_of(folder):
    return sum(path.stat().st_size for path in folder.iterdir())


def packing_seconds(arguments, model, work):
    """What the run takes for as many bytes where neither reading nor writing waits for a disk."""
    part, blocks = work / "part", json.loads((model / "config.json").read_text())["num_hidden_layers"]
    make_model(part, arguments.size, "--blocks", str(max(1, blocks // 8)))
    read_once(part)
    with tempfile.TemporaryDirectory(dir=IN_MEMORY) as folder:
        cost = run(arguments.edgecompress, part, pathlib.Path(folder), arguments.max_memory)
    return cost.wall * size_of(model) / size_of(part)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="7b", help="of ../export_cost/make_llama.py")
    parser.add_argument("--model", type=pathlib.Path, help="a folder to take instead of a synthetic one")
    parser.add_argument("--edgecompress", type=pathlib.Path, default=ROOT / "build/release/bin/edgecompress")
    parser.add_argument("--work", type=pathlib.Path, help="where folders are written for the time of the run")
    parser.add_argument("--max-memory", default="3GiB", help="what edgecompress is told to stay within")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.work) as temporary:
        work = pathlib.Path(temporary)
        model = arguments.model
        if model is None:
            model = work / "model"
            make_model(model, arguments.size)
        forget(model)
        cost = run(arguments.edgecompress, model, work, arguments.max_memory)
        written = size_of(work / "artifact")
        forget(model)
        read_seconds, write_seconds = copy_seconds(model, written, work / "copy")
        show("edgecompress run", cost)
        print(f"reading the model {read_seconds:.1f} s, writing {written / 1e9:.2f} GB as the run did {write_seconds:.1f} s; "
              f"wall time of the run over both: {cost.wall / (read_seconds + write_seconds):.2f}")
        good = cost.memory <= LARGEST_MEMORY
        if arguments.model is None:
            packing = packing_seconds(arguments, model, work)
            ratio = cost.wall / (read_seconds + write_seconds + packing)
            print(f"rounding and packing alone {packing:.1f} s; wall time of the run over all three: {ratio:.2f} "
                  f"(required {LARGEST_RATIO:.2f})")
            good &= ratio <= LARGEST_RATIO
    sys.exit(0 if good else 1)


if __name__ == "__main__":
    main()
