//! The side that programs the function: delta and b of the VOLE are its key.

use atoll_ot::{Party, vole};
use zeroize::Zeroize;

use super::{Shape, out_of_place};
use crate::Refusal;
use crate::vole_psi::messages::{self, CHUNK, Kind};
use crate::vole_psi::setup::digests;
use crate::vole_psi::{Next, multiply, out};

pub(crate) struct Sender<D> {
    shape: Shape,
    digests: D,
    targets: Vec<u128>,
    vole: Option<vole::Sender>,
    sent_correlations: usize,
    delta: u128,
    /// b of the VOLE, then k = b ^ delta * A as A comes in.
    key: Vec<u128>,
    taken_masked: usize,
    /// Keys of both stores and values of the own keys, once the VOLE is done.
    hashed: Option<(Vec<u128>, Vec<u128>)>,
    slots: Vec<u128>,
    encoded: bool,
    sent: usize,
}

impl<D> Drop for Sender<D> {
    fn drop(&mut self) {
        self.delta.zeroize();
        self.key.zeroize();
        self.targets.zeroize();
    }
}

impl<D: AsRef<[u8]> + Send + Sync> Sender<D> {
    pub(crate) fn new(shape: Shape, digests: D, targets: Vec<u128>) -> Result<Self, Refusal> {
        let vole = vole::Sender::new(shape.setup.vole(), shape.setup.stream("opprf/correlation"))?;
        Ok(Self {
            shape,
            digests,
            targets,
            vole: Some(vole),
            sent_correlations: 0,
            delta: 0,
            key: Vec::new(),
            taken_masked: 0,
            hashed: None,
            slots: Vec::new(),
            encoded: false,
            sent: 0,
        })
    }

    pub(crate) fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Takes the correlation over once it is there.
    fn settle(&mut self) -> Result<(), Refusal> {
        if let Some(vole) = self.vole.take_if(|vole| vole.done()) {
            let output = vole.finish()?;
            (self.delta, self.key) = (output.delta, output.b);
        }
        Ok(())
    }

    pub(crate) fn next_message(&mut self) -> Result<Next, Refusal> {
        if let Some(vole) = &mut self.vole
            && let Some(bytes) = vole.next_message()?
        {
            self.sent_correlations += 1;
            return Ok(out(Kind::Correlation, self.sent_correlations - 1, &bytes));
        }
        self.settle()?;
        if self.vole.is_some() {
            return Ok(None);
        }
        // While the receiver encodes.
        self.hash()?;
        if self.taken_masked < self.shape.setup.store.slots() {
            return Ok(None);
        }
        self.encode()?;
        let slots = self.shape.programmed.slots();
        if self.sent == slots {
            return Ok(None);
        }
        let from = self.sent;
        let to = slots.min(from + CHUNK);
        let part = self.slots[from..to].iter().map(|slot| slot.to_le_bytes());
        let bytes = messages::write(Kind::Programmed, self.shape.width(), part);
        self.sent = to;
        if to == slots {
            self.slots = Vec::new();
        }
        Ok(Some((bytes, Kind::Programmed, from / CHUNK)))
    }

    pub(crate) fn receive(&mut self, kind: Kind, body: &[u8]) -> Result<(), Refusal> {
        if kind == Kind::Correlation {
            return match &mut self.vole {
                Some(vole) if !vole.done() => vole.receive(body),
                _ => Err(out_of_place()),
            };
        }
        self.settle()?;
        if kind != Kind::Masked || self.vole.is_some() {
            return Err(out_of_place());
        }
        let setup = &self.shape.setup;
        let (width, from) = (setup.width(), self.taken_masked);
        let count = messages::chunk(body, width, setup.store.slots() - from)?.len();
        let (delta, slots) = (self.delta, &mut self.key[from..from + count]);
        setup
            .workers
            .install(|| multiply::add_products(slots, delta, body, width));
        self.taken_masked += count;
        Ok(())
    }

    fn hash(&mut self) -> Result<(), Refusal> {
        if self.hashed.is_none() && !self.encoded {
            let setup = &self.shape.setup;
            let digests = digests(self.digests.as_ref())?;
            let work = || setup.item.items(digests, setup.value_mask());
            self.hashed = Some(setup.workers.install(work));
        }
        Ok(())
    }

    /// The store of F(x) ^ target(x) at every own x.
    fn encode(&mut self) -> Result<(), Refusal> {
        let Some((keys, mut values)) = self.hashed.take() else {
            return Ok(());
        };
        let setup = &self.shape.setup;
        let mut elements = vec![0; keys.len()];
        setup.store.decode_into(&keys, &self.key, &mut elements)?;
        self.key.zeroize();
        self.key = Vec::new();
        let digests = digests(self.digests.as_ref())?;
        let delta = self.delta;
        let (mut function, _) = setup.workers.install(|| {
            multiply::add_multiples(&mut elements, delta, &mut values);
            setup.tag.tags(digests, &elements, 0, false)
        });
        elements.zeroize();
        values.zeroize();
        let mask = self.shape.mask();
        for (value, target) in function.iter_mut().zip(&self.targets) {
            *value = (*value ^ target) & mask;
        }
        // Refuses a digest that stands twice.
        let mut fill = setup.stream("opprf/programmed");
        let store = &self.shape.programmed;
        self.slots = store.encode(&keys, &function, self.shape.bits, &mut fill)?;
        function.zeroize();
        self.encoded = true;
        Ok(())
    }

    pub(crate) fn done(&self) -> bool {
        self.encoded && self.sent == self.shape.programmed.slots()
    }

    pub(crate) fn worked(&self) -> usize {
        self.taken_masked + self.sent
    }
}
