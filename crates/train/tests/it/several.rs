//! Several adapters in one model: PEFT's numbers, and what must always hold.

use std::{collections::BTreeMap, path::PathBuf};

use burn::{backend::Flex, tensor::Tensor};
use burnisher_data::TokenBatch;
use burnisher_kernels::AdamW;
use burnisher_lora::{
    Adaptable, AdapterConfig, Ia3Config, LoraConfig, LoraError, PeftFiles, Site, TargetModules, VeraConfig,
    active_adapters, adapter_config, adapter_names, add_adapter, attach, check_rows, delete_adapter,
    disable_adapters, hotswap_adapter, load_adapter, load_peft, merge, merge_adapters, save_adapter,
    save_peft, set_adapters, train_adapter, unmerge, visit_parameters, with_row_adapters,
    without_row_adapters,
};
use burnisher_models::{
    CausalLm, GenerateConfig, GradientCheckpointing, LoadConfig, ModelInput, WriteOptions,
};
use burnisher_quant::QuantConfig;
use burnisher_train::{DecayRule, Gradients, Optimizer};
use proptest::prelude::*;

use crate::{
    parity::{device, reference_batch},
    support::{Tensors, assert_near, assert_near_max, fixture, fixture_or_shared, values},
};

/// A model with biases, whose head and embedding are two weights.
const MODEL: &str = "llama-bias-linear";

fn base(name: &str, four_bit: bool) -> CausalLm {
    let load = match four_bit {
        true => LoadConfig::new().with_quantize(QuantConfig::nf4().with_double_quant(true)),
        false => LoadConfig::new(),
    };
    CausalLm::from_pretrained(fixture(&format!("models/{name}")), &load, &device()).unwrap()
}

fn suffixes(names: &[&str]) -> TargetModules {
    TargetModules::suffixes(names.iter().copied())
}

/// Adapters of different ranks, scales and modules, which can be in use together.
fn sums() -> Vec<(&'static str, LoraConfig)> {
    let lora = |r, names: &[&str]| LoraConfig::new(r).with_target_modules(suffixes(names));
    vec![
        ("narrow", lora(4, &["q_proj", "v_proj"]).with_lora_alpha(16.0)),
        ("wide", LoraConfig::new(8).with_target_modules(TargetModules::AllLinear).with_use_rslora(true)),
        ("biased", lora(3, &["q_proj", "down_proj"]).with_lora_alpha(6.0).with_lora_bias(true)),
        ("ends", lora(2, &["embed_tokens", "v_proj", "lm_head"]).with_lora_alpha(5.0)),
    ]
}

/// Adapters of which only one can be in use.
fn loners() -> Vec<(&'static str, AdapterConfig)> {
    vec![
        ("dora", LoraConfig::new(4).with_use_dora(true).into()),
        ("tokens", LoraConfig::new(4).with_trainable_token_indices([126, 53]).into()),
        ("ia3", Ia3Config::new().into()),
        ("vera", VeraConfig::new(8).into()),
    ]
}

/// The same with the values of all adapters moved, each by its own noise.
fn moved(mut model: CausalLm) -> CausalLm {
    let mut seed = 0;
    visit_parameters(&mut model, &mut |name, mut parameter| {
        let kinds = ["lora_", "ia3_l", "vera_lambda", "trainable_tokens"];
        if kinds.iter().any(|kind| name.contains(kind)) {
            seed += 1;
            let count = parameter.elements();
            let noise: Vec<f32> =
                (0..count).map(|i| (((i + 13 * seed) * 37 % 101) as f32 - 50.0) / 1000.0).collect();
            parameter.set_flat(parameter.flat() + Tensor::<1>::from_floats(noise.as_slice(), &device()));
        }
    });
    model
}

fn with_sums(four_bit: bool) -> CausalLm {
    let mut model = base(MODEL, four_bit);
    for (index, (name, config)) in sums().into_iter().enumerate() {
        model = add_adapter(model, name, config, index as u64, &device()).unwrap().0;
    }
    moved(model)
}

