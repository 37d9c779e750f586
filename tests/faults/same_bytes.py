"""The same bytes, whatever the machine gives: python3 same_bytes.py --program bin/edgecompress

Recipes that use every method between them run with 1, 2, 3 and 7 threads, with the least memory that is accepted, and killed behind a
block and gone on with. Every file must be the same, but for what the report says of the run itself.
"""

import argparse
import os
import pathlib
import re
import shutil
import signal
import subprocess
import sys
import tempfile

from kill_runs import SOURCE, contents

HEAD = """schema: edgecompress.recipe/v1
name: same
calibration: { text: calibration.txt, samples: 3, sequence_length: 96 }
evaluate: { text: evaluation.txt, window: 64, max_windows: 3 }
steps:
"""

RECIPES = {
    "compensated": """
  - { id: cut, prune: { score: output-error, ratio: 25% } }
  - { id: mask, mask: { method: sparsegpt, pattern: "2:4", targets: ["*.mlp.*"] } }
  - { id: quant, quantize: { method: gptq, weights: { bits: 4, group_size: 32 } } }
  - { id: artifact, export: { format: genai } }
""",
    "scored": """
  - { id: cut, prune: { score: activation, ratio: 25% } }
  - { id: mask, mask: { method: wanda, pattern: per-row, sparsity: 40%, repair: least-squares } }
  - { id: quant, quantize: { method: rtn, weights: { bits: 4, group_size: 32, symmetric: false }, clip: weight-error } }
  - { id: artifact, export: { format: onnx } }
""",
    "data-free": """
  - { id: cut, prune: { score: magnitude-l2, ratio: 25% } }
  - { id: mask, mask: { method: magnitude, pattern: 16x1, sparsity: 50% } }
  - { id: quant, quantize: { method: rtn, weights: { bits: 8 } } }
""",
    "rounded": """
  - { id: quant, quantize: { method: rtn, weights: { bits: 4, group_size: 64 } } }
""",
}


class Runs:
    def __init__(self, program, model, folder):
        self.program, self.model, self.folder = program, model, folder
        for name in ("calibration.txt", "evaluation.txt"):
            shutil.copy(SOURCE / "calibration" / name, folder)

    def write(self, name):
        text = HEAD + RECIPES[name]
        if name in ("data-free", "rounded"):  # without text, so that the walk that only rounds is taken too
            text = "\n".join(line for line in text.splitlines() if not line.startswith(("calibration", "evaluate"))) + "\n"
        (self.folder / f"{name}.ec.yaml").write_text(text)

    def run(self, name, output, *flags, kill_at=None):
        environment = {key: value for key, value in os.environ.items() if key != "EDGECOMPRESS_KILL_AT"}
        if kill_at:
            environment["EDGECOMPRESS_KILL_AT"] = kill_at
        done = subprocess.run([self.program, "run", str(self.folder / f"{name}.ec.yaml"), "--model", self.model, "-o", str(output),
                               "--keep-checkpoint", "--skip-speed-test", *flags], capture_output=True, text=True, env=environment)
        return done.returncode, done.stderr

    def bytes_of(self, name, *flags):
        output = self.folder / "out"
        code, text = self.run(name, output, *flags)
        if code != 0:
            raise SystemExit(f"{name} {flags}: exit code {code}\n{text}")
        files = contents(output)
        shutil.rmtree(output)
        return files

    def least_memory(self, name):
        """The budget that the refusal of too little asks for."""
        code, text = self.run(name, self.folder / "out", "--max-memory", "1MiB")
        if code != 71 or "M-BUDGET" not in text:
            raise SystemExit(f"{name}: 1 MiB was not refused: {code}\n{text}")
        return re.search(r"needs at least ([0-9.]+) GiB", text)[1] + "GiB"

    def killed(self, name):
        output = self.folder / "out"
        code, text = self.run(name, output, "--threads", "3", kill_at="journal-after:3")
        if code != -signal.SIGKILL:
            raise SystemExit(f"{name}: not killed: {code}\n{text}")
        return self.bytes_of(name, "--threads", "2")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True)
    parser.add_argument("--model", default=str(SOURCE / "tests/models/mini-llama"))
    parser.add_argument("--recipes", default=",".join(RECIPES))
    parser.add_argument("--threads", default="2,3,7", help="compared with one thread")
    options = parser.parse_args()
    failures = 0
    with tempfile.TemporaryDirectory(prefix="edgecompress-same-") as folder:
        runs = Runs(options.program, options.model, pathlib.Path(folder))
        for name in options.recipes.split(","):
            runs.write(name)
            expected = runs.bytes_of(name, "--threads", "1")
            variants = {f"{count} threads": runs.bytes_of(name, "--threads", count) for count in options.threads.split(",")}
            memory = runs.least_memory(name)
            variants[f"--max-memory {memory}"] = runs.bytes_of(name, "--max-memory", memory)
            variants["killed behind block 2"] = runs.killed(name)
            different = {variant: [file for file in expected if files.get(file) != expected[file]]
                         for variant, files in variants.items() if files != expected}
            failures += len(different)
            print(f"{name}: {len(expected)} files, {', '.join(variants)}: "
                  + (f"DIFFERENT {different}" if different else "the same bytes"), flush=True)
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
