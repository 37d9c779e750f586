"""What each method costs in perplexity, beside the best that other tools reach on the same model and windows.

Usage: run.py [--edgecompress PROGRAM] [--data DIR] [--model NAME]... [--only TEXT]... [--results FILE] [--threads N]

Every row of rows.json is a recipe's steps. The model is compressed by `edgecompress run`, and `edgecompress eval` scores the
checkpoint that was written. A row names the peer's perplexity on the same tokens and what must hold against it:

  equal        not higher than the peer's by more than 0.1 %
  close        within 0.5 % of the peer's, in both directions
  below        lower than the peer's
  below 5 %    at least 5 % lower than the peer's
  half loss    the logarithm of perplexity over the dense model's is at most half of the peer's
  within 25 %  at most 25 % higher than the peer's
  (nothing)    shown only

Rows are appended to the results file as they are measured, and are not measured again when it has them.
The exit code is 1 when a row misses what must hold.
"""
import argparse
import json
import math
import pathlib
import subprocess
import sys
import tempfile
import time

HERE = pathlib.Path(__file__).resolve().parent
ROOT = HERE.parents[2]
WINDOW = 512
WINDOWS = 128

HOLDS = {
    "equal": lambda ours, peer, dense: ours <= 1.001 * peer,
    "close": lambda ours, peer, dense: abs(ours / peer - 1) <= 0.005,
    "below": lambda ours, peer, dense: ours < peer,
    "below 5 %": lambda ours, peer, dense: ours <= 0.95 * peer,
    "within 25 %": lambda ours, peer, dense: ours <= 1.25 * peer,
    "half loss": lambda ours, peer, dense: math.log(ours / dense) <= 0.5 * math.log(peer / dense),
}


class Protocol:
    """Which tokens a model is calibrated and scored on. The texts lie in the work folder, as recipes name relative paths."""

    def __init__(self, texts, window_order, token_sha256):
        self.texts, self.window_order, self.token_sha256 = texts, window_order, token_sha256

    def prepare(self, data, model, work):
        (work / "val.txt").write_bytes((data / "text" / self.texts["evaluation"]).read_bytes())
        text = (data / "text" / self.texts["calibration"]).read_bytes().decode()
        (work / "calib.txt").write_bytes(self.calibration(text, model).encode())
        if "training" in self.texts:
            (work / "train.txt").write_bytes((data / "text" / self.texts["training"]).read_bytes())


class SpreadWindows(Protocol):
    """Windows spread evenly over one text."""

    def calibration(self, text, model):
        return text


class FirstWindows(Protocol):
    """The first windows of stories joined by empty lines: the text is cut where it has enough tokens, so that spreading
    over what is left takes the first ones."""

    def calibration(self, text, model):
        from tokenizers import Tokenizer

        stories = [story.strip() for story in text.split("<|endoftext|>")[:-1]]
        tokenizer = Tokenizer.from_file(str(model / "tokenizer.json"))
        low, high = 1, len(stories)
        while low < high:
            middle = (low + high) // 2
            enough = len(tokenizer.encode("\n\n".join(stories[:middle])).ids) >= WINDOWS * WINDOW
            low, high = (low, middle) if enough else (middle + 1, high)
        return "\n\n".join(stories[:low])


PROTOCOLS = {
    "edge512": SpreadWindows({"calibration": "edge/calib.txt", "evaluation": "edge/val.txt", "training": "edge/train.txt"},
                             "spread", "e3c08039b9104ecc"),
    "ts512": FirstWindows({"calibration": "tinystories/tinystories_train_2MiB.txt",
                           "evaluation": "tinystories/tinystories_val.txt"}, "first", "2f95b3d629a50e09"),
}


def call(arguments):
    done = subprocess.run(list(map(str, arguments)), capture_output=True, text=True)
    if done.returncode != 0:
        sys.exit(f"{' '.join(map(str, arguments))} ended with {done.returncode}:\n{done.stderr[-3000:]}")
    return json.loads(done.stdout)


