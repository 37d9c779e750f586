"""What the tests of the command line share: running edgecompress, and transformers' perplexity on the same windows."""
import hashlib
import json
import math
import os
import pathlib
import shutil
import subprocess
import sys

SKIPPED = 77
ROOT = pathlib.Path(__file__).resolve().parents[2]
MINI_LLAMA = ROOT / "tests/models/mini-llama"
EVALUATION_TEXT = ROOT / "calibration/evaluation.txt"
CALIBRATION_TEXT = ROOT / "calibration/calibration.txt"
SHARED_DATA = ROOT.parent / "shared/data"
EDGE_TEXT = SHARED_DATA / "text/edge/val.txt"
STORIES_TEXT = SHARED_DATA / "text/tinystories/tinystories_val.txt"

os.environ["TQDM_DISABLE"] = "1"  # compressed-tensors draws bars

try:
    import numpy as np
    import torch
    import transformers
    from safetensors import safe_open
    from safetensors.torch import save_file
    from tokenizers import Tokenizer
except ImportError as error:
    print(f"skipped: {error}; run tools/setup.sh")
    sys.exit(SKIPPED)

torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


class Runner:
    """Calls edgecompress on one thread."""

    def __init__(self, program):
        self.program = program

    def json(self, command, *arguments):
        """What `edgecompress command arguments --json` prints."""
        call = [self.program, command, *map(str, arguments), "--threads", "1", "--json"]
        done = subprocess.run(call, capture_output=True, text=True)
        if done.returncode != 0:
            raise RuntimeError(f"{' '.join(call)} ended with {done.returncode}:\n{done.stderr}")
        return json.loads(done.stdout)

    def evaluate(self, source, windows, *more):
        """eval of a model folder, or of an ONNX folder."""
        kind = "--artifact" if any(source.glob("*.onnx")) else "--model"
        return self.json("eval", kind, source, "--text", windows.text, "--window", windows.length, "--windows",
                         windows.count, "--window-order", windows.order, *more)


class Windows:
    """The tokens of a text that a perplexity is measured on, cut here, without edgecompress."""

    def __init__(self, tokenizer_folder, text, length, count, order="spread"):
        self.text, self.length, self.count, self.order = text, length, count, order
        ids = Tokenizer.from_file(str(tokenizer_folder / "tokenizer.json")).encode(text.read_bytes().decode()).ids
        available = len(ids) // length
        self.count = min(count, available)
        chosen = [i * available // self.count if order == "spread" else i for i in range(self.count)]
        self.ids = np.array([ids[i * length:(i + 1) * length] for i in chosen], dtype="<i4")
        self.sha256 = hashlib.sha256(self.ids.tobytes()).hexdigest()


def shared_models(*names):
    """Those of ../shared/data/models that are here."""
    found = []
    for name in names:
        folder = SHARED_DATA / "models" / name
        if folder.is_dir():
            found.append(folder)
        else:
            print(f"skipped: ../shared/data/models/{name} is absent")
    return found


def load_with_transformers(folder):
    """The folder as transformers loads it, in float32. Every tensor of the folder must have found its place."""
    model, info = transformers.AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32,
                                                                    output_loading_info=True)
    problems = {key: list(value) for key, value in info.items() if value}
    assert not problems, f"{folder}: transformers reports {problems}"
    return model.eval()


@torch.no_grad()
def transformers_perplexity(model, windows):
    """exp of the mean cross entropy over all targets, float32 log-softmax, sums in float64."""
    total, targets = 0.0, 0
    for window in windows.ids:
        ids = torch.from_numpy(window.astype(np.int64))[None]
        log_probabilities = model(ids).logits[0, :-1].float().log_softmax(-1)
        total -= log_probabilities.gather(1, ids[0, 1:, None]).double().sum().item()
        targets += windows.length - 1
    return math.exp(total / targets)


def check_equal_perplexity(what, found, expected, tolerance):
    difference = found / expected - 1
    print(f"{what}: perplexity {found:.5f}, expected {expected:.5f}, relative difference {difference:.1e}")
    assert abs(difference) <= tolerance, f"{what}: perplexity {found}, expected {expected} within {tolerance}"


def stored_tensors(folder):
    """Every tensor of a model folder by name."""
    tensors = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            tensors.update({name: opened.get_tensor(name) for name in opened.keys()})
    return tensors


def untied(folder, target):
    """The same model with a head of its own, unlike its embedding."""
    shutil.copytree(folder, target)
    tensors = stored_tensors(target)
    embedding = tensors["model.embed_tokens.weight"]
    noise = torch.randn(embedding.shape, generator=torch.Generator().manual_seed(5)).to(embedding.dtype)
    tensors["lm_head.weight"] = embedding + 0.1 * embedding.float().std().to(embedding.dtype) * noise
    save_file(tensors, target / "model.safetensors", {"format": "pt"})
    config = json.loads((target / "config.json").read_text())
    config["tie_word_embeddings"] = False
    (target / "config.json").write_text(json.dumps(config))
    return target
