"""What a disk may hold after the power failed during a run: python3 power_loss.py --program FILE --record recorded_calls.so

A run's changes are recorded. For moments of it, folders are made as a journaling file system may have left them: of names, all changes
up to some moment that is not before the last sync of their folder; of a file's data, what was synced, and any part of what came
after it. Each must hold no output, the old one or the complete new one, and the same command must then give the same bytes.
"""

import argparse
import os
import pathlib
import random
import shutil
import subprocess
import sys
import tempfile

from kill_runs import TINY, Bench

RENAME_EXCHANGE = 2


class File:
    def __init__(self):
        self.data = bytearray()  # as the running system sees it
        self.position = 0
        self.states = [b""]  # that may be on the disk: what was synced last, and each state behind it

    def changed(self):
        self.states.append(bytes(self.data))

    def synced(self):
        self.states = [bytes(self.data)]


class Folder:
    def __init__(self):
        self.entries = {}


class Change:
    """One recorded call."""

    def __init__(self, call, path, other, data, flags):
        self.call, self.path, self.other, self.data, self.flags = call, path, other, data, flags


def read_record(path):
    changes, data, place = [], path.read_bytes(), 0

    def line():
        nonlocal place
        end = data.index(b"\n", place)
        text, place = data[place:end].decode(), end + 1
        return text

    while place < len(data):
        call, size, flags = line().split()
        names = line(), line()
        changes.append(Change(call, *names, data[place:place + int(size)], int(flags)))
        place += int(size)
    return changes


class Disk:
    """A folder's files and names while a record is played, and what of them a power failure may leave."""

    def __init__(self, root):
        self.root = root
        self.top = Folder()
        self.names = []  # changes of names so far
        self.lasting = 0  # so many of them are on the disk for sure

    def parts(self, path):
        return pathlib.PurePath(path).relative_to(self.root).parts

    def find(self, path):
        node = self.top
        for part in self.parts(path):
            node = node.entries[part]
        return node

    def slot(self, path):
        *parents, name = self.parts(path)
        node = self.top
        for part in parents:
            node = node.entries[part]
        return node.entries, name

    def apply_name(self, change):
        entries, name = self.slot(change.path)
        if change.call == "mkdir":
            entries[name] = Folder()
        elif change.call == "create":
            entries.setdefault(name, change.node)
        elif change.call == "unlink":
            del entries[name]
        elif change.call == "rename":
            target, target_name = self.slot(change.other)
            if change.flags == RENAME_EXCHANGE:
                entries[name], target[target_name] = target[target_name], entries[name]
            else:
                target[target_name] = entries.pop(name)

    def play(self, change):
        if change.call in ("mkdir", "create", "unlink", "rename"):
            exists = change.call == "create" and self.slot(change.path)[1] in self.slot(change.path)[0]
            if not exists:
                change.node = File()
                self.names.append(change)
                self.apply_name(change)
            if change.call == "create":
                self.begin_file(self.find(change.path), truncated=change.flags != 0)
            return
        node = self.find(change.path)
        if change.call == "fsync":
            # a journaling file system writes all changes of names before it with those of the folder that is synced
            self.lasting = len(self.names) if isinstance(node, Folder) else self.lasting
            if isinstance(node, File):
                node.synced()
        elif change.call == "write":
            node.data[node.position:node.position + len(change.data)] = change.data
            node.position += len(change.data)
            node.changed()
        elif change.call == "ftruncate":
            del node.data[change.flags:]
            node.changed()

    @staticmethod
    def begin_file(file, truncated):
        file.position = 0
        if truncated:
            del file.data[:]
            file.changed()

    def write_left(self, place, dice, names):
        """Makes the folder that a power failure leaves when `names` of the changes of names have come to the disk."""
        left = Disk(self.root)
        for change in self.names[:names]:
            left.apply_name(change)
        self.write_folder(left.top, place, dice)

    def write_folder(self, folder, place, dice):
        for name, node in folder.entries.items():
            if isinstance(node, Folder):
                (place / name).mkdir()
                self.write_folder(node, place / name, dice)
            else:
                (place / name).write_bytes(dice.choice(node.states))


class PowerLoss(Bench):
    def __init__(self, program, record, folder, name):
        super().__init__(program, TINY, folder)
        self.name = name
        self.prepare([name])
        self.output = folder / "place" / "out"
        self.changes = self.recorded(record)

    def recorded(self, library):
        self.output.parent.mkdir()
        log = self.folder / "record"
        within = str(self.output.parent) + "/"
        arguments = [self.program, *self.commands[self.name], "-o", str(self.output), "--threads", "1"]
        done = subprocess.run(arguments, env={**os.environ, "LD_PRELOAD": library, "EDGECOMPRESS_RECORD": str(log),
                                              "EDGECOMPRESS_RECORD_WITHIN": within}, capture_output=True, text=True)
        if done.returncode != 0:
            raise SystemExit(f"{self.name}, recorded: exit code {done.returncode}\n{done.stderr}")
        return read_record(log)

    def check(self, moment, dice):
        """The power fails behind that many changes."""
        place = self.output.parent
        disk = Disk(place)
        for change in self.changes[:moment]:
            disk.play(change)
        shutil.rmtree(place)
        place.mkdir()
        names = dice.choice([disk.lasting, len(disk.names), dice.randint(disk.lasting, len(disk.names))])
        disk.write_left(place, dice, names)
        where = f"{self.name}, power lost behind change {moment} of {len(self.changes)}, {names} of {len(disk.names)} names there"
        self.check_killed(self.output, where)
        self.finish(self.name, self.output)
        self.check_finished(self.name, self.output, where)


def check_moments(program, record, name, samples, seed):
    """Returns how many moments were checked, and of how many."""
    dice = random.Random(seed)
    with tempfile.TemporaryDirectory(prefix="edgecompress-power-") as folder:
        run = PowerLoss(program, record, pathlib.Path(folder), name)
        total = len(run.changes)
        moments = range(total + 1) if samples == 0 else sorted(dice.sample(range(total + 1), min(samples, total + 1)))
        for moment in moments:
            run.check(moment, dice)
    return len(moments), total


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True)
    parser.add_argument("--record", required=True, help="the built recorded_calls module")
    parser.add_argument("--commands", default="discard,train,round,export")
    parser.add_argument("--samples", type=int, default=0, help="moments of each command; 0: behind every change")
    parser.add_argument("--seed", type=int, default=1)
    options = parser.parse_args()
    for name in options.commands.split(","):
        moments, total = check_moments(options.program, options.record, name, options.samples, options.seed)
        print(f"{name}: the power failed at {moments} moments among {total} changes: no part of an output, the same bytes behind it",
              flush=True)


if __name__ == "__main__":
    sys.exit(main())
