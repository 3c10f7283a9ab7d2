//! What the asker keeps: the outputs of the holder's keys, cut to a few bytes, in ascending order.

use crate::Refusal;
use crate::kept_messages::{State, Update, WIDTHS};

const MAGIC: &[u8; 24] = b"atoll kept-oprf store v1";
const HEAD: usize = MAGIC.len() + 32 + 8 + 1 + 8;

/// A kept set of outputs.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Store {
    state: State,
    width: usize,
    tags: Vec<u8>,
}

/// True if packed items of `width` bytes ascend and none is repeated.
pub(crate) fn ascending(tags: &[u8], width: usize) -> bool {
    let next = tags.get(width..).unwrap_or_default();
    tags.chunks_exact(width)
        .zip(next.chunks_exact(width))
        .all(|(a, b)| a < b)
}

impl Store {
    /// Key and version of the holder's set.
    pub fn state(&self) -> State {
        self.state
    }

    /// Bytes of an output; 0 if nothing is kept.
    pub fn width(&self) -> usize {
        self.width
    }

    /// Number of outputs.
    pub fn len(&self) -> usize {
        self.tags.len() / self.width.max(1)
    }

    /// True if no output is kept.
    pub fn is_empty(&self) -> bool {
        self.tags.is_empty()
    }

    /// True if an output that begins with `tag` (`width` bytes) is kept.
    pub fn contains(&self, tag: &[u8]) -> bool {
        let (mut low, mut high) = (0, self.len());
        while low < high {
            let middle = low.midpoint(high);
            match self.tags[middle * self.width..][..self.width].cmp(tag) {
                std::cmp::Ordering::Less => low = middle + 1,
                std::cmp::Ordering::Greater => high = middle,
                std::cmp::Ordering::Equal => return true,
            }
        }
        false
    }

    /// The store after an update, whose packed outputs ascend. `E_PROTOCOL` if one that goes is not kept or one
    /// that comes is kept already.
    pub fn apply(&self, update: &Update, removed: &[u8], added: &[u8]) -> Result<Self, Refusal> {
        let width = update.width;
        if update.from == 0 {
            return Ok(Self {
                state: update.to,
                width,
                tags: added.to_vec(),
            });
        }
        let mut tags = Vec::with_capacity(self.tags.len() + added.len());
        let mut removed = removed.chunks_exact(width).peekable();
        let mut added = added.chunks_exact(width).peekable();
        for tag in self.tags.chunks_exact(width) {
            while let Some(new) = added.next_if(|new| *new < tag) {
                tags.extend_from_slice(new);
            }
            if added.peek().is_some_and(|new| *new == tag) {
                return Err(Refusal::protocol("an output comes that is kept already"));
            }
            if removed.next_if(|old| *old == tag).is_none() {
                tags.extend_from_slice(tag);
            }
        }
        if removed.next().is_some() {
            return Err(Refusal::protocol("an output goes that is not kept"));
        }
        added.for_each(|new| tags.extend_from_slice(new));
        Ok(Self {
            state: update.to,
            width,
            tags,
        })
    }

    /// The store as bytes of a file: at most 73 and `width` for each output.
    pub fn encode(&self) -> Vec<u8> {
        let mut out = Vec::with_capacity(HEAD + self.tags.len());
        out.extend_from_slice(MAGIC);
        out.extend_from_slice(&self.state.public);
        out.extend_from_slice(&self.state.version.to_le_bytes());
        out.push(self.width as u8);
        out.extend_from_slice(&(self.len() as u64).to_le_bytes());
        out.extend_from_slice(&self.tags);
        out
    }

    /// Parses the bytes of a file; `E_FORMAT` if they are not those of a store.
    pub fn parse(bytes: &[u8]) -> Result<Self, Refusal> {
        let bad = || Refusal::new("E_FORMAT", "not a store of kept outputs");
        let rest = bytes.strip_prefix(MAGIC).ok_or_else(bad)?;
        let (public, rest) = rest.split_first_chunk::<32>().ok_or_else(bad)?;
        let (version, rest) = rest.split_first_chunk().ok_or_else(bad)?;
        let (width, rest) = rest.split_first_chunk::<1>().ok_or_else(bad)?;
        let (count, tags) = rest.split_first_chunk().ok_or_else(bad)?;
        let (width, count) = (usize::from(width[0]), u64::from_le_bytes(*count));
        let version = u64::from_le_bytes(*version);
        if version == 0
            || !WIDTHS.contains(&width)
            || (tags.len() as u64) != count.checked_mul(width as u64).ok_or_else(bad)?
            || !ascending(tags, width)
        {
            return Err(bad());
        }
        Ok(Self {
            state: State {
                public: *public,
                version,
            },
            width,
            tags: tags.to_vec(),
        })
    }
}
