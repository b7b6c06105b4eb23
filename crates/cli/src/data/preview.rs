use std::{io::IsTerminal, path::PathBuf};

use burnisher::data::{BuiltinTemplate, EncodeConfig, Encoder, Outcome as Encoding, PreviewStyle, preview};
use clap::{Args, ValueEnum};

use super::{input::InputArgs, report::tokenizer};
use crate::Outcome;

#[derive(Args)]
pub(crate) struct PreviewArgs {
    #[command(flatten)]
    input: InputArgs,
    /// Hugging Face directory of the model, or a tokenizer.json.
    #[arg(long, value_name = "DIR")]
    model: PathBuf,
    /// A built-in chat template instead of the model's own: chatml, gemma, llama2, llama3, llama3.1, mistral,
    /// phi3, zephyr.
    #[arg(long, value_name = "NAME")]
    template: Option<String>,
    /// Records to show.
    #[arg(short = 'n', long, default_value_t = 3)]
    records: usize,
    /// Skip this many records first.
    #[arg(long, default_value_t = 0)]
    skip: usize,
    /// Tokens that a record is cut to.
    #[arg(long)]
    max_length: Option<usize>,
    /// Colours: what is trained in green, the rest dimmed; else what is trained stands in [trained] … [/trained].
    #[arg(long, value_enum, default_value = "auto")]
    color: Color,
}

#[derive(Clone, Copy, ValueEnum)]
enum Color {
    /// On a terminal, unless NO_COLOR is set.
    Auto,
    /// Always.
    Always,
    /// Never.
    Never,
}

pub(crate) fn run(args: &PreviewArgs) -> Outcome {
    let mut tokenizer = tokenizer(&args.model)?;
    if let Some(name) = &args.template {
        let template: BuiltinTemplate = name.parse()?;
        tokenizer = tokenizer.with_chat_template(template.source())?;
    }
    let config = args.max_length.map_or_else(EncodeConfig::untruncated, EncodeConfig::new);
    let encoder = Encoder::new(&tokenizer, config)?;
    let colored = match args.color {
        Color::Always => true,
        Color::Never => false,
        Color::Auto => {
            std::io::stdout().is_terminal()
                && std::env::var_os("NO_COLOR").is_none_or(|value| value.is_empty())
        }
    };
    let style = if colored { PreviewStyle::Ansi } else { PreviewStyle::Plain };
    let mut records = args.input.records()?;
    for (number, record) in records.by_ref().enumerate() {
        let (_, record) = record?;
        if number < args.skip {
            continue;
        }
        if number >= args.skip.saturating_add(args.records) {
            break;
        }
        match encoder.encode(&record)? {
            Encoding::Kept { encoded, cut, end_is_trained, .. } => {
                let shown = preview(&encoded, &tokenizer)?;
                let cut = if cut > 0 { format!(", {cut} cut off") } else { String::new() };
                println!(
                    "{}: {} tokens, {} trained{cut}",
                    record.origin,
                    shown.tokens(),
                    shown.target_tokens()
                );
                if !end_is_trained {
                    println!(
                        "warning: the token that ends the assistant's turn is not trained: answers will not end"
                    );
                }
                println!("{}\n", shown.render(style));
            }
            _ => println!(
                "{}: dropped: its trained part stands behind token {}\n",
                record.origin,
                args.max_length.unwrap_or(usize::MAX)
            ),
        }
    }
    records.finish();
    Ok(())
}
