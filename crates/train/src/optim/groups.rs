//! Parameters that are trained at another rate, or without decay.

/// Which parameters weight decay applies to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum DecayRule {
    /// All but biases and normalisation weights, by their names as Hugging Face's `Trainer` tells them (transformers
    /// 5.23, `get_decay_parameter_names`). Factors of an adapter decay.
    #[default]
    SkipNormsAndBiases,
    /// Every trained parameter, as `torch.optim.AdamW` does by itself.
    All,
}

impl DecayRule {
    fn decays(self, name: &str, rank: usize) -> bool {
        if self == Self::All {
            return true;
        }
        let name = name.to_lowercase();
        let is_norm = |part: &str| part == "norm" || part.ends_with("_norm");
        let by_name = ["bias", "layernorm", "rmsnorm"].iter().any(|word| name.contains(word))
            || name.split('.').any(is_norm);
        // A vector that is called weight is a normalisation's, whatever its module is called.
        let by_rank = rank == 1 && name.ends_with(".weight");
        !(by_name || by_rank)
    }
}

/// LoRA+ (arXiv:2402.12354): B learns faster than A.
///
/// The groups of PEFT 0.21 (`create_loraplus_optimizer`): vectors learn as B does, adapters of an embedding at a rate of
/// their own, everything else as A.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct LoraPlus {
    /// B's rate over A's.
    pub lr_ratio: f64,
    /// The rate of an embedding's adapters over A's.
    pub embedding_ratio: f64,
}

impl LoraPlus {
    /// With PEFT's `loraplus_lr_ratio` and `loraplus_lr_embedding`, for a run whose rate is `learning_rate`.
    pub fn new(lr_ratio: f64, lr_embedding: f64, learning_rate: f64) -> Self {
        Self { lr_ratio, embedding_ratio: lr_embedding / learning_rate }
    }
}

/// Which rate and which decay each parameter has.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ParameterGroups {
    /// Which parameters decay.
    pub decay: DecayRule,
    /// Other rates for the factors of adapters. Default: one rate for all.
    pub loraplus: Option<LoraPlus>,
}

impl ParameterGroups {
    /// What the learning rate is multiplied by for a parameter of this name and rank, and whether it decays.
    pub fn of(&self, name: &str, rank: usize) -> (f64, bool) {
        let factor = match self.loraplus {
            None => 1.0,
            Some(plus) if name.contains("lora_embedding_") => plus.embedding_ratio,
            Some(plus) if name.contains("lora_B") || rank == 1 => plus.lr_ratio,
            Some(_) => 1.0,
        };
        (factor, self.decay.decays(name, rank))
    }
}

impl From<DecayRule> for ParameterGroups {
    fn from(decay: DecayRule) -> Self {
        Self { decay, loraplus: None }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_decays_by_table() {
        for (name, rank, decays) in [
            ("model.layers.0.self_attn.q_proj.lora_A.weight", 2, true),
            ("model.layers.0.self_attn.q_proj.lora_B.weight", 2, true),
            ("model.layers.0.self_attn.q_proj.weight", 2, true),
            ("model.layers.0.self_attn.q_proj.bias", 1, false),
            ("model.layers.0.self_attn.q_proj.lora_B.bias", 1, false),
            ("model.layers.0.self_attn.q_proj.lora_magnitude_vector", 1, true),
            ("model.layers.0.input_layernorm.weight", 1, false),
            ("model.layers.0.self_attn.q_norm.weight", 1, false),
            ("model.norm.weight", 1, false),
            ("transformer.h.0.ln_1.weight", 1, false),
            ("model.normal_proj.weight", 2, true),
            ("model.embed_tokens.weight", 2, true),
        ] {
            let groups = ParameterGroups::from(DecayRule::SkipNormsAndBiases);
            assert_eq!(groups.of(name, rank), (1.0, decays), "{name}");
            assert_eq!(ParameterGroups::from(DecayRule::All).of(name, rank), (1.0, true), "{name}");
        }
    }

    #[test]
    fn the_groups_of_lora_plus_by_table() {
        let loraplus = Some(LoraPlus::new(16.0, 1e-6, 2e-4));
        let groups = ParameterGroups { loraplus, ..ParameterGroups::default() };
        for (name, rank, wanted) in [
            ("model.layers.0.self_attn.q_proj.lora_A.weight", 2, (1.0, true)),
            ("model.layers.0.self_attn.q_proj.lora_B.weight", 2, (16.0, true)),
            ("model.layers.0.self_attn.q_proj.lora_B.bias", 1, (16.0, false)),
            ("model.layers.0.self_attn.q_proj.bias", 1, (16.0, false)),
            ("model.norm.weight", 1, (16.0, false)),
            ("model.embed_tokens.lora_embedding_A", 2, (1e-6 / 2e-4, true)),
            ("model.embed_tokens.lora_embedding_B", 2, (1e-6 / 2e-4, true)),
            ("lm_head.weight", 2, (1.0, true)),
        ] {
            assert_eq!(groups.of(name, rank), wanted, "{name}");
        }
    }
}
