//! The decoder: embedding, blocks, final norm, output projection.

use burn::{
    module::{Module, ModuleVisitor, Param},
    tensor::{Device, FloatDType, Tensor},
};
use burnisher_data::TokenBatch;
use burnisher_kernels::{
    DropoutKeys, LossOptions, NormWeight, SummedLoss, all_finite, cross_entropy, linear_cross_entropy,
    logits_token_losses, rms_norm, token_losses,
};
use burnisher_lora::{Adaptable, Embedding, Projection, Site, VirtualTokens};

use crate::{
    attention::{PassContext, QkNorm, SelfAttention},
    checkpointing::{self, GradientCheckpointing},
    config::ModelConfig,
    kv_cache::{KvCache, LayerCache},
    layout,
    mlp::Mlp,
    virtual_tokens::LayerPrefix,
};

/// RMSNorm with its weight, as wide as the last dimension.
#[derive(Module, Debug)]
pub(crate) struct Norm {
    pub(crate) weight: Param<Tensor<1>>,
    #[module(skip)]
    pub(crate) epsilon: f64,
    #[module(skip)]
    pub(crate) form: NormWeight,
}

impl Norm {
    pub(crate) fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        rms_norm(x, self.weight.val(), self.epsilon, self.form)
    }
}

/// One decoder block: attention and MLP, each behind a norm and added to its input.
#[derive(Module, Debug)]
pub(crate) struct Block {
    pub(crate) input_layernorm: Norm,
    pub(crate) self_attn: SelfAttention,
    /// Of the MLP's input; with `feed_forward_norms`, of attention's output.
    pub(crate) post_attention_layernorm: Norm,
    pub(crate) feed_forward_norms: Option<FeedForwardNorms>,
    pub(crate) mlp: Mlp,
}

/// Norms of the MLP's input and output in a block that normalises outputs.
#[derive(Module, Debug)]
pub(crate) struct FeedForwardNorms {
    pub(crate) pre: Norm,
    pub(crate) post: Norm,
}

impl Block {
    /// `[b, t, h] -> [b, t, h]`, without a cache.
    pub(crate) fn forward(
        &self,
        x: Tensor<3>,
        context: &PassContext,
        prefix: Option<&LayerPrefix>,
    ) -> Tensor<3> {
        let x = x.clone() + self.attend(x, context, prefix, None);
        x.clone() + self.feed_forward(x, context)
    }

    /// What attention adds to `x`.
    pub(crate) fn attend(
        &self,
        x: Tensor<3>,
        context: &PassContext,
        prefix: Option<&LayerPrefix>,
        cache: Option<&mut LayerCache>,
    ) -> Tensor<3> {
        let y = self.self_attn.forward(self.input_layernorm.forward(x), context, prefix, cache);
        match self.feed_forward_norms {
            Some(_) => self.post_attention_layernorm.forward(y),
            None => y,
        }
    }

    /// What the feed-forward layer adds to `x`.
    pub(crate) fn feed_forward(&self, x: Tensor<3>, context: &PassContext) -> Tensor<3> {
        let keys = context.keys.as_ref();
        match &self.feed_forward_norms {
            Some(FeedForwardNorms { pre, post }) => post.forward(self.mlp.forward(pre.forward(x), keys)),
            None => self.mlp.forward(self.post_attention_layernorm.forward(x), keys),
        }
    }

    /// Visits the parameters of [`Block::feed_forward`], in the order of the whole block's visit.
    pub(crate) fn visit_feed_forward(&self, visitor: &mut impl ModuleVisitor) {
        match &self.feed_forward_norms {
            Some(norms) => norms.visit(visitor),
            None => self.post_attention_layernorm.visit(visitor),
        }
        self.mlp.visit(visitor);
    }
}