fn logits(model: &CausalLm, batch: &TokenBatch) -> Vec<f32> {
    values(&model.logits(&ModelInput::from_batch(batch)))
}

/// Row `row` of a batch.
fn row(batch: &TokenBatch, row: usize) -> TokenBatch {
    let own = row * batch.seq_len..(row + 1) * batch.seq_len;
    TokenBatch {
        rows: 1,
        seq_len: batch.seq_len,
        labels: batch.labels[own.clone()].to_vec(),
        position_ids: batch.position_ids[own.clone()].to_vec(),
        segment_ids: batch.segment_ids[own.clone()].to_vec(),
        token_keys: batch.token_keys[own.clone()].to_vec(),
        input_ids: batch.input_ids[own].to_vec(),
    }
}

/// Every parameter's bits by its name.
fn parameters(model: &CausalLm) -> BTreeMap<String, Vec<u32>> {
    let mut found = BTreeMap::new();
    visit_parameters(&mut model.clone(), &mut |name, parameter| {
        let bits = values(&parameter.flat()).iter().map(|value| value.to_bits()).collect();
        assert!(found.insert(name.to_owned(), bits).is_none(), "{name} twice");
    });
    found
}

fn trained(model: &CausalLm) -> Vec<String> {
    let mut found = Vec::new();
    visit_parameters(&mut model.clone(), &mut |name, parameter| {
        if parameter.is_trainable() {
            found.push(name.to_owned());
        }
    });
    found
}

fn peft(name: &str) -> Option<PathBuf> {
    fixture_or_shared(&format!("merge/{name}"))
}

fn last4(model: &CausalLm, ids: &[u32]) -> Vec<f32> {
    let positions: Vec<u32> = (0..ids.len() as u32).collect();
    let segments = vec![1; ids.len()];
    let input = ModelInput { rows: 1, ids, positions: &positions, segments: &segments, dropout: None };
    let logits = values(&model.logits(&input));
    let vocab = logits.len() / ids.len();
    logits[logits.len() - 4 * vocab..].to_vec()
}

fn loaded(names: &[&str]) -> Option<CausalLm> {
    let mut model = base("llama2", false);
    for name in names {
        model = load_adapter(model, name, peft(name)?, &device()).unwrap().0;
    }
    Some(model)
}

