"""The artifacts of one model in several versions of ONNX Runtime and onnxruntime-genai. runtime_versions.sh installs them.

Usage: runtime_versions.py EDGECOMPRESS --runtimes VERSION... --genais VERSION:ONNXRUNTIME...

In every version an artifact must load and have the perplexity of the newest one (level 4 rounds activations, and kernels
differ). 8-bit MatMulNBits exists from ONNX Runtime 1.22 on; GatherBlockQuantized as tied quantized tables use it from 1.23
on. Exit code 1 when a run that must work does not.
"""
import argparse
import os
import pathlib
import sys
import tempfile

from command_line import *

DEPS = ROOT / "deps"
SAME_PERPLEXITY = 2e-2

FLOAT_TABLES = ("--embedding-bits", "none", "--head-bits", "none")
INT4 = ("--bits", 4, "--group-size", 32)
INT8 = ("--bits", 8, "--group-size", 32)
GENAI, ONNX = ("--format", "genai"), ("--format", "onnx")

# name, whether the head is tied to the embedding, options of quantize (None: float), options of export, first ONNX Runtime
# that has its operators
ARTIFACTS = [
    ("float, genai", True, None, GENAI, (1, 20)),
    ("float, onnx", True, None, ONNX, (1, 20)),
    ("INT4, float tables, genai", True, INT4 + FLOAT_TABLES, GENAI, (1, 20)),
    ("INT4 asymmetric, onnx", True, INT4 + ("--asymmetric",), ONNX, (1, 20)),
    ("INT8, onnx", True, INT8, ONNX, (1, 20)),
    ("INT8, float tables, genai", True, INT8 + FLOAT_TABLES, GENAI, (1, 22)),
    ("INT4, INT8 untied, genai", False, INT4, GENAI, (1, 22)),
    ("INT4, INT8 tied, genai", True, INT4, GENAI, (1, 23)),
    ("INT8, INT8 tied, genai", True, INT8, GENAI, (1, 23)),
]

# Runs in a Python of its own, because a process holds one ONNX Runtime.
PYTHON_PERPLEXITY = """
import json, sys
import numpy as np, onnxruntime
graph, tokens = sys.argv[1], np.load(sys.argv[2]).astype(np.int64)
options = onnxruntime.SessionOptions()
options.intra_op_num_threads = 1
session = onnxruntime.InferenceSession(graph, options, providers=["CPUExecutionProvider"])
feed = {i.name: np.zeros((1, i.shape[1], 0, i.shape[3]), np.float32) for i in session.get_inputs() if "past" in i.name}
names = [i.name for i in session.get_inputs()]
total = 0.0
for window in tokens:
    feed["input_ids"], feed["attention_mask"] = window[None], np.ones((1, len(window)), np.int64)
    if "position_ids" in names:
        feed["position_ids"] = np.arange(len(window))[None]
    logits = session.run(["logits"], feed)[0][0, :-1].astype(np.float64)
    largest = logits.max(-1)
    sums = np.log(np.exp(logits - largest[:, None]).sum(-1)) + largest
    total += (sums - logits[np.arange(len(window) - 1), window[1:]]).sum()
print(json.dumps({"version": onnxruntime.__version__,
                  "perplexity": float(np.exp(total / tokens[:, 1:].size))}))
"""
GENAI_TOKENS = """
import json, sys
import numpy as np, onnxruntime_genai as og
prompt = np.load(sys.argv[2])[0][:9].astype(np.int32)
model = og.Model(sys.argv[1])
parameters = og.GeneratorParams(model)
parameters.set_search_options(max_length=25, do_sample=False)
generator = og.Generator(model, parameters)
generator.append_tokens(prompt)
while not generator.is_done():
    generator.generate_next_token()
print(json.dumps({"version": og.__version__, "tokens": [int(t) for t in generator.get_sequence(0)]}))
"""


def in_python(script, arguments, folders):
    """What a script prints in a Python that finds packages in `folders` first, or the last line of its failure."""
    environment = dict(os.environ, PYTHONPATH=":".join(map(str, folders)))
    done = subprocess.run([sys.executable, "-c", script, *map(str, arguments)], capture_output=True, text=True,
                          env=environment)
    if done.returncode != 0:
        return (done.stderr.strip().splitlines() or [f"ended with {done.returncode}"])[-1]
    return json.loads(done.stdout.strip().splitlines()[-1])


def in_edgecompress(edgecompress, artifact, windows, library):
    try:
        return edgecompress.evaluate(artifact, windows, "--onnxruntime", library)
    except RuntimeError as error:
        return str(error).splitlines()[1]


