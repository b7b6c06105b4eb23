#!/usr/bin/env python3
"""Compares training steps with torch + transformers + peft + bitsandbytes on the same CPU, shapes and threads.

    python3 benches/compare_peers.py --peer-python PYTHON --peer-script bench_peft.py
    python3 benches/compare_peers.py ... --rows f32-qv bf16-qv --steps 5 --timeout 900
    python3 benches/compare_peers.py --table benches/record/DATE-CPU.json

Ours (the bench `train_step`) and the peer (a program with bench_peft.py's options and JSON) run in turn, each in a
fresh process: ours, peer, ours, peer, ... The peer's speed is measured with glibc's allocator set to keep its blocks,
which is where it is fastest; its memory in one more, shorter run per row with the allocator's defaults, where it takes
least. Every run goes to benches/record/DATE-CPU.json, with what other processes took of the machine meanwhile. All rows
take over an hour. compare_micro.py compares kernels.
"""

import argparse
import datetime
import json
import os
import platform
import re
import resource
import statistics
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent

# Blocks of any size come from the heap and stay there, so that no step pays for page faults again.
TUNED = {
    "MALLOC_MMAP_THRESHOLD_": "4000000000",
    "MALLOC_TRIM_THRESHOLD_": "8000000000",
    "MALLOC_TOP_PAD_": "500000000",
}

# Options that both programs have, and whether activations are checkpointed, which they spell differently.
ROWS = {
    "f32-qv": ("--dtype f32 --targets qv", False),
    "bf16-qv": ("--dtype bf16 --targets qv", False),
    "bf16-all": ("--dtype bf16 --targets all-linear", False),
    "bf16-qv-qlora": ("--dtype bf16 --targets qv --qlora", False),
    "bf16-all-qlora-ckpt": ("--dtype bf16 --targets all-linear --qlora", True),
    "bf16-qv-ckpt": ("--dtype bf16 --targets qv", True),
    "bf16-full": ("--dtype bf16 --targets full", False),
    "bf16-qv-2048": ("--dtype bf16 --targets qv --seq 2048 --batch 1", False),
}

# Steps of the run for memory: in the last one gradients, moments and activations exist together.
MEMORY_STEPS = ["--warmup=1", "--steps=2"]

# Other processes' share of the CPUs above which a run is marked as disturbed.
QUIET = 0.05


def main():
    args = arguments()
    if args.table:
        print(table(json.loads(args.table.read_text())))
        return
    ours = [str(args.ours or build("train_step"))]
    peer = [args.peer_python, str(args.peer_script)]
    record = new_record(args, "rounds", "steps", "warmup")
    out = args.out or free_name(record["date"], record["cpu"])
    for row in args.rows:
        shared, is_checkpointed = ROWS[row]
        shared = shared.split() + [f"--{key}={getattr(args, key)}" for key in ("threads", "steps", "warmup")]
        own = shared + (["--grad-ckpt", args.ours_ckpt] if is_checkpointed else [])
        theirs = shared + (["--grad-ckpt"] if is_checkpointed else [])
        turns = [("ours", "default", ours + own, {}), ("peer", "tuned", peer + theirs, TUNED)] * args.rounds
        turns.append(("peer", "default", peer + theirs + MEMORY_STEPS, {}))
        for run in taken(row, turns, args.timeout):
            record["runs"].append(run)
            write(out, record)
            print(f"{row:20} {run['side']:4} {run['allocator']:7} {summary(run)}", file=sys.stderr)
    print(table(record))
    print(f"\n{os.path.relpath(out)}", file=sys.stderr)


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", nargs="+", choices=list(ROWS), default=list(ROWS), metavar="ROW",
                        help=f"which rows; default all: {', '.join(ROWS)}")
    parser.add_argument("--steps", type=positive, default=10, help="timed steps per run, at least 5 (default 10)")
    parser.add_argument("--warmup", type=positive, default=2, help="steps before them (default 2)")
    parser.add_argument("--ours-ckpt", choices=["block", "block-attention"], default="block",
                        help="how ours checkpoints in rows that do (default block)")
    parser.add_argument("--peer-script", type=Path, metavar="PATH", help="the peer's program, bench_peft.py")
    add_common(parser, "train_step", timeout=1800)
    args = parser.parse_args()
    if args.table is None and not (args.peer_python and args.peer_script):
        parser.error("--peer-python and --peer-script are needed, or --table")
    check_files(parser, args)
    if args.steps < 5:
        parser.error(f"--steps {args.steps}: a median needs at least 5")
    return args


