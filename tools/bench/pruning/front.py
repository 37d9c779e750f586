"""Perplexity against what is kept, for every way that edgecompress removes weights.

Usage: front.py measure RESULTS.csv --model DIR --calibration TEXT --text TEXT [--edgecompress PROGRAM] [--samples N]
                [--windows N] [--window TOKENS] [--threads N] [--ratios 10,30,50] [--only NAME]
       front.py draw RESULTS.csv PICTURE.svg
       front.py table RESULTS.csv

`measure` runs edgecompress once for every method and ratio that RESULTS.csv lacks and appends a row each, so that it may be
stopped and started again. `draw` writes the picture, `table` prints the table of docs/pruning.md. Python's standard library only.

Kept: the share of the decoder blocks' weights that are there and not zero. For cuts these are also the bytes that are left;
for masks they would be in a format that stores no zeros.
"""
import argparse
import csv
import json
import math
import pathlib
import subprocess
import sys
import tempfile

LEAST_SQUARES = ["--repair", "least-squares"]
DENSE = ["--repair", "dense-outputs"]
RECONSTRUCTION = ["--repair", "reconstruction"]
PER_LAYER = ["--allocation", "per-layer"]
MASK = ["--mask", "unstructured", "--mask-method"]
SPARSEGPT = [*MASK, "sparsegpt"]
SQUARES = ["--mask-repair", "least-squares"]
TRAINED = ["--mask-repair", "reconstruction", "--mask-repair-learning-rate", "0.001"]
BY_LOSS = ["--mask-allocation", "loss"]


def blocks(shape):
    return ["--mask", shape, "--mask-method", "sparsegpt"]


# family, name, flags, the flag that takes the share
METHODS = [
    ("cut", "random", ["--score", "random"], "--ratio"),
    ("cut", "magnitude-l2", ["--score", "magnitude-l2"], "--ratio"),
    ("cut", "activation, no repair", ["--score", "activation", "--repair", "none"], "--ratio"),
    ("cut", "fluctuation, least squares", ["--score", "fluctuation", *LEAST_SQUARES], "--ratio"),
    ("cut", "activation, least squares", ["--score", "activation", *LEAST_SQUARES], "--ratio"),
    ("cut", "taylor, least squares", ["--score", "taylor", *LEAST_SQUARES], "--ratio"),
    ("cut", "output-error", ["--score", "output-error"], "--ratio"),
    ("cut", "output-error, dense outputs", ["--score", "output-error", *DENSE], "--ratio"),
    ("cut", "output-error, per layer", ["--score", "output-error", *PER_LAYER], "--ratio"),
    ("cut", "output-error, per layer, dense outputs", ["--score", "output-error", *PER_LAYER, *DENSE], "--ratio"),
    ("cut", "output-error, reconstruction", ["--score", "output-error", *RECONSTRUCTION], "--ratio"),
    ("cut", "output-error, per layer, reconstruction", ["--score", "output-error", *PER_LAYER, *RECONSTRUCTION], "--ratio"),
    ("cut", "whole blocks", [], "--drop-layers"),
    ("cut", "whole blocks, by perplexity", ["--drop-score", "perplexity"], "--drop-layers"),
    ("mask", "magnitude", [*MASK, "magnitude"], "--mask-sparsity"),
    ("mask", "wanda", ["--mask", "per-row", "--mask-method", "wanda"], "--mask-sparsity"),
    ("mask", "sparsegpt", SPARSEGPT, "--mask-sparsity"),
    ("mask", "sparsegpt, least squares", [*SPARSEGPT, *SQUARES], "--mask-sparsity"),
    ("mask", "sparsegpt, dense outputs", [*SPARSEGPT, "--mask-repair", "dense-outputs"], "--mask-sparsity"),
    ("mask", "sparsegpt, least squares, outliers", [*SPARSEGPT, *SQUARES, "--mask-allocation", "outliers"],
     "--mask-sparsity"),
    ("mask", "sparsegpt, by loss, least squares", [*SPARSEGPT, *SQUARES, *BY_LOSS], "--mask-sparsity"),
    *[("mask", f"sparsegpt {shape} blocks, {name}", [*blocks(shape), *flags], "--mask-sparsity")
      for shape in ("4x1", "8x1", "16x1")
      for name, flags in (("no repair", []), ("least squares", SQUARES), ("by loss, least squares", [*BY_LOSS, *SQUARES]),
                          ("by loss, reconstruction", [*BY_LOSS, *TRAINED]))],
]
COLUMNS = ["family", "method", "percent", "kept", "perplexity", "kl_divergence_nats"]
WITHOUT_TEXT = {"random", "magnitude-l2", "magnitude"}


