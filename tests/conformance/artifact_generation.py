"""The folders that `edgecompress run` and `export` write: onnxruntime-genai generates from them, the float one as transformers
does; `eval --artifact` gives the perplexity of the model they were made of; onnx's checker passes the standard format.

Usage: artifact_generation.py EDGECOMPRESS
"""
import pathlib
import shutil
import sys
import tempfile

from command_line import *

try:
    import onnx
except ImportError as error:
    print(f"skipped: {error}; run tools/setup.sh")
    sys.exit(SKIPPED)

from greedy_tokens import expected_tokens, generated

SAME_PERPLEXITY = 1e-3
# What level 4, which rounds activations to 8 bits, may cost: 0.05 % to 0.5 % on small models.
LEVEL_4_PERPLEXITY = 2e-2
SAME_FLOAT = 5e-5

RECIPE = """schema: edgecompress.recipe/v1
name: conformance
calibration: {{ text: calibration.txt, samples: 8, sequence_length: 128 }}
steps:
  - id: cut
    prune: {{ score: activation, ratio: 25%, channel_multiple: 32 }}
  - id: mask
    mask: {{ method: wanda, pattern: "2:4" }}
  - id: quant
    quantize:
      method: rtn
      clip: weight-error
      weights: {{ bits: {bits}, group_size: 32, symmetric: {symmetric} }}
      embedding: {{ bits: 8 }}
      head: {{ bits: 8 }}
  - id: artifact
    export: {{ format: {format} }}
evaluate: {{ text: evaluation.txt, window: 192, max_windows: 2 }}
"""


def check_generates(what, artifact, prompt):
    tokens = generated(artifact, prompt)
    assert len(tokens) > len(prompt) and tokens[:len(prompt)] == prompt, (what, tokens)
    print(f"{what}: {len(tokens) - len(prompt)} tokens")
    return tokens


def check_standard(what, artifact):
    """onnx's own checker, with type and shape inference."""
    onnx.checker.check_model(str(artifact / "model.onnx"), full_check=True)
    operators = {node.domain for node in onnx.load(artifact / "model.onnx", load_external_data=False).graph.node}
    assert operators == {""}, f"{what}: operators of {operators}"


def export(edgecompress, model, target, *options):
    edgecompress.json("export", "--model", model, "-o", target, "--overwrite", *options)
    return target


# ---- float -----------------------------------------------------------------------------------------------------------

def check_float(edgecompress, work, folder, windows):
    """Computes and generates what transformers does."""
    model = load_with_transformers(folder)
    expected = transformers_perplexity(model, windows)
    prompt = [int(token) for token in windows.ids[0][:9]]
    for form in ("genai", "onnx"):
        what = f"{folder.name} float {form}"
        artifact = export(edgecompress, folder, work / "float", "--format", form)
        check_equal_perplexity(what, edgecompress.evaluate(artifact, windows)["perplexity"], expected, SAME_FLOAT)
        tokens = check_generates(what, artifact, prompt)
        assert tokens == expected_tokens(model, prompt), f"{what}: {tokens} instead of {expected_tokens(model, prompt)}"
        if form == "onnx":
            check_standard(what, artifact)


# ---- quantized -------------------------------------------------------------------------------------------------------

def check_quantized(edgecompress, work, source, windows, *options):
    """At level 0 an artifact has the perplexity of the quantized checkpoint."""
    what = f"{source.name} {' '.join(map(str, options))}"
    checkpoint, artifact = work / "quantized", work / "artifact"
    edgecompress.json("quantize", "--model", source, "-o", checkpoint, "--overwrite", *options)
    expected = edgecompress.evaluate(checkpoint, windows)["perplexity"]
    for form, level in (("genai", 0), ("genai", 4), ("onnx", 4)):
        accuracy = ["--accuracy-level", level] if form == "genai" else []
        export(edgecompress, checkpoint, artifact, "--format", form, *accuracy)
        found = edgecompress.evaluate(artifact, windows, "--against", checkpoint)
        tolerance = SAME_PERPLEXITY if level == 0 else LEVEL_4_PERPLEXITY
        check_equal_perplexity(f"{what} {form} level {level}", found["perplexity"], expected, tolerance)
        assert found["top1_agreement"] >= 0.93, f"{what}: {found}"
        check_generates(f"{what} {form}", artifact, [int(token) for token in windows.ids[0][:9]])
        if form == "onnx":
            check_standard(what, artifact)


# ---- a whole recipe --------------------------------------------------------------------------------------------------

def check_run(edgecompress, work, source, bits, symmetric, form):
    """Cut, masked and quantized: the exact artifact agrees with the checkpoint, and both with transformers."""
    what = f"{source.name} run, {bits} bits, {form}"
    recipe, output = work / "recipe.ec.yaml", work / "run"
    recipe.write_text(RECIPE.format(bits=bits, format=form, symmetric=str(symmetric).lower()))
    for text in (CALIBRATION_TEXT, EVALUATION_TEXT):  # a recipe names texts relative to itself
        shutil.copy(text, work)
    report = edgecompress.json("run", recipe, "--model", source, "-o", output, "--overwrite", "--keep-checkpoint",
                               "--skip-speed-test")
    windows = Windows(source, EVALUATION_TEXT, 192, 2)
    expected = transformers_perplexity(load_with_transformers(output / "checkpoint"), windows)
    artifact, stages = report["artifact"], {stage["stage"]: stage for stage in report["stages"]}
    assert report["evaluation"]["token_sha256"] == windows.sha256
    check_equal_perplexity(f"{what}, in memory", stages["quantized"]["perplexity"], expected, 1e-4)
    check_equal_perplexity(f"{what}, exact", artifact["perplexity_exact"], expected, SAME_PERPLEXITY)
    check_equal_perplexity(f"{what}, published", artifact["perplexity_published"], expected, LEVEL_4_PERPLEXITY)
    check_equal_perplexity(f"{what}, eval", edgecompress.evaluate(output, windows)["perplexity"],
                           artifact["perplexity_published"], 1e-9)
    check_generates(what, output, [int(token) for token in windows.ids[0][:9]])
    if form == "onnx":
        check_standard(what, output)


def main():
    edgecompress = Runner(sys.argv[1])
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(temporary)
        windows = Windows(MINI_LLAMA, EVALUATION_TEXT, 256, 2)
        check_float(edgecompress, work, MINI_LLAMA, windows)
        check_quantized(edgecompress, work, MINI_LLAMA, windows, "--bits", 4, "--group-size", 32,
                        "--embedding-bits", 4, "--head-bits", 4)
        check_quantized(edgecompress, work, MINI_LLAMA, windows, "--bits", 4, "--group-size", 64, "--asymmetric",
                        "--embedding-bits", "none", "--head-bits", "none")
        check_quantized(edgecompress, work, MINI_LLAMA, windows, "--bits", 8, "--group-size", 32)
        check_run(edgecompress, work, MINI_LLAMA, 4, False, "genai")
        check_run(edgecompress, work, MINI_LLAMA, 8, True, "onnx")
        for folder in shared_models("stories260K-hf"):
            check_float(edgecompress, work, folder, Windows(folder, STORIES_TEXT, 256, 2))


main()
