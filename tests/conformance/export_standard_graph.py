"""The standard format: ONNX's own checker with full shape inference, and ONNX Runtime against transformers as for the
genai format, with the fusion of DequantizeLinear and MatMul kept at full precision."""
import sys
import tempfile

from export_checks import check_graph
from export_support import *

try:
    import onnx
except ImportError as error:
    print(f"skipped: {error}; run tools/setup.sh")
    sys.exit(SKIPPED)

EXACT_FUSION = {"session__qdq_matmulnbits_accuracy_level": "0"}


def check_standard(artifact):
    onnx.checker.check_model(str(artifact / "model.onnx"), full_check=True)
    model = onnx.load(artifact / "model.onnx", load_external_data=False)
    assert [(o.domain, o.version) for o in model.opset_import] == [("", 21)], model.opset_import
    assert model.ir_version == 10
    return model


def check_fusion(artifact, model):
    """ONNX Runtime turns every DequantizeLinear and MatMul into a MatMulNBits, and every norm into one operator."""
    options = onnxruntime.SessionOptions()
    options.optimized_model_filepath = str(artifact / "optimized.onnx")
    options.log_severity_level = 3
    onnxruntime.InferenceSession(str(artifact / "model.onnx"), options, providers=["CPUExecutionProvider"])
    optimized = onnx.load(artifact / "optimized.onnx", load_external_data=False)

    def count(graph, *ops):
        return sum(node.op_type in ops for node in graph.node)

    quantized, norms = count(model.graph, "DequantizeLinear"), count(model.graph, "ReduceMean")
    assert quantized > 20 and norms == 9
    assert count(optimized.graph, "DequantizeLinear") == 0
    assert count(optimized.graph, "MatMulNBits") == quantized
    assert count(optimized.graph, "SimplifiedLayerNormalization", "SkipSimplifiedLayerNormalization") == norms


def check_float(tool, work, folder):
    artifact, _ = export(tool, folder, f"{work}/float", "standard")
    check_standard(artifact)
    check_graph(f"{folder.name} float", session(artifact / "model.onnx"), load_reference(folder))


def check_quantized(tool, work, folder, what, **scheme):
    state = quantize_folder(folder, f"{work}/quantized", **scheme)
    artifact, _ = export(tool, f"{work}/quantized", f"{work}/artifact", "standard", "threads=2")
    model = check_standard(artifact)
    if folder == MINI_LLAMA:
        check_fusion(artifact, model)
    opened = session(artifact / "model.onnx", **EXACT_FUSION)
    check_graph(f"{folder.name} {what}", opened, reference_of(folder, state))


def main():
    tool = sys.argv[1]
    with tempfile.TemporaryDirectory() as work:
        for folder in models("stories260K-hf", "stories3M-hf"):
            check_float(tool, work, folder)
        check_quantized(tool, work, MINI_LLAMA, "int4 group 32", bits=4, group=32)
        check_quantized(tool, work, MINI_LLAMA, "int4 asymmetric", bits=4, group=64, symmetric=False, embedding=8)
        check_quantized(tool, work, MINI_LLAMA, "int8 per channel", bits=8, embedding=8)
        check_quantized(tool, work, MINI_LLAMA, "int8 asymmetric", bits=8, group=128, symmetric=False, embedding=4)
        check_quantized(tool, work, MINI_LLAMA, "int8 per channel asymmetric", bits=8, symmetric=False, embedding=8)
        for folder in models("stories260K-hf")[1:]:
            check_quantized(tool, work, folder, "int4, ragged rows", bits=4, embedding=4)
            check_quantized(tool, work, folder, "int8 group 4", bits=8, group=4, embedding=8)


main()
