"""Writes a Llama folder with random float16 weights, one shard per decoder block, never more than one tensor in memory.

Usage: make_llama.py OUTPUT [--size 7b|1b|1.1b|300m|160m|40m] [--blocks N] [--seed N]

The sizes:
  7b    the shape of Llama 2 7B: hidden 4096, 32 heads, FFN 11008, 32 blocks, vocabulary 32000, a head of its own
  1b    the shape of Llama 3.2 1B: hidden 2048, 32 heads over 8 KV heads, FFN 8192, 16 blocks, vocabulary 128256, tied
  1.1b  the shape of TinyLlama 1.1B: hidden 2048, 32 heads over 4 KV heads, FFN 5632, 22 blocks, vocabulary 32000, a head of its own
  300m  hidden 1024, 16 over 8 heads, FFN 4096, 12 blocks, vocabulary 64128, tied
  160m  hidden 768, 12 heads, FFN 2048, 12 blocks, vocabulary 32000, a head of its own
  40m   hidden 512, 8 over 4 heads, FFN 2048, 6 blocks, vocabulary 32064, tied
Blocks have the same weights when there are more than 22 of them, which saves most of the time that random numbers take; ONNX Runtime
then packs such weights once, and a timing of the model says nothing.
The tokenizer is mini-llama's, which knows fewer tokens than the model: enough for programs that only convert weights.
"""
import argparse
import dataclasses
import json
import pathlib
import shutil
import struct

import numpy as np


@dataclasses.dataclass(frozen=True)
class Shape:
    hidden: int
    heads: int
    kv_heads: int
    ffn: int
    blocks: int
    vocabulary: int
    head_dim: int = 64
    tied: bool = True


SIZES = {"7b": Shape(4096, 32, 32, 11008, 32, 32000, head_dim=128, tied=False),
         "1b": Shape(2048, 32, 8, 8192, 16, 128256),
         "1.1b": Shape(2048, 32, 4, 5632, 22, 32000, tied=False),
         "300m": Shape(1024, 16, 8, 4096, 12, 64128),
         "160m": Shape(768, 12, 12, 2048, 12, 32000, tied=False),
         "40m": Shape(512, 8, 4, 2048, 6, 32064)}
MOST_DIFFERENT_BLOCKS = 22
INITIAL_DEVIATION = 0.02
TOKENIZER = pathlib.Path(__file__).resolve().parents[3] / "tests/models/mini-llama"
TOKENIZER_FILES = ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json")


def config_of(shape):
    mini = json.loads((TOKENIZER / "config.json").read_text())
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "attention_bias": False, "mlp_bias": False,
            "bos_token_id": mini["bos_token_id"], "eos_token_id": mini["eos_token_id"], "head_dim": shape.head_dim,
            "hidden_act": "silu", "hidden_size": shape.hidden, "initializer_range": INITIAL_DEVIATION,
            "intermediate_size": shape.ffn, "max_position_embeddings": 4096, "num_attention_heads": shape.heads,
            "num_hidden_layers": shape.blocks, "num_key_value_heads": shape.kv_heads, "rms_norm_eps": 1e-5, "rope_theta": 500000.0,
            "rope_scaling": {"rope_type": "llama3", "factor": 32.0, "low_freq_factor": 1.0, "high_freq_factor": 4.0,
                             "original_max_position_embeddings": 2048},
            "tie_word_embeddings": shape.tied, "torch_dtype": "float16", "use_cache": True, "vocab_size": shape.vocabulary}


def block_shapes(config, block):
    hidden, ffn = config["hidden_size"], config["intermediate_size"]
    queries, keys = (config[key] * config["head_dim"] for key in ("num_attention_heads", "num_key_value_heads"))
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
    hidden = config["hidden_size"]
    table = (config["vocab_size"], hidden)
    head = {} if config["tie_word_embeddings"] else {"lm_head.weight": table}
    yield {"model.embed_tokens.weight": table, "model.norm.weight": (hidden,), **head}
    for block in range(config["num_hidden_layers"]):
        yield block_shapes(config, block)


def header_of(shapes):
    """The first bytes of a safetensors file, and how many bytes of tensors are behind them."""
    header, at = {"__metadata__": {"format": "pt"}}, 0
    for name, shape in shapes.items():
        size = 2 * int(np.prod(shape))
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [at, at + size]}
        at += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text, at


def write_tensors(file, shapes, generator):
    for shape in shapes.values():
        if len(shape) == 1:  # a norm
            file.write(np.ones(shape, np.float16).tobytes())
            continue
        rows_at_once = max(1, (1 << 24) // shape[1])
        for begin in range(0, shape[0], rows_at_once):
            rows = min(rows_at_once, shape[0] - begin)
            weights = generator.standard_normal((rows, shape[1]), np.float32)
            file.write((weights * np.float32(INITIAL_DEVIATION)).astype(np.float16).tobytes())


def copy_tensors(file, path):
    with path.open("rb") as source:
        source.seek(struct.unpack("<Q", source.read(8))[0], 1)
        shutil.copyfileobj(source, file, 1 << 24)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("output", type=pathlib.Path)
    parser.add_argument("--size", choices=SIZES, default="1b")
    parser.add_argument("--blocks", type=int, help="only so many decoder blocks")
    parser.add_argument("--seed", type=int, default=0)
    arguments = parser.parse_args()
    arguments.output.mkdir(parents=True)
    shape = SIZES[arguments.size]
    config = config_of(dataclasses.replace(shape, blocks=arguments.blocks or shape.blocks))
    generator = np.random.default_rng(arguments.seed)
    count, total, index = config["num_hidden_layers"] + 1, 0, {}
    for number, shapes in enumerate(shards(config), 1):
        name = f"model-{number:05d}-of-{count:05d}.safetensors"
        header, size = header_of(shapes)
        with (arguments.output / name).open("wb") as file:
            file.write(header)
            if number - 1 > 1 and config["num_hidden_layers"] > MOST_DIFFERENT_BLOCKS:
                copy_tensors(file, arguments.output / f"model-{2:05d}-of-{count:05d}.safetensors")
            else:
                write_tensors(file, shapes, generator)
        total += size
        index.update(dict.fromkeys(shapes, name))
    (arguments.output / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": total}, "weight_map": index}, indent=1))
    (arguments.output / "config.json").write_text(json.dumps(config, indent=1))
    for name in TOKENIZER_FILES:
        shutil.copyfile(TOKENIZER / name, arguments.output / name)
    print(f"{arguments.output}: {total // 2 / 1e6:.0f} million parameters, {total / 1e9:.2f} GB")


if __name__ == "__main__":
    main()
