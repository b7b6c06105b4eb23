//! A Llama with random weights, stored and trained as the options say.

use std::error::Error;

use burn::tensor::Device;
use burnisher::{
    lora::{LoraConfig, TargetModules, attach, count_parameters, train_all},
    models::{CausalLm, ComputeDtype, GradientCheckpointing, LlamaShape, LoadConfig, ModelConfig},
    quant::{QuantConfig, SourceDtype},
};

use crate::{Checkpointing, Dtype, Options, Sizes, Targets};

const SEED: u64 = 42;

/// A model that is ready to be trained.
#[derive(Debug)]
pub struct Made {
    /// The model.
    pub model: CausalLm,
    /// Values of the model without an adapter.
    pub base_parameters: usize,
    /// Values that are trained.
    pub trainable_parameters: usize,
}

/// Makes the model: normal weights with standard deviation 0.02, smaller where they add to the residual stream; norms
/// are the identity.
///
/// # Errors
/// Sizes that do not fit each other, and [`Options::check`]'s.
pub fn make(options: &Options, device: &Device) -> Result<Made, Box<dyn Error>> {
    options.check()?;
    let Sizes { hidden, layers, heads, kv_heads, intermediate, vocab, is_tied } = options.sizes();
    let config = ModelConfig::llama(LlamaShape {
        vocab_size: vocab,
        hidden_size: hidden,
        intermediate_size: intermediate,
        num_hidden_layers: layers,
        num_attention_heads: heads,
        num_key_value_heads: kv_heads,
        max_position_embeddings: options.seq.max(2048),
        tie_word_embeddings: is_tied,
        ..LlamaShape::default()
    })?;
    let model = CausalLm::init_with(config, SEED, &storage(options), device)?;
    let (_, base_parameters) = count_parameters(&model);
    let model = with_checkpointing(trainable(model, options, device)?, options.grad_ckpt);
    let (trainable_parameters, _) = count_parameters(&model);
    Ok(Made { model, base_parameters, trainable_parameters })
}

/// Freezes the base and attaches an adapter, or makes every parameter trainable.
fn trainable(model: CausalLm, options: &Options, device: &Device) -> Result<CausalLm, Box<dyn Error>> {
    let targets = match options.targets {
        Targets::Qv => TargetModules::suffixes(["q_proj", "v_proj"]),
        Targets::AllLinear => TargetModules::AllLinear,
        Targets::Full => return Ok(train_all(model)?),
    };
    let config = LoraConfig::new(options.r)
        .with_lora_alpha(options.alpha)
        .with_target_modules(targets)
        .with_use_dora(options.dora);
    Ok(attach(&config, model, SEED, device)?.0)
}

fn with_checkpointing(model: CausalLm, checkpointing: Checkpointing) -> CausalLm {
    model.with_gradient_checkpointing(match checkpointing {
        Checkpointing::None => GradientCheckpointing::None,
        Checkpointing::Block => GradientCheckpointing::Block,
        Checkpointing::BlockAttention => GradientCheckpointing::BlockKeepAttention,
    })
}

/// How the options store the model. What is quantized is first rounded to the dtype of the dense weights, as if the
/// base had been published in it.
fn storage(options: &Options) -> LoadConfig {
    let (dtype, source) = match options.dtype {
        Dtype::F32 => (ComputeDtype::F32, SourceDtype::F32),
        Dtype::Bf16 => (ComputeDtype::Bf16, SourceDtype::Bf16),
    };
    let load = LoadConfig::new().with_dtype(dtype);
    if options.qlora {
        load.with_quantize(QuantConfig::nf4().with_double_quant(true).with_source_dtype(source))
    } else {
        load
    }
}
