//! Compares five made-up systems and writes the report as Markdown, JSON and HTML.
//!
//! `cargo run -p burnisher-eval --example systems -- FOLDER`

use burnisher_eval::{
    ComparedExample, Cost, CurvePoint, EvalError, GeneralResult, Metric, SystemKind, SystemResult,
    SystemsConfig, SystemsReport, TextLoss,
};

const EXAMPLES: usize = 120;
const DRUGS: [&str; 8] = [
    "ibuprofen",
    "metformin",
    "aspirin",
    "ramipril",
    "amoxicillin",
    "levothyroxine",
    "bisoprolol",
    "pantoprazole",
];
const GIB: u64 = 1 << 30;

/// A number 0..1 that depends on its arguments alone.
fn chance(salt: u64, index: usize) -> f64 {
    let mixed = (salt << 32 | index as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 31)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (mixed >> 11) as f64 / (1_u64 << 53) as f64
}

fn drug(index: usize) -> &'static str {
    DRUGS[index * 5 % DRUGS.len()]
}

fn dose(index: usize) -> usize {
    50 * (1 + index * 7 % 16)
}

fn example(index: usize) -> ComparedExample {
    let (drug, dose, times) = (drug(index), dose(index), 1 + index % 3);
    ComparedExample {
        origin: format!("test.jsonl:{}", index + 1),
        prompt: format!(
            "Extract drug, dose and times per day.\n\nThe patient takes {dose} mg of {drug}, {times} times a day."
        ),
        references: vec![format!(r#"{{"drug": "{drug}", "dose": "{dose} mg", "times": {times}}}"#)],
    }
}

/// An answer that gets each field right with the chance `skill`, and is no JSON with the chance `prose`.
fn answer(salt: u64, skill: f64, prose: f64, index: usize) -> String {
    if chance(salt, index) < prose {
        return format!("The patient takes {} at {} mg every day.", drug(index), dose(index));
    }
    let hard = 0.5 * chance(99, index);
    let right = |field: u64| chance(salt + field, index) + 0.3 * hard < skill;
    let drug = if right(1) { drug(index) } else { "unknown" };
    let dose = if right(2) { format!("{} mg", dose(index)) } else { dose(index).to_string() };
    let times = if right(3) { 1 + index % 3 } else { 1 };
    format!(r#"{{"drug": "{drug}", "dose": "{dose}", "times": {times}}}"#)
}

fn general(source: &str, loss: f64, change: f64) -> GeneralResult {
    let texts = (0..60).map(|text| {
        let spread = 0.4 * (chance(7, text) - 0.5);
        let moved = change * (0.6 + 0.8 * chance(8, text));
        TextLoss { sum: 200.0 * (loss + spread) * (1.0 + moved), tokens: 200, bytes: 860 }
    });
    GeneralResult::of_losses(source, texts)
}

fn system(name: &str, kind: SystemKind, salt: u64, skill: f64, prose: f64, forgotten: f64) -> SystemResult {
    SystemResult::new(name, kind, (0..EXAMPLES).map(|index| answer(salt, skill, prose, index)))
        .with_general(general("encyclopedia", 2.31, forgotten))
        .with_general(general("program code", 1.42, 1.4 * forgotten))
        .with_general(general("conversation", 2.05, 0.5 * forgotten))
}

fn curve(salt: u64, floor: f64, rise: f64) -> impl Iterator<Item = CurvePoint> {
    (0..=24_u32).map(move |point| {
        let done = f64::from(point) / 24.0;
        let noise = 0.03 * (chance(salt, point as usize) - 0.5);
        let train = floor + 1.6 * (-5.0 * done).exp() - rise * done + noise;
        let validation = floor + 0.06 + 1.55 * (-5.0 * done).exp() + rise * done * done;
        CurvePoint {
            step: 25 * u64::from(point),
            train_loss: Some(train.max(0.05)),
            validation_loss: (point % 3 == 0).then_some(validation),
        }
    })
}

fn main() -> Result<(), EvalError> {
    let folder = std::env::args().nth(1).unwrap_or_else(|| "systems".to_owned());
    let examples: Vec<_> = (0..EXAMPLES).map(example).collect();
    let cost = |train: Option<f64>,
                generate: f64,
                peak: f64,
                trained: Option<u64>,
                saved: Option<u64>,
                loaded: u64| Cost {
        train_seconds: train,
        generate_seconds: Some(generate),
        peak_memory_bytes: Some((peak * GIB as f64) as u64),
        trainable_parameters: trained,
        saved_bytes: saved,
        base_bytes: Some(loaded),
    };
    let full = 3_090 * 1_000_000;
    let systems = [
        system("base", SystemKind::Base, 10, 0.52, 0.22, 0.0)
            .with_cost(cost(None, 96.0, 3.4, None, None, full)),
        system("base + retrieval", SystemKind::Retrieval, 20, 0.68, 0.1, 0.0).with_cost(cost(
            None,
            171.0,
            3.9,
            None,
            Some(2_400_000),
            full,
        )),
        system("LoRA r=16", SystemKind::Lora, 30, 0.95, 0.0, 0.012)
            .with_curve(curve(31, 0.42, 0.0))
            .with_cost(cost(Some(1_260.0), 98.0, 11.2, Some(18_464_768), Some(36_980_000), full)),
        system("QLoRA r=16", SystemKind::Qlora, 40, 0.93, 0.01, 0.018)
            .with_curve(curve(41, 0.45, 0.01))
            .with_cost(cost(Some(1_710.0), 121.0, 5.6, Some(18_464_768), Some(36_980_000), 1_140_000_000)),
        system("full fine-tuning", SystemKind::Full, 50, 0.97, 0.0, 0.094)
            .with_curve(curve(51, 0.33, 0.28))
            .with_cost(cost(Some(3_980.0), 97.0, 27.5, Some(1_543_714_304), Some(full), full)),
    ];
    let config = SystemsConfig::new([Metric::EntityF1, Metric::ExactMatch, Metric::RougeL], Metric::EntityF1)
        .with_title("Medication extraction: which system?");
    let report = SystemsReport::new(&examples, &systems, &[], &config)?;
    for path in report.write(folder)? {
        println!("{}", path.display());
    }
    println!("take {}: {}", report.recommendation.system, report.recommendation.reasons.join(" "));
    Ok(())
}
