//! Adapters of mlx-lm: adapters.safetensors and an adapter_config.json of its own.
//!
//! Read from mlx-lm's mlx_lm/tuner/utils.py (`load_adapters`, `linear_to_lora_layers`) and tuner/lora.py,
//! revision 0367286. `lora_a` is `[in, r]` and `lora_b` `[r, out]`, both transposed against PEFT;
//! `y += scale·(x·lora_a)·lora_b` takes the scale as it stands, so that `lora_alpha = scale·r`.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::Path,
};

use serde_json::{Value, json};

use crate::{
    AdapterTensor, LoraConfig, LoraError, PeftFiles, TargetModules,
    error::Problem,
    matcher::ScalingRules,
    peft::{decode, encode, keys, stage, sync_dir},
};

const CONFIG_FILE: &str = "adapter_config.json";
const MODEL_FILE: &str = "adapters.safetensors";
const MLX: &str = "an mlx-lm adapter";
/// The names of the factors here, and of the same ones in PEFT's files.
const FACTORS: [(&str, &str); 2] = [(".lora_a", ".lora_A.weight"), (".lora_b", ".lora_B.weight")];

impl PeftFiles {
    /// Reads an adapter that mlx-lm wrote. Its targets are named by their whole paths: mlx-lm counts layers from the
    /// last one, and does not say how many there are.
    ///
    /// # Errors
    /// [`LoraError::Read`], [`LoraError::Json`], [`LoraError::Safetensors`] for the files; [`LoraError::Config`] for a field
    /// that is missing or of another type; [`LoraError::Convert`] with everything that PEFT's form has no place for here:
    /// DoRA, full fine-tuning, experts (three dimensions), embeddings, and ranks other than the one in the configuration.
    pub fn read_mlx(dir: impl AsRef<Path>) -> Result<Self, LoraError> {
        let path = dir.as_ref().join(CONFIG_FILE);
        let read =
            |path: &Path| fs::read(path).map_err(|source| LoraError::Read { path: path.into(), source });
        let config: Value = serde_json::from_slice(&read(&path)?)
            .map_err(|source| LoraError::Json { path: path.clone(), source })?;
        let settings = Settings::from_json(&config).map_err(|error| error.in_file(&path))?;
        let path = dir.as_ref().join(MODEL_FILE);
        from_mlx(&settings, decode(&path, &read(&path)?)?).map_err(|error| error.in_file(&path))
    }

    /// Writes the adapter for mlx-lm, creating the directory if need be. The factors keep their number types.
    ///
    /// `num_layers` is -1: mlx-lm then adds factors to the target modules of every layer, and those without tensors in
    /// the file do nothing.
    ///
    /// # Errors
    /// [`LoraError::Convert`] with everything that mlx-lm has no place for: other tensors than the factors of projections,
    /// ranks or scalings that differ between modules (it has one of each), and a base that an initialisation changed.
    /// Errors of files, with the path; files that were there before stay whole.
    pub fn write_mlx(&self, dir: impl AsRef<Path>) -> Result<(), LoraError> {
        let (config, tensors) = to_mlx(self)?;
        let dir = dir.as_ref();
        let (model_path, config_path) = (dir.join(MODEL_FILE), dir.join(CONFIG_FILE));
        let bytes = encode(&model_path, &tensors)?;
        let failed = |source| LoraError::Write { path: dir.into(), source };
        fs::create_dir_all(dir).map_err(failed)?;
        let staged_model = stage(dir, &model_path, &bytes)?;
        let staged_config = stage(dir, &config_path, format!("{config:#}").as_bytes())?;
        for (staged, path) in [(staged_model, model_path), (staged_config, config_path)] {
            staged.persist(&path).map_err(|error| LoraError::Write { path, source: error.error })?;
        }
        sync_dir(dir).map_err(failed)
    }
}

/// `lora_parameters`, and what was trained.
#[derive(Clone, Debug)]
struct Settings {
    kind: String,
    rank: usize,
    scale: f64,
    dropout: f64,
}

impl Settings {
    fn from_json(config: &Value) -> Result<Self, LoraError> {
        let kind = match config.get("fine_tune_type") {
            // mlx-lm wrote none before it had DoRA.
            None => "lora".to_owned(),
            Some(kind) => match kind.as_str() {
                Some(kind) => kind.to_owned(),
                None => return Err(LoraError::config("fine_tune_type", kind, "a string")),
            },
        };
        let number = |name: &str| {
            let found = config.get("lora_parameters").and_then(|parameters| parameters.get(name));
            let value = found.and_then(Value::as_f64);
            value.ok_or_else(|| {
                let found = found.map_or("missing".to_owned(), Value::to_string);
                LoraError::config(&format!("lora_parameters.{name}"), found, "a number")
            })
        };
        let rank = number("rank")?;
        if !(rank >= 1.0 && rank.fract() == 0.0) {
            return Err(LoraError::config("lora_parameters.rank", rank, "a rank above 0"));
        }
        let dropout = number("dropout").or_else(|error| {
            // Files of old versions lack it.
            let absent = config.pointer("/lora_parameters/dropout").is_none();
            if absent { Ok(0.0) } else { Err(error) }
        })?;
        Ok(Self { kind, rank: rank as usize, scale: number("scale")?, dropout })
    }
}

