use std::fmt;
use std::path::Path;

/// What a data file holds, told by its name without `.gz` or `.zst`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Format {
    /// `.jsonl`, `.ndjson`: one JSON object per line. Also files of any other name that are asked for by name.
    JsonLines,
    /// `.json`: one array of objects, if the first character is `[`; SQuAD's nested file, if it has its keys; else JSON
    /// lines.
    Json,
    /// `.csv`: comma-separated values; the first row names the columns.
    Csv,
    /// `.tsv`: the same with tab stops.
    Tsv,
    /// `.parquet`, with the feature `parquet`.
    Parquet,
    /// `.txt`, `.md`: plain text.
    Text,
    /// `.conll`, `.bio`, `.iob`: one token and its tag per line, a blank line between sentences.
    Conll,
}

impl Format {
    /// Every format and the endings that stand for it.
    const ENDINGS: [(&'static str, Self); 11] = [
        ("jsonl", Self::JsonLines),
        ("ndjson", Self::JsonLines),
        ("json", Self::Json),
        ("csv", Self::Csv),
        ("tsv", Self::Tsv),
        ("parquet", Self::Parquet),
        ("txt", Self::Text),
        ("md", Self::Text),
        ("conll", Self::Conll),
        ("bio", Self::Conll),
        ("iob", Self::Conll),
    ];

    /// The format of a file by its name, without regard to case; `None` if the name does not tell.
    pub fn of(path: impl AsRef<Path>) -> Option<Self> {
        let (stem, _) = Compression::split(path.as_ref());
        let ending = Path::new(&stem).extension()?.to_str()?.to_ascii_lowercase();
        Self::ENDINGS.iter().find(|(known, _)| *known == ending).map(|(_, format)| *format)
    }

    /// `.jsonl, .ndjson, …`, for error messages.
    pub(crate) fn endings() -> String {
        let endings: Vec<String> = Self::ENDINGS.iter().map(|(ending, _)| format!(".{ending}")).collect();
        endings.join(", ")
    }
}

impl fmt::Display for Format {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::JsonLines => "JSON lines",
            Self::Json => "JSON",
            Self::Csv => "CSV",
            Self::Tsv => "TSV",
            Self::Parquet => "Parquet",
            Self::Text => "plain text",
            Self::Conll => "CoNLL",
        })
    }
}

/// How the bytes of a file are packed, told by the end of its name.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Compression {
    Plain,
    /// `.gz`, one or several members.
    Gzip,
    /// `.zst`, one or several frames.
    Zstd,
}

impl Compression {
    /// The file's name without the ending of its compression, and the compression.
    pub(crate) fn split(path: &Path) -> (String, Self) {
        let name = path.file_name().map(|name| name.to_string_lossy().into_owned()).unwrap_or_default();
        for (ending, compression) in [(".gz", Self::Gzip), (".zst", Self::Zstd)] {
            if let Some(at) = name.len().checked_sub(ending.len())
                && name.as_bytes()[at..].eq_ignore_ascii_case(ending.as_bytes())
            {
                return (name[..at].to_owned(), compression);
            }
        }
        (name, Self::Plain)
    }

    pub(crate) fn of(path: &Path) -> Self {
        Self::split(path).1
    }
}
