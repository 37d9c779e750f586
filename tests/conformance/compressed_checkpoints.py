"""transformers (with compressed-tensors) loads what `edgecompress prune` and `quantize` write: it gives the perplexity of
`edgecompress eval`, and every masked weight is exactly zero in it.

Usage: compressed_checkpoints.py EDGECOMPRESS
"""
import pathlib
import re
import sys
import tempfile

from command_line import *

SAME_PERPLEXITY = 1e-4
CALIBRATED = ("--calibration", CALIBRATION_TEXT, "--samples", 8, "--sequence-length", 128)


def matrices_of(model, names):
    """Weights as transformers computes with them: compressed-tensors unpacks them in the first forward pass."""
    return {name: model.get_submodule(name).weight.detach() for name in names}


def check_folder(edgecompress, what, folder, windows):
    """Returns the report and the matrices that transformers has."""
    model = load_with_transformers(folder)
    expected = transformers_perplexity(model, windows)
    check_equal_perplexity(what, edgecompress.evaluate(folder, windows)["perplexity"], expected, SAME_PERPLEXITY)
    report = json.loads((folder / "report.json").read_text())
    matrices = matrices_of(model, [tensor["name"] for tensor in report["tensors"]])
    for tensor in report["tensors"]:
        weight = matrices[tensor["name"]]
        assert list(weight.shape) == tensor["shape_after"], (what, tensor, weight.shape)
        zeros = int((weight == 0).sum())
        reported = tensor["sparsity"] * weight.numel()
        assert abs(reported - zeros) < 1e-3, f"{what}: {tensor['name']} has {zeros} zeros, report.json says {reported}"
    return report, matrices


# ---- structured pruning ----------------------------------------------------------------------------------------------

def check_structured(edgecompress, work, source, windows, *options):
    what = f"{source.name} {' '.join(map(str, options))}"
    target = work / "pruned"
    edgecompress.json("prune", "--model", source, "-o", target, "--overwrite", "--ratio", "25%", *CALIBRATED, *options)
    report, matrices = check_folder(edgecompress, what, target, windows)
    totals = report["totals"]
    tables = {name: weight for name, weight in matrices.items() if ".layers." not in name}
    outside = sum(weight.numel() for weight in tables.values())
    share = 1 - (totals["parameters_after"] - outside) / (totals["parameters_before"] - outside)
    print(f"{what}: {share:.1%} of the decoder cut away")
    assert 0.22 <= share <= 0.28, f"{what}: {share:.1%} cut away instead of about 25 %"


def check_heads(edgecompress, work, source, windows):
    """Query heads inside KV groups, by score and by list, and whole groups by list: the same of every block."""
    dense, config = dense_matrices(source), json.loads((source / "config.json").read_text())
    blocks, width = range(config["num_hidden_layers"]), config["head_dim"]
    listed = lambda heads: [flag for block in blocks for flag in ("--prune-heads", f"{block}:{heads}")]
    target = work / "heads"
    for options, queries, keys in ((("--query-heads", "50%", "--score", "output-error"), 4, 4),
                                   (("--query-heads", "50%", "--score", "taylor", "--repair", "reconstruction"), 4, 4),
                                   (listed("1,2,4,7"), 4, 4), (listed("2,3"), 6, 3)):
        what = f"{source.name} {' '.join(options)}"
        edgecompress.json("prune", "--model", source, "-o", target, "--overwrite", *CALIBRATED, *options)
        _, matrices = check_folder(edgecompress, what, target, windows)
        written = json.loads((target / "config.json").read_text())
        assert (written["num_attention_heads"], written["num_key_value_heads"]) == (queries, keys), (what, written)
    kept = [head for head in range(config["num_attention_heads"]) if head not in (2, 3)]
    for name, weight in matrices.items():
        if name.endswith("q_proj"):
            rows = torch.cat([dense[name][head * width:(head + 1) * width] for head in kept])
            assert torch.equal(weight, rows), f"{what}: {name} has other heads"


def dense_matrices(folder):
    return {name.removesuffix(".weight"): tensor.float() for name, tensor in stored_tensors(folder).items()
            if tensor.dim() == 2}


# ---- masks -----------------------------------------------------------------------------------------------------------

UNSTRUCTURED_SHARE = 0.4


def check_kept(what, dense, masked, kept):
    """A mask drops weights and leaves the others alone. A weight may have been 0 before."""
    assert torch.equal(masked, torch.where(kept, dense, torch.zeros(()))), f"{what}: not the weights or zeros"


