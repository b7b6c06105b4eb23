"""Exchange with the Python tools, both ways: transformers loads our base model, PEFT strictly loads an adapter that we
wrote and gives the same logits, and we load one that PEFT wrote.

Run from the workspace root, with torch, transformers, peft and safetensors installed:

    cargo build --release -p burnisher-cli
    python3 docs/parity/exchange.py --adapter target/quickstart/adapter

Prints a line per check and ends with an error if one fails. docs/src/parity.md holds what it printed last.
"""

import argparse
import json
import pathlib
import subprocess
import tempfile

import peft
import safetensors.torch
import torch
import transformers

TOLERANCE = 1e-4


def ours(program, model, tokens, folder, adapter=None):
    """Logits of our program for token ids [rows, t]."""
    given, out = folder / "input.safetensors", folder / "output.safetensors"
    safetensors.torch.save_file({"input_ids": tokens}, given)
    command = [program, "logits", "--model", model, "--input", given, "--out", out]
    if adapter is not None:
        command += ["--adapter", adapter]
    subprocess.run([str(part) for part in command], check=True, stdout=subprocess.DEVNULL)
    return safetensors.torch.load_file(out)["logits"]


def theirs(model, tokens):
    with torch.no_grad():
        return model(input_ids=tokens).logits.float()


def check(what, got, want):
    difference = (got - want).abs().max().item()
    print(f"{what}: logits {tuple(want.shape)} differ by at most {difference:.2e} (largest {want.abs().max():.2f})")
    assert difference <= TOLERANCE * max(1.0, want.abs().max().item()), what


def load_base(path):
    model, info = transformers.AutoModelForCausalLM.from_pretrained(
        path, dtype=torch.float32, attn_implementation="eager", output_loading_info=True
    )
    problems = {key: sorted(names) for key, names in info.items() if names}
    print(f"transformers {transformers.__version__} loads {path.name}: {problems or 'no missing, no unexpected tensor'}")
    assert not problems
    return model.eval()


def strictly(model, path):
    """An adapter whose tensors are exactly those that PEFT would save of it."""
    model = peft.PeftModel.from_pretrained(model, path).eval()
    wanted = set(peft.get_peft_model_state_dict(model))
    found = set(safetensors.torch.load_file(path / "adapter_model.safetensors"))
    print(f"PEFT {peft.__version__} reads {path.name}: {len(found)} tensors, missing {sorted(wanted - found)}, "
          f"unexpected {sorted(found - wanted)}")
    assert wanted == found
    return model


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--program", type=pathlib.Path, default=root / "target/release/burnisher")
    parser.add_argument("--base", type=pathlib.Path, default=root / "examples/assets/base")
    parser.add_argument("--adapter", type=pathlib.Path, required=True, help="a PEFT directory that Burnisher wrote")
    args = parser.parse_args()
    torch.manual_seed(0)

    tokenizer = transformers.AutoTokenizer.from_pretrained(args.base)
    text = json.loads((root / "examples/assets/finance/test.jsonl").read_text().splitlines()[0])["messages"]
    ids = tokenizer.apply_chat_template(text, tokenize=True, return_tensors="pt", return_dict=True)["input_ids"]
    with tempfile.TemporaryDirectory() as folder:
        folder = pathlib.Path(folder)
        base = load_base(args.base)
        check("base", ours(args.program, args.base, ids, folder), theirs(base, ids))
        ours_in_peft = strictly(base, args.adapter)
        check("our adapter", ours(args.program, args.base, ids, folder, args.adapter), theirs(ours_in_peft, ids))

        config = peft.LoraConfig(
            r=4, lora_alpha=16, use_rslora=True, target_modules=["q_proj", "o_proj", "down_proj"],
            rank_pattern={"down_proj": 8}, init_lora_weights=False, task_type="CAUSAL_LM",
        )
        model = peft.get_peft_model(load_base(args.base), config).eval()
        model.save_pretrained(folder / "from_peft")
        found = ours(args.program, args.base, ids, folder, folder / "from_peft")
        check("PEFT's adapter", found, theirs(model, ids))
    print("all checks passed")


if __name__ == "__main__":
    main()
