"""Adapters of PEFT on a small PyTorch model that is no transformer, for adapters on foreign Burn modules.

Writes a folder for each: `adapter_config.json`, `adapter_model.safetensors`, and `reference.safetensors` with the base
weights, token ids, logits, merged weights, and every gradient of what is trained under a cross-entropy loss. `layers`
adapts an embedding and two linear layers with different ranks; `whole` trains modules and biases whole, too. Run from
the workspace root, with torch, peft and safetensors installed:

    PYTHONHASHSEED=0 python3 docs/parity/any_module.py crates/lora/tests/fixtures/any_module
"""

import pathlib
import sys

import peft
import safetensors.torch
import torch
from torch import nn

VOCAB, WIDTH, INNER, CLASSES = 7, 5, 6, 3


class Tagger(nn.Module):
    """Token ids [batch, t] to logits [batch, classes]."""

    def __init__(self):
        super().__init__()
        self.embed = nn.Embedding(VOCAB, WIDTH)
        self.norm = nn.LayerNorm(WIDTH)
        self.up = nn.Linear(WIDTH, INNER)
        self.down = nn.Linear(INNER, CLASSES, bias=False)

    def forward(self, ids):
        inner = torch.tanh(self.up(self.norm(self.embed(ids))))
        return self.down(inner.mean(dim=1))


def write(out, config):
    torch.manual_seed(5)
    base = Tagger()
    tensors = {f"base.{name}": value.detach().clone() for name, value in base.state_dict().items()}
    model = peft.get_peft_model(base, config)
    model.eval()
    # Otherwise what is trained whole would equal the base.
    with torch.no_grad():
        for parameter in model.parameters():
            if parameter.requires_grad:
                parameter.add_(0.1 * torch.randn_like(parameter))
    ids = torch.tensor([[0, 3, 6, 3], [5, 1, 2, 4]])
    logits = model(ids)
    nn.functional.cross_entropy(logits, torch.tensor([2, 0]), reduction="sum").backward()
    tensors |= {"ids": ids.to(torch.int32), "logits": logits.detach()}
    for name, parameter in model.named_parameters():
        if parameter.requires_grad:
            name = name.replace(".modules_to_save.default", "").replace(".default", "")
            tensors["grad." + name] = parameter.grad.clone()
    model.save_pretrained(out)
    merged = model.merge_and_unload()
    tensors |= {f"merged.{name}": value.detach().clone() for name, value in merged.state_dict().items()}
    safetensors.torch.save_file(
        {name: value.contiguous() for name, value in tensors.items()},
        out / "reference.safetensors",
        metadata={"torch": torch.__version__, "peft": peft.__version__},
    )
    (out / "README.md").unlink(missing_ok=True)
    for file in out.iterdir():
        file.chmod(0o644)


def main():
    out = pathlib.Path(sys.argv[1])
    layers = peft.LoraConfig(
        r=2,
        lora_alpha=6,
        target_modules=["embed", "up", "down"],
        rank_pattern={"up": 3},
        alpha_pattern={"down": 4},
        use_rslora=True,
        init_lora_weights=False,
    )
    whole = peft.LoraConfig(
        r=2,
        target_modules=["up"],
        modules_to_save=["embed", "norm", "down"],
        bias="lora_only",
        init_lora_weights=False,
    )
    write(out / "layers", layers)
    write(out / "whole", whole)


if __name__ == "__main__":
    main()
