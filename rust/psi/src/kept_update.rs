//! The holder's set reaches the asker: whole the first time, then what changed (see `kept_oprf`).

use std::fmt;

use atoll_ot::Party;
use curve25519_dalek::ristretto::RistrettoPoint;
use rayon::prelude::*;

use crate::group::{Point, tag_bytes};
use crate::kept_messages::{MAX_ITEMS, Message, State, Update, WIDTHS};
use crate::kept_oprf::{BLOCK, failed};
use crate::kept_store::{Store, ascending};
use crate::voprf::{Hasher, Key, PublicKey, finalize};
use crate::{Refusal, pool};

/// Bytes of an output: one of `held` and one of `asked` different keys, or two of `held`, agree with at most 2^-40.
pub fn width(held: u64, asked: u64) -> usize {
    tag_bytes(held, asked)
}

/// The keys (32 bytes each) that are only in `new`, and those only in `old`, each in ascending order.
pub fn difference(old: &[Point], new: &[Point]) -> (Vec<Point>, Vec<Point>) {
    let sort = |keys: &[Point]| {
        let mut keys = keys.to_vec();
        keys.par_sort_unstable();
        keys.dedup();
        keys
    };
    let (old, new) = (sort(old), sort(new));
    let only = |of: &[Point], than: &[Point]| {
        let mut than = than.iter().peekable();
        let mut out = Vec::new();
        for key in of {
            while than.next_if(|other| *other < key).is_some() {}
            if than.peek() != Some(&key) {
                out.push(*key);
            }
        }
        out
    };
    (only(&new, &old), only(&old, &new))
}

/// The holder's side of an update: head, outputs that go, outputs that come.
pub struct Holder {
    head: Option<Update>,
    width: usize,
    removed: Vec<u8>,
    added: Vec<u8>,
    sent: [usize; 2],
}

impl fmt::Debug for Holder {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("kept_oprf::Holder")
    }
}

impl Holder {
    /// An update from version `from` (0: everything is new) to version `to`, of keys that go and keys that come.
    /// `E_STATE` if two keys have the same output, with probability at most 2^-40: another key of the function helps.
    pub fn new(
        key: &Key,
        (from, to): (u64, u64),
        removed: &[Point],
        added: &[Point],
        width: usize,
        threads: usize,
    ) -> Result<Self, Refusal> {
        if to == 0 || from > to || (from == 0 && !removed.is_empty()) || !WIDTHS.contains(&width) {
            return Err(Refusal::new("E_FORMAT", "these versions make no update"));
        }
        if from == to && !(removed.is_empty() && added.is_empty()) {
            return Err(Refusal::new("E_FORMAT", "a changed set has a new version"));
        }
        let workers = pool(threads)?;
        let removed = workers.install(|| outputs(key, removed, width))?;
        let added = workers.install(|| outputs(key, added, width))?;
        let head = Update {
            to: State {
                public: *key.public(),
                version: to,
            },
            from,
            removed: (removed.len() / width) as u64,
            added: (added.len() / width) as u64,
            width,
        };
        Ok(Self {
            head: Some(head),
            width,
            removed,
            added,
            sent: [0; 2],
        })
    }
}

/// Sorted outputs of keys, cut to `width` bytes: their order tells nothing of the rows'.
fn outputs(key: &Key, digests: &[Point], width: usize) -> Result<Vec<u8>, Refusal> {
    let hasher = Hasher::default();
    let block = |block: &[Point]| {
        let points: Vec<RistrettoPoint> = block.iter().map(|x| hasher.point(x)).collect();
        let elements = key.evaluate(&points);
        let tags = block.iter().zip(&elements).map(|(x, e)| cut(x, e));
        tags.collect::<Vec<u128>>()
    };
    let mut tags: Vec<u128> = digests.par_chunks(BLOCK).flat_map_iter(block).collect();
    let mask = u128::MAX << (128 - 8 * width);
    tags.par_iter_mut().for_each(|tag| *tag &= mask);
    tags.par_sort_unstable();
    if tags.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(Refusal::new(
            "E_STATE",
            "two keys of the set share an output",
        ));
    }
    let mut packed = Vec::with_capacity(tags.len() * width);
    for tag in tags {
        packed.extend_from_slice(&tag.to_be_bytes()[..width]);
    }
    Ok(packed)
}

/// The first 16 bytes of the function's value.
fn cut(input: &Point, element: &Point) -> u128 {
    let output = finalize(input, element);
    u128::from_be_bytes(*output.first_chunk().expect("sixteen bytes"))
}

