#!/usr/bin/env python3
"""Times training steps on an NVIDIA GPU, and keeps them with the tests' results as a dated record.

    python3 benches/record_gpu.py --bench target/gpu/bench/train_step --tests target/gpu/tests.txt --tests-status 0

scripts/gpu-check calls this with what it built. Every row runs the bench `train_step` in a fresh process. After all
rows, where torch, transformers and PEFT import and torch sees the GPU, the peer step_peer.py runs with the same
options, those in 4 bits only where bitsandbytes imports; else the record says why there is no peer. A run ends after
--run-seconds, and all together after --seconds: what is left then is recorded as not run. Everything goes to
benches/record/DATE-gpu-NAME.json, written anew after each run. Status 1: a test failed, the tests did not end, or one
of our rows has no result.
"""

import argparse
import datetime
import os
import re
import subprocess
import sys
import time
from pathlib import Path

from compare_peers import cpu, free_name, last_lines, measured, positive, write

ROOT = Path(__file__).resolve().parent.parent

COMMON = "--device cuda --dtype bf16 --targets qv --batch 4 --seq 256 --steps 5 --warmup 2".split()

ROWS = {
    "1b-bf16-qv": ["--shape", "1b"],
    "7b-bf16-qv": ["--shape", "7b"],
    "1b-bf16-qv-qlora": ["--shape", "1b", "--qlora"],
    "7b-bf16-qv-qlora": ["--shape", "7b", "--qlora"],
}

# Options that the peer takes from a result's configuration.
SHARED = ["hidden", "layers", "heads", "kv_heads", "intermediate", "vocab", "seq", "batch", "r", "alpha", "lr",
          "targets", "dtype", "steps", "warmup"]

PEER = ROOT / "benches" / "step_peer.py"

# What the peer needs, and what it needs for 4 bits. Imports that take longer than the seconds count as failed.
NEEDS = ("torch, transformers, peft", "torch.cuda.is_available()", "torch sees no GPU")
NEEDS_4BIT = ("bitsandbytes", "True", "")
IMPORT_SECONDS = 60

# A run that has less time than this is not started.
LEAST_SECONDS = 10

# What is kept of a run's last words: a panic takes several lines, and a backtrace would push its message out.
LINES = 12
ENVIRONMENT = {"RUST_BACKTRACE": "0"}


def main():
    args = arguments()
    deadline = time.monotonic() + args.seconds
    problem = missing(args.peer_python, *NEEDS)
    problem_4bit = None if problem else missing(args.peer_python, *NEEDS_4BIT)
    record = {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "gpu": gpu(),
        "cpu": cpu(),
        "commit": args.commit,
        "tests": tests(args.tests, args.tests_status),
        "peer": f"no peer: {problem}" if problem else PEER.name,
        "runs": [],
    }
    out = args.out or free_name(record["date"], f"gpu {record['gpu']['name']}")

    def add(row, side, run):
        record["runs"].append({"row": row, "side": side} | run)
        write(out, record)
        print(f"{row:18} {side:4} {summary(run)}", flush=True)
        return run

    write(out, record)
    print(f"tests: {tests_summary(record['tests'])}", flush=True)
    results = {}
    for row, options in ROWS.items():
        run = add(row, "ours", timed([str(args.bench.resolve())] + COMMON + options, args.run_seconds, deadline))
        results[row] = run.get("result")
    for row, result in results.items():
        if problem or result is None:
            continue
        if "--qlora" in ROWS[row] and problem_4bit:
            add(row, "peer", {"status": "not run", "message": f"no peer: {problem_4bit}"})
            continue
        command = [args.peer_python, str(PEER)] + peer_options(result["config"])
        add(row, "peer", timed(command, args.run_seconds, deadline))
    print(record["peer"])
    print(os.path.relpath(out))
    sys.exit(have_failed(record["tests"]) or any(result is None for result in results.values()))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--bench", type=Path, required=True, help="binary of the bench train_step, built with cuda")
    parser.add_argument("--tests", type=Path, metavar="FILE", help="what the tests printed")
    parser.add_argument("--tests-status", type=int, metavar="N", help="the tests' exit status; 124: the time was over")
    parser.add_argument("--commit", help="what was built")
    parser.add_argument("--peer-python", default=sys.executable, metavar="PYTHON",
                        help="what runs step_peer.py (default: what runs this)")
    parser.add_argument("--seconds", type=positive, default=400, help="for all runs together (default 400)")
    parser.add_argument("--run-seconds", type=positive, default=110, help="for one run (default 110)")
    parser.add_argument("--out", type=Path, metavar="FILE", help="the record (default as above)")
    args = parser.parse_args()
    for path in (args.bench, args.tests):
        if path is not None and not path.is_file():
            parser.error(f"{path}: no such file")
    return args


