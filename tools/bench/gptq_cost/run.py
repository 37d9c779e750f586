"""What GPTQ costs: `edgecompress quantize --method gptq` beside llm-compressor's GPTQModifier, on the same token ids.

Usage: run.py [--size 160m|40m|300m|1b] [--samples N] [--length N] [--edgecompress PROGRAM] [--python PROGRAM]
              [--work DIR] [--rounds N] [--flags FLAGS]

Both start from the same folder of random float16 weights, which is read once before, and calibrate on the same random
token ids; both put the decoder blocks on symmetric 4-bit grids in groups of 128 and leave the embedding and the head.
Wall time, CPU time (user + system) and peak resident memory are the kernel's, from the start of the program to the
written folder. edgecompress runs with its defaults: a search of the grids and two rounds of refinement, which
llm-compressor does not have. --flags adds flags to it, for example --flags="--refine-rounds 0 --clip none".
Required: at most half of llm-compressor's wall time and of its memory; the exit code is 1 otherwise.
The numbers depend on what else the machine does: compare ratios of one run, never numbers of two.
"""
import argparse
import json
import os
import pathlib
import random
import shlex
import shutil
import subprocess
import sys
import tempfile

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(HERE.parent))
from program_cost import measure, read_once, show  # noqa: E402

MAKE_LLAMA = HERE.parent / "export_cost/make_llama.py"
LARGEST_RATIO = 1 / 2
GROUP_SIZE = 128


def write_tokens(path, vocabulary, samples, length):
    numbers = random.Random(0)
    with path.open("w") as file:
        for _ in range(samples):
            ids = [numbers.randrange(vocabulary) for _ in range(length)]
            file.write(json.dumps({"input_ids": ids}) + "\n")


def edgecompress_cost(arguments, model, tokens, work):
    output = work / "edgecompress"
    cost = measure([arguments.edgecompress, "quantize", "--model", model, "-o", output, "--method", "gptq", "--bits", 4,
                    "--group-size", GROUP_SIZE, "--embedding-bits", "none", "--head-bits", "none", "--calibration",
                    tokens, "--samples", arguments.samples, "--sequence-length", arguments.length,
                    *shlex.split(arguments.flags)], work / "edgecompress.log")
    shutil.rmtree(output)
    return cost


def llm_compressor_cost(arguments, model, tokens, work):
    output = work / "llm-compressor"
    cost = measure([arguments.python, HERE / "llm_compressor.py", model, output, tokens, GROUP_SIZE],
                   work / "llm-compressor.log")
    shutil.rmtree(output)
    return cost


def one_round(arguments, model, tokens, work):
    """Returns whether the ratios are as required."""
    read_once(model)
    ours = edgecompress_cost(arguments, model, tokens, work)
    show("edgecompress", ours)
    read_once(model)
    theirs = llm_compressor_cost(arguments, model, tokens, work)
    show("llm-compressor", theirs)
    time_ratio, memory_ratio = ours.wall / theirs.wall, ours.memory / theirs.memory
    print(f"ratios: wall {time_ratio:.2f} (required {LARGEST_RATIO:.2f}), CPU {ours.cpu / theirs.cpu:.2f}, "
          f"peak memory {memory_ratio:.2f} (required {LARGEST_RATIO:.2f})")
    return time_ratio <= LARGEST_RATIO and memory_ratio <= LARGEST_RATIO


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="160m", help="of export_cost/make_llama.py")
    parser.add_argument("--samples", type=int, default=16, help="calibration sequences")
    parser.add_argument("--length", type=int, default=512, help="tokens of each")
    parser.add_argument("--edgecompress", type=pathlib.Path, default=ROOT / "build/release/bin/edgecompress")
    parser.add_argument("--python", type=pathlib.Path, default=pathlib.Path(sys.executable),
                        help="has llmcompressor (run.sh)")
    parser.add_argument("--work", type=pathlib.Path, help="where folders are written for the time of the run")
    parser.add_argument("--rounds", type=int, default=1)
    parser.add_argument("--flags", default="", help="further flags of edgecompress quantize")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory(dir=arguments.work) as temporary:
        work = pathlib.Path(temporary)
        model, tokens = work / "model", work / "tokens.jsonl"
        subprocess.run([arguments.python, MAKE_LLAMA, model, "--size", arguments.size], check=True)
        vocabulary = json.loads((model / "config.json").read_text())["vocab_size"]
        write_tokens(tokens, vocabulary, arguments.samples, arguments.length)
        print(f"load average before: {os.getloadavg()[0]:.1f} on {os.cpu_count()} cores")
        good = [one_round(arguments, model, tokens, work) for _ in range(arguments.rounds)]
    sys.exit(0 if all(good) else 1)


main()
