//! The holder's table: cells under a pseudorandom function that nobody evaluates in plain sight for the asker.
//!
//! F(id) is AES-128 under a few keys of the holder at the first half of the id's digest: a tag, and a pad for each
//! word. A cell is the tag and the words less their pads modulo 2^64; a cell that holds nothing is random. Where a
//! cell stands follows from the digest and a public salt alone, and its place in the column is random.

use aes::Aes128Enc;
use aes::cipher::{BlockCipherEncrypt, KeyInit};
use atoll_primitives::stream::{Secret, Stream};

use super::aes::{RoundKeys, round_keys};
use super::parameters::Shape;
use crate::Refusal;
use crate::keys::KeyDigest;

/// What the function reads of a key.
pub(crate) fn input(digest: &KeyDigest) -> [u8; 16] {
    *digest.first_chunk().expect("32 bytes")
}

/// The column of a key, the same for everybody who knows the key and the salt.
pub fn column(digest: &KeyDigest, salt: &[u8; 16], columns: usize) -> usize {
    let mut stream = Stream::derive(digest, &[b"lookup-totals/v1/column", salt]);
    stream.below(columns as u64) as usize
}

/// The keys of the function of one table. Under one of them a digest is sealed once: another value under the same pad
/// would show the difference.
#[derive(Debug)]
pub struct Sealing {
    shape: Shape,
    keys: Vec<Secret<16>>,
}

impl Sealing {
    /// The function that belongs to `secret`.
    pub fn new(secret: &Secret<32>, shape: Shape) -> Self {
        let key = |block: usize| {
            let number = (block as u32).to_le_bytes();
            Stream::derive(secret.expose(), &[b"lookup-totals/v1/key", &number]).bytes()
        };
        Self {
            shape,
            keys: (0..shape.blocks())
                .map(|block| Secret::new(key(block)))
                .collect(),
        }
    }

    /// What its cells are like.
    pub fn shape(&self) -> &Shape {
        &self.shape
    }

    /// Round keys of each block.
    pub(crate) fn round_keys(&self) -> Vec<RoundKeys> {
        self.keys
            .iter()
            .map(|key| round_keys(key.expose()))
            .collect()
    }

    /// A sealed table: columns of cells, one after the other.
    ///
    /// `digests` are distinct keys of 32 bytes, `values` as many times `words` words; `filler` gives what cells hold
    /// that hold nothing, and where cells stand. `E_FORMAT` for lengths, `E_DUPLICATE` if a key comes twice,
    /// `E_TOO_LARGE` if a column has more keys than cells: the shape is to be chosen so that this is rare, since
    /// another salt in place of one that failed tells something of the keys.
    pub fn table(
        &self,
        salt: &[u8; 16],
        columns: usize,
        digests: &[u8],
        values: &[u64],
        mut filler: Stream,
    ) -> Result<Vec<u8>, Refusal> {
        let (digests, rest) = digests.as_chunks::<32>();
        let (cells, words) = (self.shape.cells(), self.shape.words());
        if !rest.is_empty() || values.len() != digests.len() * words || columns == 0 {
            return Err(Refusal::new(
                "E_FORMAT",
                format!("a table has columns, and each key of 32 bytes {words} words"),
            ));
        }
        let mut sorted = digests.to_vec();
        sorted.sort_unstable();
        if sorted.windows(2).any(|pair| pair[0] == pair[1]) {
            return Err(Refusal::new("E_DUPLICATE", "a key comes twice"));
        }
        let mut table = vec![0; columns * self.shape.column_bytes()];
        filler.fill_bytes(&mut table);
        let size = self.shape.cell_bytes();
        let unused = (1u16 << (8 * self.shape.tag_bytes() as u32 - self.shape.tag_bits())) - 1;
        for cell in table.chunks_exact_mut(size) {
            cell[self.shape.tag_bytes() - 1] &= (0xff >> unused.count_ones()) as u8;
        }
        let mut free: Vec<Vec<u32>> = (0..columns)
            .map(|_| filler.permutation(cells as u32))
            .collect();
        let ciphers: Vec<Aes128Enc> = self
            .keys
            .iter()
            .map(|key| Aes128Enc::new(key.expose().into()))
            .collect();
        for (digest, values) in digests.iter().zip(values.chunks_exact(words)) {
            let column = column(digest, salt, columns);
            let slot = free[column]
                .pop()
                .ok_or_else(|| Refusal::new("E_TOO_LARGE", "a column has more keys than cells"))?;
            let cell = &mut table[(column * cells + slot as usize) * size..][..size];
            self.seal(&ciphers, digest, values, cell);
        }
        Ok(table)
    }

