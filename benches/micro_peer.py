#!/usr/bin/env python3
"""Kernels of torch and bitsandbytes on the CPU: the rows of the bench `micro`, under its names and in its units.

    PYTHON benches/micro_peer.py
    PYTHON benches/micro_peer.py --only gemm --threads 2

Prints one JSON object. compare_micro.py runs this for one row at a time. Rates are medians over repetitions of at least
0.2 s, as in the bench.
"""

import argparse
import importlib.metadata
import itertools
import json
import statistics
import sys
import time
from functools import partial

import bitsandbytes
import torch
from bitsandbytes.functional import dequantize_4bit, quantize_4bit

# The least that a repetition takes, in seconds.
REPETITION = 0.2

DTYPES = {"f32": torch.float32, "bf16": torch.bfloat16}
DENSE = [(1024, 2048, 768), (1024, 768, 2048), (1024, 32000, 768)]
FOUR_BIT = [(1024, 2048, 768), (1, 4096, 4096)]


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--only", action="append", metavar="NAME-PART",
                        help="only the rows whose names contain this; may be given again")
    parser.add_argument("--threads", type=int, default=0, help="torch's threads; 0 takes its default")
    parser.add_argument("--repeats", type=int, default=5, help="timed repetitions of a row (default 5)")
    args = parser.parse_args()
    if args.threads:
        torch.set_num_threads(args.threads)
    torch.manual_seed(0)
    results = {}
    with torch.no_grad():
        for name, unit, work, calls in rows():
            if args.only is None or any(part in name for part in args.only):
                results[name] = measured(unit, work, calls, args.repeats)
    if not results:
        names = "; ".join(row[0] for row in rows())
        sys.exit(f"--only {', '.join(args.only)}: no row has it in its name; found {names}")
    print(json.dumps({
        "kind": "micro",
        "threads": torch.get_num_threads(),
        "repeats": args.repeats,
        "rows": results,
        "versions": {name: importlib.metadata.version(name) for name in ("torch", "bitsandbytes")},
    }))


def rows():
    """Name, unit, work of a call in billions of the unit, and what makes the calls."""
    for (name, dtype), (m, n, k) in itertools.product(DTYPES.items(), DENSE):
        yield f"gemm {m} x {n} x {k} {name}", "GFLOP/s", 2e-9 * m * n * k, partial(gemm, m, n, k, dtype)
    for scales, is_double in (("plain", False), ("double", True)):
        yield f"nf4 4096x4096 {scales} quantize", "GB/s", 4e-9 * 4096**2, partial(quantize, 4096, is_double)
        for size in (768, 4096):
            yield (f"nf4 {size}x{size} {scales} dequantize", "Gweights/s", 1e-9 * size**2,
                   partial(dequantize, size, is_double))
    for (name, dtype), (m, n, k) in itertools.product(DTYPES.items(), FOUR_BIT):
        yield f"linear4bit {m}, {n}x{k} {name}", "GFLOP/s", 2e-9 * m * n * k, partial(linear4bit, m, n, k, dtype)


def gemm(m, n, k, dtype):
    x, weight = torch.randn(m, k).to(dtype), (torch.randn(n, k) * 0.02).to(dtype)
    yield lambda: torch.nn.functional.linear(x, weight)


def quantize(size, is_double):
    weight = torch.randn(size, size) * 0.02
    yield lambda: quantize_4bit(weight, blocksize=64, quant_type="nf4", compress_statistics=is_double)


def dequantize(size, is_double):
    weight = torch.randn(size, size) * 0.02
    packed, state = quantize_4bit(weight, blocksize=64, quant_type="nf4", compress_statistics=is_double)
    state.dtype = torch.bfloat16
    # There is no `out` on the CPU: the allocator has to give the same memory again.
    yield lambda: dequantize_4bit(packed, state)


def linear4bit(m, n, k, dtype):
    """The layer as it trains, and as it infers where that computes in the row's dtype."""
    nn = bitsandbytes.nn
    layer = nn.Linear4bit(k, n, bias=False, compute_dtype=dtype, compress_statistics=True, quant_type="nf4")
    weight = (torch.randn(n, k) * 0.02).to(dtype)
    layer.weight = nn.Params4bit(weight, requires_grad=False, quant_type="nf4", compress_statistics=True, module=layer)
    layer = layer.to("cpu").train()
    x = torch.randn(m, k).to(dtype)
    yield lambda: layer(x)
    # With AVX-512 BF16 the first call of this mode packs the weight anew, and all calls compute in bf16.
    if dtype == torch.bfloat16:
        layer.eval()
        yield lambda: layer(x)


def measured(unit, work, calls, repeats):
    """The rate of the fastest of the calls, and the medians of all."""
    found = []
    for call in calls():
        repetition(call)
        rates = [work / repetition(call) for _ in range(repeats)]
        found.append({"median": statistics.median(rates), "min": min(rates), "max": max(rates)})
    best = max(found, key=lambda rate: rate["median"])
    return {
        "unit": unit,
        "rate": {key: round(value, 3) for key, value in best.items()},
        "ms_median": round(work / best["median"] * 1e3, 4),
        "modes": [round(rate["median"], 3) for rate in found],
    }


def repetition(call):
    """Calls until REPETITION is over; the seconds of one call."""
    start, calls = time.perf_counter(), 0
    while True:
        call()
        calls += 1
        elapsed = time.perf_counter() - start
        if elapsed >= REPETITION:
            return elapsed / calls


if __name__ == "__main__":
    main()
