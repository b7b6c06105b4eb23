//! Perplexities and bits per byte against lm-eval 0.4.13 and Hugging Face evaluate.

use burnisher_eval::{TextLoss, bits_per_byte, corpus_perplexity, mean_text_perplexity};

use crate::{close, fixture, list, number, text};

#[test]
fn perplexities_match_the_reference() {
    let Some(data) = fixture("perplexity_lm_eval.json") else {
        return;
    };
    let mut texts = Vec::new();
    for (index, doc) in list(&data["docs"]).iter().enumerate() {
        let losses = list(&doc["token_logprobs"]).iter().map(|logprob| -number(logprob));
        let loss = TextLoss::from_token_losses(losses, text(&doc["text"]).len());
        assert_eq!(Some(loss.bytes as u64), doc["bytes"].as_u64(), "document {index}");
        close(corpus_perplexity(&[loss]).unwrap(), number(&doc["token_ppl"]), &format!("document {index}"));
        texts.push(loss);
    }
    assert!(!texts.is_empty());

    let corpus = &data["corpus"];
    let bits = bits_per_byte(&texts).unwrap();
    close(corpus_perplexity(&texts).unwrap(), number(&corpus["token_ppl_micro"]), "corpus perplexity");
    close(
        mean_text_perplexity(&texts).unwrap(),
        number(&corpus["mean_of_doc_ppl (huggingface/evaluate mean_perplexity)"]),
        "mean text perplexity",
    );
    close(bits, number(&corpus["bits_per_byte"]), "bits per byte");
    close(bits.exp2(), number(&corpus["byte_perplexity"]), "byte perplexity");
}
