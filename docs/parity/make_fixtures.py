#!/usr/bin/env python3
"""Reference numbers for the tiny models:  python make_fixtures.py --out DIR [--spec specs/X.json] [--only base,peft,...]

DIR must hold the models of make_models.py with the same spec (made first when missing).
Sections: tok base peft more merge trainer bnb adam8 sched packing chat manifest.   Float32, one thread, seeded.
"""
import copy, io, json, math, os, re, shutil, subprocess, sys, time, contextlib
import common
from common import *

A, SPEC = common.args(__doc__, only=dict(default=""))
import torch, torch.nn.functional as Fn
import transformers, datasets
transformers.utils.logging.disable_progress_bar(); datasets.disable_progress_bars()
from transformers import AutoModelForCausalLM, AutoTokenizer
from safetensors.torch import load_file

torch.set_num_threads(1)
OUT = A.out
MODELS = list(SPEC["models"])
D = SPEC["data"]
NOTES = {}


def p(*x):
    return os.path.join(OUT, *x)


def gen(seed):
    return torch.Generator().manual_seed(seed)


def load(name, dtype=torch.float32):
    return AutoModelForCausalLM.from_pretrained(p("models", name), dtype=dtype, attn_implementation="eager").eval()


def vocab(name):
    return SPEC["models"][name]["cfg"]["vocab_size"]


def rnd_ids(g, V, n):
    return torch.randint(3, V, (n,), generator=g)


