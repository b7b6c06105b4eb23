//! Differentiable operations on Burn tensors for fine-tuning large language models.
//!
//! | operation | function | handwritten backward |
//! |---|---|---|
//! | projection by a frozen weight, dense, 4-bit or LLM.int8 | [`linear`] | yes: keeps the stored weight only |
//! | projection by a trained weight | [`trained_linear`] | yes: keeps `x` and the weight |
//! | LoRA projection | [`lora_linear`] | yes: keeps `x` and `x·Aᵀ` only |
//! | projection + cross-entropy | [`linear_cross_entropy`] | yes: no logits matrix |
//! | grouped-query attention | [`attention`] | yes: no scores matrix |
//! | RMSNorm | [`rms_norm`] | yes: keeps `x` only |
//! | rotary position embedding | [`rope`] | yes: keeps the tables only |
//! | gated MLP activation | [`gated_activation`] | yes: keeps its operands only |
//! | features times a vector | [`scaled_features`] | yes: keeps `x` and the vector |
//! | token embedding | [`embedding`] | yes: keeps the ids only |
//! | activation checkpointing | [`checkpoint`] | yes: keeps the segment's input only |
//! | steps of AdamW, Lion, Adafactor, SGD | [`adamw_step`], [`lion_step`], [`adafactor_step`], [`sgd_step`] | not differentiable |
//!
//! Every operation with a handwritten backward has a plain reference beside it (`*_reference`),
//! composed of Burn's differentiable operations, always compiled, and tested equal in values and
//! gradients. A backend that this crate was not built for takes the reference.
//!
//! Weights keep Hugging Face's layout `[out, in]`; a projection is `y = x·Wᵀ`.
//!
//! ```
//! use burn::tensor::{Device, Tensor};
//! use burnisher_kernels::{FrozenWeight, linear};
//!
//! let device = Device::flex();
//! let weight = FrozenWeight::Dense(Tensor::from_floats([[1.0, 0.0], [0.0, 2.0], [1.0, 1.0]], &device));
//! let x = Tensor::<2>::from_floats([[3.0, 4.0]], &device);
//! let y = linear(x, &weight);
//! assert_eq!(y.to_data().try_to_vec::<f32>().unwrap(), vec![3.0, 8.0, 7.0]);
//! ```
#![deny(missing_docs)]

mod backend;
#[cfg(feature = "flex")]
mod cpu;
mod dropout;
mod eight_bit;
mod finite;
mod four_bit;
mod ops;
mod packed;
mod shared_input;
mod weight;

pub use crate::{
    dropout::{Dropout, DropoutKeys},
    eight_bit::{EightBitWeight, INT8_THRESHOLD},
    finite::all_finite,
    four_bit::FourBitWeight,
    ops::{
        adafactor::{Adafactor, AdafactorState, adafactor_step},
        adamw::{AdamW, AdamWState, adamw_step, adamw_step_reference, adamw_update},
        attention::{AttentionMask, AttentionOptions, attention, attention_reference},
        checkpoint::{Segment, checkpoint},
        cross_entropy::{
            IGNORE_INDEX, LossOptions, SummedLoss, cross_entropy, linear_cross_entropy,
            linear_cross_entropy_reference, logits_token_losses, token_losses,
        },
        embedding::{embedding, embedding_reference},
        gated_mlp::{Activation, gated_activation, gated_activation_reference},
        linear::{linear, linear_reference, trained_linear, trained_linear_reference},
        lion::{Lion, lion_step, lion_step_reference, lion_update},
        lora_linear::{LoraFactors, lora_linear, lora_linear_reference},
        rms_norm::{NormWeight, rms_norm, rms_norm_reference},
        rope::{rope, rope_reference},
        scaled_features::{scaled_features, scaled_features_reference},
        sgd::{Sgd, sgd_step, sgd_step_reference},
        values::update_values,
    },
    shared_input::SharedInput,
    weight::FrozenWeight,
};
