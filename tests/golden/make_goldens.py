"""Writes compensation.safetensors: one small layer and the output errors that plain implementations of the published
recursions reach on it (GPTQ arXiv 2210.17323, SparseGPT arXiv 2301.00774, least squares, structured OBS arXiv
2302.04089). Needs torch and safetensors: python make_goldens.py compensation.safetensors"""
import sys
import torch
from safetensors.torch import save_file

ROWS, COLUMNS, GROUP, DAMPING = 48, 128, 32, 0.01


def make_layer():
    torch.manual_seed(20)
    mix = torch.randn(COLUMNS, COLUMNS) * 0.25 + torch.eye(COLUMNS)
    size = torch.rand(COLUMNS).pow(3) * 4 + 0.2
    inputs = torch.randn(1000, COLUMNS) @ mix * size + 0.3
    weight = torch.randn(ROWS, COLUMNS) * torch.rand(COLUMNS).add(0.5) * 0.05
    return weight, (inputs.T @ inputs) / len(inputs)


def damped(hessian):
    h = hessian.double()
    return h + DAMPING * h.diagonal().mean() * torch.eye(len(h), dtype=torch.float64)


def upper_factor(hessian):
    return torch.linalg.cholesky(torch.linalg.inv(damped(hessian)), upper=True).float()


def output_error(weight, changed, hessian):
    d = (changed - weight).double()
    return ((d @ hessian.double()) * d).sum().float().reshape(1)


def on_grid(w, scale, zero):
    return (torch.clamp(torch.round(w / scale) + zero, 0, 15) - zero) * scale


def grid(w, symmetric, share):
    if symmetric:
        return w.abs().amax(1, True) * share / 7.5, torch.full((len(w), 1), 8.0)
    low, high = w.amin(1, True).clamp(max=0) * share, w.amax(1, True).clamp(min=0) * share
    scale = (high - low) / 15
    return scale, torch.round(-low / scale).clamp(0, 15)


def searched_grid(w, symmetric, importance):
    best, shares = None, [1 - i / 100 for i in range(80)]
    for share in shares if importance is not None else [1.0]:
        scale, zero = grid(w, symmetric, share)
        loss = (on_grid(w, scale, zero) - w).abs().pow(2.4)
        loss = (loss * (1 if importance is None else importance)).sum(1, True)
        if best is None:
            best = loss, scale, zero
        better = loss < best[0]
        best = tuple(torch.where(better, new, old) for new, old in zip((loss, scale, zero), best))
    return best[1:]


def recursion(weight, factor, choose):
    """Column by column; choose(j, column) returns what stays of it, given columns changed so far."""
    w, out = weight.clone(), torch.zeros_like(weight)
    for j in range(w.shape[1]):
        out[:, j] = choose(j, w)
        w[:, j:] -= torch.outer((w[:, j] - out[:, j]) / factor[j, j], factor[j, j:])
    return out


def gptq(weight, hessian, symmetric, search, keep=None):
    diagonal = hessian.diagonal()
    order = torch.argsort(diagonal, descending=True, stable=True)
    masked = weight if keep is None else weight * keep
    grids = [searched_grid(masked[:, b:b + GROUP], symmetric, diagonal[b:b + GROUP] if search else None)
             for b in range(0, COLUMNS, GROUP)]

    def choose(j, w):
        scale, zero = grids[order[j] // GROUP]
        rounded = on_grid(w[:, j:j + 1], scale, zero)[:, 0]
        return rounded if keep is None else rounded * keep[:, order[j]]

    result = recursion(weight[:, order], upper_factor(hessian[order][:, order]), choose)
    return result[:, torch.argsort(order)]


def sparsegpt(weight, hessian, runs):
    """All 128 columns are one block; runs: (dropped, of) or None for half of the weights."""
    factor = upper_factor(hessian)
    d = factor.diagonal()
    drop = torch.zeros_like(weight, dtype=torch.bool)
    if runs is None:
        score = (weight / d).square().flatten()
        drop.view(-1)[score.argsort()[:score.numel() // 2]] = True

    def choose(j, w):
        if runs is not None and j % runs[1] == 0:
            score = (w[:, j:j + runs[1]] / d[j:j + runs[1]]).square()
            drop[:, j:j + runs[1]].scatter_(1, score.argsort(1)[:, :runs[0]], True)
        return w[:, j] * ~drop[:, j]

    return recursion(weight, factor, choose)


def least_squares(weight, hessian, keep):
    h, out = damped(hessian), torch.zeros_like(weight)
    target = weight.double() @ h
    for r in range(ROWS):
        s = keep[r].nonzero()[:, 0]
        out[r, s] = torch.linalg.solve(h[s][:, s], target[r, s]).float()
    return out


def remove_columns(weight, hessian, width, count):
    """Greedy structured OBS; every step solved from scratch. Returns the groups that stay."""
    h, alive = damped(hessian), list(range(COLUMNS // width))
    dense = weight.double()

    def loss(groups):
        s = torch.cat([torch.arange(g * width, (g + 1) * width) for g in groups])
        new = torch.zeros_like(dense)
        new[:, s] = torch.linalg.solve(h[s][:, s], (dense @ h)[:, s].T).T
        return (((new - dense) @ h) * (new - dense)).sum().item()

    for _ in range(count):
        alive.remove(min(alive, key=lambda g: loss([a for a in alive if a != g])))
    return torch.tensor(alive)


def main():
    torch.set_num_threads(1)
    weight, hessian = make_layer()
    result = {"weight": weight, "hessian": hessian}
    half = sparsegpt(weight, hessian, None)
    keep = (half != 0)
    result["keep"] = keep.to(torch.uint8)
    changed = {
        "gptq_asymmetric": gptq(weight, hessian, False, False),
        "gptq_asymmetric_search": gptq(weight, hessian, False, True),
        "gptq_symmetric_search": gptq(weight, hessian, True, True),
        "gptq_asymmetric_masked": gptq(weight, hessian, False, False, keep),
        "sparsegpt_half": half,
        "sparsegpt_2_of_4": sparsegpt(weight, hessian, (2, 4)),
        "least_squares": least_squares(weight, hessian, keep),
    }
    result |= {"error." + name: output_error(weight, w, hessian) for name, w in changed.items()}
    result["kept_channels"] = remove_columns(weight, hessian, 1, 32)
    result["kept_groups"] = remove_columns(weight, hessian, 8, 4)
    save_file({name: t.contiguous() for name, t in result.items()}, sys.argv[1])
    for name, t in result.items():
        if name.startswith("error."):
            print(name, t.item())


main()
