"""`edgecompress recover` follows a short PyTorch training of the same schedule: the same losses, training and held out, for
20 steps. The reference is written from docs/numerics.md with transformers' model and torch.optim.AdamW.

Usage: training_curves.py EDGECOMPRESS
"""
import sys
import tempfile

from command_line import *

LENGTH, COUNT, BATCH, HELD_OUT, STEPS = 64, 44, 2, 4, 20
PATIENCE = 3  # rises of the held-out loss in a row that end a training, in the second half of its steps
RATE, CODE_RATE, SCALE_RATE = 1e-4, 2e-3, 3e-3
SAME_LOSS = 1e-3  # of the loss; both sides add float32 products in another order
# Weights that are rounded part ways: one near the middle between two codes goes up or down by its last bits, which differ
# between the two sides. Until then, two steps, they must agree as the others; later only in where training leads.
SAME_COURSE = 1e-2
LINEAR = ("q_proj", "k_proj", "v_proj", "o_proj", "gate_proj", "up_proj", "down_proj")


# ---- the schedule ----------------------------------------------------------------------------------------------------

def splitmix64(state):
    while True:
        state = (state + 0x9E3779B97F4A7C15) % 2**64
        z = (state ^ state >> 30) * 0xBF58476D1CE4E5B9 % 2**64
        z = (z ^ z >> 27) * 0x94D049BB133111EB % 2**64
        yield z ^ z >> 31


def shuffled(windows, seed, epoch):
    windows = list(windows)
    numbers = splitmix64((next(splitmix64(seed)) + epoch) % 2**64)
    for left in range(len(windows), 1, -1):
        other = next(numbers) % left
        windows[left - 1], windows[other] = windows[other], windows[left - 1]
    return windows


