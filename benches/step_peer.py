#!/usr/bin/env python3
"""Training steps of torch + transformers + PEFT: the peer of the bench `train_step` on a GPU, with its options.

    PYTHON benches/step_peer.py --device cuda --shape 1b --dtype bf16
    PYTHON benches/step_peer.py --device cpu --hidden 64 --layers 2 --heads 4 --kv-heads 2 --intermediate 96 --vocab 500

Prints one JSON object, under the bench's keys. The model is a Llama with random weights, made on the device in the
dtype asked for; the adapter is PEFT's, which stays in f32. A step is forward, backward, clipping to 1 and AdamW without
weight decay, on the tokens of the bench. Losses differ, since the weights do. `gpu_peak_mb` is taken as in the bench,
with nvidia-smi, while the steps run; what making the model left in torch's cache is given back before. `torch_peak_mb`
counts tensors only. record_gpu.py runs this. Status 1: something is missing or failed.
"""

import argparse
import gc
import importlib.metadata
import json
import math
import os
import statistics
import subprocess
import sys
import threading
import time

# Nothing is fetched.
os.environ["HF_HUB_OFFLINE"] = "1"

SIZES = ["hidden", "layers", "heads", "kv_heads", "intermediate", "vocab"]

# The sizes in that order, and whether the head is the embedding.
SHAPES = {
    "110m": ([768, 12, 12, 12, 2048, 32000], True),
    "1b": ([2048, 16, 32, 8, 8192, 128256], True),
    "7b": ([4096, 32, 32, 32, 11008, 32000], False),
}

TARGETS = {"qv": ["q_proj", "v_proj"], "all-linear": "all-linear"}

# Norm that gradients are clipped to.
MAX_NORM = 1.0

# Seconds between two looks at the GPU's memory.
INTERVAL = 0.5


def main():
    args = arguments()
    # torch takes seconds to import, so --help and wrong options come first.
    try:
        import torch
        import transformers
        import peft  # noqa: F401, imported here so that a missing package is told before anything is made
    except ImportError as error:
        sys.exit(f"error: {error}; wanted torch, transformers and peft")
    if args.qlora:
        try:
            import bitsandbytes  # noqa: F401
        except Exception as error:
            sys.exit(f"error: --qlora: bitsandbytes does not import: {error!r}")
    if args.device == "cuda" and not torch.cuda.is_available():
        sys.exit("error: --device cuda: torch sees no GPU")
    transformers.logging.set_verbosity_error()
    if args.threads:
        torch.set_num_threads(args.threads)
    print(json.dumps(measure(args)))


def arguments():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--device", choices=["cuda", "cpu"], default="cuda", help="where it is trained (default cuda)")
    parser.add_argument("--shape", choices=list(SHAPES), default="110m", help="sizes not given (default 110m)")
    for name in SIZES:
        parser.add_argument(f"--{name.replace('_', '-')}", type=positive, metavar="N", help="in place of the shape's")
    parser.add_argument("--untied", action="store_true", help="a head of its own, in every shape")
    parser.add_argument("--seq", type=positive, default=256, help="tokens of a row (default 256)")
    parser.add_argument("--batch", type=positive, default=4, help="rows of a step (default 4)")
    parser.add_argument("--r", type=positive, default=8, help="rank of the adapter (default 8)")
    parser.add_argument("--alpha", type=float, default=16.0, help="numerator of the adapter's scale (default 16)")
    parser.add_argument("--lr", type=float, default=1e-3, help="learning rate of every step (default 1e-3)")
    parser.add_argument("--targets", choices=list(TARGETS), default="qv", help="projections with LoRA (default qv)")
    parser.add_argument("--dtype", choices=["f32", "bf16"], default="f32",
                        help="of dense weights and activations (default f32)")
    parser.add_argument("--qlora", action="store_true",
                        help="the blocks' projections in NF4 with double quantization; needs bitsandbytes")
    parser.add_argument("--steps", type=positive, default=10, help="timed steps (default 10)")
    parser.add_argument("--warmup", type=int, default=2, help="steps before them (default 2)")
    parser.add_argument("--threads", type=int, default=0, help="torch's threads on the CPU; 0 takes its default")
    args = parser.parse_args()
    if args.seq < 2:
        parser.error("--seq 1: found no token to predict; wanted at least 2")
    if args.warmup < 0 or args.threads < 0:
        parser.error("--warmup and --threads: wanted an integer not below 0")
    sizes, is_tied = SHAPES[args.shape]
    for name, size in zip(SIZES, sizes):
        if getattr(args, name) is None:
            setattr(args, name, size)
    args.tied = is_tied and not args.untied
    return args