#[test]
fn adapters_in_use_add_up_as_in_peft() {
    let Some(file) = peft("merge.safetensors") else { return };
    let reference = Tensors::read(file);
    let ids = reference.ids("input_ids");
    let model = loaded(&["a", "b", "c"]).unwrap();
    assert_eq!(adapter_names(&model), ["a", "b", "c"]);
    assert_eq!(active_adapters(&model), ["a"]);
    let want = reference.floats("active_a_and_b.logits_last4");
    for names in [["a", "b"], ["b", "a"]] {
        let stacked = set_adapters(model.clone(), &names).unwrap();
        assert_eq!(active_adapters(&stacked), names);
        assert_near(&last4(&stacked, &ids), want, 1e-4, &format!("{names:?}"));
    }
    let merged = merge_adapters(model.clone(), &["a", "b"]).unwrap();
    assert_near(&last4(&merged, &ids), want, 1e-4, "merged");
    for name in ["a", "b", "c"] {
        let alone = load_peft(peft(name).unwrap(), base("llama2", false), false, &device()).unwrap().0;
        let chosen = set_adapters(model.clone(), &[name]).unwrap();
        assert_eq!(last4(&chosen, &ids), last4(&alone, &ids), "{name}");
    }
    let disabled = disable_adapters(model).unwrap();
    assert_eq!(last4(&disabled, &ids), last4(&base("llama2", false), &ids));
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(8))]

    /// A row of a mixed batch is the row run alone with its adapter.
    #[test]
    fn rows_of_a_mixed_batch_are_the_rows_alone(
        choice in prop::collection::vec(0usize..5, 3),
        four_bit in any::<bool>(),
    ) {
        let batch = reference_batch(MODEL);
        let names = sums();
        let chosen: Vec<Option<&str>> =
            (0..batch.rows).map(|row| names.get(choice[row % choice.len()]).map(|(name, _)| *name)).collect();
        let model = with_sums(four_bit);
        let mixed = with_row_adapters(model.clone(), &chosen).unwrap();
        let (all, losses) = (logits(&mixed, &batch), mixed.token_losses(&batch));
        let (width, mut sum) = (all.len() / batch.rows, 0.0);
        for (index, name) in chosen.iter().enumerate() {
            let own = row(&batch, index);
            let alone = set_adapters(model.clone(), name.as_slice()).unwrap();
            let want = logits(&alone, &own);
            assert_near_max(&all[index * width..][..width], &want, 1e-5, &format!("{name:?} {four_bit}"));
            let want = alone.token_losses(&own);
            assert_near(&losses[index * batch.seq_len..][..batch.seq_len], &want, 1e-4, "losses");
            sum += values(&alone.loss(&own, None).sum)[0];
        }
        assert_near_max(&values(&mixed.loss(&batch, None).sum), &[sum], 1e-5, "loss");
        let back = without_row_adapters(mixed);
        prop_assert_eq!(logits(&back, &batch), logits(&model, &batch));
    }

    /// Switching back and forth changes nothing, and merging a set is using it.
    #[test]
    fn choices_come_back(set in prop::sample::subsequence(vec!["narrow", "wide", "biased", "ends"], 0..4), four_bit in any::<bool>()) {
        let batch = reference_batch(MODEL);
        let model = set_adapters(with_sums(four_bit), &set).unwrap();
        let (want, bits) = (logits(&model, &batch), parameters(&model));
        let other = set_adapters(model.clone(), &["wide"]).unwrap();
        let again = set_adapters(disable_adapters(other).unwrap(), &set).unwrap();
        prop_assert_eq!(&logits(&again, &batch), &want);
        prop_assert_eq!(&parameters(&again), &bits);
        let merged = match merge(again.clone()) {
            Err(LoraError::NoBias { .. }) if set.contains(&"biased") => return Ok(()),
            merged => merged.unwrap(),
        };
        assert_near(&logits(&merged, &batch), &want, 1e-4, "merged");
        let restored = unmerge(merged);
        prop_assert_eq!(&parameters(&restored), &bits);
        prop_assert_eq!(&logits(&restored, &batch), &want);
    }
}

#[test]
fn a_merged_set_is_a_model_that_can_be_written() {
    let dir = tempfile::tempdir().unwrap();
    let model = with_sums(false);
    let write = |model: &CausalLm| model.save_pretrained(dir.path(), None, &WriteOptions::new());
    assert!(write(&model).unwrap_err().to_string().contains("not merged"));
    let merged = merge_adapters(model, &["narrow", "wide"]).unwrap();
    write(&merged).unwrap();
    let again = CausalLm::from_pretrained(dir.path(), &LoadConfig::new(), &device()).unwrap();
    let batch = reference_batch(MODEL);
    assert_near(&logits(&again, &batch), &logits(&merged, &batch), 1e-4, "written");
    let error = set_adapters(merged.clone(), &["narrow"]).unwrap_err().to_string();
    assert!(error.contains("unmerge first"), "{error}");
    assert!(with_row_adapters(merged, &[Some("narrow")]).is_err());
}