def check_unstructured(what, dense, masked):
    """As many as asked for, and none that is larger than a kept one: what torch's l1_unstructured does."""
    kept = masked != 0
    check_kept(what, dense, masked, kept)
    assert (~kept).sum() == round(UNSTRUCTURED_SHARE * dense.numel()), (what, (~kept).sum(), dense.numel())
    assert dense[~kept].abs().max() <= dense[kept].abs().min(), f"{what}: a smaller weight was kept"


def check_two_of_four(what, dense, masked):
    check_kept(what, dense, masked, masked != 0)
    left = (masked != 0).view(-1, 4).sum(-1)
    whole = (dense != 0).view(-1, 4).all(-1)
    assert (left <= 2).all() and (left[whole] == 2).all(), f"{what}: not 2 of every 4"


def check_tiles(what, dense, masked, rows):
    """Tiles of rows x 1, the same number dropped in every strip of `rows` rows."""
    strips = (masked != 0).view(-1, rows, dense.shape[1]).any(1)
    check_kept(what, dense, masked, strips.repeat_interleave(rows, 0))
    counts = strips.sum(-1)
    assert (counts == counts[0]).all() and 0 < counts[0] < dense.shape[1], (what, counts)


def check_masks(edgecompress, work, source, windows):
    dense = dense_matrices(source)
    masks = {("unstructured", "magnitude"): check_unstructured,
             ("2:4", "magnitude"): check_two_of_four,
             ("2:4", "wanda"): check_two_of_four,
             ("16x1", "magnitude"): lambda what, before, after: check_tiles(what, before, after, 16)}
    for (pattern, method), check in masks.items():
        what = f"{source.name} mask {pattern} by {method}"
        options = ["--mask", pattern, "--mask-method", method, *CALIBRATED]
        if ":" not in pattern:
            options += ["--mask-sparsity", f"{UNSTRUCTURED_SHARE:.0%}"]
        target = work / f"masked-{pattern.replace(':', '-')}"
        edgecompress.json("prune", "--model", source, "-o", target, "--overwrite", *options)
        _, matrices = check_folder(edgecompress, what, target, windows)
        for name, weight in matrices.items():
            if ".layers." in name:
                check(f"{what}, {name}", dense[name], weight)


# ---- quantization ----------------------------------------------------------------------------------------------------

QUANTIZED = [("--bits", 4, "--group-size", 32),
             ("--bits", 4, "--group-size", 64, "--asymmetric", "--embedding-bits", "none", "--head-bits", "none"),
             ("--bits", 4, "--group-size", "channel", "--head-bits", 4, "--embedding-bits", 4),
             ("--bits", 8, "--group-size", "channel", "--keep", "*.down_proj"),
             ("--bits", 8, "--group-size", 128, "--asymmetric")]


def unpacked(words, bits, columns):
    """Little-endian 32-bit words, lowest bits first, offset by 2^(bits-1)."""
    numbers = words.numpy().view(np.uint32)
    parts = [(numbers >> np.uint32(shift)) & np.uint32(2**bits - 1) for shift in range(0, 32, bits)]
    codes = np.stack(parts, axis=-1).reshape(words.shape[0], -1)[:, :columns].astype(np.int64)
    return torch.from_numpy(codes - 2 ** (bits - 1))


def grids_of(folder):
    """Pattern of a module's name -> its "weights" in quantization_config."""
    config = json.loads((folder / "config.json").read_text())["quantization_config"]
    return {target[3:] if target.startswith("re:") else re.escape(target) + "$": group["weights"]
            for group in config["config_groups"].values() for target in group["targets"]}


def decoded(folder):
    """Every quantized matrix of the folder, decoded here: scale * (code - zero point)."""
    tensors, grids, matrices = stored_tensors(folder), grids_of(folder), {}
    for name, scale in tensors.items():
        module, _, kind = name.rpartition(".")
        plain, packed = tensors.get(module + ".weight"), tensors.get(module + ".weight_packed")
        if kind != "weight_scale" or (plain is None and packed is None):
            continue  # of a tied head: the table is stored as the embedding
        grid = next(grid for pattern, grid in grids.items() if re.match(pattern, module))
        columns = plain.shape[1] if packed is None else tensors[module + ".weight_shape"][1].item()
        codes = plain.long() if packed is None else unpacked(packed, grid["num_bits"], columns)
        zero = tensors.get(module + ".weight_zero_point", torch.zeros(scale.shape))
        length = {"channel": columns, "group": grid["group_size"], "block": grid.get("block_structure", [1, 0])[1]}
        group = torch.arange(columns) // length[grid["strategy"]]
        matrices[module] = scale[:, group] * (codes - zero.long()[:, group]).float()
    return matrices


