//! The values of a GGUF file's metadata.

use super::read::{Cursor, Malformed};

/// The number of the type `ARRAY`.
const ARRAY: u32 = 9;

/// Defines the values and the arrays from one table: name, Rust type, number in the file.
macro_rules! kinds {
    ($($(#[$doc:meta])* $name:ident($type:ty) = $number:literal;)*) => {
        /// A value of a GGUF file's metadata.
        #[derive(Clone, Debug, PartialEq)]
        pub enum GgufValue {
            $($(#[$doc])* $name($type),)*
            /// Values of one type.
            Array(GgufArray),
        }

        /// An array in a GGUF file's metadata. ggml has no arrays of arrays.
        #[derive(Clone, Debug, PartialEq)]
        pub enum GgufArray {
            $($(#[$doc])* $name(Vec<$type>),)*
        }

        impl GgufValue {
            /// Appends the type and the value.
            pub(super) fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$name(value) => {
                        put_number(out, $number);
                        value.put(out);
                    })*
                    Self::Array(array) => {
                        put_number(out, ARRAY);
                        array.put(out);
                    }
                }
            }

            /// Reads a type and its value.
            pub(super) fn take(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
                match u32::take(cursor)? {
                    $($number => <$type>::take(cursor).map(Self::$name),)*
                    ARRAY => GgufArray::take(cursor).map(Self::Array),
                    other => Err(cursor.error(format!("a value of type {other}"))),
                }
            }
        }

        impl GgufArray {
            fn put(&self, out: &mut Vec<u8>) {
                match self {
                    $(Self::$name(items) => {
                        put_number(out, $number);
                        (items.len() as u64).put(out);
                        items.iter().for_each(|item| item.put(out));
                    })*
                }
            }

            fn take(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
                let kind = u32::take(cursor)?;
                let count = u64::take(cursor)?;
                match kind {
                    $($number => items(cursor, count).map(Self::$name),)*
                    other => Err(cursor.error(format!("an array of type {other}"))),
                }
            }

            /// How many items there are.
            pub fn len(&self) -> usize {
                match self {
                    $(Self::$name(items) => items.len(),)*
                }
            }
        }
    };
}

kinds! {
    /// Unsigned, 1 byte.
    U8(u8) = 0;
    /// Signed, 1 byte.
    I8(i8) = 1;
    /// Unsigned, 2 bytes.
    U16(u16) = 2;
    /// Signed, 2 bytes.
    I16(i16) = 3;
    /// Unsigned, 4 bytes.
    U32(u32) = 4;
    /// Signed, 4 bytes.
    I32(i32) = 5;
    /// IEEE single precision.
    F32(f32) = 6;
    /// One byte, 0 or 1.
    Bool(bool) = 7;
    /// UTF-8.
    String(String) = 8;
    /// Unsigned, 8 bytes.
    U64(u64) = 10;
    /// Signed, 8 bytes.
    I64(i64) = 11;
    /// IEEE double precision.
    F64(f64) = 12;
}

impl GgufArray {
    /// Whether there are no items.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

impl From<&str> for GgufValue {
    fn from(text: &str) -> Self {
        Self::String(text.to_owned())
    }
}

fn put_number(out: &mut Vec<u8>, number: u32) {
    number.put(out);
}

/// Nothing is set aside for what `count` claims: a lie ends at the end of the file.
fn items<T: Item>(cursor: &mut Cursor<'_>, count: u64) -> Result<Vec<T>, Malformed> {
    (0..count).map(|_| T::take(cursor)).collect()
}

/// What a value is made of.
pub(super) trait Item: Sized {
    fn put(&self, out: &mut Vec<u8>);
    fn take(cursor: &mut Cursor<'_>) -> Result<Self, Malformed>;
}

macro_rules! numbers {
    ($($type:ty),*) => {$(
        impl Item for $type {
            fn put(&self, out: &mut Vec<u8>) {
                out.extend_from_slice(&self.to_le_bytes());
            }

            fn take(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
                cursor.array().map(<$type>::from_le_bytes)
            }
        }
    )*};
}

numbers!(u8, i8, u16, i16, u32, i32, u64, i64, f32, f64);

impl Item for bool {
    fn put(&self, out: &mut Vec<u8>) {
        out.push(u8::from(*self));
    }

    fn take(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        match u8::take(cursor)? {
            0 => Ok(false),
            1 => Ok(true),
            other => Err(cursor.error(format!("a truth value of {other}"))),
        }
    }
}

impl Item for String {
    fn put(&self, out: &mut Vec<u8>) {
        (self.len() as u64).put(out);
        out.extend_from_slice(self.as_bytes());
    }

    fn take(cursor: &mut Cursor<'_>) -> Result<Self, Malformed> {
        let length = u64::take(cursor)?;
        let bytes = cursor.take(length)?;
        match std::str::from_utf8(bytes) {
            Ok(text) => Ok(text.to_owned()),
            Err(_) => Err(cursor.error("text that is not UTF-8")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn bytes(value: &GgufValue) -> Vec<u8> {
        let mut out = Vec::new();
        value.put(&mut out);
        out
    }

    #[test]
    fn every_value_comes_back() {
        let values = [
            GgufValue::U8(200),
            GgufValue::I8(-2),
            GgufValue::U16(60_000),
            GgufValue::I16(-3),
            GgufValue::U32(1 << 31),
            GgufValue::I32(-4),
            GgufValue::F32(1.5),
            GgufValue::Bool(true),
            GgufValue::from("▁a"),
            GgufValue::U64(u64::MAX),
            GgufValue::I64(i64::MIN),
            GgufValue::F64(-0.25),
            GgufValue::Array(GgufArray::String(vec!["a".to_owned(), String::new()])),
            GgufValue::Array(GgufArray::F32(vec![0.5, -1000.0])),
            GgufValue::Array(GgufArray::Bool(Vec::new())),
        ];
        for value in values {
            let bytes = bytes(&value);
            let mut cursor = Cursor::new(&bytes);
            assert_eq!(GgufValue::take(&mut cursor), Ok(value));
            assert_eq!(cursor.rest(), 0);
            for end in 0..bytes.len() {
                assert!(GgufValue::take(&mut Cursor::new(&bytes[..end])).is_err());
            }
        }
        assert_eq!(bytes(&GgufValue::from("ab")), [8, 0, 0, 0, 2, 0, 0, 0, 0, 0, 0, 0, b'a', b'b']);
        let array = GgufValue::Array(GgufArray::I32(vec![-1]));
        assert_eq!(bytes(&array), [9, 0, 0, 0, 5, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255]);
    }

    #[test]
    fn lies_are_named() {
        let error =
            |bytes: &[u8]| GgufValue::take(&mut Cursor::new(bytes)).err().map(|error| error.to_string());
        assert_eq!(error(&[13, 0, 0, 0]).as_deref(), Some("byte 4: a value of type 13"));
        let nested = [9, 0, 0, 0, 9, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0];
        assert_eq!(error(&nested).as_deref(), Some("byte 16: an array of type 9"));
        let endless = [9, 0, 0, 0, 0, 0, 0, 0, 255, 255, 255, 255, 255, 255, 255, 255, 1];
        let cut = "byte 17: 1 bytes wanted, 0 left (is the file cut off?)";
        assert_eq!(error(&endless).as_deref(), Some(cut));
        assert_eq!(error(&[7, 0, 0, 0, 2]).as_deref(), Some("byte 5: a truth value of 2"));
        let text = [8, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 255];
        assert_eq!(error(&text).as_deref(), Some("byte 13: text that is not UTF-8"));
    }
}
