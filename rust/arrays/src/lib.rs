//! What shared arrays compute on one party's machine: products of replicated shares (Araki et al., eprint 2016/768),
//! random streams that two of three parties hold alike, bits in planes, comparisons by digits, permutations and the switches of
//! their networks.
//!
//! Everything is modulo 2^64 or 2^128, or over bits that stand in words; the choreography is in Python (`atoll/mpc`).

pub mod digits;
pub mod matrix;
pub mod network;
pub mod planes;
pub mod product;
pub mod scale;
pub mod streams;
pub mod wide;

pub use atoll_primitives::refusal::Refusal;

/// Most words of one operand.
pub const MOST_WORDS: usize = 1 << 31;

pub(crate) fn same(lengths: &[usize]) -> Result<usize, Refusal> {
    let first = lengths[0];
    if lengths.iter().any(|l| *l != first) {
        return Err(Refusal::new(
            "E_FORMAT",
            "the operands of a product are not equally long",
        ));
    }
    Ok(first)
}
