//! Several adapters in one model, by name.
//!
//! A place of the model keeps the first adapter in use where a lone one would be, so that training, files and merging find
//! it there, and all others beside it. Which adapters there are, and which are in use, is one list that all places share.

mod each;
mod names;
mod places;
mod roster;
mod route;
mod rules;
mod swap;

pub use self::{
    names::{
        active_adapters, adapter_config, adapter_names, add_adapter, delete_adapter, disable_adapters,
        load_adapter, merge_adapters, save_adapter, set_adapters, train_adapter,
    },
    route::{check_rows, with_row_adapters, without_row_adapters},
    swap::hotswap_adapter,
};
pub(crate) use self::{
    places::{Named, Other},
    roster::{DEFAULT, Roster},
    route::check_no_routes,
    swap::trimmed,
};
