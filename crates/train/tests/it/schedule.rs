//! Learning rates against `transformers.get_scheduler` (the fixture's README names the versions).

use std::path::{Path, PathBuf};

use burnisher_train::{Schedule, ScheduleKind, Warmup};
use serde_json::Value;

/// The fixture: from this workspace if it is there, else from `../shared`; `None` without either.
fn fixture() -> Option<Value> {
    let crates = Path::new(env!("CARGO_MANIFEST_DIR"));
    let places: [PathBuf; 2] = [
        crates.join("../models/tests/fixtures/sched/schedulers.json"),
        crates.join("../../../shared/fixtures/models/sched/schedulers.json"),
    ];
    let Some(path) = places.iter().find(|path| path.exists()) else {
        assert!(std::env::var_os("CI").is_none(), "../shared is missing");
        println!("skipped: no ../shared");
        return None;
    };
    let text = std::fs::read_to_string(path).unwrap();
    Some(serde_json::from_str(&text).unwrap())
}

#[test]
fn equals_hugging_face() {
    let Some(fixture) = fixture() else { return };
    let mut compared = 0;
    for case in fixture["schedules"].as_array().unwrap() {
        let warmup = case["warmup"].as_u64().unwrap();
        let cycles = case["kwargs"].get("num_cycles").and_then(Value::as_f64);
        let (kind, warmup) = match case["name"].as_str().unwrap() {
            "linear" => (ScheduleKind::Linear, warmup),
            "cosine" => (ScheduleKind::Cosine { num_cycles: cycles.unwrap_or(0.5) }, warmup),
            "constant" => (ScheduleKind::Constant, 0),
            "constant_with_warmup" => (ScheduleKind::Constant, warmup),
            _ => continue,
        };
        let schedule = Schedule::new(kind, Warmup::Steps(warmup), case["steps"].as_u64().unwrap());
        let base = case["base_lr"].as_f64().unwrap();
        let wanted = case["lr"].as_array().unwrap();
        assert!(wanted.len() > 100);
        for (step, wanted) in (0..).zip(wanted) {
            let (found, wanted) = (schedule.lr(step, base), wanted.as_f64().unwrap());
            let difference = (found - wanted).abs();
            assert!(
                difference <= 1e-12 * wanted.abs(),
                "{} step {step}: {found:e}, wanted {wanted:e}",
                case["name"]
            );
        }
        compared += 1;
    }
    // Linear, cosine (twice), constant and constant_with_warmup, each with and without warm-up.
    assert_eq!(compared, 10);
}