def split():
    held_out = [(2 * i + 1) * COUNT // (2 * HELD_OUT) for i in range(HELD_OUT)]
    return [i for i in range(COUNT) if i not in held_out], held_out


# ---- what is trained -------------------------------------------------------------------------------------------------

def straight_through(exact, carrier):
    return carrier + (exact - carrier).detach()


def unpacked(packed, columns):
    codes = (packed[..., None] >> (4 * torch.arange(8)) & 15) - 8
    return codes.reshape(packed.shape[0], -1)[:, :columns].float()


class Student:
    """Functions of the trained tensors that give transformers its weights."""

    def __init__(self, dense, folder, part, prefix=""):
        self.made, self.groups = {}, [[], [], []]  # floating weights, scales, weights behind codes
        stored = stored_tensors(folder)
        for name, value in dense.state_dict().items():
            if not name.startswith(prefix):
                continue
            if name.split(".")[-2] in LINEAR:
                self.add_linear(name, value, stored, part)
            elif "norm" in name:
                self.add_norm(name, stored[name])

    def parameter(self, value, group):
        value = value.clone().requires_grad_()
        self.groups[group].append(value)
        return value

    def add_norm(self, name, start):
        factor = self.parameter(torch.ones(start.shape), 1)
        def make():
            value = start.float() * factor
            return straight_through(value.detach().to(start.dtype).float(), value)
        self.made[name] = make

    def add_linear(self, name, value, stored, part):
        if name in stored:
            start = stored[name]
            weight, keep = self.parameter(start.float(), 0), start != 0
            self.made[name] = lambda: straight_through(weight.detach().to(start.dtype).float(), weight) * keep
            return
        base = name.removesuffix(".weight")
        scales = stored[base + ".weight_scale"].float()
        codes = unpacked(stored[base + ".weight_packed"], value.shape[1]).view(*scales.shape, -1)
        factor = self.parameter(torch.ones(scales.shape), 1)
        scale = lambda: (scales * factor)[..., None]
        if part == "scales":
            self.made[name] = lambda: (codes * scale()).view(value.shape)
            return
        wanted = value.view(codes.shape) / scales[..., None]
        start = torch.where((wanted - codes).abs() <= 0.5, wanted.clamp(codes - 0.49, codes + 0.49), codes)
        weight = self.parameter(start, 2)  # in steps of the grid at the start
        def make():
            inside = (weight / factor[..., None]).clamp(-8, 7)
            return (straight_through(inside.detach().round(), inside) * scale()).view(value.shape)
        self.made[name] = make

    def weights(self):
        return {name: make() for name, make in self.made.items()}


# ---- training --------------------------------------------------------------------------------------------------------

def mean_loss(dense, weights, ids, kind):
    logits = torch.func.functional_call(dense, weights, (ids,)).logits[:, :-1]
    log_p = logits.log_softmax(-1)
    if kind == "cross-entropy":
        return -log_p.gather(-1, ids[:, 1:, None]).mean()
    with torch.no_grad():
        log_t = dense(ids).logits[:, :-1].log_softmax(-1)
    return (log_t.exp() * (log_t - log_p)).sum(-1).mean()


def reference_curve(folder, windows, part, kind):
    """The mean training loss of every two steps and the held-out loss after them."""
    dense = load_with_transformers(MINI_LLAMA)
    for parameter in dense.parameters():
        parameter.requires_grad_(False)
    student = Student(dense, folder, part)
    rates = (RATE, SCALE_RATE, CODE_RATE)
    optimizer = torch.optim.AdamW([{"params": group, "lr": first} for group, first in zip(student.groups, rates) if group],
                                  weight_decay=0)
    training, held_out = split()
    ids = torch.from_numpy(windows.ids.astype(np.int64))
    order, losses, curve = shuffled(training, 0, 0), [], []
    every = [parameter for group in student.groups for parameter in group]
    for step in range(STEPS):
        for group, first in zip(optimizer.param_groups, [r for r, g in zip(rates, student.groups) if g]):
            group["lr"] = first * 0.5 * (1 + math.cos(math.pi * step / STEPS))
        batch = order[step * BATCH:(step + 1) * BATCH]
        optimizer.zero_grad()
        loss = mean_loss(dense, student.weights(), ids[batch], kind)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(every, 1.0)
        optimizer.step()
        losses.append(loss.item())
        if step % 2 == 1:
            with torch.no_grad():
                judged = mean_loss(dense, student.weights(), ids[held_out], kind).item()
            curve.append((sum(losses[-2:]) / 2, judged))
    return curve


def check(edgecompress, work, folder, part, kind, same_course, *flags):
    windows = Windows(MINI_LLAMA, CALIBRATION_TEXT, LENGTH, COUNT)
    report = edgecompress.json(
        "recover", "--model", folder, "-o", work / "trained", "--overwrite", "--training", CALIBRATION_TEXT,
        "--samples", COUNT, "--sequence-length", LENGTH, "--epochs", 1, "--batch", BATCH, "--train", part, "--loss", kind,
        "--learning-rate", RATE, "--code-learning-rate", CODE_RATE, "--scale-learning-rate", SCALE_RATE, *flags)
    training = report["training"]
    what = f"{folder.name}, {part}, {kind}"
    assert training["token_sha256"] == windows.sha256, f"{what}: other windows"
    assert training["steps_done"] == STEPS, f"{what}: {training}"
    points = training["curve"][1:]
    expected = reference_curve(folder, windows, part, kind)
    assert len(points) == len(expected) == STEPS // 2
    differences = [abs(found / wanted - 1) for point, pair in zip(points, expected)
                   for found, wanted in zip((point["loss"], point["held_out_loss"]), pair)]
    worst = max(differences)
    first, last = training["held_out_loss_before"], expected[-1][1]
    print(f"{what}: held-out loss {first:.5f} to {last:.5f}, largest relative difference {worst:.1e}")
    assert last < first, f"{what}: the reference itself does not train"
    assert worst < same_course and max(differences[:2]) < SAME_LOSS, f"{what}: {points} against {expected}"


# ---- blocks one by one -----------------------------------------------------------------------------------------------

def cosine(step, steps):
    return 0.5 * (1 + math.cos(math.pi * step / steps))


class BlockReference:
    """One decoder block of transformers' model, trained on what the dense block gives."""

    def __init__(self, dense, student, index):
        self.layer, self.student, prefix = dense.model.layers[index], student, f"model.layers.{index}."
        self.made = {name.removeprefix(prefix): make for name, make in student.made.items() if name.startswith(prefix)}

    def output(self, inputs, positions):
        weights = {name: make() for name, make in self.made.items()}
        return torch.func.functional_call(self.layer, weights, (inputs,), {"position_embeddings": positions})

    def loss(self, inputs, targets, positions):
        difference = self.output(inputs, positions) - targets
        return (difference.square().sum(-1) / targets.square().sum(-1)).mean()


def reference_blocks(folder, windows, rate, code_rate, scale_rate):
    """The held-out loss of every block before and after one epoch; a block keeps its best state."""
    dense = load_with_transformers(MINI_LLAMA)
    for parameter in dense.parameters():
        parameter.requires_grad_(False)
    training, held_out = split()
    ids = torch.from_numpy(windows.ids.astype(np.int64))
    positions = dense.model.rotary_emb(dense.model.embed_tokens(ids[:1]), torch.arange(LENGTH)[None])
    targets = dense.model.embed_tokens(ids)
    inputs, losses = targets, []
    for index, layer in enumerate(dense.model.layers):
        targets = layer(targets, position_embeddings=positions)
        student = Student(dense, folder, "weights", f"model.layers.{index}.")
        block = BlockReference(dense, student, index)
        groups = [{"params": group, "lr": first}
                  for group, first in zip(student.groups, (rate, scale_rate, code_rate)) if group]
        optimizer = torch.optim.AdamW(groups, weight_decay=0)
        every = [parameter for group in student.groups for parameter in group]
        first_rates = [group["lr"] for group in optimizer.param_groups]
        order = shuffled(training, 0, 0)

        def judged():
            with torch.no_grad():
                return block.loss(inputs[held_out], targets[held_out], positions).item()

        before = best = last = judged()
        rises = 0
        state = [parameter.detach().clone() for parameter in every]
        for step in range(STEPS):
            for group, first in zip(optimizer.param_groups, first_rates):
                group["lr"] = first * cosine(step, STEPS)
            batch = order[step * BATCH:(step + 1) * BATCH]
            optimizer.zero_grad()
            block.loss(inputs[batch], targets[batch], positions).backward()
            torch.nn.utils.clip_grad_norm_(every, 1.0)
            optimizer.step()
            if step % 2 == 0:
                continue
            now = judged()
            rises, last = rises + 1 if now > last else 0, now
            if now < best:
                best, state = now, [parameter.detach().clone() for parameter in every]
            if rises >= PATIENCE and 2 * (step + 1) > STEPS:
                break
        with torch.no_grad():
            for parameter, kept in zip(every, state):
                parameter.copy_(kept)
            inputs = block.output(inputs, positions)
        losses.append((before, best))
    return losses


def check_blocks(edgecompress, work, folder, same_course, *flags):
    rate, code_rate, scale_rate = 3e-4, CODE_RATE, SCALE_RATE
    windows = Windows(MINI_LLAMA, CALIBRATION_TEXT, LENGTH, COUNT)
    report = edgecompress.json(
        "recover", "--model", folder, "-o", work / "trained", "--overwrite", "--training", CALIBRATION_TEXT,
        "--samples", COUNT, "--sequence-length", LENGTH, "--block-batch", BATCH, "--phases", "blocks", "--block-epochs", 1,
        "--block-learning-rate", rate, "--block-code-learning-rate", code_rate, "--block-scale-learning-rate", scale_rate, "--teacher", MINI_LLAMA, *flags)
    blocks = report["block_training"]["blocks"]
    expected = reference_blocks(folder, windows, rate, code_rate, scale_rate)
    assert len(blocks) == len(expected) and all(block["steps_planned"] == STEPS for block in blocks)
    found = [(block["held_out_loss_before"], block["held_out_loss_after"]) for block in blocks]
    differences = [abs(ours / theirs - 1) for pair, wanted in zip(found, expected) for ours, theirs in zip(pair, wanted)]
    print(f"{folder.name}, blocks: {found[-1][0]:.5f} to {found[-1][1]:.5f}, largest relative difference {max(differences):.1e}")
    assert all(after < before for before, after in expected), "the reference itself does not train"
    assert max(differences) < same_course and differences[0] < SAME_LOSS, f"{found} against {expected}"


def main():
    edgecompress = Runner(sys.argv[1])
    with tempfile.TemporaryDirectory() as name:
        work = pathlib.Path(name)
        edgecompress.json("quantize", "--model", MINI_LLAMA, "-o", work / "int4", "--group-size", 128,
                          "--embedding-bits", "none", "--head-bits", "none")
        edgecompress.json("prune", "--model", MINI_LLAMA, "-o", work / "masked", "--mask", "2:4")
        teacher = ("--teacher", MINI_LLAMA)
        check(edgecompress, work, work / "int4", "scales", "kl", SAME_LOSS, *teacher)
        check(edgecompress, work, work / "int4", "weights", "kl", SAME_COURSE, "--zeros", "free", *teacher)
        check(edgecompress, work, work / "masked", "weights", "cross-entropy", SAME_LOSS)
        check_blocks(edgecompress, work, work / "masked", SAME_LOSS)
        check_blocks(edgecompress, work, work / "int4", SAME_COURSE, "--zeros", "free")


main()