def read_rows(path):
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def amount(flag, percent, blocks):
    """What the flag says; nothing when no whole number of blocks is near the share."""
    if flag != "--drop-layers":
        return f"{percent}%"
    count = percent * blocks / 100
    return str(int(count)) if count == int(count) and 0 < count < blocks else None


def run(options, flags, output):
    command = [options.edgecompress, "prune", "--model", options.model, "-o", str(output), *flags, "--text", options.text,
               "--windows", str(options.windows), "--window", str(options.window), "--samples", str(options.samples), "--threads", str(options.threads),
               "--json"]
    done = subprocess.run(command, capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(command)}\n{done.stderr}")
    return json.loads(done.stdout)


def kept_share(report, config):
    """Of the weights of the decoder blocks' linear layers."""
    head_dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    attention = 2 * config["num_attention_heads"] * head_dim + 2 * config["num_key_value_heads"] * head_dim
    block = config["hidden_size"] * (attention + 3 * config["intermediate_size"])
    kept = 0
    for tensor in report["tensors"]:
        if ".layers." in tensor["name"]:
            rows, columns = tensor["shape_after"]
            kept += rows * columns * (1 - tensor["sparsity"])
    return kept / (block * config["num_hidden_layers"])


def measure(options):
    path = pathlib.Path(options.results)
    config = json.loads((pathlib.Path(options.model) / "config.json").read_text())
    rows = read_rows(path)
    done = {(row["family"], row["method"], row["percent"]) for row in rows}
    if not rows:
        with path.open("w", newline="") as file:
            csv.writer(file).writerow(COLUMNS)
    for percent in (int(ratio) for ratio in options.ratios.split(",")):
        for family, name, flags, flag in METHODS:
            value = amount(flag, percent, config["num_hidden_layers"])
            if (family, name, str(percent)) in done or value is None or (options.only and options.only not in name):
                continue
            texts = [] if name in WITHOUT_TEXT else ["--calibration", options.calibration]
            with tempfile.TemporaryDirectory() as folder:
                report = run(options, [*flags, flag, value, *texts], pathlib.Path(folder) / "out")
            dense, last = report["stages"][0], report["stages"][-1]
            new = [[family, name, percent, f"{kept_share(report, config):.4f}", f"{last['perplexity']:.4f}",
                    f"{last['kl_divergence_nats']:.4f}"]]
            if not rows and not done:
                new.insert(0, ["dense", "dense", 0, "1.0000", f"{dense['perplexity']:.4f}", "0.0000"])
                done.add(("dense", "dense", "0"))
            with path.open("a", newline="") as file:
                csv.writer(file).writerows(new)
            print(*new[-1], flush=True)


def table(options):
    rows = read_rows(pathlib.Path(options.results))
    percents = sorted({int(row["percent"]) for row in rows if row["family"] != "dense"})
    dense = next(row for row in rows if row["family"] == "dense")
    print(f"Dense: {float(dense['perplexity']):.2f}\n")
    print("| | method | " + " | ".join(f"{percent} %" for percent in percents) + " |")
    print("| --- | --- |" + " --- |" * len(percents))
    for family, name, _, _ in METHODS:
        found = {int(row["percent"]): float(row["perplexity"]) for row in rows
                 if row["family"] == family and row["method"] == name}
        if found:
            cells = [f"{found[percent]:.2f}" if percent in found else "" for percent in percents]
            print(f"| {family} | {name} | " + " | ".join(cells) + " |")


WIDTH, HEIGHT, LEFT, TOP, PLOT_WIDTH, PLOT_HEIGHT = 960, 560, 70, 30, 520, 470
COLOURS = ["#1f77b4", "#d62728", "#2ca02c", "#9467bd", "#ff7f0e", "#17becf", "#8c564b", "#e377c2", "#bcbd22", "#7f7f7f"]
WORST = 20.0  # times the dense perplexity; what is worse lies on the upper edge


