"""A Llama folder of some 30,000 parameters with a tokenizer of single bytes, and texts and recipes for it, for runs that take the
time of starting the program. The same bytes from every call.
"""

import json
import random
import struct

WIDTH, INNER, HEADS, KEY_VALUE_HEADS, HEAD_WIDTH, BLOCKS = 32, 64, 4, 2, 8, 2
VOCABULARY = 258  # bytes, begin, end
CONTEXT = 128

CUT = """  - { id: cut, prune: { score: output-error, heads: 50% } }
"""
MASK = """  - { id: mask, mask: { method: sparsegpt, pattern: "2:4", targets: ["*.mlp.*"] } }
"""
QUANTIZE = """  - { id: quant, quantize: { method: gptq, weights: { bits: 4, group_size: 32 } } }
"""
TRAIN = """  - { id: train, recover: { phases: both, epochs: 2, block_epochs: 1, batch: 2, sequence_length: 32, samples: 8,
                               block_learning_rate: 0.001, scale_learning_rate: 1% } }
"""
QAT = """  - { id: quant, quantize: { method: rtn, weights: { bits: 4, group_size: 32 }, qat: always } }
"""
EXPORT = """  - { id: artifact, export: { format: genai } }
"""

RECIPES = {
    "compress": CUT + MASK + QUANTIZE + EXPORT,
    "train": MASK + QUANTIZE + TRAIN + EXPORT,
    "qat": QAT,
}


def byte_symbols():
    """GPT-2's printable character for each byte."""
    plain = [*range(ord("!"), ord("~") + 1), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    others = [byte for byte in range(256) if byte not in plain]
    symbols = {byte: chr(byte) for byte in plain}
    symbols.update({byte: chr(256 + i) for i, byte in enumerate(others)})
    return [symbols[byte] for byte in range(256)]


def tokenizer():
    special = [{"id": 256 + i, "content": text, "single_word": False, "lstrip": False, "rstrip": False, "normalized": False,
                "special": True} for i, text in enumerate(("<s>", "</s>"))]
    level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {"version": "1.0", "truncation": None, "padding": None, "added_tokens": special, "normalizer": None,
            "pre_tokenizer": level, "post_processor": None, "decoder": level,
            "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                      "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False,
                      "vocab": {symbol: i for i, symbol in enumerate(byte_symbols())}, "merges": []}}


def config():
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": WIDTH, "intermediate_size": INNER,
            "num_hidden_layers": BLOCKS, "num_attention_heads": HEADS, "num_key_value_heads": KEY_VALUE_HEADS,
            "head_dim": HEAD_WIDTH, "hidden_act": "silu", "vocab_size": VOCABULARY, "max_position_embeddings": CONTEXT,
            "rms_norm_eps": 1e-5, "rope_theta": 10000.0, "tie_word_embeddings": False, "bos_token_id": 256, "eos_token_id": 257,
            "dtype": "float32"}


def shapes(settings):
    """The tensors that a config.json asks for."""
    width, inner = settings["hidden_size"], settings["intermediate_size"]
    queries, keys = (settings[count] * settings["head_dim"] for count in ("num_attention_heads", "num_key_value_heads"))
    table = [settings["vocab_size"], width]
    found = {"model.embed_tokens.weight": table, "model.norm.weight": [width], "lm_head.weight": table}
    for block in range(settings["num_hidden_layers"]):
        at = f"model.layers.{block}."
        found.update({at + "input_layernorm.weight": [width], at + "post_attention_layernorm.weight": [width]})
        for name, out, columns in (("self_attn.q_proj", queries, width), ("self_attn.k_proj", keys, width),
                                   ("self_attn.v_proj", keys, width), ("self_attn.o_proj", width, queries),
                                   ("mlp.gate_proj", inner, width), ("mlp.up_proj", inner, width),
                                   ("mlp.down_proj", width, inner)):
            found[f"{at}{name}.weight"] = [out, columns]
    return found


def weights(dice):
    header, values = {"__metadata__": {"format": "pt"}}, []
    for name, shape in shapes(config()).items():
        begin = 4 * len(values)
        count = shape[0] * (shape[1] if len(shape) > 1 else 1)
        values += [1 + dice.uniform(-0.1, 0.1) if len(shape) == 1 else dice.gauss(0, 0.1) for _ in range(count)]
        header[name] = {"dtype": "F32", "shape": shape, "data_offsets": [begin, 4 * len(values)]}
    text = json.dumps(header).encode()
    return struct.pack("<Q", len(text)) + text + struct.pack(f"<{len(values)}f", *values)


def write_model(folder):
    folder.mkdir()
    (folder / "config.json").write_text(json.dumps(config()))
    (folder / "tokenizer.json").write_text(json.dumps(tokenizer()))
    (folder / "tokenizer_config.json").write_text("{}")
    (folder / "model.safetensors").write_bytes(weights(random.Random(1)))
    return folder


def write_recipe(folder, name):
    """A recipe beside its texts, which are written too. Returns its path."""
    dice = random.Random(2)
    words = ["".join(dice.choices("abcdefgh", k=dice.randint(1, 6))) for _ in range(40)]
    for text, count in (("calibration.txt", 80), ("evaluation.txt", 20)):
        (folder / text).write_text(" ".join(dice.choices(words, k=count)) + "\n")
    head = (f"schema: edgecompress.recipe/v1\nname: {name}\n"
            "calibration: { text: calibration.txt, samples: 4, sequence_length: 32 }\n"
            "evaluate: { text: evaluation.txt, window: 32, max_windows: 2 }\nsteps:\n")
    path = folder / f"{name}.ec.yaml"
    path.write_text(head + RECIPES[name])
    return path
