"""The front of perplexity against bytes per weight and against decode time, as a table and as a picture.

Usage: draw.py FRONT_CSV BENCH_TEXT SVG

FRONT_CSV is what measure.py wrote, BENCH_TEXT what `bench_panel_sparse` printed for one token, for one shape or several, as those of
Llama 3.2 1B (`--rows 8192 --columns 2048`, `--rows 2048 --columns 8192`, ...). Decode time is CPU time of these products, each as
often as a decoder block has it, relative to MatMulNBits of 4 bits at its faster block size; between two sparsities that were timed it
is taken to change evenly. A form lies on a front when no other has both a lower perplexity and fewer bytes (or less time). Prints the table in Markdown.
"""
import csv
import math
import re
import sys

WIDTH, HEIGHT, MARGIN = 460, 320, 52
DRAWN = 4  # times the lowest perplexity; what is worse is in the table alone
# How often a block of Llama 3.2 1B has a product, by [rows, columns]; q, k and v are one. Other shapes count once.
PRODUCTS = {(3072, 2048): 1, (2048, 2048): 1, (8192, 2048): 2, (2048, 8192): 1}
COLORS = {"dense": "#000000", "unstructured": "#0072b2", "4x1": "#009e73", "8x1": "#e69f00", "16x1": "#d55e00", "16x4": "#cc79a7"}


def read_times(path):
    """Relative CPU time by (form, bits): [(sparsity, time)] in order of sparsity. Dense forms are named with their group, as "dense g128"."""
    times, count = {}, 1
    for line in open(path):
        begin = re.match(r"(\d+) x (\d+), \d+ layers", line)
        if begin:
            count = PRODUCTS.get(tuple(map(int, begin.groups())), 1)
        found = re.match(r"(MatMulNBits|sparse) int(\d) (block \d+|\d+x\d+ [\d.]+ %) +(.*)", line)
        if not found:
            continue
        kind, bits, what, numbers = found.groups()
        milliseconds = float(numbers.split()[5])
        form, number = what.split()[:2]
        if kind == "MatMulNBits":
            key = (f"dense g{number}", int(bits), 0)
        else:
            key = ("unstructured" if form == "1x1" else form, int(bits), round(float(number)))
        times[key] = times.get(key, 0) + count * milliseconds
    unit, found = min(time for (form, bits, _), time in times.items() if form.startswith("dense") and bits == 4), {}
    for (form, bits, sparsity), milliseconds in sorted(times.items()):
        found.setdefault((form, bits), []).append((sparsity, milliseconds / unit))
    return found


def time_at(points, sparsity):
    """None outside what was timed."""
    for (low, early), (high, late) in zip(points, points[1:] or points):
        if low <= sparsity <= high:
            return early if low == high else early + (late - early) * (sparsity - low) / (high - low)
    return None


def name_of(row):
    sparsity = f" {row['sparsity']} %" if row["sparsity"] else f" g{row['group']}"
    if row["sparsity"] and row["allocation"] == "uniform":
        sparsity += " of each matrix"
    return f"{row['form']} INT{row['bits']}{sparsity}" + (f", {row['training']}" if row["training"] != "one-shot" else "")


def on_front(rows, key):
    return {id(row) for row in rows if key in row and not any(
        other[key] <= row[key] and other["perplexity"] < row["perplexity"] for other in rows if key in other)}


