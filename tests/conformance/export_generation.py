"""onnxruntime-genai loads every format and generates the tokens that transformers does."""
import sys
import tempfile

from export_support import *
from greedy_tokens import expected_tokens, generated, onnxruntime_genai as og

def check_tokens(what, artifact, reference, ids):
    found, expected = generated(artifact, ids), expected_tokens(reference, ids)
    print(f"{what}: {len(found) - len(ids)} tokens")
    assert found == expected, f"{what}: generated {found}, expected {expected}"


def check_float(tool, work, folder, style):
    artifact, _ = export(tool, folder, f"{work}/float", style)
    reference = load_reference(folder)
    check_tokens(f"{folder.name} {style}", artifact, reference, prompt(reference.config, 9, seed=3))


def check_quantized(tool, work, what, style, *options, **scheme):
    """At level 0 the artifact computes with the dequantized weights, so the tokens must be equal."""
    state = quantize_folder(MINI_LLAMA, f"{work}/quantized", **scheme)
    artifact, _ = export(tool, f"{work}/quantized", f"{work}/artifact", style, "exact", *options)
    assert generated(artifact, [5, 6, 7])  # the published graph loads and runs
    (artifact / "model.exact.onnx").replace(artifact / "model.onnx")
    reference = reference_of(MINI_LLAMA, state)
    check_tokens(f"mini-llama {style} {what}", artifact, reference, prompt(reference.config, 9, seed=3))


def check_tokenizer(tool, work):
    artifact, _ = export(tool, MINI_LLAMA, f"{work}/float", "genai")
    for name in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json", "config.json"):
        assert (artifact / name).read_bytes() == (MINI_LLAMA / name).read_bytes(), name
    text = "The quick brown fox"
    ids = og.Tokenizer(og.Model(str(artifact))).encode(text)
    theirs = transformers.PreTrainedTokenizerFast.from_pretrained(MINI_LLAMA)
    assert [int(i) for i in ids] == theirs.encode(text, add_special_tokens=False)


def check_bounds(tool, work):
    """A cache bound below the context, and a context below the model's."""
    artifact, _ = export(tool, MINI_LLAMA, f"{work}/short", "genai", "context=100", "max_generation=50")
    config = json.loads((artifact / "genai_config.json").read_text())
    assert config["model"]["context_length"] == 100 and config["search"]["max_length"] == 50
    reference = load_reference(MINI_LLAMA)
    check_tokens("mini-llama, short context", artifact, reference, prompt(reference.config, 9, seed=4))


def main():
    tool = sys.argv[1]
    with tempfile.TemporaryDirectory() as work:
        for folder in models("stories260K-hf"):
            for style in ("genai", "standard"):
                check_float(tool, work, folder, style)
        check_quantized(tool, work, "int4", "genai", bits=4, group=32, embedding=8)
        check_quantized(tool, work, "int8", "genai", bits=8)
        check_tokenizer(tool, work)
        check_bounds(tool, work)


main()
