//! Which layers of a model have a sliding window.

use serde_json::Value;

use super::fields::Fields;
use crate::families::Window;

/// What a layer's attention sees.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum LayerType {
    /// Everything before a token (`full_attention` in config.json).
    Full,
    /// The tokens within a window before a token (`sliding_attention`).
    Sliding,
}

/// The window, and what each layer is.
pub(super) type Layers = (Option<usize>, Vec<LayerType>);

/// Reads `sliding_window` and what says where it is.
pub(super) fn read(fields: &mut Fields<'_>, rule: Window, layers: usize) -> Option<Layers> {
    match rule {
        Window::Never => Some((None, vec![LayerType::Full; layers])),
        Window::EveryLayer(default) => {
            let window = sliding_window(fields, default)?;
            let layer_type = if window.is_some() { LayerType::Sliding } else { LayerType::Full };
            Some((window, vec![layer_type; layers]))
        }
        Window::UpperLayers => {
            let window = match fields.bool("use_sliding_window", false)? {
                true => sliding_window(fields, Some(DEFAULT_WINDOW))?,
                false => None,
            };
            let first = fields.count("max_window_layers", DEFAULT_FIRST_LAYER)?;
            let first = if window.is_some() { first } else { layers };
            listed(fields, window, layers, |layer| layer >= first)
        }
        Window::AllButEvery { nth, key } => {
            let window = sliding_window(fields, Some(DEFAULT_WINDOW))?;
            let nth = match key {
                Some(key) => fields.size(key, Some(nth))?,
                None => nth,
            };
            listed(fields, window, layers, |layer| !(layer + 1).is_multiple_of(nth))
        }
    }
}

/// transformers' default in every family with a choice of layers.
const DEFAULT_WINDOW: usize = 4096;

/// transformers' default of `max_window_layers`.
const DEFAULT_FIRST_LAYER: usize = 28;

/// Missing is the family's default, null is no window.
fn sliding_window(fields: &mut Fields<'_>, default: Option<usize>) -> Option<Option<usize>> {
    let key = "sliding_window";
    match default {
        _ if fields.has_null(key) => Some(None),
        None if !fields.is_set(key) => Some(None),
        default => fields.size(key, default).map(Some),
    }
}

/// What `layer_types` lists, or the family's rule.
fn listed(
    fields: &mut Fields<'_>,
    window: Option<usize>,
    layers: usize,
    is_sliding: impl Fn(usize) -> bool,
) -> Option<Layers> {
    let key = "layer_types";
    let of = |sliding| if sliding { LayerType::Sliding } else { LayerType::Full };
    let by_rule = (0..layers).map(|layer| of(is_sliding(layer))).collect();
    let wanted = format!("{layers} entries, \"full_attention\" or \"sliding_attention\"");
    let layer_types = fields.read(key, Some(by_rule), &wanted, |value| {
        let names = value.as_array().filter(|names| names.len() == layers)?;
        names.iter().map(parse).collect::<Option<Vec<_>>>()
    })?;
    if window.is_none() && layer_types.contains(&LayerType::Sliding) {
        return fields.problem("sliding_window", "a window for the layers that slide");
    }
    Some((window, layer_types))
}

fn parse(name: &Value) -> Option<LayerType> {
    match name.as_str()? {
        "full_attention" => Some(LayerType::Full),
        "sliding_attention" => Some(LayerType::Sliding),
        _ => None,
    }
}