#[test]
fn prompts_of_one_batch_have_their_own_adapters() {
    let model = with_sums(false);
    let prompts = vec![vec![5, 6, 7, 8], vec![9, 10], vec![5, 6, 7, 8], vec![5, 6, 7, 8]];
    let chosen = [Some("narrow"), Some("wide"), None, Some("ends")];
    let config = GenerateConfig::new().with_max_new_tokens(24);
    let mixed = with_row_adapters(model.clone(), &chosen).unwrap();
    let outputs = mixed.generate_ids(&prompts, &config).unwrap();
    for ((prompt, name), output) in prompts.iter().zip(chosen).zip(&outputs) {
        let alone = set_adapters(model.clone(), name.as_slice()).unwrap();
        assert_eq!(
            alone.generate_ids(std::slice::from_ref(prompt), &config).unwrap()[0],
            *output,
            "{name:?}"
        );
    }
    assert!(outputs[0] != outputs[2] && outputs[3] != outputs[2], "the adapters change what is generated");

    let error = mixed.generate_ids(&prompts[..3], &config).unwrap_err().to_string();
    assert!(error.contains("chosen for 4 rows, the batch has 3"), "{error}");
    assert!(matches!(check_rows(&mixed, 3), Err(LoraError::Rows { found: 3, wanted: 4 })));
    check_rows(&mixed, 4).unwrap();
}

#[test]
#[should_panic(expected = "adapters are chosen for 7 rows, the batch has")]
fn a_forward_pass_names_both_numbers_of_rows() {
    let mixed = with_row_adapters(with_sums(false), &[Some("narrow"); 7]).unwrap();
    logits(&mixed, &reference_batch(MODEL));
}

#[test]
fn one_adapter_for_all_rows_is_that_adapter() {
    let batch = reference_batch(MODEL);
    let model = with_sums(true);
    for (name, _) in sums() {
        let mixed = with_row_adapters(model.clone(), &vec![Some(name); batch.rows]).unwrap();
        let alone = set_adapters(model.clone(), &[name]).unwrap();
        assert_eq!(logits(&mixed, &batch), logits(&alone, &batch), "{name}");
    }
    let none = with_row_adapters(model, &vec![Some("__base__"); batch.rows]).unwrap();
    assert_eq!(logits(&none, &batch), logits(&base(MODEL, true), &batch));
}

#[test]
fn what_cannot_be_summed_is_used_alone() {
    let batch = reference_batch(MODEL);
    let mut model = with_sums(false);
    for (name, config) in loners() {
        model = add_adapter(model, name, config, 3, &device()).unwrap().0;
    }
    let model = moved(model);
    for (name, config) in loners() {
        let alone = attach(&config, base(MODEL, false), 3, &device()).unwrap().0;
        let chosen = set_adapters(model.clone(), &[name]).unwrap();
        let dir = tempfile::tempdir().unwrap();
        let saved = save_adapter(&model, name, dir.path()).unwrap();
        assert_eq!(saved, dir.path().join(name));
        let loaded = load_peft(&saved, base(MODEL, false), false, &device()).unwrap().0;
        assert_eq!(logits(&loaded, &batch), logits(&chosen, &batch), "{name}: files");
        assert_ne!(logits(&chosen, &batch), logits(&base(MODEL, false), &batch), "{name}");
        let in_training = train_adapter(chosen.clone(), name).unwrap();
        assert_eq!(trained(&in_training), trained(&alone), "{name}");
        assert_eq!(logits(&in_training, &batch), logits(&chosen, &batch), "{name}: trained");

        let error = set_adapters(model.clone(), &["narrow", name]).unwrap_err().to_string();
        assert!(error.contains("`narrow`") && error.contains(name), "{error}");
        let error = with_row_adapters(model.clone(), &[Some(name), None]).unwrap_err().to_string();
        assert!(error.contains("by row") && error.contains(name), "{error}");
    }
    let error = with_row_adapters(model, &[Some("dora"), Some("vera")]).unwrap_err().to_string();
    assert!(error.contains("dora") && error.contains("vera"), "every reason at once: {error}");
}

