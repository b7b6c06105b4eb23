"""Adapters that Burnisher wrote, in PEFT: every variant of the reference values, read and written again by our tests, is
loaded by PEFT without a missing or an unexpected tensor and gives PEFT's reference logits.

Run from the workspace root, with torch, transformers, peft and safetensors installed, and ../shared/fixtures there:

    BURNISHER_PARITY_OUT=$PWD/target/parity cargo test --workspace --test it -- parity::an_adapter_written_again
    python3 docs/parity/exchange_adapters.py

Prints a line per adapter and ends with an error if one fails. docs/src/parity.md holds what it printed last.
"""

import argparse
import inspect
import json
import pathlib

import peft
import safetensors.torch
import torch
import transformers

TOLERANCE = 1e-4


def recorded(results):
    """Keeps what every `load_adapter` says of missing and unexpected keys; `from_pretrained` only warns."""
    load = peft.PeftModel.load_adapter

    def load_adapter(self, *args, **kwargs):
        results.append(load(self, *args, **kwargs))
        return results[-1]

    peft.PeftModel.load_adapter = load_adapter


def loftq_on_the_cpu():
    """PEFT starts LoftQ on the device 'cuda', whatever there is."""
    import peft.tuners.lora.layer as layer
    import peft.utils.loftq_utils as loftq

    source = inspect.getsource(loftq.loftq_init).replace('else "cuda"', 'else "cpu"')
    exec(compile(source, "loftq_init", "exec"), loftq.__dict__)
    layer.loftq_init = loftq.loftq_init


def main():
    root = pathlib.Path(__file__).resolve().parents[2]
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--adapters", type=pathlib.Path, default=root / "target/parity")
    parser.add_argument("--fixtures", type=pathlib.Path, default=root.parent / "shared/fixtures/models")
    args = parser.parse_args()
    print(f"PEFT {peft.__version__}, transformers {transformers.__version__}, torch {torch.__version__}")
    results = []
    recorded(results)
    loftq_on_the_cpu()
    failed = []
    directories = sorted(path.parent for path in args.adapters.glob("*/*/adapter_config.json"))
    assert directories, f"no adapters in {args.adapters}"
    for path in directories:
        model_name, variant = path.parts[-2:]
        config = json.loads((path / "adapter_config.json").read_text())
        path_of_base = args.fixtures / "models" / model_name
        base = transformers.AutoModelForCausalLM.from_pretrained(
            path_of_base, dtype=torch.float32, attn_implementation="eager"
        ).eval()
        inputs = safetensors.torch.load_file(args.fixtures / "base" / f"{model_name}.safetensors")
        model = peft.PeftModel.from_pretrained(base, path).eval()
        # PEFT's own adapter of the same variant says which tensors there are.
        theirs = args.fixtures / "peft" / model_name / variant
        if not theirs.exists():
            theirs = root / "crates/train/tests/fixtures/peft_more" / model_name / variant.replace("_after", "/after")
        wanted = set(safetensors.torch.load_file(theirs / "adapter_model.safetensors"))
        found = set(safetensors.torch.load_file(path / "adapter_model.safetensors"))
        # Virtual tokens PEFT gives to its prompt encoder by itself, and then calls them unexpected, in its own files too.
        unexpected = sorted(set(results[-1].unexpected_keys) - {"prompt_embeddings"})
        missing = sorted(key for key in results[-1].missing_keys if ".default" in key)
        with torch.no_grad():
            logits = model(input_ids=inputs["input_ids"], attention_mask=inputs["attention_mask"]).logits[0]
        reference = safetensors.torch.load_file(theirs / "reference.safetensors")["logits_seq0"]
        seen = min(int(inputs["attention_mask"][0].sum()), reference.shape[0])
        difference = (logits[:seen] - reference[:seen]).abs().max().item()
        # PEFT initialises with random numbers of its own before it loads: the base differs then, in PEFT too.
        is_random = str(config.get("init_lora_weights", "")).startswith("pissa_niter")
        good = wanted == found and not unexpected and not missing and (is_random or difference <= TOLERANCE)
        print(f"{model_name}/{variant} ({config['peft_type']}): {len(found)} tensors, missing {missing}, unexpected {unexpected}, "
              f"logits differ by at most {difference:.1e}{'' if good else ' FAILED'}")
        if not good:
            failed.append(f"{model_name}/{variant}")
    print(f"{len(directories)} adapters, {len(failed)} failed {failed or ''}")
    raise SystemExit(1 if failed else 0)


if __name__ == "__main__":
    main()
