//! The rules for a configuration that need the model: which weights it shares, which tokens it has.

use crate::{
    Adaptable, AdapterConfig, AdapterPlan, LoraConfig, LoraError, ModuleKind, Site, modules, plan,
    virtual_tokens,
};

/// The path of the output projection, also where it has no weight of its own.
pub(crate) const HEAD: &str = "lm_head";
pub(crate) const HEAD_WEIGHT: &str = "lm_head.weight";

/// [`plan`], and the rules that need the model.
pub(crate) fn checked_plan<M: Adaptable>(
    config: &AdapterConfig,
    model: &M,
) -> Result<AdapterPlan, LoraError> {
    let modules = modules(model);
    let embedding = modules.iter().find(|module| module.kind == ModuleKind::Embedding);
    let embedding = embedding.map(|module| module.path.as_str()).unwrap_or_default();
    let tied = |module: &str| Err(LoraError::TiedWeights { module: module.to_owned() });
    let (is_tied, lora) = (model.is_head_tied(), config.as_lora());
    let is_ensured = lora.is_some_and(LoraConfig::ensure_weight_tying);
    let mut config = virtual_tokens::for_model(config.clone(), model)?;
    if is_tied && config.targets(HEAD) || is_tied && config.saves(HEAD) && !is_ensured {
        return tied(HEAD);
    }
    if is_tied && config.saves(HEAD) {
        // It has no weight of its own: its name stands for the embedding's.
        config = config.with_saved_instead(HEAD, embedding);
    }
    let plan = plan(&config, &modules, model.model_type())?;
    let adapts = plan.adapted.iter().any(|module| module.path == embedding);
    let saves = plan.saved.iter().any(|path| path == embedding);
    if is_tied && (adapts || saves && !is_ensured) {
        return tied(embedding);
    }
    if let Some(lora) = config.as_lora() {
        let fields = [("use_dora", lora.use_dora()), ("lora_bias", lora.lora_bias())];
        if let Some((field, _)) = fields.into_iter().find(|(_, is_on)| adapts && *is_on) {
            return Err(LoraError::config(field, true, "false, because target_modules has the embedding"));
        }
        if let Some(tokens) = lora.trainable_token_indices() {
            check_tokens(tokens, model, embedding, adapts || saves)?;
        }
    }
    Ok(plan)
}

fn check_tokens<M: Adaptable>(
    tokens: &[u32],
    model: &M,
    embedding: &str,
    is_taken: bool,
) -> Result<(), LoraError> {
    let field = "trainable_token_indices";
    if is_taken {
        let wanted = format!("nothing, because target_modules or modules_to_save has {embedding}");
        return Err(LoraError::config(field, "given", &wanted));
    }
    let mut vocab = 0;
    model.clone().sites(&mut |_, site| {
        if let Site::Embedding(embedding) = site {
            vocab = embedding.weight.lazy_shape().dims::<2>()[0];
        }
    });
    match tokens.iter().find(|&&token| token as usize >= vocab) {
        Some(token) => Err(LoraError::config(field, token, &format!("tokens below {vocab}"))),
        None => Ok(()),
    }
}

/// The name of the embedding's weight, if it is saved whole and the head's too.
pub(crate) fn tied_embedding<M: Adaptable>(model: &M, plan: &AdapterPlan) -> Option<String> {
    let modules = modules(model);
    let mut embeddings = modules.iter().filter(|module| module.kind == ModuleKind::Embedding);
    let found = embeddings.find(|module| plan.saved.contains(&module.path));
    found.filter(|_| model.is_head_tied()).map(|module| format!("{}.weight", module.path))
}
