//! Python face of the kernels of shared arrays.

use atoll_arrays::streams::{MOST_PLACES, Pair, Stream};
use atoll_arrays::{matrix, network, planes, product};
use pyo3::prelude::*;
use pyo3::types::PyBytes;

use crate::buffers::Words;
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
        let out = py.detach(|| product::words(&mut self.0, x, y));
        long_words(py, &out.map_err(refused)?)
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
        let out = py.detach(|| product::bits(&mut self.0, x, y));
        long_words(py, &out.map_err(refused)?)
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
        let out = py.detach(|| matrix::product(&mut self.0, x, y, sizes, threads));
        long_words(py, &out.map_err(refused)?)
    }

    fn zeros<'py>(&mut self, py: Python<'py>, words: usize) -> PyResult<Bound<'py, PyBytes>> {
        let out = py.detach(|| {
            let mut out = vec![0; words];
            self.0.add_zero(&mut out);
            out
        });
        long_words(py, &out)
    }

    fn before<'py>(&mut self, py: Python<'py>, words: usize) -> PyResult<Bound<'py, PyBytes>> {
        draw(py, &mut self.0.before, words)
    }

    fn after<'py>(&mut self, py: Python<'py>, words: usize) -> PyResult<Bound<'py, PyBytes>> {
        draw(py, &mut self.0.after, words)
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

fn draw<'py>(py: Python<'py>, stream: &mut Stream, words: usize) -> PyResult<Bound<'py, PyBytes>> {
    let out = py.detach(|| {
        let mut out = vec![0; words];
        stream.fill(&mut out);
        out
    });
    long_words(py, &out)
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
    m.add_function(wrap_pyfunction!(array_planes, m)?)?;
    m.add_function(wrap_pyfunction!(array_numbers, m)?)?;
    m.add_function(wrap_pyfunction!(array_switches, m)?)?;
    m.add_function(wrap_pyfunction!(array_layer, m)?)
}