def check_quantized(edgecompress, work, source, windows, *options):
    """Returns the matrices that transformers has."""
    target, what = work / "quantized", f"{source.name} quantize {' '.join(map(str, options))}"
    edgecompress.json("quantize", "--model", source, "-o", target, "--overwrite", *options)
    _, matrices = check_folder(edgecompress, what, target, windows)
    expected = decoded(target)
    assert expected, what
    for name, weight in expected.items():
        assert torch.equal(matrices[name], weight), f"{what}: transformers has another {name}"
    return matrices


# A code flips with the last bit of an input, and later layers see it: two correct computations lie about 0.004 nats of
# KL divergence apart, which moves the perplexity of some hundred tokens by half a percent.
ROUNDED_PERPLEXITY = 1e-2


def check_activations(edgecompress, work, source, windows, *options):
    """transformers rounds inputs where the folder says so, as `eval` does."""
    target, what = work / "rounded", f"{source.name} quantize {' '.join(map(str, options))} with rounded inputs"
    edgecompress.json("quantize", "--model", source, "-o", target, "--overwrite", *options,
                      "--activations", "int8-per-token")
    expected = transformers_perplexity(load_with_transformers(target), windows)
    check_equal_perplexity(what, edgecompress.evaluate(target, windows)["perplexity"], expected, ROUNDED_PERPLEXITY)
    plain = edgecompress.evaluate(target, windows, "--activations", "none")["perplexity"]
    assert abs(plain / expected - 1) > SAME_PERPLEXITY, f"{what}: transformers computes without rounding"


def check_short_groups(edgecompress, work, pruned, windows):
    """A group size that does not divide the rows: compressed-tensors calls it blocks of one row."""
    for symmetry in ([], ["--asymmetric"]):
        check_quantized(edgecompress, work, pruned, windows, "--bits", 4, "--group-size", 128, *symmetry)
        strategies = {grid["strategy"] for grid in grids_of(work / "quantized").values()}
        assert {"group", "block"} <= strategies, strategies


def check_same_files(edgecompress, work, source, windows):
    """Without a text no block is ever in memory as floats: another path through the program, to the same bytes."""
    hashes = []
    for scored in ([], ["--text", windows.text, "--window", windows.length, "--windows", 1]):
        target = work / "quantized"
        edgecompress.json("quantize", "--model", source, "-o", target, "--overwrite", *QUANTIZED[0], *scored)
        files = json.loads((target / "edgecompress.manifest.json").read_text())["files"]
        hashes.append({name: file["sha256"] for name, file in files.items() if name.endswith(".safetensors")})
    assert hashes[0] == hashes[1] and hashes[0], "quantize writes other weights when it scores a text"


def check_quantized_mask(edgecompress, work, masked, windows):
    """Every grid holds 0, so what a mask dropped stays dropped."""
    dropped = {name: weight == 0 for name, weight in dense_matrices(masked).items()}
    for options in (QUANTIZED[0], QUANTIZED[-1]):
        for name, weight in check_quantized(edgecompress, work, masked, windows, *options).items():
            assert (weight[dropped[name]] == 0).all(), f"{masked.name} {name}: a masked weight came back"


def main():
    edgecompress = Runner(sys.argv[1])
    with tempfile.TemporaryDirectory() as temporary:
        work = pathlib.Path(temporary)
        windows = Windows(MINI_LLAMA, EVALUATION_TEXT, 192, 2)
        own_head = untied(MINI_LLAMA, work / "untied")
        for source in (MINI_LLAMA, own_head):
            check_structured(edgecompress, work, source, windows, "--score", "activation")
        check_structured(edgecompress, work, MINI_LLAMA, windows, "--score", "magnitude-l2", "--target", "flops")
        check_short_groups(edgecompress, work, work / "pruned", windows)
        check_heads(edgecompress, work, MINI_LLAMA, windows)
        check_masks(edgecompress, work, MINI_LLAMA, windows)
        for options in QUANTIZED:
            for source in (MINI_LLAMA, own_head):
                check_quantized(edgecompress, work, source, windows, *options)
        for options in (("--bits", 8, "--group-size", "channel"), ("--bits", 4, "--group-size", 32, "--asymmetric")):
            check_activations(edgecompress, work, MINI_LLAMA, windows, *options)
        check_same_files(edgecompress, work, own_head, windows)
        check_quantized_mask(edgecompress, work, work / "masked-2-4", windows)
        for source in shared_models("stories260K-hf"):
            windows = Windows(source, STORIES_TEXT, 192, 2)
            check_structured(edgecompress, work, source, windows, "--channel-multiple", 4)
            check_quantized(edgecompress, work, source, windows, "--bits", 4, "--group-size", 64)


main()