def positive(text):
    if not text.isdigit() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"found {text!r}, wanted an integer above 0")
    return int(text)


def measure(args):
    """Makes the model, trains it, and reports speed, memory and losses."""
    import torch

    model, base_parameters = make(args)
    chain = MarkovChain(args.vocab)
    batches = [torch.tensor(rows) for rows in chain.batches(args.warmup + args.steps, args.batch, args.seq)]
    gc.collect()
    watch = None
    if args.device == "cuda":
        torch.cuda.synchronize()
        torch.cuda.empty_cache()
        torch.cuda.reset_peak_memory_stats()
        watch = GpuWatch()
    losses, forward_backward, optimizer = train(model, batches, args)
    gpu_peak_mb = watch.finish() if watch else None
    torch_peak_mb = torch.cuda.max_memory_allocated() / 2**20 if args.device == "cuda" else None

    forward_backward, optimizer = forward_backward[args.warmup:], optimizer[args.warmup:]
    seconds = [sum(parts) for parts in zip(forward_backward, optimizer)]
    tokens = args.batch * args.seq
    median = statistics.median(seconds)
    return {
        "kind": "train",
        "config": config(args),
        "threads": torch.get_num_threads(),
        "params_base": base_parameters,
        "params_trainable": sum(parameter.numel() for parameter in model.parameters() if parameter.requires_grad),
        "tokens_per_step": tokens,
        "tok_s_median": round(tokens / median, 1),
        "tok_s_best": round(tokens / min(seconds), 1),
        "step_s": {"median": round(median, 4), "min": round(min(seconds), 4), "max": round(max(seconds), 4)},
        "fwd_bwd_s_median": round(statistics.median(forward_backward), 4),
        "opt_s_median": round(statistics.median(optimizer), 4),
        "gpu_peak_mb": gpu_peak_mb,
        "torch_peak_mb": None if torch_peak_mb is None else round(torch_peak_mb, 1),
        "losses": [round(loss, 5) for loss in losses],
        "versions": versions(args),
    }


def config(args):
    """The options by the names that the bench gives them."""
    keys = ["device", *SIZES, "tied", "seq", "batch", "r", "alpha", "lr", "targets", "dtype", "qlora", "steps",
            "warmup"]
    return {key: getattr(args, key) for key in keys} | {"grad_ckpt": "none"}


def versions(args):
    import torch

    names = ["torch", "transformers", "peft"] + (["bitsandbytes"] if args.qlora else [])
    found = {name: importlib.metadata.version(name) for name in names}
    return found | ({"cuda": torch.version.cuda} if args.device == "cuda" else {})


def make(args):
    """The model with its adapter, and the number of values without one."""
    import torch
    from peft import LoraConfig, get_peft_model
    from transformers import AutoModelForCausalLM, LlamaConfig

    torch.manual_seed(42)
    dtype = torch.bfloat16 if args.dtype == "bf16" else torch.float32
    llama = LlamaConfig(
        hidden_size=args.hidden,
        num_hidden_layers=args.layers,
        num_attention_heads=args.heads,
        num_key_value_heads=args.kv_heads,
        intermediate_size=args.intermediate,
        vocab_size=args.vocab,
        max_position_embeddings=max(2048, args.seq),
        tie_word_embeddings=args.tied,
        use_cache=False,
    )
    with torch.device(args.device):
        model = AutoModelForCausalLM.from_config(llama, dtype=dtype, attn_implementation="sdpa")
    base_parameters = sum(parameter.numel() for parameter in model.parameters())
    if args.qlora:
        quantize(model, dtype, args.device)
    # PEFT freezes the base, and keeps the adapter in f32 beside a base in bf16.
    lora = LoraConfig(r=args.r, lora_alpha=args.alpha, target_modules=TARGETS[args.targets], task_type="CAUSAL_LM")
    return get_peft_model(model, lora).train(), base_parameters


