//! Operations against their references, values and gradients, on every backend this build has.

mod adamw;
mod attention;
mod block;
mod cross_entropy;
mod linear;
mod support;
