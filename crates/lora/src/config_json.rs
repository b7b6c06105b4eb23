//! adapter_config.json, in PEFT 0.21's form.

use std::{collections::BTreeMap, fs, path::Path};

use serde_json::{Map, Value, json};

use crate::{
    config::{Bias, InitLoraWeights, LoraConfig},
    error::{LoraError, UnsupportedField},
    init::{EvaConfig, LoftqConfig},
    target::TargetModules,
};

/// The version whose fields are written, noted in the file if none was read.
pub(crate) const PEFT_VERSION: &str = "0.21.2";

/// The fields PEFT 0.21 writes that this crate does not implement, with the value that means
/// "off". Any other value but null is an error; the value here is what is written.
fn fixed_fields() -> [(&'static str, Value); 15] {
    [
        ("alora_invocation_tokens", Value::Null),
        ("arrow_config", Value::Null),
        ("corda_config", Value::Null),
        ("fan_in_fan_out", json!(false)),
        ("kasa_config", Value::Null),
        ("layer_replication", Value::Null),
        ("lora_ga_config", Value::Null),
        ("megatron_config", Value::Null),
        ("megatron_core", json!("megatron.core")),
        ("monteclora_config", Value::Null),
        ("qalora_group_size", json!(16)),
        ("target_parameters", Value::Null),
        ("use_bdlora", Value::Null),
        ("use_qalora", json!(false)),
        ("velora_config", Value::Null),
    ]
}

impl LoraConfig {
    /// Reads and checks an adapter_config.json. A field that is absent or null has PEFT's
    /// default; a field that PEFT 0.21 does not know is kept in [`LoraConfig::extra`].
    ///
    /// # Errors
    /// [`LoraError::Read`] and [`LoraError::Json`] with the path; [`LoraError::InFile`] around
    /// what [`LoraConfig::from_json`] reports.
    pub fn read(path: impl AsRef<Path>) -> Result<Self, LoraError> {
        let path = path.as_ref();
        Self::from_json(read_json(path)?).map_err(|error| error.in_file(path))
    }

    /// Takes a configuration from the parsed text of an adapter_config.json.
    ///
    /// # Errors
    /// [`LoraError::Unsupported`] listing every field that asks for something this crate does not
    /// implement; [`LoraError::Config`] for a field of the wrong type or value.
    pub fn from_json(value: Value) -> Result<Self, LoraError> {
        let Value::Object(map) = value else {
            return Err(LoraError::config("the file", shown(&value), "a JSON object"));
        };
        let mut fields = Fields(map);
        fields.check_type("LORA")?;
        let init = fields.take("init_lora_weights");
        let mut unsupported = fields.take_fixed();
        let init_lora_weights = match init_from_json(&init) {
            Some(known) => known,
            None => {
                let found = shown(&init);
                unsupported.push(UnsupportedField { field: "init_lora_weights".into(), found });
                InitLoraWeights::default()
            }
        };
        if !unsupported.is_empty() {
            unsupported.sort_by(|a, b| a.field.cmp(&b.field));
            return Err(LoraError::Unsupported { fields: unsupported });
        }

        let mut config = Self::new(fields.read("r", "a rank above 0", count)?.unwrap_or(8));
        config.init_lora_weights = init_lora_weights;
        if let Some(alpha) = fields.read("lora_alpha", "a number", Value::as_f64)? {
            config.lora_alpha = alpha;
        }
        if let Some(dropout) = fields.read("lora_dropout", "a number in [0, 1)", Value::as_f64)? {
            config.lora_dropout = dropout;
        }
        let names = "a list of module names or a string";
        config.target_modules = fields.read("target_modules", names, target_from_json)?;
        config.exclude_modules = fields.read("exclude_modules", names, exclude_from_json)?;
        config.layers_to_transform =
            fields.read("layers_to_transform", "a layer number or a list of them", counts)?;
        config.layers_pattern = fields.read("layers_pattern", "a name or a list of names", text_or_texts)?;
        let ranks = "an object of module patterns and ranks";
        config.rank_pattern = fields.read("rank_pattern", ranks, |v| pairs(v, count))?.unwrap_or_default();
        let alphas = "an object of module patterns and numbers";
        config.alpha_pattern =
            fields.read("alpha_pattern", alphas, |v| pairs(v, Value::as_f64))?.unwrap_or_default();
        config.bias =
            fields.read("bias", "\"none\", \"all\" or \"lora_only\"", bias_from_json)?.unwrap_or_default();
        config.lora_bias = fields.read("lora_bias", "true or false", Value::as_bool)?.unwrap_or(false);
        let tokens = fields.take("trainable_token_indices");
        config.trainable_token_indices = tokens_from_json(&tokens)?;
        config.ensure_weight_tying =
            fields.read("ensure_weight_tying", "true or false", Value::as_bool)?.unwrap_or(false);
        config.use_dora = fields.read("use_dora", "true or false", Value::as_bool)?.unwrap_or(false);
        config.use_rslora = fields.read("use_rslora", "true or false", Value::as_bool)?.unwrap_or(false);
        config.modules_to_save = fields.read("modules_to_save", "a list of module names", texts)?;
        config.loftq_config =
            fields.read("loftq_config", LoftqConfig::WANTED, LoftqConfig::from_json)?.flatten();
        config.eva_config = fields.read("eva_config", EvaConfig::WANTED, EvaConfig::from_json)?;
        config.task_type = fields.read("task_type", "a string", text)?;
        config.base_model_name_or_path = fields.read("base_model_name_or_path", "a string", text)?;
        config.revision = fields.read("revision", "a string", text)?;
        config.auto_mapping =
            fields.read("auto_mapping", "an object", |v| v.is_object().then(|| v.clone()))?;
        config.peft_version = fields.read("peft_version", "a string", text)?;
        fields.read("inference_mode", "true or false", Value::as_bool)?;
        // PEFT never writes this one, and ignores it when it reads.
        fields.take("runtime_config");
        config.extra = fields.0;
        config.validate()?;
        Ok(config)
    }

    /// The text of adapter_config.json as PEFT writes it: every field of PEFT 0.21, keys sorted,
    /// two spaces of indentation, ASCII only, `inference_mode` true.
    ///
    /// The patterns keep their order, because the first one that matches wins; PEFT sorts them
    /// when it saves, which can change their meaning.
    pub fn to_json(&self) -> String {
        written(self.json_fields())
    }

    /// The fields of the file.
    pub(crate) fn json_fields(&self) -> BTreeMap<&str, Value> {
        let mut fields: BTreeMap<&str, Value> =
            self.extra.iter().map(|(key, value)| (key.as_str(), value.clone())).collect();
        fields.extend(fixed_fields());
        fields.extend([
            ("alpha_pattern", self.alpha_pattern_json()),
            ("auto_mapping", self.auto_mapping.clone().unwrap_or(Value::Null)),
            ("base_model_name_or_path", json!(self.base_model_name_or_path)),
            ("bias", json!(bias_to_json(self.bias))),
            ("ensure_weight_tying", json!(self.ensure_weight_tying)),
            ("eva_config", self.eva_json()),
            ("exclude_modules", json!(self.exclude_modules.as_ref().map(target_to_json))),
            ("inference_mode", json!(true)),
            ("init_lora_weights", init_to_json(self.init_lora_weights)),
            ("layers_pattern", json!(self.layers_pattern)),
            ("layers_to_transform", json!(self.layers_to_transform)),
            ("loftq_config", self.loftq_json()),
            ("lora_alpha", number(self.lora_alpha)),
            ("lora_bias", json!(self.lora_bias)),
            ("lora_dropout", json!(self.lora_dropout)),
            ("modules_to_save", json!(self.modules_to_save)),
            ("peft_type", json!("LORA")),
            ("peft_version", json!(self.peft_version.as_deref().unwrap_or(PEFT_VERSION))),
            ("r", json!(self.r)),
            ("rank_pattern", self.rank_pattern_json()),
            ("revision", json!(self.revision)),
            ("target_modules", json!(self.target_modules.as_ref().map(target_to_json))),
            ("task_type", json!(self.task_type)),
            ("trainable_token_indices", json!(self.trainable_token_indices)),
            ("use_dora", json!(self.use_dora)),
            ("use_rslora", json!(self.use_rslora)),
        ]);
        fields
    }

    fn loftq_json(&self) -> Value {
        match self.init_lora_weights {
            InitLoraWeights::Loftq => self.loftq_config().to_json(),
            _ => json!({}),
        }
    }

    fn eva_json(&self) -> Value {
        match (self.init_lora_weights, self.eva_config) {
            (InitLoraWeights::Eva, _) => self.eva_config().to_json(),
            (_, given) => json!(given.map(|eva| eva.to_json())),
        }
    }

    fn rank_pattern_json(&self) -> Value {
        self.rank_pattern.iter().map(|(key, r)| (key.clone(), json!(r))).collect()
    }

    fn alpha_pattern_json(&self) -> Value {
        self.alpha_pattern.iter().map(|(key, alpha)| (key.clone(), number(*alpha))).collect()
    }
}

/// The JSON of a file.
pub(crate) fn read_json(path: &Path) -> Result<Value, LoraError> {
    let bytes = fs::read(path).map_err(|source| LoraError::Read { path: path.into(), source })?;
    serde_json::from_slice(&bytes).map_err(|source| LoraError::Json { path: path.into(), source })
}

/// The fields of the file that have not been read yet.
pub(crate) struct Fields(pub(crate) Map<String, Value>);

impl Fields {
    /// The field's value, null if it is absent.
    pub(crate) fn take(&mut self, field: &str) -> Value {
        self.0.remove(field).unwrap_or(Value::Null)
    }

    /// The field's value through `parse`, `None` if it is absent or null.
    pub(crate) fn read<T>(
        &mut self,
        field: &str,
        wanted: &str,
        parse: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, LoraError> {
        let value = self.take(field);
        if value.is_null() {
            return Ok(None);
        }
        match parse(&value) {
            Some(parsed) => Ok(Some(parsed)),
            None => Err(LoraError::config(field, shown(&value), wanted)),
        }
    }

    /// Takes `peft_type`, which must be `wanted`.
    pub(crate) fn check_type(&mut self, wanted: &str) -> Result<(), LoraError> {
        let found = self.take("peft_type");
        match found.as_str() {
            Some(found) if found == wanted => Ok(()),
            Some(_) => {
                let field = UnsupportedField { field: "peft_type".into(), found: shown(&found) };
                Err(LoraError::Unsupported { fields: vec![field] })
            }
            None if found.is_null() => Err(LoraError::config("peft_type", "missing", &format!("{wanted:?}"))),
            None => Err(LoraError::config("peft_type", shown(&found), &format!("{wanted:?}"))),
        }
    }

    /// Removes the fields that have to be off; returns those that are not.
    fn take_fixed(&mut self) -> Vec<UnsupportedField> {
        let mut unsupported = Vec::new();
        for (field, off) in fixed_fields() {
            let found = self.take(field);
            if !found.is_null() && found != off {
                unsupported.push(UnsupportedField { field: field.into(), found: shown(&found) });
            }
        }
        unsupported
    }
}

/// `trainable_token_indices`: a list of tokens, alone or of the embedding by its name.
fn tokens_from_json(value: &Value) -> Result<Option<Vec<u32>>, LoraError> {
    let field = "trainable_token_indices";
    let list = match value {
        Value::Null => return Ok(None),
        Value::Object(by_module) => match by_module.iter().next() {
            Some((name, list)) if by_module.len() == 1 && name.ends_with("embed_tokens") => list,
            _ => {
                let fields = vec![UnsupportedField { field: field.into(), found: shown(value) }];
                return Err(LoraError::Unsupported { fields });
            }
        },
        list => list,
    };
    let token = |value: &Value| u32::try_from(value.as_u64()?).ok();
    let tokens = list.as_array().and_then(|list| list.iter().map(token).collect());
    tokens.map(Some).ok_or_else(|| LoraError::config(field, shown(value), "a list of token ids"))
}

pub(crate) fn count(value: &Value) -> Option<usize> {
    usize::try_from(value.as_u64()?).ok()
}

pub(crate) fn counts(value: &Value) -> Option<Vec<usize>> {
    match value {
        Value::Array(items) => items.iter().map(count).collect(),
        single => Some(vec![count(single)?]),
    }
}

pub(crate) fn text(value: &Value) -> Option<String> {
    value.as_str().map(str::to_owned)
}

pub(crate) fn texts(value: &Value) -> Option<Vec<String>> {
    value.as_array()?.iter().map(text).collect()
}

pub(crate) fn text_or_texts(value: &Value) -> Option<Vec<String>> {
    match value {
        Value::String(single) if single.is_empty() => Some(Vec::new()),
        Value::String(single) => Some(vec![single.clone()]),
        list => texts(list),
    }
}

fn pairs<T>(value: &Value, parse: impl Fn(&Value) -> Option<T>) -> Option<Vec<(String, T)>> {
    value.as_object()?.iter().map(|(key, value)| Some((key.clone(), parse(value)?))).collect()
}

pub(crate) fn target_from_json(value: &Value) -> Option<TargetModules> {
    match value.as_str() {
        Some(text) if text.eq_ignore_ascii_case("all-linear") => Some(TargetModules::AllLinear),
        _ => exclude_from_json(value),
    }
}

/// Like [`target_from_json`], but `all-linear` has no special meaning.
pub(crate) fn exclude_from_json(value: &Value) -> Option<TargetModules> {
    match value {
        Value::String(pattern) => Some(TargetModules::Regex(pattern.clone())),
        list => texts(list).map(TargetModules::Suffixes),
    }
}

pub(crate) fn target_to_json(target: &TargetModules) -> Value {
    match target {
        TargetModules::Suffixes(entries) => json!(entries),
        TargetModules::Regex(pattern) => json!(pattern),
        TargetModules::AllLinear => json!("all-linear"),
    }
}

fn bias_from_json(value: &Value) -> Option<Bias> {
    [Bias::None, Bias::All, Bias::LoraOnly]
        .into_iter()
        .find(|&bias| value.as_str() == Some(bias_to_json(bias)))
}

fn bias_to_json(bias: Bias) -> &'static str {
    match bias {
        Bias::None => "none",
        Bias::All => "all",
        Bias::LoraOnly => "lora_only",
    }
}

/// The initialisations that have a name.
const NAMED_INITS: [(InitLoraWeights, &str); 6] = [
    (InitLoraWeights::Gaussian, "gaussian"),
    (InitLoraWeights::Orthogonal, "orthogonal"),
    (InitLoraWeights::Pissa, "pissa"),
    (InitLoraWeights::Olora, "olora"),
    (InitLoraWeights::Loftq, "loftq"),
    (InitLoraWeights::Eva, "eva"),
];

const PISSA_NITER: &str = "pissa_niter_";

fn init_from_json(value: &Value) -> Option<InitLoraWeights> {
    match value {
        Value::Null | Value::Bool(true) => Some(InitLoraWeights::Kaiming),
        Value::Bool(false) => Some(InitLoraWeights::Random),
        Value::String(name) => {
            let named = NAMED_INITS.iter().find(|(_, known)| name.eq_ignore_ascii_case(known));
            let niter = || name.strip_prefix(PISSA_NITER)?.parse().ok().map(InitLoraWeights::PissaNiter);
            named.map(|(init, _)| *init).or_else(niter)
        }
        _ => None,
    }
}

fn init_to_json(init: InitLoraWeights) -> Value {
    match init {
        InitLoraWeights::Kaiming => json!(true),
        InitLoraWeights::Random => json!(false),
        InitLoraWeights::PissaNiter(iterations) => json!(format!("{PISSA_NITER}{iterations}")),
        named => json!(NAMED_INITS.iter().find(|(init, _)| *init == named).map(|(_, name)| name)),
    }
}

impl InitLoraWeights {
    /// The value in adapter_config.json.
    pub(crate) fn shown(self) -> String {
        init_to_json(self).to_string()
    }
}

/// A number as Python writes it: PEFT declares alphas to be integers, readers may insist.
pub(crate) fn number(value: f64) -> Value {
    // Up to 2⁵³ every whole f64 is that integer.
    if value.fract() == 0.0 && value.abs() <= 9_007_199_254_740_992.0 {
        json!(value as i64)
    } else {
        json!(value)
    }
}

/// The text of a file with these fields.
pub(crate) fn written(fields: BTreeMap<&str, Value>) -> String {
    let fields: Map<String, Value> = fields.into_iter().map(|(key, value)| (key.to_owned(), value)).collect();
    ascii(&format!("{:#}", Value::Object(fields)))
}

/// JSON text with everything outside printable ASCII escaped, as Python's json does. Such
/// characters occur only inside strings.
fn ascii(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if character < '\u{7f}' {
            escaped.push(character);
        } else {
            let mut units = [0; 2];
            for unit in character.encode_utf16(&mut units) {
                escaped.push_str(&format!("\\u{unit:04x}"));
            }
        }
    }
    escaped
}

/// A value for a message, cut if it is long.
pub(crate) fn shown(value: &Value) -> String {
    let text = value.to_string();
    let cut = text.char_indices().nth(80).map(|(end, _)| end);
    match cut {
        Some(end) => format!("{}...", &text[..end]),
        None => text,
    }
}
