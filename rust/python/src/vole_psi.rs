//! Python face of PSI from VOLE, and of the buckets that large sets are split into.

use atoll_primitives::stream::Secret;
use atoll_psi::partition::partition;
use atoll_psi::vole_psi::{Machine, Parameters, Role, Variant, parse_security};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::psi::{parse_words, refused, words};
use crate::refuse;

#[pyclass(module = "atoll._core")]
struct VolePsi {
    machine: Machine<PyBackedBytes>,
}

#[pymethods]
impl VolePsi {
    #[new]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        seed: &[u8],
        attempt: u32,
        channel: String,
        context: Vec<u8>,
        digests: PyBackedBytes,
        multiplicity: Option<&[u8]>,
        peer_items: u64,
        role: &str,
        both: bool,
        security: &str,
        variant: &str,
        threads: usize,
    ) -> PyResult<Self> {
        let seed: [u8; 32] = seed
            .try_into()
            .map_err(|_| refuse("E_FORMAT", "a job seed has 32 bytes"))?;
        let seed = Secret::new(seed);
        let multiplicity = multiplicity.map(parse_words).transpose()?;
        let parameters = Parameters {
            attempt,
            channel,
            context,
            peer_items,
            role: Role::parse(role).map_err(refused)?,
            both,
            security: parse_security(security).map_err(refused)?,
            variant: Variant::parse(variant).map_err(refused)?,
            threads,
        };
        let machine = py.detach(|| Machine::new(&seed, parameters, digests, multiplicity));
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

    fn matched<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        words(py, self.machine.matched().map_err(refused)?)
    }

    fn peer_multiplicity<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        self.machine
            .peer_multiplicity()
            .map_err(refused)?
            .map(|m| words(py, m))
            .transpose()
    }

    fn size(&self) -> PyResult<Option<u64>> {
        self.machine.size().map_err(refused)
    }

    fn progress(&self) -> (u64, u64) {
        self.machine.progress()
    }

    fn presented_at_most(&self) -> u64 {
        self.machine.presented_at_most()
    }
}

#[pyfunction]
#[allow(clippy::type_complexity)]
fn psi_partition<'py>(
    py: Python<'py>,
    digests: PyBackedBytes,
    key: &[u8],
    buckets: usize,
    threads: usize,
) -> PyResult<(Bound<'py, PyBytes>, Vec<u32>)> {
    let key: [u8; 32] = key
        .try_into()
        .map_err(|_| refuse("E_FORMAT", "a key of buckets has 32 bytes"))?;
    let (order, counts) = py
        .detach(|| partition(&digests, &key, buckets, threads))
        .map_err(refused)?;
    Ok((words(py, &order)?, counts))
}

#[pyfunction]
fn psi_slots(items: usize, variant: &str) -> PyResult<usize> {
    atoll_psi::vole_psi::slots(items, Variant::parse(variant).map_err(refused)?).map_err(refused)
}

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(psi_partition, m)?)?;
    m.add_function(wrap_pyfunction!(psi_slots, m)?)?;
    m.add_class::<VolePsi>()
}
