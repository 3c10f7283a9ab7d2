//! Canonical JSON (RFC 8785) of values without floats.
//!
//! The RFC asks for no whitespace, the shortest escapes, ECMAScript's numbers and ordered keys. The compact form
//! of serde_json has the first two, and an integer within 2^53 is written in one way by everyone; so what is left
//! to see to is the order of the keys. Reading takes one pass: each piece is written again as soon as it is
//! parsed and must be the bytes that stand there, so that a hostile document costs no memory beyond its values.

use std::borrow::Cow;
use std::cmp::Ordering;
use std::fmt::{self, Display};
use std::io;

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::ser::{CompactFormatter, Formatter};

/// Most arrays and objects inside each other. The parser's own limit is above it.
pub const MAX_DEPTH: usize = 100;
/// Largest integer, and the negative of the smallest.
pub const MAX_INTEGER: i64 = (1 << 53) - 1;

/// Why a float is refused.
pub const FLOAT: &str = "floats are not allowed in signed documents";
/// Why a large integer is refused.
pub const INTEGER: &str = "integers beyond 2^53 are written as strings";

/// Longest part of a key that a refusal shows, characters.
const SHOWN: usize = 80;

/// Order of the keys of an object: by UTF-16 code units (section 3.2.3).
pub fn key_order(a: &str, b: &str) -> Ordering {
    a.encode_utf16().cmp(b.encode_utf16())
}

#[derive(Clone, Copy)]
enum Step<'a> {
    Key(&'a str),
    Index(usize),
}

/// Where a value stands in its document. Shown as `$.rows[3]`.
#[derive(Clone, Copy)]
pub struct Place<'a> {
    above: Option<(&'a Place<'a>, Step<'a>)>,
    depth: usize,
}

impl<'a> Place<'a> {
    /// The document itself.
    pub const ROOT: Place<'static> = Place {
        above: None,
        depth: 0,
    };

    /// The value under `key` of the object that stands here.
    pub fn key(&'a self, key: &'a str) -> Self {
        self.below(Step::Key(key))
    }

    /// The item at `index` of the list that stands here.
    pub fn index(&'a self, index: usize) -> Self {
        self.below(Step::Index(index))
    }

    fn below(&'a self, step: Step<'a>) -> Self {
        Place {
            above: Some((self, step)),
            depth: self.depth + 1,
        }
    }

    /// A refusal of what stands here.
    pub fn refusal(&self, why: impl Display) -> String {
        format!("{self}: {why}")
    }

    /// Refuses a list or an object that would stand too deep.
    pub fn open(&self) -> Result<(), String> {
        if self.depth < MAX_DEPTH {
            return Ok(());
        }
        Err(self.refusal(format_args!(
            "more than {MAX_DEPTH} lists and objects inside each other"
        )))
    }

    /// A refusal of an object that stands here and has `key` more than once.
    pub fn twice(&self, key: &str) -> String {
        self.refusal(format_args!("the key \"{}\" stands twice", shown(key)))
    }

    /// Refuses an integer that not every reader of JSON reads exactly.
    pub fn integer(&self, value: i64) -> Result<i64, String> {
        if (-MAX_INTEGER..=MAX_INTEGER).contains(&value) {
            return Ok(value);
        }
        Err(self.refusal(INTEGER))
    }
}

impl Display for Place<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Some((above, step)) = self.above else {
            return f.write_str("$");
        };
        above.fmt(f)?;
        match step {
            Step::Key(key) => write!(f, ".{}", shown(key)),
            Step::Index(index) => write!(f, "[{index}]"),
        }
    }
}

/// The beginning of a key without control characters: a peer may have written it, and a terminal may show it.
fn shown(key: &str) -> String {
    let (head, more) = match key.char_indices().nth(SHOWN) {
        Some((end, _)) => (&key[..end], "…"),
        None => (key, ""),
    };
    format!("{}{more}", head.escape_debug())
}

/// Makes values out of what [`read`] finds. `()` makes nothing: then reading is a check.
pub trait Build {
    /// A finished value.
    type Value;
    /// Why a list or an object could not be made.
    type Error: Display;

