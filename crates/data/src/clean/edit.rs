//! Steps that change texts.

mod boilerplate;
mod citations;
mod control;
mod html;
mod mojibake;
mod personal;
mod unicode;
mod white_space;

pub use boilerplate::BoilerplateLines;
pub(super) use boilerplate::LineFinder;
pub use citations::Citations;
pub use control::ControlCharacters;
pub use html::Html;
pub use mojibake::Mojibake;
pub use personal::{PersonalAction, PersonalData};
pub use unicode::{NormalForm, Unicode};
pub use white_space::WhiteSpace;