def panel(rows, key, title, left, front):
    """One diagram: `key` to the right, perplexity upwards on a logarithmic scale."""
    best = min(row["perplexity"] for row in rows)
    shown = [row for row in rows if key in row and row["perplexity"] < DRAWN * best]
    low, high = 0.0, max(row[key] for row in shown) * 1.08
    bottom = math.log(min(row["perplexity"] for row in shown)) - 0.05
    top = math.log(max(row["perplexity"] for row in shown)) + 0.1
    x = lambda value: left + MARGIN + (value - low) / (high - low) * (WIDTH - 2 * MARGIN)
    y = lambda value: HEIGHT - MARGIN - (math.log(value) - bottom) / (top - bottom) * (HEIGHT - 2 * MARGIN)
    out = [f'<path d="M{left + MARGIN} {MARGIN} V{HEIGHT - MARGIN} H{left + WIDTH - MARGIN}" fill="none" stroke="#888"/>',
           f'<text x="{left + WIDTH / 2}" y="{HEIGHT - 12}" text-anchor="middle">{title}</text>',
           f'<text x="{left + MARGIN}" y="{MARGIN - 12}" text-anchor="middle">perplexity</text>']
    for tick in (25, 30, 40, 60, 100, 200, 400, 1000, 3000):
        if bottom <= math.log(tick) <= top:
            out.append(f'<text x="{left + MARGIN - 6}" y="{y(tick) + 4:.0f}" text-anchor="end">{tick}</text>')
    for i in range(1, 6):
        value = high * i / 5.4
        out.append(f'<text x="{x(value):.0f}" y="{HEIGHT - MARGIN + 16}" text-anchor="middle">{value:.2f}</text>')
    line = sorted((row for row in shown if id(row) in front), key=lambda row: row[key])
    path = " L".join(f"{x(row[key]):.1f} {y(row['perplexity']):.1f}" for row in line)
    out.append(f'<path d="M{path}" fill="none" stroke="#bbb" stroke-dasharray="4 3"/>')
    for row in shown:
        name = name_of(row)
        out.append(f'<circle cx="{x(row[key]):.1f}" cy="{y(row["perplexity"]):.1f}" r="4" fill="{COLORS[row["form"]]}">'
                   f'<title>{name}</title></circle>')
        if id(row) in front:
            out.append(f'<text x="{x(row[key]) + 6:.1f}" y="{y(row["perplexity"]) - 5:.1f}">{name}</text>')
    return out


def main():
    front_csv, bench_text, svg = sys.argv[1:]
    times = read_times(bench_text)
    rows = []
    for row in csv.DictReader(open(front_csv)):
        entry = {"form": row["form"], "bits": int(row["bits"]), "group": int(row["group"]), "sparsity": int(row["sparsity"]),
                 "training": row["training"], "repair": row["repair"], "allocation": row["allocation"],
                 "perplexity": float(row["perplexity"]), "bytes": float(row["bytes_per_weight"])}
        timed = f"dense g{entry['group']}" if entry["form"] == "dense" else entry["form"]
        time = time_at(times.get((timed, entry["bits"]), []), entry["sparsity"])
        if time is not None:
            entry["time"] = time
        rows.append(entry)
    by_bytes, by_time = on_front(rows, "bytes"), on_front(rows, "time")
    dense = [row for row in rows if row["form"] == "dense"]
    print("| form | repair | perplexity | bytes per weight | decode time | on the front of | better in both than |")
    print("|---|---|---|---|---|---|---|")
    for row in sorted(rows, key=lambda row: row["perplexity"]):
        fronts = ", ".join(name for name, front in (("bytes", by_bytes), ("time", by_time)) if id(row) in front)
        time = f"{row['time']:.2f}" if "time" in row else ""
        beaten = [] if row["form"] == "dense" else [
            f"{name_of(other)} ({key})" for key in ("bytes", "time") for other in dense
            if key in row and key in other and row[key] <= other[key] and row["perplexity"] < other["perplexity"]]
        repair = row["repair"] if row["sparsity"] else ""
        print(f"| {name_of(row)} | {repair} | {row['perplexity']:.2f} | {row['bytes']:.3f} | {time} | {fronts} | {', '.join(beaten)} |")
    parts = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * WIDTH}" height="{HEIGHT + 24}" font-family="sans-serif" '
             'font-size="11">', '<rect width="100%" height="100%" fill="white"/>']
    parts += panel(rows, "bytes", "bytes per weight", 0, by_bytes)
    if any("time" in row for row in rows):
        parts += panel(rows, "time", "decode time, dense INT4 = 1", WIDTH, by_time)
    for i, (form, color) in enumerate(COLORS.items()):
        parts.append(f'<circle cx="{60 + 110 * i}" cy="{HEIGHT + 10}" r="4" fill="{color}"/>'
                     f'<text x="{70 + 110 * i}" y="{HEIGHT + 14}">{form}</text>')
    open(svg, "w").write("\n".join(parts + ["</svg>"]) + "\n")


main()