/// A decoder language model.
///
/// Module paths and parameter names are Hugging Face's. Frozen weights stay outside autodiff;
/// only trained parameters are autodiff leaves.
#[derive(Module, Debug)]
pub struct CausalLm {
    pub(crate) embed_tokens: Embedding,
    pub(crate) layers: Vec<Block>,
    pub(crate) norm: Norm,
    /// `None`: the embedding's weight is the head's too.
    pub(crate) lm_head: Option<Projection>,
    /// What prompt tuning or prefix tuning puts before every text.
    pub(crate) virtual_tokens: VirtualTokens,
    #[module(skip)]
    pub(crate) config: ModelConfig,
    #[module(skip)]
    pub(crate) checkpointing: GradientCheckpointing,
}

/// The tokens of one forward pass, row-major `[rows, t]`.
#[derive(Clone, Debug)]
pub struct ModelInput<'a> {
    /// Number of sequences.
    pub rows: usize,
    /// Token ids.
    pub ids: &'a [u32],
    /// Position of each token in its document.
    pub positions: &'a [u32],
    /// Number of each token's document within its row: tokens see only their own. 0 is padding.
    pub segments: &'a [u32],
    /// Dropout keys; `None` switches dropout off.
    pub dropout: Option<&'a DropoutKeys>,
}

impl<'a> ModelInput<'a> {
    /// The tokens of a batch, without dropout.
    pub fn from_batch(batch: &'a TokenBatch) -> Self {
        Self {
            rows: batch.rows,
            ids: &batch.input_ids,
            positions: &batch.position_ids,
            segments: &batch.segment_ids,
            dropout: None,
        }
    }

    /// The same with dropout.
    pub fn with_dropout(self, keys: Option<&'a DropoutKeys>) -> Self {
        Self { dropout: keys, ..self }
    }
}

impl CausalLm {
    /// The model's configuration.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// The same model, whose training keeps of each block's activations what `kind` says.
    #[must_use]
    pub fn with_gradient_checkpointing(self, kind: GradientCheckpointing) -> Self {
        Self { checkpointing: kind, ..self }
    }

    /// The device of the model's weights, without autodiff.
    pub fn device(&self) -> Device {
        self.norm.weight.lazy_device().without_autodiff()
    }

    /// The dtype of the model's activations: that of its embedding.
    pub fn dtype(&self) -> FloatDType {
        FloatDType::from(self.embed_tokens.weight().dtype())
    }

    /// Hidden states after the final norm, `[rows, t, hidden]`; with `n` tokens of prompt tuning `[rows, n + t, hidden]`.
    ///
    /// # Panics
    /// If the input's lengths are not `rows · t`, an id is outside the vocabulary, adapters are chosen for another number
    /// of rows ([`with_row_adapters`](burnisher_lora::with_row_adapters)), or the rows are not for virtual tokens
    /// ([`CausalLm::check_rows`]).
    pub fn hidden(&self, input: &ModelInput<'_>) -> Tensor<3> {
        self.pass(input, None)
    }

    /// Logits of every position, `[rows, t, vocab]`; with `n` tokens of prompt tuning `[rows, n + t, vocab]`.
    pub fn logits(&self, input: &ModelInput<'_>) -> Tensor<3> {
        self.head(self.hidden(input), input.dropout)
    }

    /// The summed loss of a batch over its labels, each predicted from the token before it. The tokens of prompt tuning
    /// have no labels; the last one predicts the label of the first token, if that has one.
    pub fn loss(&self, batch: &TokenBatch, dropout: Option<&DropoutKeys>) -> SummedLoss {
        self.loss_with(batch, dropout, LossOptions::default())
    }

    /// [`CausalLm::loss`] with label smoothing, a z-loss or another soft cap than the model's own on the logits.
    ///
    /// # Panics
    /// If an option is out of its range.
    pub fn loss_with(
        &self,
        batch: &TokenBatch,
        dropout: Option<&DropoutKeys>,
        options: LossOptions,
    ) -> SummedLoss {
        let (hidden, targets) = self.loss_input(batch, dropout);
        let options = self.with_own_softcap(options);
        match &self.lm_head {
            Some(head) if head.has_adapters() => {
                cross_entropy(head.forward(hidden, dropout), &targets, options)
            }
            _ => linear_cross_entropy(hidden, self.head_weight(), &targets, options),
        }
    }

