"""Perplexity and bytes per weight of sparse and dense forms of one model, for the front in docs/sparse-format.md.

Each form is one `edgecompress run`: SparseGPT's mask in the form's pattern, every matrix with its own share (--allocation uniform: all with
the same), repaired by least squares (--repair says how else), GPTQ under it, for a `recovered` row a training of the blocks behind the codes, an
export. Rows are appended to a CSV file, and rows that are there already are not measured again, so an interrupted run goes on.

Usage: measure.py EDGECOMPRESS MODEL CALIBRATION EVALUATION CSV [--training TEXT] [--samples N] [--windows N] [--repair none]
       [--allocation uniform] [--only TEXT]...

--only keeps the forms whose name ("16x1 4 128 50 recovered") contains one of the texts. `recovered` rows are trained on as many windows of
--training, by default the calibration text, as --samples says.
"""
import argparse
import csv
import json
import pathlib
import shutil
import subprocess
import tempfile

SEQUENCE_LENGTH = 512
COLUMNS = ["form", "bits", "group", "sparsity", "training", "repair", "allocation", "perplexity", "dense_perplexity", "kl",
           "bytes_per_weight", "sparse_share"]
BLOCKS = ("4x1", "8x1", "16x1", "16x4")
ONE_SHOT, RECOVERED = "one-shot", "recovered"
# form, bits, group, sparsity, training. What decides most comes first.
SPARSE = [(form, bits, 128, sparsity)
          for sparsity in (30, 50, 20, 40, 45, 70, 80) for bits in (8, 4) for form in ("unstructured", *BLOCKS)]
FORMS = ([("dense", 8, 128, 0, ONE_SHOT)] + [("dense", 4, group, 0, ONE_SHOT) for group in (128, 64, 32)]
         + [(*form, ONE_SHOT) for form in SPARSE] + [("dense", 4, 128, 0, RECOVERED)] + [(*form, RECOVERED) for form in SPARSE])


def steps(arguments, form, bits, group, sparsity, training):
    sparse = form != "dense"
    found = []
    if sparse:
        found.append({"mask": {"method": "sparsegpt", "pattern": form, "sparsity": f"{sparsity}%",
                               "allocation": arguments.allocation, "repair": arguments.repair}})
    found.append({"quantize": {"method": "gptq", "weights": {"bits": bits, "group_size": group, "symmetric": True},
                               "embedding": {"bits": 8}, "head": {"bits": 8}}})
    if training == RECOVERED:
        found.append({"recover": {"text": "training.txt", "samples": arguments.samples, "phases": "blocks"}})
    found.append({"export": {"format": "genai-sparse", "scale_bits": 16} if sparse else {"format": "genai"}})
    return [{"id": next(iter(step)), **step} for step in found]


def bytes_per_weight(report, bits, group):
    """And the share of weights in products of the form. Dense products keep MatMulNBits' bytes: codes and a 32-bit scale for a group."""
    products = report["artifact"].get("products", [])
    dense = bits / 8 + 4 / group
    if not products:
        return dense, 0
    weights = sum(p["weights"] for p in products)
    sparse = [p for p in products if p["form"] != "dense"]
    kept = sum(p["weights"] for p in sparse)
    return (sum(p["bytes"] for p in sparse) + dense * (weights - kept)) / weights, kept / weights


def measure(arguments, form, bits, group, sparsity, training):
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(temporary)
        # a recipe names texts relative to itself
        for name in ("calibration", "evaluation", "training"):
            shutil.copyfile(getattr(arguments, name), work / f"{name}.txt")
        recipe = work / "front.ec.yaml"
        recipe.write_text(json.dumps({
            "schema": "edgecompress.recipe/v1", "name": "front",
            "calibration": {"text": "calibration.txt", "samples": arguments.samples, "sequence_length": SEQUENCE_LENGTH},
            "steps": steps(arguments, form, bits, group, sparsity, training),
            "evaluate": {"text": "evaluation.txt", "window": SEQUENCE_LENGTH, "max_windows": arguments.windows}}))
        done = subprocess.run([arguments.edgecompress, "run", recipe, "--model", arguments.model, "-o", work / "out",
                               "--json", "--skip-check", "--skip-speed-test", "--threads", str(arguments.threads)],
                              capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(done.stderr)
        report = json.loads(done.stdout)
        scored = [stage for stage in report["stages"] if "perplexity" in stage]
        dense, last = scored[0], scored[-1]
        return [form, bits, group, sparsity, training, arguments.repair, arguments.allocation, last["perplexity"],
                dense["perplexity"], last["kl_divergence_nats"], *bytes_per_weight(report, bits, group)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    for name in ("edgecompress", "model", "calibration", "evaluation", "csv"):
        parser.add_argument(name, type=pathlib.Path)
    parser.add_argument("--training", type=pathlib.Path)
    parser.add_argument("--samples", type=int, default=128)
    parser.add_argument("--windows", type=int, default=128)
    parser.add_argument("--threads", type=int, default=1)
    parser.add_argument("--repair", default="least-squares")
    parser.add_argument("--allocation", default="loss", choices=("loss", "uniform"))
    parser.add_argument("--only", action="append")
    arguments = parser.parse_args()
    arguments.training = arguments.training or arguments.calibration
    known = set()
    if arguments.csv.exists():
        with arguments.csv.open() as file:
            known = {(row["form"], int(row["bits"]), int(row["group"]), int(row["sparsity"]), row["training"],
                      row["allocation"]) for row in csv.DictReader(file)}
    else:
        arguments.csv.write_text(",".join(COLUMNS) + "\n")
    for form in FORMS:
        name = " ".join(map(str, form))
        if (*form, arguments.allocation) in known or not any(text in name for text in arguments.only or [""]):
            continue
        row = measure(arguments, *form)
        with arguments.csv.open("a") as file:
            file.write(",".join(str(value) for value in row[:7]) + "," + ",".join(f"{v:.6g}" for v in row[7:]) + "\n")
        print(row, flush=True)


if __name__ == "__main__":
    main()
