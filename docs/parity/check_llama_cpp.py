"""Runs GGUF files in llama.cpp itself (package xllamacpp) and compares with the reference values.

    python3 docs/parity/check_llama_cpp.py MODEL.gguf base/NAME.json [tokenizers/KIND_cases.json]
    python3 docs/parity/check_llama_cpp.py MODEL.gguf peft/NAME/VARIANT ADAPTER.gguf

The first form: the 32 tokens that transformers takes greedily must be llama.cpp's; base/NAME.safetensors' logits of the
first sequence are compared as log probabilities; texts must have the ids of the tokenizer. The second: log probabilities
of the first sequence with the adapter, against reference.safetensors. Everything in f32 on one thread. LIMIT=8 in the
environment looks at the first 8 tokens only: for Mistral, whose window llama.cpp has not.
"""
import json
import os
import sys
import urllib.request

import numpy as np
import xllamacpp

from check_gguf import safetensors_file


def serve(path, adapter=None):
    params = xllamacpp.CommonParams()
    params.model.path = path
    params.n_ctx, params.n_parallel, params.n_gpu_layers = 256, 1, 0
    params.warmup, params.cpuparams.n_threads = False, 1
    params.verbosity = 0
    params.cache_type_k = params.cache_type_v = xllamacpp.ggml_type.GGML_TYPE_F32
    params.flash_attn_type = xllamacpp.llama_flash_attn_type.LLAMA_FLASH_ATTN_TYPE_DISABLED
    if adapter:
        params.lora_adapters = [xllamacpp.CommonAdapterLoraInfo(adapter, 1.0)]
    return xllamacpp.Server(params)


def post(server, path, body):
    request = urllib.request.Request(server.listening_address + path, json.dumps(body).encode(), {"Content-Type": "application/json"})
    return json.load(urllib.request.urlopen(request))


def log_probabilities(server, prompt, vocab):
    """Of the token that follows the prompt, by id."""
    # Probabilities are those before the bias. A token that ends the text or is a part of a character would give none.
    letter = post(server, "/tokenize", {"content": "a"})["tokens"][-1]
    body = {"prompt": prompt, "n_predict": 1, "temperature": 0, "n_probs": vocab, "cache_prompt": False,
            "logit_bias": [[letter, 1e6]]}
    found = post(server, "/completion", body)["completion_probabilities"][0]["top_logprobs"]
    out = np.full(vocab, -np.inf)
    for entry in found:
        out[entry["id"]] = entry["logprob"]
    return out


def compare(server, ids, logits, limit):
    """The largest difference of log probabilities behind each prefix of `ids`."""
    wanted = logits.astype(np.float64)
    wanted -= np.log(np.exp(wanted - wanted.max(-1, keepdims=True)).sum(-1, keepdims=True)) + wanted.max(-1, keepdims=True)
    worst = 0.0
    for length in range(1, min(len(ids), limit) + 1):
        found = log_probabilities(server, ids[:length], logits.shape[-1])
        worst = max(worst, float(np.abs(found - wanted[length - 1]).max()))
    return worst


def first_sequence(path):
    tensors = safetensors_file(path)
    length = int(tensors["attention_mask"][0].sum())
    return [int(token) for token in tensors["input_ids"][0, :length]], tensors


def main():
    model, reference, *more = sys.argv[1:]
    limit = int(os.environ.get("LIMIT", 10_000))
    if os.path.isdir(reference):
        base = os.path.join(os.path.dirname(reference), "..", "..", "base", os.path.basename(os.path.dirname(reference)))
        ids, _ = first_sequence(base + ".safetensors")
        logits = safetensors_file(os.path.join(reference, "reference.safetensors"))["logits_seq0"]
        plain, adapted = serve(model), serve(model, more[0])
        print(f"{more[0]}: {len(ids)} prefixes, largest difference of log probabilities {compare(adapted, ids, logits[:len(ids)], limit):.2e}"
              f" (without the adapter {compare(plain, ids, logits[:len(ids)], limit):.2e})")
        return
    server = serve(model)
    for case in json.load(open(reference))["greedy"]:
        case["new_tokens"] = case["new_tokens"][:max(0, limit - len(case["prompt"]))]
        body = {"prompt": case["prompt"], "n_predict": len(case["new_tokens"]), "temperature": 0, "return_tokens": True,
                "cache_prompt": False}
        tokens = post(server, "/completion", body)["tokens"]
        # transformers went on behind an end of text.
        assert tokens == case["new_tokens"][:len(tokens)], (tokens, case["new_tokens"])
    ids, tensors = first_sequence(reference.replace(".json", ".safetensors"))
    print(f"{model}: greedy tokens are equal; {len(ids)} prefixes, largest difference of log probabilities "
          f"{compare(server, ids, tensors['logits'][0, :len(ids)], limit):.2e}")
    if more:
        cases = json.load(open(more[0], encoding="utf-8"))["cases"]
        differ = []
        for case in cases:
            for key, special in (("ids", True), ("ids_no_special", False)):
                found = post(server, "/tokenize", {"content": case["text"], "add_special": special, "parse_special": True})["tokens"]
                if found != case[key]:
                    differ.append((case["text"], found, case[key]))
        print(f"{len(cases)} texts, ids of {len(differ)} differ")
        for text, found, wanted in differ:
            print(f"  {text!r}\n    llama.cpp {found}\n    wanted    {wanted}")


if __name__ == "__main__":
    main()
