"""`edgecompress eval` gives transformers' perplexity on the same windows.

Usage: perplexity.py EDGECOMPRESS
"""
import sys

from command_line import *

# Four digits. Both sides add float32 products in another order, which moves a perplexity by some 1e-6 of itself.
FOUR_DIGITS = 5e-5


def check(edgecompress, folder, windows):
    found = edgecompress.evaluate(folder, windows)
    assert found["token_sha256"] == windows.sha256, f"{folder.name}: other tokens than tokenizers' and our cutting give"
    assert found["windows"] == windows.count and found["tokens"] == windows.count * (windows.length - 1), found
    expected = transformers_perplexity(load_with_transformers(folder), windows)
    what = f"{folder.name}, {windows.count} {windows.order} windows of {windows.length}"
    check_equal_perplexity(what, found["perplexity"], expected, FOUR_DIGITS)


def main():
    edgecompress = Runner(sys.argv[1])
    for length, count, order in ((512, 6, "spread"), (129, 3, "first")):
        check(edgecompress, MINI_LLAMA, Windows(MINI_LLAMA, EVALUATION_TEXT, length, count, order))
    for folder in shared_models("stories260K-hf"):
        check(edgecompress, folder, Windows(folder, STORIES_TEXT, 512, 6))
    for folder in shared_models("stories3M-hf"):
        check(edgecompress, folder, Windows(folder, STORIES_TEXT, 512, 3, "first"))
    for folder in shared_models("edge-llama-25m-hf"):
        check(edgecompress, folder, Windows(folder, EDGE_TEXT, 512, 2))


main()
