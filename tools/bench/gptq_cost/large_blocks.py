"""What GPTQ of the first decoder blocks of a 7B model costs, and what the whole model would.

Usage: large_blocks.py [--size 7b|1b] [--blocks N] [--samples N] [--length N] [--edgecompress PROGRAM] [--work DIR] [--threads N]

The model has random float16 weights and only these blocks; calibration is on random token ids. FLOPs are counted (below) and
divided by processor seconds, beside what a product of float matrices reaches on one thread of this machine (deps/venv's torch).
Required: a peak of at most 8 GiB of resident memory; the exit code is 1 otherwise.
"""
import argparse
import json
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile
import time

import torch

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
sys.path.insert(0, str(HERE.parent))
from program_cost import measure, show  # noqa: E402

LARGEST_MEMORY = 8 << 30
PUBLISHED_BLOCKS = {"7b": 32, "1b": 16}
REFINE_ROUNDS = 2  # edgecompress's default


def block_flops(config, tokens, length):
    """Of one block, by part; a multiplication and an addition are two."""
    hidden, ffn = config["hidden_size"], config["intermediate_size"]
    keys = config["num_key_value_heads"] * config["head_dim"]
    linear = 2 * hidden * hidden + 2 * keys * hidden + 3 * hidden * ffn
    forward = 2 * tokens * (linear + length * hidden)  # of q k^T and p v half is masked
    hessians = tokens * (3 * hidden**2 + ffn**2)  # q k v, o, gate up, down; half of each product
    rows = {hidden: 2 * hidden + 2 * keys + 2 * ffn, ffn: hidden}
    rounding = sum((1 + 2 + 2 * REFINE_ROUNDS) * count * columns**2 for columns, count in rows.items())
    factors = 4 / 3 * (3 * hidden**3 + ffn**3)  # Cholesky, inverse, Cholesky, in double
    # One pass gathers, half of another computes what the compressed layers hand on.
    return {"forward, 1.5 passes": 1.5 * forward, "Hessians": hessians, "rounding": rounding, "factors": factors}


def one_thread_peak():
    torch.set_num_threads(1)
    a, b = torch.randn(2048, 2048), torch.randn(2048, 2048)
    best = float("inf")
    for _ in range(8):
        start = time.process_time()
        torch.mm(a, b)
        best = min(best, time.process_time() - start)
    return 2 * 2048**3 / best


def write_tokens(path, config, samples, length):
    numbers = random.Random(0)
    with path.open("w") as file:
        for _ in range(samples):
            file.write(json.dumps({"input_ids": [numbers.randrange(config["vocab_size"]) for _ in range(length)]}) + "\n")


def compress(arguments, work):
    model = work / "model"
    if not model.exists():
        subprocess.run([sys.executable, ROOT / "tools/bench/export_cost/make_llama.py", model, "--size", arguments.size, "--blocks",
                        str(arguments.blocks)], check=True)
    config = json.loads((model / "config.json").read_text())
    write_tokens(work / "tokens.jsonl", config, arguments.samples, arguments.length)
    shutil.rmtree(work / "out", ignore_errors=True)
    threads = ["--threads", arguments.threads] if arguments.threads else []
    cost = measure([arguments.edgecompress, "quantize", "--model", model, "-o", work / "out", "--method", "gptq", "--bits", 4,
                    "--group-size", 128, "--calibration", work / "tokens.jsonl", "--samples", arguments.samples,
                    "--sequence-length", arguments.length, "--max-memory", f"{LARGEST_MEMORY >> 30}GiB", "--fresh", *threads],
                   work / "log")
    return config, cost


def report(arguments, config, cost):
    show(f"{arguments.blocks} blocks", cost)
    parts = block_flops(config, arguments.samples * arguments.length, arguments.length)
    for part, flops in parts.items():
        print(f"  {part:20} {flops / 1e12:6.1f} TFLOP a block")
    reached = arguments.blocks * sum(parts.values()) / cost.cpu
    peak = one_thread_peak()
    print(f"{reached / 1e9:.0f} GFLOP for each second of a processor; a float product of 2048 x 2048 reaches {peak / 1e9:.0f}: "
          f"{reached / peak:.2f}")
    blocks = PUBLISHED_BLOCKS[arguments.size]
    print(f"all {blocks} blocks: {blocks / arguments.blocks * cost.wall / 3600:.1f} h at this pace")
    print(f"peak memory {cost.memory / 2**30:.2f} GiB (required {LARGEST_MEMORY / 2**30:.0f})")
    return cost.memory <= LARGEST_MEMORY


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="7b", choices=PUBLISHED_BLOCKS)
    parser.add_argument("--blocks", type=int, default=2)
    parser.add_argument("--samples", type=int, default=32)
    parser.add_argument("--length", type=int, default=2048)
    parser.add_argument("--threads", type=int, help="default: all")
    parser.add_argument("--edgecompress", type=pathlib.Path, default=ROOT / "build/release/bin/edgecompress")
    parser.add_argument("--work", type=pathlib.Path, help="default: a temporary folder")
    arguments = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        work = arguments.work or pathlib.Path(temporary)
        work.mkdir(parents=True, exist_ok=True)
        good = report(arguments, *compress(arguments, work))
    sys.exit(0 if good else 1)


main()
