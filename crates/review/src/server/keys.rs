//! Tokens: who is asking.

use std::{
    collections::BTreeMap,
    fs::{self, OpenOptions},
    hint::black_box,
    io::{Read, Write},
    path::Path,
};

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use super::{Links, ServeConfig};
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
pub(super) struct Keys {
    /// Name and token of those who are let in.
    judges: Vec<(String, String)>,
    owner: String,
    hashes: Vec<([u8; 32], Caller)>,
    /// All tokens known, those of judges who are not let in any more among them.
    secrets: Vec<String>,
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
    ///
    /// A judge who comes back after having been left out gets the link of before.
    pub(super) fn open(study: &Study, config: &ServeConfig, path: &Path) -> Result<Self, ReviewError> {
        let mut drawn: Drawn = match read_private(path) {
            Ok(Err(error)) => return Err(error),
            Ok(Ok(bytes)) => serde_json::from_slice(&bytes).map_err(|source| ReviewError::Json {
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
        let let_in = options.judges.iter().enumerate().filter(|(_, judge)| config.lets_in(&judge.name));
        let judges: Vec<(usize, String, String)> = let_in
            .map(|(number, judge)| {
                let token = match &judge.token {
                    Some(token) => token.clone(),
                    None => drawn.judges.entry(judge.name.clone()).or_insert_with(random_token).clone(),
                };
                (number, judge.name.clone(), token)
            })
            .collect();
        if serde_json::to_string(&drawn).unwrap_or_default() != before {
            save(path, &drawn)?;
        }
        let mut hashes: Vec<_> = judges
            .iter()
            .map(|(judge, _, token)| (Sha256::digest(token).into(), Caller::Judge(*judge)))
            .collect();
        hashes.push((Sha256::digest(&owner).into(), Caller::Owner));
        let given = options.judges.iter().filter_map(|judge| judge.token.clone());
        let secrets = given.chain([owner.clone()]).chain(drawn.owner).chain(drawn.judges.into_values());
        let secrets = secrets.collect();
        let judges = judges.into_iter().map(|(_, name, token)| (name, token)).collect();
        Ok(Self { judges, owner, hashes, secrets })
    }

    /// A text with every known token cut out. A link with its `#` forgotten is such a text.
    pub(super) fn without_tokens(&self, text: &str) -> String {
        self.secrets.iter().fold(text.to_owned(), |text, secret| text.replace(secret, "[token]"))
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

    pub(super) fn links(&self, host: &str) -> Links {
        let link = |token: &str| format!("http://{host}/#{token}");
        let judges = self.judges.iter().map(|(name, token)| (name.clone(), link(token)));
        Links { judges: judges.collect(), owner: link(&self.owner) }
    }
}

/// 128 bits from the generator that the operating system seeds.
fn random_token() -> String {
    format!("{:032x}", rand::random::<u128>())
}

/// A file that only its owner can read: in a folder that others can write, it could hold tokens that they know.
fn read_private(path: &Path) -> std::io::Result<Result<Vec<u8>, ReviewError>> {
    let mut file = fs::File::open(path)?;
    #[cfg(unix)]
    {
        let mode = std::os::unix::fs::PermissionsExt::mode(&file.metadata()?.permissions()) & 0o777;
        if mode & 0o077 != 0 {
            return Ok(Err(ReviewError::OpenToOthers { path: path.to_owned(), mode }));
        }
    }
    let mut bytes = Vec::new();
    file.read_to_end(&mut bytes)?;
    Ok(Ok(bytes))
}

/// Beside, then renamed: a half-written file of tokens would lock everybody out.
fn save(path: &Path, drawn: &Drawn) -> Result<(), ReviewError> {
    let beside = path.with_extension("json.new");
    let write = || {
        // What a killed process left, or what somebody else put there to be written through.
        if fs::symlink_metadata(&beside).is_ok() {
            fs::remove_file(&beside)?;
        }
        let mut options = OpenOptions::new();
        let mut file = private(options.write(true).create_new(true)).open(&beside)?;
        file.write_all(&serde_json::to_vec_pretty(drawn)?)?;
        file.sync_all()?;
        fs::rename(&beside, path)
    };
    write().map_err(ReviewError::io("write", path))?;
    sync_folder(path)
}
