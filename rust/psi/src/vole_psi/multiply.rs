//! Products with the sender's secret factor delta: those of what the receiver sends, and those of own values.

use atoll_ot::field;
use rayon::prelude::*;

use super::messages;

/// Elements that one thread multiplies at a time.
const BLOCK: usize = 1024;

/// Adds `delta` times each element of `body`, `width` bytes each, to the slots. Runs in the current pool.
pub(crate) fn add_products(slots: &mut [u128], delta: u128, body: &[u8], width: usize) {
    slots
        .par_chunks_mut(BLOCK)
        .zip(body.par_chunks(BLOCK * width))
        .for_each(|(slots, body)| {
            let mut masked = [0; BLOCK];
            let masked = &mut masked[..slots.len()];
            for (value, bytes) in masked.iter_mut().zip(body.chunks_exact(width)) {
                *value = messages::value(bytes);
            }
            add_block(slots, delta, masked);
        });
}

/// Adds `delta` times each of `values` to `outputs`; the values are overwritten. Runs in the current pool.
pub(crate) fn add_multiples(outputs: &mut [u128], delta: u128, values: &mut [u128]) {
    outputs
        .par_chunks_mut(BLOCK)
        .zip(values.par_chunks_mut(BLOCK))
        .for_each(|(outputs, values)| add_block(outputs, delta, values));
}

fn add_block(outputs: &mut [u128], delta: u128, values: &mut [u128]) {
    field::scale(values, delta);
    for (output, value) in outputs.iter_mut().zip(values) {
        *output ^= *value;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn products_are_those_of_the_field_across_blocks() {
        let delta = 3u128 << 126 | 77;
        let values: Vec<u128> = (0..2500).map(|i| (i + 1) << 70 | i).collect();
        let want: Vec<u128> = values
            .iter()
            .enumerate()
            .map(|(i, value)| i as u128 ^ field::mul(delta, *value))
            .collect();
        let start: Vec<u128> = (0..2500).collect();
        let mut outputs = start.clone();
        add_multiples(&mut outputs, delta, &mut values.clone());
        assert_eq!(outputs, want);
        let body: Vec<u8> = values
            .iter()
            .flat_map(|value| value.to_le_bytes()[..12].to_vec())
            .collect();
        let mut outputs = start;
        add_products(&mut outputs, delta, &body, 12);
        assert_eq!(outputs, want);
    }
}
