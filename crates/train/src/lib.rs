//! The trainer: token-weighted accumulation, AdamW, schedules, early stopping, exact resume.
