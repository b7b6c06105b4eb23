"""What sentencepiece itself says about two real models: crates/data/tests/fixtures/sentencepiece_cases.json.

    python3 docs/parity/sentencepiece_cases.py [TOKENIZERS]     TOKENIZERS: by default ../shared/data/tokenizers
"""
import json
import os
import sys

import sentencepiece

ROOT = os.path.dirname(os.path.dirname(os.path.dirname(os.path.abspath(__file__))))
FILES = ["mistral-7b-v0.1-tokenizer.model", "sentencepiece-botchan-test_model.model"]
# No text spells a special token: sentencepiece would take it for text, transformers does not.
TEXTS = ["", " ", "   ", "a", "Hello, world!", " leading space", "trailing space ", "two  spaces   three",
         "line\nbreak\n\nparagraph\r\n\tTab", "x = [i**2 for i in range(10) if i % 2 == 0]",
         "naïve café – “quotes” …", "你好，世界", "Привет, мир", "🙂👩‍👩‍👧‍👦", "don't can't I'll we've",
         "0123456789 1,000,000.50 1e-10", "UPPER lower MiXeD", "\u00a0nbsp\u200bzwsp", "____init____",
         "e\u0301 (combining)", "ﬁ ligature Ⅷ ½ ①", "ﾊﾝｶｸ カタカナ", "I saw a girl with a telescope.",
         "the the the the the the the", "    indented\n        more", "a" * 40, "▁already ▁escaped"]


def main():
    folder = sys.argv[1] if len(sys.argv) > 1 else os.path.join(ROOT, "..", "shared", "data", "tokenizers")
    models = []
    for file in FILES:
        model = sentencepiece.SentencePieceProcessor(os.path.join(folder, file))
        special = [model.unk_id(), model.bos_id(), model.eos_id(), model.pad_id()]
        cases = [{"text": text, "ids": model.encode(text), "decoded": model.decode(model.encode(text))} for text in TEXTS]
        models.append({"file": file, "vocab_size": model.get_piece_size(),
                       "special": [None if id < 0 else id for id in special], "cases": cases})
    path = os.path.join(ROOT, "crates", "data", "tests", "fixtures", "sentencepiece_cases.json")
    os.makedirs(os.path.dirname(path), exist_ok=True)
    with open(path, "w", encoding="utf-8") as out:
        json.dump({"sentencepiece": sentencepiece.__version__, "models": models}, out, ensure_ascii=False, separators=(",", ":"))
        out.write("\n")


if __name__ == "__main__":
    main()
