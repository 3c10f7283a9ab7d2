//! The side that learns first. It encodes its keys, masks the store with the VOLE, and evaluates the oblivious
//! pseudo-random function on its own keys.

use atoll_ot::{Party, vole};
use zeroize::Zeroize;

use super::hash::Proof;
use super::messages::{self, CHUNK, Kind};
use super::setup::{Setup, digests};
use super::sorted::Sorted;
use super::{Next, out};
use crate::Refusal;

pub(crate) struct Receiver<D> {
    pub(crate) setup: Setup,
    digests: D,
    multiplicity: Option<Vec<u32>>,
    vole: Option<vole::Receiver>,
    sent_correlations: usize,
    commitment: Option<[u8; 32]>,
    /// This side's share of the offset, then the offset w.
    offset: u128,
    opened: bool,
    share_sent: bool,
    /// Keys of the store; gone once the slots are evaluated.
    keys: Vec<u128>,
    masked: Vec<u128>,
    sent_masked: usize,
    /// c of the VOLE, a slot each; then its value at every own key.
    evaluated: Vec<u128>,
    decoded: bool,
    own: Option<Sorted>,
    proofs: Vec<Proof>,
    cursor: usize,
    taken_tags: usize,
    last_tag: Option<u128>,
    matched: Vec<u32>,
    ranks: Vec<u32>,
    total_sent: bool,
    sent_returned: usize,
    sent_multiplicities: usize,
    pub(crate) peer_multiplicity: Vec<u32>,
}

impl<D> Drop for Receiver<D> {
    fn drop(&mut self) {
        self.offset.zeroize();
    }
}

impl<D: AsRef<[u8]> + Send + Sync> Receiver<D> {
    pub(crate) fn new(
        setup: Setup,
        digests: D,
        multiplicity: Option<Vec<u32>>,
    ) -> Result<Self, Refusal> {
        let vole = if setup.empty() {
            None
        } else {
            Some(vole::Receiver::new(
                setup.vole(),
                setup.stream("vole-psi/correlation"),
            )?)
        };
        let mut share = setup.stream("vole-psi/share");
        Ok(Self {
            offset: if setup.malicious {
                u128::from_le_bytes(share.bytes())
            } else {
                0
            },
            opened: !setup.malicious,
            share_sent: !setup.malicious || setup.empty(),
            total_sent: !setup.parameters.both || setup.empty(),
            setup,
            digests,
            multiplicity,
            vole,
            sent_correlations: 0,
            commitment: None,
            keys: Vec::new(),
            masked: Vec::new(),
            sent_masked: 0,
            evaluated: Vec::new(),
            decoded: false,
            own: None,
            proofs: Vec::new(),
            cursor: 0,
            taken_tags: 0,
            last_tag: None,
            matched: Vec::new(),
            ranks: Vec::new(),
            sent_returned: 0,
            sent_multiplicities: 0,
            peer_multiplicity: Vec::new(),
        })
    }

    fn slots(&self) -> usize {
        if self.setup.empty() {
            0
        } else {
            self.setup.store.slots()
        }
    }

    fn all_masked_sent(&self) -> bool {
        self.vole.is_none() && self.sent_masked == self.slots()
    }

