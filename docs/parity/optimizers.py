"""Writes crates/train/tests/fixtures/optimizers.json: a few steps of each optimizer, the groups of LoRA+, and the
sequence of loss scales, as torch, bitsandbytes, transformers and peft compute them on the CPU.

    python docs/parity/optimizers.py

Made with torch 2.15.0, bitsandbytes 0.50.2, transformers 5.23 and peft 0.21.2; the file names the versions.
"""

import json
import math
from importlib.metadata import version
from pathlib import Path

import bitsandbytes as bnb
import torch
from peft import LoraConfig, get_peft_model
from peft.optimizers import create_loraplus_optimizer
from torch import nn
from transformers.optimization import Adafactor

OUT = Path(__file__).parents[2] / "crates/train/tests/fixtures/optimizers.json"
SHAPES = {"matrix": [5, 4], "vector": [7]}
STEPS = 6


def values(count, salt, scale=1.0):
    """Numbers without structure."""
    return [scale * math.sin(1.7 * i + 0.3 * salt * salt + 0.1) * 1.9 ** ((i + salt) % 5 - 3) for i in range(count)]


def start(name):
    count = math.prod(SHAPES[name])
    return torch.tensor(values(count, 1), dtype=torch.float32).reshape(SHAPES[name])


def gradient(name, step):
    count = math.prod(SHAPES[name])
    return torch.tensor(values(count, 10 + step, 0.1), dtype=torch.float32).reshape(SHAPES[name])


def run(make):
    parameters = {name: nn.Parameter(start(name)) for name in SHAPES}
    optimizer = make(list(parameters.values()))
    for step in range(STEPS):
        for name, parameter in parameters.items():
            parameter.grad = gradient(name, step)
        optimizer.step()
    return {name: parameter.detach().flatten().tolist() for name, parameter in parameters.items()}


def adafactor(**options):
    rate = None if options.get("relative_step") else 0.02
    options = {"scale_parameter": False, "relative_step": False, "weight_decay": 0.1, **options}
    return lambda parameters: Adafactor(parameters, lr=rate, **options)


def loraplus():
    """Rate and decay of every trained parameter, by its name without PEFT's additions."""
    model = nn.Module()
    model.embed_tokens = nn.Embedding(8, 4)
    model.q_proj = nn.Linear(4, 4)
    model.norm = nn.LayerNorm(4)
    model.forward = lambda ids: model.q_proj(model.norm(model.embed_tokens(ids)))
    config = LoraConfig(r=2, target_modules=["q_proj", "embed_tokens"], bias="all")
    model = get_peft_model(model, config)
    optimizer = create_loraplus_optimizer(
        model,
        torch.optim.AdamW,
        lr=1e-3,
        loraplus_lr_ratio=16.0,
        loraplus_lr_embedding=1e-6,
        loraplus_weight_decay=0.1,
    )
    group_of = {id(p): group for group in optimizer.param_groups for p in group["params"]}
    rows = []
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            group = group_of[id(parameter)]
            short = name.removeprefix("base_model.model.").replace(".default", "").replace(".base_layer", "")
            rows.append({"name": short, "rank": parameter.ndim, "lr": group["lr"], "decay": group["weight_decay"]})
    return rows


def loss_scales():
    """The steps after which the scale is another one, of many steps of which a few overflow."""
    steps, bad = 6002, [0, 1, 4000, 5999]
    scaler = torch.amp.GradScaler("cpu")
    parameter = nn.Parameter(torch.ones(1))
    optimizer = torch.optim.SGD([parameter], lr=0.0)
    changes, last = [], scaler.get_scale()
    for step in range(steps):
        parameter.grad = None
        scaler.scale((parameter * (math.inf if step in bad else 1.0)).sum()).backward()
        scaler.step(optimizer)
        scaler.update()
        if scaler.get_scale() != last:
            last = scaler.get_scale()
            changes.append([step, last])
    return {"steps": steps, "bad_steps": bad, "changes": changes}


def main():
    optimizers = {
        "adamw_torch": run(lambda p: torch.optim.AdamW(p, lr=0.01, weight_decay=0.1)),
        "sgd": run(lambda p: torch.optim.SGD(p, lr=0.01, momentum=0.9, weight_decay=0.1)),
        "lion_32bit": run(lambda p: bnb.optim.Lion(p, lr=0.01, betas=(0.9, 0.99), weight_decay=0.1)),
        "adafactor": run(adafactor()),
        "adafactor scale_parameter": run(adafactor(scale_parameter=True)),
        "adafactor relative_step": run(adafactor(relative_step=True)),
        "adafactor scale_parameter relative_step warmup_init": run(
            adafactor(scale_parameter=True, relative_step=True, warmup_init=True)
        ),
    }
    document = {
        "versions": {name: version(name) for name in ["torch", "bitsandbytes", "transformers", "peft"]},
        "shapes": SHAPES,
        "start": {name: start(name).flatten().tolist() for name in SHAPES},
        "gradients": [{name: gradient(name, step).flatten().tolist() for name in SHAPES} for step in range(STEPS)],
        "end": optimizers,
        "loraplus": loraplus(),
        "loss_scale": loss_scales(),
    }
    OUT.parent.mkdir(parents=True, exist_ok=True)
    OUT.write_text(json.dumps(document, indent=1) + "\n")


if __name__ == "__main__":
    main()
