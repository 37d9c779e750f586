#!/usr/bin/env python3
"""Time and memory of `edgecompress plan` on a folder as large as a published model.

Makes a sharded Llama folder whose files are holes (a few pages of disk whatever their size), plans a recipe on it, and prints
seconds of wall clock and processor, and the peak of resident memory. Exit code 1 when the processor time passes --max-seconds or the
memory --max-mib.

    tools/bench/plan_scale/run.py --program build/dev/bin/edgecompress
    tools/bench/plan_scale/run.py --program build/dev/bin/edgecompress --layers 2 --hidden 256 --inter 768 --vocab 2048
"""
import argparse
import json
import os
import pathlib
import resource
import shutil
import struct
import subprocess
import sys
import tempfile
import time


def tensor_shapes(options):
    hidden, inter = options.hidden, options.inter
    yield "model.embed_tokens.weight", [options.vocab, hidden]
    for layer in range(options.layers):
        prefix = f"model.layers.{layer}."
        for name in ("q", "k", "v", "o"):
            yield f"{prefix}self_attn.{name}_proj.weight", [hidden, hidden]
        yield f"{prefix}mlp.gate_proj.weight", [inter, hidden]
        yield f"{prefix}mlp.up_proj.weight", [inter, hidden]
        yield f"{prefix}mlp.down_proj.weight", [hidden, inter]
        yield f"{prefix}input_layernorm.weight", [hidden]
        yield f"{prefix}post_attention_layernorm.weight", [hidden]
    yield "model.norm.weight", [hidden]
    yield "lm_head.weight", [options.vocab, hidden]


def write_shard(path, tensors):
    """Header and holes; the weights read as 0, but for the head's first, which the embedding's is not."""
    header, end = {}, 0
    for name, shape in tensors:
        size = 2
        for length in shape:
            size *= length
        header[name] = {"dtype": "F16", "shape": shape, "data_offsets": [end, end + size]}
        end += size
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    with open(path, "wb") as file:
        file.write(struct.pack("<Q", len(text)) + text)
        file.truncate(8 + len(text) + end)
        if "lm_head.weight" in header:
            file.seek(8 + len(text) + header["lm_head.weight"]["data_offsets"][0])
            file.write(b"\1")
    return end


def make_folder(folder, options):
    tensors = list(tensor_shapes(options))
    per_shard = -(-len(tensors) // options.shards)
    index, total = {}, 0
    for shard in range(options.shards):
        name = f"model-{shard + 1:05}-of-{options.shards:05}.safetensors"
        part = tensors[shard * per_shard:(shard + 1) * per_shard]
        total += write_shard(folder / name, part)
        index.update({tensor: name for tensor, _ in part})
    (folder / "model.safetensors.index.json").write_text(
        json.dumps({"metadata": {"total_size": total}, "weight_map": index}))
    (folder / "config.json").write_text(json.dumps({
        "architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": options.hidden,
        "intermediate_size": options.inter, "num_hidden_layers": options.layers, "num_attention_heads": options.heads,
        "num_key_value_heads": options.heads, "vocab_size": options.vocab, "max_position_embeddings": 4096,
        "rms_norm_eps": 1e-5, "rope_theta": 1e4, "hidden_act": "silu", "tie_word_embeddings": False,
        "torch_dtype": "float16"}))
    return total


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--program", required=True)
    parser.add_argument("--recipe", default="recipes/int4-fast.ec.yaml")
    parser.add_argument("--layers", type=int, default=32)
    parser.add_argument("--hidden", type=int, default=4096)
    parser.add_argument("--inter", type=int, default=11008)
    parser.add_argument("--heads", type=int, default=32)
    parser.add_argument("--vocab", type=int, default=32000)
    parser.add_argument("--shards", type=int, default=14)
    parser.add_argument("--max-seconds", type=float, default=5)
    parser.add_argument("--max-mib", type=float, default=300)
    parser.add_argument("--flags", default="--skip-time", help="more flags of plan, separated by spaces")
    options = parser.parse_args()

    folder = pathlib.Path(tempfile.mkdtemp(prefix="plan-scale-"))
    try:
        total = make_folder(folder, options)
        start = time.monotonic()
        done = subprocess.run([options.program, "plan", options.recipe, "--model", str(folder), "--json", *options.flags.split()],
                              stdout=subprocess.PIPE, check=True)
        wall = time.monotonic() - start
        usage = resource.getrusage(resource.RUSAGE_CHILDREN)
        plan = json.loads(done.stdout)
        on_disk = sum(os.stat(path).st_blocks * 512 for path in folder.iterdir())
    finally:
        shutil.rmtree(folder)
    if plan["bytes_before"] != total:
        sys.exit(f"planned for {plan['bytes_before']} bytes, the folder has {total}")
    seconds, mib = usage.ru_utime + usage.ru_stime, usage.ru_maxrss / 1024
    print(f"{total / 2**30:.2f} GiB in {options.shards} shards, {on_disk / 2**20:.1f} MiB on disk: "
          f"{wall:.2f} s, {seconds:.2f} s of processor, {mib:.0f} MiB")
    sys.exit(seconds > options.max_seconds or mib > options.max_mib)


if __name__ == "__main__":
    main()
