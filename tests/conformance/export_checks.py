"""What an exported decoder must compute, whatever its format."""
from export_support import *

# Both sides compute in float32; sums of some hundred products in another order differ by about 1e-5 of the largest.
EXACT = 1e-4
SPLIT = [9, 1, 1, 4, 2]


def check_graph(what, opened, reference):
    """A whole prompt, the prompt split over the cache, and a batch padded on the right, against transformers."""
    ids = prompt(reference.config, sum(SPLIT), seed=7)
    expected = reference_logits(reference, ids)
    check_close(f"{what} whole", split_logits(opened, ids, [len(ids)]), expected, EXACT)
    check_close(f"{what} split", split_logits(opened, ids, SPLIT), expected, EXACT)
    short, more = prompt(reference.config, 6, seed=8), prompt(reference.config, 2, seed=9)
    found = padded_batch_logits(opened, ids, short, *more)
    for row, sequence in enumerate((ids + more[:1], short + more[1:])):
        check_close(f"{what} batch row {row}", found[row], reference_logits(reference, sequence), EXACT)
