//! Python face of the kernels of shared arrays.

use atoll_arrays::scale::{self, Dealt, Drawn, Opened};
use atoll_arrays::streams::{MOST_PLACES, Pair, Stream};
use atoll_arrays::wide::{self, Plain};
use atoll_arrays::{matrix, network, planes, product};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::buffers::{Words, array_keep_memory, new_words};
use crate::circuit::long_words;
use crate::refuse;

fn refused(refusal: atoll_arrays::Refusal) -> PyErr {
    refuse(refusal.code, refusal.text)
}

/// One party's two streams, and what it computes with them.
#[pyclass(module = "atoll._core")]
struct ArrayStreams(Pair);

fn key(bytes: &[u8]) -> PyResult<[u8; 16]> {
    bytes
        .try_into()
        .map_err(|_| refuse("E_FORMAT", "a key of a stream has 16 bytes"))
}

#[pymethods]
impl ArrayStreams {
    #[new]
    fn new(before: &[u8], after: &[u8]) -> PyResult<Self> {
        Ok(Self(Pair {
            before: Stream::new(&key(before)?),
            after: Stream::new(&key(after)?),
        }))
    }

    fn products<'py>(
        &mut self,
        py: Python<'py>,
        x0: Words,
        x1: Words,
        y0: Words,
        y1: Words,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let (x, y) = (
            [x0.as_slice(), x1.as_slice()],
            [y0.as_slice(), y1.as_slice()],
        );
        let fill = |out: &mut [u64]| product::words(&mut self.0, x, y, out);
        new_words(py, x[0].len(), fill, refused)
    }

    fn bit_products<'py>(
        &mut self,
        py: Python<'py>,
        x0: Words,
        x1: Words,
        y0: Words,
        y1: Words,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let (x, y) = (
            [x0.as_slice(), x1.as_slice()],
            [y0.as_slice(), y1.as_slice()],
        );
        let fill = |out: &mut [u64]| product::bits(&mut self.0, x, y, out);
        new_words(py, x[0].len(), fill, refused)
    }

    #[allow(clippy::too_many_arguments)]
    fn matrix_product<'py>(
        &mut self,
        py: Python<'py>,
        x0: Words,
        x1: Words,
        y0: Words,
        y1: Words,
        sizes: [usize; 3],
        threads: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let (x, y) = (
            [x0.as_slice(), x1.as_slice()],
            [y0.as_slice(), y1.as_slice()],
        );
        let size = sizes[0].saturating_mul(sizes[2]);
        if size > atoll_arrays::MOST_WORDS {
            return Err(refuse("E_TOO_LARGE", "a matrix is too large"));
        }
        let fill = |out: &mut [u64]| matrix::product(&mut self.0, x, y, sizes, threads, out);
        new_words(py, size, fill, refused)
    }

    fn wide_products<'py>(
        &mut self,
        py: Python<'py>,
        x0: Words,
        x1: Words,
        y0: Words,
        y1: Words,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let (x, y) = (
            [x0.as_slice(), x1.as_slice()],
            [y0.as_slice(), y1.as_slice()],
        );
        let fill = |out: &mut [u64]| wide::products(&mut self.0, x, y, out);
        new_words(py, x[0].len(), fill, refused)
    }

    #[allow(clippy::too_many_arguments)]
    fn wide_matrix_product<'py>(
        &mut self,
        py: Python<'py>,
        x0: Words,
        x1: Words,
        y0: Words,
        y1: Words,
        sizes: [usize; 3],
        threads: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        let (x, y) = (
            [x0.as_slice(), x1.as_slice()],
            [y0.as_slice(), y1.as_slice()],
        );
        let size = sizes[0].saturating_mul(sizes[2]).saturating_mul(2);
        if size > atoll_arrays::MOST_WORDS {
            return Err(refuse("E_TOO_LARGE", "a matrix is too large"));
        }
        let fill = |out: &mut [u64]| wide::matrix(&mut self.0, x, y, sizes, threads, out);
        new_words(py, size, fill, refused)
    }

    fn zeros<'py>(&mut self, py: Python<'py>, words: usize) -> PyResult<Bound<'py, PyBytes>> {
        let fill = |out: &mut [u64]| {
            self.0.add_zero(out);
            Ok(())
        };
        new_words(py, words, fill, refused)
    }

    fn before<'py>(&mut self, py: Python<'py>, words: usize) -> PyResult<Bound<'py, PyBytes>> {
        draw(py, &mut self.0.before, words)
    }

    fn after<'py>(&mut self, py: Python<'py>, words: usize) -> PyResult<Bound<'py, PyBytes>> {
        draw(py, &mut self.0.after, words)
    }

    /// Party 2: what it sends to party 1, its part first; and its two shares of quotients.
    fn scale_deal<'py>(
        &mut self,
        py: Python<'py>,
        part: Words,
        shift: u32,
    ) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let part = part.as_slice();
        let size = part.len();
        let (mut own, mut after) = (vec![0; size], vec![0; size]);
        let fill = |out: &mut [u64]| {
            let (first, masks) = out.split_at_mut(size);
            first.copy_from_slice(part);
            let (high, top) = masks.split_at_mut(size);
            let (own, after) = (&mut own[..], &mut after[..]);
            scale::deal(
                &mut self.0,
                shift,
                Dealt {
                    high,
                    top,
                    own,
                    after,
                },
            )
        };
        let sent = new_words(py, 3 * size, fill, refused)?;
        Ok(vec![sent, long_words(py, &own)?, long_words(py, &after)?])
    }

    /// Party 0's masked part, its share of the result, and its shares of the mask's quotients and highest bits.
    fn scale_first<'py>(
        &mut self,
        py: Python<'py>,
        part: Words,
    ) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let part = part.as_slice();
        arrays(py, part.len(), |[masked, result, high, top]| {
            scale::mask(
                &mut self.0.before,
                part,
                Drawn {
                    masked,
                    result,
                    mask: Some((high, top)),
                },
            )
        })
    }

    /// Party 1's masked part, and its share of the result.
    fn scale_second<'py>(
        &mut self,
        py: Python<'py>,
        part: Words,
    ) -> PyResult<Vec<Bound<'py, PyBytes>>> {
        let part = part.as_slice();
        arrays(py, part.len(), |[masked, result]| {
            scale::mask(
                &mut self.0.after,
                part,
                Drawn {
                    masked,
                    result,
                    mask: None,
                },
            )
        })
    }

    fn order_before<'py>(
        &mut self,
        py: Python<'py>,
        places: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        order(py, &mut self.0.before, places)
    }

    fn order_after<'py>(
        &mut self,
        py: Python<'py>,
        places: usize,
    ) -> PyResult<Bound<'py, PyBytes>> {
        order(py, &mut self.0.after, places)
    }
}