    /// The loss of every label in nats, `[rows · t]`: entry `i` belongs to the label after token `i`. What
    /// the last token of prompt tuning predicts is left out.
    pub fn token_losses(&self, batch: &TokenBatch) -> Vec<f32> {
        // A tape that no backward pass consumes would keep every batch's activations.
        let model = self.valid();
        let (hidden, targets) = model.loss_input(batch, None);
        let options = self.with_own_softcap(LossOptions::default());
        let losses = match &model.lm_head {
            Some(head) if head.has_adapters() => {
                logits_token_losses(head.forward(hidden, None), &targets, options)
            }
            _ => token_losses(hidden, model.head_weight(), &targets, options),
        };
        let virtual_outputs = self.virtual_outputs();
        if virtual_outputs == 0 {
            return losses;
        }
        let rows = losses.chunks(virtual_outputs + batch.seq_len);
        rows.flat_map(|row| row[virtual_outputs..].iter().copied()).collect()
    }

    fn loss_input(&self, batch: &TokenBatch, dropout: Option<&DropoutKeys>) -> (Tensor<2>, Vec<i64>) {
        let hidden = self.hidden(&ModelInput::from_batch(batch).with_dropout(dropout));
        let [rows, length, width] = hidden.dims();
        let targets = shifted(&batch.labels, batch.rows, self.virtual_outputs());
        (hidden.reshape([rows * length, width]), targets)
    }

    /// The head's weight `[vocab, hidden]`, on the tape if it is trained.
    fn head_weight(&self) -> Tensor<2> {
        match &self.lm_head {
            Some(head) => head.dense_weight(self.dtype()),
            None => self.embed_tokens.head_weight(),
        }
    }

    fn with_own_softcap(&self, options: LossOptions) -> LossOptions {
        LossOptions { softcap: options.softcap.or(self.config.final_logit_softcapping), ..options }
    }

    /// Logits of hidden states, `[b, t, h] -> [b, t, vocab]`.
    pub(crate) fn head(&self, hidden: Tensor<3>, keys: Option<&DropoutKeys>) -> Tensor<3> {
        let logits = match &self.lm_head {
            Some(head) => head.forward(hidden, keys),
            None => {
                let [rows, length, width] = hidden.dims();
                let weight = self.embed_tokens.head_weight();
                let vocab = weight.dims()[0];
                let logits = hidden.reshape([rows * length, width]).matmul(weight.transpose());
                logits.reshape([rows, length, vocab])
            }
        };
        match self.config.final_logit_softcapping {
            Some(cap) => logits.div_scalar(cap).tanh().mul_scalar(cap),
            None => logits,
        }
    }

    /// The first activation of a forward pass over `batch` that holds a value which is not finite, by the path of the
    /// module that made it (`model.layers.3.mlp`); `None` if all are finite up to the final norm.
    pub fn first_non_finite_activation(&self, batch: &TokenBatch) -> Option<String> {
        let mut found = None;
        let mut probe = |path: &dyn Fn() -> String, x: &Tensor<3>| {
            if found.is_none() && !all_finite(x) {
                found = Some(path());
            }
        };
        // Without checkpointing, so that every module's output is seen.
        let model = self.valid().with_gradient_checkpointing(GradientCheckpointing::None);
        model.probed_pass(&ModelInput::from_batch(batch), None, &mut probe);
        found
    }

    /// One pass over the blocks; a cache is extended by the input's tokens.
    pub(crate) fn pass(&self, input: &ModelInput<'_>, cache: Option<&mut KvCache>) -> Tensor<3> {
        self.probed_pass(input, cache, &mut |_, _| {})
    }

