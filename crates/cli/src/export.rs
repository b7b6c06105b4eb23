//! Dense models for other programs.

use std::path::Path;

use burnisher::models::{
    CheckpointDtype, ExportOptions, ExportReport, GgmlType, GgufOptions, ModelConfig, WriteOptions,
    export_gguf, export_model,
};

use crate::{
    Outcome,
    args::{ExportArgs, GgufFormat, MergeArgs, QuantArgs, StoredDtype},
    bar::Bar,
    commands::{check_other_dir, quantize_choice},
};

pub(crate) fn merge(args: &MergeArgs) -> Outcome {
    let dtype = match args.dtype {
        Some(dtype) => stored(dtype),
        None => ModelConfig::from_dir(&args.model)?.dtype.unwrap_or(CheckpointDtype::F32),
    };
    let options = options(Some(&args.adapter), &args.quant)?.with_dtype(dtype);
    let report = write(&args.model, Some(&args.adapter), &args.out, &options)?;
    println!("merged {} modules into {}", report.merged.len(), args.out.display());
    Ok(())
}

pub(crate) fn export(args: &ExportArgs) -> Outcome {
    let mut options = options(args.adapter.as_deref(), &args.quant)?;
    if let Some(dtype) = args.dtype {
        options = options.with_dtype(stored(dtype));
    }
    let largest = args.max_shard_mb.saturating_mul(1_000_000);
    let options = options.with_write(WriteOptions::new().with_max_shard_bytes(largest));
    let report = write(&args.model, args.adapter.as_deref(), &args.out, &options)?;
    println!("wrote {} in {}", args.out.display(), report.dtype);
    if !report.merged.is_empty() {
        println!("merged the adapter into {} modules", report.merged.len());
    }
    if report.restored > 0 {
        println!(
            "{} projections were quantized: they are written as the values they had then",
            report.restored
        );
    }
    match report.companions.as_slice() {
        [] => println!("{} has no tokenizer files", args.model.display()),
        files => println!("with {}", files.join(", ")),
    }
    let Some(format) = args.gguf else { return Ok(()) };
    let dtype = match format {
        GgufFormat::F32 => GgmlType::F32,
        GgufFormat::F16 => GgmlType::F16,
        GgufFormat::Bf16 => GgmlType::BF16,
        GgufFormat::Q8_0 => GgmlType::Q8_0,
    };
    let name = name_of(&args.out);
    let file = args.out.join(format!("{name}-{dtype}.gguf"));
    let report = export_gguf(&args.out, &file, &GgufOptions::new().with_dtype(dtype).with_name(name))?;
    println!("wrote {}: {} tensors, {} bytes", file.display(), report.tensors, report.bytes);
    report.notes.iter().for_each(|note| println!("note: {note}"));
    Ok(())
}

fn options(adapter: Option<&Path>, quant: &QuantArgs) -> Result<ExportOptions, String> {
    let mut options = ExportOptions::new();
    if let Some(adapter) = adapter {
        options = options.with_adapter(adapter);
    }
    if let Some(quantize) = quantize_choice(quant)? {
        options = options.with_quantized_base(quantize);
    }
    Ok(options)
}

fn write(
    model: &Path,
    adapter: Option<&Path>,
    out: &Path,
    options: &ExportOptions,
) -> Result<ExportReport, Box<dyn std::error::Error>> {
    check_other_dir("--out", out, "the model", model)?;
    if let Some(adapter) = adapter {
        check_other_dir("--out", out, "--adapter", adapter)?;
    }
    let bar = Bar::stderr("tensors");
    Ok(export_model(model, out, options, &mut |done, all| bar.set(done, all))?)
}

fn stored(dtype: StoredDtype) -> CheckpointDtype {
    match dtype {
        StoredDtype::F32 => CheckpointDtype::F32,
        StoredDtype::F16 => CheckpointDtype::F16,
        StoredDtype::Bf16 => CheckpointDtype::BF16,
    }
}

/// A directory's own name, wherever the path to it leads.
fn name_of(dir: &Path) -> String {
    let whole = std::fs::canonicalize(dir).unwrap_or_else(|_| dir.to_path_buf());
    whole.file_name().map_or_else(|| "model".to_owned(), |name| name.to_string_lossy().into_owned())
}
