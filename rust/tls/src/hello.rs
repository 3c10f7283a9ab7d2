//! The server name of a ClientHello, read before any TLS state exists (RFC 8446, section 4.1.2; RFC 6066).

/// What the first bytes of a connection say.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Sni {
    /// The ClientHello names this host.
    Name(String),
    /// A whole ClientHello that names none.
    Absent,
    /// More bytes are needed.
    Incomplete,
    /// Not a ClientHello that this node accepts.
    Invalid,
}

/// Longest ClientHello that is looked at, bytes of handshake message.
pub const MAX_HELLO: usize = 16 << 10;

enum Stop {
    Short,
    Bad,
}

struct Cursor<'a>(&'a [u8]);

impl<'a> Cursor<'a> {
    fn take(&mut self, n: usize) -> Option<&'a [u8]> {
        let (head, tail) = self.0.split_at_checked(n)?;
        self.0 = tail;
        Some(head)
    }

    fn number(&mut self, width: usize) -> Option<usize> {
        Some(
            self.take(width)?
                .iter()
                .fold(0, |n, b| n << 8 | usize::from(*b)),
        )
    }

    fn vector(&mut self, width: usize) -> Option<Cursor<'a>> {
        let n = self.number(width)?;
        self.take(n).map(Cursor)
    }
}

/// Joins the handshake bytes of the leading TLS records until the ClientHello is whole.
fn handshake(bytes: &[u8]) -> Result<Vec<u8>, Stop> {
    let mut records = Cursor(bytes);
    let mut message = Vec::new();
    loop {
        if message.len() >= 4 {
            let length = usize::from(message[1]) << 16
                | usize::from(message[2]) << 8
                | usize::from(message[3]);
            if message[0] != 1 || length > MAX_HELLO {
                return Err(Stop::Bad);
            }
            if message.len() >= 4 + length {
                message.truncate(4 + length);
                return Ok(message);
            }
        }
        if records.0.first().is_some_and(|kind| *kind != 22)
            || records.0.get(1).is_some_and(|major| *major != 3)
        {
            return Err(Stop::Bad);
        }
        let header = records.take(5).ok_or(Stop::Short)?;
        let length = usize::from(header[3]) << 8 | usize::from(header[4]);
        if length == 0 || length > MAX_HELLO {
            return Err(Stop::Bad);
        }
        message.extend_from_slice(records.take(length).ok_or(Stop::Short)?);
    }
}

fn name_in(message: &[u8]) -> Option<Option<String>> {
    let mut hello = Cursor(message);
    hello.take(4 + 2 + 32)?;
    hello.vector(1)?;
    hello.vector(2)?;
    hello.vector(1)?;
    let mut extensions = hello.vector(2)?;
    if !hello.0.is_empty() {
        return None;
    }
    let mut found = None;
    while !extensions.0.is_empty() {
        let kind = extensions.number(2)?;
        let mut body = extensions.vector(2)?;
        if kind == 0 {
            let mut list = body.vector(2)?;
            let host = list.number(1)?;
            let name = list.vector(2)?;
            let plain = |b: &u8| b.is_ascii_alphanumeric() || matches!(b, b'.' | b'-');
            if host != 0
                || !list.0.is_empty()
                || !body.0.is_empty()
                || found.is_some()
                || name.0.is_empty()
                || name.0.len() > 255
                || !name.0.iter().all(plain)
            {
                return None;
            }
            found = Some(String::from_utf8_lossy(name.0).to_ascii_lowercase());
        }
    }
    Some(found)
}

/// Reads the server name from the first bytes that a client sent.
pub fn sni_of_client_hello(bytes: &[u8]) -> Sni {
    match handshake(bytes) {
        Err(Stop::Short) if bytes.len() > 2 * MAX_HELLO => Sni::Invalid,
        Err(Stop::Short) => Sni::Incomplete,
        Err(Stop::Bad) => Sni::Invalid,
        Ok(message) => match name_in(&message) {
            None => Sni::Invalid,
            Some(None) => Sni::Absent,
            Some(Some(name)) => Sni::Name(name),
        },
    }
}
