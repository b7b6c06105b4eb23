//! Tokens: who is asking.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    hint::black_box,
    io::Write,
    path::Path,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::Links;
use crate::{
    ReviewError, Study,
    log::{private, sync_folder},
};

/// Who a token belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Caller {
    /// The judge of this number.
    Judge(usize),
    /// Whoever runs the study.
    Owner,
}

/// The tokens of a study, compared by their hashes.
#[derive(Debug)]
pub(super) struct Keys {
    judges: Vec<String>,
    owner: String,
    hashes: Vec<([u8; 32], Caller)>,
}

/// The file of drawn tokens.
#[derive(Debug, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Drawn {
    owner: Option<String>,
    judges: BTreeMap<String, String>,
}

impl Keys {
    /// The tokens of the study, and from the file, or drawn into it, those that it does not give.
    pub(super) fn open(study: &Study, path: &Path) -> Result<Self, ReviewError> {
        let mut drawn: Drawn = match fs::read(path) {
            Ok(bytes) => serde_json::from_slice(&bytes).map_err(|source| ReviewError::Json {
                path: path.to_owned(),
                line: source.line(),
                source,
            })?,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => Drawn::default(),
            Err(error) => return Err(ReviewError::io("read", path)(error)),
        };
        let before = serde_json::to_string(&drawn).unwrap_or_default();
        let options = &study.options;
        let owner = options.owner_token.clone();
        let owner = owner.unwrap_or_else(|| drawn.owner.get_or_insert_with(random_token).clone());
        let judges: Vec<String> = (options.judges.iter())
            .map(|judge| match &judge.token {
                Some(token) => token.clone(),
                None => drawn.judges.entry(judge.name.clone()).or_insert_with(random_token).clone(),
            })
            .collect();
        if serde_json::to_string(&drawn).unwrap_or_default() != before {
            save(path, &drawn)?;
        }
        let mut hashes: Vec<_> = judges
            .iter()
            .enumerate()
            .map(|(judge, token)| (Sha256::digest(token).into(), Caller::Judge(judge)))
            .collect();
        hashes.push((Sha256::digest(&owner).into(), Caller::Owner));
        Ok(Self { judges, owner, hashes })
    }

    /// Whose token this is. Every known token is compared whole, by hash, whatever the answer: the time taken tells
    /// nothing.
    pub(super) fn caller(&self, token: &str) -> Option<Caller> {
        let found: [u8; 32] = Sha256::digest(token).into();
        let mut caller = None;
        for (known, whose) in &self.hashes {
            let differing = known.iter().zip(&found).fold(0, |bits, (a, b)| bits | (a ^ b));
            if black_box(differing) == 0 {
                caller = Some(*whose);
            }
        }
        caller
    }

    pub(super) fn links(&self, study: &Study, host: &str) -> Links {
        let link = |token: &str| format!("http://{host}/#{token}");
        let names = study.options.judges.iter().map(|judge| judge.name.clone());
        Links {
            judges: names.zip(self.judges.iter().map(|token| link(token))).collect(),
            owner: link(&self.owner),
        }
    }
}

/// 128 bits from the generator that the operating system seeds.
fn random_token() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// Beside, then renamed: a half-written file of tokens would lock everybody out.
fn save(path: &Path, drawn: &Drawn) -> Result<(), ReviewError> {
    let beside = path.with_extension("json.new");
    let write = || {
        let mut options = OpenOptions::new();
        let mut file = private(options.write(true).create(true).truncate(true)).open(&beside)?;
        file.write_all(&serde_json::to_vec_pretty(drawn)?)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(ReviewError::io("write", path))?;
    sync_folder(path)
}