def library_of(folder):
    return max((folder / "onnxruntime/capi").glob("libonnxruntime.so.*"))


class Table:
    """Rows of one artifact each, and whether all went as it must."""

    def __init__(self):
        self.good = True
        self.notes = []

    def cell(self, what, result, must_work, check):
        """`result` of a run: numbers, or the words of a failure."""
        if isinstance(result, str):
            self.notes.append(f"{what}: {result[:200]}")
            self.good &= not must_work
            return "FAILS" if must_work else "not there"
        problem = check(result)
        if problem:
            self.notes.append(f"{what}: {problem}")
            self.good = False
            return "DIFFERS"
        return "equal"


def make_artifacts(edgecompress, work):
    made, own_head = {}, untied(MINI_LLAMA, work / "untied")
    for name, tied, quantization, exporting, first in ARTIFACTS:
        folder = work / name.replace(", ", "-").replace(" ", "-")
        dense = MINI_LLAMA if tied else own_head
        source = dense
        if quantization is not None:
            source = work / "checkpoint"
            edgecompress.json("quantize", "--model", dense, "-o", source, "--overwrite", *quantization)
        edgecompress.json("export", "--model", source, "-o", folder, *exporting)
        made[name] = (folder, first)
    return made


def perplexity_check(expected):
    def check(result):
        difference = result["perplexity"] / expected - 1
        return None if abs(difference) <= SAME_PERPLEXITY else f"perplexity differs by {difference:.1e}"
    return check


def tokens_check(expected):
    """expected: None where kernels of another version may round to other tokens."""
    def check(result):
        return None if expected is None or result["tokens"] == expected else f"tokens {result['tokens']}"
    return check


def has_operators(version, first):
    return tuple(map(int, version.split(".")[:2])) >= first


def check_runtimes(edgecompress, artifacts, windows, tokens, versions, table):
    """Our own eval and ONNX Runtime's Python, version by version."""
    print(f"{'artifact':28}" + "".join(f"{version + ' ' + by:>18}" for version in versions for by in ("eval", "python")))
    for name, (folder, first) in artifacts.items():
        expected = edgecompress.evaluate(folder, windows)["perplexity"]
        cells = []
        for version in versions:
            place = DEPS / f"ort-{version}"
            must_work = has_operators(version, first)
            check = perplexity_check(expected)
            for by, result in (("eval", in_edgecompress(edgecompress, folder, windows, library_of(place))),
                               ("python", in_python(PYTHON_PERPLEXITY, (folder / "model.onnx", tokens), [place]))):
                assert isinstance(result, str) or result.get("version", version) == version, result
                cells.append(table.cell(f"{name} in {version}, {by}", result, must_work, check))
        print(f"{name:28}" + "".join(f"{cell:>18}" for cell in cells), flush=True)


def check_genais(artifacts, tokens, genais, table):
    """Greedy tokens of the float artifact are those of the newest version; the others must be generated from."""
    print(f"\n{'artifact':28}" + "".join(f"{'genai ' + pair:>22}" for pair in genais))
    for name, (folder, first) in artifacts.items():
        expected = in_python(GENAI_TOKENS, (folder, tokens), [])
        assert not isinstance(expected, str), f"{name} in deps/venv: {expected}"
        cells = []
        for pair in genais:
            version, runtime = pair.split(":")
            result = in_python(GENAI_TOKENS, (folder, tokens), [DEPS / f"genai-{version}", DEPS / f"ort-{runtime}"])
            check = tokens_check(expected["tokens"] if name.startswith("float") else None)
            cells.append(table.cell(f"{name} in genai {version}", result, has_operators(runtime, first), check))
        print(f"{name:28}" + "".join(f"{cell:>22}" for cell in cells), flush=True)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("edgecompress")
    parser.add_argument("--runtimes", nargs="*", default=[])
    parser.add_argument("--genais", nargs="*", default=[])
    arguments = parser.parse_args()
    edgecompress, table = Runner(arguments.edgecompress), Table()
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(temporary)
        windows = Windows(MINI_LLAMA, EVALUATION_TEXT, 192, 2)
        tokens = work / "tokens.npy"
        np.save(tokens, windows.ids)
        artifacts = make_artifacts(edgecompress, work)
        check_runtimes(edgecompress, artifacts, windows, tokens, arguments.runtimes, table)
        if arguments.genais:
            check_genais(artifacts, tokens, arguments.genais, table)
    print("\n" + "\n".join(table.notes))
    sys.exit(0 if table.good else 1)


main()
