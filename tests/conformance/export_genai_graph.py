"""The genai format in ONNX Runtime against transformers: float models, and quantized ones at accuracy level 0 against the
float weights they stand for; whole prompts, prompts split over the cache, padded batches."""
import sys
import tempfile

from export_checks import SPLIT, check_graph
from export_support import *

try:
    import onnx
except ImportError as error:
    print(f"skipped: {error}; run tools/setup.sh")
    sys.exit(SKIPPED)


def check_float(tool, work, folder):
    artifact, _ = export(tool, folder, f"{work}/float", "genai")
    check_graph(f"{folder.name} float", session(artifact / "model.onnx"), load_reference(folder))


def check_quantized(tool, work, folder, what, **scheme):
    state = quantize_folder(folder, f"{work}/quantized", **scheme)
    artifact, _ = export(tool, f"{work}/quantized", f"{work}/artifact", "genai", "exact", "threads=2")
    reference = reference_of(folder, state)
    check_graph(f"{folder.name} {what}", session(artifact / "model.exact.onnx"), reference)
    # Level 4 rounds activations to 8 bits: the distributions stay close, single logits need not.
    ids = prompt(reference.config, 17, seed=7)
    expected = torch.log_softmax(torch.from_numpy(reference_logits(reference, ids)), -1)
    found = torch.log_softmax(torch.from_numpy(split_logits(session(artifact / "model.onnx"), ids, SPLIT)), -1)
    divergence = float((expected.exp() * (expected - found)).sum(-1).mean())
    print(f"{folder.name} {what} level 4: {divergence:.1e} nats")
    assert divergence < 0.05, divergence


def check_threads(tool, work):
    """Packing on two threads gives the bytes that one gives."""
    quantize_folder(MINI_LLAMA, f"{work}/quantized", bits=4, group=32, embedding=8, symmetric=False)
    for style in ("genai", "standard"):
        one, two = (export(tool, f"{work}/quantized", f"{work}/{n}", style, f"threads={n}")[0] for n in (1, 2))
        for file in one.iterdir():
            assert file.read_bytes() == (two / file.name).read_bytes(), (style, file.name)


def check_shared_table(tool, work):
    """A tied quantized table is stored once: embedding and head name the same bytes."""
    quantize_folder(MINI_LLAMA, f"{work}/quantized", bits=4, group=32, embedding=8, symmetric=False)
    artifact, _ = export(tool, f"{work}/quantized", f"{work}/artifact", "genai")
    tensors = {t.name: t for t in onnx.load(artifact / "model.onnx", load_external_data=False).graph.initializer}
    for suffix in ("_Q8", "_scales", "_zp"):
        pair = [tensors[name + suffix] for name in ("model.embed_tokens.weight", "lm_head.MatMul.weight")]
        places = [{e.key: e.value for e in t.external_data} for t in pair]
        assert places[0] == places[1] and places[0], (suffix, places)
    rows, columns = 2048, 256
    assert tensors["model.embed_tokens.weight_Q8"].dims == [rows, columns]
    assert tensors["lm_head.MatMul.weight_Q8"].dims == [rows, columns // 32, 32]


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
        check_threads(tool, work)
        check_shared_table(tool, work)
        for folder in models("stories260K-hf")[1:]:
            check_quantized(tool, work, folder, "int4, ragged rows", bits=4, embedding=4)
            check_quantized(tool, work, folder, "int8, ragged rows", bits=8, embedding=8)


main()
