//! Python face of the kept OPRF.

use atoll_primitives::stream::{Secret, Stream};
use atoll_psi::Party;
use atoll_psi::kept_messages::{Message, State};
use atoll_psi::kept_oprf::{Asker, Evaluator};
use atoll_psi::kept_store::Store;
use atoll_psi::kept_update::{Holder, Keeper, difference, width};
use atoll_psi::voprf::Key;
use pyo3::prelude::*;
use pyo3::pybacked::PyBackedBytes;
use pyo3::types::PyBytes;

use crate::psi::{refused, words};
use crate::refuse;

fn key(seed: &[u8], info: &[u8]) -> PyResult<Key> {
    let seed = seed
        .try_into()
        .map_err(|_| refuse("E_FORMAT", "a key's seed has 32 bytes"))?;
    Key::derive(seed, info).map_err(refused)
}

fn points(digests: &[u8]) -> PyResult<&[[u8; 32]]> {
    match digests.as_chunks() {
        (points, []) => Ok(points),
        _ => Err(refuse("E_FORMAT", "digests have 32 bytes each")),
    }
}

fn parse_store(bytes: Option<&[u8]>) -> PyResult<Store> {
    bytes.map_or_else(
        || Ok(Store::default()),
        |bytes| Store::parse(bytes).map_err(refused),
    )
}

fn stream(seed: &[u8], attempt: u32, channel: &str, step: &str) -> PyResult<Stream> {
    let seed: [u8; 32] = seed
        .try_into()
        .map_err(|_| refuse("E_FORMAT", "a job seed has 32 bytes"))?;
    Ok(Stream::new(&Secret::new(seed), attempt, channel, step))
}

enum Side {
    Holder(Holder),
    Keeper(Keeper),
    Asker(Box<Asker<PyBackedBytes>>),
    Evaluator(Evaluator),
}

impl Side {
    fn party(&mut self) -> &mut (dyn Party + Send) {
        match self {
            Self::Holder(side) => side,
            Self::Keeper(side) => side,
            Self::Asker(side) => side.as_mut(),
            Self::Evaluator(side) => side,
        }
    }

    fn done(&self) -> bool {
        match self {
            Self::Holder(side) => side.done(),
            Self::Keeper(side) => side.done(),
            Self::Asker(side) => side.done(),
            Self::Evaluator(side) => side.done(),
        }
    }
}

#[pyclass(module = "atoll._core")]
struct KeptOprf {
    side: Side,
}

#[pymethods]
impl KeptOprf {
    #[staticmethod]
    #[allow(clippy::too_many_arguments)]
    fn holder(
        py: Python<'_>,
        seed: &[u8],
        info: &[u8],
        from_version: u64,
        to_version: u64,
        removed: PyBackedBytes,
        added: PyBackedBytes,
        width: usize,
        threads: usize,
    ) -> PyResult<Self> {
        let key = key(seed, info)?;
        let (removed, added) = (points(&removed)?, points(&added)?);
        let holder = py
            .detach(|| {
                Holder::new(
                    &key,
                    (from_version, to_version),
                    removed,
                    added,
                    width,
                    threads,
                )
            })
            .map_err(refused)?;
        Ok(Self {
            side: Side::Holder(holder),
        })
    }

    #[staticmethod]
    fn keeper(store: Option<&[u8]>, max_items: u64) -> PyResult<Self> {
        let keeper = Keeper::new(parse_store(store)?, max_items);
        Ok(Self {
            side: Side::Keeper(keeper),
        })
    }

    #[staticmethod]
    #[allow(clippy::too_many_arguments)]
    fn asker(
        py: Python<'_>,
        seed: &[u8],
        attempt: u32,
        channel: &str,
        store: &[u8],
        digests: PyBackedBytes,
        chunk: usize,
        threads: usize,
    ) -> PyResult<Self> {
        let randomness = stream(seed, attempt, channel, "kept-oprf/asker")?;
        let asker = py
            .detach(|| Asker::new(Store::parse(store)?, digests, randomness, chunk, threads))
            .map_err(refused)?;
        Ok(Self {
            side: Side::Asker(Box::new(asker)),
        })
    }

    #[staticmethod]
    #[allow(clippy::too_many_arguments)]
    fn evaluator(
        seed: &[u8],
        attempt: u32,
        channel: &str,
        key_seed: &[u8],
        info: &[u8],
        version: u64,
        max_items: u64,
        threads: usize,
    ) -> PyResult<Self> {
        let randomness = stream(seed, attempt, channel, "kept-oprf/evaluator")?;
        let evaluator = Evaluator::new(
            key(key_seed, info)?,
            version,
            max_items,
            randomness,
            threads,
        );
        Ok(Self {
            side: Side::Evaluator(evaluator.map_err(refused)?),
        })
    }