/// Several arrays of so many words, made at once.
fn arrays<'py, const N: usize>(
    py: Python<'py>,
    words: usize,
    fill: impl FnOnce([&mut [u64]; N]) -> Result<(), atoll_arrays::Refusal> + Send,
) -> PyResult<Vec<Bound<'py, PyBytes>>> {
    let mut all = vec![0u64; N * words];
    py.detach(|| {
        let mut rest = &mut all[..];
        let parts = std::array::from_fn(|_| {
            let (part, others) = std::mem::take(&mut rest).split_at_mut(words);
            rest = others;
            part
        });
        fill(parts)
    })
    .map_err(refused)?;
    (0..N)
        .map(|i| long_words(py, &all[i * words..(i + 1) * words]))
        .collect()
}

/// The product of matrices in plain words.
#[pyfunction]
fn array_matrix_product<'py>(
    py: Python<'py>,
    x: Words,
    y: Words,
    sizes: [usize; 3],
    threads: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    let size = sizes[0].saturating_mul(sizes[2]);
    if size > atoll_arrays::MOST_WORDS {
        return Err(refuse("E_TOO_LARGE", "a matrix is too large"));
    }
    let pairs = [(x.as_slice(), y.as_slice())];
    new_words(
        py,
        size,
        |out| matrix::sum_of_products(&pairs, sizes, threads, out),
        refused,
    )
}

