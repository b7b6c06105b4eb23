#!/usr/bin/env python3
"""Logits and greedy tokens of the reference models under options that their own config.json leaves out.

    python3 docs/parity/changed_configs.py ../shared/fixtures/models > crates/models/tests/fixtures/changed_configs.json

The weights are those of models/NAME; `changes` are the keys that are other in its config.json. Made with torch 2.15.0 and
transformers 5.23.0, float32, one thread, eager attention, TORCHDYNAMO_DISABLE=1.
"""
import json
import pathlib
import sys

import torch
from transformers import AutoConfig, AutoModelForCausalLM

NEW_TOKENS = 16
LENGTHS = (16, 32, 33, 64)
KEPT_LOGITS = 48
CHANGES = {
    # Frequencies change behind 32 tokens; 12 of 16 values of a head turn.
    "phi3": {
        "max_position_embeddings": 256,
        "original_max_position_embeddings": 32,
        "rope_parameters": {
            "rope_type": "longrope",
            "rope_theta": 10000.0,
            "partial_rotary_factor": 0.75,
            "short_factor": [1.0, 1.02, 1.05, 1.1, 1.3, 1.7],
            "long_factor": [1.0, 1.5, 2.25, 4.0, 8.5, 16.0],
        },
    },
    "qwen2": {"use_sliding_window": True, "sliding_window": 6, "max_window_layers": 1, "layer_types": None},
    "qwen3": {
        "use_sliding_window": True,
        "sliding_window": 5,
        "layer_types": ["sliding_attention", "full_attention"],
    },
    "gemma2": {
        "attn_logit_softcapping": None,
        "final_logit_softcapping": None,
        "layer_types": ["full_attention", "sliding_attention", "sliding_attention", "full_attention"],
    },
    "gemma3": {
        "final_logit_softcapping": 3.0,
        "layer_types": None,
        "sliding_window_pattern": 2,
        "rope_parameters": {
            "full_attention": {
                "rope_type": "llama3",
                "rope_theta": 500000.0,
                "factor": 8.0,
                "low_freq_factor": 1.0,
                "high_freq_factor": 4.0,
                "original_max_position_embeddings": 32,
            },
            "sliding_attention": {"rope_type": "linear", "rope_theta": 20000.0, "factor": 2.0},
        },
    },
}


def reference(root, name, changes):
    directory = pathlib.Path(root) / "models" / name
    config = json.loads((directory / "config.json").read_text())
    config = AutoConfig.for_model(**(config | json.loads(json.dumps(changes))))
    model = AutoModelForCausalLM.from_pretrained(
        directory, config=config, dtype=torch.float32, attn_implementation="eager"
    ).eval()
    ids = [3 + (31 * i + 7 * (i // 5)) % 300 for i in range(max(LENGTHS))]
    cases = []
    with torch.no_grad():
        for length in LENGTHS:
            logits = model(torch.tensor([ids[:length]])).logits[0, -1, :KEPT_LOGITS]
            cases.append({"length": length, "last_logits": [round(x, 6) for x in logits.tolist()]})
        prompt = ids[:24]
        output = model.generate(
            torch.tensor([prompt]),
            attention_mask=torch.ones(1, len(prompt), dtype=torch.long),
            max_new_tokens=NEW_TOKENS,
            do_sample=False,
            eos_token_id=None,
        )
    greedy = output[0, len(prompt) :].tolist()
    return {"model": name, "changes": changes, "ids": ids, "cases": cases, "prompt": prompt, "greedy": greedy}


def main(root):
    torch.set_num_threads(1)
    result = [reference(root, name, changes) for name, changes in CHANGES.items()]
    json.dump(result, sys.stdout, separators=(",", ":"))
    print()


if __name__ == "__main__":
    main(sys.argv[1])
