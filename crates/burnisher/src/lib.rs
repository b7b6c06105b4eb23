//! Fine-tuning for Burn: LoRA, QLoRA and full fine-tuning of language models in Rust.