def quantize(model, dtype, device):
    """Puts bitsandbytes' 4-bit layers in the place of the blocks' projections; the head stays as it is."""
    import torch
    from bitsandbytes.nn import Linear4bit, Params4bit

    kind = {"quant_type": "nf4", "compress_statistics": True}
    for block in model.model.layers:
        for owner in (block.self_attn, block.mlp):
            for name, dense in list(owner.named_children()):
                if not isinstance(dense, torch.nn.Linear):
                    continue
                layer = Linear4bit(dense.in_features, dense.out_features, bias=False, compute_dtype=dtype,
                                   device="meta", **kind)
                layer.weight = Params4bit(dense.weight.data, requires_grad=False, module=layer, **kind)
                # The move quantizes.
                setattr(owner, name, layer.to(device))
    # PEFT asks for this.
    model.is_loaded_in_4bit = True


def train(model, batches, args):
    """Each step's loss, seconds of forward and backward pass, and seconds of clipping and AdamW."""
    import torch

    def now():
        if args.device == "cuda":
            torch.cuda.synchronize()
        return time.perf_counter()

    trained = [parameter for parameter in model.parameters() if parameter.requires_grad]
    adamw = torch.optim.AdamW(trained, lr=args.lr, weight_decay=0.0)
    losses, forward_backward, optimizer = [], [], []
    for batch in batches:
        start = now()
        ids = batch.to(args.device)
        # The model shifts the labels itself.
        loss = model(input_ids=ids, labels=ids).loss
        loss.backward()
        middle = now()
        torch.nn.utils.clip_grad_norm_(trained, MAX_NORM)
        adamw.step()
        adamw.zero_grad(set_to_none=True)
        end = now()
        losses.append(loss.item())
        if not math.isfinite(losses[-1]):
            sys.exit(f"error: step {len(losses)}: the loss is {losses[-1]}")
        forward_backward.append(middle - start)
        optimizer.append(end - middle)
    return losses, forward_backward, optimizer


class GpuWatch:
    """Looks at the first GPU's memory as `GpuWatch` in device.rs does: twice a second, whoever holds it."""

    def __init__(self):
        self.stop = threading.Event()
        self.thread = threading.Thread(target=self.look, daemon=True)
        self.thread.start()

    def look(self):
        self.peak = used_mb()
        is_last = self.peak is None
        while not is_last:
            is_last = self.stop.wait(INTERVAL)
            self.peak = max(self.peak, used_mb() or 0)

    def finish(self):
        """The most that was seen, in MiB; None without nvidia-smi."""
        self.stop.set()
        self.thread.join()
        return self.peak


def used_mb():
    query = ["nvidia-smi", "--query-gpu=memory.used", "--format=csv,noheader,nounits"]
    try:
        # nvidia-smi prints a line for each GPU.
        return int(subprocess.run(query, capture_output=True, text=True, check=True).stdout.splitlines()[0])
    except (OSError, subprocess.CalledProcessError, ValueError, IndexError):
        return None


class MarkovChain:
    """Documents of the bench's `MarkovChain` (documents.rs): a token's successor follows it nine times out of ten."""

    TOKENS = 1024
    NOISE = 10
    SUCCESSORS = 2**64 - 1

    def __init__(self, vocabulary):
        self.count = min(vocabulary, self.TOKENS)
        self.successors = [below(self.count, random(self.SUCCESSORS, token)) for token in range(self.count)]

    def document(self, index, length):
        ids = []
        for place in range(length):
            if ids and random(index, 2 * place) % self.NOISE != 0:
                ids.append(self.successors[ids[-1]])
            else:
                ids.append(below(self.count, random(index, 2 * place + 1)))
        return ids

    def batches(self, count, rows, length):
        """`count` batches of `rows` documents, each in one batch only."""
        return [[self.document(batch * rows + row, length) for row in range(rows)] for batch in range(count)]


def random(stream, counter):
    """Number `counter` of the stream `stream`: SplitMix64's finalizer over both."""
    step = 0x9E37_79B9_7F4A_7C15
    return mixed(mixed((stream + 1) * step) + (counter + 1) * step)


def mixed(x):
    mask = 2**64 - 1
    x &= mask
    x = (x ^ (x >> 30)) * 0xBF58_476D_1CE4_E5B9 & mask
    x = (x ^ (x >> 27)) * 0x94D0_49BB_1331_11EB & mask
    return x ^ (x >> 31)


def below(limit, bits):
    """A number below `limit`, from 64 random bits."""
    return bits * limit >> 64


if __name__ == "__main__":
    main()
