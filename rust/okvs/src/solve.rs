//! From a plan and values to slots.

use atoll_primitives::stream::Stream;

use crate::Refusal;
use crate::layout::{DENSE, Layout};
use crate::peel::Plan;
use crate::table::Table;

/// The most words of unknowns beside the dense ones.
const MOST_WORDS: usize = 64;

/// A uniform number below 2^bits.
fn draw(fill: &mut Stream, bits: u32) -> u128 {
    let mut bytes = [0u8; 16];
    fill.fill_bytes(&mut bytes[..bits.div_ceil(8) as usize]);
    u128::from_le_bytes(bytes) & (u128::MAX >> (128 - bits))
}

/// Slots under which each row gives its value; `values` in the order of the keys, `stride` apart from `first` on.
///
/// The result is uniform among all that solve the equations, so that of uniform values it is uniform.
pub(crate) fn assign<const K: usize>(
    layout: &Layout,
    plan: &Plan<K>,
    value: impl Fn(usize) -> u128,
    bits: u32,
    fill: &mut Stream,
) -> Result<Vec<u128>, Refusal> {
    let sparse = layout.sparse();
    let mut placed = vec![0u128; plan.rows.len()];
    for (to, &from) in placed.iter_mut().zip(&plan.order) {
        *to = value(from as usize);
    }
    let mut slots = vec![0u128; layout.slots()];
    for (slot, pivot) in slots.iter_mut().zip(&plan.pivot) {
        if !pivot {
            *slot = draw(fill, bits);
        }
    }
    if plan.aside.is_empty() {
        for slot in &mut slots[sparse..] {
            *slot = draw(fill, bits);
        }
    } else {
        solve_core(layout, plan, &placed, bits, fill, &mut slots)?;
    }
    let table = Table::new(&slots[sparse..]);
    for &(index, slot) in plan.peeled.iter().rev() {
        let row = &plan.rows[index as usize];
        let mut sum = placed[index as usize] ^ table.product(row.dense);
        slots[slot as usize] = 0;
        for other in row.slots {
            sum ^= slots[other as usize];
        }
        slots[slot as usize] = sum;
    }
    Ok(slots)
}

/// Determines the dense slots, and free slots as far as they are needed, from the rows that were set aside.
fn solve_core<const K: usize>(
    layout: &Layout,
    plan: &Plan<K>,
    placed: &[u128],
    bits: u32,
    fill: &mut Stream,
    slots: &mut [u128],
) -> Result<(), Refusal> {
    let free = free_slots(plan);
    // Unknowns a few more than equations give full rank, unless rows depend on each other in all sparse columns.
    let mut words = plan.aside.len().saturating_sub(16).div_ceil(64);
    while words <= MOST_WORDS {
        let step = free.len().div_ceil((words * 64).max(1)).max(1);
        let chosen: Vec<u32> = free
            .iter()
            .copied()
            .step_by(step)
            .take(words * 64)
            .collect();
        let mut system = System::new(1 + words);
        gather(layout, plan, placed, &chosen, slots, &mut system);
        if system.reduce() {
            let solution = system.solution(|| draw(fill, bits));
            slots[layout.sparse()..].copy_from_slice(&solution[..DENSE]);
            for (&slot, &value) in chosen.iter().zip(&solution[DENSE..]) {
                slots[slot as usize] = value;
            }
            return Ok(());
        }
        if chosen.len() == free.len() {
            break;
        }
        words = (4 * words).max(1);
    }
    Err(Refusal::new(
        "E_STATE",
        "the key-value store could not be encoded; its equations depend on each other",
    ))
}

/// Slots of the 2-core that no row determines, in the order in which rows name them.
fn free_slots<const K: usize>(plan: &Plan<K>) -> Vec<u32> {
    let indices = plan.peeled[plan.core..].iter().map(|&(index, _)| index);
    let mut free: Vec<u32> = indices
        .chain(plan.aside.iter().copied())
        .flat_map(|index| plan.rows[index as usize].slots)
        .filter(|&slot| !plan.pivot[slot as usize])
        .collect();
    free.sort_unstable();
    free.dedup();
    free
}