impl Party for Holder {
    fn next_message(&mut self) -> Result<Option<Vec<u8>>, Refusal> {
        if let Some(head) = self.head.take() {
            return Ok(Some(Message::Update(head).encode(self.width)));
        }
        for (i, tags) in [&self.removed, &self.added].into_iter().enumerate() {
            let from = self.sent[i];
            if from < tags.len() {
                let to = tags.len().min(from + MAX_ITEMS * self.width);
                self.sent[i] = to;
                let part = &tags[from..to];
                let message = if i == 0 {
                    Message::Removed(part)
                } else {
                    Message::Added(part)
                };
                return Ok(Some(message.encode(self.width)));
            }
        }
        Ok(None)
    }

    fn receive(&mut self, _: &[u8]) -> Result<(), Refusal> {
        Err(Refusal::protocol(
            "the peer sent a message in the holder's turn",
        ))
    }

    fn done(&self) -> bool {
        self.head.is_none() && self.sent == [self.removed.len(), self.added.len()]
    }
}

/// The asker's side of an update.
#[derive(Debug)]
pub struct Keeper {
    store: Store,
    max_items: u64,
    head: Option<Update>,
    removed: Vec<u8>,
    added: Vec<u8>,
    after: Option<Store>,
    failed: bool,
}

impl Keeper {
    /// Takes an update of `store` (the default one if nothing is kept) to at most `max_items` outputs.
    pub fn new(store: Store, max_items: u64) -> Self {
        Self {
            store,
            max_items,
            head: None,
            removed: Vec::new(),
            added: Vec::new(),
            after: None,
            failed: false,
        }
    }

    /// The store after the update; `E_STATE` before its end.
    pub fn store(&self) -> Result<&Store, Refusal> {
        self.after
            .as_ref()
            .ok_or_else(|| Refusal::new("E_STATE", "the update has not ended"))
    }

    fn take(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        let width = self.head.map_or(*WIDTHS.start(), |head| head.width);
        let done = self.after.is_some();
        match (Message::parse(bytes, width)?, self.head) {
            (Message::Update(head), None) => {
                self.check(&head)?;
                self.head = Some(head);
            }
            (Message::Removed(tags), Some(head)) if !done && self.added.is_empty() => {
                extend(&mut self.removed, tags, head.removed, width)?;
            }
            (Message::Added(tags), Some(head))
                if !done && self.removed.len() as u64 == head.removed * width as u64 =>
            {
                extend(&mut self.added, tags, head.added, width)?;
            }
            _ => return Err(Refusal::protocol("a message of an update is out of order")),
        }
        let Some(head) = self.head else {
            return Ok(());
        };
        let got = |tags: &Vec<u8>| (tags.len() / head.width) as u64;
        if !done && got(&self.removed) == head.removed && got(&self.added) == head.added {
            self.after = Some(self.store.apply(&head, &self.removed, &self.added)?);
            (self.removed, self.added) = (Vec::new(), Vec::new());
        }
        Ok(())
    }

    fn check(&self, head: &Update) -> Result<(), Refusal> {
        let kept = self.store.state();
        let held = if head.from == 0 {
            0
        } else {
            self.store.len() as u64
        };
        let after = held
            .checked_sub(head.removed)
            .and_then(|n| n.checked_add(head.added));
        if after.is_none_or(|n| n > self.max_items) || head.added > self.max_items {
            return Err(Refusal::protocol("an update is larger than was agreed"));
        }
        // All anew may lead to any version: the holder's state can have gone back.
        let other = head.to.public != kept.public
            || head.from != kept.version
            || head.width != self.store.width();
        if head.from > 0 && other {
            return Err(Refusal::protocol(format!(
                "an update starts from version {}, kept is version {}",
                head.from, kept.version
            )));
        }
        if head.from == head.to.version && head.removed + head.added > 0 {
            return Err(Refusal::protocol("a set changed without a new version"));
        }
        PublicKey::parse(&head.to.public)
            .map(|_| ())
            .ok_or_else(|| Refusal::protocol("the holder's public key is not a point"))
    }
}

/// Appends packed outputs, which must ascend over all messages and be no more than declared.
fn extend(all: &mut Vec<u8>, tags: &[u8], declared: u64, width: usize) -> Result<(), Refusal> {
    let from = all.len().saturating_sub(width);
    all.extend_from_slice(tags);
    if (all.len() / width) as u64 > declared {
        return Err(Refusal::protocol("more outputs came than were declared"));
    }
    if !ascending(&all[from..], width) {
        return Err(Refusal::protocol("outputs are repeated or not in order"));
    }
    Ok(())
}

impl Party for Keeper {
    fn next_message(&mut self) -> Result<Option<Vec<u8>>, Refusal> {
        Ok(None)
    }

    fn receive(&mut self, bytes: &[u8]) -> Result<(), Refusal> {
        if self.failed {
            return Err(failed());
        }
        let taken = self.take(bytes);
        self.failed = taken.is_err();
        taken
    }

    fn done(&self) -> bool {
        self.after.is_some() && !self.failed
    }
}
