//! Perplexities and bits per byte against lm-eval 0.4.13 and Hugging Face evaluate.

use burnisher_eval::{
    TextLoss, bits_per_byte, corpus_perplexity, lm_eval_words, mean_text_perplexity, weighted_perplexity,
};

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

    let weighted = |weight: fn(&str) -> usize| {
        let pairs: Vec<(f64, f64)> = list(&data["docs"])
            .iter()
            .map(|doc| (-number(&doc["sum"]), weight(text(&doc["text"])) as f64))
            .collect();
        weighted_perplexity(&pairs).unwrap()
    };
    for doc in list(&data["docs"]) {
        assert_eq!(Some(lm_eval_words(text(&doc["text"])) as u64), doc["words"].as_u64());
    }
    close(weighted(lm_eval_words), number(&corpus["word_perplexity"]), "word perplexity");
    close(weighted(str::len), number(&corpus["byte_perplexity"]), "byte perplexity");
    // lm-eval's `perplexity` takes a number per document, here the sums over 50.
    let document: Vec<(f64, f64)> =
        list(&data["docs"]).iter().map(|doc| (-number(&doc["sum"]) / 50.0, 1.0)).collect();
    let wanted = &corpus["perplexity (lm_eval: exp(-mean of doc log-likelihoods))"];
    close(weighted_perplexity(&document).unwrap(), number(wanted), "perplexity per document");
}
