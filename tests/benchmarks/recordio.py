"""What framing and unframing records costs, beside joining and reading the same bytes, all in one run.

    python tests/benchmarks/recordio.py [--megabytes 100] [--size 12000] [--runs 5]

Example: python tests/benchmarks/recordio.py --megabytes 200

Records of 12 kB are framed into one buffer; the peer joins the same payloads with nothing between them. They
are read back out of the buffer, and out of a stream; the peer of the latter reads the stream and looks at
nothing. Figures are medians of MB per second of CPU; each program runs once before it is measured.

Ends with 1 if a bar is missed: framing at a third of joining; reading in place at five times of it, because
nothing may be copied; reading a stream at a third of reading alone. Fewer than 50 MB are no measurement, and
are held against no bar.
"""

from __future__ import annotations

import argparse
import io
import random
import statistics
import sys
import time
from collections.abc import Callable

from gtlabel.recordio import decode, encode, encode_all, read_records, read_views

FEWEST_TO_JUDGE = 50
_CHUNK = 1 << 20


def drain(wire: bytes) -> None:
    """Read a stream a megabyte at a time, and look at nothing."""
    stream = io.BytesIO(wire)
    while stream.read(_CHUNK):
        pass


def exhaust(items: object) -> None:
    for _ in items:  # type: ignore[attr-defined]
        pass


def measure(programs: dict[str, Callable[[], object]], size: int, runs: int) -> dict[str, float]:
    """The median rate of each program, in bytes per second of CPU; they take turns."""
    seconds: dict[str, list[float]] = {name: [] for name in programs}
    for run in range(runs + 1):
        for name, program in programs.items():
            before = time.process_time()
            program()
            if run:
                seconds[name].append(time.process_time() - before)
    return {name: size / statistics.median(times) for name, times in seconds.items()}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawTextHelpFormatter)
    parser.add_argument("--megabytes", type=int, default=100)
    parser.add_argument("--size", type=int, default=12_000, help="of a record, in bytes")
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    chance = random.Random(7)
    count = max(1, options.megabytes * 1_000_000 // options.size)
    payloads = [chance.randbytes(options.size) for _ in range(count)]
    total = count * options.size
    wire = encode_all(payloads)
    assert wire == b"".join(map(encode, payloads))
    assert list(decode(wire)) == list(read_views(io.BytesIO(wire))) == payloads
    programs: dict[str, Callable[[], object]] = {
        "join": lambda: b"".join(payloads),
        "encode_all": lambda: encode_all(payloads),
        "encode, one by one": lambda: b"".join([encode(payload) for payload in payloads]),
        "decode": lambda: exhaust(decode(wire)),
        "read": lambda: drain(wire),
        "read_views": lambda: exhaust(read_views(io.BytesIO(wire))),
        "read_records": lambda: exhaust(read_records(io.BytesIO(wire))),
    }
    rates = measure(programs, total, options.runs)
    bars = {
        "encode_all": ("join", 1 / 3),
        "decode": ("join", 5.0),
        "read_views": ("read", 1 / 3),
    }
    print(f"{count} records of {options.size} bytes; medians of {options.runs}, per second of CPU")
    print(f"{'program':<20}{'MB/s':>10}{'of its peer':>14}{'bar':>8}")
    missed = False
    for name, rate in rates.items():
        peer, bar = bars.get(name, ("", 0.0))
        share = rate / rates[peer] if peer else 0.0
        beside = f"{share:>14.2f}{bar:>8.2f}" if peer else ""
        print(f"{name:<20}{rate / 1e6:>10,.0f}{beside}")
        missed |= bool(peer) and share < bar
    return int(missed and options.megabytes >= FEWEST_TO_JUDGE)


if __name__ == "__main__":
    sys.exit(main())
