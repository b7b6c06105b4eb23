"""Quantized checkpoints and exported models with the Python tools: transformers and bitsandbytes load what
`burnisher quantize` wrote and restore the same weights and, in LLM.int8, compute the same logits; transformers loads what
`burnisher export` wrote, with and without an adapter, and gives the same logits.

Run from the workspace root, with torch, transformers, peft, bitsandbytes, accelerate and safetensors installed:

    cargo build -p burnisher-cli
    python3 docs/parity/exchange_quantized.py [--adapter PEFT_DIRECTORY]

Prints a line per check and ends with an error if one fails. docs/src/parity.md holds what it printed last.
"""

import argparse
import json
import os
import pathlib
import subprocess
import tempfile

os.environ.setdefault("TORCHDYNAMO_DISABLE", "1")

import bitsandbytes
import peft
import safetensors.torch
import torch
import transformers

from exchange import check, ours, theirs

FORMATS = {"nf4": ["--double-quant"], "fp4": [], "int8": []}


def run(program, *args):
    subprocess.run([str(program), *map(str, args)], check=True, stdout=subprocess.DEVNULL)


def load(path):
    """The model as transformers reads it, quantized modules and all."""
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, attn_implementation="eager", output_loading_info=True, device_map="cpu"
    )
    problems = {key: sorted(names) for key, names in info.items() if names}
    assert not problems, problems
    return model.eval()


def restored_4bit(module):
    """What bitsandbytes restores: its generic arithmetic, since its CPU code is wrong where blocks cross rows."""
    state = module.weight.quant_state
    absmax = state.absmax
    if state.nested:
        absmax = state.state2.code[absmax.long()] * state.state2.absmax.repeat_interleave(state.state2.blocksize)[: absmax.numel()]
        absmax = absmax + state.offset
    packed = module.weight.data.view(-1)
    codes = torch.stack([packed >> 4, packed & 15], dim=1).view(-1)[: state.shape.numel()].long()
    values = state.code[codes] * absmax.float().repeat_interleave(state.blocksize)[: codes.numel()]
    return values.view(state.shape)


def compare_weights(what, model, dense):
    """Every quantized module against the dense export of the same directory."""
    worst, count, native = 0.0, 0, 0.0
    for name, module in model.named_modules():
        weight = dense.get(f"{name}.weight")
        if isinstance(module, bitsandbytes.nn.Linear4bit):
            found = restored_4bit(module)
            if module.in_features % module.weight.quant_state.blocksize == 0:
                one_call = bitsandbytes.functional.dequantize_4bit(module.weight.data, module.weight.quant_state)
                rounded = weight.to(module.weight.quant_state.dtype).float()
                native = max(native, (one_call.float() - rounded).abs().max().item())
        elif isinstance(module, bitsandbytes.nn.Linear8bitLt):
            found = module.weight.data.float() * module.weight.SCB.view(-1, 1) / 127
        else:
            continue
        worst, count = max(worst, (found - weight).abs().max().item()), count + 1
    print(f"{what}: {count} modules restored, weights differ by at most {worst:.1e} (dequantize_4bit, which rounds to the stored dtype: {native:.1e})")
    assert count and worst <= 1e-6 and native <= 1e-6


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", type=pathlib.Path, default=root / "target/debug/burnisher")
    parser.add_argument("--base", type=pathlib.Path, default=root / "examples/assets/base")
    parser.add_argument("--adapter", type=pathlib.Path, help="a PEFT directory that Burnisher wrote for the base")
    args = parser.parse_args()
    torch.manual_seed(0)
    vocab = json.loads((args.base / "config.json").read_text())["vocab_size"]
    ids = torch.randint(3, vocab, (2, 24))
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        for form, options in FORMATS.items():
            run(args.program, "quantize", args.base, "--to", form, *options, "--out", folder / form)
            model = load(folder / form)
            print(f"transformers {transformers.__version__} and bitsandbytes {bitsandbytes.__version__} load {form}")
            run(args.program, "export", folder / form, "--dtype", "f32", "--out", folder / f"{form}-dense")
            compare_weights(form, model, safetensors.torch.load_file(folder / f"{form}-dense/model.safetensors"))
            found = ours(args.program, folder / form, ids, folder)
            if form == "int8":
                # What is not quantized in f32, as we compute it; transformers left it in the dtype of the file.
                for module in model.modules():
                    if not isinstance(module, bitsandbytes.nn.Linear8bitLt) and not list(module.children()):
                        module.float()
                want = theirs(model, ids)
                relative = ((found - want).norm() / want.norm()).item()
                print(f"int8: logits differ by {relative:.1e} of their norm (bitsandbytes computes in f16)")
                assert relative <= 2e-2
            else:
                # bitsandbytes may compute in bf16 on this processor: its weights are compared above, its logits not.
                check(f"{form}, restored", found, theirs(load(folder / f"{form}-dense"), ids))
        run(args.program, "export", args.base, "--dtype", "f32", "--out", folder / "exported")
        check("export", ours(args.program, args.base, ids, folder), theirs(load(folder / "exported"), ids))
        if args.adapter is not None:
            merged = folder / "merged"
            run(args.program, "export", args.base, "--adapter", args.adapter, "--dtype", "f32", "--out", merged)
            adapted = peft.PeftModel.from_pretrained(load(args.base), args.adapter).eval()
            check("export with an adapter", theirs(load(merged), ids), theirs(adapted, ids))
    print("all checks passed")


if __name__ == "__main__":
    main()