#[test]
fn names_are_checked() {
    let model = with_sums(false);
    let add = |name: &str| add_adapter(model.clone(), name, LoraConfig::new(2), 0, &device());
    for name in ["narrow", "", "a.b", "a/b", "__base__"] {
        let error = add(name).err().unwrap().to_string();
        assert!(error.contains("`narrow`, `wide`, `biased`, `ends`"), "{name}: {error}");
    }
    let error = set_adapters(model.clone(), &["wide", "left", "right"]).unwrap_err();
    assert!(
        matches!(&error, LoraError::UnknownAdapter { names, known } if names == &["left", "right"] && known.len() == 4),
        "{error}"
    );
    assert!(with_row_adapters(model.clone(), &[Some("left")]).is_err());
    assert!(train_adapter(model.clone(), "left").is_err());
    assert!(delete_adapter(model.clone(), "left").is_err());
    assert!(set_adapters(model.clone(), &["wide", "wide"]).is_err());

    let rest = delete_adapter(model.clone(), "narrow").unwrap();
    assert_eq!(adapter_names(&rest), ["wide", "biased", "ends"]);
    assert!(active_adapters(&rest).is_empty());
    assert!(!parameters(&rest).keys().any(|name| name.contains("narrow")));
    assert!(attach(LoraConfig::new(2), rest, 0, &device()).is_err(), "attach wants a model without adapters");
}

#[test]
fn an_adapter_that_changes_the_model_stands_alone() {
    let saved = LoraConfig::new(2).with_modules_to_save(["lm_head"]);
    let error = add_adapter(base(MODEL, false), "saved", &saved, 0, &device()).unwrap_err().to_string();
    assert!(error.contains("modules_to_save"), "{error}");
    let first = attach(&saved, base(MODEL, false), 0, &device()).unwrap().0;
    let error = add_adapter(first, "second", LoraConfig::new(2), 0, &device()).unwrap_err().to_string();
    assert!(error.contains("default: found modules_to_save"), "{error}");
}

/// Training `narrow` with `wide` frozen beside it: the trainer sees PEFT's names, and nothing else moves.
#[test]
fn one_adapter_is_trained_and_the_others_stay() {
    let batch = reference_batch(MODEL);
    let model = set_adapters(with_sums(false), &["wide", "narrow"]).unwrap();
    assert!(trained(&model).is_empty());
    let model = train_adapter(model, "narrow").unwrap();
    assert_eq!(active_adapters(&model), ["narrow", "wide"]);
    let names = trained(&model);
    assert!(names.iter().all(|name| name.ends_with("lora_A.weight") || name.ends_with("lora_B.weight")));
    let step = |model: &CausalLm| {
        let (gradients, _) = Gradients::of_step(model, std::slice::from_ref(&batch), |_| None).unwrap();
        gradients
    };
    let gradients = step(&model);
    assert_eq!(gradients.iter().count(), names.len());
    for kind in [GradientCheckpointing::Block, GradientCheckpointing::BlockKeepAttention] {
        let checkpointed = step(&model.clone().with_gradient_checkpointing(kind));
        for ((name, got), (_, want)) in checkpointed.iter().zip(gradients.iter()) {
            assert_near_max(&values(got), &values(want), 1e-5, &format!("{kind:?} {name}"));
        }
    }
    let before = parameters(&model);
    let mut optimizer = Optimizer::new(AdamW::default(), DecayRule::All);
    let model = optimizer.step(model, &gradients, 1e-2).unwrap();
    for (name, bits) in parameters(&model) {
        assert_eq!(bits != before[&name], names.contains(&name), "{name}");
    }
    // Saved, loaded again and used with the other one, it computes the same.
    let dir = tempfile::tempdir().unwrap();
    save_adapter(&model, "narrow", dir.path()).unwrap();
    let plain = tempfile::tempdir().unwrap();
    save_peft(&model, &sums()[0].1, plain.path()).unwrap();
    let file = |dir: PathBuf| std::fs::read(dir.join("adapter_model.safetensors")).unwrap();
    assert!(file(dir.path().join("narrow")) == file(plain.path().to_owned()));
    let rest = delete_adapter(model.clone(), "narrow").unwrap();
    let again = load_adapter(rest, "narrow", dir.path().join("narrow"), &device()).unwrap().0;
    let again = set_adapters(again, &["narrow", "wide"]).unwrap();
    assert_eq!(logits(&again, &batch), logits(&model, &batch));
}

