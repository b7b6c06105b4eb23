#!/usr/bin/env python3
"""Copy the small NF4 cases of quant4.safetensors into the committed fixtures.

Reads   ../shared/fixtures/models/bnb/quant4.{safetensors,json}
        (bitsandbytes 0.50.2 quantize_4bit on CPU, torch 2.15.0; made by make_fixtures.py, section bnb)
Writes  crates/models/tests/fixtures/bnb/quant4_small.{safetensors,json}

Left out: FP4, and the 192x256 weight.  Tensors are copied byte for byte, in their order.
Run from anywhere, with the standard library alone:  python3 docs/parity/subset_quant4.py
"""

import json
import struct
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SOURCE = ROOT.parent / "shared" / "fixtures" / "models" / "bnb"
TARGET = ROOT / "crates" / "models" / "tests" / "fixtures" / "bnb"
CODES = {"code.nf4", "code.dynamic_signed"}
LARGE = {"192x256"}
LIMIT = 1_000_000


def read(path):
    """Header (without metadata), metadata and data of a safetensors file."""
    blob = path.read_bytes()
    (length,) = struct.unpack("<Q", blob[:8])
    header = json.loads(blob[8 : 8 + length])
    metadata = header.pop("__metadata__", None)
    return header, metadata, blob[8 + length :]


def wanted(name, cases):
    if name in CODES:
        return True
    if name.startswith("w."):
        return any(case["id"].split(".")[0] == name[2:] for case in cases)
    return any(name.startswith(case["id"] + ".") for case in cases)


def main():
    table = json.loads((SOURCE / "quant4.json").read_text())
    cases = [
        case
        for case in table["cases"]
        if case.get("quant_type") == "nf4" and case["id"].split(".")[0] not in LARGE
    ]
    header, metadata, data = read(SOURCE / "quant4.safetensors")
    chosen, parts, offset = {}, [], 0
    for name, info in sorted(header.items(), key=lambda item: item[1]["data_offsets"]):
        if wanted(name, cases):
            start, end = info["data_offsets"]
            parts.append(data[start:end])
            chosen[name] = {**info, "data_offsets": [offset, offset + end - start]}
            offset += end - start
    if metadata is not None:
        chosen = {"__metadata__": metadata, **chosen}
    text = json.dumps(chosen, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    blob = struct.pack("<Q", len(text)) + text + b"".join(parts)
    if len(blob) > LIMIT:
        raise SystemExit(f"the subset is {len(blob)} bytes, more than {LIMIT}")
    summary = {
        "made_by": "docs/parity/subset_quant4.py",
        "source": "quant4.safetensors (bitsandbytes 0.50.2, torch 2.15.0, CPU)",
        "blocksizes": table["blocksizes"],
        "nested_blocksize": table["nested_blocksize"],
        "cases": cases,
    }
    TARGET.mkdir(parents=True, exist_ok=True)
    (TARGET / "quant4_small.safetensors").write_bytes(blob)
    (TARGET / "quant4_small.json").write_text(json.dumps(summary, indent=1) + "\n")
    print(f"{len(cases)} cases, {len(parts)} tensors, {len(blob)} bytes")


if __name__ == "__main__":
    main()
