//! Which triplets of an AdaLoRA adapter are left: PEFT saves no others.

use std::collections::BTreeMap;

use crate::{AdaLoraConfig, AdapterTensor, peft::keys};

/// The names of a module's tensors after its path.
const PARTS: [&str; 3] = ["lora_A", "lora_E", "lora_B"];

/// Leaves out the triplets whose singular value is 0, which change nothing, and notes them in the configuration (peft
/// 0.21, src/peft/tuners/adalora/model.py `resize_state_dict_by_rank_pattern`). A fresh adapter, all of whose singular
/// values are 0, stays whole.
pub(crate) fn drop_masked(
    config: AdaLoraConfig,
    modules: &[String],
    tensors: &mut BTreeMap<String, AdapterTensor>,
) -> AdaLoraConfig {
    let key = |path: &str, part: &str| keys::parameter(&format!("{path}.{part}"));
    let mut kept: BTreeMap<String, Vec<bool>> = BTreeMap::new();
    for path in modules {
        if let Some(values) = tensors.get(&key(path, "lora_E")) {
            kept.insert(path.clone(), values.values.iter().map(|value| *value != 0.0).collect());
        }
    }
    let all = || kept.values().flatten();
    if !all().any(|kept| *kept) || all().all(|kept| *kept) {
        return config;
    }
    let mut pattern = BTreeMap::new();
    for (path, kept) in kept {
        for part in PARTS {
            if let Some(tensor) = tensors.get_mut(&key(&path, part)) {
                *tensor = selected(tensor, &kept, part == "lora_B");
            }
        }
        // Triplets that were gone before count, too.
        let before = config.rank_pattern().and_then(|pattern| pattern.get(&path)).cloned();
        let mut rest = kept.iter().copied();
        let now = match before {
            Some(before) => before.into_iter().map(|kept| kept && rest.next().unwrap_or(false)).collect(),
            None => kept.clone(),
        };
        pattern.insert(path, now);
    }
    config.with_rank_pattern(pattern)
}

/// The rows, or the columns, of a matrix that are kept.
fn selected(tensor: &AdapterTensor, kept: &[bool], columns: bool) -> AdapterTensor {
    let [rows, cols] = [tensor.shape[0], tensor.shape[1]];
    let count = kept.iter().filter(|kept| **kept).count();
    let is_kept = |index: usize| kept[if columns { index % cols } else { index / cols }];
    let values = tensor.values.iter().enumerate().filter(|(index, _)| is_kept(*index));
    let values = values.map(|(_, value)| *value).collect();
    let shape = if columns { [rows, count] } else { [count, cols] };
    AdapterTensor::new(shape, values).with_dtype(tensor.dtype)
}
