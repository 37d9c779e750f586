"""Every kind of malformed input, as a user meets it: python3 malformed_inputs.py --program bin/edgecompress

Makes each file of docs/security.md's tables from one seed, gives it to the program, and asks for its error code, its exit code, at most
256 MiB and at most one second of processor time. What must be accepted stands beside it. Needs nothing but Python 3.
"""

import argparse
import json
import os
import pathlib
import random
import struct
import subprocess
import sys
import tempfile
import time

SOURCE = pathlib.Path(__file__).resolve().parents[2]
LIMIT_BYTES = 256 << 20
LIMIT_SECONDS = 1
CASES = []


def case(code, exit_code, name):
    """Registers a builder: it gets the case's folder and returns the command's arguments."""
    def register(builder):
        CASES.append((code, exit_code, name, builder))
        return builder
    return register


def rows(code, exit_code, contents, place):
    """One case per (name, content)."""
    for name, content in contents:
        case(code, exit_code, name)(lambda folder, content=content: place(folder, content))


# --- safetensors files -------------------------------------------------------------------------------------------------------

def safetensors(header, data=b"", length=None):
    text = header if isinstance(header, bytes) else (header if isinstance(header, str) else json.dumps(header)).encode()
    return struct.pack("<Q", len(text) if length is None else length) + text + data


def tensor(shape, begin, end, dtype="F32", **more):
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end], **more}


def one(name="a", shape=(2,), begin=0, end=8, dtype="F32", data=8, **more):
    return safetensors({name: tensor(list(shape), begin, end, dtype, **more)}, random.randbytes(data))


def raw(entry, data=8):
    return safetensors('{"a":' + entry + "}", random.randbytes(data))


def in_file(folder, content, name="x.safetensors"):
    path = folder / name
    path.write_bytes(content)
    return ["inspect", str(path)]


GOOD = '{"dtype":"F32","shape":[2],"data_offsets":[0,8]}'


def file_cases():
    put = in_file
    rows("S1", 65, [("empty file", b""), ("7 bytes", b"1234567")], put)
    rows("S2", 65, [("a header of length 0", bytes(8))], put)
    rows("S3", 65, [(f"a header of {n} bytes", struct.pack("<Q", n) + b"{}" * 50)
                    for n in (100_000_001, 2**63, 2**64 - 1, 2**64 - 8)], put)
    rows("S5", 65, [("a header longer than the file", safetensors("{}", length=1000))], put)
    rows("S6", 65, [("a header that is not UTF-8", safetensors(b'{"\xff":1}'))], put)
    rows("S7", 65, [(f"a header that is not JSON: {text!r}", safetensors(text))
                    for text in ("{", '{"a":', "{}x", "{}\0", "{'a':1}")], put)
    rows("S9", 65, [("a byte order mark", safetensors(b"\xef\xbb\xbf{}"))], put)
    rows("S10", 65, [("a blank first", safetensors(" {}")), ("a new line first", safetensors("\n{}"))], put)
    rows("S11", 65, [("two tensors of one name",
                      safetensors('{"a":' + GOOD + ',"a":{"dtype":"F32","shape":[2],"data_offsets":[8,16]}}', bytes(16))),
                     ("two equal ones", safetensors('{"a":' + GOOD + ',"a":' + GOOD + "}", bytes(8)))], put)
    rows("S12", 65, [("a field twice", raw('{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}'))], put)
    rows("S13", 65, [("a metadata key twice", safetensors('{"__metadata__":{"k":"1","k":"2"}}'))], put)
    rows("S14", 65, [("metadata that is no text", safetensors('{"__metadata__":{"k":1}}')),
                     ("metadata that is an object", safetensors('{"__metadata__":{"k":{}}}'))], put)
    rows("S15", 65, [("no dtype", raw('{"shape":[2],"data_offsets":[0,8]}')),
                     ("no shape", raw('{"dtype":"F32","data_offsets":[0,8]}')),
                     ("no offsets", raw('{"dtype":"F32","shape":[2]}'))], put)
    rows("S16", 65, [("an unknown field", one(strides=[1]))], put)
    rows("S17", 65, [("an unknown dtype", one(dtype="F33")), ("another case", one(dtype="f32"))], put)
    rows("S18", 65, [(f"a dimension {d}", raw('{"dtype":"F32","shape":[' + d + '],"data_offsets":[0,8]}'))
                     for d in ("-2", "2.0", "2e0", '"2"', "9223372036854775808", "null")], put)
    rows("S19", 65, [("a product that overflows", one(shape=[2**32, 2**32]))], put)
    rows("S20", 65, [("an overflow behind a zero", one(shape=[0, 2**32, 2**32], end=0, data=0))], put)
    rows("S21", 65, [("shape and offsets disagree", one(shape=[3]))], put)
    rows("S22", 65, [("offsets backwards", one(begin=8, end=0)),
                     ("three offsets", raw('{"dtype":"F32","shape":[2],"data_offsets":[0,8,9]}')),
                     ("one offset", raw('{"dtype":"F32","shape":[2],"data_offsets":[8]}')),
                     ("an offset of 2^63", raw('{"dtype":"F32","shape":[2],"data_offsets":[0,9223372036854775808]}')),
                     ("a negative offset", raw('{"dtype":"F32","shape":[2],"data_offsets":[-1,7]}'))], put)
    rows("S23", 65, [("a gap at 0", one(begin=4, end=12, data=12))], put)
    two = lambda first, second, data: safetensors({"a": tensor([2], *first), "b": tensor([2], *second)}, bytes(data))
    rows("S24", 65, [("a hole", two((0, 8), (12, 20), 20))], put)
    rows("S25", 65, [("an overlap", two((0, 8), (4, 12), 12)), ("the same bytes twice", two((0, 8), (0, 8), 8))], put)
    rows("S26", 65, [("bytes behind the last tensor", one(data=20))], put)
    rows("S27", 65, [("data cut short", one(data=7)), ("no data", one(data=0))], put)
    rows("S28", 65, [("half a byte", one(shape=[3], end=1, dtype="F4", data=1))], put)
    rows("S29", 65, [("no name", one(name=""))], put)
    rows("S30", 65, [("NUL in a name", one(name="a\0b")), ("ESC in a name", one(name="a\x1b[2J"))], put)
    rows("S31", 65, [("a name of 2000 bytes", one(name="n" * 2000))], put)
    rows("S32", 65, [("9 dimensions", one(shape=[1] * 8 + [2]))], put)
    rows("S33", 65, [("5000 levels", safetensors('{"a":' + "[" * 5000))], put)
    rows("S34", 65, [("a Git LFS pointer", b"version https://git-lfs.github.com/spec/v1\noid sha256:" + b"0" * 64 + b"\nsize 9\n")],
         put)
    rows("S35", 65, [("a web page", b"<!DOCTYPE html><html>" + b" " * 200), ("a zip", b"PK\x03\x04" + bytes(200)),
                     ("a pickle", b"\x80\x02}q\x00." + bytes(200)), ("GGUF", b"GGUF\x03\0\0\0" + bytes(200))], put)


