"""Our forward pass against transformers', in float32, on real models and on random ones of many shapes.

Usage: forward_logits.py MODEL_LOGITS SOURCE_DIR
"""
import subprocess
import sys
import tempfile
from pathlib import Path

import numpy as np
import torch
from transformers import AutoModelForCausalLM, LlamaConfig, LlamaForCausalLM

TOLERANCE = 1e-4  # of logits; both sides add up a few hundred float32 products in different orders

LLAMA3 = {"rope_type": "llama3", "rope_theta": 10000.0, "factor": 8.0, "low_freq_factor": 1.0,
          "high_freq_factor": 4.0, "original_max_position_embeddings": 64}
LINEAR = {"rope_type": "linear", "rope_theta": 10000.0, "factor": 4.0}
DEFAULT = {"rope_type": "default", "rope_theta": 500000.0}

# hidden, heads, kv heads, head_dim, ffn, vocabulary, then what is special
SHAPES = [
    (64, 8, 8, 8, 176, 300, {}),
    (64, 8, 4, 16, 172, 301, {"rope_parameters": LLAMA3}),
    (96, 8, 2, 12, 100, 257, {"attention_bias": True, "mlp_bias": True}),
    (48, 6, 1, 24, 60, 128, {"tie_word_embeddings": True, "rope_parameters": LINEAR}),
    (80, 5, 5, 16, 33, 211, {"rms_norm_eps": 1e-3, "rope_parameters": DEFAULT}),
    (64, 8, 1, 8, 96, 199, {"mlp_bias": True, "rope_parameters": LLAMA3}),
    (72, 9, 3, 10, 50, 120, {"attention_bias": True}),
]


def ours(program, folder, ids, vocabulary):
    with tempfile.NamedTemporaryFile() as out:
        subprocess.run([program, str(folder), out.name, *map(str, ids)], check=True)
        return np.fromfile(out.name, dtype="<f4").reshape(len(ids), vocabulary)


def theirs(model, ids):
    with torch.no_grad():
        return model(torch.tensor([ids])).logits[0].numpy()


def compare(name, program, folder, model, length, seed):
    ids = np.random.default_rng(seed).integers(0, model.config.vocab_size, length).tolist()
    expected = theirs(model, ids)
    error = np.abs(ours(program, folder, ids, model.config.vocab_size) - expected).max()
    print(f"{name}: largest logit {np.abs(expected).max():.3f}, largest difference {error:.2e}")
    return error <= TOLERANCE


def random_models(folder):
    for number, (hidden, heads, kv, head_dim, ffn, vocabulary, special) in enumerate(SHAPES):
        torch.manual_seed(number)
        config = LlamaConfig(hidden_size=hidden, num_attention_heads=heads, num_key_value_heads=kv,
                             head_dim=head_dim, intermediate_size=ffn, vocab_size=vocabulary,
                             num_hidden_layers=3, max_position_embeddings=256, initializer_range=0.2,
                             **special)
        model = LlamaForCausalLM(config).eval()
        for parameter in model.parameters():  # norms and biases start as ones and zeros, which would hide mistakes
            if parameter.dim() == 1:
                torch.nn.init.normal_(parameter, mean=0.5, std=0.3)
        path = Path(folder) / f"random-{number}"
        model.save_pretrained(path)
        yield f"random {hidden}/{heads}/{kv}/{head_dim}/{ffn} {sorted(special)}", path, model


def main():
    program, source = sys.argv[1], Path(sys.argv[2])
    models = [source / "tests/models/mini-llama"]
    shared = source.parent / "shared/data/models"
    if shared.is_dir():
        models += sorted(shared.glob("*-hf"))
    else:
        print("skipped: ../shared/data is absent, only the embedded and random models are compared")
    good = True
    for path in models:
        model = AutoModelForCausalLM.from_pretrained(path, dtype=torch.float32).eval()
        good &= compare(path.name, program, path, model, 200, seed=1)
    with tempfile.TemporaryDirectory() as folder:
        for name, path, model in random_models(folder):
            good &= compare(name, program, path, model, 150, seed=2)
    return 0 if good else 1


if __name__ == "__main__":
    sys.exit(main())
