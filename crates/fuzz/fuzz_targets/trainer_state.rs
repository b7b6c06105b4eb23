//! trainer_state.json of a checkpoint, and the run that goes on from it.
//!
//! A state that was read is written and reads equal; a run from it ends or says what is wrong.
#![no_main]

use std::sync::LazyLock;

use burnisher_fuzz::run::Run;
use burnisher_train::TrainerState;
use libfuzzer_sys::fuzz_target;

static RUN: LazyLock<Run> = LazyLock::new(|| {
    Run::new("trainer_state", "adamw_torch", |file| (file == "trainer_state.json").then(Vec::new))
});

fuzz_target!(|data: &[u8]| {
    // Now, and not with the first state that is read: its own is the seed.
    let run = &*RUN;
    let Ok(state) = serde_json::from_slice::<TrainerState>(data) else {
        return;
    };
    let text = serde_json::to_string(&state).unwrap();
    let again: TrainerState = serde_json::from_str(&text).unwrap();
    // The text, since a loss may be NaN.
    assert_eq!(serde_json::to_string(&again).unwrap(), text);
    assert!(state.optimizer_steps() <= state.step);
    run.resume("trainer_state.json", data);
});
