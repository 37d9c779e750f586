"""What the export_*.py tests share: models, quantized folders made with compressed-tensors, and sessions."""
import json
import os
import pathlib
import shutil
import subprocess
import sys

SKIPPED = 77
ROOT = pathlib.Path(__file__).resolve().parents[2]
MINI_LLAMA = ROOT / "tests/models/mini-llama"
SHARED_MODELS = ROOT.parent / "shared/data/models"

try:
    import numpy as np
    import onnxruntime
    import torch
    import transformers
    from compressed_tensors.compressors.pack_quantized.helpers import pack_to_int32
    from safetensors.torch import load_file, save_file
except ImportError as error:
    print(f"skipped: {error}; run tools/setup.sh")
    sys.exit(SKIPPED)

torch.set_num_threads(1)
transformers.logging.set_verbosity_error()
transformers.utils.logging.disable_progress_bar()


def models(*names):
    """The named real models that are here, after mini-llama."""
    found = [MINI_LLAMA]
    for name in names:
        if (SHARED_MODELS / name).is_dir():
            found.append(SHARED_MODELS / name)
        else:
            print(f"skipped: ../shared/data/models/{name} is absent")
    return found


def export(tool, model, output, style, *options):
    """Runs the exporter; returns the artifact's folder and what it printed."""
    shutil.rmtree(output, ignore_errors=True)
    done = subprocess.run([tool, model, output, style, *options], capture_output=True, text=True)
    if done.returncode != 0:
        raise RuntimeError(f"export_folder failed on {model}: {done.stderr}")
    return pathlib.Path(output), done.stdout


def load_reference(folder):
    model = transformers.LlamaForCausalLM.from_pretrained(folder, dtype=torch.float32)
    return model.eval()


@torch.no_grad()
def reference_logits(model, ids):
    return model(torch.tensor([ids])).logits[0].numpy()


# ---- quantized folders -----------------------------------------------------------------------------------------------

LINEARS = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