fn from_mlx(settings: &Settings, found: BTreeMap<String, AdapterTensor>) -> Result<PeftFiles, LoraError> {
    let mut problems = Vec::new();
    if settings.kind != "lora" {
        problems.push(Problem::new("fine_tune_type", format_args!("{:?}", settings.kind), "\"lora\""));
    }
    let (mut tensors, mut paths) = (BTreeMap::new(), BTreeSet::new());
    for (name, tensor) in &found {
        let factor = FACTORS.iter().position(|(part, _)| name.ends_with(part));
        let Some((index, path)) =
            factor.and_then(|index| Some((index, name.strip_suffix(FACTORS[index].0)?)))
        else {
            let wanted = "lora_a and lora_b (an m is DoRA's, anything else a trained weight)";
            problems.push(Problem::new(name, "another tensor", wanted));
            continue;
        };
        let counterpart = format!("{path}{}", FACTORS[1 - index].0);
        if !found.contains_key(&counterpart) {
            problems.push(Problem::new(name, "no counterpart", counterpart));
        }
        let rank = if index == 0 { tensor.shape.get(1) } else { tensor.shape.first() };
        if tensor.shape.len() != 2 || rank != Some(&settings.rank) {
            let r = settings.rank;
            let wanted = if index == 0 { format!("[in, {r}]") } else { format!("[{r}, out]") };
            problems.push(Problem::new(name, format_args!("shape {:?}", tensor.shape), wanted));
            continue;
        }
        if path.ends_with("embed_tokens") || path.ends_with("wte") {
            problems.push(Problem::new(name, "an adapter of the embedding", "adapters of projections"));
            continue;
        }
        paths.insert(path.to_owned());
        tensors.insert(keys::parameter(&format!("{path}{}", FACTORS[index].1)), transposed(tensor));
    }
    if found.is_empty() {
        problems.push(Problem::new(MODEL_FILE, "no tensors", "lora_a and lora_b"));
    }
    if !problems.is_empty() {
        return Err(LoraError::Convert { wanted: "a PEFT adapter".into(), problems });
    }
    let config = LoraConfig::new(settings.rank)
        .with_lora_alpha(settings.scale * settings.rank as f64)
        .with_lora_dropout(settings.dropout)
        .with_task_type("CAUSAL_LM")
        .with_target_modules(TargetModules::suffixes(paths));
    config.validate()?;
    Ok(PeftFiles { config: config.into(), tensors })
}

fn to_mlx(files: &PeftFiles) -> Result<(Value, BTreeMap<String, AdapterTensor>), LoraError> {
    let mut problems = Vec::new();
    let config = files.config.lora()?;
    let init = config.init_lora_weights();
    if init.changes_the_base() {
        let found = format!("{}, which changed the base", init.shown());
        problems.push(Problem::new(
            "init_lora_weights",
            found,
            "an adapter of the original base: convert it first",
        ));
    }
    let rules = ScalingRules::new(config)?;
    let (mut tensors, mut modules) = (BTreeMap::new(), BTreeSet::new());
    let mut shared: Option<(usize, f64)> = None;
    for (name, tensor) in &files.tensors {
        let factor = FACTORS.iter().find_map(|(mlx, peft)| Some((name.strip_suffix(peft)?, mlx)));
        let Some((module, part)) = factor.filter(|_| tensor.shape.len() == 2) else {
            problems.push(Problem::new(name, "a tensor that is no factor of a projection", "factors only"));
            continue;
        };
        let path = keys::module_path(module);
        let (r, _, scaling) = rules.of(path);
        let (wanted_r, wanted) = *shared.get_or_insert((r, scaling));
        if modules.insert(path.to_owned()) && (r, scaling) != (wanted_r, wanted) {
            let found = format!("rank {r}, scaling {scaling}");
            problems.push(Problem::new(
                path,
                found,
                format_args!("rank {wanted_r}, scaling {wanted}, as before"),
            ));
        }
        let rank = if *part == FACTORS[0].0 { tensor.shape[0] } else { tensor.shape[1] };
        if rank != r {
            let wanted = format!("rank {r}, as the configuration says");
            problems.push(Problem::new(name, format_args!("shape {:?}", tensor.shape), wanted));
        }
        tensors.insert(format!("{path}{part}"), transposed(tensor));
    }
    let Some((rank, scale)) = shared.filter(|_| problems.is_empty()) else {
        if problems.is_empty() {
            problems.push(Problem::new("tensors", "none", "factors"));
        }
        return Err(LoraError::Convert { wanted: MLX.into(), problems });
    };
    let dropout = config.lora_dropout();
    let names: BTreeSet<&str> = modules.iter().map(|path| within_layer(path)).collect();
    let config = json!({
        "fine_tune_type": "lora",
        "num_layers": -1,
        "lora_parameters": {
            "rank": rank,
            "scale": scale,
            "dropout": dropout,
            "keys": names,
        },
    });
    Ok((config, tensors))
}

/// The module's name inside its layer: what follows the layer's number; the whole path outside of layers.
fn within_layer(path: &str) -> &str {
    let is_number = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
    let mut start = 0;
    for part in path.split('.') {
        start += part.len() + 1;
        if is_number(part) && start < path.len() {
            return &path[start..];
        }
    }
    path
}

fn transposed(tensor: &AdapterTensor) -> AdapterTensor {
    let [rows, cols] = [tensor.shape[0], tensor.shape[1]];
    // Without rows there may be any number of columns.
    let filled = if tensor.values.is_empty() { 0 } else { cols };
    let values = (0..filled).flat_map(|col| (0..rows).map(move |row| tensor.values[row * cols + col]));
    AdapterTensor::new([cols, rows], values.collect()).with_dtype(tensor.dtype)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_inside_a_layer() {
        for (path, wanted) in [
            ("model.layers.10.self_attn.q_proj", "self_attn.q_proj"),
            ("transformer.h.0.attn.c_attn", "attn.c_attn"),
            ("lm_head", "lm_head"),
            ("model.layers.3", "model.layers.3"),
        ] {
            assert_eq!(within_layer(path), wanted);
        }
    }
}
