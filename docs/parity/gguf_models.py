"""Makes small models of the families whose reference models llama.cpp cannot compute, and their reference values.

    python3 docs/parity/gguf_models.py ../shared/fixtures/models/models/llama2 OUT

Gemma 2 and 3 have query_pre_attn_scalar = head_dim, a window of 8 tokens and Gemma 3 a full layer in six, as llama.cpp
has built in; Qwen 3 its norms of queries and keys. Weights are random, the tokenizer is the one of the first directory.
Writes OUT/models/NAME and OUT/base/NAME.{json,safetensors}, as check_gguf.py and check_llama_cpp.py want them:

    burnisher export OUT/models/NAME --dtype f32 --gguf f32 --out OUT/NAME
    python3 docs/parity/check_gguf.py OUT/NAME/NAME-F32.gguf OUT/models/NAME
    python3 docs/parity/check_llama_cpp.py OUT/NAME/NAME-F32.gguf OUT/base/NAME.json
"""
import json
import pathlib
import shutil
import sys

import safetensors.torch
import torch
import transformers

COMMON = dict(hidden_size=64, intermediate_size=96, num_attention_heads=4, num_key_value_heads=2, max_position_embeddings=256,
              bos_token_id=1, eos_token_id=2, pad_token_id=0, initializer_range=0.3)
GEMMA = COMMON | dict(head_dim=32, query_pre_attn_scalar=32, sliding_window=8)
FULL = {"rope_type": "default", "rope_theta": 10_000.0}
MODELS = {
    "gemma2": lambda vocab: transformers.Gemma2Config(vocab_size=vocab, num_hidden_layers=4, attn_logit_softcapping=5.0,
                                                      final_logit_softcapping=4.0, rope_parameters=FULL, **GEMMA),
    "gemma3": lambda vocab: transformers.Gemma3TextConfig(
        vocab_size=vocab, num_hidden_layers=7,
        layer_types=["full_attention" if (layer + 1) % 6 == 0 else "sliding_attention" for layer in range(7)],
        rope_parameters={"full_attention": {"rope_type": "linear", "factor": 8.0, "rope_theta": 1_000_000.0},
                         "sliding_attention": FULL}, **GEMMA),
    "qwen3": lambda vocab: transformers.Qwen3Config(vocab_size=vocab, num_hidden_layers=3, head_dim=32, tie_word_embeddings=False,
                                                    rope_parameters={"rope_type": "default", "rope_theta": 1_000_000.0}, **COMMON),
}


def main():
    tokenizer, out = map(pathlib.Path, sys.argv[1:])
    vocab = json.loads((tokenizer / "config.json").read_text())["vocab_size"]
    (out / "base").mkdir(parents=True, exist_ok=True)
    for number, (name, config) in enumerate(MODELS.items()):
        torch.manual_seed(number)
        model = transformers.AutoModelForCausalLM.from_config(config(vocab), attn_implementation="eager").eval()
        with torch.no_grad():
            for key, value in model.named_parameters():
                if "norm" in key:
                    value.add_(0.2 * torch.randn_like(value))
        directory = out / "models" / name
        model.save_pretrained(directory)
        for file in ("tokenizer.json", "tokenizer_config.json", "special_tokens_map.json"):
            if (tokenizer / file).exists():
                shutil.copy(tokenizer / file, directory)
        ids = torch.randint(3, vocab, (1, 24))
        with torch.no_grad():
            logits = model(input_ids=ids).logits
        greedy = []
        for length in (3, 12):
            tokens = model.generate(ids[:, :length], attention_mask=torch.ones(1, length, dtype=torch.long), max_new_tokens=32,
                                    do_sample=False)
            greedy.append({"prompt": ids[0, :length].tolist(), "new_tokens": tokens[0, length:].tolist()})
        (out / "base" / f"{name}.json").write_text(json.dumps({"greedy": greedy}))
        safetensors.torch.save_file({"input_ids": ids, "attention_mask": torch.ones_like(ids), "logits": logits},
                                    out / "base" / f"{name}.safetensors")
        print(name, "first logits", logits[0, 0, :4].tolist())


if __name__ == "__main__":
    main()