    fn next_message<'py>(&mut self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyBytes>>> {
        let message = py
            .detach(|| self.side.party().next_message())
            .map_err(refused)?;
        Ok(message.map(|bytes| PyBytes::new(py, &bytes)))
    }

    fn receive(&mut self, py: Python<'_>, message: PyBackedBytes) -> PyResult<()> {
        py.detach(|| self.side.party().receive(&message))
            .map_err(refused)
    }

    #[getter]
    fn done(&self) -> bool {
        self.side.done()
    }

    fn progress(&self) -> (u64, u64) {
        match &self.side {
            Side::Asker(side) => side.progress(),
            Side::Evaluator(side) => side.progress(),
            _ => (u64::from(self.side.done()), 1),
        }
    }

    fn declared(&self) -> Option<u64> {
        match &self.side {
            Side::Evaluator(side) => side.declared(),
            _ => None,
        }
    }

    fn matched<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        match &self.side {
            Side::Asker(side) => words(py, side.matched().map_err(refused)?),
            _ => Err(refuse("E_STATE", "only an asker has matches")),
        }
    }

    fn store<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        match &self.side {
            Side::Keeper(side) => Ok(PyBytes::new(py, &side.store().map_err(refused)?.encode())),
            _ => Err(refuse("E_STATE", "only a keeper has a store")),
        }
    }
}

#[pyfunction]
fn kept_oprf_public<'py>(
    py: Python<'py>,
    seed: &[u8],
    info: &[u8],
) -> PyResult<Bound<'py, PyBytes>> {
    Ok(PyBytes::new(py, key(seed, info)?.public()))
}

#[pyfunction]
fn kept_oprf_width(held: u64, asked: u64) -> usize {
    width(held, asked)
}

/// `(added, removed)`.
#[pyfunction]
#[allow(clippy::type_complexity)]
fn kept_oprf_difference<'py>(
    py: Python<'py>,
    old: PyBackedBytes,
    new: PyBackedBytes,
) -> PyResult<(Bound<'py, PyBytes>, Bound<'py, PyBytes>)> {
    let (old, new) = (points(&old)?, points(&new)?);
    let (added, removed) = py.detach(|| difference(old, new));
    Ok((
        PyBytes::new(py, added.as_flattened()),
        PyBytes::new(py, removed.as_flattened()),
    ))
}

#[pyfunction]
fn kept_oprf_state<'py>(
    py: Python<'py>,
    public: &[u8],
    version: u64,
) -> PyResult<Bound<'py, PyBytes>> {
    let public = public
        .try_into()
        .map_err(|_| refuse("E_FORMAT", "a public key has 32 bytes"))?;
    Ok(PyBytes::new(
        py,
        &Message::State(State { public, version }).encode(10),
    ))
}

#[pyfunction]
fn kept_oprf_parse_state<'py>(
    py: Python<'py>,
    message: &[u8],
) -> PyResult<(Bound<'py, PyBytes>, u64)> {
    match Message::parse(message, 10).map_err(refused)? {
        Message::State(state) => Ok((PyBytes::new(py, &state.public), state.version)),
        _ => Err(refuse("E_PROTOCOL", "the asker must say what it keeps")),
    }
}

/// `(public, version, width, outputs)` of a store.
#[pyfunction]
fn kept_oprf_describe<'py>(
    py: Python<'py>,
    store: &[u8],
) -> PyResult<(Bound<'py, PyBytes>, u64, usize, usize)> {
    let store = Store::parse(store).map_err(refused)?;
    let state = store.state();
    Ok((
        PyBytes::new(py, &state.public),
        state.version,
        store.width(),
        store.len(),
    ))
}

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_class::<KeptOprf>()?;
    m.add_function(wrap_pyfunction!(kept_oprf_public, m)?)?;
    m.add_function(wrap_pyfunction!(kept_oprf_width, m)?)?;
    m.add_function(wrap_pyfunction!(kept_oprf_difference, m)?)?;
    m.add_function(wrap_pyfunction!(kept_oprf_state, m)?)?;
    m.add_function(wrap_pyfunction!(kept_oprf_parse_state, m)?)?;
    m.add_function(wrap_pyfunction!(kept_oprf_describe, m)?)
}
