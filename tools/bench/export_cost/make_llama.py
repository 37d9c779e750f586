"""Writes a Llama folder with random float16 weights, one shard per decoder block, never more than one tensor in memory.

Usage: make_llama.py OUTPUT [--size 1b|300m|160m|40m] [--seed N]

The sizes:
  1b    the shape of Llama 3.2 1B: hidden 2048, 32 heads over 8 KV heads, FFN 8192, 16 blocks, vocabulary 128256, tied
  300m  hidden 1024, 16 over 8 heads, FFN 4096, 12 blocks, vocabulary 64128, tied
  160m  hidden 768, 12 heads, FFN 2048, 12 blocks, vocabulary 32000, a head of its own
  40m   hidden 512, 8 over 4 heads, FFN 2048, 6 blocks, vocabulary 32064, tied
The tokenizer is mini-llama's, which knows fewer tokens than the model: enough for programs that only convert weights.
"""
import argparse
import json
import pathlib
import shutil
import struct

import numpy as np

# hidden, attention heads, KV heads, FFN, blocks, vocabulary, whether the head is the embedding
SIZES = {"1b": (2048, 32, 8, 8192, 16, 128256, True),
         "300m": (1024, 16, 8, 4096, 12, 64128, True),
         "160m": (768, 12, 12, 2048, 12, 32000, False),
         "40m": (512, 8, 4, 2048, 6, 32064, True)}
HEAD_DIM = 64
INITIAL_DEVIATION = 0.02
TOKENIZER = pathlib.Path(__file__).resolve().parents[3] / "tests/models/mini-llama"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def config_of(hidden, heads, kv_heads, ffn, blocks, vocabulary, tied):
    mini = json.loads((TOKENIZER / "config.json").read_text())
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "attention_bias": False, "mlp_bias": False,
            "bos_token_id": mini["bos_token_id"], "eos_token_id": mini["eos_token_id"], "head_dim": HEAD_DIM,
            "hidden_act": "silu", "hidden_size": hidden, "initializer_range": INITIAL_DEVIATION,
            "intermediate_size": ffn, "max_position_embeddings": 4096, "num_attention_heads": heads,
            "num_hidden_layers": blocks, "num_key_value_heads": kv_heads, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
            "rope_scaling": {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                             "original_max_position_embeddings": 2048},
            "tie_word_embeddings": tied, "torch_dtype": "float16", "use_cache": True, "vocab_size": vocabulary}


def block_shapes(config, block):
    hidden, ffn = config["hidden_size"], config["intermediate_size"]
    queries, keys = config["num_attention_heads"] * HEAD_DIM, config["num_key_value_heads"] * HEAD_DIM
    prefix = f"model.layers.{block}."
    return {prefix + "input_layernorm.weight": (hidden,),
            prefix + "self_attn.q_proj.weight": (queries, hidden),
            prefix + "self_attn.k_proj.weight": (keys, hidden),
            prefix + "self_attn.v_proj.weight": (keys, hidden),
            prefix + "self_attn.o_proj.weight": (hidden, queries),
            prefix + "post_attention_layernorm.weight": (hidden,),
            prefix + "mlp.gate_proj.weight": (ffn, hidden),
            prefix + "mlp.up_proj.weight": (ffn, hidden),
            prefix + "mlp.down_proj.weight": (hidden, ffn)}


def shards(config):
    hidden, vocabulary = config["hidden_size"], config["vocab_size"]
    head = {} if config["tie_word_embeddings"] else {"lm_head.weight": (vocabulary, hidden)}
    yield {"model.embed_tokens.weight": (vocabulary, hidden), "model.norm.weight": (hidden,), **head}
    for block in range(config["num_hidden_layers"]):
        yield block_shapes(config, block)


def write_shard(path, shapes, generator):
    """One safetensors file. Returns the bytes of its tensors."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with path.open("wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        for shape in shapes.values():
            if len(shape) == 1:  # a norm
                file.write(np.ones(shape, np.float16).tobytes())
                continue
            rows_at_once = max(1, (1 << 24) // shape[1])
            for begin in range(0, shape[0], rows_at_once):
                rows = min(rows_at_once, shape[0] - begin)
                weights = generator.standard_normal((rows, shape[1]), np.float32)
                file.write((weights * np.float32(INITIAL_DEVIATION)).astype(np.float16).tobytes())
    return at


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--size", choices=SIZES, default="1b")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True)
    config = config_of(*SIZES[arguments.size])
    generator = np.random.default_rng(arguments.seed)
    count, total, index = config["num_hidden_layers"] + 1, 0, {}
    for number, shapes in enumerate(shards(config), 1):
        name = f"model-{number:05d}-of-{count:05d}.safetensors"
        total += write_shard(arguments.output / name, shapes, generator)
        index.update(dict.fromkeys(shapes, name))
    (arguments.output / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": total}, "weight_map": index}, indent=1))
    (arguments.output / "config.json").write_text(json.dumps(config, indent=1))
    for name in TOKENIZER_FILES:
        shutil.copyfile(TOKENIZER / name, arguments.output / name)
    print(f"{arguments.output}: {total // 2 / 1e6:.0f} million parameters, {total / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
