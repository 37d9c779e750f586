"""How much faster a structurally pruned model is than its dense original, in one process of onnxruntime-genai.

Usage: run.py [--size 1.1b|1b|300m|40m] [--ratio 30%] [--bits 4|8] [--head-bits 4|8] [--threads N] [--rounds N] [--edgecompress PROGRAM]

A synthetic folder is exported twice with the same 4- or 8-bit weights: as it is, and after `edgecompress prune --ratio`.
Rounds alternate between the two artifacts; the medians and the spread (smallest to largest) of prefill and decode are shown,
and the ratios of the medians. Aim: at least 1.35 for both. The exit code is 1 when a ratio is lower.
The last line is the share of the weights' bytes that each decoded token reads, which bounds the gain of decoding.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import tempfile
import time

import numpy as np
import onnxruntime_genai as og

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
SMALLEST_RATIO = 1.35
PROMPT_TOKENS = 128
NEW_TOKENS = 32


def call(*arguments):
    done = subprocess.run(list(map(str, arguments)), capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, arguments))} ended with {done.returncode}:\n{done.stderr[-3000:]}")


def quantized_artifact(program, model, work, name, options):
    checkpoint, artifact = work / "quantized", work / name
    tied = json.loads((model / "config.json").read_text())["tie_word_embeddings"]
    head = [] if tied else ["--head-bits", options.head_bits]
    call(program, "quantize", "--model", model, "-o", checkpoint, "--overwrite", "--bits", options.bits, "--group-size", 128,
         "--embedding-bits", options.head_bits, *head)
    call(program, "export", "--model", checkpoint, "-o", artifact, "--format", "genai", "--skip-check")
    return artifact


def open_model(artifact, threads):
    config = og.Config(str(artifact))
    config.overlay('{"model": {"decoder": {"session_options": {"intra_op_num_threads": %d}}}}' % threads)
    return og.Model(config)


def timed_generation(model, prompt):
    """Seconds of the prefill, and seconds of one decoded token."""
    params = og.GeneratorParams(model)
    params.set_search_options(max_length=PROMPT_TOKENS + NEW_TOKENS + 1, min_length=PROMPT_TOKENS + NEW_TOKENS + 1,
                              do_sample=False)
    generator = og.Generator(model, params)
    start = time.perf_counter()
    generator.append_tokens(prompt)
    generator.generate_next_token()
    prefill = time.perf_counter() - start
    start = time.perf_counter()
    for _ in range(NEW_TOKENS):
        generator.generate_next_token()
    return prefill, (time.perf_counter() - start) / NEW_TOKENS


def data_bytes(artifact):
    return sum(file.stat().st_size for file in artifact.iterdir() if ".onnx" in file.name)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", default="1b", help="of ../export_cost/make_llama.py")
    parser.add_argument("--ratio", default="30%")
    parser.add_argument("--bits", type=int, default=4)
    parser.add_argument("--head-bits", type=int, default=4)
    parser.add_argument("--threads", type=int, default=2)
    parser.add_argument("--rounds", type=int, default=5)
    parser.add_argument("--edgecompress", type=pathlib.Path, default=ROOT / "build/release/bin/edgecompress")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="edgecompress-speed-") as folder:
        work = pathlib.Path(folder)
        call(sys.executable, HERE.parent / "export_cost/make_llama.py", work / "model", "--size", options.size)
        call(options.edgecompress, "prune", "--model", work / "model", "-o", work / "pruned", "--ratio", options.ratio,
             "--score", "magnitude-l2")
        artifacts = {name: quantized_artifact(options.edgecompress, work / source, work, name, options)
                     for name, source in (("dense", "model"), ("cut", "pruned"))}
        models = {name: open_model(artifact, options.threads) for name, artifact in artifacts.items()}
        prompt = np.arange(3, 3 + PROMPT_TOKENS, dtype=np.int32)
        times = {name: [] for name in models}
        for name, model in models.items():
            timed_generation(model, prompt)  # pages in the weights
        for _ in range(options.rounds):
            for name, model in models.items():
                times[name].append(timed_generation(model, prompt))
        size = {name: data_bytes(artifact) for name, artifact in artifacts.items()}
    good = True
    for phase, what in ((0, f"prefill of {PROMPT_TOKENS} tokens"), (1, "decoded token")):
        found = {name: [1e3 * each[phase] for each in rows] for name, rows in times.items()}
        ratio = statistics.median(found["dense"]) / statistics.median(found["cut"])
        good &= ratio >= SMALLEST_RATIO
        shown = ", ".join(f"{name} {statistics.median(ms):.1f} ms ({min(ms):.1f} to {max(ms):.1f})" for name, ms in found.items())
        print(f"{what}: {shown}, ratio {ratio:.2f}")
    print(f"bytes of the artifacts: dense {size['dense']:,}, cut {size['cut']:,}, ratio {size['dense'] / size['cut']:.2f}")
    sys.exit(0 if good else 1)


main()