    pub(crate) fn next_message(&mut self) -> Result<Next, Refusal> {
        if let Some(vole) = &mut self.vole {
            if let Some(bytes) = vole.next_message()? {
                self.sent_correlations += 1;
                return Ok(out(Kind::Correlation, self.sent_correlations - 1, &bytes));
            }
            // Without the sender's commitment nothing that depends on the keys leaves.
            if !vole.done() || (self.setup.malicious && self.commitment.is_none()) {
                return Ok(None);
            }
            self.encode()?;
        }
        if !self.share_sent {
            self.share_sent = true;
            return Ok(out(Kind::Share, 0, &self.offset.to_le_bytes()));
        }
        if self.sent_masked < self.slots() {
            let from = self.sent_masked;
            let to = self.slots().min(from + CHUNK);
            let slots = self.masked[from..to].iter().map(|slot| slot.to_le_bytes());
            let bytes = messages::write(Kind::Masked, self.setup.width(), slots);
            self.sent_masked = to;
            if to == self.slots() {
                self.masked = Vec::new();
            }
            return Ok(Some((bytes, Kind::Masked, from / CHUNK)));
        }
        if self.taken_tags < self.setup.sender_items {
            // The sender works on the slots meanwhile.
            if !self.setup.empty() {
                self.decode()?;
                if self.opened {
                    self.own_tags()?;
                }
            }
            return Ok(None);
        }
        self.tell()
    }

    /// What the sender is told of the matches.
    fn tell(&mut self) -> Result<Next, Refusal> {
        if !self.total_sent {
            self.total_sent = true;
            let total = self.matched.len() as u32;
            return Ok(out(Kind::Matches, 0, &total.to_le_bytes()));
        }
        let matches = if self.setup.parameters.both {
            self.matched.len()
        } else {
            0
        };
        if self.sent_returned < matches {
            let from = self.sent_returned;
            let to = matches.min(from + CHUNK);
            let entry = |at: usize| {
                let mut entry = [0u8; 16];
                entry[..4].copy_from_slice(&self.ranks[at].to_le_bytes());
                if self.setup.malicious {
                    entry[4..].copy_from_slice(&self.proofs[self.matched[at] as usize]);
                }
                entry
            };
            let width = if self.setup.malicious { 16 } else { 4 };
            let bytes = messages::write(Kind::Returned, width, (from..to).map(entry));
            self.sent_returned = to;
            return Ok(Some((bytes, Kind::Returned, from / CHUNK)));
        }
        if let Some(own) = &self.multiplicity
            && self.sent_multiplicities < matches
        {
            let from = self.sent_multiplicities;
            let to = matches.min(from + CHUNK);
            let rows = self.matched[from..to]
                .iter()
                .map(|i| own[*i as usize].to_le_bytes());
            let bytes = messages::write(Kind::Multiplicities, 4, rows);
            self.sent_multiplicities = to;
            return Ok(Some((bytes, Kind::Multiplicities, from / CHUNK)));
        }
        Ok(None)
    }

    pub(crate) fn receive(&mut self, kind: Kind, body: &[u8]) -> Result<(), Refusal> {
        let out_of_place = || Refusal::protocol("a message is out of its place");
        match kind {
            Kind::Commitment
                if self.setup.malicious && self.commitment.is_none() && self.vole.is_some() =>
            {
                self.commitment = Some(messages::fixed(body)?);
                Ok(())
            }
            Kind::Correlation if !self.setup.malicious || self.commitment.is_some() => {
                match &mut self.vole {
                    Some(vole) if !vole.done() => vole.receive(body),
                    _ => Err(out_of_place()),
                }
            }
            Kind::Opening if !self.opened && self.all_masked_sent() => self.open(body),
            Kind::Tags if self.opened && self.all_masked_sent() => self.compare(body),
            Kind::Multiplicities if self.multiplicity.is_some() && self.told() => {
                let left = self.matched.len() - self.peer_multiplicity.len();
                let rows = messages::chunk(body, 4, left)?;
                messages::multiplicities(rows, &mut self.peer_multiplicity)
            }
            _ => Err(out_of_place()),
        }
    }

    /// P, a store of the value of every key; A = a ^ P goes out, c stays.
    fn encode(&mut self) -> Result<(), Refusal> {
        let vole = self.vole.take().expect("called once").finish()?;
        let setup = &self.setup;
        let digests = digests(self.digests.as_ref())?;
        let (keys, values) = setup
            .workers
            .install(|| setup.item.items(digests, setup.value_mask()));
        // Refuses a digest that stands twice.
        let mut fill = setup.stream("vole-psi/store");
        let mut masked = setup.store.encode(&keys, &values, setup.bits, &mut fill)?;
        for (slot, a) in masked.iter_mut().zip(&vole.a) {
            *slot ^= a;
        }
        (self.keys, self.masked, self.evaluated) = (keys, masked, vole.c);
        Ok(())
    }