    /// [`CausalLm::pass`] that shows every module's output to `probe`.
    fn probed_pass(
        &self,
        input: &ModelInput<'_>,
        mut cache: Option<&mut KvCache>,
        probe: &mut dyn FnMut(&dyn Fn() -> String, &Tensor<3>),
    ) -> Tensor<3> {
        let starts = cache.as_deref().is_none_or(KvCache::is_empty);
        let shifted = self.shifted_input(input, starts);
        let mut x = self.embed_tokens.forward(input.ids, input.rows);
        if starts {
            x = self.with_prompt(x, input.segments);
        }
        let input = &shifted.as_ref().map_or_else(|| input.clone(), |shifted| shifted.of(input));
        probe(&|| "model.embed_tokens".to_owned(), &x);
        let dtype = FloatDType::from(x.dtype());
        let key_segments = self.key_segments(input, cache.as_deref_mut(), starts);
        let context = PassContext::new(&self.config, input, key_segments, dtype, &self.device());
        let is_prompt_trained = self.virtual_tokens.prompt().is_some_and(|prompt| prompt.is_require_grad());
        let mut is_tracked = self.embed_tokens.is_trained() || is_prompt_trained;
        for (index, block) in self.layers.iter().enumerate() {
            let prefix = self.layer_prefix(index, starts);
            if self.checkpointing != GradientCheckpointing::None && cache.is_none() {
                x = checkpointing::run(block, prefix, x, &context, self.checkpointing, &mut is_tracked);
                continue;
            }
            let layer = cache.as_mut().map(|cache| &mut cache.layers[index]);
            let attended = block.attend(x.clone(), &context, prefix.as_ref(), layer);
            probe(&|| format!("model.layers.{index}.self_attn"), &attended);
            x = x + attended;
            let fed = block.feed_forward(x.clone(), &context);
            probe(&|| format!("model.layers.{index}.mlp"), &fed);
            x = x + fed;
        }
        if let Some(cache) = cache {
            cache.advance(input.segments);
        }
        let x = self.norm.forward(x);
        probe(&|| "model.norm".to_owned(), &x);
        x
    }
}

/// Labels `[rows, t]` moved one to the left within each row, behind `before` positions without labels: what each position
/// is to predict.
fn shifted(labels: &[i64], rows: usize, before: usize) -> Vec<i64> {
    let ignored = burnisher_kernels::IGNORE_INDEX;
    let rows = labels.chunks((labels.len() / rows.max(1)).max(1));
    let behind =
        |row: &'_ [i64]| std::iter::repeat_n(ignored, before).chain(row.to_vec()).skip(1).chain([ignored]);
    rows.flat_map(behind).collect()
}

impl Adaptable for CausalLm {
    fn model_type(&self) -> &str {
        self.config.family.model_type()
    }

    fn is_head_tied(&self) -> bool {
        self.lm_head.is_none()
    }

    fn sites(&mut self, visit: &mut dyn FnMut(&str, Site<'_>)) {
        visit("model.embed_tokens", Site::Embedding(&mut self.embed_tokens));
        for (index, block) in self.layers.iter_mut().enumerate() {
            let path = |name: &str| format!("model.layers.{index}.{name}");
            let Block { input_layernorm, self_attn, post_attention_layernorm, feed_forward_norms, mlp } =
                block;
            visit(&path(layout::INPUT_NORM), Site::Norm(&mut input_layernorm.weight));
            self_attn.projections(&mut |name, projection| visit(&path(name), Site::Projection(projection)));
            if let Some(QkNorm { q_norm, k_norm }) = &mut self_attn.qk_norm {
                for (name, norm) in layout::QK_NORMS.into_iter().zip([q_norm, k_norm]) {
                    visit(&path(name), Site::Norm(&mut norm.weight));
                }
            }
            visit(&path(layout::POST_ATTENTION_NORM), Site::Norm(&mut post_attention_layernorm.weight));
            let [before, after] = layout::FEED_FORWARD_NORMS;
            if let Some(norms) = feed_forward_norms {
                visit(&path(before), Site::Norm(&mut norms.pre.weight));
            }
            mlp.projections(&mut |name, projection| visit(&path(name), Site::Projection(projection)));
            if let Some(norms) = feed_forward_norms {
                visit(&path(after), Site::Norm(&mut norms.post.weight));
            }
        }
        visit("model.norm", Site::Norm(&mut self.norm.weight));
        if let Some(head) = &mut self.lm_head {
            visit("lm_head", Site::Head(head));
        }
        visit("prompt_embeddings", Site::VirtualTokens(&mut self.virtual_tokens));
    }
}
