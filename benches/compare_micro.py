#!/usr/bin/env python3
"""Compares kernels with torch and bitsandbytes on the same CPU and threads: products, NF4 and back, NF4 projections.

    python3 benches/compare_micro.py --peer-python PYTHON
    python3 benches/compare_micro.py --peer-python PYTHON --skip-peer-bf16 --rows gemm "linear4bit 1024"
    python3 benches/compare_micro.py --peer-python PYTHON --peer-script bench_peft.py --timeout 3600
    python3 benches/compare_micro.py --table benches/record/micro-DATE-CPU.json

Ours (the bench `micro`) and the peer (micro_peer.py) run in turn, each in a fresh process for each row. bench_peft.py
in the peer's place measures all its kernels at once (a few minutes, far longer without AVX-512); ours then runs all
rows at once, too. The peer's allocator keeps its blocks, as for speed in compare_peers.py. Every run goes to
benches/record/micro-DATE-CPU.json, where a rate is null if there is none.
"""

import argparse
import json
import os
import statistics
import sys
from pathlib import Path

from compare_peers import (QUIET, TUNED, add_common, build, check_files, free_name, head, is_ok, new_record, notes,
                           positive, taken, write)

# The rows and the ratio that ours is to reach.
FLOORS = {
    "gemm 1024 x 2048 x 768 bf16": 1.0,
    "gemm 1024 x 768 x 2048 bf16": 1.0,
    "gemm 1024 x 32000 x 768 bf16": 1.0,
    "gemm 1024 x 2048 x 768 f32": 1.75,
    "gemm 1024 x 768 x 2048 f32": 1.75,
    "gemm 1024 x 32000 x 768 f32": 1.75,
    "nf4 4096x4096 plain quantize": 10.0,
    "nf4 4096x4096 double quantize": 10.0,
    "nf4 768x768 plain dequantize": 1.0,
    "nf4 768x768 double dequantize": 1.0,
    "nf4 4096x4096 plain dequantize": 1.0,
    "nf4 4096x4096 double dequantize": 1.0,
    "linear4bit 1024, 2048x768 bf16": 1.2,
    "linear4bit 1024, 2048x768 f32": 1.2,
    "linear4bit 1, 4096x4096 bf16": 1.0,
    "linear4bit 1, 4096x4096 f32": 1.0,
}


def main():
    args = arguments()
    if args.table:
        print(table(json.loads(args.table.read_text())))
        return
    rows = [row for row in FLOORS if any(part in row for part in args.rows)]
    ours = [str(args.ours or build("micro")), f"--threads={args.threads}", f"--repeats={args.repeats}"]
    peer = [args.peer_python, str(args.peer_script or Path(__file__).with_name("micro_peer.py")),
            f"--threads={args.threads}"]
    peer += ["--micro"] if args.peer_script else [f"--repeats={args.repeats}"]
    record = new_record(args, "rounds", "repeats")
    out = args.out or free_name(record["date"], record["cpu"], "micro-")
    for group in [rows] if args.peer_script else [[row] for row in rows]:
        only = [f"--only={row}" for row in group]
        turns = [("ours", "default", ours + only, {}),
                 ("peer", "tuned", peer + ([] if args.peer_script else only), TUNED)] * args.rounds
        left_out = [("peer", "tuned")] if args.skip_peer_bf16 and is_bf16(group[0]) else []
        for run in taken(group[0] if len(group) == 1 else "all", turns, args.timeout, left_out):
            run["rates"] = dict.fromkeys(group) | {row: rate for row, rate in rates(run).items() if row in group}
            record["runs"].append(run)
            write(out, record)
            print(f"{run['row']:32} {run['side']:4} {summary(run)}", file=sys.stderr)
    print(table(record))
    print(f"\n{os.path.relpath(out)}", file=sys.stderr)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", default=[""], metavar="NAME-PART",
                        help=f"the rows whose names contain one of these; default all: {'; '.join(FLOORS)}")
    parser.add_argument("--repeats", type=positive, default=5, help="repetitions per run, at least 5 (default 5)")
    parser.add_argument("--skip-peer-bf16", action="store_true",
                        help="leave out the peer's products in bf16, which take minutes without AVX-512")
    parser.add_argument("--peer-script", type=Path, metavar="PATH", help="bench_peft.py (default: micro_peer.py)")
    add_common(parser, "micro", timeout=900)
    args = parser.parse_args()
    if args.table is None and not args.peer_python:
        parser.error("--peer-python is needed, or --table")
    check_files(parser, args)
    for part in args.rows:
        if not any(part in row for row in FLOORS):
            parser.error(f"--rows {part}: no row has it in its name; found {'; '.join(FLOORS)}")
    if args.repeats < 5:
        parser.error(f"--repeats {args.repeats}: a median needs at least 5")
    if args.skip_peer_bf16 and args.peer_script:
        parser.error("--skip-peer-bf16 with --peer-script: bench_peft.py has no option to leave rows out")
    return args


