#!/usr/bin/env bash
# Makes the seed corpora from the repository's small files, and from ../shared/fixtures where they are.
#
#   crates/fuzz/seed.sh [DIR]        DIR/TARGET/… for every target; default crates/fuzz/corpus
set -euo pipefail
cd "$(dirname "$0")/../.."
corpus=${1:-crates/fuzz/corpus}
roots=(crates/*/tests/fixtures examples docs)
[ -d ../shared/fixtures ] && roots+=(../shared/fixtures)

# files NAME [BYTES]: those of this name that are not larger.
files() { find -L "${roots[@]}" -type f -name "$1" -size "-$((${2:-16384} + 1))c" | sort; }

# seed TARGET: standard input as a seed, named by its content.
seed() {
    local dir=$corpus/$1 temporary
    mkdir -p "$dir"
    temporary=$(mktemp "$dir/.seed.XXXXXX")
    cat > "$temporary"
    mv "$temporary" "$dir/$(sha1sum < "$temporary" | cut -c1-16)"
}

# le BYTES NUMBER: little endian.
le() {
    local number=$2
    for _ in $(seq "$1"); do
        printf "\\x$(printf %02x $((number & 255)))"
        number=$((number >> 8))
    done
}

# tensors HEADER DATA: a safetensors file.
tensors() { le 8 ${#1}; printf '%s' "$1"; printf "$2"; }

# text TEXT: a string of a GGUF file.
text() { le 8 ${#1}; printf '%s' "$1"; }

# records: the first byte is the file's kind and shape (records.rs).
while IFS= read -r line; do
    for how in '\x0e' '\x1e'; do { printf "$how"; printf '%s\n' "$line"; } | seed records; done
done <<'JSON'
{"messages":[{"role":"system","content":"s"},{"role":"user","content":"Größe?"},{"role":"assistant","content":"1 m"}]}
{"conversations":[{"from":"human","value":"a"},{"from":"gpt","value":"b"}]}
{"prompt":"2+2=","completion":"4"}
{"prompt":[{"role":"user","content":"q"}],"completion":[{"role":"assistant","content":"a"}]}
{"instruction":"add","input":"1 2","output":"3"}
{"text":"\u00e9\ud83d\ude42","other":[1.5,null,{"a":true}]}
{"question":"q","text":"t","input":[{"role":"assistant","content":"a"}]}
JSON
printf '\x0f[{"text":"a"},\n {"text":"b"}\n]\n' | seed records
printf '\x08\xef\xbb\xbf{"text":"a"}\r\n\r\n{"text":"b"}' | seed records
for file in $(find examples/assets -name '*.jsonl' | sort); do
    { printf '\x08'; head -n 3 "$file"; } | seed records
done
for map in '{}' '{"prompt":"question","completion":"answer"}' '{"messages":"a","text":"a"}' '{"promt":"q"}'; do
    printf '%s' "$map" | seed columns
done

for file in $(files tokenizer.model); do seed sentencepiece < "$file"; done
{
    printf '\x0a\x0b\x0a\x05<unk>\x15\0\0\0\0\x18\x02'
    printf '\x0a\x09\x0a\x03<s>\x15\0\0\0\0\x18\x03'
    printf '\x0a\x07\x0a\x01a\x15\0\0\x80\xbf\x18\x01\x0a\x08\x0a\x02aa\x15\0\0\x80\xbf\x18\x01'
    printf '\x12\x02\x18\x02\x1a\x04\x18\x01\x20\x01'
} | seed sentencepiece

config='{"bos_token":"<s>","eos_token":{"content":"</s>"},"legacy":false,"add_bos_token":true,"add_eos_token":true,'
config+='"added_tokens_decoder":{"5":{"content":"<pad>","special":true,"lstrip":true}},'
config+='"chat_template":[{"name":"default","template":"{{ bos_token }}{{ messages[0].content }}"}]}'
{ printf '%s' "$config"; printf '\xff{"pad_token":"<pad>"}\xff'; } | seed tokenizer_files
printf '{"additional_special_tokens":["<x>"],"add_prefix_space":true}\xff{}\xff{"<x>":5,"<y>":6}\xff{{ 1 }}' | seed tokenizer_files
for file in $(files tokenizer_config.json); do seed tokenizer_files < "$file"; done

messages='system Be short.\nuser What is 1+1?\nassistant 2\nuser And 2+2?\nassistant 4'
for file in $(files '*.jinja'); do { cat "$file"; printf "\xff$messages"; } | seed chat_template; done
while IFS= read -r line; do { printf '%s' "$line"; printf "\xff$messages"; } | seed chat_template; done <<'JINJA'
{% for m in messages %}<{{ m.role }}>{% generation %}{{ m.content }}{% endgeneration %}{% endfor %}
{%- if tools %}{{ tools | tojson(indent=2) }}{% endif %}{{ messages | tojson(sort_keys=true) }}
{{ strftime_now('%d %b %Y') }}{% if messages[0]['role'] != 'system' %}{{ raise_exception('no') }}{% endif %}
{% set ns = namespace(x=0) %}{% for m in messages[::-1] %}{% set ns.x = ns.x + 1 %}{% endfor %}{{ ns.x * 'a' }}
{% macro f(x) %}{{ x.strip().split(' ')[-1] }}{% endmacro %}{% for m in messages %}{{ f(m.content) }}{% endfor %}
{{ messages | map(attribute='content') | join(',') | upper | replace('A', 'b') }}{{ range(3) | list }}{{ '%s' % 1 }}
JINJA
printf '\x06\x08\x00\x0b\x01\x07\x04\x0c\x05' | seed generation_tags
printf '\x12\x00\x13\x00\x1b\x01\x02\x0d\x03' | seed generation_tags
printf '\x02\x00\x01\x00\x28\x10' | seed quant_state
printf '\x14\x18' | seed int8_weight

# What models, adapters and runs are read from.
for file in $(files '*.safetensors' 6000); do
    seed safetensors < "$file"
    seed peft_files < "$file"
done
header='{"__metadata__":{"format":"pt"},"a":{"dtype":"F32","shape":[2],"data_offsets":[0,8]},'
header+='"b":{"dtype":"BF16","shape":[1,2],"data_offsets":[8,12]},"c":{"dtype":"U8","shape":[],"data_offsets":[12,13]}}  '
tensors "$header" '\0\0\x80\x3f\0\0\0\xc0\x80\x3f\0\0\7' | seed safetensors
printf '{"metadata":{"total_size":16},"weight_map":{"a":"model-00001-of-00002.safetensors","b":"model-00002-of-00002.safetensors"}}' |
    seed checkpoint_index
for file in $(files '*index.json'); do seed checkpoint_index < "$file"; done
for file in $(files 'config*.json'); do seed model_config < "$file"; done
for file in $(files generation_config.json); do seed generation_config < "$file"; done
printf '{"do_sample":true,"temperature":0.7,"top_k":2,"top_p":0.9,"repetition_penalty":1.1,"max_new_tokens":8,"eos_token_id":[1,2]}' |
    seed generation_config
{
    printf GGUF; le 4 3; le 8 2; le 8 4
    text general.architecture; le 4 8; text llama
    text general.alignment; le 4 4; le 4 32
    text a.floats; le 4 9; le 4 6; le 8 2; printf '\0\0\x80\x3f\0\0\xc0\x7f'
    text a.texts; le 4 9; le 4 8; le 8 2; text x; text yz
    text t; le 4 1; le 8 2; le 4 0; le 8 0
    text q; le 4 2; le 8 32; le 8 1; le 4 8; le 8 32
    printf '%30s' '' | tr ' ' '\0'
    le 8 0; head -c 24 /dev/zero; head -c 34 /dev/zero
} | seed gguf

for file in $(files adapter_config.json); do seed adapter_config < "$file"; done
printf '{"peft_type":"VERA","r":8,"target_modules":["q_proj"],"projection_prng_key":3,"save_projection":true,"d_initial":0.1}' |
    seed adapter_config
printf '{"peft_type":"IA3","target_modules":["k_proj","down_proj"],"feedforward_modules":["down_proj"]}' | seed adapter_config
printf '{"peft_type":"LORA","r":4,"lora_alpha":8,"target_modules":"all-linear","rank_pattern":{"q":2},"alpha_pattern":{"^v$":3.5},"use_rslora":true,"init_lora_weights":"pissa_niter_4","trainable_token_indices":{"embed_tokens":[1,2]},"layers_to_transform":[0,1],"layers_pattern":"layers"}' |
    seed adapter_config
lora='{"m.q_proj.lora_A.weight":{"dtype":"F32","shape":[1,2],"data_offsets":[0,8]},'
lora+='"m.q_proj.lora_B.default.weight":{"dtype":"F16","shape":[2,1],"data_offsets":[8,12]}}'
tensors "$lora" '\0\0\x80\x3f\0\0\0\xc0\0\x3c\0\0' | seed peft_files
mlx='{"fine_tune_type":"lora","num_layers":-1,"lora_parameters":{"rank":1,"scale":20.0,"dropout":0.1,"keys":["q_proj"]}}'
factors='{"layers.0.q_proj.lora_a":{"dtype":"F32","shape":[2,1],"data_offsets":[0,8]},'
factors+='"layers.0.q_proj.lora_b":{"dtype":"F16","shape":[1,2],"data_offsets":[8,12]}}'
{ le 2 ${#mlx}; printf '%s' "$mlx"; tensors "$factors" '\0\0\x80\x3f\0\0\0\xc0\0\x3c\0\0'; } | seed mlx_adapter

for file in $(files '*.toml'); do { printf '\x00'; cat "$file"; } | seed run_file; done
for file in $(files '*.y*ml'); do { printf '\x01'; cat "$file"; } | seed run_file; done
printf '\x00[model]\npath = "m"\n[data]\ntrain = "t.jsonl"\ncolumns = { prompt = "q" }\n[lora]\nr = 4\ntarget_modules = ["q_proj"]\n[lora.rank_pattern]\nb = 2\na = 1\n[train]\noutput_dir = "o"\nlearning_rate = 1e-4\noptim = "adamw_8bit"\n\xfftrain.max_steps=100\nlora.r=8' |
    seed run_file
printf '\x01model: {path: m, quant: nf4}\ndata:\n  train: &t t.jsonl\n  validation: *t\ntrain:\n  output_dir: o\n  early_stopping: {patience: 2}\n  schedule: cosine\n  warmup_ratio: 0.03\n' |
    seed run_file
# The seeds of trainer_state and optimizer_state are a run's own checkpoint, which the targets write: scripts/fuzz.