/// Sums (`+`), differences (`-`) or products (`*`) modulo 2^128 in plain words; one operand may be one number for all.
#[pyfunction]
fn array_wide_plain<'py>(
    py: Python<'py>,
    what: char,
    x: Words,
    y: Words,
) -> PyResult<Bound<'py, PyBytes>> {
    let what = match what {
        '+' => Plain::Sum,
        '-' => Plain::Difference,
        '*' => Plain::Product,
        _ => return Err(refuse("E_FORMAT", "no such operation")),
    };
    let (x, y) = (x.as_slice(), y.as_slice());
    let size = if x.len() == 2 { y.len() } else { x.len() };
    new_words(py, size, |out| wide::plain(what, x, y, out), refused)
}

/// The part of party 0 (`first`) or 1 of quotients, less the share that it drew.
#[pyfunction]
#[allow(clippy::too_many_arguments)]
fn array_scale_part<'py>(
    py: Python<'py>,
    mine: Words,
    other: Words,
    third: Words,
    high: Words,
    top: Words,
    result: Words,
    shift: u32,
    first: bool,
) -> PyResult<Bound<'py, PyBytes>> {
    let opened = Opened {
        sum: [mine.as_slice(), other.as_slice(), third.as_slice()],
        mask: [high.as_slice(), top.as_slice()],
        result: result.as_slice(),
    };
    new_words(
        py,
        mine.as_slice().len(),
        |out| scale::part(opened, shift, first, out),
        refused,
    )
}

fn draw<'py>(py: Python<'py>, stream: &mut Stream, words: usize) -> PyResult<Bound<'py, PyBytes>> {
    let fill = |out: &mut [u64]| {
        stream.fill(out);
        Ok(())
    };
    new_words(py, words, fill, refused)
}

fn order<'py>(
    py: Python<'py>,
    stream: &mut Stream,
    places: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    if places > MOST_PLACES {
        return Err(refuse(
            "E_TOO_LARGE",
            "a permutation has at most 2^28 places",
        ));
    }
    let order = py.detach(|| stream.permutation(places));
    PyBytes::new_with(py, 4 * places, |out| {
        for (slot, place) in out.as_chunks_mut::<4>().0.iter_mut().zip(&order) {
            *slot = place.to_le_bytes();
        }
        Ok(())
    })
}

#[pyfunction]
fn array_planes<'py>(
    py: Python<'py>,
    numbers: Words,
    bits: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    let out = py.detach(|| planes::split(numbers.as_slice(), bits));
    long_words(py, &out.map_err(refused)?)
}

#[pyfunction]
fn array_numbers<'py>(
    py: Python<'py>,
    words: Words,
    bits: usize,
    numbers: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    let out = py.detach(|| planes::join(words.as_slice(), bits, numbers));
    long_words(py, &out.map_err(refused)?)
}

/// The order is little-endian words of 32 bits.
#[pyfunction]
fn array_switches<'py>(py: Python<'py>, order: &[u8]) -> PyResult<Bound<'py, PyBytes>> {
    let (places, rest) = order.as_chunks::<4>();
    if !rest.is_empty() {
        return Err(refuse("E_FORMAT", "an order is of words of 32 bits"));
    }
    let out = py.detach(|| {
        let places: Vec<u32> = places.iter().map(|b| u32::from_le_bytes(*b)).collect();
        network::switches(&places)
    });
    long_words(py, &out.map_err(refused)?)
}

/// The bit in which the places of each switch of a layer differ.
#[pyfunction]
fn array_layer(layer: usize, k: u32) -> PyResult<u32> {
    network::layer_bit(layer, k).map_err(refused)
}

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<ArrayStreams>()?;
    m.add_function(wrap_pyfunction!(array_scale_part, m)?)?;
    m.add_function(wrap_pyfunction!(array_planes, m)?)?;
    m.add_function(wrap_pyfunction!(array_keep_memory, m)?)?;
    m.add_function(wrap_pyfunction!(array_matrix_product, m)?)?;
    m.add_function(wrap_pyfunction!(array_wide_plain, m)?)?;
    m.add_function(wrap_pyfunction!(array_numbers, m)?)?;
    m.add_function(wrap_pyfunction!(array_switches, m)?)?;
    m.add_function(wrap_pyfunction!(array_layer, m)?)
}