def score(program, folder, model, protocol, work, threads):
    scores = call([program, "eval", "--model", folder, "--text", work / "val.txt", "--window", WINDOW, "--windows", WINDOWS,
                   "--window-order", protocol.window_order, "--against", model, "--threads", threads, "--json"])
    if not scores["token_sha256"].startswith(protocol.token_sha256):
        sys.exit(f"{model}: scored on other tokens than the peers: {scores['token_sha256']}")
    return {key: scores[key] for key in ("perplexity", "kl_divergence", "top1_agreement")}


def measure(program, row, model, protocol, work, threads):
    recipe = {"schema": "edgecompress.recipe/v1", "name": "quality",
              "calibration": {"text": "calib.txt", "samples": WINDOWS, "sequence_length": WINDOW},
              "steps": [{"id": f"step{i}", **step} for i, step in enumerate(row["steps"])]}
    (work / "quality.ec.yaml").write_text(json.dumps(recipe))
    output = work / "output"
    start = time.monotonic()
    call([program, "run", work / "quality.ec.yaml", "--model", model, "-o", output, "--overwrite",
          "--threads", threads, "--json"])
    seconds = time.monotonic() - start
    return {"seconds": round(seconds, 1), **score(program, output, model, protocol, work, threads)}


def table_line(row, found, dense):
    peer = row.get("peer")
    required = row.get("required", "")
    verdict = "" if not required else "holds" if HOLDS[required](found["perplexity"], peer["perplexity"], dense) else "MISSED"
    shown = f"{peer['perplexity']:10.3f}  {peer['name']}" if peer else f"{'':10}"
    return verdict, (f"{row['name']:<52} {found['perplexity']:10.3f} {found['kl_divergence']:8.4f} "
                     f"{100 * found['top1_agreement']:6.1f} {found.get('seconds', 0):7.0f} {required:>10} {verdict:>7} {shown}")


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--edgecompress", type=pathlib.Path, default=ROOT / "build/dev/bin/edgecompress")
    parser.add_argument("--data", type=pathlib.Path, default=ROOT.parent / "shared/data")
    parser.add_argument("--model", action="append", help="only rows of this model")
    parser.add_argument("--only", action="append", help="only rows whose name contains this")
    parser.add_argument("--results", type=pathlib.Path, default=pathlib.Path("quality.json"))
    parser.add_argument("--threads", type=int, default=1)
    options = parser.parse_args()
    if not (options.data / "models").is_dir():
        sys.exit(f"run.py: {options.data} has no models/; name the folder with the models and texts with --data")

    rows = json.loads((HERE / "rows.json").read_text())
    results = json.loads(options.results.read_text()) if options.results.exists() else {}
    missed = 0
    for name, group in rows.items():
        if options.model and name not in options.model:
            continue
        model, protocol = options.data / "models" / name, PROTOCOLS[group["protocol"]]
        with tempfile.TemporaryDirectory(prefix="edgecompress-quality-") as folder:
            work = pathlib.Path(folder)
            protocol.prepare(options.data, model, work)
            done = results.setdefault(name, {})
            if "dense" not in done:
                done["dense"] = score(options.edgecompress, model, model, protocol, work, options.threads)
            dense = done["dense"]["perplexity"]
            print(f"{name}, {group['protocol']}, dense {dense:.3f}\n{'method':<52} perplexity       KL  top-1       s")
            for row in group["rows"]:
                if options.only and not any(text in row["name"] for text in options.only):
                    continue
                if row["name"] not in done:
                    done[row["name"]] = measure(options.edgecompress, row, model, protocol, work, options.threads)
                    options.results.write_text(json.dumps(results, indent=1) + "\n")
                verdict, line = table_line(row, done[row["name"]], dense)
                missed += verdict == "MISSED"
                print(line, flush=True)
    sys.exit(1 if missed else 0)


main()
