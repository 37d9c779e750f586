"""Perplexity and bytes per weight of sparse and dense forms of one model, for the front in docs/sparse-format.md.

Each form is one `edgecompress run`: SparseGPT's mask in the form's pattern, GPTQ under it, a sparse export. Rows are
appended to a CSV file, and rows that are there already are not measured again, so an interrupted run goes on.

Usage: measure.py EDGECOMPRESS MODEL CALIBRATION EVALUATION CSV [--samples N] [--windows N] [--only TEXT]
"""
import argparse
import csv
import json
import pathlib
import shutil
import subprocess
import tempfile

RECIPE = """schema: edgecompress.recipe/v1
name: front
calibration: {{ text: calibration.txt, samples: {samples}, sequence_length: 512 }}
steps:
{mask}  - id: quant
    quantize:
      method: gptq
      weights: {{ bits: {bits}, group_size: 64, symmetric: true }}
      embedding: {{ bits: 8 }}
      head: {{ bits: 8 }}
  - {{ id: artifact, export: {{ format: {format} }} }}
evaluate: {{ text: evaluation.txt, window: 512, max_windows: {windows} }}
"""
MASK = '  - {{ id: mask, mask: {{ method: sparsegpt, pattern: "{pattern}", sparsity: {sparsity}% }} }}\n'
COLUMNS = ["form", "bits", "sparsity", "perplexity", "dense_perplexity", "kl", "bytes_per_weight"]
# The cheapest first: what lies on no front shows early.
FORMS = ([("dense", bits, 0) for bits in (8, 4)]
         + [(form, 4, 50) for form in ("unstructured", "4x1", "8x1", "16x1", "16x4")]
         + [(form, 4, 30) for form in ("unstructured", "4x1", "8x1", "16x1", "16x4")]
         + [("unstructured", 8, 50), ("4x1", 8, 50), ("unstructured", 4, 20), ("4x1", 4, 20), ("16x1", 4, 20),
            ("unstructured", 4, 70)])


def measure(arguments, form, bits, sparsity):
    """One row. Dense matrices keep MatMulNBits' bytes: codes and a 32-bit scale for 64 weights."""
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(temporary)
        sparse = form != "dense"
        shutil.copy(arguments.calibration, work / "calibration.txt")  # a recipe names texts relative to itself
        shutil.copy(arguments.evaluation, work / "evaluation.txt")
        recipe = work / "front.ec.yaml"
        recipe.write_text(RECIPE.format(
            bits=bits, samples=arguments.samples, windows=arguments.windows, format="genai-sparse" if sparse else "genai",
            mask=MASK.format(pattern=form, sparsity=sparsity) if sparse else ""))
        done = subprocess.run([arguments.edgecompress, "run", recipe, "--model", arguments.model, "-o", work / "out",
                               "--json", "--skip-check", "--skip-speed-test", "--threads", "1"],
                              capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        report = json.loads(done.stdout)
        stages = {stage["stage"]: stage for stage in report["stages"]}
        products = report["artifact"].get("products", [])
        for product in products:
            assert product["form"] == form, product
        bytes_per_weight = bits / 8 + 4 / 64
        if sparse:
            bytes_per_weight = sum(p["bytes"] for p in products) / sum(p["weights"] for p in products)
        return [form, bits, sparsity, stages["quantized"]["perplexity"], stages["dense"]["perplexity"],
                stages["quantized"]["kl_divergence_nats"], bytes_per_weight]


def main():
    parser = argparse.ArgumentParser()
    for name in ("edgecompress", "model", "calibration", "evaluation", "csv"):
        parser.add_argument(name, type=pathlib.Path)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--windows", type=int, default=128)
    parser.add_argument("--only", default="")
    arguments = parser.parse_args()
    known = set()
    if arguments.csv.exists():
        with arguments.csv.open() as file:
            known = {(row["form"], int(row["bits"]), int(row["sparsity"])) for row in csv.DictReader(file)}
    else:
        arguments.csv.write_text(",".join(COLUMNS) + "\n")
    for form in FORMS:
        if form in known or arguments.only not in f"{form[0]} {form[1]} {form[2]}":
            continue
        row = measure(arguments, *form)
        with arguments.csv.open("a") as file:
            file.write(",".join(str(value) for value in row[:3]) + "," + ",".join(f"{v:.6g}" for v in row[3:]) + "\n")
        print(row, flush=True)


main()