    /// The value of c at every own key.
    fn decode(&mut self) -> Result<(), Refusal> {
        if !self.decoded {
            let mut values = vec![0; self.keys.len()];
            let store = &self.setup.store;
            store.decode_into(&self.keys, &self.evaluated, &mut values)?;
            (self.evaluated, self.keys, self.decoded) = (values, Vec::new(), true);
        }
        Ok(())
    }

    /// Checks the sender's share against its commitment.
    fn open(&mut self, body: &[u8]) -> Result<(), Refusal> {
        let opening = atoll_primitives::stream::Secret::new(messages::fixed(body)?);
        if self.commitment != Some(self.setup.commit.commitment(&opening)) {
            return Err(Refusal::protocol(
                "the sender's share is not the one that it committed to",
            ));
        }
        self.offset ^= messages::value(&opening.expose()[..16]);
        self.opened = true;
        Ok(())
    }

    fn own_tags(&mut self) -> Result<(), Refusal> {
        if self.own.is_some() {
            return Ok(());
        }
        self.decode()?;
        let setup = &self.setup;
        let proofs = setup.malicious && setup.parameters.both;
        let digests = digests(self.digests.as_ref())?;
        let (own, proofs) = setup.workers.install(|| {
            let (tags, proofs) = setup
                .tag
                .tags(digests, &self.evaluated, self.offset, proofs);
            Ok::<_, Refusal>((Sorted::new(tags, setup.tag_mask())?, proofs))
        })?;
        (self.own, self.proofs, self.evaluated) = (Some(own), proofs, Vec::new());
        Ok(())
    }

    /// Merges a chunk of the sender's tags with the own ones.
    fn compare(&mut self, body: &[u8]) -> Result<(), Refusal> {
        let left = self.setup.sender_items - self.taken_tags;
        let tags = messages::chunk(body, self.setup.tag_len, left)?;
        self.own_tags()?;
        let own = self.own.as_ref().expect("computed above");
        for bytes in tags {
            let tag = messages::tag(bytes);
            if self.last_tag.is_some_and(|last| last >= tag) {
                return Err(Refusal::protocol("tags are repeated or not in order"));
            }
            self.last_tag = Some(tag);
            if let Some(item) = own.find(tag, &mut self.cursor) {
                self.matched.push(item);
                self.ranks.push(self.taken_tags as u32);
            }
            self.taken_tags += 1;
        }
        if self.taken_tags == self.setup.sender_items {
            self.own = None;
        }
        Ok(())
    }

    /// True when the sender was told all matches, if it is to learn them.
    fn told(&self) -> bool {
        self.setup.parameters.both
            && self.taken_tags == self.setup.sender_items
            && self.total_sent
            && self.sent_returned == self.matched.len()
    }

    pub(crate) fn done(&self) -> bool {
        let matches = self.matched.len();
        let told = !self.setup.parameters.both || self.told();
        let multiplicities = self.multiplicity.is_none()
            || (self.sent_multiplicities == matches && self.peer_multiplicity.len() == matches);
        self.setup.empty()
            || (self.all_masked_sent()
                && self.taken_tags == self.setup.sender_items
                && told
                && multiplicities)
    }

    pub(crate) fn matched(&self) -> Option<&[u32]> {
        Some(&self.matched)
    }

    pub(crate) fn multiplicities_exchanged(&self) -> bool {
        self.multiplicity.is_some()
    }

    pub(crate) fn worked(&self) -> usize {
        self.sent_masked + self.taken_tags
    }
}
