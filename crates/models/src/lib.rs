//! Decoder language models for Burn, read from Hugging Face directories: Llama, Mistral, Gemma.
