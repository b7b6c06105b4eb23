//! Two people compare the answers of two systems on this machine:
//! `cargo run -p burnisher-review --example judge -- base.jsonl tuned.jsonl judgements.jsonl`
//!
//! A line of the answers is `{"id": …, "prompt": …, "output": …}`. Ctrl-C ends it and prints the results; the same
//! command goes on where it stopped.

use burnisher_review::{
    Criterion, Judge, Results, ResultsConfig, ReviewError, ServeConfig, Study, StudyOptions, serve,
};

fn main() -> Result<(), ReviewError> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [base, tuned, log] = &arguments[..] else {
        eprintln!("usage: judge BASE.jsonl TUNED.jsonl LOG.jsonl");
        std::process::exit(2);
    };
    let (study, joined) = Study::from_predictions([("base", base), ("tuned", tuned)])?;
    println!("{} items; {} answered by one system only", joined.items, joined.left_out.len());
    let options = StudyOptions::new().with_seed(7).with_repeats(0.1);
    let study = study
        .with_instructions("Prefer the answer that you would rather have got.")
        .with_criteria([Criterion::new("accuracy", 1, 5).with_description("Is what it says true?")])
        .with_options(options.with_judges([Judge::new("first"), Judge::new("second")]));
    serve(study.clone(), ServeConfig::new(log), |server| {
        for (judge, link) in &server.links().judges {
            println!("{judge}: {link}");
        }
        println!("results: {}", server.links().owner);
    })?;
    println!("{}", Results::from_log(&study, log, &ResultsConfig::new())?.to_markdown());
    Ok(())
}
