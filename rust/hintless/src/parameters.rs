//! The ring LWE instance, and how the hint is cut up; `scripts/hintless_parameters.py` derives them.

use atoll_pir::parameters::N as SECRET_WORDS;

/// Degree of the ring.
pub const DEGREE: usize = 2048;
/// Its modulus, the largest prime below 2^44 that is 1 modulo 4096.
pub const Q: u64 = 0x0fff_ffff_c001;
/// Bits of the modulus.
pub const Q_BITS: usize = 44;
/// Lowest bits of the hint's words that are rounded off: the secret of a query is short.
pub const HINT_DROPPED: u32 = 11;
/// Words of the secret in a ciphertext: a row of the hint takes so many coefficients of a polynomial.
pub const WIDTH: usize = 512;
/// Ciphertexts of a secret.
pub const CHUNKS: usize = SECRET_WORDS.div_ceil(WIDTH);
/// Times that ciphertexts are packed two into one.
pub const LEVELS: usize = WIDTH.ilog2() as usize;
/// Rows that one packed ciphertext holds.
pub const BLOCK_ROWS: usize = DEGREE;
/// Bits of an answer's words: of those that hold rows, and of those that take the mask off.
pub const ROW_BITS: u32 = 16;
/// As `ROW_BITS`.
pub const MASK_BITS: u32 = 20;

/// How a level cuts words up for its change of keys: digits of `bits` bits, the lowest worth 2^`dropped`.
#[derive(Debug, Clone, Copy)]
pub struct Digits {
    /// How many.
    pub count: usize,
    /// Bits of each.
    pub bits: u32,
    /// Bits that are rounded off.
    pub dropped: u32,
}

/// Levels, the first ones, whose digits are finer: noise is doubled by all levels that follow.
const FINE_LEVELS: usize = 6;

/// The digits of a level, 1 to `LEVELS`.
pub const fn digits(level: usize) -> Digits {
    let (count, bits, dropped) = if level <= FINE_LEVELS {
        (2, 14, 16)
    } else {
        (1, 21, 23)
    };
    Digits {
        count,
        bits,
        dropped,
    }
}

/// Polynomials of the keys, over all levels.
pub const KEY_PARTS: usize = LEVELS + FINE_LEVELS;