    fn seal(&self, ciphers: &[Aes128Enc], digest: &KeyDigest, values: &[u64], cell: &mut [u8]) {
        let mut function = ciphers.iter().flat_map(|cipher| {
            let mut block = input(digest).into();
            cipher.encrypt_block(&mut block);
            let block = u128::from_le_bytes(block.into());
            [block as u64, (block >> 64) as u64]
        });
        let tag = function.next().unwrap_or_default() & self.shape.tag_mask();
        let (head, body) = cell.split_at_mut(self.shape.tag_bytes());
        head.copy_from_slice(&tag.to_le_bytes()[..head.len()]);
        for ((out, value), pad) in body
            .as_chunks_mut::<8>()
            .0
            .iter_mut()
            .zip(values)
            .zip(function)
        {
            *out = value.wrapping_sub(pad).to_le_bytes();
        }
    }
}

/// Tag and words of each cell of a column of the right length.
pub(crate) fn split(shape: &Shape, column: &[u8]) -> (Vec<u64>, Vec<u64>) {
    let tag_bytes = shape.tag_bytes();
    let cells = column.chunks_exact(shape.cell_bytes());
    let tag = |cell: &[u8]| {
        let mut bytes = [0; 8];
        bytes[..tag_bytes].copy_from_slice(&cell[..tag_bytes]);
        u64::from_le_bytes(bytes) & shape.tag_mask()
    };
    let tags = cells.clone().map(tag).collect();
    let words = cells.flat_map(|cell| cell[tag_bytes..].as_chunks::<8>().0);
    (tags, words.map(|word| u64::from_le_bytes(*word)).collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn digests(count: u8) -> Vec<u8> {
        (0..count)
            .flat_map(|key| Stream::derive(&[key], &[b"digest"]).bytes::<32>())
            .collect()
    }

    fn stream() -> Stream {
        Stream::derive(&[1; 32], &[b"filler"])
    }

    #[test]
    fn each_key_has_one_cell_in_its_column() {
        let shape = Shape::new(12, 2).unwrap();
        let sealing = Sealing::new(&Secret::new([5; 32]), shape);
        let (digests, salt) = (digests(40), [2; 16]);
        let values: Vec<u64> = (0..80).collect();
        let table = sealing
            .table(&salt, 8, &digests, &values, stream())
            .unwrap();
        let keys = digests.as_chunks::<32>().0;
        for (key, values) in keys.iter().zip(values.chunks(2)) {
            let ciphers: Vec<u128> = sealing
                .keys
                .iter()
                .map(|k| {
                    let mut block = input(key).into();
                    Aes128Enc::new(k.expose().into()).encrypt_block(&mut block);
                    u128::from_le_bytes(block.into())
                })
                .collect();
            let at = column(key, &salt, 8);
            let (tags, words) = split(
                &shape,
                &table[at * shape.column_bytes()..][..shape.column_bytes()],
            );
            let tag = ciphers[0] as u64 & shape.tag_mask();
            let found: Vec<usize> = (0..12).filter(|slot| tags[*slot] == tag).collect();
            assert_eq!(found.len(), 1);
            let pads = [(ciphers[0] >> 64) as u64, ciphers[1] as u64];
            for k in 0..2 {
                assert_eq!(words[2 * found[0] + k].wrapping_add(pads[k]), values[k]);
            }
        }
        // 44 bits of a tag: the upper four of its last byte are zero in every cell.
        assert_eq!(shape.tag_bits(), 44);
        assert!(table.chunks(shape.cell_bytes()).all(|cell| cell[5] < 16));
        let full = table
            .chunks(shape.cell_bytes())
            .filter(|cell| cell[5] > 7)
            .count();
        assert!((20..80).contains(&full), "{full}");
    }

    #[test]
    fn bad_tables_are_refused() {
        let sealing = Sealing::new(&Secret::new([5; 32]), Shape::new(2, 1).unwrap());
        let code = |columns, digests: &[u8], values: &[u64]| {
            let table = sealing.table(&[2; 16], columns, digests, values, stream());
            table.unwrap_err().code
        };
        assert_eq!(code(4, &[0; 31], &[]), "E_FORMAT");
        assert_eq!(code(4, &[0; 32], &[1, 2]), "E_FORMAT");
        assert_eq!(code(0, &[], &[]), "E_FORMAT");
        assert_eq!(code(4, &[0; 64], &[1, 2]), "E_DUPLICATE");
        assert_eq!(code(1, &digests(3), &[1, 2, 3]), "E_TOO_LARGE");
    }
}