    /// `null`.
    fn null(&self) -> Self::Value;
    /// `true` or `false`.
    fn boolean(&self, value: bool) -> Self::Value;
    /// A number.
    fn integer(&self, value: i64) -> Self::Value;
    /// A text, or the key of an object.
    fn text(&self, value: &str) -> Self::Value;
    /// A list.
    fn list(&self, items: Vec<Self::Value>) -> Result<Self::Value, Self::Error>;
    /// An object: its keys, each once, with their values.
    fn object(&self, items: Vec<(Self::Value, Self::Value)>) -> Result<Self::Value, Self::Error>;
}

impl Build for () {
    type Value = ();
    type Error = std::convert::Infallible;

    fn null(&self) {}
    fn boolean(&self, _: bool) {}
    fn integer(&self, _: i64) {}
    fn text(&self, _: &str) {}
    fn list(&self, _: Vec<()>) -> Result<(), Self::Error> {
        Ok(())
    }
    fn object(&self, _: Vec<((), ())>) -> Result<(), Self::Error> {
        Ok(())
    }
}

/// The value of `data`, if `data` are the canonical bytes of a value; else the reason why not.
pub fn read<B: Build>(data: &[u8], build: &B) -> Result<B::Value, String> {
    let mut reading = Reading {
        left: data,
        cut: false,
        refusal: None,
    };
    let mut parser = serde_json::Deserializer::from_slice(data);
    let seed = Seed {
        build,
        reading: &mut reading,
        place: Place::ROOT,
        item: None,
    };
    let found = seed
        .deserialize(&mut parser)
        .and_then(|value| parser.end().map(|()| value));
    let at = data.len() - reading.left.len();
    match (found, reading.refusal) {
        (Ok(value), None) if reading.left.is_empty() && !reading.cut => Ok(value),
        (Ok(_), None) => Err(not_canonical(at)),
        (_, Some(Refusal::Rule(text))) => Err(text),
        (_, Some(Refusal::Bytes(same))) => Err(not_canonical(at + same)),
        (Err(error), None) => Err(format!("not a JSON document: {error}")),
    }
}

fn not_canonical(at: usize) -> String {
    format!("the document is not in canonical form (RFC 8785) at byte {at}")
}

enum Refusal {
    /// A rule of this module.
    Rule(String),
    /// The canonical bytes are others after so many more that are the same.
    Bytes(usize),
}

/// Takes the canonical bytes of what was parsed so far, and compares them with those that stand there.
struct Reading<'d> {
    left: &'d [u8],
    /// The document ends within a piece; the parser has the words for it.
    cut: bool,
    refusal: Option<Refusal>,
}

impl io::Write for Reading<'_> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if let Some(left) = self.left.strip_prefix(bytes) {
            self.left = left;
        } else if bytes.starts_with(self.left) {
            self.left = &[];
            self.cut = true;
        } else {
            let pairs = self.left.iter().zip(bytes);
            self.refusal = Some(Refusal::Bytes(pairs.take_while(|(a, b)| a == b).count()));
            return Err(io::ErrorKind::InvalidData.into());
        }
        Ok(bytes.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

impl Reading<'_> {
    fn rule<T, E: Error>(&mut self, checked: Result<T, String>) -> Result<T, E> {
        checked.map_err(|text| {
            self.refusal = Some(Refusal::Rule(text));
            E::custom("refused")
        })
    }

    fn expect<E: Error>(
        &mut self,
        write: impl FnOnce(&mut CompactFormatter, &mut Self) -> io::Result<()>,
    ) -> Result<(), E> {
        write(&mut CompactFormatter, self).map_err(E::custom)
    }

    fn expect_text<E: Error>(&mut self, text: &str) -> Result<(), E> {
        serde_json::to_writer(self, text).map_err(E::custom)
    }
}

/// Reads one value.
struct Seed<'a, 'd, B> {
    build: &'a B,
    reading: &'a mut Reading<'d>,
    place: Place<'a>,
    /// Its index, if it is an item of a list.
    item: Option<usize>,
}

impl<'de, B: Build> DeserializeSeed<'de> for Seed<'_, '_, B> {
    type Value = B::Value;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<B::Value, D::Error> {
        if let Some(index) = self.item {
            self.reading
                .expect(|f, w| f.begin_array_value(w, index == 0))?;
        }
        parser.deserialize_any(self)
    }
}