@case("S33", 65, "a million and one tensors")
def many_tensors(folder):
    entry = '"%x":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    return in_file(folder, safetensors("{" + ",".join(entry % i for i in range(1_000_001)) + "}"))


@case("F-OPEN", 66, "a pipe")
def pipe(folder):
    os.mkfifo(folder / "x.safetensors")
    return ["inspect", str(folder / "x.safetensors")]


@case("F-OPEN", 66, "a device")
def device(folder):
    (folder / "x.safetensors").symlink_to("/dev/zero")
    return ["inspect", str(folder / "x.safetensors")]


# --- model folders -----------------------------------------------------------------------------------------------------------

def config():
    return {"architectures": ["LlamaForCausalLM"], "model_type": "llama", "hidden_size": 32, "intermediate_size": 48,
            "num_hidden_layers": 2, "num_attention_heads": 4, "num_key_value_heads": 2, "head_dim": 8, "hidden_act": "silu",
            "vocab_size": 40, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
            "tie_word_embeddings": False, "bos_token_id": 1, "eos_token_id": 2, "dtype": "float32"}


def shapes():
    found = {"model.embed_tokens.weight": [40, 32], "model.norm.weight": [32], "lm_head.weight": [40, 32]}
    for block in range(2):
        at = f"model.layers.{block}."
        found.update({at + "input_layernorm.weight": [32], at + "post_attention_layernorm.weight": [32]})
        for name, out, columns in (("self_attn.q_proj", 32, 32), ("self_attn.k_proj", 16, 32), ("self_attn.v_proj", 16, 32),
                                   ("self_attn.o_proj", 32, 32), ("mlp.gate_proj", 48, 32), ("mlp.up_proj", 48, 32),
                                   ("mlp.down_proj", 32, 48)):
            found[at + name + ".weight"] = [out, columns]
    return found


