"""A whole decoder in onnxruntime-genai, sparse beside dense, at the shape of a published model with random weights: Llama 3.2 1B
(`1b`, whose vocabulary of 128256 makes the 8-bit head a third of what a dense token reads) or TinyLlama 1.1B (`1.1b`, 32000).

Usage: run.py EDGECOMPRESS [--size 1b|1.1b|300m|40m] [--work DIR] [--threads N] [--prompt N] [--tokens N] [--turns N]

Makes the model, masks half of it in blocks of 16x4, rounds it to 4 bits in groups of 128 (embedding and head to 8), and exports
it once dense and once sparse: the same weights, the same head; the sparse one with 16-bit scales. What lies in DIR already is used again. Then two processes, one
for each artifact, take turns: while one works the other waits, so that other load on the machine slows both alike.

Prints tokens per second of wall time and of CPU time for decode and prefill (medians over the turns, spread between quartiles),
the time to load, and private memory after the first answer.
"""
import argparse
import json
import pathlib
import statistics
import subprocess
import sys
import time

ROOT = pathlib.Path(__file__).resolve().parents[3]
RECIPE = """schema: edgecompress.recipe/v1
name: decoder
steps:
  - id: mask
    mask: { method: magnitude, pattern: "16x4", sparsity: 50% }
  - id: quant
    quantize: { method: rtn, weights: { bits: 4, group_size: 128 } }
"""


def make_artifacts(arguments):
    work = arguments.work
    work.mkdir(parents=True, exist_ok=True)
    call = [str(arguments.edgecompress)]
    if not (work / "ckpt").exists():
        (work / "r.ec.yaml").write_text(RECIPE)
        subprocess.run([sys.executable, ROOT / "tools/bench/export_cost/make_llama.py", work / "llama", "--size",
                        arguments.size], check=True)
        subprocess.run(call + ["run", work / "r.ec.yaml", "--model", work / "llama", "-o", work / "ckpt"], check=True)
    for name, form in (("dense", ["genai"]), ("sparse", ["genai-sparse", "--scale-bits", "16"])):
        if not (work / name).exists():
            subprocess.run(call + ["export", "--model", work / "ckpt", "-o", work / name, "--skip-check", "--context-length", "2048",
                                   "--format", *form], check=True)


def set_threads(folder, threads):
    """onnxruntime-genai takes the number of threads from the artifact's own configuration."""
    path = folder / "genai_config.json"
    config = json.loads(path.read_text())
    config["model"]["decoder"]["session_options"]["intra_op_num_threads"] = threads
    config["search"]["max_length"] = 1024  # genai allocates this much of a cache
    path.write_text(json.dumps(config))


def private_megabytes():
    for line in pathlib.Path("/proc/self/smaps_rollup").read_text().splitlines():
        if line.startswith("Anonymous:"):
            return int(line.split()[1]) / 1024
    return float("nan")


def serve(folder, prompt, tokens):
    """Of one artifact: loads it, then makes one measurement for each line of standard input."""
    import numpy as np
    import onnxruntime_genai
    begin, cpu = time.monotonic(), time.process_time()
    model = onnxruntime_genai.Model(folder)
    print(json.dumps({"load_s": time.monotonic() - begin, "load_cpu_s": time.process_time() - cpu}), flush=True)
    ids = np.arange(5, 5 + prompt, dtype=np.int32)
    for _ in sys.stdin:
        parameters = onnxruntime_genai.GeneratorParams(model)
        parameters.set_search_options(max_length=prompt + tokens + 1, min_length=prompt + tokens + 1, do_sample=False)
        generator = onnxruntime_genai.Generator(model, parameters)
        times = [(time.monotonic(), time.process_time())]
        generator.append_tokens(ids)
        times.append((time.monotonic(), time.process_time()))
        for _ in range(tokens):
            generator.generate_next_token()
        times.append((time.monotonic(), time.process_time()))
        del generator
        (a, ca), (b, cb), (c, cc) = times
        print(json.dumps({"prefill": prompt / (b - a), "prefill_cpu": prompt / (cb - ca), "decode": tokens / (c - b),
                          "decode_cpu": tokens / (cc - cb), "private_mb": private_megabytes()}), flush=True)


class Server:
    def __init__(self, arguments, folder):
        self.process = subprocess.Popen([sys.executable, __file__, "--serve", folder, str(arguments.prompt),
                                         str(arguments.tokens)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
        self.loaded = json.loads(self.process.stdout.readline())
        self.turns = []

    def turn(self):
        self.process.stdin.write("\n")
        self.process.stdin.flush()
        return json.loads(self.process.stdout.readline())

    def close(self):
        self.process.stdin.close()
        self.process.wait()


def main():
    if sys.argv[1] == "--serve":
        serve(sys.argv[2], int(sys.argv[3]), int(sys.argv[4]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("edgecompress", type=pathlib.Path)
    parser.add_argument("--size", default="1b")
    parser.add_argument("--work", type=pathlib.Path, default=ROOT / "build/bench/sparse_decoder")
    for name, otherwise in (("threads", 1), ("prompt", 64), ("tokens", 16), ("turns", 7)):
        parser.add_argument(f"--{name}", type=int, default=otherwise)
    arguments = parser.parse_args()
    if arguments.turns < 2:
        parser.error("--turns must be at least 2: quartiles are shown")
    make_artifacts(arguments)
    servers = {}
    for name in ("dense", "sparse"):
        set_threads(arguments.work / name, arguments.threads)
        servers[name] = Server(arguments, arguments.work / name)
    for turn in range(arguments.turns + 1):
        for server in servers.values():
            found = server.turn()
            if turn > 0:  # the first one warms up
                server.turns.append(found)
    print(f"{arguments.size}, {arguments.threads} thread(s), prompt {arguments.prompt}, {arguments.tokens} new tokens, "
          f"{arguments.turns} turns")
    for key in ("decode", "decode_cpu", "prefill", "prefill_cpu"):
        values = {name: [turn[key] for turn in server.turns] for name, server in servers.items()}
        quartiles = {name: statistics.quantiles(v, n=4) for name, v in values.items()}
        ratio = statistics.median(s / d for s, d in zip(values["sparse"], values["dense"]))
        print(f"{key:12}" + "".join(f"  {name} {q[1]:8.2f} tokens/s ({q[0]:.2f} to {q[2]:.2f})"
                                    for name, q in quartiles.items()) + f"  ratio {ratio:.2f}")
    for name, server in servers.items():
        size = sum(file.stat().st_size for file in (arguments.work / name).iterdir()) / 2**20
        print(f"{name:7} load {server.loaded['load_s']:.2f} s ({server.loaded['load_cpu_s']:.2f} s CPU), private memory "
              f"{server.turns[-1]['private_mb']:.0f} MiB, files {size:.0f} MiB")
        server.close()


main()
