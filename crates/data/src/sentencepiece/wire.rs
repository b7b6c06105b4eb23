//! Protocol Buffers' wire format, read from bytes that nobody vouches for.
//!
//! A message is a run of fields: a varint `number << 3 | wire type`, then a varint, 4 or 8 bytes, or a length and as
//! many bytes (protobuf.dev/programming-guides/encoding). Nothing is allocated for what a length claims.

use std::fmt;

/// What is wrong with a file, and where.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Malformed(String);

impl Malformed {
    pub(super) fn new(message: impl Into<String>) -> Self {
        Self(message.into())
    }
}

impl fmt::Display for Malformed {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// The fields of a message, in the order of the file. Ends after the first error.
#[derive(Debug)]
pub(super) struct Message<'a> {
    bytes: &'a [u8],
    /// Where `bytes` begin in the file.
    start: usize,
    cursor: usize,
}

/// One field.
#[derive(Debug)]
pub(super) struct Field<'a> {
    pub(super) number: u64,
    value: Value<'a>,
    /// Where its value ends in the file.
    end: usize,
}

#[derive(Debug)]
enum Value<'a> {
    Varint(u64),
    Fixed32([u8; 4]),
    Fixed64,
    Bytes(&'a [u8]),
}

impl<'a> Message<'a> {
    /// The message that is a whole file.
    pub(super) fn new(bytes: &'a [u8]) -> Self {
        Self { bytes, start: 0, cursor: 0 }
    }

    fn field(&mut self) -> Result<Field<'a>, Malformed> {
        let at = self.start + self.cursor;
        let key = self.varint()?;
        let (number, wire_type) = (key >> 3, key & 7);
        if number == 0 {
            return Err(Malformed::new(format!("byte {at}: a field with the number 0")));
        }
        let value = match wire_type {
            0 => Value::Varint(self.varint()?),
            1 => {
                self.take(8)?;
                Value::Fixed64
            }
            2 => {
                let length = self.varint()?;
                Value::Bytes(self.take(length)?)
            }
            5 => {
                let mut bytes = [0; 4];
                bytes.copy_from_slice(self.take(4)?);
                Value::Fixed32(bytes)
            }
            other => {
                return Err(Malformed::new(format!("byte {at}: field {number} has the wire type {other}")));
            }
        };
        Ok(Field { number, value, end: self.start + self.cursor })
    }

    fn varint(&mut self) -> Result<u64, Malformed> {
        let at = self.start + self.cursor;
        let mut value = 0;
        for shift in (0..64).step_by(7) {
            let byte = self.take(1)?[0];
            let bits = u64::from(byte & 0x7f);
            // The tenth byte has room for one bit.
            if shift == 63 && bits > 1 {
                break;
            }
            value |= bits << shift;
            if byte & 0x80 == 0 {
                return Ok(value);
            }
        }
        Err(Malformed::new(format!("byte {at}: a number of more than 64 bits")))
    }

    fn take(&mut self, length: u64) -> Result<&'a [u8], Malformed> {
        let rest = &self.bytes[self.cursor..];
        match usize::try_from(length).ok().and_then(|length| rest.get(..length)) {
            Some(taken) => {
                self.cursor += taken.len();
                Ok(taken)
            }
            None => Err(Malformed::new(format!(
                "byte {}: {length} bytes wanted, {} left (is the file cut off?)",
                self.start + self.cursor,
                rest.len()
            ))),
        }
    }
}

impl<'a> Iterator for Message<'a> {
    type Item = Result<Field<'a>, Malformed>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.cursor == self.bytes.len() {
            return None;
        }
        let field = self.field();
        if field.is_err() {
            self.cursor = self.bytes.len();
        }
        Some(field)
    }
}

