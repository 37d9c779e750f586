"""What `export --format genai` warns of: onnxruntime-genai's own tokenizer gives other ids for the texts of the warning,
and the ids of tokenizer.json where there is no warning.

Usage: genai_tokenizer.py TOKENIZER_DUMP EDGECOMPRESS
"""
import copy
import json
import os
import pathlib
import random
import subprocess
import sys
import tempfile

import tokenizer_conformance

ROOT = pathlib.Path(__file__).resolve().parents[2]
MINI_LLAMA = ROOT / "tests/models/mini-llama"
DATA = tokenizer_conformance.DATA

try:
    import onnxruntime_genai
    import tokenizers
except ImportError as error:
    tokenizer_conformance.skip(f"{error}; run tools/setup.sh")

ORDINARY = ["The quick brown fox jumps over 13 lazy dogs.", "two  spaces\n\nand a\ttab", "don't, I'LL, we've", "x = f(10) * 3;",
            "café naïve 日本語 Привет 😀", "a", " ", "", "   lead", "trail   ", "(a) [b] {c}", "https://example.org/a?b=c",
            "'start' and \"stop\"", "1234567890", "e\u0301te\u0301"]


def random_texts(count):
    rng = random.Random(11)
    pieces = [" ", "  ", "\n", "the", "don't", "12345", "x=", "日本", "é", "I'LL", "...", "!!", ", ", "and", "Ünder"]
    return ["".join(rng.choice(pieces) for _ in range(rng.randrange(1, 14))) for _ in range(count)]


class Comparison:
    """The two tokenizers on one tokenizer.json. onnxruntime-genai wants a whole artifact around it."""

    def __init__(self, dump, artifact, work):
        self.dump, self.artifact, self.work = dump, artifact, work
        self.folders = 0

    def check(self, name, tokenizer_json, configuration):
        folder = self.work / f"tokenizer{self.folders}"
        self.folders += 1
        folder.mkdir()
        for file in self.artifact.iterdir():
            if not file.name.startswith("tokenizer"):
                os.symlink(file, folder / file.name)
        (folder / "tokenizer.json").write_text(tokenizer_json, "utf-8")
        (folder / "tokenizer_config.json").write_text(configuration, "utf-8")
        printed = subprocess.run([self.dump, "--genai", folder], check=True, capture_output=True, text=True).stdout
        warned = [json.loads(line) for line in printed.splitlines()]
        theirs = onnxruntime_genai.Tokenizer(onnxruntime_genai.Model(str(folder)))
        reference = tokenizers.Tokenizer.from_file(str(folder / "tokenizer.json"))

        def differs(text):
            return [int(i) for i in theirs.encode(text)] != reference.encode(text, add_special_tokens=False).ids

        print(f"{name}: warned with {warned}", flush=True)
        for text in warned:
            assert text == "" or differs(text), f"{name}: warned of {text!r}, whose ids are equal"
        if not warned:
            own = [text for token in json.loads(tokenizer_json)["added_tokens"][-3:]
                   for text in (f"a {token['content']} a", f"x{token['content']}x")]
            different = [text for text in ORDINARY + random_texts(200) + own if differs(text)]
            assert not different, f"{name}: no warning, but the ids of {different[:5]} differ"
        return warned


def changed(base, change):
    made = copy.deepcopy(base)
    change(made)
    return json.dumps(made, ensure_ascii=False)


def added(content, **options):
    """A change that adds a token, with an id behind all others."""
    def change(made):
        ids = [*made["model"]["vocab"].values(), *(token["id"] for token in made["added_tokens"])]
        flags = {"single_word": False, "lstrip": False, "rstrip": False, "normalized": False, "special": False}
        made["added_tokens"].append({"id": max(ids) + 1, "content": content, **flags, **options})
    return change


def byte_level_changes():
    plain = {"type": "ByteLevel", "add_prefix_space": False, "trim_offsets": True, "use_regex": True}
    yield "gpt-2 pattern", lambda made: made.update(pre_tokenizer=plain), 0
    yield "prefix space", lambda made: made.update(pre_tokenizer={**plain, "add_prefix_space": True}), 1
    yield "no pattern", lambda made: made.update(pre_tokenizer={**plain, "use_regex": False}), 1
    yield "lstrip", added("<l>", lstrip=True), 1
    yield "rstrip", added("<r>", rstrip=True), 0
    yield "single word", added("<w>", single_word=True), 1
    yield "an added token as it is", added("<plain>"), 0


def sentencepiece_changes():
    """Of stories260K, whose merge of ▁ and a is one difference already."""
    yield "as it is", lambda made: None, 1
    yield "no decoder", lambda made: made.update(decoder=None), 1
    yield "no space before the text", lambda made: made.update(normalizer=made["normalizer"]["normalizers"][1]), 2
    yield "no byte fallback", lambda made: made["model"].update(byte_fallback=False), 2
    yield "a normalized added token", added("<n>", normalized=True), 2


def main():
    dump, edgecompress = sys.argv[1:3]
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(temporary)
        artifact = work / "artifact"
        subprocess.run([edgecompress, "export", "--model", MINI_LLAMA, "-o", artifact, "--format", "genai", "--skip-check",
                        "--threads", "1"], check=True, capture_output=True)
        comparison = Comparison(dump, artifact, work)
        mini = (MINI_LLAMA / "tokenizer.json").read_text("utf-8")
        configuration = (MINI_LLAMA / "tokenizer_config.json").read_text("utf-8")
        assert comparison.check("mini-llama", mini, configuration) == []
        for name, change, count in byte_level_changes():
            assert len(comparison.check(name, changed(json.loads(mini), change), configuration)) == count, name
        if not DATA.is_dir():
            print("skipped: ../shared/data is absent, so SentencePiece-like tokenizers are not compared")
            return
        for folder in [*sorted((DATA / "models").glob("*-hf")), DATA / "tokenizers/llama2"]:
            comparison.check(folder.name, (folder / "tokenizer.json").read_text("utf-8"),
                             (folder / "tokenizer_config.json").read_text("utf-8"))
        small = DATA / "models/stories260K-hf"
        base = json.loads((small / "tokenizer.json").read_text("utf-8"))
        for name, change, count in sentencepiece_changes():
            warned = comparison.check(name, changed(base, change), (small / "tokenizer_config.json").read_text("utf-8"))
            assert len(warned) == count, (name, warned)


main()
