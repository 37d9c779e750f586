"""Loads model folders with transformers and compares them with the numbers in their files.

usage: load_quantized.py FOLDER...

Each folder is decoded here on its own, from safetensors and config.json alone. The model that transformers makes of the
folder must then (1) miss no tensor and find none too many, (2) hold exactly the decoded weights after its first forward
pass, (3) give the logits of a plain float model with the decoded weights. One line per folder; exit 1 when one differs.
"""

import json
import pathlib
import re
import sys

import numpy as np
import torch
from safetensors import safe_open
from transformers import AutoConfig, AutoModelForCausalLM


def stored_tensors(folder):
    out = {}
    for file in sorted(folder.glob("*.safetensors")):
        with safe_open(file, framework="pt") as opened:
            out.update({name: opened.get_tensor(name) for name in opened.keys()})
    return out


def unpacked(words, bits, columns):
    """Little-endian 32-bit words, lowest bits first, offset by 2^(bits-1)."""
    numbers = words.numpy().view(np.uint32)
    parts = [(numbers >> np.uint32(shift)) & np.uint32(2**bits - 1) for shift in range(0, 32, bits)]
    codes = np.stack(parts, axis=-1).reshape(words.shape[0], -1)[:, :columns].astype(np.int64)
    return torch.from_numpy(codes - 2 ** (bits - 1))


def decoded(tensors, config):
    """Every parameter as float32; a tied table under both names."""
    bits_of = []
    for group in (config.get("quantization_config") or {}).get("config_groups", {}).values():
        bits_of += [(target, group["weights"]["num_bits"]) for target in group["targets"]]

    def bits(module):
        for target, value in bits_of:
            pattern = target[3:] if target.startswith("re:") else re.escape(target) + "$"
            if re.match(pattern, module):
                return value
        raise KeyError(module)

    weights = {}
    for name, tensor in tensors.items():
        module, _, kind = name.rpartition(".")
        scale = tensors.get(module + ".weight_scale")
        if kind == "weight_packed":
            rows, columns = tensors[module + ".weight_shape"].tolist()
            codes = unpacked(tensor, bits(module), columns)
            assert codes.shape == (rows, columns)
        elif kind == "weight" and scale is not None:
            codes = tensor.long()
        else:
            if kind in ("weight", "bias"):
                weights[name] = tensor.float()
            continue
        zero = tensors.get(module + ".weight_zero_point")
        length = codes.shape[1] // scale.shape[1]
        zero = torch.zeros_like(scale) if zero is None else zero
        centred = codes - zero.long().repeat_interleave(length, dim=1)
        weights[module + ".weight"] = centred.float() * scale.repeat_interleave(length, dim=1)
    table, head = "model.embed_tokens.weight", "lm_head.weight"
    weights.setdefault(head, weights.get(table))
    weights.setdefault(table, weights[head])
    return weights


@torch.no_grad()
def check(folder):
    config = json.loads((folder / "config.json").read_text())
    weights = decoded(stored_tensors(folder), config)
    model, info = AutoModelForCausalLM.from_pretrained(folder, output_loading_info=True)
    ids = (torch.arange(24) * 7 % config["vocab_size"])[None]
    logits = model.eval()(ids).logits.float()

    plain_config = AutoConfig.from_pretrained(folder)
    for name in ("quantization_config",):
        if hasattr(plain_config, name):
            delattr(plain_config, name)
    plain_config.tie_word_embeddings = False
    plain = AutoModelForCausalLM.from_config(plain_config, dtype=torch.float32).eval()
    plain.load_state_dict(weights, strict=True)
    expected = plain(ids).logits

    wrong = [name for name, value in weights.items() if not torch.equal(model.get_parameter(name).float(), value)]
    # a float16 or bfloat16 model also computes in that type: 2^-8 is bfloat16's rounding, with room for the depth
    bound = (1e-6 if model.dtype == torch.float32 else 2.0**-4) * expected.abs().max().item()
    difference = (logits - expected).abs().max().item()
    problems = {key: list(value) for key, value in info.items() if value}
    good = not wrong and not problems and difference <= bound
    print(f"{'ok  ' if good else 'FAIL'} {folder}: {model.dtype}, {len(weights)} tensors, {len(wrong)} differ {wrong[:3]}, "
          f"logits differ by {difference:.3g} of {expected.abs().max().item():.3g} {problems or ''}")
    return good


def main():
    folders = [pathlib.Path(argument) for argument in sys.argv[1:]]
    if not folders:
        sys.exit(__doc__)
    results = [check(folder) for folder in folders]
    sys.exit(0 if all(results) else 1)


main()
