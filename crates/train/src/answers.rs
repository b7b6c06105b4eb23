//! What a model says to prompts, and how well it predicts texts: the strings and numbers that `burnisher-eval` takes.

use burnisher_data::{Batches, Prompt, Record, Tokenizer};
use burnisher_eval::{GenerationOptions, TextLoss};
use burnisher_models::{CausalLm, GenerateConfig};

use crate::TrainError;

/// The prompts of records, for [`answers`].
///
/// # Errors
/// [`TrainError::Data`] for a record that asks nothing, with file and line.
pub fn prompts(records: &[Record], tokenizer: &Tokenizer) -> Result<Vec<Prompt>, TrainError> {
    Ok(records.iter().map(|record| Prompt::new(record, tokenizer)).collect::<Result<_, _>>()?)
}

/// The model's answer to each prompt, without surrounding white space, in the order of the prompts.
///
/// Prompts of similar length run together, `batch_size` at a time; `progress` is told how many are done.
///
/// # Errors
/// [`TrainError::Model`] for a prompt that cannot be continued.
pub fn answers(
    model: &CausalLm,
    tokenizer: &Tokenizer,
    prompts: &[Prompt],
    config: &GenerateConfig,
    batch_size: usize,
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<String>, TrainError> {
    let ids: Vec<&[u32]> = prompts.iter().map(|prompt| prompt.ids.as_slice()).collect();
    let options = GenerationOptions::new();
    let answers = continued(model, tokenizer, &ids, &options, config, batch_size, progress)?;
    Ok(answers.into_iter().map(|answer| answer.trim().to_owned()).collect())
}

/// What the model says after each prompt, up to the first of the strings `options.until`, in the order of the prompts.
///
/// # Errors
/// As [`answers`].
pub(crate) fn continued(
    model: &CausalLm,
    tokenizer: &Tokenizer,
    prompts: &[&[u32]],
    options: &GenerationOptions,
    config: &GenerateConfig,
    batch_size: usize,
    progress: &mut dyn FnMut(usize),
) -> Result<Vec<String>, TrainError> {
    let mut order: Vec<usize> = (0..prompts.len()).collect();
    order.sort_by_key(|&index| prompts[index].len());
    let mut answers = vec![String::new(); prompts.len()];
    let mut done = 0;
    for group in order.chunks(batch_size.max(1)) {
        let ids: Vec<Vec<u32>> = group.iter().map(|&index| prompts[index].to_vec()).collect();
        let config = config.clone().with_first_row(done);
        // A tokenizer that cannot spell the tokens says so at the end.
        let mut ended = |_: usize, ids: &[u32]| {
            !options.until.is_empty()
                && tokenizer.decode(ids, true).is_ok_and(|text| options.cut(&text).len() < text.len())
        };
        for (&index, output) in group.iter().zip(model.generate_ids_until(&ids, &config, &mut ended)?) {
            answers[index] = options.cut(&tokenizer.decode(&output, true)?).to_owned();
        }
        done += group.len();
        progress(done);
    }
    Ok(answers)
}

/// The loss of each row of a set, without dropout: its sum over the row's labels in nats, and their number. Rows
/// without a label are left out.
///
/// # Errors
/// [`TrainError::NonFinite`] if a loss is not finite; errors of [`CausalLm::check_rows`].
pub fn text_losses(model: &CausalLm, set: &Batches, batch_size: usize) -> Result<Vec<TextLoss>, TrainError> {
    let rows: Vec<usize> = (0..set.len()).collect();
    let mut found = Vec::with_capacity(set.len());
    for rows in rows.chunks(batch_size.max(1)) {
        let batch = set.batch(rows);
        model.check_rows(batch.rows, &batch.segment_ids)?;
        let losses = model.token_losses(&batch);
        for row in 0..batch.rows {
            let part = row * batch.seq_len..(row + 1) * batch.seq_len;
            let tokens = batch.labels[part.clone()].iter().filter(|&&label| label >= 0).count();
            // Where there is no label the loss is 0.
            let sum: f64 = losses[part].iter().map(|&loss| f64::from(loss)).sum();
            if !sum.is_finite() {
                let first_bad = model.first_non_finite_activation(&batch);
                return Err(TrainError::non_finite_loss(sum as f32, first_bad));
            }
            if tokens > 0 {
                found.push(TextLoss { sum, tokens, bytes: 0 });
            }
        }
    }
    Ok(found)
}
