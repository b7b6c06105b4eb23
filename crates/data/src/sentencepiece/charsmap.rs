//! The compiled normalization rules of a SentencePiece model.
//!
//! ```text
//! u32 length of the trie in bytes, units of the trie (u32), replacements that end with NUL
//! ```
//!
//! The trie is a double array (Darts-clone): from unit `p`, byte `c` leads to `p ^ offset ^ c`. The crate
//! `tokenizers` follows it without looking at bounds, so a table is checked before it gets there.

use super::wire::Malformed;

/// Bit of a unit that holds a value instead of leading on.
const VALUE: u32 = 1 << 31;

/// Bit of a unit that has a value behind byte 0.
const HAS_VALUE: u32 = 1 << 8;

/// Refuses a table whose units lead out of it.
pub(super) fn check(table: &[u8]) -> Result<(), Malformed> {
    let wrong = |message: String| Malformed::new(format!("precompiled_charsmap: {message}"));
    let Some((size, rest)) = table.split_first_chunk::<4>() else {
        return Err(wrong(format!("{} bytes, wanted at least 4", table.len())));
    };
    let size = u32::from_le_bytes(*size) as usize;
    if size == 0 || !size.is_multiple_of(4) || size > rest.len() {
        return Err(wrong(format!("a trie of {size} bytes in {}", rest.len())));
    }
    let (trie, replacements) = rest.split_at(size);
    let Ok(replacements) = std::str::from_utf8(replacements) else {
        return Err(wrong("replacements that are not UTF-8".to_owned()));
    };
    let units: Vec<u32> = trie.as_chunks::<4>().0.iter().map(|unit| u32::from_le_bytes(*unit)).collect();
    // The first unit is left without a look at what it is.
    for (at, unit) in units.iter().enumerate().filter(|(at, unit)| *at == 0 || *unit & VALUE == 0) {
        let base = at ^ offset(*unit);
        if base | 0xff >= units.len() {
            return Err(wrong(format!("unit {at} leads to unit {} of {}", base | 0xff, units.len())));
        }
        if unit & HAS_VALUE != 0 {
            let value = (units[base] & !VALUE) as usize;
            if !replacements.is_char_boundary(value) {
                return Err(wrong(format!(
                    "unit {at} has the replacement at byte {value} of {}",
                    replacements.len()
                )));
            }
        }
    }
    Ok(())
}

fn offset(unit: u32) -> usize {
    ((unit >> 10) << ((unit & (1 << 9)) >> 6)) as usize
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A table with one rule, `a` to `bc`: unit 0 leads to 0 ^ b'a', and that to the value at `1 ^ b'a'`.
    fn table() -> Vec<u8> {
        let mut units = vec![0u32; 256];
        let a = usize::from(b'a');
        // Offset 1: the value lies at a ^ 1.
        units[a] = u32::from(b'a') | HAS_VALUE | 1 << 10;
        units[a ^ 1] = VALUE | 2;
        encode(&units, b"x\0bc\0")
    }

    fn encode(units: &[u32], replacements: &[u8]) -> Vec<u8> {
        let mut bytes = (4 * units.len() as u32).to_le_bytes().to_vec();
        bytes.extend(units.iter().flat_map(|unit| unit.to_le_bytes()));
        bytes.extend_from_slice(replacements);
        bytes
    }

    #[test]
    fn a_checked_table_is_what_the_crate_reads() {
        let table = table();
        assert_eq!(check(&table), Ok(()));
        let rules =
            tokenizers::normalizers::Precompiled::from(&table).unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(rules.transform("a"), Some("bc"));
        assert_eq!(rules.transform("b"), None);
    }

    #[test]
    fn tables_that_lead_out_are_refused() {
        let message = |table: &[u8]| check(table).err().map(|error| error.to_string()).unwrap_or_default();
        let short = encode(&[0; 255], b"");
        let far = encode(&[1 << 10 << 8; 256], b"");
        let mut root = vec![0; 256];
        root[0] = VALUE;
        let root = encode(&root, b"");
        let mut late = table();
        late[4 + 4 * (usize::from(b'a') ^ 1)] = 200;
        let cases: [(&[u8], &str); 8] = [
            (b"", "precompiled_charsmap: 0 bytes, wanted at least 4"),
            (&[0; 4], "precompiled_charsmap: a trie of 0 bytes in 0"),
            (&[0xff; 8], "precompiled_charsmap: a trie of 4294967295 bytes in 4"),
            (&[4, 0, 0, 0, 0, 0, 0, 0, 0xff], "precompiled_charsmap: replacements that are not UTF-8"),
            (&short, "precompiled_charsmap: unit 0 leads to unit 255 of 255"),
            (&far, "precompiled_charsmap: unit 0 leads to unit 511 of 256"),
            (&root, "precompiled_charsmap: unit 0 leads to unit 2097407 of 256"),
            (&late, "precompiled_charsmap: unit 97 has the replacement at byte 200 of 5"),
        ];
        for (table, expected) in cases {
            assert_eq!(message(table), expected);
        }
    }
}
