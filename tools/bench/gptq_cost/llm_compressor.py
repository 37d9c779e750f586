"""GPTQ of a model folder by llm-compressor, on the CPU: loads, compresses and saves.

Usage: llm_compressor.py MODEL OUTPUT TOKENS GROUP_SIZE

TOKENS: JSON lines of `input_ids`, all of one length. The settings are its defaults, but for the grid: 4 bits, groups of
GROUP_SIZE, symmetric, in the decoder blocks only, and the sequences in their order.
"""
import json
import pathlib
import sys

from datasets import Dataset
from llmcompressor import oneshot
from llmcompressor.modifiers.gptq import GPTQModifier
from transformers import AutoModelForCausalLM, AutoTokenizer


def main():
    model_folder, output, tokens, group_size = sys.argv[1:]
    sequences = [json.loads(line)["input_ids"] for line in pathlib.Path(tokens).read_text().splitlines()]
    data = Dataset.from_dict({"input_ids": sequences, "attention_mask": [[1] * len(ids) for ids in sequences]})
    weights = {"num_bits": 4, "type": "int", "symmetric": True, "strategy": "group", "group_size": int(group_size)}
    modifier = GPTQModifier(config_groups={"all": {"targets": ["Linear"], "weights": weights}}, ignore=["lm_head"])
    model = AutoModelForCausalLM.from_pretrained(model_folder, dtype="auto")
    tokenizer = AutoTokenizer.from_pretrained(model_folder)
    oneshot(model=model, dataset=data, recipe=[modifier], tokenizer=tokenizer, num_calibration_samples=len(sequences),
            max_seq_length=len(sequences[0]), shuffle_calibration_samples=False)
    model.save_pretrained(output, save_compressed=True)
    tokenizer.save_pretrained(output)


main()
