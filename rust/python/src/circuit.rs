//! Python face of circuit-PSI.

use atoll_primitives::stream::Secret;
use atoll_psi::circuit::{Machine, Parameters, Role, sizes};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::psi::{refused, words};
use crate::refuse;

#[pyclass(module = "atoll._core")]
struct CircuitPsi {
    machine: Machine<PyBackedBytes>,
}

/// Little-endian bytes of u64 values.
pub(crate) fn long_words<'py>(py: Python<'py>, values: &[u64]) -> PyResult<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, values.len() * 8, |out| {
        for (slot, value) in out.as_chunks_mut::<8>().0.iter_mut().zip(values) {
            *slot = value.to_le_bytes();
        }
        Ok(())
    })
}

#[pymethods]
impl CircuitPsi {
    #[new]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        seed: &[u8],
        attempt: u32,
        channel: String,
        context: Vec<u8>,
        digests: PyBackedBytes,
        payload: PyBackedBytes,
        role: &str,
        placer_items: u64,
        mapper_items: u64,
        multiplicity: u32,
        placer_words: usize,
        mapper_words: usize,
        threads: usize,
    ) -> PyResult<Self> {
        let seed: [u8; 32] = seed
            .try_into()
            .map_err(|_| refuse("E_FORMAT", "a job seed has 32 bytes"))?;
        let seed = Secret::new(seed);
        let parameters = Parameters {
            attempt,
            channel,
            context,
            role: Role::parse(role).map_err(refused)?,
            placer_items,
            mapper_items,
            multiplicity,
            placer_words,
            mapper_words,
            threads,
        };
        let (payload, []) = payload.as_chunks::<8>() else {
            return Err(refuse("E_FORMAT", "payload words have 8 bytes each"));
        };
        let payload = payload.iter().map(|w| u64::from_le_bytes(*w)).collect();
        let machine = py.detach(|| Machine::new(&seed, parameters, digests, payload));
        Ok(Self {
            machine: machine.map_err(refused)?,
        })
    }

    #[allow(clippy::type_complexity)]
    fn next_message<'py>(
        &mut self,
        py: Python<'py>,
    ) -> PyResult<Option<(Bound<'py, PyBytes>, String, bool)>> {
        let message = py.detach(|| self.machine.next_message()).map_err(refused)?;
        Ok(message.map(|m| (PyBytes::new(py, &m.bytes), m.step, m.opens)))
    }

    fn receive(&mut self, py: Python<'_>, message: PyBackedBytes) -> PyResult<()> {
        py.detach(|| self.machine.receive(&message))
            .map_err(refused)
    }

    #[getter]
    fn done(&self) -> bool {
        self.machine.done()
    }

    fn progress(&self) -> (u64, u64) {
        self.machine.progress()
    }

    #[allow(clippy::type_complexity)]
    fn output<'py>(
        &self,
        py: Python<'py>,
    ) -> PyResult<(
        usize,
        Bound<'py, PyBytes>,
        Bound<'py, PyBytes>,
        Option<Bound<'py, PyBytes>>,
    )> {
        let out = self.machine.output().map_err(refused)?;
        let packed = out.matched.iter().flat_map(|word| word.to_le_bytes());
        let packed: Vec<u8> = packed.take(out.bins.div_ceil(8)).collect();
        let rows = out.rows.map(|rows| words(py, &rows)).transpose()?;
        Ok((
            out.bins,
            PyBytes::new(py, &packed),
            long_words(py, &out.words)?,
            rows,
        ))
    }
}

/// Bins, bytes of the placer and of the mapper, rounds, values of correlations.
type Numbers = (usize, u64, u64, u64, u64);

#[pyfunction]
fn circuit_sizes(
    placer_items: u64,
    mapper_items: u64,
    multiplicity: u32,
    placer_words: usize,
    mapper_words: usize,
) -> PyResult<Numbers> {
    let found = sizes(&Parameters {
        attempt: 0,
        channel: String::new(),
        context: Vec::new(),
        role: Role::Placer,
        placer_items,
        mapper_items,
        multiplicity,
        placer_words,
        mapper_words,
        threads: 1,
    });
    let found = found.map_err(refused)?;
    Ok((
        found.bins,
        found.placer_bytes,
        found.mapper_bytes,
        found.rounds,
        found.values,
    ))
}

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(circuit_sizes, m)?)?;
    m.add_class::<CircuitPsi>()
}