def is_bf16(row):
    """Whether a row multiplies in bf16."""
    return row.endswith(" bf16")


def rates(run):
    """{row: rate} of what a run measured."""
    if not is_ok(run):
        return {}
    result = run["result"]
    if "gemm" in result:
        return dict(rates_of_bench_peft(result))
    return {name: row["rate"]["median"] for name, row in result["rows"].items()}


def rates_of_bench_peft(result):
    for gemm in result["gemm"]:
        yield "gemm {m} x {n} x {k} {dtype}".format(**gemm), gemm["gflops_median"]
    for nf4 in result["nf4"]:
        (n, k), scales = nf4["shape"], "double" if nf4["double_quant"] else "plain"
        yield f"{nf4['type']} {n}x{k} {scales} quantize", nf4["quant_GBps_f32in_median"]
        yield f"{nf4['type']} {n}x{k} {scales} dequantize", nf4["dequant_bf16_Gweights_s_median"]
    for layer in result["linear4bit"]:
        # Inference may compute in bf16, whatever the dtype.
        modes = ["train_mode_forward_gflops"] + ["eval_forward_gflops"] * (layer["dtype"] == "bf16")
        yield "linear4bit {m}, {n}x{k} {dtype}".format(**layer), max(layer[mode] for mode in modes if mode in layer)


def summary(run):
    if not is_ok(run):
        return run["status"] + (f" ({run['message']})" if "message" in run else "")
    known = {row: rate for row, rate in run["rates"].items() if rate is not None}
    count = f"{len(known)} of {len(run['rates'])} rows"
    text = f"{shown(*known.values())} {unit(*known)}" if len(known) == 1 else count
    return text + (f", others used {run['others_share']:.0%}" if run["others_share"] > QUIET else "")


def table(record):
    """The record as Markdown."""
    extent = f"{record['rounds']} rounds of {record['repeats']} repetitions"
    # bench_peft.py chooses its own.
    if any(run["side"] == "peer" and is_ok(run) and "gemm" in run["result"] for run in record["runs"]):
        extent += " (ours)"
    lines = [head(record, extent), "",
             "| row | unit | ours | peer | **ours / peer** | floor | |",
             "|---|---|---|---|---|---|---|"]
    for row in dict.fromkeys(row for run in record["runs"] for row in run["rates"]):
        runs = [run for run in record["runs"] if row in run["rates"]]
        ours, peer = ({run["round"]: run["rates"][row] for run in runs if run["side"] == side}
                      for side in ("ours", "peer"))
        pairs = [ours[n] / peer[n] for n in ours if ours[n] and peer.get(n)]
        cells = [cell([run for run in runs if run["side"] == side], row) for side in ("ours", "peer")]
        if pairs:
            ratio = statistics.median(pairs)
            cells += [f"**{ratio:.2f}**", f"{FLOORS[row]:g}", "below" if ratio < FLOORS[row] else ""]
        else:
            cells += ["-", f"{FLOORS[row]:g}", ""]
        lines.append(f"| {row} | {unit(row)} | " + " | ".join(cells) + " |")
    lines += ["",
              "Medians over the rounds, the ratio that of the pairs; the peer with a tuned allocator. `M x N x K` and "
              "`M, NxK`: M tokens, K values in, N out. NF4 projections in bf16: the faster of the peer's two modes, "
              "training and inference; in f32: training."]
    return "\n".join(lines + notes(record))


def unit(row):
    if row.endswith("dequantize"):
        return "G weights/s"
    return "GB/s of f32" if row.endswith("quantize") else "GFLOP/s"


def cell(runs, row):
    """One side's rate, or why there is none."""
    known = [run["rates"][row] for run in runs if run["rates"][row] is not None]
    if known:
        return shown(statistics.median(known))
    if not runs:
        return "not run"
    last = runs[-1]
    return {"ok": "lacks it", "timeout": f"over {last['wall_s']:.0f} s"}.get(last["status"], last["status"])


def shown(rate):
    """To three digits or all before the point."""
    return f"{rate:.0f}" if rate >= 100 else f"{rate:.3g}"


if __name__ == "__main__":
    main()
