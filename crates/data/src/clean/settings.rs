//! One declaration for a step's fields: type, default, setter, documentation and name in a file.

use std::fmt::Debug;

use serde::Serialize;
use serde::de::DeserializeOwned;

/// A field of a step, as [`Pipeline::reference_toml`](super::Pipeline::reference_toml) prints it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Field {
    pub(super) name: &'static str,
    pub(super) about: &'static str,
}

/// The settings of a step.
pub(super) trait Settings: Default + Serialize + DeserializeOwned + Debug {
    /// The name in a file.
    const NAME: &'static str;
    /// What the step does.
    const ABOUT: &'static str;
    /// Every field, in order.
    const FIELDS: &'static [Field];
}

/// Declares the settings of a step: `field / setter: type = default`.
macro_rules! settings {
    (
        $(#[doc = $about:literal])+
        $type:ident = $name:literal {
            $($(#[doc = $doc:literal])+ $field:ident / $setter:ident: $kind:ty = $default:expr),* $(,)?
        }
    ) => {
        $(#[doc = $about])+
        #[derive(Debug, Clone, PartialEq, serde::Serialize, serde::Deserialize)]
        #[serde(default, deny_unknown_fields)]
        #[non_exhaustive]
        pub struct $type {
            $($(#[doc = $doc])+ pub $field: $kind,)*
        }

        impl Default for $type {
            fn default() -> Self {
                Self { $($field: $default,)* }
            }
        }

        impl $type {
            /// The settings with their defaults.
            pub fn new() -> Self {
                Self::default()
            }

            $(
                $(#[doc = $doc])+
                #[must_use]
                pub fn $setter(mut self, $field: $kind) -> Self {
                    self.$field = $field;
                    self
                }
            )*
        }

        impl $crate::clean::settings::Settings for $type {
            const NAME: &'static str = $name;
            const ABOUT: &'static str = concat!($($about),+);
            const FIELDS: &'static [$crate::clean::settings::Field] = &[
                $($crate::clean::settings::Field { name: stringify!($field), about: concat!($($doc),+) },)*
            ];
        }
    };
}
pub(super) use settings;
