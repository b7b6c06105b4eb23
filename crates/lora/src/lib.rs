//! LoRA adapters for Burn: attach, run, merge, and save in PEFT's format.
