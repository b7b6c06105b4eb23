#!/usr/bin/env python3
"""Phi 3 with LongRoPE over a part of each head, short and long, and generation from the one to the other.

    python3 docs/parity/longrope.py ../shared/fixtures/models > crates/models/tests/fixtures/longrope/phi3.json

The weights are those of models/phi3; `changes` are the keys that are other in its config.json. Made with torch 2.15.0 and
transformers 5.23.0, float32, one thread, eager attention, TORCHDYNAMO_DISABLE=1.
"""
import json
import pathlib
import sys

import torch
from transformers import AutoConfig, AutoModelForCausalLM

ORIGINAL = 32
NEW_TOKENS = 16
CHANGES = {
    "max_position_embeddings": 256,
    "original_max_position_embeddings": ORIGINAL,
    "rope_parameters": {
        "rope_type": "longrope",
        "rope_theta": 10000.0,
        "partial_rotary_factor": 0.75,
        "short_factor": [1.0, 1.02, 1.05, 1.1, 1.3, 1.7],
        "long_factor": [1.0, 1.5, 2.25, 4.0, 8.5, 16.0],
    },
}


def main(root):
    torch.set_num_threads(1)
    directory = pathlib.Path(root) / "models" / "phi3"
    config = json.loads((directory / "config.json").read_text())
    config = AutoConfig.for_model(**(config | json.loads(json.dumps(CHANGES))))
    model = AutoModelForCausalLM.from_pretrained(
        directory, config=config, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    ids = [3 + (31 * i + 7 * (i // 5)) % 300 for i in range(2 * ORIGINAL)]
    cases = []
    with torch.no_grad():
        for length in (ORIGINAL // 2, ORIGINAL, ORIGINAL + 1, 2 * ORIGINAL):
            logits = model(torch.tensor([ids[:length]])).logits[0, -1]
            cases.append({"length": length, "last_logits": [round(x, 6) for x in logits.tolist()]})
        prompt = ids[: ORIGINAL - NEW_TOKENS // 2]
        output = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            eos_token_id=None,
        )
    greedy = output[0, len(prompt) :].tolist()
    result = {"changes": CHANGES, "ids": ids, "cases": cases, "prompt": prompt, "greedy": greedy}
    json.dump(result, sys.stdout, separators=(",", ":"))
    print()


if __name__ == "__main__":
    main(sys.argv[1])