def round_to_grid(weight, bits, group, symmetric):
    """Codes I8, scales F32 and zero points I8 of a weight [out, in]; group 0: one scale per row."""
    rows, columns = weight.shape
    length = group or columns
    groups = -(-columns // length)
    padded = torch.zeros(rows, groups * length)
    padded[:, :columns] = weight
    blocks = padded.view(rows, groups, length)
    low, high = -(1 << bits - 1), (1 << bits - 1) - 1
    if symmetric:
        scales = blocks.abs().amax(-1) / high
        zeros = torch.zeros_like(scales)
    else:
        least, most = blocks.amin(-1).clamp(max=0), blocks.amax(-1).clamp(min=0)
        scales = (most - least) / (high - low)
        zeros = (low - (least / scales).round()).clamp(low, high)
    scales = torch.where(scales > 0, scales, torch.ones_like(scales))
    codes = (blocks / scales[..., None]).round() + zeros[..., None]
    codes = codes.clamp(low, high).view(rows, -1)[:, :columns].to(torch.int8)
    return codes.contiguous(), scales, zeros.to(torch.int8)


def expand(codes, scales, zeros, group):
    columns = codes.shape[1]
    wide = scales.repeat_interleave(group, 1)[:, :columns]
    offset = zeros.float().repeat_interleave(group, 1)[:, :columns]
    return wide * (codes.float() - offset)


def quantize_folder(source, target, bits, group=0, symmetric=True, modules=None, head_bits=None, embedding=None):
    """Writes `source` with its linear layers on an integer grid, in compressed-tensors' pack-quantized layout: in groups
    when these divide every quantized row, else in blocks of one row, whose last one may be short. modules: module name -> bits, where they differ. head_bits, embedding: bits of these, None: float.
    Returns the state dict of the float model that it stands for."""
    target = pathlib.Path(target)
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir(parents=True)
    for file in pathlib.Path(source).iterdir():
        if file.suffix in (".json", ".jinja") and "safetensors" not in file.name:
            shutil.copyfile(file, target / file.name)
    tensors = {}
    for shard in sorted(pathlib.Path(source).glob("*.safetensors")):
        tensors.update(load_file(shard))
    stored, real, by_bits = {}, {}, {}

    def width_of(name):
        module = name.removesuffix(".weight")
        default = bits if module.rsplit(".", 1)[-1] in LINEARS else None
        special = {"lm_head": head_bits, "model.embed_tokens": embedding, **(modules or {})}
        return special.get(module, default) if name.endswith(".weight") else None

    blocks = group and any(tensor.shape[1] % group for name, tensor in tensors.items() if width_of(name))
    for name, tensor in tensors.items():
        module, width = name.removesuffix(".weight"), width_of(name)
        if not width:
            stored[name] = tensor
            real[name] = tensor.float()
            continue
        codes, scales, zeros = round_to_grid(tensor.float(), width, group, symmetric)
        real[name] = expand(codes, scales, zeros, group or tensor.shape[1])
        stored[module + ".weight_packed"] = pack_to_int32(codes, width)
        stored[module + ".weight_scale"] = scales
        stored[module + ".weight_shape"] = torch.tensor(tensor.shape, dtype=torch.int64)
        if not symmetric:
            packed = zeros if blocks else pack_to_int32(zeros, width, packed_dim=0)
            stored[module + ".weight_zero_point"] = packed.contiguous()
        by_bits.setdefault(width, []).append(module)
    save_file({k: v.contiguous() for k, v in stored.items()}, target / "model.safetensors", {"format": "pt"})
    groups = {}
    for i, (width, names) in enumerate(sorted(by_bits.items())):
        weights = {"num_bits": width, "type": "int", "symmetric": symmetric, "dynamic": False}
        if blocks:
            weights |= {"strategy": "block", "block_structure": [1, group]}
        else:
            weights |= {"strategy": "group" if group else "channel", "group_size": group or None}
        groups[f"group_{i}"] = {"targets": names, "weights": weights, "input_activations": None,
                                "output_activations": None}
    config = json.loads((target / "config.json").read_text())
    every = {name.removesuffix(".weight") for name in tensors if "norm" not in name}
    quantized = {name for names in by_bits.values() for name in names}
    ignored = sorted(every - quantized)
    if config.get("tie_word_embeddings") and "model.embed_tokens" not in quantized:
        ignored.append("lm_head")
    config["quantization_config"] = {"quant_method": "compressed-tensors", "format": "pack-quantized",
                                     "quantization_status": "compressed", "config_groups": groups,
                                     "ignore": ignored, "kv_cache_scheme": None,
                                     "global_compression_ratio": None}
    (target / "config.json").write_text(json.dumps(config, indent=1))
    return real


def reference_of(source, state):
    """The transformers model of `source` with the weights of `state`."""
    model = load_reference(source)
    missing, unexpected = model.load_state_dict(state, strict=False)
    assert not unexpected and all(name == "lm_head.weight" for name in missing), (missing, unexpected)
    model.tie_weights()
    return model


# ---- sessions --------------------------------------------------------------------------------------------------------

def session(graph, **entries):
    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = 1
    options.log_severity_level = 3
    for key, value in entries.items():
        options.add_session_config_entry(key.replace("__", "."), value)
    return onnxruntime.InferenceSession(str(graph), options, providers=["CPUExecutionProvider"])


class Decoder:
    """A session with its key-value cache."""

    def __init__(self, opened, batch=1):
        self.session = opened
        self.inputs = {i.name: i for i in opened.get_inputs()}
        self.outputs = [o.name for o in opened.get_outputs()]
        self.past = {name: np.zeros((batch, i.shape[1], 0, i.shape[3]), np.float32)
                     for name, i in self.inputs.items() if name.startswith("past")}

    def step(self, ids, mask, positions):
        feed = {"input_ids": np.array(ids, np.int64), "attention_mask": np.array(mask, np.int64), **self.past}
        if "position_ids" in self.inputs:
            feed["position_ids"] = np.array(positions, np.int64)
        out = dict(zip(self.outputs, self.session.run(None, feed)))
        self.past = {name: out[name.replace("past_key_values", "present")] for name in self.past}
        return out["logits"]


def split_logits(opened, ids, split):
    """Logits of all positions, computed in pieces through the cache."""
    assert sum(split) == len(ids)
    decoder, at, pieces = Decoder(opened), 0, []
    for count in split:
        positions = [list(range(at, at + count))]
        pieces.append(decoder.step([ids[at:at + count]], np.ones((1, at + count)), positions)[0])
        at += count
    return np.concatenate(pieces)


def padded_batch_logits(opened, long, short, next_long, next_short):
    """Two sequences padded on the right to one length, then one token each; logits of the short one's positions."""
    pad = len(long) - len(short)
    decoder = Decoder(opened, batch=2)
    mask = [[1] * len(long), [1] * len(short) + [0] * pad]
    positions = [list(range(len(long))), list(range(len(short))) + [1] * pad]
    first = decoder.step([long, short + [0] * pad], mask, positions)
    mask = [row + [1] for row in mask]
    second = decoder.step([[next_long], [next_short]], mask, [[len(long)], [len(short)]])
    return ([np.concatenate([first[0], second[0]]),
             np.concatenate([first[1][:len(short)], second[1]])])


def check_close(what, found, expected, tolerance):
    """Largest difference relative to the largest logit."""
    assert found.shape == expected.shape, (what, found.shape, expected.shape)
    scale = float(np.abs(expected).max())
    error = float(np.abs(found - expected).max()) / scale
    print(f"{what}: {error:.1e} of {scale:.1f}")
    assert error <= tolerance, f"{what}: relative difference {error:.3e} above {tolerance:.1e}"


def prompt(model_config, length, seed):
    generator = np.random.default_rng(seed)
    return [int(i) for i in generator.integers(3, model_config.vocab_size, length)]