/// Writes each row set aside as an equation in the dense and the chosen slots.
fn gather<const K: usize>(
    layout: &Layout,
    plan: &Plan<K>,
    placed: &[u128],
    chosen: &[u32],
    slots: &mut [u128],
    system: &mut System,
) {
    let words = system.words;
    let mut masks = vec![0u64; layout.sparse() * words];
    for (unknown, &slot) in chosen.iter().enumerate() {
        let bit = DENSE + unknown;
        masks[slot as usize * words + bit / 64] |= 1 << (bit % 64);
        slots[slot as usize] = 0;
    }
    let mut mask = vec![0u64; words];
    let sum_up = |index: u32, pivot: Option<u32>, slots: &[u128], masks: &[u64], to: &mut [u64]| {
        let row = &plan.rows[index as usize];
        let mut sum = placed[index as usize];
        to.fill(0);
        to[0] = row.dense;
        for slot in row.slots.into_iter().filter(|&slot| Some(slot) != pivot) {
            let slot = slot as usize;
            sum ^= slots[slot];
            for (to, from) in to.iter_mut().zip(&masks[slot * words..]) {
                *to ^= from;
            }
        }
        sum
    };
    for &(index, slot) in plan.peeled[plan.core..].iter().rev() {
        let sum = sum_up(index, Some(slot), slots, &masks, &mut mask);
        slots[slot as usize] = sum;
        masks[slot as usize * words..][..words].copy_from_slice(&mask);
    }
    for &index in &plan.aside {
        let sum = sum_up(index, None, slots, &masks, &mut mask);
        system.rows.extend_from_slice(&mask);
        system.right.push(sum);
    }
}

/// Linear equations over GF(2) with right sides in GF(2)^128.
struct System {
    words: usize,
    rows: Vec<u64>,
    right: Vec<u128>,
    pivots: Vec<usize>,
}

impl System {
    fn new(words: usize) -> Self {
        Self {
            words,
            rows: Vec::new(),
            right: Vec::new(),
            pivots: Vec::new(),
        }
    }

    /// Brings the system into reduced echelon form (Gauss and Jordan); false if the rows depend on each other.
    fn reduce(&mut self) -> bool {
        let words = self.words;
        for at in 0..self.right.len() {
            let row = self.rows[at * words..][..words].to_vec();
            let Some(word) = row.iter().position(|&word| word != 0) else {
                return false;
            };
            let pivot = word * 64 + row[word].trailing_zeros() as usize;
            let right = self.right[at];
            for other in (0..self.right.len()).filter(|&other| other != at) {
                let target = &mut self.rows[other * words..][..words];
                if target[pivot / 64] >> (pivot % 64) & 1 == 1 {
                    for (to, from) in target.iter_mut().zip(&row) {
                        *to ^= from;
                    }
                    self.right[other] ^= right;
                }
            }
            self.pivots.push(pivot);
        }
        true
    }

    /// A solution of the reduced system; unknowns that no equation determines come from `draw`.
    fn solution(&self, mut draw: impl FnMut() -> u128) -> Vec<u128> {
        let mut determined = vec![false; self.words * 64];
        for &pivot in &self.pivots {
            determined[pivot] = true;
        }
        let mut solution: Vec<u128> = determined
            .iter()
            .map(|&known| if known { 0 } else { draw() })
            .collect();
        for (at, &pivot) in self.pivots.iter().enumerate() {
            let row = &self.rows[at * self.words..][..self.words];
            let mut sum = self.right[at];
            for (word, &bits) in row.iter().enumerate() {
                let mut bits = bits;
                while bits != 0 {
                    let unknown = word * 64 + bits.trailing_zeros() as usize;
                    if unknown != pivot {
                        sum ^= solution[unknown];
                    }
                    bits &= bits - 1;
                }
            }
            solution[pivot] = sum;
        }
        solution
    }
}
