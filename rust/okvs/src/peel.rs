//! From keys to an order in which their equations can be solved one by one.

use crate::layout::{Layout, Row};

/// Equations in triangular order, independent of the values.
pub(crate) struct Plan<const K: usize> {
    /// The equations, those of one window together.
    pub rows: Vec<Row<K>>,
    /// Row i is the equation of key `order[i]`.
    pub order: Vec<u32>,
    /// Rows with the slot that each alone determines: no row peeled later holds it.
    pub peeled: Vec<(u32, u32)>,
    /// Peeled rows before this one came off without a row set aside; the others are the 2-core.
    pub core: usize,
    /// Rows set aside for the dense columns.
    pub aside: Vec<u32>,
    /// Whether a slot is determined by a row.
    pub pivot: Vec<bool>,
}

#[derive(Clone, Copy, Default)]
struct Cell {
    degree: u32,
    rows: u32,
}

/// Equations of `keys`, those of one window together, and the place of each key.
fn arrange<const K: usize>(layout: &Layout, keys: &[u128]) -> (Vec<Row<K>>, Vec<u32>) {
    let mut next = vec![0u32; layout.windows as usize + 1];
    for &key in keys {
        next[layout.window(key).0 + 1] += 1;
    }
    for window in 1..next.len() {
        next[window] += next[window - 1];
    }
    let mut rows = vec![
        Row {
            slots: [0; K],
            dense: 0
        };
        keys.len()
    ];
    let mut order = vec![0u32; keys.len()];
    for (index, &key) in keys.iter().enumerate() {
        let place = &mut next[layout.window(key).0];
        rows[*place as usize] = layout.row(key);
        order[*place as usize] = index as u32;
        *place += 1;
    }
    (rows, order)
}

/// Takes off, again and again, a row that alone holds some slot; where none is left, sets the first remaining row aside
/// (of a coupled graph that is where peeling came to a stand, so that it goes on).
pub(crate) fn peel<const K: usize>(layout: &Layout, keys: &[u128]) -> Plan<K> {
    let (rows, order) = arrange::<K>(layout, keys);
    let mut cells = vec![Cell::default(); layout.sparse()];
    for (index, row) in rows.iter().enumerate() {
        for slot in row.slots {
            let cell = &mut cells[slot as usize];
            cell.degree += 1;
            cell.rows ^= index as u32;
        }
    }
    let mut pivot = vec![false; layout.sparse()];
    let mut gone = vec![false; rows.len()];
    let mut peeled = Vec::with_capacity(rows.len());
    let mut aside = Vec::new();
    let mut core = None;
    let mut ready: Vec<u32> = Vec::with_capacity(1024);
    let mut scan = 0;
    let mut first = 0;
    loop {
        while let Some(slot) = ready.pop().or_else(|| {
            while scan < cells.len() {
                scan += 1;
                if cells[scan - 1].degree == 1 {
                    return Some(scan as u32 - 1);
                }
            }
            None
        }) {
            if cells[slot as usize].degree != 1 {
                continue;
            }
            let index = cells[slot as usize].rows;
            pivot[slot as usize] = true;
            peeled.push((index, slot));
            remove(&rows, index, &mut gone, &mut cells, &mut ready);
        }
        if peeled.len() + aside.len() == rows.len() {
            break;
        }
        while gone[first] {
            first += 1;
        }
        core.get_or_insert(peeled.len());
        aside.push(first as u32);
        remove(&rows, first as u32, &mut gone, &mut cells, &mut ready);
    }
    Plan {
        core: core.unwrap_or(peeled.len()),
        rows,
        order,
        peeled,
        aside,
        pivot,
    }
}

#[inline(always)]
fn remove<const K: usize>(
    rows: &[Row<K>],
    index: u32,
    gone: &mut [bool],
    cells: &mut [Cell],
    ready: &mut Vec<u32>,
) {
    gone[index as usize] = true;
    for slot in rows[index as usize].slots {
        let cell = &mut cells[slot as usize];
        cell.degree -= 1;
        cell.rows ^= index;
        if cell.degree == 1 {
            ready.push(slot);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::store::Kind;
    use atoll_primitives::stream::Stream;

    #[test]
    #[ignore = "prints how many rows are set aside"]
    fn rows_set_aside() {
        for exponent in [8u32, 10, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22] {
            for kind in [Kind::Fast, Kind::Dense] {
                let items = 1usize << exponent;
                let mut found = Vec::new();
                for round in 0..(1usize << 21 >> exponent).clamp(2, 200) {
                    let mut stream = Stream::derive(b"peel", &[&round.to_be_bytes()]);
                    let keys: Vec<u128> = (0..items)
                        .map(|_| u128::from_le_bytes(stream.bytes()))
                        .collect();
                    let layout = Layout::new(items, kind, [1; 16]);
                    found.push(match layout.weight {
                        3 => peel::<3>(&layout, &keys).aside.len(),
                        _ => peel::<4>(&layout, &keys).aside.len(),
                    });
                }
                let most = found.iter().max().unwrap();
                let mean = found.iter().sum::<usize>() as f64 / found.len() as f64;
                println!("2^{exponent} {kind:?}: most {most}, mean {mean:.2}");
            }
        }
    }

    /// Rows less rank over GF(2) of random sparse rows of `layout`.
    fn missing<const K: usize>(layout: &Layout, items: usize, stream: &mut Stream) -> usize {
        let words = layout.sparse().div_ceil(64);
        let mut basis: Vec<Option<Vec<u64>>> = vec![None; layout.sparse()];
        let mut missing = 0;
        for _ in 0..items {
            let mut row = vec![0u64; words];
            for slot in layout.row::<K>(u128::from_le_bytes(stream.bytes())).slots {
                row[slot as usize / 64] ^= 1 << (slot % 64);
            }
            loop {
                let Some(word) = row.iter().position(|&word| word != 0) else {
                    missing += 1;
                    break;
                };
                let lead = word * 64 + row[word].trailing_zeros() as usize;
                match &basis[lead] {
                    Some(other) => row.iter_mut().zip(other).for_each(|(to, from)| *to ^= from),
                    None => {
                        basis[lead] = Some(row);
                        break;
                    }
                }
            }
        }
        missing
    }

    #[test]
    #[ignore = "prints how often sparse rows of reduced stores depend on each other"]
    fn missing_rank() {
        for (weight, windows, thousandths) in
            [(3, 30, 1200), (3, 100, 1150), (4, 60, 1100), (4, 200, 1047)]
        {
            for items in [1000usize, 2000, 4000] {
                let sparse = items * thousandths / 1000;
                let length = sparse.div_ceil(windows + weight - 1) as u64;
                let layout = Layout::reduced(weight, windows as u64, length);
                let mut stream = Stream::derive(b"rank", &[&items.to_be_bytes()]);
                let mut counts = [0usize; 64];
                for _ in 0..400_000 / items {
                    let found = match weight {
                        3 => missing::<3>(&layout, items, &mut stream),
                        _ => missing::<4>(&layout, items, &mut stream),
                    };
                    counts[found.min(63)] += 1;
                }
                let most = counts.iter().rposition(|&count| count > 0).unwrap();
                println!(
                    "weight {weight}, windows {windows}, {thousandths}, items {items}: {:?}",
                    &counts[..=most]
                );
            }
        }
    }
}
