//! Operations against their references, values and gradients, on every backend this build has.

mod adamw;
mod attention;
mod block;
mod cross_entropy;
#[cfg(feature = "flex")]
mod finite_differences;
mod linear;
mod optimizers;
mod support;