def weights(tensors):
    header, end = {}, 0
    for name, shape in tensors.items():
        begin, end = end, end + 4 * shape[0] * (shape[1] if len(shape) > 1 else 1)
        header[name] = tensor(shape, begin, end)
    values = struct.pack(f"<{end // 4}f", *(random.uniform(-1, 1) for _ in range(end // 4)))
    return safetensors(header, values)


def model(folder, settings=None, tensors=None):
    place = folder / "model"
    place.mkdir()
    text = settings if isinstance(settings, str) else json.dumps(config() if settings is None else settings)
    (place / "config.json").write_text(text)
    (place / "model.safetensors").write_bytes(weights(shapes() if tensors is None else tensors))
    return place


def sharded(folder, change=lambda index, place: None):
    """Two shards and an index, which `change` may alter before it is written, or replace by a text."""
    place = model(folder)
    (place / "model.safetensors").unlink()
    names = sorted(shapes())
    files = ("model-00001-of-00002.safetensors", "model-00002-of-00002.safetensors")
    for file, part in zip(files, (names[:9], names[9:])):
        (place / file).write_bytes(weights({name: shapes()[name] for name in part}))
    index = {"metadata": {}, "weight_map": {name: files[i >= 9] for i, name in enumerate(names)}}
    replaced = change(index, place)
    (place / "model.safetensors.index.json").write_text(replaced if isinstance(replaced, str) else json.dumps(index))
    return ["inspect", str(place)]


def with_index(code, exit_code, name, change):
    case(code, exit_code, name)(lambda folder: sharded(folder, change))


def map_first(value):
    def change(index, place):
        index["weight_map"][sorted(index["weight_map"])[0]] = value
    return change


def set_map(value):
    def change(index, place):
        index["weight_map"] = value
    return change


def index_cases():
    with_index("I1", 65, "not JSON", lambda index, place: "{")
    with_index("I1", 65, "no object", lambda index, place: "[]")
    for value in (None, [], {}):
        with_index("I2", 65, f"weight_map {value}", set_map(value))
    with_index("I3", 65, "a file name that is a number", map_first(1))
    with_index("I4", 65, "an absolute path", map_first("/etc/passwd"))
    for value in ("../x.safetensors", "a/../../x.safetensors", "a/b.safetensors", "a\\b.safetensors", "C:x.safetensors",
                  "a\0.safetensors", "a%2fb.safetensors", ".x.safetensors", "n" * 300 + ".safetensors"):
        with_index("I5", 65, f"the file name {value[:24]!r}", map_first(value))
    with_index("I6", 66, "a shard that is not there", lambda index, place: (place / "model-00002-of-00002.safetensors").unlink())

    def outside(index, place):
        shard = place / "model-00002-of-00002.safetensors"
        shard.rename(place.parent / "outside.safetensors")
        shard.symlink_to(place.parent / "outside.safetensors")
    with_index("I7", 65, "a link that leads out", outside)

    def folder_as_shard(index, place):
        (place / "model-00002-of-00002.safetensors").unlink()
        (place / "model-00002-of-00002.safetensors").mkdir()
    with_index("I8", 66, "a folder as a shard", folder_as_shard)

    def more(index, place):
        index["weight_map"]["extra.weight"] = "model-00001-of-00002.safetensors"
    with_index("I9", 65, "a tensor that its shard lacks", more)

    def fewer(index, place):
        del index["weight_map"]["model.norm.weight"]
    with_index("I10", 65, "a tensor that the index lacks", fewer)
    with_index("I11", 65, "a tensor in another shard", lambda index, place: index["weight_map"].update(
        {"model.norm.weight": "model-00001-of-00002.safetensors"}))
    with_index("I12", 65, "a key twice", lambda index, place: '{"weight_map": {"a": "a.safetensors", "a": "b.safetensors"}}')
    with_index("I16", 65, "a shard that is no safetensors", map_first("x.bin"))


def with_config(code, exit_code, name, **changes):
    def build(folder):
        settings = {key: value for key, value in {**config(), **changes}.items() if value is not ...}
        return ["inspect", str(model(folder, settings))]
    case(code, exit_code, name)(build)


def config_cases():
    text = json.dumps(config())
    for name, code, content in (("not JSON", "C1", "{"), ("NaN where a number is needed", "C1", text.replace("1e-05", "NaN")),
                                ("a key twice", "C2", text[:-1] + ', "vocab_size": 41}'), ("no object", "C3", "[]"),
                                ("65 levels", "C3", text[:-1] + ', "x": ' + "[" * 70 + "]" * 70 + "}")):
        case(code, 65, name)(lambda folder, content=content: ["inspect", str(model(folder, content))])
    with_config("C4", 69, "another architecture", architectures=["GPT2LMHeadModel"], model_type="gpt2")
    for value in (..., None, "32", 32.0, -32, 0):
        with_config("C5", 65, f"hidden_size {'absent' if value is ... else value!r}", hidden_size=value)
    for field in ("num_attention_heads", "num_key_value_heads", "head_dim"):
        with_config("C6", 65, f"{field} 0", **{field: 0})
    with_config("C7", 65, "hidden_size no multiple of the heads", head_dim=..., num_attention_heads=5, num_key_value_heads=5)
    with_config("C8", 65, "heads that KV heads do not divide", num_key_value_heads=3)
    with_config("C9", 65, "2^21 wide", hidden_size=2**21)
    with_config("C9", 65, "100,000 layers", num_hidden_layers=100_000)
    with_config("C9", 65, "a vocabulary of 2^40", vocab_size=2**40)
    with_config("C10", 65, "a layer too many", num_hidden_layers=3)
    with_config("C10", 65, "a layer too few", num_hidden_layers=1)
    with_config("C10", 65, "another vocabulary", vocab_size=41)
    with_config("C11", 65, "tied, with another head", tie_word_embeddings=True)
    with_config("C12", 65, "an unknown dtype", dtype="float33")
    with_config("C13", 65, "rope_theta 0", rope_theta=0)
    with_config("C13", 65, "rope_theta negative", rope_theta=-1.0)
    with_config("C13", 65, "an unknown rope", rope_scaling={"rope_type": "magic", "factor": 2.0})
    with_config("C13", 69, "yarn", rope_scaling={"rope_type": "yarn", "factor": 2.0})
    for value in (0, -1e-5, "1e-5"):
        with_config("C14", 65, f"rms_norm_eps {value!r}", rms_norm_eps=value)
    with_config("C15", 69, "another quantization", quantization_config={"quant_method": "gptq", "bits": 4})
    with_config("C16", 65, "a quantization that breaks its rules",
                quantization_config={"quant_method": "compressed-tensors", "format": "pack-quantized", "config_groups": 3})
    with_config("C19", 69, "experts", num_local_experts=8)
    with_config("C20", 65, "a text_config that contradicts", text_config={"hidden_size": 64})


# --- recipes -----------------------------------------------------------------------------------------------------------------

HEAD = "schema: edgecompress.recipe/v1\nname: x\n"
ROUND = "steps:\n  - { id: q, quantize: { method: rtn } }\n"


def recipe(folder, text):
    path = folder / "x.ec.yaml"
    path.write_bytes(text if isinstance(text, bytes) else text.encode())
    return ["run", str(path), "--model", str(model(folder)), "-o", str(folder / "out")]


def quantize_step(fields):
    return HEAD + "steps:\n  - id: q\n    quantize: { method: rtn, " + fields + " }\n"


@case("R1", 66, "no such recipe")
def no_recipe(folder):
    return ["run", str(folder / "none.ec.yaml"), "--model", str(model(folder)), "-o", str(folder / "out")]


def recipe_cases():
    put = recipe
    rows("R2", 2, [("not YAML", HEAD + "steps: [")], put)
    rows("R3", 2, [("a tab", HEAD + "steps:\n\t- x\n")], put)
    rows("R4", 2, [("two documents", HEAD + ROUND + "---\na: 1\n")], put)
    rows("R5", 2, [("a key twice", HEAD + "name: y\n" + ROUND)], put)
    rows("R6", 2, [("an unknown key", HEAD + "naem: y\n" + ROUND)], put)
    rows("R7", 2, [("a key in the wrong place", HEAD + "bits: 4\n" + ROUND)], put)
    rows("R8", 2, [("another schema", "schema: edgecompress.recipe/v9\nname: x\n" + ROUND),
                   ("a newer edgecompress", HEAD + 'requires: { edgecompress: ">=99.0" }\n' + ROUND)], put)
    rows("R9", 2, [(f"bits {value}", quantize_step("weights: { bits: " + value + " }"))
                   for value in ("no", "04", "1_000", "12:30", "4.0", '"4"', ".nan")], put)
    rows("R10", 2, [("5 bits", quantize_step("weights: { bits: 5 }"))], put)
    rows("R11", 2, [("an anchor", HEAD + "description: &a x\n" + ROUND), ("a tag", HEAD + "description: !!python/x y\n" + ROUND),
                    ("a key that is a list", HEAD + "? [a]\n: 1\n" + ROUND)], put)
    rows("R12", 2, [("not UTF-8", (HEAD + ROUND).encode() + b"# \xff\n"), ("a byte order mark", b"\xef\xbb\xbf" + HEAD.encode()),
                    ("NUL", (HEAD + ROUND).encode() + b"#\0\n"), ("2 MiB", HEAD + ROUND + "#" * (2 << 20)),
                    ("100 levels", HEAD + "x-a: " + "[" * 100 + "]" * 100 + "\n" + ROUND)], put)
    rows("R14", 2, [("no steps", HEAD + "steps: []\n")], put)
    rows("R15", 2, [("a pattern that matches nothing", HEAD + "steps:\n  - { id: m, mask: { method: magnitude, pattern: \"2:4\", "
                                                              "targets: [\"*.nothing\"] } }\n")], put)
    rows("R16", 2, [("a pattern that does not compile", HEAD + "steps:\n  - { id: m, mask: { method: magnitude, pattern: \"2:4\", "
                                                               "targets: [\"re:(\"] } }\n")], put)
    rows("R17", 2, [("two quantizations", HEAD + "steps:\n  - { id: a, quantize: { method: rtn } }\n"
                                                 "  - { id: b, quantize: { method: rtn } }\n")], put)
    rows("R19", 66, [("no such text", HEAD + "calibration: { text: none.txt }\n" + ROUND)], put)
    rows("R22", 2, [("an absolute path", HEAD + "calibration: { text: /etc/passwd }\n" + ROUND),
                    ("a URL", HEAD + "calibration: { text: \"https://x/y\" }\n" + ROUND)], put)
    rows("R23", 2, [("no name", "schema: edgecompress.recipe/v1\n" + ROUND)], put)


# --- what must be accepted ---------------------------------------------------------------------------------------------------

def accepted_cases():
    put = in_file
    header = '{"a":' + GOOD + "}"
    rows(None, 0, [("padding", safetensors(header + " " * 13, bytes(8))), ("no tensors", safetensors("{}")),
                   ("only metadata", safetensors('{"__metadata__":{"a":"b"}}')), ("a scalar", one(shape=[], end=4, data=4)),
                   ("an empty tensor", one(shape=[0, 3], end=0, data=0)), ("names with dots and blanks", one(name="../a b")),
                   ("an odd offset", safetensors({"a": tensor([1], 0, 1, "U8"), "b": tensor([1], 1, 5)}, bytes(5))),
                   ("not a number inside", safetensors(header, struct.pack("<2f", float("nan"), float("inf"))))], put)
    case(None, 0, "a model in one file")(lambda folder: ["inspect", str(model(folder))])
    case(None, 0, "a model in shards")(sharded)


file_cases()
index_cases()
config_cases()
recipe_cases()
accepted_cases()


def run(program, arguments):
    """Exit code, stderr, seconds, peak bytes."""
    read, write = os.pipe()
    begin = time.monotonic()
    child = os.fork()
    if child == 0:
        os.dup2(write, 2)
        os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
        os.execv(program, [program, *arguments])
    os.close(write)
    with os.fdopen(read, "rb") as stream:
        text = stream.read()
    _, status, usage = os.wait4(child, 0)
    return os.waitstatus_to_exitcode(status), text.decode(errors="replace"), time.monotonic() - begin, usage


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True)
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    failures, slowest, largest = 0, 0.0, 0
    for code, exit_code, name, build in CASES:
        random.seed(options.seed)
        with tempfile.TemporaryDirectory(prefix="edgecompress-malformed-") as folder:
            found, text, seconds, usage = run(options.program, build(pathlib.Path(folder)))
            left = [path.name for path in pathlib.Path(folder).iterdir() if "out" in path.name and "outside" not in path.name]
        peak = usage.ru_maxrss * 1024
        slowest, largest = max(slowest, usage.ru_utime + usage.ru_stime), max(largest, peak)
        wrong = []
        if found != exit_code:
            wrong.append(f"exit code {found}, not {exit_code}")
        if code is not None and f"error[{code}]" not in text:
            wrong.append(f"no error[{code}]")
        # processor seconds: the wall clock also measures what else the machine does
        if usage.ru_utime + usage.ru_stime > LIMIT_SECONDS or peak > LIMIT_BYTES:
            wrong.append(f"{seconds:.2f} s, {peak >> 20} MiB")
        if left:
            wrong.append(f"left {left}")
        if wrong:
            failures += 1
            print(f"{code} {name}: {'; '.join(wrong)}\n    {text.strip()[:300]}")
    refused = sum(code is not None for code, *_ in CASES)
    print(f"{refused} inputs to be refused, {len(CASES) - refused} to be accepted, {failures} wrong; at most {slowest:.2f} s of "
          f"processor time and {largest >> 20} MiB")
    return 1 if failures else 0


if __name__ == "__main__":
    sys.exit(main())
