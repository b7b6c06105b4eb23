//! `burnisher review`: people judge answers on a local page.

use std::{
    fs,
    net::SocketAddr,
    path::{Path, PathBuf},
    str::FromStr,
};

use burnisher::review::{
    Criterion, Judge, Results, ResultsConfig, ServeConfig, Study, import, offline_page, preference_pairs,
    read_log, serve,
};
use burnisher::{review::Plan, train::write_file};
use clap::Args;

use crate::Outcome;

#[derive(Args)]
pub(crate) struct ReviewArgs {
    /// A study (.json, .jsonl), or one file of answers for each system: `base=base.jsonl tuned=tuned.jsonl`, lines of
    /// `{"id", "prompt", "output"}`.
    #[arg(required = true, value_name = "STUDY|SYSTEM=FILE")]
    files: Vec<String>,
    /// The log of judgements; made where it is missing, continued where it is there.
    #[arg(long, value_name = "FILE")]
    log: PathBuf,
    /// A judge beside those of the study; may be repeated. The link of each is printed. Without any, one named `judge`.
    /// Whoever judged before and is not named again has no link any more; what they said counts still.
    #[arg(long = "judge", value_name = "NAME")]
    judges: Vec<String>,
    /// A criterion with its scale, `accuracy:1-5`; may be repeated.
    #[arg(long = "criterion", value_name = "NAME:MIN-MAX")]
    criteria: Vec<CriterionArg>,
    /// What judges are told.
    #[arg(long)]
    instructions: Option<String>,
    /// A judge who is not let in and does not count, although the study or the log has them; may be repeated. The log
    /// keeps what they said.
    #[arg(long = "without", value_name = "NAME")]
    without: Vec<String>,
    /// The share of items that come twice, sides swapped; that of the study without it, or none.
    #[arg(long)]
    repeats: Option<f64>,
    /// Seed of the order and the sides; that of the study without it, or 0.
    #[arg(long)]
    seed: Option<u64>,
    /// Where the page is served. Addresses of a network let others in, over a connection that is not encrypted.
    #[arg(long, default_value = "127.0.0.1:0")]
    address: SocketAddr,
    /// A name under which browsers reach the page beside its address, that of a proxy say; may be repeated.
    #[arg(long = "host", value_name = "NAME[:PORT]")]
    hosts: Vec<String>,
    /// Write a page for each judge into this folder that works without a server, and end.
    #[arg(long, value_name = "DIR")]
    offline: Option<PathBuf>,
    /// Add the answers that offline pages saved to the log, and end. What the log has already is not added again.
    #[arg(long, value_name = "FILE", num_args = 1.., conflicts_with_all = ["offline", "results", "preferences", "without"])]
    import: Vec<PathBuf>,
    /// Print the results of the log, and end. Judges need not be named: the log knows them.
    #[arg(long)]
    results: bool,
    /// Write chosen and rejected answers (for DPO) as JSON lines, and end.
    #[arg(long, value_name = "FILE")]
    preferences: Option<PathBuf>,
}

#[derive(Clone)]
struct CriterionArg {
    name: String,
    scale: (i64, i64),
}

impl FromStr for CriterionArg {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, String> {
        let parsed = text.rsplit_once(':').and_then(|(name, scale)| {
            let (min, max) = scale.split_once('-')?;
            Some(Self { name: name.to_owned(), scale: (min.parse().ok()?, max.parse().ok()?) })
        });
        parsed.ok_or_else(|| "wanted NAME:MIN-MAX, for example accuracy:1-5".to_owned())
    }
}

pub(crate) fn run(args: &ReviewArgs) -> Outcome {
    let mut study = study(args)?;
    if !args.import.is_empty() {
        return import_all(&study, &args.log, &args.import);
    }
    if let Some(path) = &args.preferences {
        let mut plan = Plan::new(&study)?;
        let contents = read_log(&args.log, &study, &mut plan)?;
        let export = preference_pairs(&study, &plan.without(&args.without)?, &contents);
        export.write_jsonl(path)?;
        println!("wrote {}", path.display());
        return Ok(());
    }
    let counting = ResultsConfig::new().with_excluded_judges(&args.without);
    if args.results {
        println!("{}", Results::from_log(&study, &args.log, &counting)?.to_markdown());
        return Ok(());
    }
    if study.options.judges.is_empty() {
        study.options.judges.push(Judge::new("judge"));
    }
    if let Some(dir) = &args.offline {
        fs::create_dir_all(dir)?;
        let judges = study.options.judges.iter().filter(|judge| !args.without.contains(&judge.name));
        for (number, Judge { name: judge, .. }) in (1..).zip(judges) {
            let path = dir.join(format!("judge-{number}.html"));
            write_file(&path, offline_page(&study, judge)?.as_bytes())?;
            println!("{judge}: {}", path.display());
        }
        return Ok(());
    }
    if args.address.ip().is_unspecified() && args.hosts.is_empty() {
        return Err(format!(
            "--address {}: wanted --host beside it, the name that judges call",
            args.address
        )
        .into());
    }
    let config = ServeConfig::new(&args.log).with_address(args.address).with_excluded_judges(&args.without);
    let config = args.hosts.iter().fold(config, |config, host| config.with_host(host));
    serve(study.clone(), config, |server| {
        for (judge, link) in &server.links().judges {
            println!("{judge}: {link}");
        }
        println!("results: {}\nCtrl-C ends it.", server.links().owner);
    })?;
    println!("{}", Results::from_log(&study, &args.log, &counting)?.to_markdown());
    Ok(())
}

/// Every file, whatever becomes of the others; an error where one or a line of one was refused.
fn import_all(study: &Study, log: &Path, files: &[PathBuf]) -> Outcome {
    let (mut files_refused, mut lines_refused) = (0, 0);
    for file in files {
        match import(study, log, file) {
            Ok(report) => {
                println!("{}: {report}", file.display());
                lines_refused += report.refused;
            }
            Err(error) => {
                eprintln!("not imported: {error}");
                files_refused += 1;
            }
        }
    }
    if files_refused + lines_refused > 0 {
        let files = files.len();
        return Err(format!(
            "left out, for they do not fit: {files_refused} of {files} files, lines of the others: {lines_refused}"
        )
        .into());
    }
    Ok(())
}

fn study(args: &ReviewArgs) -> Result<Study, Box<dyn std::error::Error>> {
    let systems: Option<Vec<(&str, &str)>> = args.files.iter().map(|file| file.split_once('=')).collect();
    let mut study = match (systems, args.files.as_slice()) {
        (Some(systems), _) => {
            let (study, joined) = Study::from_predictions(systems)?;
            eprintln!("{} items; {} answered by one system only", joined.items, joined.left_out.len());
            study
        }
        (None, [file]) => Study::from_file(file)?,
        (None, files) => {
            return Err(format!(
                "found {} files, wanted one study, or SYSTEM=FILE for each system",
                files.len()
            )
            .into());
        }
    };
    if let Some(instructions) = &args.instructions {
        study = study.with_instructions(instructions);
    }
    if !args.criteria.is_empty() {
        let criterion = |arg: &CriterionArg| Criterion::new(&arg.name, arg.scale.0, arg.scale.1);
        study = study.with_criteria(args.criteria.iter().map(criterion));
    }
    let mut options = study.options.clone();
    if let Some(seed) = args.seed {
        options = options.with_seed(seed);
    }
    if let Some(repeats) = args.repeats {
        options = options.with_repeats(repeats);
    }
    let mut judges = options.judges.clone();
    judges.extend(args.judges.iter().map(Judge::new));
    study = study.with_options(options.with_judges(judges));
    Ok(study)
}
