//! A Llama with random weights, stored and trained as the options say.

use std::error::Error;

use burn::{
    module::{Param, ParamId},
    tensor::{Device, FloatDType},
};
use burnisher::{
    kernels::FourBitWeight,
    lora::{
        Adaptable, Embedding, LoraConfig, Projection, Site, TargetModules, Weight, attach, count_parameters,
        train_all,
    },
    models::{CausalLm, GradientCheckpointing, LlamaShape, ModelConfig},
    quant::{QuantConfig, QuantError, SourceDtype},
};

use crate::{Checkpointing, Dtype, Options, Targets};

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
/// are the identity, the head is the embedding.
///
/// # Errors
/// Sizes that do not fit each other, and [`Options::check`]'s.
pub fn make(options: &Options, device: &Device) -> Result<Made, Box<dyn Error>> {
    options.check()?;
    let config = ModelConfig::llama(LlamaShape {
        vocab_size: options.vocab,
        hidden_size: options.hidden,
        intermediate_size: options.intermediate,
        num_hidden_layers: options.layers,
        num_attention_heads: options.heads,
        num_key_value_heads: options.kv_heads,
        max_position_embeddings: options.seq.max(2048),
        tie_word_embeddings: true,
        ..LlamaShape::default()
    })?;
    let mut model = CausalLm::init(config, SEED, device)?;
    store(&mut model, options, device)?;
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
    let config = LoraConfig::new(options.r).with_lora_alpha(options.alpha).with_target_modules(targets);
    Ok(attach(&config, model, SEED, device)?.0)
}

fn with_checkpointing(model: CausalLm, checkpointing: Checkpointing) -> CausalLm {
    model.with_gradient_checkpointing(match checkpointing {
        Checkpointing::None => GradientCheckpointing::None,
        Checkpointing::Block => GradientCheckpointing::Block,
        Checkpointing::BlockAttention => GradientCheckpointing::BlockKeepAttention,
    })
}

/// Brings the f32 weights of a fresh model into the options' storage, one module after the other: at no time are there
/// two copies of more than one module.
fn store(model: &mut CausalLm, options: &Options, device: &Device) -> Result<(), Box<dyn Error>> {
    let (dtype, source) = match options.dtype {
        Dtype::F32 => (FloatDType::F32, SourceDtype::F32),
        Dtype::Bf16 => (FloatDType::BF16, SourceDtype::Bf16),
    };
    let quantize =
        options.qlora.then(|| QuantConfig::nf4().with_double_quant(true).with_source_dtype(source));
    if dtype == FloatDType::F32 && quantize.is_none() {
        return Ok(());
    }
    let mut failed = None;
    model.sites(&mut |path, site| match site {
        Site::Projection(projection) => match stored(projection, dtype, quantize, device) {
            Ok(new) => *projection = new,
            Err(error) => {
                failed.get_or_insert_with(|| format!("{path}: {error}"));
            }
        },
        Site::Head(head) => *head = Projection::new(Weight::frozen(head.dense_weight(dtype)), None),
        Site::Embedding(embedding) => *embedding = Embedding::new(embedding.weight().cast(dtype), None),
        Site::Norm(weight) => *weight = Param::initialized(ParamId::new(), weight.val().cast(dtype)),
    });
    match failed {
        Some(message) => Err(message.into()),
        None => Ok(()),
    }
}

/// A projection without bias in another storage.
fn stored(
    projection: &Projection,
    dtype: FloatDType,
    quantize: Option<QuantConfig>,
    device: &Device,
) -> Result<Projection, QuantError> {
    let dense = projection.dense_weight(dtype);
    let weight = match quantize {
        None => Weight::frozen(dense),
        Some(config) => {
            let values: Vec<f32> = dense.cast(FloatDType::F32).into_data().iter::<f32>().collect();
            let state = config.quantize(&values, projection.dims())?;
            Weight::FourBit(FourBitWeight::from_state(&state, device))
        }
    };
    Ok(Projection::new(weight, None))
}
