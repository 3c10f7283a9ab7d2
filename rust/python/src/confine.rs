//! Python face of the second wall. What it refuses is `E_SANDBOX`.

use std::path::PathBuf;

use pyo3::prelude::*;

use crate::refuse;

fn refused(refusal: atoll_confine::Refusal) -> PyErr {
    refuse("E_SANDBOX", refusal.0)
}

/// Encloses this process for ever; gives the name of the walls' version.
#[pyfunction]
#[pyo3(name = "confine_enclose")]
fn enclose(read: Vec<PathBuf>, execute: Vec<PathBuf>) -> PyResult<String> {
    atoll_confine::enclose(&read, &execute).map_err(refused)
}

/// Takes the limits of other processes away, from this thread and from what it starts.
#[pyfunction]
#[pyo3(name = "confine_narrow")]
fn narrow() -> PyResult<()> {
    atoll_confine::narrow().map_err(refused)
}

/// Takes the start of programs and processes away.
#[pyfunction]
#[pyo3(name = "confine_seal")]
fn seal() -> PyResult<()> {
    atoll_confine::seal().map_err(refused)
}

/// Makes this process the parent of its children's orphans.
#[pyfunction]
#[pyo3(name = "confine_adopt_orphans")]
fn adopt_orphans() -> PyResult<()> {
    atoll_confine::adopt_orphans().map_err(refused)
}

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(enclose, m)?)?;
    m.add_function(wrap_pyfunction!(narrow, m)?)?;
    m.add_function(wrap_pyfunction!(seal, m)?)?;
    m.add_function(wrap_pyfunction!(adopt_orphans, m)?)
}