def tests(path, status):
    """How the test programs ended, and what they printed about each test. One that was killed has no closing line."""
    if path is None:
        return None
    text = path.read_text(errors="replace")
    found = re.findall(r"^test (\S+)(?: - should panic)? \.\.\. (ok|FAILED|ignored)", text, re.M)
    names = {kind: sorted(name for name, its in found if its == kind) for kind in ("ok", "FAILED", "ignored")}
    results = re.findall(r"^test result: (.*)$", text, re.M)
    return {"status": status, "ended": bool(results), "passed": names["ok"], "failed": names["FAILED"],
            "ignored": names["ignored"], "results": results}


def tests_summary(found):
    if found is None:
        return "not known"
    end = "" if found["ended"] else ", did not end"
    status = "" if found["status"] is None else f", status {found['status']}"
    return f"{len(found['passed'])} passed, {len(found['failed'])} failed{end}{status}"


def have_failed(found):
    return found is not None and bool(not found["ended"] or found["status"] or found["failed"])


def timed(command, seconds, deadline):
    """`measured`, unless no time is left."""
    seconds = min(seconds, deadline - time.monotonic())
    if seconds < LEAST_SECONDS:
        return {"status": "not run", "message": "no time was left"}
    return measured(command, ENVIRONMENT, seconds, LINES)


def missing(python, modules, condition, otherwise):
    """Why there is no peer, or None: the modules do not import, or the condition does not hold."""
    program = f"import sys, {modules}; {condition} or sys.exit({otherwise!r})"
    try:
        done = subprocess.run([python, "-c", program], timeout=IMPORT_SECONDS, capture_output=True, text=True)
    except subprocess.TimeoutExpired:
        return f"{modules}: the import took over {IMPORT_SECONDS} s"
    except OSError as error:
        return str(error)
    return None if done.returncode == 0 else last_lines(done.stderr)


def peer_options(config):
    """The options of the peer that give what `config` says of our run."""
    options = [f"--{key.replace('_', '-')}={config[key]}" for key in SHARED]
    flags = (["--qlora"] if config["qlora"] else []) + ([] if config["tied"] else ["--untied"])
    return options + flags + ["--device=cuda"]


def gpu():
    """The first GPU as nvidia-smi names it."""
    command = ["nvidia-smi", "--query-gpu=name,memory.total,driver_version", "--format=csv,noheader,nounits"]
    try:
        done = subprocess.run(command, capture_output=True, text=True)
    except OSError:
        return {"name": "unknown"}
    fields = done.stdout.strip().splitlines()[0].split(", ") if done.returncode == 0 and done.stdout.strip() else []
    return dict(zip(("name", "memory_mb", "driver"), fields)) or {"name": "unknown"}


def summary(run):
    if run["status"] != "ok":
        return f"{run['status']}: {run.get('message', '')}"
    result = run["result"]
    memory = f", {result['gpu_peak_mb']} MiB on the GPU" if result.get("gpu_peak_mb") else ""
    return f"{result['tok_s_median']:.0f} tokens/s{memory}"


if __name__ == "__main__":
    main()
