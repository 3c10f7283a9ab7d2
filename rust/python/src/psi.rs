//! Python face of ECDH-PSI.

use atoll_primitives::stream::Secret;
use atoll_psi::Refusal;
use atoll_psi::ecdh::{Learns, Machine, Parameters};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::refuse;

pub(crate) fn refused(refusal: Refusal) -> PyErr {
    refuse(refusal.code, refusal.text)
}

/// Little-endian bytes of u32 values.
pub(crate) fn words<'py>(py: Python<'py>, values: &[u32]) -> PyResult<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, values.len() * 4, |out| {
        for (slot, value) in out.as_chunks_mut::<4>().0.iter_mut().zip(values) {
            *slot = value.to_le_bytes();
        }
        Ok(())
    })
}

pub(crate) fn parse_words(bytes: &[u8]) -> PyResult<Vec<u32>> {
    match bytes.as_chunks::<4>() {
        (words, []) => Ok(words.iter().map(|w| u32::from_le_bytes(*w)).collect()),
        _ => Err(refuse("E_FORMAT", "multiplicities have 4 bytes each")),
    }
}

#[pyclass(module = "atoll._core")]
struct EcdhPsi {
    machine: Machine<PyBackedBytes>,
}

#[pymethods]
impl EcdhPsi {
    #[new]
    #[pyo3(signature = (seed, attempt, channel, context, digests, multiplicity, peer_items, i_learn,
                        peer_learns, threads, chunk_items, checkpoint=None))]
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
        i_learn: &str,
        peer_learns: &str,
        threads: usize,
        chunk_items: usize,
        checkpoint: Option<&[u8]>,
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
            i_learn: Learns::parse(i_learn).map_err(refused)?,
            peer_learns: Learns::parse(peer_learns).map_err(refused)?,
            threads,
            chunk_items,
        };
        let machine = py.detach(|| {
            let machine = Machine::new(&seed, parameters, digests, multiplicity)?;
            match checkpoint {
                Some(checkpoint) => machine.restore(checkpoint),
                None => Ok(machine),
            }
        });
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

    fn checkpoint<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        let out = py.detach(|| self.machine.checkpoint()).map_err(refused)?;
        Ok(PyBytes::new(py, &out))
    }
}

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<EcdhPsi>()
}
