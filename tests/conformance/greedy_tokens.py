"""Greedy generation by onnxruntime-genai and by transformers, for the tests that compare the two."""
import sys

import numpy as np
import torch

SKIPPED = 77
NEW_TOKENS = 24

try:
    import onnxruntime_genai
except ImportError as error:
    print(f"skipped: {error}; run tools/setup.sh")
    sys.exit(SKIPPED)


def generated(artifact, prompt):
    """Greedy tokens of onnxruntime-genai, prompt included."""
    model = onnxruntime_genai.Model(str(artifact))
    parameters = onnxruntime_genai.GeneratorParams(model)
    parameters.set_search_options(max_length=len(prompt) + NEW_TOKENS, do_sample=False)
    generator = onnxruntime_genai.Generator(model, parameters)
    generator.append_tokens(np.array(prompt, np.int32))
    while not generator.is_done():
        generator.generate_next_token()
    return [int(token) for token in generator.get_sequence(0)]


@torch.no_grad()
def expected_tokens(model, prompt):
    """Greedy tokens of transformers' logits, stopping where onnxruntime-genai stops: after an end token."""
    ends = model.config.eos_token_id if isinstance(model.config.eos_token_id, list) else [model.config.eos_token_id]
    tokens = list(prompt)
    for _ in range(NEW_TOKENS):
        tokens.append(int(model(torch.tensor([tokens])).logits[0, -1].argmax()))
        if tokens[-1] in ends:
            break
    return tokens
