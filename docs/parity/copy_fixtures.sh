#!/usr/bin/env bash
# Copies the committed part of the reference values into crates/models/tests/fixtures (at most 8 MB):
#   docs/parity/copy_fixtures.sh [FIXTURES]        FIXTURES: the folder that holds models/ and data-eval/
# Everything else is read from FIXTURES by tests that say `skipped` where it is absent. Left out for size: the other
# variants (modules_to_save_lm_head is a part of modules_to_save_embed_and_head), lora_all_linear of the models other
# than llama2, most merged.safetensors of llama2's variants, tokenizer.model (but for the tokenizers' own test), the chat
# templates of the trl wheel, and the large quant4 weights. changed_configs.json is made by changed_configs.py.
set -euo pipefail
shopt -s nullglob

root=$(cd "$(dirname "$0")/../.." && pwd)
from=${1:-$root/../shared/fixtures}
to=$root/crates/models/tests/fixtures
limit=$((8 * 1000 * 1000))

[ -f "$from/models/MANIFEST.json" ] || { echo "no reference values in $from" >&2; exit 1; }

# copy SET NAME...: the files below SET/NAME, under the same path; only data-eval keeps its set's name.
copy() {
  local set=$1 prefix='' name file
  shift
  [ "$set" = models ] || prefix=$set/
  for name in "$@"; do
    [ -e "$from/$set/$name" ] || { echo "missing: $from/$set/$name" >&2; exit 1; }
    while IFS= read -r -d '' file; do
      install -D -m 644 "$from/$set/$file" "$to/$prefix$file"
    done < <(cd "$from/$set" && find "$name" -type f -print0 | sort -z)
  done
}

for model in llama2 llama3 llama-sharded llama-bias-linear mistral gemma; do
  copy models "models/$model" "base/$model.json" "base/$model.safetensors"
  copy models "peft/$model/full_finetune.json" "peft/$model/train_data.safetensors" "peft/$model/lora_qv"
done
for variant in lora_all_linear rslora rank_pattern regex_target exclude_modules layers_to_transform \
  modules_to_save_embed_and_head r1_high_alpha; do
  copy models "peft/llama2/$variant"
done
copy models bnb/ckpt.json bnb/ckpt_nf4_double bnb/ckpt_nf4_double_reference.safetensors bnb/qlora_nf4_double
copy models sched packing chat tokenizers trainer
copy data-eval qa.json perplexity_lm_eval.json
python3 "$root/docs/parity/subset_quant4.py"

# What the models read is tokenizer.json; the merged weights of two variants cover the arithmetic of merging.
find "$to" -name tokenizer.model -not -path "$to/tokenizers/*" -delete
for variant in lora_all_linear rank_pattern regex_target exclude_modules layers_to_transform modules_to_save_embed_and_head \
  r1_high_alpha; do
  rm "$to/peft/llama2/$variant/merged.safetensors"
done
python3 - "$to/chat/chat.json" <<'PYTHON'
import json, sys

path = sys.argv[1]
chat = json.load(open(path, encoding="utf-8"))
chat["templates"] = [t for t in chat["templates"] if not t["template_name"].startswith("trl_")]
with open(path, "w", encoding="utf-8") as file:
    json.dump(chat, file, ensure_ascii=False, separators=(",", ":"))
    file.write("\n")
PYTHON

{
  printf '%s\n' '<!-- Written by docs/parity/copy_fixtures.sh, which also says which of these files stand here. -->'
  sed -e 's|\.\./\.\./reference/models|docs/parity|' "$from/models/README.md"
} > "$to/README.md"

size=$(find "$to" -type f -printf '%s\n' | awk '{ sum += $1 } END { print sum + 0 }')
echo "$to: $size bytes in $(find "$to" -type f | wc -l) files"
[ "$size" -le "$limit" ] || { echo "more than $limit bytes" >&2; exit 1; }