def batch(name, lengths, seed, side="right", prompt_frac=3):
    """padded batch: ids, mask, labels (-100 on pads and on the first len//3 tokens), position_ids"""
    g, V, T = gen(seed), vocab(name), max(lengths)
    ids = torch.zeros(len(lengths), T, dtype=torch.long)
    mask, labels, pos = torch.zeros_like(ids), torch.full_like(ids, -100), torch.zeros_like(ids)
    for i, L in enumerate(lengths):
        x = rnd_ids(g, V, L)
        s = slice(0, L) if side == "right" else slice(T - L, T)
        ids[i, s], mask[i, s], pos[i, s] = x, 1, torch.arange(L)
        lab = x.clone(); lab[: L // prompt_frac] = -100
        labels[i, s] = lab
    return ids, mask, labels, pos


def nll(logits, labels):
    """per-token NLL [B,T-1] (0 where the label is -100), as HF shifts it"""
    return Fn.cross_entropy(logits[:, :-1].float().transpose(1, 2), labels[:, 1:], ignore_index=-100, reduction="none")


def seed_of(name, k=0):
    return SPEC["seed"] * 1000 + MODELS.index(name) * 50 + k


# ---------------------------------------------------------------- tokenizers
def sec_tok():
    import sentencepiece as spm
    texts = ["", " ", "  ", "a", "Hello, world!", " leading space", "trailing space ", "two  spaces   three", "line\nbreak\n\nparagraph\r\n\tTab",
             "The Python interpreter 3.11.7 (main) [GCC 12.2.0]", "x = [i**2 for i in range(10) if i % 2 == 0]", "naïve café – “quotes” …",
             "你好，世界", "Привет, мир", "🙂👩‍👩‍👧‍👦", "don't can't I'll we've", "0123456789 1,000,000.50 1e-10", "UPPER lower MiXeD", "\u00a0nbsp\u200bzwsp",
             "<|im_start|>user\nhi<|im_end|>", "a<|eos|>b", "<s>x</s>", "____init____", "\x00\x01\x7f", "é (combining)", "ﬁ ligature Ⅷ ½",
             "the the the the the the the", "https://docs.python.org/3/library/stdtypes.html#str.format", "    indented\n        more", "a" * 40]
    texts = SPEC.get("texts", texts)
    for kind in ("bpe", "spm"):
        tok = AutoTokenizer.from_pretrained(p("tokenizers", kind))
        rows, agree = [], []
        sp = spm.SentencePieceProcessor(p("tokenizers", kind, "tokenizer.model")) if kind == "spm" else None
        for t in texts:
            e = tok(t, return_offsets_mapping=True)
            bare = tok(t, add_special_tokens=False)["input_ids"]
            r = {"text": t, "ids": e["input_ids"], "ids_no_special": bare, "tokens": tok.convert_ids_to_tokens(e["input_ids"]),
                 "offsets_chars": [list(o) for o in e["offset_mapping"]], "decoded_keep_special": tok.decode(e["input_ids"]),
                 "decoded_skip_special": tok.decode(e["input_ids"], skip_special_tokens=True)}
            if sp:
                r["sentencepiece_ids"] = sp.encode(t)
                agree.append(r["sentencepiece_ids"] == bare)
            rows.append(r)
        pair = tok("first part", "second part")
        pad = tok(["short", "a much longer sentence than that"], padding=True, padding_side="right") if tok.pad_token else None
        dump(p("tokenizers", kind + "_cases.json"), {"tokenizer": f"tokenizers/{kind}/tokenizer.json", "special": {k: [v, tok.convert_tokens_to_ids(v)] for k, v in
             (("bos", tok.bos_token), ("eos", tok.eos_token), ("unk", tok.unk_token), ("pad", tok.pad_token)) if v},
             "vocab_size": len(tok), "pair": dict(pair), "padded": dict(pad) if pad else None,
             "sentencepiece_agrees": sum(agree) if sp else None, "cases": rows})
        print("tok", kind, len(rows), "cases", f"sentencepiece agrees {sum(agree)}/{len(agree)}" if sp else "")


# ---------------------------------------------------------------- base models
@torch.no_grad()
def greedy(m, ids, n):
    out, margins = ids.clone(), []
    for _ in range(n):
        lg = m(out[None]).logits[0, -1]
        t2 = lg.topk(2).values
        margins.append(float(t2[0] - t2[1]))
        out = torch.cat([out, lg.argmax()[None]])
    return out[len(ids):], margins


def sec_base():
    for name in MODELS:
        m = load(name)
        V, L = vocab(name), D["lengths"]
        m64 = copy.deepcopy(m).double()
        ids, mask, labels, _ = batch(name, L, seed_of(name))
        idsl, maskl, labl, posl = batch(name, L, seed_of(name), side="left")
        T, S = {}, {"model": f"models/{name}", "arch": SPEC["models"][name]["arch"], "dtype_on_disk": SPEC["models"][name]["dtype"], "lengths": L}
        with torch.no_grad():
            o = m(input_ids=ids, attention_mask=mask, labels=labels)
            o64 = [m64(ids[i:i + 1, :n]).logits[0] for i, n in enumerate(L)]      # (padded rows would be NaN in double)
            T.update(input_ids=ids, attention_mask=mask, labels=labels, logits=torch.where(mask[..., None] == 1, o.logits, torch.zeros(())), token_nll=nll(o.logits, labels))
            n_tok = int((labels[:, 1:] != -100).sum())
            S["loss"] = float(o.loss); S["loss_sum"] = float(T["token_nll"].sum()); S["loss_tokens"] = n_tok
            assert abs(S["loss"] - S["loss_sum"] / n_tok) < 1e-5
            lp = -torch.log_softmax(o.logits[:, :-1], -1)
            lm = labels[:, 1:] != -100
            S["loss_label_smoothing_0.1"] = float(0.9 * T["token_nll"].sum() / n_tok + 0.1 * (lp.mean(-1) * lm).sum() / n_tok)
            S["max_abs_f32_minus_f64_logits"] = max(float((o.logits[i, :n].double() - o64[i]).abs().max()) for i, n in enumerate(L))
            ol = m(input_ids=idsl, attention_mask=maskl, position_ids=posl).logits
            T.update(left_input_ids=idsl, left_attention_mask=maskl, left_position_ids=posl, left_last_logits=ol[:, -1])
            S["left_vs_right_max_abs"] = max(float((ol[i, -n:] - o.logits[i, :n]).abs().max()) for i, n in enumerate(L))
            one = m(ids[:1, : L[0]], output_hidden_states=True)
            T["hidden_states"] = torch.cat([h for h in one.hidden_states])     # [layers+1, T, H]; last one is after the final norm
            n_long = min(96, SPEC["models"][name]["cfg"]["max_position_embeddings"])
            lo = rnd_ids(gen(seed_of(name, 1)), V, n_long)[None]
            T["long_input_ids"], T["long_logits_last8"] = lo, m(lo).logits[0, -8:]
            # packed: sequences end to end, positions restart, attention never crosses a border
            cat = torch.cat([ids[i, :n] for i, n in enumerate(L)])[None]
            pos = torch.cat([torch.arange(n) for n in L])[None]
            lab = torch.cat([labels[i, :n] for i, n in enumerate(L)])[None].clone()
            lab[pos == 0] = -100
            ref = torch.cat([m(ids[i:i + 1, :n]).logits[0] for i, n in enumerate(L)])[None]
            hf = m(input_ids=cat, position_ids=pos, attention_mask=None, use_cache=False).logits
            S["packed_hf_vs_separate_max_abs"] = float((hf - ref).abs().max())
            T.update(packed_input_ids=cat, packed_position_ids=pos, packed_labels=lab)
            S["packed_loss"] = float(nll(ref, lab).sum() / (lab[:, 1:] != -100).sum())
            # greedy: prompts picked so that no argmax is close to a tie
            best = None
            for k in range(40):
                g = gen(seed_of(name, 2) + 7919 * k)
                pr = [rnd_ids(g, V, n) for n in D["gen_prompts"]]
                res = [greedy(m, x, D["gen_new"]) for x in pr]
                mg = min(min(r[1]) for r in res)
                if min(len(set(r[0].tolist())) for r in res) < 8:
                    mg *= 0.01           # a loop of one or two tokens tests little
                if best is None or mg > best[0]:
                    best = (mg, pr, res)
                if mg > 0.02:
                    break
            mg, pr, res = best
            S["greedy"] = [{"prompt": x.tolist(), "new_tokens": r[0].tolist()} for x, r in zip(pr, res)]
            S["greedy_min_top2_margin"] = min(min(r[1]) for r in res)
            S["greedy_distinct_tokens"] = [len(set(r[0].tolist())) for r in res]
            T0 = max(len(x) for x in pr)
            gi = torch.stack([Fn.pad(x, (T0 - len(x), 0)) for x in pr]); gm = torch.stack([Fn.pad(torch.ones_like(x), (T0 - len(x), 0)) for x in pr])
            from transformers import GenerationConfig
            gc = GenerationConfig(do_sample=False, max_new_tokens=D["gen_new"], pad_token_id=0, eos_token_id=None, bos_token_id=1)
            m.generation_config = gc
            try:
                hg = m.generate(gi, attention_mask=gm, generation_config=gc)[:, T0:]
                S["hf_generate_left_padded_same"] = [hg[i].tolist() == r[0].tolist() for i, r in enumerate(res)]
            except Exception as ex:
                S["hf_generate_left_padded_same"] = repr(ex)[:200]
        m.zero_grad()
        m(input_ids=ids, attention_mask=mask, labels=labels).loss.backward()
        S["full_grads"] = {n: {"norm": float(q.grad.norm()), "sum": float(q.grad.double().sum()), "first4": q.grad.flatten()[:4].tolist()}
                           for n, q in m.named_parameters() if q.grad is not None}
        S["full_grad_norm"] = float(torch.stack([q.grad.norm() for q in m.parameters() if q.grad is not None]).norm())
        save_st(p("base", name + ".safetensors"), T)
        dump(p("base", name + ".json"), S)
        print(f"base {name:18s} loss {S['loss']:.4f} f32-f64 {S['max_abs_f32_minus_f64_logits']:.1e} left-right {S['left_vs_right_max_abs']:.1e} "
              f"packed {S['packed_hf_vs_separate_max_abs']:.1e} margin {S['greedy_min_top2_margin']:.3f} distinct {S['greedy_distinct_tokens']} generate {S['hf_generate_left_padded_same']}")


# ---------------------------------------------------------------- training data shared by the PEFT traces
def train_data(name):
    """20 micro-batches [N, bs, T], right padded, prompts masked; different numbers of valid tokens per micro-batch"""
    tr = SPEC["train"]; N = tr["steps"] * tr["accum"]; bs, T = D["train_bs"], D["train_seq"]
    g = gen(seed_of(name, 3)); out = []
    for i in range(N):
        L = torch.randint(T // 2, T + 1, (bs,), generator=g).tolist(); L[0] = T
        # a small repeating pattern so that there is something to learn
        ids, mask, labels, _ = batch(name, L, seed_of(name, 4) + (i % 4))
        pf = int(torch.randint(2, T // 3, (1,), generator=g))
        labels[:, :pf] = -100
        out.append((ids, mask, labels))
    return [torch.stack(x) for x in zip(*out)]


def trace(pm, data, mode, lr=None):
    """AdamW, cosine schedule with warmup, clipping, gradient accumulation; mode: how micro-batch losses are averaged"""
    from transformers import get_cosine_schedule_with_warmup
    tr = SPEC["train"]
    params = [q for q in pm.parameters() if q.requires_grad]
    opt = torch.optim.AdamW(params, lr=lr or tr["lr"], betas=(0.9, 0.999), eps=1e-8, weight_decay=tr["weight_decay"])
    sch = get_cosine_schedule_with_warmup(opt, tr["warmup"], tr["steps"])
    ids, mask, labels = data
    micro, stepl, gns, lrs = [], [], [], []
    pm.train()
    for s in range(tr["steps"]):
        idx = range(s * tr["accum"], (s + 1) * tr["accum"])
        total = int(sum((labels[i][:, 1:] != -100).sum() for i in idx))
        acc = 0.0
        for i in idx:
            lg = pm(input_ids=ids[i], attention_mask=mask[i]).logits
            t = nll(lg, labels[i]); n = (labels[i][:, 1:] != -100).sum()
            loss = t.sum() / total if mode == "tokens" else t.sum() / n / tr["accum"]
            loss.backward()
            micro.append(float(t.sum() / n)); acc += float(loss)
        gns.append(float(torch.nn.utils.clip_grad_norm_(params, tr["clip"])))
        lrs.append(opt.param_groups[0]["lr"])
        opt.step(); sch.step(); opt.zero_grad(set_to_none=True)
        stepl.append(acc)
    pm.eval()
    return {"mode": mode, "micro_losses": micro, "step_losses": stepl, "grad_norms": gns, "lrs": lrs}


def file_key(n, keys):
    c = re.sub(r"\.modules_to_save\.default", "", n)
    c = re.sub(r"\.original_module", "", c)
    c = re.sub(r"\.default(?=\.|$)", "", c)
    for k in (c, re.sub(r"\.token_adapter\.trainable_tokens_delta", ".token_adapter.trainable_tokens_delta", c)):
        if k in keys:
            return k
    return n


def perturb(pm, cfg, g, b_std):
    """move every trainable parameter off its special initial value"""
    kind = str(cfg.peft_type).split(".")[-1]
    mutated = isinstance(getattr(cfg, "init_lora_weights", True), str)
    with torch.no_grad():
        for n, q in pm.named_parameters():
            if not q.requires_grad:
                continue
            r = torch.randn(q.shape, generator=g)
            if "lora_magnitude_vector" in n:
                q.mul_(1 + 0.1 * r)
            elif "modules_to_save" in n:
                q.add_(0.05 * r)
            elif "trainable_tokens" in n:
                q.add_(0.1 * r)
            elif "ia3_l" in n:
                q.add_(0.3 * r)
            elif "vera_lambda_b" in n:
                q.copy_(0.3 * r)
            elif "vera_lambda_d" in n:
                q.add_(0.05 * r)
            elif mutated and ("lora_A" in n or "lora_B" in n):
                q.add_(0.02 * r)
            elif "lora_B" in n or "lora_embedding_A" in n:
                q.copy_(b_std * r)          # (for embeddings it is A that starts at zero)
            elif "lora_" in n and n.endswith("bias"):
                q.copy_(0.05 * r)
            elif n.endswith("bias"):
                q.add_(0.05 * r)


def lin_targets(name):
    return ["qkv_proj"] if SPEC["models"][name]["arch"] == "phi3" else ["q_proj", "v_proj"]


def variant(name, vname, cfg, note="", full_merge=True, keep_final=True, init_patch=None, lr=None, data_store={}):
    from peft import get_peft_model, PeftModel
    base = load(name)
    W0 = {n: q.detach().clone() for n, q in base.state_dict().items()}
    torch.manual_seed(seed_of(name, 5))
    with (init_patch() if init_patch else contextlib.nullcontext()):
        pm = get_peft_model(base, cfg)
    pc = pm.peft_config["default"]
    pc.base_model_name_or_path = f"models/{name}"
    d = p("peft", name, vname)
    shutil.rmtree(d, ignore_errors=True)
    mutated = isinstance(getattr(pc, "init_lora_weights", True), str)
    S = {"model": f"models/{name}", "variant": vname, "peft_type": str(pc.peft_type).split(".")[-1], "note": note}
    T = {}
    if mutated:
        # the init changes the base weights: keep A, B and the residual as the init left them
        I = {}
        for n, mod in pm.named_modules():
            if hasattr(mod, "lora_A") and "default" in getattr(mod, "lora_A", {}):
                k = n.replace("base_model.model.", "")
                I[k + ".lora_A"] = mod.lora_A["default"].weight; I[k + ".lora_B"] = mod.lora_B["default"].weight
                I[k + ".base_after_init"] = mod.get_base_layer().weight
        save_st(os.path.join(d, "init.safetensors"), I)
        with torch.no_grad():
            i0, m0, l0, _ = batch(name, D["lengths"], seed_of(name))
            S["init_logits_vs_base_max_abs"] = float(((pm(input_ids=i0, attention_mask=m0).logits - load(name)(input_ids=i0, attention_mask=m0).logits) * m0[..., None]).abs().max())
        if vname.startswith(("pissa", "olora")):
            pm.save_pretrained(os.path.join(d, "init_adapter"))
    perturb(pm, pc, gen(seed_of(name, 6)), SPEC["lora"]["b_std"])
    pm.eval()
    pm.save_pretrained(d)
    if vname.startswith(("pissa", "olora")):
        conv = os.path.join(d, "converted_lora")
        pm2 = copy.deepcopy(pm)
        init_copy = os.path.join(d, "init_adapter")
        pm2.save_pretrained(conv, path_initial_model_for_weight_conversion=init_copy)
    for root, _, fs in os.walk(d):
        for f in fs:
            if f == "README.md":
                os.remove(os.path.join(root, f))
    af = load_file(os.path.join(d, "adapter_model.safetensors"))
    S["adapter_keys"] = {k: list(v.shape) for k, v in af.items()}
    S["trainable"] = {n: list(q.shape) for n, q in pm.named_parameters() if q.requires_grad}
    S["scaling"] = {n.replace("base_model.model.", ""): float(mod.scaling["default"]) for n, mod in pm.named_modules()
                    if isinstance(getattr(mod, "scaling", None), dict) and "default" in mod.scaling}
    ids, mask, labels, _ = batch(name, D["lengths"], seed_of(name))
    pm.zero_grad()
    o = pm(input_ids=ids, attention_mask=mask, labels=labels)
    S["loss"] = float(o.loss)
    T["logits_seq0"] = o.logits[0]
    o.loss.backward()
    miss = []
    for n, q in pm.named_parameters():
        if q.requires_grad:
            k = file_key(n, af)
            if q.grad is None:
                miss.append(n); continue
            T["grad." + k] = q.grad
    S["no_grad_for"] = miss
    pm.zero_grad()
    # reload from disk
    with torch.no_grad():
        if not mutated or vname.startswith(("pissa", "olora")):
            # (a PiSSA/OLoRA adapter_config makes peft repeat the init on load, so the residual base comes back)
            torch.manual_seed(seed_of(name, 5))
            rl = PeftModel.from_pretrained(load(name), d).eval()
            S["reload_max_abs"] = float((rl(input_ids=ids, attention_mask=mask).logits[0] - o.logits[0]).abs().max())
            del rl
        if os.path.isdir(os.path.join(d, "converted_lora")):
            rl = PeftModel.from_pretrained(load(name), os.path.join(d, "converted_lora")).eval()
            S["converted_lora_max_abs_logit_diff"] = float((rl(input_ids=ids, attention_mask=mask).logits[0] - o.logits[0]).abs().max())
        # merge
        try:
            mg = copy.deepcopy(pm).merge_and_unload(safe_merge=True).eval()
            S["merged_logits_max_abs_diff"] = float((mg(input_ids=ids, attention_mask=mask).logits[0] - o.logits[0]).abs().max())
            ch = {n: q for n, q in mg.state_dict().items() if n not in W0 or not torch.equal(q, W0[n])}
            S["merged_changed"] = sorted(ch)
            if vname.startswith("modules_to_save"):      # (those two are in the adapter file already)
                ch = {n: q for n, q in ch.items() if "lm_head" not in n and "embed_tokens" not in n}
            if not full_merge:
                ch = {n: q for n, q in ch.items() if re.search(r"layers\.0\..*(q_proj|qkv_proj|down_proj)", n) or "layers" not in n}
            save_st(os.path.join(d, "merged.safetensors"), ch)
        except Exception as ex:
            S["merge_error"] = repr(ex)[:300]
    data = train_data(name)
    for mode in ("tokens", "mean"):
        q = copy.deepcopy(pm)
        S["trace_" + mode] = trace(q, data, mode, lr)
        if mode == "tokens":
            F_ = {file_key(n, af): v for n, v in q.named_parameters() if v.requires_grad}
            S["final_norms"] = {n: float(v.detach().norm()) for n, v in F_.items()}
            if keep_final:
                save_st(os.path.join(d, "adapter_after_10_steps.safetensors"), F_)
    save_st(os.path.join(d, "reference.safetensors"), T)
    dump(os.path.join(d, "reference.json"), S)
    print(f"peft {name}/{vname:22s} loss {S['loss']:.4f} reload {S.get('reload_max_abs', float('nan')):.0e} merged {S.get('merged_logits_max_abs_diff', S.get('merge_error'))!s:.9} "
          f"trace {S['trace_tokens']['step_losses'][0]:.4f}->{S['trace_tokens']['step_losses'][-1]:.4f}")


_FIX = {}


def bnb_weights():
    import bitsandbytes.functional as F
    B = SPEC["bnb"]; g = gen(B["seed"])
    weights = {"x".join(map(str, s)): torch.randn(*s, generator=g) * B["scale"] for s in B["shapes"]}
    sp = torch.randn(8, 64, generator=g) * B["scale"]
    sp[0] = 0.0; sp[1, 1:] = 0.0; sp[2] = 3.0; sp[3] = -0.0; sp[4] *= 1e-20; sp[5] *= 1e20; sp[6, 0] = -50.0; sp[7] = -sp[7].abs()
    weights["special8x64"] = sp
    mid = lambda c: (c.sort().values[:-1] + c.sort().values[1:]) / 2
    for qt in ("nf4", "fp4"):
        c = F.get_4bit_type(qt, device="cpu")
        row = torch.cat([mid(c), -mid(c), torch.tensor([1.0, -1.0])]); weights["ties_" + qt] = torch.cat([row, torch.zeros(64 - len(row))])[None]
    return weights, g


def bnb_fix():
    """bitsandbytes 0.50.2's native CPU dequantize_4bit takes wrong scales when the last dimension is a multiple of 32 but not of the
    blocksize (blocks then straddle rows).  Use its generic implementation on CPU instead; remember where the native one was off."""
    if _FIX:
        return
    import bitsandbytes as bnb, bitsandbytes.functional as F
    from bitsandbytes.backends.default.ops import _dequantize_4bit_compute
    from bitsandbytes.backends.utils import _get_4bit_code
    bad = []
    for wn, w in bnb_weights()[0].items():
        for qt in ("nf4", "fp4"):
            for bs in (64, 128):
                q, st = F.quantize_4bit(w, blocksize=bs, quant_type=qt)
                a = F.dequantize_4bit(q, st).reshape(-1); b = _dequantize_4bit_compute(q.reshape(-1), st.absmax, st.code, bs, list(w.shape), torch.float32).reshape(-1)
                if not torch.allclose(a, b, rtol=1e-6, atol=0):
                    bad.append(f"{wn}.{qt}.{bs}")

    def deq(A, absmax, blocksize, quant_type, shape, dtype):
        A = A if A.dtype == torch.uint8 else A.view(torch.uint8)
        return _dequantize_4bit_compute(A.reshape(-1), absmax.float(), _get_4bit_code(quant_type, A.device), blocksize, list(shape), dtype)
    lib = torch.library.Library("bitsandbytes", "IMPL")
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        lib.impl("dequantize_4bit", deq, "CPU", allow_override=True)
    _FIX.update(lib=lib, native_wrong=bad)
    q, st = F.quantize_4bit(torch.randn(64, 96), blocksize=64, quant_type="nf4")
    assert torch.equal(F.dequantize_4bit(q, st), _dequantize_4bit_compute(q.reshape(-1), st.absmax, st.code, 64, [64, 96], torch.float32))


def nearest8(x, code, bs):
    """exact nearest code (ties to the lower one) and absmax, flattened blocks"""
    f = x.reshape(-1).float(); n = f.numel(); nb = -(-n // bs)
    a = Fn.pad(f, (0, nb * bs - n)).view(nb, bs).abs().amax(1)
    y = (f * (1 / a.clamp(min=1e-38)).repeat_interleave(bs)[:n]).clamp(-1, 1)
    return torch.bucketize(y, (code[1:] + code[:-1]) / 2).to(torch.uint8), a


@contextlib.contextmanager
def loftq_on_cpu():
    """peft's loftq_init moves tensors to 'cuda'; run the identical code with that device name replaced by 'cpu'."""
    bnb_fix()
    import inspect, peft.utils.loftq_utils as lq, peft.tuners.lora.layer as ll
    src = inspect.getsource(lq.loftq_init).replace('else "cuda"', 'else "cpu"')
    ns = dict(vars(lq)); exec(compile(src, "loftq_init_cpu", "exec"), ns)
    old = ll.loftq_init
    ll.loftq_init = ns["loftq_init"]
    try:
        yield
    finally:
        ll.loftq_init = old


def sec_peft():
    from peft import LoraConfig, IA3Config, VeraConfig, LoftQConfig
    r, al, r2 = SPEC["lora"]["r"], SPEC["lora"]["alpha"], SPEC["lora"]["rank_pattern_r"]
    main, bm = SPEC["peft_main"], SPEC["peft_bias"]
    nl = lambda n: SPEC["models"][n]["cfg"]["num_hidden_layers"]
    lc = lambda **k: LoraConfig(**{**dict(r=r, lora_alpha=al, lora_dropout=0.0, bias="none", task_type="CAUSAL_LM", target_modules=["q_proj", "v_proj"]), **k})
    for name in MODELS:
        data = train_data(name)
        save_st(p("peft", name, "train_data.safetensors"), dict(input_ids=data[0], attention_mask=data[1], labels=data[2]))
        variant(name, "lora_qv", lc(target_modules=lin_targets(name)), keep_final=True)
        variant(name, "lora_all_linear", lc(target_modules="all-linear"), full_merge=name == main, keep_final=name == main)
        # full fine-tuning trace (all parameters trainable; tied weights once)
        S = {}
        for mode in ("tokens", "mean"):
            m = load(name).requires_grad_(True)
            S[mode] = trace(m, data, mode, lr=SPEC["train"]["lr"] / 5)
            S[mode]["final_norms"] = {n: float(q.detach().norm()) for n, q in m.named_parameters()}
        dump(p("peft", name, "full_finetune.json"), {"model": f"models/{name}", "lr": SPEC["train"]["lr"] / 5, "note": "no adapter; AdamW weight decay on every parameter", **S})
    M = main
    variant(M, "rslora", lc(use_rslora=True))
    variant(M, "dora", lc(use_dora=True))
    variant(M, "dora_all_linear", lc(use_dora=True, target_modules="all-linear"), full_merge=False, keep_final=False)
    variant(M, "rsdora", lc(use_rslora=True, use_dora=True), keep_final=False)
    variant(M, "modules_to_save_lm_head", lc(modules_to_save=["lm_head"]), keep_final=False)
    variant(M, "modules_to_save_embed_and_head", lc(modules_to_save=["embed_tokens", "lm_head"]), keep_final=False)
    variant(M, "rank_pattern", lc(rank_pattern={"layers.0.self_attn.q_proj": r2, "down_proj": r2 + 2}, alpha_pattern={"layers.1.self_attn.v_proj": al * 2, r"^model\.layers\.0\.mlp\.down_proj": 5},
                                 target_modules=["q_proj", "v_proj", "down_proj"]), note="rank_pattern and alpha_pattern keys are regexes matched at the end of the module name")
    variant(M, "layers_to_transform", lc(layers_to_transform=[nl(M) - 1], target_modules=["q_proj", "k_proj", "o_proj"]))
    variant(M, "regex_target", lc(target_modules=r".*\.layers\.0\..*(gate|up)_proj", r=r2))
    variant(M, "exclude_modules", lc(target_modules="all-linear", exclude_modules=["k_proj", "gate_proj"]), full_merge=False, keep_final=False)
    variant(M, "embed_tokens", lc(target_modules=["embed_tokens", "q_proj"]), keep_final=False, note="LoRA on the embedding: lora_embedding_A [r,V], lora_embedding_B [H,r]; peft also saves the base embedding")
    variant(M, "lm_head_target", lc(target_modules=["lm_head", "v_proj"]), keep_final=False)
    variant(M, "lora_bias", lc(lora_bias=True), note="lora_bias=True: bias on lora_B; merging is refused by peft when the base layer has no bias")
    variant(M, "trainable_tokens", lc(trainable_token_indices=[3, 7, 11]), note="trainable_token_indices on the embedding")
    variant(M, "r1_high_alpha", lc(r=1, lora_alpha=32, target_modules=["o_proj"]))
    variant(bm, "bias_lora_only", lc(bias="lora_only"), note="biases of the adapted layers train too")
    variant(bm, "bias_all", lc(bias="all"), note="every bias of the model trains")
    variant(bm, "lora_bias", lc(lora_bias=True), note="as llama2/lora_bias, on layers that have a bias, so that it can merge")
    variant(bm, "dora", lc(use_dora=True), note="DoRA on layers with a bias")
    variant(M, "pissa", lc(init_lora_weights="pissa"), note="singular vectors are only defined up to sign: compare lora_B@lora_A and the residual base")
    variant(M, "pissa_niter_4", lc(init_lora_weights="pissa_niter_4"), note="randomised SVD (torch.svd_lowrank, seeded): compare products loosely")
    variant(M, "olora", lc(init_lora_weights="olora"), note="QR init; sign convention of LAPACK's QR; compare products")
    for it in (1, 5):
        variant(M, f"loftq4_iter{it}", lc(init_lora_weights="loftq", loftq_config=LoftQConfig(loftq_bits=4, loftq_iter=it)), init_patch=loftq_on_cpu,
                note="peft loftq_init with its hard-coded 'cuda' device replaced by 'cpu'; NF4, blocksize 64, no double quant; init_logits_vs_base is not 0 (quantised base)")
    variant(M, "ia3", IA3Config(task_type="CAUSAL_LM", target_modules=["k_proj", "v_proj", "down_proj"], feedforward_modules=["down_proj"]))
    variant(M, "ia3_attn", IA3Config(task_type="CAUSAL_LM", target_modules=["q_proj", "o_proj"], feedforward_modules=[]))
    variant(M, "vera", VeraConfig(r=r * 4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", d_initial=0.1, projection_prng_key=3, save_projection=True))
    variant(M, "vera_all", VeraConfig(r=r * 2, target_modules=["q_proj", "v_proj", "down_proj"], task_type="CAUSAL_LM", save_projection=True),
            note="different shapes share vera_A/vera_B by slicing", full_merge=False, keep_final=False)
    variant(M, "vera_no_projection", VeraConfig(r=r * 4, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM", projection_prng_key=3, save_projection=False),
            note="vera_A/vera_B must be regenerated from projection_prng_key with torch's CPU generator (see ../vera for the values)", keep_final=False)


# ---------------------------------------------------------------- methods with a loop of their own
def more_start(name, vname, cfg, b_std=None):
    """an adapter off its initial values, saved; reference values of one pass as in `variant`"""
    from peft import get_peft_model
    torch.manual_seed(seed_of(name, 5))
    pm = get_peft_model(load(name), cfg)
    pm.peft_config["default"].base_model_name_or_path = f"models/{name}"
    g = gen(seed_of(name, 6))
    if b_std:
        perturb(pm, cfg, g, b_std)
        with torch.no_grad():
            for n, q in pm.named_parameters():
                if "lora_E" in n:
                    q.copy_(0.5 * torch.randn(q.shape, generator=g))
                elif str(cfg.peft_type).endswith("ADALORA") and ("lora_A" in n or "lora_B" in n):
                    q.copy_(0.15 * torch.randn(q.shape, generator=g))
    pm.eval()
    d = p("peft_more", name, vname)
    shutil.rmtree(d, ignore_errors=True)
    more_save(pm, d)
    return pm, d, {"model": f"models/{name}", "variant": vname, "peft_type": str(cfg.peft_type).split(".")[-1]}


def more_save(pm, d):
    pm.save_pretrained(d)
    if os.path.exists(os.path.join(d, "README.md")):
        os.remove(os.path.join(d, "README.md"))


def more_pass(pm, name, d, S, ortho=False):
    """loss, gradients and (first sequence) logits; with `ortho`, of PEFT's loss with the orthogonality term"""
    ids, mask, labels, _ = batch(name, D["lengths"], seed_of(name))
    pm.zero_grad()
    o = pm(input_ids=ids, attention_mask=mask, labels=labels)
    n = (labels[:, 1:] != -100).sum()
    plain = nll(o.logits, labels).sum() / n
    S["loss"] = float(plain)
    T = {"logits_seq0": o.logits[0]}
    if ortho:
        S["loss_with_orthogonality"] = float(o.loss)
        o.loss.backward(retain_graph=True)
        T.update({"ortho_grad." + file_key(k, ()).replace(".default", ""): q.grad.clone() for k, q in pm.named_parameters() if q.requires_grad})
        pm.zero_grad()
    plain.backward()
    T.update({"grad." + file_key(k, ()).replace(".default", ""): q.grad for k, q in pm.named_parameters() if q.requires_grad})
    save_st(os.path.join(d, "reference.safetensors"), T)
    pm.zero_grad()


def more_loop(pm, name, opt, lr, after=None, loss_of=None):
    """ten steps as in `trace`: cosine with warmup, token-weighted accumulation, clipping"""
    from transformers import get_cosine_schedule_with_warmup
    tr = SPEC["train"]
    sch = get_cosine_schedule_with_warmup(opt, tr["warmup"], tr["steps"])
    ids, mask, labels = train_data(name)
    params = [q for q in pm.parameters() if q.requires_grad]
    R = {"step_losses": [], "grad_norms": [], "lrs": []}
    pm.train()
    for s in range(tr["steps"]):
        idx = range(s * tr["accum"], (s + 1) * tr["accum"])
        total, acc = int(sum((labels[i][:, 1:] != -100).sum() for i in idx)), 0.0
        for i in idx:
            o = pm(input_ids=ids[i], attention_mask=mask[i], labels=labels[i])
            t = nll(o.logits, labels[i]).sum()
            loss = t / total + (loss_of(o, t / (labels[i][:, 1:] != -100).sum()) / tr["accum"] if loss_of else 0.0)
            loss.backward()
            acc += float(t) / total
        R["grad_norms"].append(float(torch.nn.utils.clip_grad_norm_(params, tr["clip"])))
        R["lrs"].append(opt.param_groups[0]["lr"]); R["step_losses"].append(acc)
        opt.step(); sch.step()
        if after:
            after(s + 1)
        opt.zero_grad(set_to_none=True)
    pm.eval()
    return R


def sec_more():
    """AdaLoRA with its allocator, LoRA-FA's optimizer, EVA on data, orthogonal initialisation"""
    from peft import AdaLoraConfig, LoraConfig, PeftModel
    from peft.optimizers import create_lorafa_optimizer
    import peft.optimizers.lorafa as lorafa
    import peft.tuners.lora.eva as eva
    tr, M, al = SPEC["train"], SPEC["peft_main"], SPEC["lora"]["alpha"]
    tg = ["q_proj", "v_proj"]

    # AdaLoRA: from 4 modules of 6 triplets to 10 in all; every second step, two steps of warmup, two at the end
    cfg = AdaLoraConfig(task_type="CAUSAL_LM", target_modules=tg, target_r=2, init_r=6, tinit=2, tfinal=2, deltaT=2, beta1=0.85, beta2=0.85,
                        orth_reg_weight=0.5, total_step=tr["steps"], lora_alpha=al, lora_dropout=0.0)
    pm, d, S = more_start(M, "adalora", cfg, b_std=0.15)
    more_pass(pm, M, d, S, ortho=True)
    S["ranknum"] = 6
    mg = copy.deepcopy(pm).merge_and_unload(safe_merge=True)
    save_st(os.path.join(d, "merged.safetensors"), {n: q for n, q in mg.state_dict().items() if "layers.0" in n and "v_proj" in n})
    opt = torch.optim.AdamW([q for q in pm.parameters() if q.requires_grad], lr=tr["lr"], betas=(0.9, 0.999), eps=1e-8, weight_decay=tr["weight_decay"])
    budgets, patterns, sums = [], [], []
    al_ = pm.base_model.rankallocator

    def allocate(step):
        pm.base_model.update_and_allocate(step)
        budgets.append(al_.budget_schedule(step)[0])
        rp = pm.peft_config["default"].rank_pattern
        patterns.append({k.replace(".lora_E.default", ""): v for k, v in rp.items()} if rp else None)
        sums.append({k.replace(".default", ""): float(v.double().sum()) for k, v in al_.exp_avg_ipt.items()})

    def ortho(o, mean):
        # PEFT adds the term to the loss that transformers gives; here it enters once per step, whatever the accumulation is
        q = [x @ x.T if "lora_A" in n else x.T @ x for n, x in pm.named_parameters() if "lora_A" in n or "lora_B" in n]
        r = sum(torch.norm(c - torch.eye(len(c)), p="fro") for c in q) / len(q) * 0.5
        assert abs(float(o.loss) - float(mean) - float(r)) < 1e-4
        return r
    S["trace"] = more_loop(pm, M, opt, tr["lr"], allocate, ortho)
    S["trace"].update(budgets=budgets, rank_patterns=patterns, exp_avg_ipt_sums=sums)
    S["final_norms"] = {n.replace(".default", ""): float(q.detach().norm()) for n, q in pm.named_parameters() if q.requires_grad}
    # as PEFT saves it now: only the triplets that survive
    more_save(pm, os.path.join(d, "after_10_steps"))
    ids, mask, labels, _ = batch(M, D["lengths"], seed_of(M))
    with torch.no_grad():
        now = pm(input_ids=ids, attention_mask=mask).logits[0]
        back = PeftModel.from_pretrained(load(M), os.path.join(d, "after_10_steps")).eval()(input_ids=ids, attention_mask=mask).logits[0]
        S["reload_max_abs"] = float((now - back).abs().max())
        save_st(os.path.join(d, "after_10_steps", "reference.safetensors"), {"logits_seq0": now})
    dump(os.path.join(d, "reference.json"), S)
    print("more adalora", budgets, [sum(map(sum, x.values())) if x else None for x in patterns], S["trace"]["step_losses"], "reload", S["reload_max_abs"])

    # LoRA-FA: PEFT's optimizer, whose projection runs in bf16 where the machine has it; here in f32
    lorafa.is_bf16_available = lambda *a, **k: False
    cfg = LoraConfig(task_type="CAUSAL_LM", target_modules=tg, r=4, lora_alpha=al, lora_dropout=0.0)
    pm, d, S = more_start(M, "lora_fa", cfg, b_std=SPEC["lora"]["b_std"])
    for vname, eps in (("lora_fa", None), ("lora_fa_small_epsilon", 1e-12)):
        # (its epsilon comes before the bias correction, PyTorch's after it: with a small one the two are the same)
        q, d, S = copy.deepcopy(pm), p("peft_more", M, vname), {**S, "variant": vname}
        opt = create_lorafa_optimizer(q, r=4, lora_alpha=al, lr=tr["lr"], weight_decay=tr["weight_decay"])
        if eps:
            opt.param_groups[0]["eps"] = eps
        S["eps"], S["weight_decay"] = opt.param_groups[0]["eps"], tr["weight_decay"]
        S["trace"] = more_loop(q, M, opt, tr["lr"])
        S["final_norms"] = {n.replace(".default", ""): float(x.detach().norm()) for n, x in q.named_parameters() if "lora_" in n}
        if eps:
            save_st(os.path.join(d, "adapter_after_10_steps.safetensors"), {n.replace(".default", ""): x for n, x in q.named_parameters() if "lora_B" in n})
        dump(os.path.join(d, "reference.json"), S)
        print("more", vname, S["trace"]["step_losses"])

    # EVA: three batches of the training data; the inputs that the modules saw, without padding
    from peft import EvaConfig
    cfg = LoraConfig(task_type="CAUSAL_LM", target_modules=tg + ["o_proj"], r=4, lora_alpha=al, init_lora_weights="eva", eva_config=EvaConfig(rho=2.5))
    from peft import get_peft_model
    torch.manual_seed(seed_of(M, 5))
    pm = get_peft_model(load(M), cfg).eval()
    pm.peft_config["default"].base_model_name_or_path = f"models/{M}"
    d = p("peft_more", M, "eva"); shutil.rmtree(d, ignore_errors=True)
    data = train_data(M)
    batches = [dict(input_ids=data[0][i], attention_mask=data[1][i]) for i in range(3)]
    T = {}
    hooks = []
    for n, mod in pm.named_modules():
        if hasattr(mod, "base_layer") and ("q_proj" in n or "o_proj" in n):
            k = n.replace("base_model.model.", "")
            hooks.append(mod.register_forward_hook(lambda m, a, o, k=k: T.setdefault(k, []).append(a[0].detach())))
    with torch.no_grad(), pm.disable_adapter():
        for b in batches:
            pm(**b)
    for h in hooks:
        h.remove()
    T = {f"inputs.{k}.{i}": x[batches[i]["attention_mask"].bool()] for k, xs in T.items() for i, x in enumerate(xs)}
    # exact decompositions in the place of torch.svd_lowrank's random ones, and every layer is done after its third batch
    Pca, calls, raw = eva.IncrementalPCA, {}, eva.SVDHook.__call__
    eva.IncrementalPCA = lambda lowrank, lowrank_seed, **k: Pca(lowrank=False, **k)

    def counted(self, *a):
        calls[self.name] = calls.get(self.name, 0) + 1
        raw(self, *a)
        self.converged = torch.full((self.n_components,), calls[self.name] >= len(batches))
    eva.SVDHook.__call__ = counted
    eva.initialize_lora_eva_weights(pm, batches, show_progress_bar=False)
    eva.SVDHook.__call__, eva.IncrementalPCA = raw, Pca
    assert set(calls.values()) == {len(batches)}, calls
    more_save(pm, d)
    save_st(os.path.join(d, "reference.safetensors"), T)
    S = {"model": f"models/{M}", "variant": "eva", "peft_type": "LORA",
         "batches": max(calls.values()),
         "note": "inputs of q_proj are those of v_proj, too; signs of the rows of A are arbitrary; B is 0",
         "ranks": {n.replace("base_model.model.", ""): mod.r["default"] for n, mod in pm.named_modules() if hasattr(mod, "lora_A") and "default" in mod.lora_A},
         "scaling": {n.replace("base_model.model.", ""): mod.scaling["default"] for n, mod in pm.named_modules() if hasattr(mod, "lora_A") and "default" in mod.lora_A}}
    dump(os.path.join(d, "reference.json"), S)
    print("more eva", S["ranks"])

    # orthogonal initialisation: A and B as drawn, of which only the structure is comparable, and ten steps from there
    cfg = LoraConfig(task_type="CAUSAL_LM", target_modules=tg, r=4, lora_alpha=al, lora_dropout=0.0, init_lora_weights="orthogonal")
    pm, d, S = more_start(M, "orthogonal", cfg)
    more_pass(pm, M, d, S)
    S["b_times_a_max_abs"] = max(float((m.lora_B["default"].weight @ m.lora_A["default"].weight).abs().max()) for m in pm.modules() if hasattr(m, "lora_A") and "default" in m.lora_A)
    S["norms"] = {n.replace(".default", ""): float(q.detach().norm()) for n, q in pm.named_parameters() if "lora_" in n}
    opt = torch.optim.AdamW([q for q in pm.parameters() if q.requires_grad], lr=tr["lr"], betas=(0.9, 0.999), eps=1e-8, weight_decay=tr["weight_decay"])
    S["trace"] = more_loop(pm, M, opt, tr["lr"])
    S["final_norms"] = {n.replace(".default", ""): float(q.detach().norm()) for n, q in pm.named_parameters() if q.requires_grad}
    dump(os.path.join(d, "reference.json"), S)
    print("more orthogonal", S["trace"]["step_losses"], S["b_times_a_max_abs"])
# ---------------------------------------------------------------- virtual tokens: prompt tuning and prefix tuning
def virtual_trace(pm, data, n):
    """trace() with mode tokens, for a model whose logits begin with those of n virtual tokens"""
    class WithoutVirtual(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.pm = pm

        def forward(self, **k):
            o = self.pm(**k)
            o.logits = o.logits[:, n:]
            return o
    return trace(WithoutVirtual(), data, "tokens")


def virtual_variant(name, vname, cfg, note="", whole=True):
    """as variant(); without whole: files, one row of logits and the loss"""
    from peft import get_peft_model, PeftModel
    torch.manual_seed(seed_of(name, 5))
    pm = get_peft_model(load(name), cfg)
    pc = pm.peft_config["default"]
    pc.base_model_name_or_path = f"models/{name}"
    d = p("peft_more", name, vname)
    shutil.rmtree(d, ignore_errors=True)
    g = gen(seed_of(name, 6))
    with torch.no_grad():
        for _, q in pm.named_parameters():
            if q.requires_grad:
                q.add_(0.1 * torch.randn(q.shape, generator=g))
    pm.eval()
    pm.save_pretrained(d)
    if os.path.exists(os.path.join(d, "README.md")):
        os.remove(os.path.join(d, "README.md"))
    af = load_file(os.path.join(d, "adapter_model.safetensors"))
    prompt = str(pc.peft_type).endswith("PROMPT_TUNING")
    n = pc.num_virtual_tokens if prompt else 0
    S = {"model": f"models/{name}", "variant": vname, "peft_type": str(pc.peft_type).split(".")[-1], "note": note,
         "adapter_keys": {k: list(v.shape) for k, v in af.items()}}
    ids, mask, labels, _ = batch(name, D["lengths"], seed_of(name))
    pm.zero_grad()
    o = pm(input_ids=ids, attention_mask=mask, labels=labels)
    S["loss"] = float(o.loss)
    T = {"logits_seq0": o.logits[0]}
    with torch.no_grad():
        rl = PeftModel.from_pretrained(load(name), d).eval()
        S["reload_max_abs"] = float((rl(input_ids=ids, attention_mask=mask).logits[0] - o.logits[0]).abs().max())
    if whole:
        o.loss.backward()
        T["grad.prompt_embeddings"] = pm.prompt_encoder["default"].embedding.weight.grad
        pm.zero_grad()
        q = copy.deepcopy(pm)
        S["trace_tokens"] = virtual_trace(q, train_data(name), n)
        T["after_10_steps.prompt_embeddings"] = q.prompt_encoder["default"].embedding.weight.detach()
    save_st(os.path.join(d, "reference.safetensors"), T)
    dump(os.path.join(d, "reference.json"), S)
    print(f"virtual {name}/{vname:22s} loss {S['loss']:.4f} reload {S['reload_max_abs']:.0e}")


def sec_virtual():
    from peft import PromptTuningConfig, PrefixTuningConfig
    M = SPEC["peft_main"]
    k = dict(num_virtual_tokens=3, task_type="CAUSAL_LM")
    virtual_variant(M, "prompt_tuning", PromptTuningConfig(**k), note="logits_seq0 begins with the virtual tokens")
    virtual_variant(M, "prefix_tuning", PrefixTuningConfig(**k))
    virtual_variant(M, "prefix_projection", PrefixTuningConfig(prefix_projection=True, encoder_hidden_size=16, **k), whole=False,
                    note="the file holds what the projection makes, not the projection")
    for name in ("mistral", "gemma2"):
        virtual_variant(name, "prefix_tuning", PrefixTuningConfig(**k), whole=False, note="grouped heads; the window covers virtual tokens as any other")


# ---------------------------------------------------------------- adapter arithmetic
def sec_merge():
    from peft import LoraConfig, get_peft_model
    M, r, al = SPEC["peft_main"], SPEC["lora"]["r"], SPEC["lora"]["alpha"]
    d = p("merge"); shutil.rmtree(d, ignore_errors=True)
    pm = None
    cfgs = {"a": (r, al), "b": (r, al * 2), "c": (r + 4, al)}
    pm = get_peft_model(load(M), LoraConfig(r=r, lora_alpha=al, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"), adapter_name="a")
    for k, (rr, aa) in list(cfgs.items())[1:]:
        pm.add_adapter(k, LoraConfig(r=rr, lora_alpha=aa, target_modules=["q_proj", "v_proj"], task_type="CAUSAL_LM"))
    g = gen(SPEC["seed"] + 31)
    with torch.no_grad():
        for n, q in pm.named_parameters():
            if "lora_A" in n or "lora_B" in n:
                q.copy_(torch.randn(q.shape, generator=g) * (0.1 if "lora_A" in n else 0.08))
    for c in pm.peft_config.values():
        c.base_model_name_or_path = f"models/{M}"
    for k in cfgs:
        pm.save_pretrained(d, selected_adapters=[k])
    ids, mask, _, _ = batch(M, D["lengths"], seed_of(M))
    ids = ids[:1]
    cases = [
        dict(id="linear", adapters=["a", "b"], weights=[0.7, 0.3], combination_type="linear"),
        dict(id="linear_negative", adapters=["a", "b"], weights=[1.0, -0.5], combination_type="linear"),
        dict(id="cat", adapters=["a", "c"], weights=[0.6, 0.9], combination_type="cat"),
        dict(id="cat3", adapters=["a", "b", "c"], weights=[0.5, 0.25, 1.5], combination_type="cat"),
        dict(id="svd", adapters=["a", "b"], weights=[0.5, 0.5], combination_type="svd"),
        dict(id="svd_rank", adapters=["a", "c"], weights=[0.8, 0.4], combination_type="svd", svd_rank=r + 2),
        dict(id="ties_total", adapters=["a", "b"], weights=[0.6, 0.7], combination_type="ties", density=0.5, majority_sign_method="total"),
        dict(id="ties_frequency", adapters=["a", "b"], weights=[0.6, 0.7], combination_type="ties", density=0.3, majority_sign_method="frequency"),
        dict(id="ties_svd", adapters=["a", "b"], weights=[0.6, 0.7], combination_type="ties_svd", density=0.5),
        dict(id="magnitude_prune", adapters=["a", "b"], weights=[0.9, 0.4], combination_type="magnitude_prune", density=0.4),
        dict(id="magnitude_prune_svd", adapters=["a", "c"], weights=[0.9, 0.4], combination_type="magnitude_prune_svd", density=0.4),
        dict(id="dare_linear_seeded", adapters=["a", "b"], weights=[0.5, 0.5], combination_type="dare_linear", density=0.5),
        dict(id="dare_ties_seeded", adapters=["a", "b"], weights=[0.5, 0.5], combination_type="dare_ties", density=0.5),
    ]
    S = {"model": f"models/{M}", "adapters": {k: {"r": v[0], "alpha": v[1]} for k, v in cfgs.items()}, "cases": []}
    T = {"input_ids": ids}
    for c in cases:
        kw = {k: v for k, v in c.items() if k != "id"}
        torch.manual_seed(SPEC["seed"])
        try:
            pm.add_weighted_adapter(adapter_name=c["id"], **kw)
        except Exception as ex:
            S["cases"].append({**c, "error": repr(ex)[:300]}); print("merge", c["id"], repr(ex)[:120]); continue
        pm.set_adapter(c["id"])
        with torch.no_grad():
            T[c["id"] + ".logits_last4"] = pm(ids).logits[0, -4:]
        e = {**c, "r": pm.peft_config[c["id"]].r, "lora_alpha": pm.peft_config[c["id"]].lora_alpha, "scaling": {}}
        for n, mod in pm.named_modules():
            if isinstance(getattr(mod, "lora_A", None), torch.nn.ModuleDict) and c["id"] in mod.lora_A:
                k = n.replace("base_model.model.", "")
                a_, b_ = mod.lora_A[c["id"]].weight, mod.lora_B[c["id"]].weight
                e["scaling"][k] = float(mod.scaling[c["id"]])
                if "svd" in c["id"]:
                    if "layers.0" in k:
                        T[f"{c['id']}.{k}.BA"] = b_ @ a_          # signs/rotations of A, B are arbitrary
                else:
                    T[f"{c['id']}.{k}.lora_A"], T[f"{c['id']}.{k}.lora_B"] = a_, b_
        e["seeded"] = "random mask from torch's CPU generator, manual_seed(%d): compare only statistically unless the generator is reproduced" % SPEC["seed"] if "dare" in c["id"] else None
        S["cases"].append(e)
    # set_adapter with several adapters at once adds their contributions
    pm.base_model.set_adapter(["a", "b"])
    with torch.no_grad():
        T["active_a_and_b.logits_last4"] = pm(ids).logits[0, -4:]
    mg = copy.deepcopy(pm).merge_and_unload(safe_merge=True, adapter_names=["a", "b"])
    T["merged_a_and_b.logits_last4"] = mg(ids).logits[0, -4:]
    for f in os.listdir(d):
        if f == "README.md": os.remove(os.path.join(d, f))
    save_st(os.path.join(d, "merge.safetensors"), T)
    dump(os.path.join(d, "merge.json"), S)
    print("merge", len(S["cases"]), "cases", [c["id"] for c in S["cases"] if "error" in c])


# ---------------------------------------------------------------- the real HF Trainer and TRL SFTTrainer
def sec_trainer():
    from peft import LoraConfig, get_peft_model, PeftModel
    from transformers import Trainer, TrainingArguments
    from torch.utils.data import SequentialSampler
    import tempfile
    M, tr = SPEC["peft_main"], SPEC["train"]
    ids, mask, labels = train_data(M)
    rows = [dict(input_ids=ids[i, b], attention_mask=mask[i, b], labels=labels[i, b]) for i in range(len(ids)) for b in range(ids.shape[1])]
    torch.manual_seed(0)
    pm = PeftModel.from_pretrained(load(M), p("peft", M, "lora_qv"), is_trainable=True)

    class T_(Trainer):
        def _get_train_sampler(self, *a, **k):
            return SequentialSampler(rows)
    S = {}
    with tempfile.TemporaryDirectory() as td:
        ta = TrainingArguments(td, per_device_train_batch_size=ids.shape[1], gradient_accumulation_steps=tr["accum"], max_steps=tr["steps"], learning_rate=tr["lr"],
                               lr_scheduler_type="cosine", warmup_steps=tr["warmup"], max_grad_norm=tr["clip"], weight_decay=tr["weight_decay"], optim="adamw_torch",
                               logging_steps=1, logging_first_step=True, save_strategy="no", report_to=[], use_cpu=True, disable_tqdm=True, dataloader_num_workers=0,
                               remove_unused_columns=False, seed=0)
        t = T_(pm, ta, train_dataset=rows)
        with contextlib.redirect_stdout(io.StringIO()):
            t.train()
        h = [x for x in t.state.log_history if "loss" in x]
    ref = json.load(open(p("peft", M, "lora_qv", "reference.json")))["trace_tokens"]
    S["hf_trainer"] = {"model": f"models/{M}", "adapter": f"peft/{M}/lora_qv", "log_history": h,
                       "max_abs_vs_trace_tokens": max(abs(a["loss"] - b) for a, b in zip(h, ref["step_losses"])),
                       "note": "transformers.Trainer on the same data; logged loss is rounded to 4+ digits by Trainer; it must agree with trace_tokens (num_items_in_batch normalisation)"}
    print("trainer: max |Trainer - trace_tokens| =", S["hf_trainer"]["max_abs_vs_trace_tokens"], [round(x["loss"], 4) for x in h][:4], [round(x, 4) for x in ref["step_losses"]][:4])
    # TRL SFTTrainer end to end: chat template -> assistant mask -> packing -> loss
    try:
        from trl import SFTTrainer, SFTConfig
        from datasets import Dataset
        from chat_templates import TEMPLATES
        name = "qwen2"
        tok = AutoTokenizer.from_pretrained(p("models", name))
        tok.chat_template = TEMPLATES["chatml_gen"]
        tok.eos_token = "<|im_end|>"
        convs = [c for c in conversations() if any(m["role"] == "assistant" for m in c["messages"])][:5] * 2
        for label, kw in (("assistant_only_padded", dict(assistant_only_loss=True, packing=False)),
                          ("full_loss_packed_bfd", dict(packing=True, packing_strategy="bfd", max_length=96)),
                          ("assistant_only_packed_wrapped", dict(assistant_only_loss=True, packing=True, packing_strategy="wrapped", max_length=64))):
            ds = Dataset.from_list([{"messages": c["messages"]} for c in convs if "tools" not in c])
            with tempfile.TemporaryDirectory() as td:
                cfg = SFTConfig(td, per_device_train_batch_size=2, gradient_accumulation_steps=1, max_steps=4, learning_rate=tr["lr"], lr_scheduler_type="linear", warmup_steps=0,
                                logging_steps=1, save_strategy="no", report_to=[], use_cpu=True, bf16=False, disable_tqdm=True, seed=0, gradient_checkpointing=False,
                                **{**dict(max_length=96), **kw})
                torch.manual_seed(0)
                m = load(name)
                t = SFTTrainer(m, args=cfg, train_dataset=ds, processing_class=tok)
                t._get_train_sampler = lambda *a, **k: SequentialSampler(t.train_dataset)
                dsr = [dict(x) for x in t.train_dataset]
                b0 = t.data_collator([t.train_dataset[i] for i in range(2)])
                with torch.no_grad():
                    l0 = float(load(name)(**b0, use_cache=False).loss)
                with contextlib.redirect_stdout(io.StringIO()):
                    t.train()
                h = [x for x in t.state.log_history if "loss" in x]
            S["sft_" + label] = {"model": f"models/{name}", "args": kw, "conversations": [c["messages"] for c in convs if "tools" not in c], "template": "chatml_gen",
                                 "prepared_dataset": dsr, "first_batch": {k: v.tolist() if torch.is_tensor(v) else v for k, v in b0.items()},
                                 "first_batch_loss_recomputed": l0, "full_finetune_lr": tr["lr"], "optimizer": "adamw (HF default: fused/torch AdamW, weight_decay 0, clip 1.0)", "log_history": h}
            print("sft", label, len(dsr), "rows", "first batch", round(l0, 4), [round(x["loss"], 4) for x in h])
    except Exception as ex:
        import traceback
        S["sft_error"] = traceback.format_exc()[-2000:]
        print("sft failed", repr(ex)[:300])
    dump(p("trainer", "trainer.json"), S)


# ---------------------------------------------------------------- bitsandbytes
def qs_tensors(pre, q, st):
    T = {pre + "packed": q.flatten()}
    if st.nested:
        T[pre + "absmax_u8"] = st.absmax; T[pre + "nested_absmax"] = st.state2.absmax
        T[pre + "offset"] = st.offset.reshape(1)
    else:
        T[pre + "absmax"] = st.absmax
    return T


def sec_bnb():
    import bitsandbytes as bnb, bitsandbytes.functional as F
    B = SPEC["bnb"]; d = p("bnb"); shutil.rmtree(d, ignore_errors=True)
    bnb_fix()
    weights, g = bnb_weights()
    T, S = {}, {"blocksizes": [64, 128], "nested_blocksize": 256, "cases": [],
                "native_cpu_dequant_wrong": _FIX["native_wrong"],
                "native_note": "bitsandbytes' own CPU kernel returns other values for these (wrong absmax index when blocks straddle rows); `dequant` here is its generic implementation, which matches the definition"}
    T["code.nf4"] = F.get_4bit_type("nf4", device="cpu"); T["code.fp4"] = F.get_4bit_type("fp4", device="cpu")
    T["code.dynamic_signed"] = F.create_dynamic_map(signed=True); T["code.dynamic_unsigned"] = F.create_dynamic_map(signed=False)
    for wn, w in weights.items():
        T[f"w.{wn}"] = w
        for qt in ("nf4", "fp4"):
            for bs in (64, 128):
                for nested in (False, True):
                    pre = f"{wn}.{qt}.{bs}.{'nested' if nested else 'plain'}."
                    try:
                        q, st = F.quantize_4bit(w, blocksize=bs, quant_type=qt, compress_statistics=nested)
                        T.update(qs_tensors(pre, q, st))
                        if nested:
                            am = F.quantize_4bit(w, blocksize=bs, quant_type=qt)[1].absmax
                            T[pre + "absmax_u8_nearest"] = nearest8(am - am.mean(), T["code.dynamic_signed"], 256)[0]
                        dq = F.dequantize_4bit(q, st)
                        if (bs == 64 and w.numel() <= 20000) or w.numel() <= 2500 or (qt == "nf4" and bs == 64 and nested):
                            T[pre + "dequant"] = dq
                        e = {"id": pre[:-1], "shape": list(w.shape), "quant_type": qt, "blocksize": bs, "nested": nested, "packed_bytes": q.numel(),
                             "max_abs_err": float((dq - w).abs().max()), "dequant_sum": float(dq.double().sum())}
                        if qt == "nf4" and bs == 64 and w.numel() <= 20000:
                            st2 = copy.copy(st); st2.dtype = torch.bfloat16
                            T[pre + "dequant_bf16"] = F.dequantize_4bit(q, st2)
                        S["cases"].append(e)
                    except Exception as ex:
                        S["cases"].append({"id": pre[:-1], "error": repr(ex)[:200]})
    # 16-bit inputs
    for dt in (torch.bfloat16, torch.float16):
        wn = list(weights)[0]; w = weights[wn].to(dt); pre = f"{wn}_{str(dt)[6:]}.nf4.64.nested."
        q, st = F.quantize_4bit(w, blocksize=64, quant_type="nf4", compress_statistics=True)
        T["w." + pre.split(".")[0]] = w; T.update(qs_tensors(pre, q, st)); T[pre + "dequant"] = F.dequantize_4bit(q, st)
        S["cases"].append({"id": pre[:-1], "shape": list(w.shape), "quant_type": "nf4", "blocksize": 64, "nested": True, "input_dtype": str(dt)})
    save_st(p("bnb", "quant4.safetensors"), T); dump(p("bnb", "quant4.json"), S)
    bad = [c for c in S["cases"] if "error" in c]
    print("bnb 4bit", len(S["cases"]), "cases; errors:", bad[:3])
    # 8-bit blockwise
    T, S = {"code.dynamic_signed": F.create_dynamic_map(signed=True), "code.dynamic_unsigned": F.create_dynamic_map(signed=False)}, {"cases": []}
    for wn, w in weights.items():                      # (the weights themselves are in quant4.safetensors)
        for bs in (256, 64):
            for nested in (False, True):
                q, st = F.quantize_blockwise(w, blocksize=bs, nested=nested)
                pre = f"{wn}.{bs}.{'nested' if nested else 'plain'}."
                T[pre + "q"] = q
                if not nested:
                    T[pre + "q_nearest"] = nearest8(w, T["code.dynamic_signed"], bs)[0].reshape(w.shape)
                if nested:
                    T[pre + "absmax_u8"], T[pre + "nested_absmax"], T[pre + "offset"] = st.absmax, st.state2.absmax, st.offset.reshape(1)
                else:
                    T[pre + "absmax"] = st.absmax
                dq = F.dequantize_blockwise(q, st)
                if w.numel() <= 20000 and bs == 256: T[pre + "dequant"] = dq
                S["cases"].append({"id": pre[:-1], "shape": list(w.shape), "blocksize": bs, "nested": nested, "max_abs_err": float((dq - w).abs().max()),
                                   "codes_not_nearest": None if nested else int((T[pre + "q"] != T[pre + "q_nearest"]).sum())})
    u = torch.randn(1000, generator=g) ** 2 * 1e-4
    q, st = F.quantize_blockwise(u, code=F.create_dynamic_map(signed=False), blocksize=256)
    T["w.unsigned1000"], T["unsigned1000.256.q"], T["unsigned1000.256.absmax"], T["unsigned1000.256.dequant"] = u, q, st.absmax, F.dequantize_blockwise(q, st)
    S["code_after_quantize_unchanged"] = bool(torch.equal(F.create_dynamic_map(signed=True), F.name2qmap["dynamic"]))
    S["code_used_by_quantizer_first3"] = F.name2qmap["dynamic"][:3].tolist()
    # LLM.int8 row-wise
    x = torch.randn(12, 96, generator=g).half(); x[3, 5] = 9.0; x[7, 50] = -8.0
    wt = torch.randn(40, 96, generator=g).half() * 0.05
    for th in (0.0, 6.0):
        q, rs, oc = F.int8_vectorwise_quant(x.clone(), threshold=th)
        T[f"int8.x.{th}.q"], T[f"int8.x.{th}.row_stats"] = q, rs
        if oc is not None: T[f"int8.x.{th}.outlier_cols"] = oc
    qw, ws, _ = F.int8_vectorwise_quant(wt)
    T["int8.x"], T["int8.w"], T["int8.w.q"], T["int8.w.row_stats"] = x, wt, qw, ws
    q0, r0, _ = F.int8_vectorwise_quant(x)
    T["int8.matmul_i32"] = F.int8_linear_matmul(q0, qw)
    T["int8.out"] = F.int8_mm_dequant(T["int8.matmul_i32"], r0, ws)
    save_st(p("bnb", "quant8.safetensors"), T); dump(p("bnb", "quant8.json"), S)
    print("bnb 8bit", len(S["cases"]), "cases; code unchanged:", S["code_after_quantize_unchanged"], S["code_used_by_quantizer_first3"])
    # 4-bit checkpoint through transformers, and QLoRA on top
    from transformers import BitsAndBytesConfig
    from peft import LoraConfig, get_peft_model
    name = B["ckpt_model"]
    res = {}
    for label, kw in (("nf4_double", dict(bnb_4bit_quant_type="nf4", bnb_4bit_use_double_quant=True)), ("fp4_plain", dict(bnb_4bit_quant_type="fp4", bnb_4bit_use_double_quant=False))):
        try:
            bc = BitsAndBytesConfig(load_in_4bit=True, bnb_4bit_compute_dtype=torch.float32, **kw)
            m = AutoModelForCausalLM.from_pretrained(p("models", name), quantization_config=bc, device_map={"": "cpu"}, dtype=torch.float32, attn_implementation="eager").eval()
            for mod in m.modules():
                if isinstance(mod, bnb.nn.Linear4bit):
                    mod.support_avx512bf16_for_cpu = False      # else eval mode repacks weights and computes in bfloat16
            out = p("bnb", "ckpt_" + label)
            m.save_pretrained(out)
            sd = {}
            for f in os.listdir(out):
                if f.endswith(".safetensors"): sd.update(load_file(os.path.join(out, f)))
            ids, mask, labels, _ = batch(name, D["lengths"], seed_of(name))
            with torch.no_grad():
                o = m(input_ids=ids, attention_mask=mask, labels=labels)
            T = {"input_ids": ids, "attention_mask": mask, "labels": labels, "logits_seq0": o.logits[0]}
            for n, mod in m.named_modules():
                if isinstance(mod, bnb.nn.Linear4bit) and re.search(r"layers\.0\..*(q_proj|down_proj)$", n):
                    T["dequant." + n] = F.dequantize_4bit(mod.weight.data, mod.weight.quant_state)
            e = {"model": f"models/{name}", "loss": float(o.loss), "keys": {k: [str(v.dtype), list(v.shape)] for k, v in sd.items()},
                 "quant_state_json_example": None, "logit_diff_from_f32_base_max": float(((o.logits - load(name)(input_ids=ids, attention_mask=mask).logits) * mask[..., None]).abs().max())}
            for k, v in sd.items():
                if "quant_state.bitsandbytes__" in k:
                    e["quant_state_json_example"] = {k: json.loads(bytes(v.tolist()).decode())}; break
            rl = AutoModelForCausalLM.from_pretrained(out, device_map={"": "cpu"}, attn_implementation="eager").eval()
            for mod in rl.modules():
                if isinstance(mod, bnb.nn.Linear4bit): mod.support_avx512bf16_for_cpu = False
            with torch.no_grad():
                e["reload_max_abs"] = float((rl(input_ids=ids, attention_mask=mask).logits[0] - o.logits[0]).abs().max())
            # QLoRA: adapter on the 4-bit model
            torch.manual_seed(SPEC["seed"])
            pm = get_peft_model(m, LoraConfig(r=SPEC["lora"]["r"], lora_alpha=SPEC["lora"]["alpha"], target_modules="all-linear", task_type="CAUSAL_LM"))
            pc = pm.peft_config["default"]; pc.base_model_name_or_path = f"bnb/ckpt_{label}"
            perturb(pm, pc, gen(seed_of(name, 8)), SPEC["lora"]["b_std"])
            ad = p("bnb", "qlora_" + label); pm.save_pretrained(ad)
            if os.path.exists(ad + "/README.md"): os.remove(ad + "/README.md")
            af = load_file(ad + "/adapter_model.safetensors")
            pm.train()
            o = pm(input_ids=ids, attention_mask=mask, labels=labels); o.loss.backward()
            T["qlora.logits_seq0"] = o.logits[0]; e["qlora_loss"] = float(o.loss)
            for n, q in pm.named_parameters():
                if q.requires_grad and "layers.0." in n: T["qlora.grad." + file_key(n, af)] = q.grad
            pm.zero_grad()
            data = train_data(name)
            e["qlora_trace_tokens"] = trace(pm, data, "tokens")
            save_st(p("bnb", f"ckpt_{label}_reference.safetensors"), T)
            res[label] = e
            print("bnb ckpt", label, "loss", round(e["loss"], 4), "reload", e["reload_max_abs"], "keys", len(sd), "qlora", round(e["qlora_loss"], 4))
        except Exception as ex:
            import traceback
            res[label] = {"error": traceback.format_exc()[-1500:]}
            print("bnb ckpt", label, "failed:", repr(ex)[:300])
    dump(p("bnb", "ckpt.json"), res)


def sec_adam8():
    """bitsandbytes AdamW8bit on CPU (its own CPU kernel), and a re-derivation of the CUDA kernel's arithmetic"""
    bnb_fix()
    import bitsandbytes as bnb, bitsandbytes.functional as F
    g = gen(SPEC["bnb"]["seed"] + 1)
    shapes = {"big": (64, 80), "odd": (4099,), "small": (32, 16)}       # below 4096 elements bnb keeps 32-bit state
    hp = dict(lr=1e-2, betas=(0.9, 0.995), eps=1e-8, weight_decay=0.01)
    T, S = {}, {"hp": {k: list(v) if isinstance(v, tuple) else v for k, v in hp.items()}, "steps": 10, "blocksize": 256, "min_8bit_size": 4096, "shapes": {k: list(v) for k, v in shapes.items()},
                "cpu": "what bitsandbytes 0.50.2 really does on CPU (weight decay before the update)",
                "cuda_rederived": "NOT run on a GPU: numpy-style float32 re-derivation of kOptimizerStatic8bit2StateBlockwise (weight decay after the update, sign of state1 kept by moving one code), nearest code",
                "torch32": "torch.optim.AdamW on the same gradients, for scale"}
    P0 = {k: torch.randn(s, generator=g) for k, s in shapes.items()}
    G = {k: [torch.randn(s, generator=g) * (0.1 + torch.rand(s, generator=g)) * (1 + i % 3) * 0.01 for i in range(10)] for k, s in shapes.items()}
    for k in shapes:
        T[f"{k}.p0"] = P0[k]; T[f"{k}.grads"] = torch.stack(G[k])
        # real, CPU
        q = torch.nn.Parameter(P0[k].clone()); o = bnb.optim.AdamW8bit([q], **hp)
        ps = []
        for i in range(10):
            q.grad = G[k][i].clone(); o.step(); ps.append(q.detach().clone())
            st = o.state[q]
            if i in (0, 9):
                T[f"{k}.cpu.step{i+1}.state1"], T[f"{k}.cpu.step{i+1}.state2"] = st["state1"], st["state2"]
                if st["state1"].dtype == torch.uint8:
                    T[f"{k}.cpu.step{i+1}.absmax1"], T[f"{k}.cpu.step{i+1}.absmax2"] = st["absmax1"], st["absmax2"]
        T[f"{k}.cpu.p_step1"], T[f"{k}.cpu.p_step10"] = ps[0], ps[9]
        S[f"{k}_state_dtype"] = str(st["state1"].dtype)
        S[f"{k}_cpu_p_norms"] = [float(x.norm()) for x in ps]
        # torch
        q = torch.nn.Parameter(P0[k].clone()); o = torch.optim.AdamW([q], **hp)
        for i in range(10):
            q.grad = G[k][i].clone(); o.step()
        T[f"{k}.torch32.p_step10"] = q.detach()
        # the CPU arithmetic written out again (to show that the quantiser below is the right one)
        if S[f"{k}_state_dtype"] == "torch.uint8":
            c1, c2 = F.create_dynamic_map(True), F.create_dynamic_map(False)
            x = P0[k].clone(); b1, b2 = hp["betas"]
            z1, z2 = F.quantize_blockwise(torch.zeros(shapes[k]), code=c1, blocksize=256), F.quantize_blockwise(torch.zeros(shapes[k]), code=c2, blocksize=256)
            s1, s2 = torch.zeros(shapes[k]), torch.zeros(shapes[k])
            for i in range(10):
                t = i + 1
                s1 = s1 * b1 + (1 - b1) * G[k][i]; s2 = s2 * b2 + (1 - b2) * G[k][i] ** 2
                x = x * (1 - hp["lr"] * hp["weight_decay"])
                x = x - hp["lr"] / (1 - b1 ** t) * s1 / (s2.sqrt() / math.sqrt(1 - b2 ** t) + hp["eps"])
                s1 = F.dequantize_blockwise(*F.quantize_blockwise(s1, code=c1, blocksize=256)); s2 = F.dequantize_blockwise(*F.quantize_blockwise(s2, code=c2, blocksize=256))
            S[f"{k}_cpu_vs_cpu_rederived_max_abs_p"] = float((T[f"{k}.cpu.p_step10"] - x).abs().max())
        # CUDA semantics re-derived
        if S[f"{k}_state_dtype"] == "torch.uint8":
            c1, c2 = F.create_dynamic_map(True), F.create_dynamic_map(False)
            x = P0[k].flatten().clone(); n = x.numel(); nb = -(-n // 256); pad = nb * 256 - n
            s1 = torch.zeros(nb * 256); s2 = torch.zeros(nb * 256); b1, b2 = hp["betas"]
            for i in range(10):
                gr = Fn.pad(G[k][i].flatten(), (0, pad)); t = i + 1
                s2 = s2 * b2 + (1 - b2) * gr * gr; s1 = s1 * b1 + (1 - b1) * gr
                corr1 = 1 - b1 ** t; corr2 = math.sqrt(1 - b2 ** t); ss = -hp["lr"] * corr2 / corr1
                x = x + ss * (s1 / (s2.sqrt() + corr2 * hp["eps"]))[:n]
                x = x * (1 - hp["lr"] * hp["weight_decay"])
                a1, a2 = s1.view(nb, 256).abs().amax(1), s2.view(nb, 256).abs().amax(1)
                def qz(v, am, code):
                    y = v.view(nb, 256) / am[:, None]
                    return torch.bucketize(y, (code[1:] + code[:-1]) / 2)
                q1, q2 = qz(s1, a1, c1), qz(s2, a2, c2)
                v1 = s1.view(nb, 256)
                flip = torch.signbit(c1[q1]) != torch.signbit(v1)
                q1 = torch.where(flip, torch.where(v1 > 0, q1 + 1, q1 - 1), q1).clamp(0, 255)
                s1, s2 = (c1[q1] * a1[:, None]).flatten(), (c2[q2] * a2[:, None]).flatten()
                if t in (1, 10):
                    T[f"{k}.cuda_rederived.p_step{t}"] = x.view(shapes[k]).clone()
                    T[f"{k}.cuda_rederived.step{t}.state1"], T[f"{k}.cuda_rederived.step{t}.state2"] = q1.flatten()[:n].to(torch.uint8), q2.flatten()[:n].to(torch.uint8)
                    T[f"{k}.cuda_rederived.step{t}.absmax1"], T[f"{k}.cuda_rederived.step{t}.absmax2"] = a1, a2
            S[f"{k}_cpu_vs_rederived_max_abs_p"] = float((T[f"{k}.cpu.p_step10"] - T[f"{k}.cuda_rederived.p_step10"]).abs().max())
            S[f"{k}_cpu_vs_rederived_state1_codes_differ"] = int((T[f"{k}.cpu.step10.state1"].flatten() != T[f"{k}.cuda_rederived.step10.state1"]).sum())
        S[f"{k}_cpu_vs_torch32_max_abs_p"] = float((T[f"{k}.cpu.p_step10"] - T[f"{k}.torch32.p_step10"]).abs().max())
    save_st(p("bnb", "adamw8bit.safetensors"), T); dump(p("bnb", "adamw8bit.json"), S)
    print("adam8", {k: v for k, v in S.items() if "_vs_" in k or "dtype" in k})


# ---------------------------------------------------------------- schedules
def sec_sched():
    from transformers import get_scheduler
    out = []
    for sc in SPEC["sched"]:
        w, n = sc["warmup"], sc["steps"]
        for nm, kw in (("linear", {}), ("cosine", {}), ("cosine", dict(num_cycles=1.5)), ("cosine_with_restarts", {}), ("cosine_with_restarts", dict(num_cycles=3)),
                       ("constant", {}), ("constant_with_warmup", {}), ("polynomial", {}), ("polynomial", dict(lr_end=1e-5, power=2.0)), ("inverse_sqrt", {}), ("inverse_sqrt", dict(timescale=20)),
                       ("cosine_with_min_lr", dict(min_lr_rate=0.1)), ("cosine_with_min_lr", dict(min_lr=2e-5)), ("warmup_stable_decay", dict(num_decay_steps=n // 4)),
                       ("cosine_warmup_with_min_lr", dict(min_lr_rate=0.1))):
            q = torch.nn.Parameter(torch.zeros(1)); base = 3e-4; o = torch.optim.SGD([q], lr=base)
            try:
                s = get_scheduler(nm, o, num_warmup_steps=w, num_training_steps=n, scheduler_specific_kwargs=kw)
                v = []
                for _ in range(n + 3):
                    v.append(o.param_groups[0]["lr"]); o.step(); s.step()
                out.append(dict(name=nm, kwargs=kw, base_lr=base, warmup=w, steps=n, lr=v))
            except Exception as ex:
                out.append(dict(name=nm, kwargs=kw, base_lr=base, warmup=w, steps=n, error=repr(ex)[:200]))
    dump(p("sched", "schedulers.json"), {"note": "lr[i] is the rate used for optimiser step i (0-based); 3 values past the end", "schedules": out})
    print("sched", len(out), [o["name"] + str(o["kwargs"]) + o["error"] for o in out if "error" in o])


# ---------------------------------------------------------------- packing
def sec_packing():
    from datasets import Dataset
    from trl import pack_dataset
    from trl.trainer.sft_trainer import DataCollatorForLanguageModeling
    pk = SPEC["packing"]; g = gen(pk["seed"])
    perm = [pk["lengths"][i] for i in torch.randperm(len(pk["lengths"]), generator=g)]
    tests = [dict(lengths=pk["lengths"], seq_length=pk["seq_length"]), dict(lengths=perm, seq_length=pk["seq_length"]),
             dict(lengths=torch.randint(1, 60, (70,), generator=g).tolist(), seq_length=64), dict(lengths=[1] * 9, seq_length=4), dict(lengths=[4], seq_length=4), dict(lengths=[100], seq_length=32)]
    out = []
    for t in tests:
        rows, k = [], 0
        for i, L in enumerate(t["lengths"]):
            rows.append({"input_ids": list(range(1000 * i, 1000 * i + L)), "labels": [(-100 if j < L // 2 else 1000 * i + j) for j in range(L)]})
        ds = Dataset.from_list(rows)
        e = {**t, "ids": "token j of sequence i is 1000*i + j; labels -100 on the first half", "out": {}}
        for st in ("bfd", "bfd_split", "wrapped"):
            try:
                r = pack_dataset(ds, t["seq_length"], st)
                x = r.to_dict()
                e["out"][st] = {"input_ids": x["input_ids"], "labels_equal_ids_or_-100": all(a == b or b == -100 for u, v in zip(x["input_ids"], x["labels"]) for a, b in zip(u, v)),
                                "seq_lengths": x.get("seq_lengths"), "n": len(x["input_ids"])}
                if len(out) == 0:
                    rows2 = [dict(input_ids=x["input_ids"][i], labels=x["labels"][i], **({"seq_lengths": x["seq_lengths"][i]} if "seq_lengths" in x else {})) for i in range(min(2, len(x["input_ids"])))]
                    c = DataCollatorForLanguageModeling(pad_token_id=0, padding_free=True)(rows2)
                    e["out"][st]["collated_padding_free_first2"] = {k2: (v.tolist() if torch.is_tensor(v) else v) for k2, v in c.items()}
                    c = DataCollatorForLanguageModeling(pad_token_id=0, pad_to_multiple_of=8)([{k2: v for k2, v in r2.items() if k2 != "seq_lengths"} for r2 in rows2])
                    e["out"][st]["collated_padded_first2"] = {k2: v.tolist() for k2, v in c.items()}
            except Exception as ex:
                e["out"][st] = {"error": repr(ex)[:200]}
        out.append(e)
    dump(p("packing", "packing.json"), {"trl": versions()["trl"], "tests": out})
    print("packing", [{k: v.get("n", v.get("error")) for k, v in e["out"].items()} for e in out])


# ---------------------------------------------------------------- chat templates
def conversations():
    C = [
        [("user", "Hello!")],
        [("user", "What is 2+2?"), ("assistant", "4.")],
        [("system", "You are terse."), ("user", "Name a colour."), ("assistant", "Blue."), ("user", "Another?"), ("assistant", "Red.")],
        [("user", "  spaces around  "), ("assistant", "\nnewline first\n"), ("user", "ok")],
        [("user", "naïve café 你好 🙂 <tag> & \"quotes\" 'single'"), ("assistant", "línea 1\nlínea 2\n\n- a\n- b")],
        [("system", "Rules:\n1. Be kind.\n2. Cite."), ("user", "def f(x):\n    return x**2"), ("assistant", "```python\nprint(f(3))\n```")],
        [("user", "")],
        [("user", "a"), ("user", "b")],
        [("assistant", "I start."), ("user", "Fine.")],
        [("system", "only system")],
        [("user", "long " * 30), ("assistant", "word " * 20), ("user", "q"), ("assistant", "a"), ("user", "q2"), ("assistant", "a2")],
    ]
    C = SPEC.get("conversations", C)
    out = [{"messages": [{"role": r, "content": c} for r, c in conv]} for conv in C]
    out.append({"messages": [{"role": "user", "content": "Weather in Paris?"}],
                "tools": [{"type": "function", "function": {"name": "get_weather", "description": "Current weather", "parameters": {"type": "object", "properties": {"city": {"type": "string", "description": "City <name>"}, "days": {"type": "integer"}}, "required": ["city"]}}}]})
    return out


def sec_chat():
    from chat_templates import TEMPLATES, trl_templates
    tok = AutoTokenizer.from_pretrained(p("tokenizers", "bpe"))
    sptok = AutoTokenizer.from_pretrained(p("tokenizers", "spm"))
    allt = {**{k: ("hand-written from public knowledge", v) for k, v in TEMPLATES.items()}, **{k: ("trl wheel, Apache-2.0", v) for k, v in trl_templates().items()}}
    convs, out = conversations(), []
    for tn, (src, tpl) in allt.items():
        has_gen = "generation" in re.sub("add_generation_prompt", "", tpl)
        e = {"template_name": tn, "source": src, "template": tpl, "has_generation_tags": has_gen, "cases": []}
        t = sptok if tn.startswith(("llama2", "mistral", "zephyr")) else tok
        e["tokenizer"] = "spm" if t is sptok else "bpe"
        e["bos_token"], e["eos_token"] = t.bos_token, t.eos_token
        for ci, c in enumerate(convs):
            for agp in (False, True):
                r = {"conversation": ci, "add_generation_prompt": agp}
                kw = {"tools": c["tools"]} if "tools" in c else {}
                try:
                    r["text"] = t.apply_chat_template(c["messages"], chat_template=tpl, tokenize=False, add_generation_prompt=agp, **kw)
                    z = t.apply_chat_template(c["messages"], chat_template=tpl, tokenize=True, add_generation_prompt=agp, return_dict=True,
                                              **({"return_assistant_tokens_mask": True} if has_gen else {}), **kw)
                    r["input_ids"] = list(z["input_ids"])
                    if has_gen:
                        r["assistant_masks"] = list(z["assistant_masks"])
                except Exception as ex:
                    r["error"] = f"{type(ex).__name__}: {ex}"[:160]
                e["cases"].append(r)
        c = next((c for c in convs if c["messages"][-1]["role"] == "assistant"), None)
        try:
            e["continue_final_message"] = {"conversation": convs.index(c), "text": t.apply_chat_template(c["messages"], chat_template=tpl, tokenize=False, continue_final_message=True)}
        except Exception as ex:
            e["continue_final_message"] = {"error": repr(ex)[:160]}
        out.append(e)
    dump(p("chat", "chat.json"), {"note": "rendered with transformers.apply_chat_template (jinja2 ImmutableSandboxedEnvironment, trim_blocks, lstrip_blocks); input_ids: rendered text tokenised with add_special_tokens=False",
                                  "conversations": convs, "templates": out})
    print("chat", len(out), "templates", {e["template_name"]: sum("error" in c for c in e["cases"]) for e in out})


# ---------------------------------------------------------------- MANIFEST
def sec_manifest():
    names = sorted(os.path.relpath(os.path.join(d, f), OUT) for d, _, fs in os.walk(OUT) for f in fs if f != "MANIFEST.json")
    files = [{"path": n, "bytes": os.path.getsize(p(n)), "sha256": sha256(p(n))} for n in names]
    dump(p("MANIFEST.json"), {"set": SPEC["set"], "versions": versions(), "total_bytes": sum(f["bytes"] for f in files), "n_files": len(files), "files": files})


SECTIONS = ["tok", "base", "peft", "more", "virtual", "merge", "trainer", "bnb", "adam8", "sched", "packing", "chat", "manifest"]
if __name__ == "__main__":
    if not os.path.isdir(p("models")):
        subprocess.check_call([sys.executable, os.path.join(HERE, "make_models.py"), "--out", OUT, "--spec", A.spec])
    for s in (A.only.split(",") if A.only else SECTIONS):
        t = time.time()
        globals()["sec_" + s]()
        print(f"-- {s}: {time.time()-t:.1f}s", flush=True)
