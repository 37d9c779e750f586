"""Makes Llama 3's tokenizer.json from its tokenizer.model (a list of base64 byte strings and ranks).

The vocabulary is the ranks; a merge is any pair of tokens whose concatenation is a token, ordered by the rank of the
result, which gives the same encodings as merging by rank. Usage: llama3_tokenizer.py tokenizer.model tokenizer.json
"""

import base64
import json
import sys

PATTERN = (r"(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\r\n\p{L}\p{N}]?\p{L}+|\p{N}{1,3}| ?[^\s\p{L}\p{N}]+[\r\n]*"
           r"|\s*[\r\n]+|\s+(?!\S)|\s+")
NAMED = ["begin_of_text", "end_of_text", "reserved_special_token_0", "reserved_special_token_1",
         "finetune_right_pad_id", "reserved_special_token_2", "start_header_id", "end_header_id", "eom_id", "eot_id",
         "python_tag"]


def byte_characters():
    """GPT-2's visible character for every byte."""
    printable = [*range(0x21, 0x7F), *range(0xA1, 0xAD), *range(0xAE, 0x100)]
    rest = [byte for byte in range(256) if byte not in printable]
    return {byte: chr(byte) for byte in printable} | {byte: chr(256 + i) for i, byte in enumerate(rest)}


def merges_of(ranks):
    for token in sorted(ranks, key=ranks.get):
        pairs = [(token[:cut], token[cut:]) for cut in range(1, len(token))]
        known = [pair for pair in pairs if pair[0] in ranks and pair[1] in ranks]
        yield from sorted(known, key=lambda pair: (ranks[pair[0]], ranks[pair[1]]))


def tokenizer_json(model_lines):
    ranks = {}
    for line in model_lines:
        token, rank = line.split()
        ranks[base64.b64decode(token)] = int(rank)
    characters = byte_characters()
    shown = lambda token: "".join(characters[byte] for byte in token)
    reserved = [f"reserved_special_token_{i}" for i in range(3, 256 - len(NAMED) + 3)]
    special = [f"<|{name}|>" for name in NAMED + reserved]
    bos = special[0]
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": True}
    text = {"Sequence": {"id": "A", "type_id": 0}}
    start = {"SpecialToken": {"id": bos, "type_id": 0}}
    second = [{"SpecialToken": {"id": bos, "type_id": 1}}, {"Sequence": {"id": "B", "type_id": 1}}]
    byte_level = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": False}
    return {
        "version": "1.0", "truncation": None, "padding": None,
        "added_tokens": [{"id": len(ranks) + i, "content": name, **flags} for i, name in enumerate(special)],
        "normalizer": None,
        "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
            {"type": "Split", "pattern": {"Regex": PATTERN}, "behavior": "Isolated", "invert": False}, byte_level]},
        "post_processor": {"type": "Sequence", "processors": [
            {**byte_level, "add_prefix_space": True, "trim_offsets": False, "use_regex": True},
            {"type": "TemplateProcessing", "single": [start, text], "pair": [start, text, *second],
             "special_tokens": {bos: {"id": bos, "ids": [len(ranks)], "tokens": [bos]}}}]},
        "decoder": {**byte_level, "add_prefix_space": True, "use_regex": True},
        "model": {"type": "BPE", "dropout": None, "unk_token": None, "continuing_subword_prefix": None,
                  "end_of_word_suffix": None, "fuse_unk": False, "byte_fallback": False, "ignore_merges": True,
                  "vocab": {shown(token): rank for token, rank in ranks.items()},
                  "merges": [[shown(left), shown(right)] for left, right in merges_of(ranks)]},
    }


if __name__ == "__main__":
    with open(sys.argv[1], encoding="ascii") as model, open(sys.argv[2], "w", encoding="utf-8") as out:
        json.dump(tokenizer_json(model), out, ensure_ascii=False, indent=2)
