//! The store as its callers see it.

use atoll_primitives::stream::Stream;
use rayon::prelude::*;

use crate::Refusal;
use crate::layout::{Layout, MOST_ITEMS, Row};
use crate::peel::{Plan, peel};
use crate::solve::assign;
use crate::table::Table;

/// Keys decoded as one piece of work.
const PIECE: usize = 1 << 14;

/// What a store is made for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Three sparse slots a key: the fastest.
    Fast,
    /// Four sparse slots a key: at most 1.065 slots an item from 2^16 items on, 1.05 from 2^17 on.
    Dense,
}

/// Shape and placement of a store; holds no key and no value.
pub struct Store {
    items: usize,
    layout: Layout,
    pool: Option<rayon::ThreadPool>,
}

fn format(text: &str) -> Refusal {
    Refusal::new("E_FORMAT", text)
}

impl Store {
    /// A store of up to `items` keys (at most 2^22) that places them under `seed`; decoding uses `threads` threads (0
    /// counts as 1).
    ///
    /// # Errors
    /// `E_FORMAT` for more items than the failure bound covers, `E_STATE` if threads cannot be started.
    pub fn new(items: usize, kind: Kind, seed: [u8; 16], threads: usize) -> Result<Self, Refusal> {
        if items > MOST_ITEMS {
            return Err(format("a key-value store takes at most 2^22 items"));
        }
        let pool = if threads > 1 {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build();
            Some(pool.map_err(|_| Refusal::new("E_STATE", "threads could not be started"))?)
        } else {
            None
        };
        Ok(Self {
            items,
            layout: Layout::new(items, kind, seed),
            pool,
        })
    }

    /// Slots of an encoding.
    pub fn slots(&self) -> usize {
        self.layout.slots()
    }

    /// Slots under which `keys[i]` decodes to `values[i]`, all below 2^bits; free ones are drawn from `fill`.
    ///
    /// `keys` are outputs of a keyed hash, uniform 128-bit numbers, all different; `bits` is in 1..=128. For uniform
    /// values the slots are uniform, whatever the keys.
    ///
    /// # Errors
    /// `E_FORMAT`: more keys than items, other lengths, a value too large, a key twice. `E_STATE`: the equations of
    /// these keys have no solution, with probability at most 2^-40 over uniform keys.
    pub fn encode(
        &self,
        keys: &[u128],
        values: &[u128],
        bits: u32,
        fill: &mut Stream,
    ) -> Result<Vec<u128>, Refusal> {
        self.encode_wide(keys, values, 1, bits, fill)
    }

    /// As `encode`, for values of `lanes` numbers each (row-major); so are the slots.
    ///
    /// # Errors
    /// Those of `encode`.
    pub fn encode_wide(
        &self,
        keys: &[u128],
        values: &[u128],
        lanes: usize,
        bits: u32,
        fill: &mut Stream,
    ) -> Result<Vec<u128>, Refusal> {
        if keys.len() > self.items {
            return Err(format("more keys than the store takes"));
        }
        if lanes == 0 || keys.len().checked_mul(lanes) != Some(values.len()) {
            return Err(format("as many values as keys are needed"));
        }
        if !(1..=128).contains(&bits) {
            return Err(format("values have 1 to 128 bits"));
        }
        if bits < 128 && values.iter().any(|value| value >> bits != 0) {
            return Err(format("a value has more bits than the store holds"));
        }
        match self.layout.weight {
            3 => self.encode_with::<3>(keys, values, lanes, bits, fill),
            _ => self.encode_with::<4>(keys, values, lanes, bits, fill),
        }
    }

    fn encode_with<const K: usize>(
        &self,
        keys: &[u128],
        values: &[u128],
        lanes: usize,
        bits: u32,
        fill: &mut Stream,
    ) -> Result<Vec<u128>, Refusal> {
        let plan = peel::<K>(&self.layout, keys);
        refuse_duplicates(&plan, keys)?;
        if lanes == 1 {
            return assign(&self.layout, &plan, |row| values[row], bits, fill);
        }
        let mut slots = vec![0; self.slots() * lanes];
        for lane in 0..lanes {
            let value = |row: usize| values[row * lanes + lane];
            let column = assign(&self.layout, &plan, value, bits, fill)?;
            for (to, from) in slots[lane..].iter_mut().step_by(lanes).zip(column) {
                *to = from;
            }
        }
        Ok(slots)
    }

    /// Writes the value of `keys[i]` under `slots` into `out[i]`: an exclusive or of slots, hence linear over GF(2) and
    /// compatible with products by elements of GF(2^128). A key that was not encoded gives a value that is fixed by the
    /// slots.
    ///
    /// # Errors
    /// `E_FORMAT` for other lengths.
    pub fn decode_into(
        &self,
        keys: &[u128],
        slots: &[u128],
        out: &mut [u128],
    ) -> Result<(), Refusal> {
        if slots.len() != self.slots() {
            return Err(format("a store of another size"));
        }
        if keys.len() != out.len() {
            return Err(format("as many places as keys are needed"));
        }
        match self.layout.weight {
            3 => self.decode_with::<3>(keys, slots, out),
            _ => self.decode_with::<4>(keys, slots, out),
        }
        Ok(())
    }

    fn decode_with<const K: usize>(&self, keys: &[u128], slots: &[u128], out: &mut [u128]) {
        let (sparse, dense) = slots.split_at(self.layout.sparse());
        let table = Table::new(dense);
        let piece = |(keys, out): (&[u128], &mut [u128])| {
            for (key, out) in keys.iter().zip(out) {
                let row: Row<K> = self.layout.row(*key);
                let mut sum = table.product(row.dense);
                for slot in row.slots {
                    sum ^= sparse[slot as usize];
                }
                *out = sum;
            }
        };
        match &self.pool {
            None => piece((keys, out)),
            Some(pool) => pool.install(|| {
                let pieces = keys.par_chunks(PIECE).zip(out.par_chunks_mut(PIECE));
                pieces.for_each(piece);
            }),
        }
    }

    /// As `decode_into`, for slots of `lanes` numbers each (row-major); so is `out`.
    ///
    /// # Errors
    /// Those of `decode_into`.
    pub fn decode_wide_into(
        &self,
        keys: &[u128],
        slots: &[u128],
        lanes: usize,
        out: &mut [u128],
    ) -> Result<(), Refusal> {
        if lanes == 0 || !slots.len().is_multiple_of(lanes) || !out.len().is_multiple_of(lanes) {
            return Err(format("whole rows of lanes are needed"));
        }
        let mut column = vec![0; slots.len() / lanes];
        let mut values = vec![0; out.len() / lanes];
        for lane in 0..lanes {
            for (to, from) in column.iter_mut().zip(slots[lane..].iter().step_by(lanes)) {
                *to = *from;
            }
            self.decode_into(keys, &column, &mut values)?;
            for (to, from) in out[lane..].iter_mut().step_by(lanes).zip(&values) {
                *to = *from;
            }
        }
        Ok(())
    }
}

/// Equal keys have equal rows, which never peel: they are among the rows of the 2-core.
fn refuse_duplicates<const K: usize>(plan: &Plan<K>, keys: &[u128]) -> Result<(), Refusal> {
    let core = plan.peeled[plan.core..].iter().map(|&(index, _)| index);
    let rows = core.chain(plan.aside.iter().copied());
    let mut found: Vec<u128> = rows
        .map(|row| keys[plan.order[row as usize] as usize])
        .collect();
    found.sort_unstable();
    if found.windows(2).any(|pair| pair[0] == pair[1]) {
        return Err(format("a key stands twice"));
    }
    Ok(())
}
