//! Python face of the programmed function, and of shares of zero among several parties.

use atoll_primitives::stream::{Secret, Stream};
use atoll_psi::opprf::{Machine, Parameters};
use atoll_psi::zero_shares::{Use, keyed};
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::masks::{fixed, key, parse_peers};
use crate::psi::refused;
use crate::refuse;

/// 16 little-endian bytes a word.
fn wide<'py>(py: Python<'py>, words: &[u128]) -> PyResult<Bound<'py, PyBytes>> {
    PyBytes::new_with(py, 16 * words.len(), |out| {
        for (out, word) in out.as_chunks_mut::<16>().0.iter_mut().zip(words) {
            *out = word.to_le_bytes();
        }
        Ok(())
    })
}

fn parse_wide(bytes: &[u8]) -> PyResult<Vec<u128>> {
    match bytes.as_chunks::<16>() {
        (words, []) => Ok(words.iter().map(|w| u128::from_le_bytes(*w)).collect()),
        _ => Err(refuse("E_FORMAT", "targets have 16 bytes each")),
    }
}

#[pyclass(module = "atoll._core")]
struct Opprf {
    machine: Machine<PyBackedBytes>,
}

#[pymethods]
impl Opprf {
    #[new]
    #[allow(clippy::too_many_arguments)]
    fn new(
        py: Python<'_>,
        seed: &[u8],
        attempt: u32,
        channel: String,
        context: Vec<u8>,
        digests: PyBackedBytes,
        targets: Option<&[u8]>,
        peer_items: u64,
        bits: u32,
        threads: usize,
    ) -> PyResult<Self> {
        let seed = Secret::new(fixed("a job seed", seed)?);
        let targets = targets.map(parse_wide).transpose()?;
        let parameters = Parameters {
            attempt,
            channel,
            context,
            peer_items,
            bits,
            threads,
        };
        let machine = py.detach(|| match targets {
            None => Machine::receiver(&seed, parameters, digests),
            Some(targets) => Machine::sender(&seed, parameters, digests, targets),
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

    fn outputs<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        wide(py, self.machine.outputs().map_err(refused)?)
    }

    fn progress(&self) -> (u64, u64) {
        self.machine.progress()
    }
}

#[pyfunction]
#[allow(clippy::too_many_arguments)]
fn star_pairwise<'py>(
    py: Python<'py>,
    seed: &[u8],
    attempt: u32,
    channel: &str,
    me: &[u8],
    peers: Vec<(Vec<u8>, Vec<u8>)>,
    context: &[u8],
    of: &str,
    digests: PyBackedBytes,
    threads: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    let own = key(seed, attempt, channel)?;
    let label = format!("star-psi/{of}");
    let of = Use::parse(of).map_err(refused)?;
    let keys = parse_peers(peers)?
        .iter()
        .map(|peer| own.pair_key(me, peer, context, &label))
        .collect::<Result<Vec<_>, _>>()
        .map_err(|refusal| refuse(refusal.code, refusal.text))?;
    let out = py.detach(|| keyed(of, &keys, &digests, threads));
    wide(py, &out.map_err(refused)?)
}

#[pyfunction]
fn star_blinds<'py>(
    py: Python<'py>,
    seed: &[u8],
    attempt: u32,
    channel: &str,
    digests: PyBackedBytes,
    threads: usize,
) -> PyResult<Bound<'py, PyBytes>> {
    let seed = Secret::new(fixed("a job seed", seed)?);
    let own = Secret::new(Stream::new(&seed, attempt, channel, "star-psi/blind").bytes());
    let out = py.detach(|| keyed(Use::Blind, &[own], &digests, threads));
    wide(py, &out.map_err(refused)?)
}

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(star_pairwise, m)?)?;
    m.add_function(wrap_pyfunction!(star_blinds, m)?)?;
    m.add_class::<Opprf>()
}
