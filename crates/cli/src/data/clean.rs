use std::{cell::RefCell, collections::VecDeque, fs, path::PathBuf, rc::Rc};

use burnisher::data::{Pipeline, Preset};
use clap::Args;

use super::{input::InputArgs, output::OutputArgs};
use crate::Outcome;
