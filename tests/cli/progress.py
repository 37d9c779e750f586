"""What a run shows while it works: on a terminal a living line no wider than the screen, at once; elsewhere no control bytes.

Usage: progress.py --program EDGECOMPRESS
"""
import argparse
import os
import pathlib
import pty
import re
import struct
import subprocess
import sys
import tempfile
import termios
import time
from fcntl import ioctl

SOURCE = pathlib.Path(__file__).resolve().parents[2]
CLEAR = "\r\x1b[K"
COLUMNS = 50
SKIPPED = 77


def quantize(program, work, name, *flags):
    return [program, "quantize", "--model", SOURCE / "tests/models/mini-llama", "-o", work / name, "--group-size", "64",
            "--text", SOURCE / "calibration/evaluation.txt", "--windows", "8", *flags]


def on_terminal(command, results_too=False, **environment):
    """What the command writes to a terminal of COLUMNS columns as stderr, or as stdout too, and the second of its first byte."""
    try:
        leader, follower = pty.openpty()
    except OSError as error:
        print(f"skipped: this machine gives no pseudo-terminal ({error})")
        sys.exit(SKIPPED)
    ioctl(follower, termios.TIOCSWINSZ, struct.pack("HHHH", 25, COLUMNS, 0, 0))
    start = time.monotonic()
    run = subprocess.Popen(list(map(str, command)), stdin=subprocess.DEVNULL, stdout=follower if results_too else subprocess.DEVNULL,
                           stderr=follower,
                           env={**os.environ, "TERM": "xterm", **environment})
    os.close(follower)
    shown, first = b"", None
    while True:
        try:
            piece = os.read(leader, 4096)
        except OSError:  # the last writer is gone
            break
        if not piece:
            break
        first = first or time.monotonic() - start
        shown += piece
    os.close(leader)
    if run.wait() != 0:
        sys.exit(f"{command} ended with {run.returncode}: {shown.decode()}")
    return shown.decode(), first


def check(rule, holds, shown):
    if not holds:
        sys.exit(f"not so: {rule}\nshown: {shown!r}")
    print(f"ok: {rule}")


def main():
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--program", required=True)
    program = parser.parse_args().program
    with tempfile.TemporaryDirectory() as folder:
        work = pathlib.Path(folder)
        shown, first = on_terminal(quantize(program, work, "living"))
        lines = [line for line in shown.split(CLEAR) if line]
        check("a terminal shows a line that lives", shown.startswith(CLEAR + "loading") and len(lines) > 4, shown)
        check("it never breaks", all(len(line.rstrip("\r")) < COLUMNS for line in lines) and "\n" not in shown, shown)
        check("some steps are shown with their pace", any(re.search(r" \d+/\d+.* (each|a second)", line) for line in lines), shown)
        check("it is cleared at the end", shown.endswith(CLEAR), shown)
        print(f"the first byte came after {first * 1000:.0f} ms")  # for people: a time is no test
        for command, first_result in ((quantize(program, work, "table"), "stage "),
                                      ([program, "verify", work / "living"], "checked: ")):
            shown, _ = on_terminal(command, results_too=True)
            check(f"{command[1]}'s results stand on lines of their own", CLEAR + first_result in shown, shown)
            check(f"{command[1]} lives before them", " MiB" in shown.partition(CLEAR + first_result)[0], shown)
        shown, _ = on_terminal(quantize(program, work, "dumb"), TERM="dumb")
        check("a dumb terminal gets plain lines", "\x1b" not in shown, shown)
        shown, _ = on_terminal(quantize(program, work, "quiet", "-q"))
        check("-q shows nothing", shown == "", shown)
        piped = subprocess.run(list(map(str, quantize(program, work, "piped", "-v"))), capture_output=True, text=True, check=True)
        check("a pipe gets plain lines", "\x1b" not in piped.stderr and len(piped.stderr.splitlines()) > 4, piped.stderr)


if __name__ == "__main__":
    main()