/// Rows with their own adapters have gradients too.
#[test]
fn a_mixed_batch_trains_the_adapter_of_its_rows() {
    let batch = reference_batch(MODEL);
    let model = train_adapter(with_sums(false), "narrow").unwrap();
    let mut chosen = vec![Some("wide"); batch.rows];
    chosen[0] = Some("narrow");
    let of = |model: &CausalLm, batch: &TokenBatch| {
        let loss = model.loss(batch, None);
        let mut tape = loss.sum.backward();
        let mut found = BTreeMap::new();
        visit_parameters(&mut model.clone(), &mut |name, parameter| {
            if parameter.is_trainable() {
                found.insert(name.to_owned(), values(&parameter.take_gradient(&mut tape).unwrap()));
            }
        });
        found
    };
    let mixed = with_row_adapters(model.clone(), &chosen).unwrap();
    let (got, want) = (of(&mixed, &batch), of(&model, &row(&batch, 0)));
    assert_eq!(got.len(), want.len());
    for (name, got) in got {
        assert_near_max(&got, &want[&name], 1e-4, &name);
    }
}

/// Where the values of the factors of the first adapter in use lie.
fn addresses(model: &mut CausalLm) -> Vec<usize> {
    let mut found = Vec::new();
    model.sites(&mut |_, site| {
        if let Site::Projection(projection) = site
            && let Some(lora) = projection.adapter().and_then(|adapter| adapter.lora())
        {
            let factors = lora.factors();
            for factor in [factors.a, factors.b] {
                let storage = factor.try_into_primitive::<Flex>().unwrap();
                found.push(storage.storage::<f32>().as_ptr() as usize);
            }
        }
    });
    found
}

#[test]
fn a_swap_writes_where_the_adapter_was() {
    let Some(mut model) = loaded(&["c", "b"]) else { return };
    let ids = Tensors::read(peft("merge.safetensors").unwrap()).ids("input_ids");
    let before = addresses(&mut model);
    assert_eq!(before.len(), 8);
    // Rank 8 in the place of rank 12.
    hotswap_adapter(&mut model, "c", peft("a").unwrap()).unwrap();
    assert_eq!(addresses(&mut model), before);
    let want = load_peft(peft("a").unwrap(), base("llama2", false), false, &device()).unwrap().0;
    assert_near(&last4(&model, &ids), &last4(&want, &ids), 1e-5, "a in the place of c");
    // What is saved has the rank of its configuration.
    let dir = tempfile::tempdir().unwrap();
    let files = PeftFiles::read(save_adapter(&model, "c", dir.path()).unwrap()).unwrap();
    assert_eq!(files.tensors, PeftFiles::read(peft("a").unwrap()).unwrap().tensors);
    let alone = set_adapters(model.clone(), &["c"]).unwrap();
    save_peft(&alone, adapter_config(&alone, "c").unwrap(), dir.path()).unwrap();
    assert_eq!(PeftFiles::read(dir.path()).unwrap().tensors, files.tensors);
    // A clone that is alive would make the swap write elsewhere.
    drop(alone);
    // And back to the larger rank.
    hotswap_adapter(&mut model, "c", peft("c").unwrap()).unwrap();
    assert_eq!(addresses(&mut model), before);
    let want = load_peft(peft("c").unwrap(), base("llama2", false), false, &device()).unwrap().0;
    assert_eq!(last4(&model, &ids), last4(&want, &ids));
    // One at rest, and one that a stack uses.
    hotswap_adapter(&mut model, "b", peft("a").unwrap()).unwrap();
    let a_and_c = set_adapters(loaded(&["a", "c"]).unwrap(), &["a", "c"]).unwrap();
    let stack = set_adapters(model, &["b", "c"]).unwrap();
    assert_eq!(last4(&stack, &ids), last4(&a_and_c, &ids));
}