def add_common(parser, bench, timeout):
    """The options of every comparison."""
    parser.add_argument("--rounds", type=positive, default=5, help="pairs of runs per row (default 5)")
    parser.add_argument("--threads", type=positive, default=len(os.sched_getaffinity(0)),
                        help="threads of both (default: the CPUs of this process)")
    parser.add_argument("--timeout", type=positive, default=timeout, help=f"seconds for one run (default {timeout})")
    parser.add_argument("--ours", type=Path, help=f"binary of the bench {bench} (default: built by cargo)")
    parser.add_argument("--peer-python", metavar="PATH", help="Python that has torch, transformers, peft, bitsandbytes")
    parser.add_argument("--out", type=Path, help="the record (default: a new file in benches/record)")
    parser.add_argument("--table", type=Path, metavar="FILE.json", help="only print the table of a record")


def check_files(parser, args):
    for path in (args.table, args.ours, args.peer_script):
        if path is not None and not path.is_file():
            parser.error(f"{path}: no such file")


def positive(text):
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"found {text!r}, wanted an integer above 0")
    return int(text)


def build(bench):
    """The binary of a bench."""
    command = ["cargo", "bench", "-p", "burnisher-benches", "--bench", bench, "--no-run", "--message-format=json"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    if done.returncode != 0:
        sys.exit(f"the bench {bench} does not build; --ours takes a binary")
    for line in done.stdout.splitlines():
        message = json.loads(line)
        if message.get("executable") and message["target"]["name"] == bench:
            return message["executable"]
    sys.exit(f"cargo named no binary of the bench {bench}; --ours takes one")


def new_record(args, *options):
    """A record without runs, of this machine and of the options that shape its results."""
    record = {
        "date": datetime.datetime.now(datetime.timezone.utc).date().isoformat(),
        "cpu": cpu(),
        "commit": commit(),
        "threads": args.threads,
    }
    return record | {name: getattr(args, name) for name in options} | {"timeout_s": args.timeout, "runs": []}


def taken(row, turns, timeout, left_out=()):
    """Runs (side, allocator, command, environment) one after the other, and yields what each measured.

    What failed once, or was too slow, would only be so again: it is left out from then on. With another allocator it
    is tried, because that run may be shorter.
    """
    gone = set(left_out)
    for number, (side, allocator, command, environment) in enumerate(turns):
        if (side, allocator) in gone:
            continue
        run = {"row": row, "round": number // 2, "side": side, "allocator": allocator}
        run |= measured(command, environment, timeout)
        if run["status"] != "ok":
            gone.add((side, allocator))
        yield run


def measured(command, environment, timeout, lines=1):
    """Runs a program that prints one JSON object; how it went, the object, and who else used the machine.

    What went wrong is told by the last `lines` of its standard error.
    """
    before, own, start = busy_seconds(), child_seconds(), time.monotonic()
    try:
        done = subprocess.run(command, env=os.environ | environment, timeout=timeout, capture_output=True, text=True,
                              errors="replace")
    except subprocess.TimeoutExpired as expired:
        message = last_lines(expired.stderr, lines)
        return {"status": "timeout", "wall_s": round(time.monotonic() - start, 1), "message": message}
    wall = time.monotonic() - start
    others = (busy_seconds() - before) - (child_seconds() - own)
    run = {"wall_s": round(wall, 1), "others_share": round(max(0.0, others / wall / (os.cpu_count() or 1)), 3)}
    if done.returncode != 0:
        return run | {"status": "failed", "message": f"exit {done.returncode}: {last_lines(done.stderr, lines)}"}
    result = last_object(done.stdout)
    if result is None:
        return run | {"status": "failed", "message": "no JSON on standard output"}
    return run | {"status": "ok", "result": result}


def last_lines(text, count=1):
    # What a timeout leaves is bytes, or nothing.
    if isinstance(text, bytes):
        text = text.decode(errors="replace")
    return "\n".join((text or "").strip().splitlines()[-count:]) or "no message"


def last_object(text):
    """The JSON object in the last line, or None."""
    try:
        found = json.loads(last_lines(text))
    except ValueError:
        return None
    return found if isinstance(found, dict) else None


def busy_seconds():
    """CPU time of the whole machine that was not idle, guests and steal included."""
    user, nice, system, _, _, irq, softirq, steal = map(int, first_line("/proc/stat").split()[1:9])
    return (user + nice + system + irq + softirq + steal) / os.sysconf("SC_CLK_TCK")


def child_seconds():
    usage = resource.getrusage(resource.RUSAGE_CHILDREN)
    return usage.ru_utime + usage.ru_stime


def first_line(path):
    with open(path) as file:
        return file.readline()


def cpu():
    """The processor's name with family and model, because virtual machines shorten names."""
    fields = dict(re.findall(r"^(model name|cpu family|model)\s*:\s*(.*)$", Path("/proc/cpuinfo").read_text(), re.M))
    name = fields.get("model name", platform.machine())
    return f"{name} (family {fields.get('cpu family', '?')}, model {fields.get('model', '?')})"


def commit():
    command = ["git", "describe", "--always", "--dirty", "--exclude=*"]
    done = subprocess.run(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, text=True)
    return done.stdout.strip() or None


def free_name(date, name, prefix=""):
    """A path that no earlier record has."""
    slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
    names = (f"{prefix}{date}-{slug}{end}.json" for end in [""] + [f"-{n}" for n in range(2, 1000)])
    return next(path for path in (ROOT / "benches" / "record" / name for name in names) if not path.exists())


def write(path, record):
    """Whole or not at all: an interrupted comparison keeps what it has."""
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".tmp")
    partial.write_text(json.dumps(record, indent=1) + "\n")
    partial.replace(path)


def summary(run):
    if run["status"] != "ok":
        return run["status"] + (f" ({run['message']})" if "message" in run else "")
    disturbed = f", others used {run['others_share']:.0%}" if run["others_share"] > QUIET else ""
    return f"{rate(run):.0f} tokens/s, {peak(run) or 0:.0f} MiB{disturbed}"


def peak(run):
    result = run["result"]
    return result["peak_mb"] if run["side"] == "ours" else result["rss_mb"]["peak"]


def growth(run):
    """What training took above the loaded model."""
    result = run["result"]
    if run["side"] == "ours":
        return result["growth_mb"]
    return result["rss_mb"]["peak"] - result["rss_mb"]["before_train"]


def table(record):
    """The record as Markdown."""
    lines = [head(record, f"{record['rounds']} rounds of {record['steps']} steps"), "",
             "| row | tokens/s ours | peer | **ours / peer** | peak MiB ours | peer | **ours / peer** "
             "| growth MiB ours | peer | **ours / peer** |",
             "|---|---|---|---|---|---|---|---|---|---|"]
    for row in dict.fromkeys(run["row"] for run in record["runs"]):
        runs = [run for run in record["runs"] if run["row"] == row]
        ours, fast, lean = (
            {run["round"]: run for run in runs if (run["side"], run["allocator"]) == kind}
            for kind in (("ours", "default"), ("peer", "tuned"), ("peer", "default"))
        )
        speed = [cell(side, rate, statistics.median) for side in (ours, fast)]
        pairs = [rate(ours[n]) / rate(fast[n]) for n in ours if is_ok(ours[n]) and is_ok(fast.get(n))]
        cells = speed + [f"**{statistics.median(pairs):.2f}**" if pairs else "-"]
        # The largest of ours against the peer's one run: the less favourable choice.
        for size in (peak, growth):
            cells += [cell(side, size, max) for side in (ours, lean)]
            most = [max(numbers(side, size), default=0) for side in (ours, lean)]
            cells.append(f"**{most[0] / most[1]:.2f}**" if min(most) > 0 else "-")
        lines.append(f"| {row} | " + " | ".join(cells) + " |")
    lines += ["",
              "Speed: medians over the rounds, the ratio that of the pairs; the peer with a tuned allocator. Memory: "
              "the largest of ours; the peer's is from a shorter run (1 warm-up and 2 steps) with the allocator's "
              "defaults. Growth: the peak above the loaded model. Peaks include the program itself and making the "
              "model, which the peer holds in the row's dtype before it quantizes."]
    return "\n".join(lines + notes(record))


def notes(record):
    """What went wrong, for below a table."""
    lines = []
    failures = {f"- {run['row']}, {run['side']}: {run['message']}": None
                for run in record["runs"] if run["status"] == "failed"}
    if failures:
        lines += ["", "Failed:", *failures]
    disturbed = sum(run.get("others_share", 0) > QUIET for run in record["runs"])
    if disturbed:
        runs = len(record["runs"])
        lines += ["", f"In {disturbed} of {runs} runs other processes used more than {QUIET:.0%} of the CPUs."]
    return lines


def head(record, extent):
    parts = [record["date"], record["cpu"], f"{record['threads']} threads", extent]
    for side in ("ours", "peer"):
        results = [run["result"] for run in record["runs"] if run["side"] == side and is_ok(run)]
        if results:
            if side == "ours":
                parts.insert(2, " ".join(results[0]["cpu"]["instruction_sets"]) or "no known instruction set")
            parts.append(", ".join(f"{name} {version}" for name, version in results[0]["versions"].items()))
    if record.get("commit"):
        parts.append(f"commit {record['commit']}")
    return " · ".join(parts)


def is_ok(run):
    return run is not None and run["status"] == "ok"


def rate(run):
    return run["result"]["tok_s_median"]


def numbers(runs, value):
    """What the runs that ended well know of a value."""
    values = [value(run) for run in runs.values() if is_ok(run)]
    return [value for value in values if value is not None]


def cell(runs, value, combine):
    """One side's number, or why there is none."""
    values = numbers(runs, value)
    if values:
        return f"{combine(values):.0f}"
    last = next(reversed(runs.values()), None)
    if last is None:
        return "not run"
    return {"ok": "unknown", "timeout": f"over {last['wall_s']:.0f} s"}.get(last["status"], last["status"])


if __name__ == "__main__":
    main()
