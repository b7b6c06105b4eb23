#!/usr/bin/env python3
"""Keeps the results of the criterion benches as a dated record, and compares later results with one.

    cargo bench -p burnisher-benches --bench projection
    python3 benches/record_kernels.py
    python3 benches/record_kernels.py --compare benches/record/kernels-CPU-DATE.json

Without --compare, the newest results under target/criterion go to benches/record/kernels-CPU-DATE.json. A record of the
same day and commit keeps what was not measured again; one of another commit is replaced. Times are medians; throughput
is per second, in the unit of the bench. With --compare, nothing is written.
"""

import argparse
import datetime
import json
import os
import re
import sys
import time
from pathlib import Path

from compare_peers import commit, cpu, write

ROOT = Path(__file__).resolve().parent.parent

# What a ratio of times must exceed to be flagged.
SLOWER = 1.15


def main():
    args = arguments()
    now = measured(args.criterion, args.hours)
    if not now:
        sys.exit(f"no results of the last {args.hours:g} hours under {args.criterion}; run cargo bench first")
    if args.compare:
        print(table(now, json.loads(args.compare.read_text())))
        return
    path = args.out or named(ROOT / "benches" / "record")
    old = json.loads(path.read_text()) if path.exists() else {}
    kept = old["kernels"] if old.get("commit") == commit() else {}
    record = {
        "date": today(),
        "cpu": cpu(),
        "threads": threads(),
        "commit": commit(),
        "kernels": dict(sorted((kept | now).items())),
    }
    path.parent.mkdir(parents=True, exist_ok=True)
    write(path, record)
    print(f"{os.path.relpath(path)}: {len(now)} results, {len(record['kernels'])} in all")


def arguments():
    target = Path(os.environ.get("CARGO_TARGET_DIR", ROOT / "target"))
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--compare", type=Path, metavar="FILE", help="a record to compare the results with")
    parser.add_argument("--criterion", type=Path, default=target / "criterion", metavar="DIR",
                        help="where criterion left its results (default target/criterion)")
    parser.add_argument("--hours", type=float, default=24.0, help="leave out older results (default 24)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the record (default as above)")
    args = parser.parse_args()
    if args.compare is not None and not args.compare.is_file():
        parser.error(f"{args.compare}: no such file")
    return args


def measured(folder, hours):
    """{name: {median_ns, throughput}} of what was measured in the last hours."""
    found = {}
    for path in sorted(folder.glob("**/new/estimates.json")):
        if path.stat().st_mtime < time.time() - hours * 3600:
            continue
        bench = json.loads(path.with_name("benchmark.json").read_text())
        median = json.loads(path.read_text())["median"]["point_estimate"]
        found[bench["full_id"]] = {"median_ns": round(median, 1), "throughput": throughput(bench, median)}
    return found


def throughput(bench, median):
    """{unit: amount per second}, or null for a bench without one."""
    amounts = bench.get("throughput") or {}
    rates = {f"{unit.lower()}/s": float(f"{amount * 1e9 / median:.6g}")
             for unit, amount in amounts.items() if isinstance(amount, int)}
    return rates or None


def table(now, record):
    """Times now over those of the record, as Markdown."""
    lines = [f"{record['date']} · {record['cpu']} · {record['threads']} threads · commit {record['commit']}", ""]
    if (record["cpu"], record["threads"]) != (cpu(), threads()):
        lines += [f"Not the same machine: now {cpu()} · {threads()} threads", ""]
    lines += ["| bench | record | now | now / record | |", "|---|---|---|---|---|"]
    before, slower = record["kernels"], 0
    both = [name for name in now if name in before]
    for name in both:
        old, new = before[name]["median_ns"], now[name]["median_ns"]
        is_slower = new / old > SLOWER
        slower += is_slower
        flag = "**slower**" if is_slower else ""
        lines.append(f"| {name} | {old / 1e6:.3f} ms | {new / 1e6:.3f} ms | {new / old:.2f} | {flag} |")
    lines += ["", f"{slower} of {len(both)} more than {SLOWER - 1:.0%} slower; {len(now) - len(both)} not in the "
                  f"record, {len(before) - len(both)} of the record not measured"]
    return "\n".join(lines)


def threads():
    return int(os.environ.get("RAYON_NUM_THREADS") or 0) or len(os.sched_getaffinity(0))


def named(folder):
    slug = re.sub(r"[^a-z0-9]+", "-", cpu().lower()).strip("-")
    return folder / f"kernels-{slug}-{today()}.json"


def today():
    return datetime.datetime.now(datetime.timezone.utc).date().isoformat()


if __name__ == "__main__":
    main()