#[test]
fn a_swap_that_does_not_fit_changes_nothing_and_says_all() {
    let model = with_sums(false);
    let dir = tempfile::tempdir().unwrap();
    let sums = sums().into_iter().map(|(name, config)| (name, AdapterConfig::from(config)));
    for (name, config) in sums.chain(loners()) {
        if !adapter_names(&model).iter().any(|known| known == name) {
            let other = add_adapter(base(MODEL, false), name, config, 1, &device()).unwrap().0;
            save_adapter(&other, name, dir.path()).unwrap();
        } else {
            save_adapter(&model, name, dir.path()).unwrap();
        }
    }
    let before = parameters(&model);
    let refused = |from: &str| {
        let mut model = model.clone();
        let error = hotswap_adapter(&mut model, "narrow", dir.path().join(from)).unwrap_err().to_string();
        assert_eq!(parameters(&model), before, "{from}");
        error
    };
    let wide = refused("wide");
    assert!(wide.contains("rank 8, wanted at most 4"), "{wide}");
    assert!(wide.contains("down_proj: found an adapter in the files, wanted none"), "{wide}");
    let biased = refused("biased");
    assert!(biased.contains("v_proj: found no adapter in the files"), "{biased}");
    assert!(biased.contains("lora_B.bias: found a tensor"), "{biased}");
    assert!(refused("dora").contains("use_dora: found true, wanted false"));
    assert!(refused("tokens").contains("trainable_token_indices"));
    assert!(refused("ia3").contains("IA3"));
    let mut model = model.clone();
    hotswap_adapter(&mut model, "narrow", dir.path().join("narrow")).unwrap();
    assert_eq!(parameters(&model), before);
}

/// What training has changed in the model itself is there whatever adapter is in use.
#[test]
fn no_choice_takes_back_what_an_adapter_changed_in_the_model() {
    use burnisher_lora::InitLoraWeights;
    let lora = || LoraConfig::new(4).with_target_modules(suffixes(&["q_proj"]));
    for config in [
        lora().with_modules_to_save(["lm_head"]),
        lora().with_bias(burnisher_lora::Bias::All),
        lora().with_init_lora_weights(InitLoraWeights::Pissa),
    ] {
        let model = attach(&config, base(MODEL, false), 1, &device()).unwrap().0;
        // The choice that is there already is none.
        let model = set_adapters(model, &["default"]).unwrap();
        for error in [
            disable_adapters(model.clone()).unwrap_err(),
            with_row_adapters(model, &[None::<&str>, Some("default")]).unwrap_err(),
        ] {
            assert!(
                error.to_string().contains("`default`") || error.to_string().contains("default:"),
                "{error}"
            );
        }
    }
}

/// The first adapter of a model that was trained itself: from then on the adapter alone is.
#[test]
fn adding_an_adapter_freezes_the_model() {
    let model = burnisher_lora::train_all(base(MODEL, false)).unwrap();
    let model = add_adapter(model, "a", LoraConfig::new(4), 1, &device()).unwrap().0;
    let mut model = train_adapter(model, "a").unwrap();
    let mut trained = 0;
    visit_parameters(&mut model, &mut |name, parameter| {
        assert_eq!(parameter.is_trainable(), name.contains(".lora_"), "{name}");
        trained += usize::from(parameter.is_trainable());
    });
    assert_eq!(trained, 8);
}

#[test]
fn every_way_of_saving_says_which_base_it_was() {
    let dir = tempfile::tempdir().unwrap();
    let file = dir.path().join("base_fingerprint.json");
    let lora = LoraConfig::new(4);
    let model = attach(&lora, base(MODEL, false), 1, &device()).unwrap().0;
    save_adapter(&model, "default", dir.path()).unwrap();
    assert!(file.exists());
    let other = attach(&lora, base("llama2", false), 1, &device()).unwrap().0;
    save_peft(&other, &lora, dir.path()).unwrap();
    load_peft(dir.path(), base("llama2", false), false, &device()).unwrap();
    // Files alone know no base, and do not keep another's.
    PeftFiles::read(dir.path()).unwrap().write(dir.path()).unwrap();
    assert!(!file.exists());
}