impl<'a> Field<'a> {
    /// A `bytes` field.
    pub(super) fn bytes(&self) -> Result<&'a [u8], Malformed> {
        match self.value {
            Value::Bytes(bytes) => Ok(bytes),
            _ => Err(self.wrong("bytes")),
        }
    }

    /// A `string` field.
    pub(super) fn text(&self) -> Result<&'a str, Malformed> {
        let bytes = self.bytes()?;
        std::str::from_utf8(bytes).map_err(|error| {
            let at = self.end - bytes.len() + error.valid_up_to();
            Malformed::new(format!("byte {at}: field {} is not UTF-8", self.number))
        })
    }

    /// A field that is a message.
    pub(super) fn message(&self) -> Result<Message<'a>, Malformed> {
        let bytes = self.bytes()?;
        Ok(Message { bytes, start: self.end - bytes.len(), cursor: 0 })
    }

    /// A `float` field.
    pub(super) fn float(&self) -> Result<f32, Malformed> {
        match self.value {
            Value::Fixed32(bytes) => Ok(f32::from_le_bytes(bytes)),
            _ => Err(self.wrong("a float")),
        }
    }

    /// A `bool` or an enumeration.
    pub(super) fn varint(&self) -> Result<u64, Malformed> {
        match self.value {
            Value::Varint(value) => Ok(value),
            _ => Err(self.wrong("a number")),
        }
    }

    fn wrong(&self, wanted: &str) -> Malformed {
        let found = match self.value {
            Value::Varint(_) => "a number",
            Value::Fixed32(_) => "a float",
            Value::Fixed64 => "8 bytes",
            Value::Bytes(_) => "bytes",
        };
        Malformed::new(format!("byte {}: field {} holds {found}, wanted {wanted}", self.end, self.number))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn errors(bytes: &[u8]) -> Vec<String> {
        Message::new(bytes).filter_map(|field| field.err().map(|error| error.to_string())).collect()
    }

    #[test]
    fn fields_of_every_kind_are_read() {
        // 1: 300; 2: "hé"; 3: 1.5; 4: 8 bytes; 5: a message with 1: 0.
        let bytes = [
            0x08, 0xac, 0x02, 0x12, 3, b'h', 0xc3, 0xa9, 0x1d, 0, 0, 0xc0, 0x3f, 0x21, 1, 2, 3, 4, 5, 6, 7,
            8, 0x2a, 2, 0x08, 0,
        ];
        let fields: Vec<Field<'_>> =
            Message::new(&bytes).map(|field| field.unwrap_or_else(|error| panic!("{error}"))).collect();
        assert_eq!(fields.iter().map(|field| field.number).collect::<Vec<_>>(), [1, 2, 3, 4, 5]);
        assert_eq!(fields[0].varint(), Ok(300));
        assert_eq!(fields[1].text(), Ok("hé"));
        assert_eq!(fields[2].float(), Ok(1.5));
        let inner = fields[4].message().unwrap_or_else(|error| panic!("{error}"));
        assert_eq!(inner.count(), 1);
        assert_eq!(Message::new(&[]).count(), 0);
    }

    #[test]
    fn lies_are_named() {
        #[rustfmt::skip]
        let cases: &[(&[u8], &str)] = &[
            (&[0x08], "byte 1: 1 bytes wanted, 0 left (is the file cut off?)"),
            (&[0x08, 0xff], "byte 2: 1 bytes wanted, 0 left (is the file cut off?)"),
            (&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x02], "byte 1: a number of more than 64 bits"),
            (&[0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x80, 0x00], "byte 1: a number of more than 64 bits"),
            (&[0x0a, 0x05, b'a'], "byte 2: 5 bytes wanted, 1 left (is the file cut off?)"),
            (&[0x0a, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01],
             "byte 11: 18446744073709551615 bytes wanted, 0 left (is the file cut off?)"),
            (&[0x0d, 0, 0], "byte 1: 4 bytes wanted, 2 left (is the file cut off?)"),
            (&[0x0b], "byte 0: field 1 has the wire type 3"),
            (&[0x00, 0x00], "byte 0: a field with the number 0"),
        ];
        for (bytes, expected) in cases {
            assert_eq!(errors(bytes), [*expected], "{bytes:?}");
        }
        let largest = [0x08, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0x01];
        let field = Message::new(&largest).next().and_then(Result::ok);
        assert_eq!(field.map(|field| field.varint()), Some(Ok(u64::MAX)));
    }

    #[test]
    fn values_of_another_type_are_named() {
        let bytes = [0x08, 1, 0x12, 2, b'a', 0xff];
        let fields: Vec<Field<'_>> = Message::new(&bytes).filter_map(Result::ok).collect();
        let messages = [
            fields[0].text().map(|_| ()),
            fields[0].float().map(|_| ()),
            fields[1].varint().map(|_| ()),
            fields[1].text().map(|_| ()),
        ];
        let messages = messages.map(|result| result.err().map(|error| error.to_string()).unwrap_or_default());
        assert_eq!(messages[0], "byte 2: field 1 holds a number, wanted bytes");
        assert_eq!(messages[1], "byte 2: field 1 holds a number, wanted a float");
        assert_eq!(messages[2], "byte 6: field 2 holds bytes, wanted a number");
        assert_eq!(messages[3], "byte 5: field 2 is not UTF-8");
    }
}
