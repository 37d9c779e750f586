"""Sparse artifacts of `edgecompress run` and `export`: onnxruntime-genai loads their operator library from the folder and
generates from them the tokens of their dense twins; at level 0 they have the checkpoint's perplexity; a damaged data file is refused.

Usage: sparse_artifacts.py EDGECOMPRESS
"""
import json
import pathlib
import shutil
import subprocess
import sys
import tempfile

from command_line import *

try:
    import onnxruntime
    import onnxruntime_genai
except ImportError as error:
    print(f"skipped: {error}; run tools/setup.sh")
    sys.exit(SKIPPED)

NEW_TOKENS = 16
SAME_PERPLEXITY = 1e-5  # the same weights, sums in another order
# Level 4 rounds activations to 8 bits, here per group of 64 inputs.
LEVEL_4_PERPLEXITY = 2e-2
# Two artifacts of the same weights at level 0: sums of up to 768 products in float, in another order, through four blocks.
SAME_LOGITS = 1e-4


def generated(artifact, prompt):
    """Greedy tokens of onnxruntime-genai, prompt included, and the logits of the whole prompt."""
    model = onnxruntime_genai.Model(str(artifact))
    parameters = onnxruntime_genai.GeneratorParams(model)
    parameters.set_search_options(max_length=len(prompt) + NEW_TOKENS, do_sample=False)
    generator = onnxruntime_genai.Generator(model, parameters)
    generator.append_tokens(np.array(prompt, np.int32))
    logits = np.array(generator.get_output("logits"))
    while not generator.is_done():
        generator.generate_next_token()
    return [int(token) for token in generator.get_sequence(0)], logits


def export(edgecompress, checkpoint, target, form, level):
    accuracy = ["--accuracy-level", level] if form.startswith("genai") else []
    return edgecompress.json("export", "--model", checkpoint, "-o", target, "--overwrite", "--format", form, *accuracy)


def check_form(edgecompress, work, windows, pattern, sparsity, bits, form):
    """A masked and quantized mini-llama: sparse against its dense twin and against the checkpoint."""
    masked, checkpoint = work / "masked", work / "checkpoint"
    edgecompress.json("prune", "--model", MINI_LLAMA, "-o", masked, "--overwrite", "--mask", pattern, "--mask-sparsity",
                      sparsity)
    edgecompress.json("quantize", "--model", masked, "-o", checkpoint, "--overwrite", "--bits", bits, "--group-size", 64,
                      "--embedding-bits", "none", "--head-bits", "none")  # an 8-bit head would have level 4 always
    expected = edgecompress.evaluate(checkpoint, windows)["perplexity"]
    prompt = [int(token) for token in windows.ids[0][:12]]
    exact, twin = work / "exact", work / "twin"
    report = export(edgecompress, checkpoint, exact, "genai-sparse", 0)
    products = report["artifact"]["products"]
    assert len(products) == 20 and all(p["form"] == form for p in products), products
    export(edgecompress, checkpoint, twin, "genai", 0)
    found = edgecompress.evaluate(exact, windows)["perplexity"]
    check_equal_perplexity(f"{form} {bits} bits, level 0", found, expected, SAME_PERPLEXITY)
    tokens, logits = generated(exact, prompt)
    assert len(tokens) > len(prompt), tokens
    if bits == 4:  # ONNX Runtime's 8-bit products have no level 0
        twin_tokens, twin_logits = generated(twin, prompt)
        error = np.abs(logits - twin_logits).max() / np.abs(twin_logits).max()
        print(f"{form} {bits} bits, against the dense twin: relative error of the logits {error:.1e}")
        assert error <= SAME_LOGITS, error
        assert tokens == twin_tokens, (tokens, twin_tokens)
    rounded = work / "rounded"
    export(edgecompress, checkpoint, rounded, "genai-sparse", 4)
    found = edgecompress.evaluate(rounded, windows)["perplexity"]
    check_equal_perplexity(f"{form} {bits} bits, level 4", found, expected, LEVEL_4_PERPLEXITY)
    assert len(generated(rounded, prompt)[0]) > len(prompt)
    return rounded


def check_damage(edgecompress, artifact, work, windows):
    """A flipped bit in a bitmap: ONNX Runtime's session, onnxruntime-genai and `eval` say what is wrong."""
    damaged = work / "damaged"
    shutil.copytree(artifact, damaged)
    data = bytearray((damaged / "model.onnx.data").read_bytes())
    at = data.index(b"ECPANEL\n")
    rows = int.from_bytes(data[at + 16:at + 24], "little")
    panels = -(-rows // 16)
    bitmaps = at + 64 + -(-8 * (panels + 1) // 64) * 64
    data[bitmaps] ^= 1
    (damaged / "model.onnx.data").write_bytes(data)
    options = onnxruntime.SessionOptions()
    options.register_custom_ops_library(str(damaged / "libedgecompress_ops.so"))
    for what, load in (("ONNX Runtime", lambda: onnxruntime.InferenceSession(str(damaged / "model.onnx"), options)),
                       ("onnxruntime-genai", lambda: onnxruntime_genai.Model(str(damaged)))):
        try:
            load()
        except Exception as error:
            assert "the bitmaps of panel 0 need" in str(error), f"{what}: {error}"
        else:
            raise AssertionError(f"{what} loaded a damaged file")
    done = subprocess.run([edgecompress.program, "eval", "--artifact", damaged, "--text", windows.text, "--window", "64",
                           "--windows", "1"], capture_output=True, text=True)
    assert done.returncode == 65 and "the bitmaps of panel 0 need" in done.stderr, (done.returncode, done.stderr)
    print("a damaged data file is refused")


def main():
    edgecompress = Runner(sys.argv[1])
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(temporary)
        windows = Windows(MINI_LLAMA, EVALUATION_TEXT, 192, 2)
        check_form(edgecompress, work, windows, "unstructured", "50%", 8, "unstructured")
        artifact = check_form(edgecompress, work, windows, "16x4", "50%", 4, "16x4")
        check_damage(edgecompress, artifact, work, windows)


main()
