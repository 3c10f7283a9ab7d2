//! The CBOR that control messages may carry: plain data in deterministic form (RFC 8949, section 4.2.1).

use crate::WireError;

/// Deepest nesting of arrays and maps.
pub const MAX_DEPTH: usize = 16;

struct Scanner<'a> {
    bytes: &'a [u8],
    at: usize,
}

impl<'a> Scanner<'a> {
    fn take(&mut self, n: u64) -> Result<&'a [u8], WireError> {
        let short = WireError::Malformed("the body is truncated");
        let n = usize::try_from(n).map_err(|_| short.clone())?;
        let end = self
            .at
            .checked_add(n)
            .filter(|end| *end <= self.bytes.len())
            .ok_or(short)?;
        let out = &self.bytes[self.at..end];
        self.at = end;
        Ok(out)
    }

    /// Major type and argument, in the shortest form.
    fn head(&mut self) -> Result<(u8, u64), WireError> {
        let first = self.take(1)?[0];
        let (major, info) = (first >> 5, first & 31);
        if major == 7 {
            return match info {
                20..=22 => Ok((7, u64::from(info))),
                _ => Err(WireError::Malformed(
                    "floats and other simple values are not allowed",
                )),
            };
        }
        let (value, least) = match info {
            0..=23 => (u64::from(info), 0),
            24..=27 => {
                let bytes = self.take(1 << (info - 24))?;
                let value = bytes.iter().fold(0u64, |n, b| n << 8 | u64::from(*b));
                (
                    value,
                    [24, 1 << 8, 1 << 16, 1 << 32][usize::from(info - 24)],
                )
            }
            _ => return Err(WireError::Malformed("indefinite lengths are not allowed")),
        };
        if value < least {
            return Err(WireError::Malformed("a number is not in its shortest form"));
        }
        Ok((major, value))
    }

    fn text(&mut self, length: u64) -> Result<(), WireError> {
        std::str::from_utf8(self.take(length)?)
            .map(|_| ())
            .map_err(|_| WireError::Malformed("a text is not UTF-8"))
    }

    fn item(&mut self, depth: usize) -> Result<(), WireError> {
        if depth > MAX_DEPTH {
            return Err(WireError::Malformed("the body is nested too deeply"));
        }
        let (major, argument) = self.head()?;
        match major {
            0 | 1 | 7 => Ok(()),
            2 => self.take(argument).map(|_| ()),
            3 => self.text(argument),
            4 => (0..argument).try_for_each(|_| self.item(depth + 1)),
            5 => {
                let mut before: &[u8] = &[];
                for _ in 0..argument {
                    let start = self.at;
                    let (major, length) = self.head()?;
                    if major != 3 {
                        return Err(WireError::Malformed("map keys are texts"));
                    }
                    self.text(length)?;
                    let key = &self.bytes[start..self.at];
                    if key <= before {
                        return Err(WireError::Malformed("map keys are not in order, or double"));
                    }
                    before = key;
                    self.item(depth + 1)?;
                }
                Ok(())
            }
            _ => Err(WireError::Malformed("tags are not allowed")),
        }
    }
}

/// Refuses everything but one item of plain data: maps with text keys, arrays, texts, bytes, 64-bit integers,
/// booleans and null, in deterministic form, nested at most [`MAX_DEPTH`] deep, with nothing behind it.
pub fn check_body(bytes: &[u8]) -> Result<(), WireError> {
    let mut scanner = Scanner { bytes, at: 0 };
    scanner.item(0)?;
    if scanner.at != bytes.len() {
        return Err(WireError::Malformed("bytes follow the body"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn plain_data_passes_and_everything_else_is_refused() {
        let good: [&[u8]; 6] = [
            b"\x00",
            b"\x1b\xff\xff\xff\xff\xff\xff\xff\xff",
            b"\xa2\x61a\x01\x61b\x82\xf5\xf6",
            b"\x43abc",
            b"\x80",
            b"\xa0",
        ];
        good.iter().for_each(|bytes| check_body(bytes).unwrap());
        let bad: [&[u8]; 14] = [
            b"",
            b"\x00\x00",
            b"\x18\x17",
            b"\x19\x00\xff",
            b"\xf9\x3c\x00",
            b"\xf7",
            b"\xc0\x61a",
            b"\x9f\xff",
            b"\x5f\xff",
            b"\xa2\x61b\x01\x61a\x01",
            b"\xa2\x61a\x01\x61a\x01",
            b"\xa1\x01\x01",
            b"\x61\xff",
            b"\x9b\xff\xff\xff\xff\xff\xff\xff\xff",
        ];
        bad.iter()
            .for_each(|bytes| assert!(check_body(bytes).is_err(), "{bytes:x?}"));
        let deep = |n: usize| [vec![0x81; n], vec![0]].concat();
        check_body(&deep(MAX_DEPTH)).unwrap();
        assert!(check_body(&deep(MAX_DEPTH + 1)).is_err());
    }
}
