"""Compares edgecompress's tokenizer with Hugging Face's `tokenizers`: ids with and without special tokens, and decoding.

Usage: tokenizer_conformance.py TOKENIZER_DUMP [--all]
TOKENIZER_DUMP is the program made from tokenizer_dump.cpp.
"""

import copy
import json
import random
import struct
import subprocess
import sys
import tempfile
import time
from pathlib import Path

import llama3_tokenizer

DATA = Path(__file__).resolve().parents[3] / "shared" / "data"
RANDOM_TEXTS = 2000
# Every tokenizer takes the random texts. Hugging Face's library needs a second per megabyte, so that without --all each
# tokenizer takes only the texts of up to so many bytes.
TEXT_BYTES = {"llama3": 3_000_000, "llama2": 1_500_000}
TEXT_BYTES_OF_OTHERS = 900_000


def skip(reason):
    print(f"skipped: {reason}")
    sys.exit(77)


try:
    import tokenizers
except ImportError:
    skip("the Python package tokenizers is absent")


def code_points_unknown_to_pcre2(dump):
    """Characters that Oniguruma's Unicode tables know and those of the installed PCRE2 do not.

    The split patterns ask for letters and digits, so texts with such characters may be split differently. This is a
    known difference; it ends with a newer PCRE2.
    """
    lines = subprocess.run([dump, "--unassigned"], check=True, capture_output=True, text=True).stdout.split()
    known = tokenizers.pre_tokenizers.Split(tokenizers.Regex(r"\p{Cn}+"), "removed")
    pieces = known.pre_tokenize_str("".join(chr(int(line)) for line in lines))
    return {character for piece, _ in pieces for character in piece}


def random_character(rng, excluded):
    while True:
        plane = rng.choice((0, 0, 0, 0, 1, 1, 2, 3, 14, 15, 16))
        code_point = plane * 0x10000 + rng.randrange(0x10000)
        if not 0xD800 <= code_point <= 0xDFFF and chr(code_point) not in excluded:
            return chr(code_point)


def random_text(rng, excluded, special):
    pieces = (
        lambda: random_character(rng, excluded),
        lambda: "".join(random_character(rng, excluded) for _ in range(rng.randrange(1, 12))),
        lambda: chr(rng.randrange(0x20)),
        lambda: chr(rng.randrange(0x7F, 0x300)),
        lambda: random_character(rng, excluded) * rng.randrange(2, 200),
        lambda: rng.choice(" \n\r\t\u00a0\u3000\u180e\u0085\u2028") * rng.randrange(1, 40),
        lambda: rng.choice(special),
        lambda: rng.choice(special)[: rng.randrange(1, 6)],
        lambda: rng.choice(("'s", "'S", "'\u017f", "'LL", "'Re", "don't", "\u2581", "<0x0A>", "\ufffd", "e\u0301")),
        lambda: "".join(rng.choice("etaoinshrdlu ETA.,!?0123456789") for _ in range(rng.randrange(1, 60))),
        lambda: rng.choice(("the quick brown fox", "x = 10 ** 3;\n    return x", "1234567", "日本語のテキスト", "Привет, мир")),
    )
    return "".join(rng.choice(pieces)() for _ in range(rng.randrange(0, 9)))


def variants(llama2_like, llama3_like):
    """Tokenizers with options that the real files leave alone, made from small real ones."""
    flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": True, "special": False}

    def with_added(base, change):
        made = copy.deepcopy(base)
        ids = [*made["model"]["vocab"].values(), *(token["id"] for token in made["added_tokens"])]
        contents = (("<w>", {"single_word": True}), ("<l>", {"lstrip": True}), ("<r>", {"rstrip": True}),
                    ("<lr> ", {"lstrip": True, "rstrip": True, "normalized": False}), ("the", {"single_word": True}),
                    ("a b", {}), ("<w><", {"special": True, "normalized": False}))
        vocabulary = made["model"]["vocab"]
        following = max(ids) + 1
        for content, options in contents:
            if content not in vocabulary:
                made["added_tokens"].append({"id": following, "content": content, **flags, **options})
                following += 1
            else:
                made["added_tokens"].append({"id": vocabulary[content], "content": content, **flags, **options})
        change(made)
        return made

    def metaspace(scheme, split):
        def change(made):
            part = {"type": "Metaspace", "replacement": "▁", "prepend_scheme": scheme, "split": split}
            made.update(normalizer=None, pre_tokenizer=part, decoder=part)
        return change

    def no_fallback(fuse):
        def change(made):
            made["model"].update(byte_fallback=False, fuse_unk=fuse)
            made.update(decoder=None)
        return change

    def byte_level(**options):
        def change(made):
            part = {"type": "ByteLevel", "add_prefix_space": True, "trim_offsets": True, "use_regex": True}
            made.update(pre_tokenizer={**part, **options})
        return change

    def pattern(regex):
        def change(made):
            made["pre_tokenizer"]["pretokenizers"][0]["pattern"]["Regex"] = regex
        return change

    yield "plain with added tokens", with_added(llama2_like, lambda made: None)
    for scheme in ("always", "first", "never"):
        for split in (True, False):
            yield f"metaspace {scheme} {split}", with_added(llama2_like, metaspace(scheme, split))
    yield "unknown tokens", with_added(llama2_like, no_fallback(False))
    yield "fused unknown tokens", with_added(llama2_like, no_fallback(True))
    yield "byte level with added tokens", with_added(llama3_like, lambda made: None)
    yield "byte level, own regex", with_added(llama3_like, byte_level())
    yield "byte level, no regex", with_added(llama3_like, byte_level(use_regex=False, add_prefix_space=False))
    yield "ignore_merges", with_added(llama3_like, lambda made: made["model"].update(ignore_merges=True))
    yield "empty matches", with_added(llama3_like, pattern(r"\s*|(?=e)"))
    yield "other constructs", with_added(llama3_like, pattern(r"(?<=\d)[^\s\n]|\p{Lu}{1,2}|(?>[a-e]+?t)|\P{L}(?!x)|(?<!a)é"))