def draw(options):
    rows = read_rows(pathlib.Path(options.results))
    dense = next(float(row["perplexity"]) for row in rows if row["family"] == "dense")
    least = min(float(row["kept"]) for row in rows)
    left = math.floor(least * 10) / 10

    def x(kept):
        return LEFT + (kept - left) / (1 - left) * PLOT_WIDTH

    def y(perplexity):
        return TOP + PLOT_HEIGHT * (1 - math.log(min(perplexity / dense, WORST)) / math.log(WORST))

    out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{HEIGHT}" font-family="sans-serif" font-size="12">',
           f'<rect width="{WIDTH}" height="{HEIGHT}" fill="white"/>']
    for factor in (1, 1.5, 2, 3, 5, 10, 20):
        out.append(f'<path d="M{LEFT} {y(factor * dense):.1f}H{LEFT + PLOT_WIDTH}" stroke="#ddd"/>')
        out.append(f'<text x="{LEFT - 6}" y="{y(factor * dense) + 4:.1f}" text-anchor="end">{factor * dense:.0f}</text>')
    for tenth in range(round(left * 10), 11):
        out.append(f'<path d="M{x(tenth / 10):.1f} {TOP}V{TOP + PLOT_HEIGHT}" stroke="#ddd"/>')
        out.append(f'<text x="{x(tenth / 10):.1f}" y="{TOP + PLOT_HEIGHT + 16}" text-anchor="middle">{tenth * 10} %</text>')
    out.append(f'<text x="{LEFT + PLOT_WIDTH / 2}" y="{HEIGHT - 20}" text-anchor="middle">kept weights of the decoder blocks</text>')
    out.append(f'<text x="16" y="{TOP + PLOT_HEIGHT / 2}" text-anchor="middle" '
               f'transform="rotate(-90 16 {TOP + PLOT_HEIGHT / 2})">perplexity (logarithmic)</text>')
    number = {"cut": 0, "mask": 0}
    for line, (family, name, _, _) in enumerate(METHODS):
        points = sorted(((float(row["kept"]), float(row["perplexity"])) for row in rows
                         if row["family"] == family and row["method"] == name), reverse=True)
        if not points:
            continue
        colour = COLOURS[number[family] % len(COLOURS)]
        number[family] += 1
        dash = "" if family == "cut" else ' stroke-dasharray="5 3"'
        path = "L".join(f"{x(kept):.1f} {y(perplexity):.1f}" for kept, perplexity in [(1.0, dense), *points])
        out.append(f'<path d="M{path}" fill="none" stroke="{colour}" stroke-width="1.6"{dash}/>')
        out += [f'<circle cx="{x(kept):.1f}" cy="{y(perplexity):.1f}" r="2.5" fill="{colour}"/>' for kept, perplexity in points]
        legend = TOP + 10 + 22 * line
        out.append(f'<path d="M{LEFT + PLOT_WIDTH + 20} {legend}h30" stroke="{colour}" stroke-width="1.6"{dash}/>')
        out.append(f'<text x="{LEFT + PLOT_WIDTH + 56}" y="{legend + 4}">{family}: {name}</text>')
    pathlib.Path(options.picture).write_text("\n".join([*out, "</svg>"]) + "\n")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    commands = parser.add_subparsers(required=True)
    command = commands.add_parser("measure")
    command.add_argument("results")
    command.add_argument("--model", required=True)
    command.add_argument("--calibration", required=True)
    command.add_argument("--text", required=True)
    command.add_argument("--edgecompress", default="build/release/bin/edgecompress")
    command.add_argument("--samples", type=int, default=128)
    command.add_argument("--windows", type=int, default=128)
    command.add_argument("--window", type=int, default=512)
    command.add_argument("--threads", type=int, default=1)
    command.add_argument("--ratios", default="10,20,30,40,50")
    command.add_argument("--only", default="")
    command.set_defaults(do=measure)
    command = commands.add_parser("draw")
    command.add_argument("results")
    command.add_argument("picture")
    command.set_defaults(do=draw)
    command = commands.add_parser("table")
    command.add_argument("results")
    command.set_defaults(do=table)
    options = parser.parse_args()
    options.do(options)


main()
