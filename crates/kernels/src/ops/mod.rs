//! One file per operation: formula and shapes, reference, dispatch, backward.

pub(crate) mod adafactor;
pub(crate) mod adamw;
pub(crate) mod attention;
pub(crate) mod checkpoint;
pub(crate) mod cross_entropy;
pub(crate) mod embedding;
pub(crate) mod gated_mlp;
pub(crate) mod linear;
pub(crate) mod lion;
pub(crate) mod lora_linear;
pub(crate) mod precision;
pub(crate) mod rms_norm;
pub(crate) mod rope;
pub(crate) mod scaled_features;
pub(crate) mod sgd;
pub(crate) mod values;