impl<'de, B: Build> Visitor<'de> for Seed<'_, '_, B> {
    type Value = B::Value;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E: Error>(self) -> Result<B::Value, E> {
        self.reading.expect(|f, w| f.write_null(w))?;
        Ok(self.build.null())
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<B::Value, E> {
        self.reading.expect(|f, w| f.write_bool(w, value))?;
        Ok(self.build.boolean(value))
    }

    fn visit_i64<E: Error>(self, value: i64) -> Result<B::Value, E> {
        self.reading.rule(self.place.integer(value))?;
        self.reading.expect(|f, w| f.write_i64(w, value))?;
        Ok(self.build.integer(value))
    }

    fn visit_u64<E: Error>(self, value: u64) -> Result<B::Value, E> {
        self.visit_i64(i64::try_from(value).unwrap_or(i64::MAX))
    }

    /// Floats, and integers beyond 64 bits.
    fn visit_f64<E: Error>(self, value: f64) -> Result<B::Value, E> {
        let large = value.abs() > MAX_INTEGER as f64;
        let why = if large { INTEGER } else { FLOAT };
        self.reading.rule(Err(self.place.refusal(why)))
    }

    fn visit_str<E: Error>(self, value: &str) -> Result<B::Value, E> {
        self.reading.expect_text(value)?;
        Ok(self.build.text(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<B::Value, A::Error> {
        let Seed {
            build,
            reading,
            place,
            ..
        } = self;
        reading.rule(place.open())?;
        reading.expect(|f, w| f.begin_array(w))?;
        let mut found = Vec::new();
        while let Some(value) = items.next_element_seed(Seed {
            build,
            reading,
            place: place.index(found.len()),
            item: Some(found.len()),
        })? {
            found.push(value);
        }
        reading.expect(|f, w| f.end_array(w))?;
        build.list(found).map_err(A::Error::custom)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut items: A) -> Result<B::Value, A::Error> {
        let Seed {
            build,
            reading,
            place,
            ..
        } = self;
        reading.rule(place.open())?;
        reading.expect(|f, w| f.begin_object(w))?;
        let mut found = Vec::new();
        let mut last: Option<Cow<'de, str>> = None;
        while let Some(key) = items.next_key_seed(Key)? {
            reading.rule(in_order(&place, last.as_deref(), &key))?;
            reading.expect(|f, w| f.begin_object_key(w, last.is_none()))?;
            reading.expect_text(&key)?;
            reading.expect(|f, w| f.begin_object_value(w))?;
            let value = items.next_value_seed(Seed {
                build,
                reading,
                place: place.key(&key),
                item: None,
            })?;
            found.push((build.text(&key), value));
            last = Some(key);
        }
        reading.expect(|f, w| f.end_object(w))?;
        build.object(found).map_err(A::Error::custom)
    }
}

fn in_order(place: &Place<'_>, last: Option<&str>, key: &str) -> Result<(), String> {
    match last.map_or(Ordering::Less, |last| key_order(last, key)) {
        Ordering::Less => Ok(()),
        Ordering::Equal => Err(place.twice(key)),
        Ordering::Greater => Err(place.refusal(format_args!(
            "the key \"{}\" is not in canonical order (RFC 8785)",
            shown(key)
        ))),
    }
}

/// Reads the key of an object, from the document's own bytes where it has no escapes.
struct Key;

impl<'de> DeserializeSeed<'de> for Key {
    type Value = Cow<'de, str>;

    fn deserialize<D: Deserializer<'de>>(self, parser: D) -> Result<Cow<'de, str>, D::Error> {
        parser.deserialize_str(self)
    }
}

impl<'de> Visitor<'de> for Key {
    type Value = Cow<'de, str>;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a key")
    }

    fn visit_borrowed_str<E: Error>(self, key: &'de str) -> Result<Cow<'de, str>, E> {
        Ok(key.into())
    }

    fn visit_str<E: Error>(self, key: &str) -> Result<Cow<'de, str>, E> {
        Ok(key.to_owned().into())
    }
}
