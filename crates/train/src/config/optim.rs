//! The optimizers of a run file, and what they become.

use burnisher_kernels::{Adafactor, AdamW, Lion, Sgd};
use serde::{Deserialize, Serialize};

use super::TrainConfig;
use crate::{DecayRule, LoraPlus, Optimizer, Paging, ParameterGroups, Rule, TrainError};

/// The optimizer, by the names of Hugging Face's `TrainingArguments.optim`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
#[non_exhaustive]
pub enum Optim {
    /// AdamW with its state in f32; `adamw_torch_fused` is the same here.
    #[serde(alias = "adamw_torch_fused")]
    AdamwTorch,
    /// AdamW with its state in 8 bits; or `adamw_bnb_8bit`.
    #[serde(rename = "adamw_8bit", alias = "adamw_bnb_8bit")]
    Adamw8bit,
    /// AdamW with its state in f32, in a file; or `paged_adamw`.
    #[serde(rename = "paged_adamw_32bit", alias = "paged_adamw")]
    PagedAdamw32bit,
    /// AdamW with its state in 8 bits, in a file.
    #[serde(rename = "paged_adamw_8bit")]
    PagedAdamw8bit,
    /// Lion with its state in f32.
    #[serde(rename = "lion_32bit")]
    Lion32bit,
    /// Lion with its state in 8 bits.
    #[serde(rename = "lion_8bit")]
    Lion8bit,
    /// Lion with its state in f32, in a file.
    #[serde(rename = "paged_lion_32bit")]
    PagedLion32bit,
    /// Lion with its state in 8 bits, in a file.
    #[serde(rename = "paged_lion_8bit")]
    PagedLion8bit,
    /// Adafactor.
    Adafactor,
    /// Gradient descent with momentum.
    Sgd,
}

impl Optim {
    /// Every name of a run file.
    pub(crate) const NAMES: &'static [&'static str] = &[
        "adamw_torch",
        "adamw_torch_fused",
        "adamw_8bit",
        "adamw_bnb_8bit",
        "paged_adamw",
        "paged_adamw_32bit",
        "paged_adamw_8bit",
        "lion_32bit",
        "lion_8bit",
        "paged_lion_32bit",
        "paged_lion_8bit",
        "adafactor",
        "sgd",
    ];

    /// Whether the state lies in a file, of which memory holds one parameter's at a time.
    pub fn is_paged(self) -> bool {
        matches!(
            self,
            Self::PagedAdamw32bit | Self::PagedAdamw8bit | Self::PagedLion32bit | Self::PagedLion8bit
        )
    }
}

impl TrainConfig {
    /// The options of AdamW.
    pub fn adamw(&self) -> AdamW {
        AdamW { beta1: self.beta1, beta2: self.beta2, epsilon: self.epsilon, weight_decay: self.weight_decay }
    }

    /// The arithmetic of a step.
    pub fn rule(&self) -> Rule {
        let lion = Lion { beta1: self.beta1, beta2: self.beta2, weight_decay: self.weight_decay };
        match self.optim {
            Optim::AdamwTorch | Optim::PagedAdamw32bit => Rule::AdamW(self.adamw()),
            Optim::Adamw8bit | Optim::PagedAdamw8bit => Rule::AdamW8bit(self.adamw()),
            Optim::Lion32bit | Optim::PagedLion32bit => Rule::Lion(lion),
            Optim::Lion8bit | Optim::PagedLion8bit => Rule::Lion8bit(lion),
            Optim::Adafactor => Rule::Adafactor(Adafactor {
                weight_decay: self.weight_decay,
                scale_parameter: self.scale_parameter,
                relative_step: self.relative_step,
                warmup_init: self.warmup_init,
                ..Adafactor::default()
            }),
            Optim::Sgd => Rule::Sgd(Sgd {
                momentum: self.momentum.unwrap_or(Self::MOMENTUM),
                weight_decay: self.weight_decay,
            }),
        }
    }

    /// Which parameters decay, and which learn at another rate.
    pub fn parameter_groups(&self) -> ParameterGroups {
        let loraplus = self.loraplus_lr_ratio.map(|ratio| {
            let embedding = self.loraplus_lr_embedding.unwrap_or(Self::LORAPLUS_LR_EMBEDDING);
            LoraPlus::new(ratio, embedding, self.learning_rate)
        });
        ParameterGroups { decay: DecayRule::SkipNormsAndBiases, loraplus }
    }

    /// The optimizer, without state; its file, if it is paged, is a temporary one in the output directory unless
    /// `optim_page_file` names one.
    ///
    /// # Errors
    /// [`TrainError::Io`] and [`TrainError::PageFile`] for the file of a paged optimizer.
    pub fn optimizer(&self) -> Result<Optimizer, TrainError> {
        let optimizer = Optimizer::new(self.rule(), self.parameter_groups());
        if !self.optim.is_paged() {
            return Ok(optimizer);
        }
        optimizer.with_paging(&match &self.optim_page_file {
            Some(path) => Paging::File(path.clone()),
            None => Paging::TemporaryIn(self.output_dir.clone()),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_name_is_an_optimizer() -> Result<(), serde_json::Error> {
        for name in Optim::NAMES {
            let optim: Optim = serde_json::from_value((*name).into())?;
            let written = serde_json::to_value(optim)?;
            assert!(Optim::NAMES.iter().any(|known| written == *known), "{name}");
            assert_eq!(optim.is_paged(), name.starts_with("paged"), "{name}");
            let rule = TrainConfig { optim, ..TrainConfig::default() }.rule();
            let unpaged = name.strip_prefix("paged_").unwrap_or(name);
            let wanted = match unpaged {
                "adamw" | "adamw_32bit" | "adamw_torch_fused" => "adamw_torch",
                "adamw_bnb_8bit" => "adamw_8bit",
                other => other,
            };
            assert_eq!(rule.name(), wanted, "{name}");
            assert!(rule.is_pageable() || !optim.is_paged(), "{name}");
        }
        Ok(())
    }
}
