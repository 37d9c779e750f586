"""Models that the real ones do not cover, with random weights: biases, head sizes, rotary scalings, untied tables of every
storage, rows that no block or group divides, decoder blocks of different widths."""
import sys
import tempfile

from export_checks import check_graph
from export_support import *

EXACT_FUSION = {"session__qdq_matmulnbits_accuracy_level": "0"}
TINY = dict(hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4, num_key_value_heads=2,
            head_dim=16, vocab_size=300, max_position_embeddings=256, rms_norm_eps=1e-6, tie_word_embeddings=False,
            bos_token_id=1, eos_token_id=2)
LLAMA3_ROPE = dict(rope_type="llama3", rope_theta=500000.0, factor=4.0, low_freq_factor=1.0, high_freq_factor=4.0,
                   original_max_position_embeddings=64)


def random_model(folder, dtype=torch.float32, **changes):
    """A folder whose logits spread as a trained model's do: weights large enough that every part of the graph counts."""
    torch.manual_seed(5)
    model = transformers.LlamaForCausalLM(transformers.LlamaConfig(**{**TINY, **changes}))
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if "norm" in name:
                parameter.uniform_(0.5, 1.5)
            elif "embed" in name:
                parameter.normal_()
            else:
                parameter.normal_(std=2 / TINY["hidden_size"] ** 0.5 if parameter.dim() > 1 else 0.5)
    shutil.rmtree(folder, ignore_errors=True)
    model.to(dtype).save_pretrained(folder)
    return pathlib.Path(folder)


def opened(tool, model, work, style):
    artifact, printed = export(tool, model, f"{work}/artifact", style, "exact", "threads=2")
    if style == "genai":
        return session(artifact / "model.exact.onnx"), printed
    return session(artifact / "model.onnx", **EXACT_FUSION), printed


def check_float(tool, work, what, **changes):
    folder = random_model(f"{work}/float", **changes)
    for style in ("genai", "standard"):
        check_graph(f"{what}, {style}", opened(tool, folder, work, style)[0], load_reference(folder))


def check_quantized(tool, work, what, scheme, styles=("genai", "standard"), warning="", **changes):
    source = random_model(f"{work}/float", **changes)
    state = quantize_folder(source, f"{work}/quantized", **scheme)
    reference = reference_of(source, state)
    for style in styles:
        graph, printed = opened(tool, f"{work}/quantized", work, style)
        check_graph(f"{what}, {style}", graph, reference)
        assert warning in printed, (warning, printed)


def narrowed(folder, target):
    """`folder` with the last key-value head of block 1 and a third of its channels cut off, and the state dict of the
    full-size model that computes the same: what the cut columns of o and down read is multiplied by 0."""
    heads, head_dim, channels = TINY["num_attention_heads"] // 2, TINY["head_dim"], TINY["intermediate_size"] * 2 // 3
    kept = {"q_proj": heads * head_dim, "k_proj": head_dim, "v_proj": head_dim, "gate_proj": channels,
            "up_proj": channels, "o_proj": heads * head_dim, "down_proj": channels}
    state = load_file(folder / "model.safetensors")
    stored = dict(state)
    for name, tensor in state.items():
        module = name.split(".")[-2]
        if not name.startswith("model.layers.1.") or module not in kept:
            continue
        if module in ("o_proj", "down_proj"):
            stored[name] = tensor[:, :kept[module]].contiguous()
            state[name] = torch.cat([stored[name], torch.zeros_like(tensor[:, kept[module]:])], 1)
        else:
            stored[name] = tensor[:kept[module]].contiguous()
    target.mkdir(parents=True, exist_ok=True)
    save_file(stored, target / "model.safetensors", {"format": "pt"})
    config = json.loads((folder / "config.json").read_text())
    wide = {name: TINY[name] for name in ("num_attention_heads", "num_key_value_heads", "intermediate_size")}
    narrow = {"num_attention_heads": heads, "num_key_value_heads": 1, "intermediate_size": channels}
    config["edgecompress_block_shapes"] = [wide, narrow]
    (target / "config.json").write_text(json.dumps(config))
    return state


def check_different_blocks(tool, work):
    folder = random_model(f"{work}/float")
    target = pathlib.Path(f"{work}/narrow")
    reference = reference_of(folder, narrowed(folder, target))
    for style in ("genai", "standard"):
        check_graph(f"different blocks, {style}", opened(tool, target, work, style)[0], reference)
    artifact, printed = export(tool, target, f"{work}/artifact", "genai")
    assert "different numbers of key-value heads" in printed, printed
    try:
        import onnxruntime_genai as og
    except ImportError as error:
        print(f"skipped: generation with different blocks: {error}")
        return
    (artifact / "tokenizer.json").write_bytes((MINI_LLAMA / "tokenizer.json").read_bytes())
    params = og.GeneratorParams(og.Model(str(artifact)))
    params.set_search_options(max_length=20, do_sample=False)
    generator = og.Generator(og.Model(str(artifact)), params)
    ids = prompt(reference.config, 9, seed=3)
    generator.append_tokens(np.array(ids, np.int32))
    found = np.array(generator.get_output("logits"))[0]
    check_close("different blocks, onnxruntime-genai", found, reference_logits(reference, ids), 1e-4)


def main():
    tool = sys.argv[1]
    with tempfile.TemporaryDirectory() as work:
        check_float(tool, work, "biases", attention_bias=True, mlp_bias=True)
        check_float(tool, work, "head_dim 4, biases", head_dim=4, attention_bias=True)
        check_float(tool, work, "head_dim 24", head_dim=24)
        check_float(tool, work, "head_dim 48, bf16", head_dim=48, dtype=torch.bfloat16)
        check_float(tool, work, "llama3 rope", rope_parameters=LLAMA3_ROPE)
        check_float(tool, work, "linear rope", rope_parameters=dict(rope_type="linear", rope_theta=1e4, factor=2.0))
        biases = dict(attention_bias=True, mlp_bias=True)
        check_quantized(tool, work, "int4 biases", dict(bits=4, group=32, head_bits=8, embedding=4), **biases)
        check_quantized(tool, work, "int8 biases asymmetric", dict(bits=8, group=16, symmetric=False), **biases)
        check_quantized(tool, work, "int4 head_dim 24", dict(bits=4, head_bits=4, embedding=8, symmetric=False),
                        head_dim=24)
        ragged = dict(hidden_size=72, intermediate_size=100)
        check_quantized(tool, work, "rows of 72", dict(bits=8, head_bits=8, embedding=4, symmetric=False), **ragged)
        check_quantized(tool, work, "groups of 24", dict(bits=4, group=24, embedding=4), styles=["standard"],
                        intermediate_size=120, head_dim=24, hidden_size=72)
        check_quantized(tool, work, "short last groups", dict(bits=4, group=32, head_bits=8), **ragged)
        check_quantized(tool, work, "short last groups, asymmetric", dict(bits=4, group=64, symmetric=False), **ragged)
        odd = dict(vocab_size=301, intermediate_size=97, num_hidden_layers=1)
        check_quantized(tool, work, "odd rows", dict(bits=4, head_bits=4, embedding=4, symmetric=False), **odd)
        tied = dict(tie_word_embeddings=True)
        check_quantized(tool, work, "tied rows of 72", dict(bits=8, embedding=8), **tied, **ragged)
        check_different_blocks(tool, work)


main()