class Comparison:
    def __init__(self, dump):
        self.dump = dump
        self.texts = 0
        self.bytes = 0
        self.differences = []

    def run(self, name, folder, texts):
        started = time.monotonic()
        reference = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))
        reference.no_truncation()
        reference.no_padding()
        process = subprocess.Popen([self.dump, str(folder)], stdin=subprocess.PIPE, stdout=subprocess.PIPE)
        for label, text in texts:
            encoded = text.encode("utf-8")
            process.stdin.write(struct.pack("<I", len(encoded)) + encoded)
            process.stdin.flush()
            ids, plain, decoded = (self.read(process, size) for size in (4, 4, 1))
            expected = reference.encode(text, add_special_tokens=True).ids
            self.check(name, label, "ids", text, struct.pack(f"<{len(expected)}I", *expected), ids)
            # Asking the reference twice for long texts would double the time.
            if len(encoded) < 1 << 16:
                leave = reference.encode(text, add_special_tokens=False).ids
                self.check(name, label, "ids without special tokens", text, struct.pack(f"<{len(leave)}I", *leave), plain)
            back = reference.decode(expected, skip_special_tokens=False).encode("utf-8")
            self.check(name, label, "decoded text", text, back, decoded)
            self.texts += 1
            self.bytes += len(encoded)
        process.stdin.close()
        if process.wait() != 0:
            self.differences.append(f"{name}: tokenizer_dump ended with status {process.returncode}")
        print(f"{name}: {len(texts)} texts, {time.monotonic() - started:.1f} s", flush=True)

    @staticmethod
    def read(process, size):
        head = process.stdout.read(4)
        if len(head) < 4:
            raise SystemExit("tokenizer_dump ended early")
        return process.stdout.read(struct.unpack("<I", head)[0] * size)

    def check(self, name, label, what, text, expected, found):
        if expected != found:
            self.differences.append(f"{name}, {label}: {what} differ for {text[:120]!r}")


def published(folder, model_json):
    """A text, the ids that were published with the tokenizer, and those that `tokenizers` gives."""
    with open(next(folder.glob("*_encoded.json")), encoding="utf-8") as file:
        entry = json.load(file)
    ids = tokenizers.Tokenizer.from_file(str(model_json / "tokenizer.json")).encode(entry["text"]).ids
    return entry["text"], entry["token_ids"], ids


def main():
    if not DATA.is_dir():
        skip("../shared/data is absent")
    dump = sys.argv[1]
    excluded = code_points_unknown_to_pcre2(dump)
    print(f"left out: {len(excluded)} characters that are newer than PCRE2's Unicode tables")
    with tempfile.TemporaryDirectory() as temporary:
        folders = {"llama2": DATA / "tokenizers" / "llama2", "llama3": Path(temporary) / "llama3"}
        with open(DATA / "tokenizers" / "llama3" / "tokenizer.model", encoding="ascii") as model:
            save(folders["llama3"], llama3_tokenizer.tokenizer_json(model))
        for path in sorted((DATA / "models").glob("*/tokenizer.json")):
            folders[path.parent.name] = path.parent
        comparison = Comparison(dump)
        compare_all(comparison, folders, excluded, Path(temporary))
    for difference in comparison.differences[:20]:
        print(difference)
    print(f"{len(comparison.differences)} differences in {comparison.texts} texts, {comparison.bytes} bytes")
    sys.exit(1 if comparison.differences else 0)


def compare_all(comparison, folders, excluded, temporary):
    rng = random.Random(20)
    special = ["<s>", "</s>", "<unk>", "<|begin_of_text|>", "<|end_of_text|>", "<|reserved_special_token_7|>", "<w>",
               "<l>", "<r>", " <lr> ", "the", "a b", "<w><"]
    texts = [(f"random {i}", random_text(rng, excluded, special)) for i in range(RANDOM_TEXTS)]
    files = [(path.name, path.read_bytes().decode("utf-8")) for path in sorted((DATA / "text").glob("*/*"))]
    for name, folder in folders.items():
        limit = TEXT_BYTES.get(name, TEXT_BYTES_OF_OTHERS)
        comparison.run(name, folder, texts + [entry for entry in files if "--all" in sys.argv or len(entry[1]) <= limit])
    for name in ("llama2", "llama3"):
        text, expected, found = published(DATA / "tokenizers" / name, folders[name])
        comparison.run(f"{name} published", folders[name], [("published", text)])
        if expected != found:
            comparison.differences.append(f"{name}: the reference itself does not give the published ids")
    small = [json.loads((folders[name] / "tokenizer.json").read_text("utf-8")) for name in ("stories260K-hf", "mini-llama-hf")]
    for name, made in variants(*small):
        folder = temporary / name.replace(" ", "-")
        save(folder, made)
        comparison.run(name, folder, texts[:500])


def save(folder, document):
    folder.mkdir()
    (folder / "tokenizer.json").write_text(json.dumps(document, ensure_ascii=False), "utf-8")


if __name__ == "__main__":
    main()
