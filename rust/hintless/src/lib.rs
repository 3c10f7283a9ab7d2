//! Index PIR without a hint: the holder multiplies its hint with the asker's secret, which it gets encrypted.
//!
//! The idea is HintlessPIR's (Li, Micciancio, Raykova, Schultz, eprint 2023/1733). Here the secret stands in the
//! coefficients of a few ciphertexts under ring LWE, rows of the hint are multiplied with it as polynomials, and the
//! products are packed into one ciphertext for 2048 rows by automorphisms (Chen, Dai, Kim, Song, eprint 2020/015). The
//! products come off the answer before it is sent, so that one message of 4.5 bytes a row stands for answer and hint.
//! `docs/protocols/sealed-lookup.md` has the parameters, what they reveal, and what they cost.

pub mod asker;
pub mod holder;
pub mod message;
pub mod parameters;
pub mod ring;

pub use asker::Asker;
pub use atoll_primitives::refusal::Refusal;
pub use holder::{Keys, Question, Rows};
pub use message::{ANSWER_BLOCK_BYTES, KEYS_BYTES, QUESTION_BYTES, answer_bytes};
