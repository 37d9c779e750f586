"""The genai format in ONNX Runtime against transformers: float models, and quantized ones at accuracy level 0 against the
float weights they stand for; whole prompts, prompts split over the cache, padded batches."""
import sys
import tempfile

from export_checks import SPLIT, check_graph
from export_support import *


def check_float(tool, work, folder):
    artifact, _ = export(tool, folder, f"{work}/float", "genai")
    check_graph(f"{folder.name} float", session(artifact / "model.onnx"), load_reference(folder))


def check_quantized(tool, work, folder, what, **scheme):
    state = quantize_folder(folder, f"{work}/quantized", **scheme)
    artifact, printed = export(tool, f"{work}/quantized", f"{work}/artifact", "genai", "exact", "threads=2")
    reference = reference_of(folder, state)
    check_graph(f"{folder.name} {what}", session(artifact / "model.exact.onnx"), reference)
    # Level 4 rounds activations to 8 bits: the distributions stay close, single logits need not.
    ids = prompt(reference.config, 17, seed=7)
    expected = torch.log_softmax(torch.from_numpy(reference_logits(reference, ids)), -1)
    found = torch.log_softmax(torch.from_numpy(split_logits(session(artifact / "model.onnx"), ids, SPLIT)), -1)
    divergence = float((expected.exp() * (expected - found)).sum(-1).mean())
    print(f"{folder.name} {what} level 4: {divergence:.1e} nats")
    assert divergence < 0.05, divergence
    return printed


def main():
    tool = sys.argv[1]
    mixed = {f"model.layers.{i}.self_attn.v_proj": 8 for i in range(4)}
    with tempfile.TemporaryDirectory() as work:
        for folder in models("stories260K-hf", "stories3M-hf", "edge-llama-25m-hf"):
            check_float(tool, work, folder)
        mini = MINI_LLAMA
        check_quantized(tool, work, mini, "int4 group 32", bits=4, group=32)
        check_quantized(tool, work, mini, "int4 asymmetric", bits=4, group=64, symmetric=False)
        check_quantized(tool, work, mini, "int8 per channel", bits=8)
        check_quantized(tool, work, mini, "int8 asymmetric", bits=8, group=128, symmetric=False)
        check_quantized(tool, work, mini, "mixed widths in qkv", bits=4, group=32, modules=mixed)
        check_quantized(tool, work, mini, "int8 tied embedding", bits=4, group=32, embedding=8)
        check_quantized(tool, work, mini, "int4 tied embedding", bits=4, group=32, embedding=4, symmetric=False)
        for folder in models("stories260K-hf")[1:]:
            check_quantized(tool, work, folder, "int4, ragged rows", bits=4, embedding=4)
            check_quantized(tool, work, folder, "int8, ragged rows", bits=8, embedding=8)


main()
