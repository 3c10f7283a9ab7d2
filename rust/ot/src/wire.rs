//! Messages between the halves of a protocol: a type byte and a part of a body whose whole length both sides know.

use crate::Refusal;

/// Most bytes of one message.
pub const MAX_MESSAGE: usize = 1 << 20;
const PART: usize = MAX_MESSAGE - 1;

/// A body that leaves in messages.
#[derive(Default)]
pub(crate) struct Outbox {
    kind: u8,
    body: Vec<u8>,
    sent: usize,
}

impl Outbox {
    /// Puts a body, not empty, in after the one before has left.
    pub(crate) fn put(&mut self, kind: u8, body: Vec<u8>) {
        debug_assert!(self.is_empty() && !body.is_empty());
        *self = Self {
            kind,
            body,
            sent: 0,
        };
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.sent == self.body.len()
    }

    pub(crate) fn next(&mut self) -> Option<Vec<u8>> {
        let part = &self.body[self.sent..];
        let part = &part[..part.len().min(PART)];
        if part.is_empty() {
            return None;
        }
        self.sent += part.len();
        Some([&[self.kind], part].concat())
    }
}

/// Lengths of the messages that a body of `length` bytes, at least one, leaves in.
pub(crate) fn lengths(length: usize) -> Vec<usize> {
    let whole = vec![MAX_MESSAGE; length / PART];
    let rest = (!length.is_multiple_of(PART)).then_some(length % PART + 1);
    whole.into_iter().chain(rest).collect()
}

/// A body that arrives in messages.
pub(crate) struct Inbox {
    kind: u8,
    length: usize,
    body: Vec<u8>,
}

impl Inbox {
    /// Waits for a body of `length` bytes, at least one.
    pub(crate) fn new(kind: u8, length: usize) -> Self {
        Self {
            kind,
            length,
            body: Vec::new(),
        }
    }

    /// Takes the next message; the whole body when it is there.
    pub(crate) fn take(&mut self, bytes: &[u8]) -> Result<Option<Vec<u8>>, Refusal> {
        let Some((kind, part)) = bytes.split_first() else {
            return Err(Refusal::protocol("a message is empty"));
        };
        if *kind != self.kind {
            return Err(Refusal::protocol(format!(
                "a message of type {kind} where one of type {} is due",
                self.kind
            )));
        }
        if part.len() != (self.length - self.body.len()).min(PART) {
            return Err(Refusal::protocol(
                "a message has another length than is due",
            ));
        }
        self.body.extend_from_slice(part);
        Ok((self.body.len() == self.length).then(|| std::mem::take(&mut self.body)))
    }
}

/// Splits values off the front of a body whose length was checked.
pub(crate) struct Reader<'a>(pub(crate) &'a [u8]);

impl<'a> Reader<'a> {
    pub(crate) fn bytes(&mut self, count: usize) -> Result<&'a [u8], Refusal> {
        let (now, later) = (self.0)
            .split_at_checked(count)
            .ok_or_else(|| Refusal::protocol("a message is too short"))?;
        self.0 = later;
        Ok(now)
    }

    pub(crate) fn value(&mut self) -> Result<u128, Refusal> {
        let bytes = self.bytes(16)?;
        Ok(u128::from_le_bytes(std::array::from_fn(|i| bytes[i])))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn bodies_of_all_lengths_come_through() {
        for length in [1, PART - 1, PART, PART + 1, 3 * PART + 5] {
            let body: Vec<u8> = (0..length).map(|i| i as u8).collect();
            let (mut out, mut inbox) = (Outbox::default(), Inbox::new(7, length));
            out.put(7, body.clone());
            let mut got = None;
            let mut lengths = lengths(length).into_iter();
            while let Some(message) = out.next() {
                assert_eq!(lengths.next(), Some(message.len()));
                assert!(message.len() <= MAX_MESSAGE && got.is_none());
                got = inbox.take(&message).unwrap();
            }
            assert_eq!(got, Some(body));
        }
    }

    #[test]
    fn other_types_and_lengths_are_refused() {
        let mut inbox = Inbox::new(7, PART + 2);
        for bad in [
            &[][..],
            &[7],
            &[7, 1, 2],
            &[8; MAX_MESSAGE],
            &[7; MAX_MESSAGE + 1],
        ] {
            assert_eq!(inbox.take(bad).unwrap_err().code, "E_PROTOCOL");
        }
        assert_eq!(inbox.take(&[7; MAX_MESSAGE]), Ok(None));
        assert!(inbox.take(&[7; MAX_MESSAGE]).is_err());
    }
}
