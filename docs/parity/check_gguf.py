"""Compares a GGUF file with the Hugging Face directory that it was made from, by the package gguf and numpy.

    python3 docs/parity/check_gguf.py MODEL.gguf DIRECTORY

Every tensor is dequantized by gguf and held against the directory's safetensors files, with the changes that llama.cpp's
convert_hf_to_gguf.py makes written out again; Q8_0 must be what gguf.quants gives, byte for byte. Tokens are held against
tokenizer.json. Says what it compared, and fails at the first difference.
"""
import glob
import json
import os
import sys

import gguf
import numpy as np

BLOCK = {"input_layernorm": "attn_norm", "self_attn.q_proj": "attn_q", "self_attn.k_proj": "attn_k",
         "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output", "post_attention_layernorm": "ffn_norm",
         "self_attn.q_norm": "attn_q_norm", "self_attn.k_norm": "attn_k_norm", "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down"}
# Gemma 2 and 3 have norms behind attention and MLP.
BEHIND = {"post_attention_layernorm": "post_attention_norm", "pre_feedforward_layernorm": "ffn_norm",
          "post_feedforward_layernorm": "post_ffw_norm"}
OUTSIDE = {"model.embed_tokens": "token_embd", "model.norm": "output_norm", "lm_head": "output"}


def safetensors_file(path):
    """name -> array, floats as float32."""
    data = open(path, "rb").read()
    size = int.from_bytes(data[:8], "little")
    tensors = {}
    for name, entry in json.loads(data[8:8 + size]).items():
        if name == "__metadata__":
            continue
        begin, end = (8 + size + offset for offset in entry["data_offsets"])
        raw = data[begin:end]
        if entry["dtype"] == "BF16":
            values = (np.frombuffer(raw, np.uint16).astype(np.uint32) << 16).view(np.float32)
        elif entry["dtype"] == "I64":
            values = np.frombuffer(raw, np.int64)
        else:
            values = np.frombuffer(raw, {"F32": np.float32, "F16": np.float16}[entry["dtype"]]).astype(np.float32)
        tensors[name] = values.reshape(entry["shape"])
    return tensors


def safetensors(directory):
    tensors = {}
    for path in sorted(glob.glob(os.path.join(directory, "*.safetensors"))):
        tensors.update(safetensors_file(path))
    return tensors


def new_name(name, arch):
    module, end = name.rsplit(".", 1)
    if module in OUTSIDE:
        return f"{OUTSIDE[module]}.{end}"
    _, _, layer, module = module.split(".", 3)
    block = BLOCK | (BEHIND if arch in ("gemma2", "gemma3") else {})
    return f"blk.{layer}.{block[module]}.{end}"


def permute(weights, heads):
    """LlamaModel.permute."""
    return weights.reshape(heads, 2, weights.shape[0] // heads // 2, *weights.shape[1:]).swapaxes(1, 2).reshape(weights.shape)


def rope_factors(config):
    """LlamaModel.generate_extra_tensors, in float32 as torch has it."""
    rope = config["rope_parameters"]
    dim = config.get("head_dim") or config["hidden_size"] // config["num_attention_heads"]
    freqs = np.float32(1) / (np.float32(rope["rope_theta"]) ** (np.arange(0, dim, 2, dtype=np.float32) / np.float32(dim)))
    low, high = rope["low_freq_factor"], rope["high_freq_factor"]
    original = rope["original_max_position_embeddings"]
    factors = []
    for freq in freqs:
        wavelen = 2 * np.pi / freq
        if wavelen < original / high:
            factors.append(1)
        elif wavelen > original / low:
            factors.append(rope["factor"])
        else:
            smooth = (original / wavelen - low) / (high - low)
            factors.append(1 / ((1 - smooth) / rope["factor"] + smooth))
    return np.array(factors, np.float32)


def main():
    path, directory = sys.argv[1:]
    reader = gguf.GGUFReader(path)
    config = json.load(open(os.path.join(directory, "config.json")))
    field = lambda key: reader.get_field(key).contents() if reader.get_field(key) else None
    arch = field("general.architecture")
    found = {tensor.name: tensor for tensor in reader.tensors}
    wanted = {}
    for name, values in safetensors(directory).items():
        if config.get("tie_word_embeddings") and name.startswith("lm_head"):
            continue
        if arch == "llama" and ".q_proj." in name:
            values = permute(values, config["num_attention_heads"])
        if arch == "llama" and ".k_proj." in name:
            values = permute(values, config["num_key_value_heads"])
        if arch.startswith("gemma") and name.endswith("norm.weight"):
            values = values + np.float32(1)
        wanted[new_name(name, arch)] = values
    rope = config["rope_parameters"].get("full_attention", config["rope_parameters"])
    if rope.get("rope_type") == "llama3":
        factors = rope_factors(config)
        given = gguf.dequantize(found["rope_freqs.weight"].data, found["rope_freqs.weight"].tensor_type)
        assert np.allclose(given, factors, rtol=1e-6, atol=0), (given, factors)
        print("rope_freqs.weight", given.tolist())
        del found["rope_freqs.weight"]
    assert found.keys() == wanted.keys(), found.keys() ^ wanted.keys()
    for name, tensor in found.items():
        values = wanted[name]
        assert list(reversed(tensor.shape.tolist())) == list(values.shape), name
        raw = gguf.quantize(values, tensor.tensor_type)
        assert np.array_equal(np.ascontiguousarray(raw).view(np.uint8).ravel(), np.ascontiguousarray(tensor.data).view(np.uint8).ravel()), name
    types = sorted({tensor.tensor_type.name for tensor in found.values()})
    print(f"{path}: {len(found)} tensors of {', '.join(types)}, byte for byte")
    keys = {"block_count": "num_hidden_layers", "context_length": "max_position_embeddings", "embedding_length": "hidden_size",
            "feed_forward_length": "intermediate_size", "attention.head_count": "num_attention_heads",
            "attention.head_count_kv": "num_key_value_heads", "vocab_size": "vocab_size"}
    for key, name in keys.items():
        assert field(f"{arch}.{key}") == config[name], key
    assert np.float32(field(f"{arch}.attention.layer_norm_rms_epsilon")) == np.float32(config["rms_norm_eps"])
    assert np.float32(field(f"{arch}.rope.freq_base")) == np.float32(rope["rope_theta"])
    tokenizer = os.path.join(directory, "tokenizer.json")
    if os.path.exists(tokenizer):
        model = json.load(open(tokenizer, encoding="utf-8"))
        tokens = field("tokenizer.ggml.tokens")
        assert len(tokens) == config["vocab_size"]
        assert all(tokens[index] == text for text, index in model["model"]["vocab"].items())
        print(f"{field('tokenizer.ggml.model')} / {field('tokenizer.ggml.pre')}: {len(tokens)} tokens;",
              {key.split(".")[-1]: field(key) for key in reader.fields if key.endswith(("_id", "_token", "_prefix"))})


if __name__ == "__main__":
    main()
