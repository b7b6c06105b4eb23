#!/usr/bin/env python3
"""How far PyTorch's own bf16 and f16 are from the f32 fixtures, to judge ours by.

    python3 docs/parity/bf16.py crates/models/tests/fixtures

Prints for each variant ‖16 bits − f32‖ / ‖f32‖ of the logits and of all adapter gradients, with eager attention and f32
adapters as PEFT makes them; in f16 the loss is scaled by 1024. crates/train/tests/it/bf16.rs and f16.rs measure the same of
Burnisher. Made with torch 2.15.0,
transformers 5.23.0 and PEFT 0.21.2.
"""
import pathlib
import sys

import torch
from peft import PeftModel
from safetensors.torch import load_file
from transformers import AutoModelForCausalLM

VARIANTS = [
    ("llama2", "lora_qv"),
    ("llama2", "lora_all_linear"),
    ("llama2", "r1_high_alpha"),
    ("llama3", "lora_qv"),
    ("llama-sharded", "lora_qv"),
    ("mistral", "lora_qv"),
    ("gemma", "lora_qv"),
]


def error(got, want):
    got, want = got.double().flatten(), want.double().flatten()
    return float((got - want).norm() / want.norm())


def measure(root, model, variant, dtype):
    adapter = root / "peft" / model / variant
    reference = load_file(adapter / "reference.safetensors")
    batch = load_file(root / "base" / f"{model}.safetensors")
    base = AutoModelForCausalLM.from_pretrained(
        root / "models" / model, dtype=dtype, attn_implementation="eager"
    )
    adapted = PeftModel.from_pretrained(base, adapter, is_trainable=True)
    out = adapted(
        input_ids=batch["input_ids"].long(),
        attention_mask=batch["attention_mask"].long(),
        labels=batch["labels"].long(),
    )
    scale = 1024 if dtype == torch.float16 else 1
    (out.loss * scale).backward()
    trained = {name: p for name, p in adapted.named_parameters() if p.requires_grad}
    got = torch.cat([p.grad.float().flatten() / scale for p in trained.values()])
    want = torch.cat([reference["grad." + name.replace(".default", "")].flatten() for name in trained])
    logits = reference["logits_seq0"]
    return error(out.logits[0].float().reshape(logits.shape), logits), error(got, want)


def main():
    root = pathlib.Path(sys.argv[1])
    for model, variant, dtype in [(*of, dtype) for dtype in (torch.bfloat16, torch.float16) for of in VARIANTS]:
        logits, gradients = measure(root, model, variant, dtype)
        print(f"{model}/{variant} {dtype}: logits {logits:.1e}, gradients {gradients:.1e}")


if __name__ == "__main__":
    main()
