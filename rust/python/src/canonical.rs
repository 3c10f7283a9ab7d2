//! Python face of canonical JSON: one pass over a Python value writes its bytes, one pass over bytes makes the value.

use atoll_primitives::canonical::{Build, FLOAT, INTEGER, Place, key_order, read};
use pyo3::prelude::*;
use pyo3::types::{PyBool, PyBytes, PyDict, PyFloat, PyInt, PyList, PyString, PyTuple};
use serde::ser::{Error, Serialize, SerializeMap, Serializer};

use crate::refuse;

/// A Python value at its place. Only what its built-in type stores is read: no method of a subclass runs, so that
/// nothing changes under the pass.
struct Node<'a, 'py> {
    value: &'a Bound<'py, PyAny>,
    place: Place<'a>,
}

impl Node<'_, '_> {
    fn refused<E: Error>(&self, why: impl std::fmt::Display) -> E {
        E::custom(self.place.refusal(why))
    }

    fn text<'t, E: Error>(&self, text: &'t Bound<'_, PyString>) -> Result<&'t str, E> {
        text.to_str()
            .map_err(|_| self.refused("a lone surrogate cannot be written in canonical JSON"))
    }

    fn list<'py, S: Serializer>(
        &self,
        items: impl Iterator<Item = Bound<'py, PyAny>>,
        to: S,
    ) -> Result<S::Ok, S::Error> {
        use serde::ser::SerializeSeq;

        self.place.open().map_err(S::Error::custom)?;
        let mut list = to.serialize_seq(None)?;
        for (index, value) in items.enumerate() {
            let place = self.place.index(index);
            let value = &value;
            list.serialize_element(&Node { value, place })?;
        }
        list.end()
    }

    fn object<S: Serializer>(&self, object: &Bound<'_, PyDict>, to: S) -> Result<S::Ok, S::Error> {
        self.place.open().map_err(S::Error::custom)?;
        let mut items = Vec::with_capacity(object.len());
        for (key, value) in object.iter() {
            match key.cast_into::<PyString>() {
                Ok(key) => items.push((key, value)),
                Err(_) => return Err(self.refused("keys are strings")),
            }
        }
        let mut ordered = Vec::with_capacity(items.len());
        for (key, value) in &items {
            ordered.push((self.text::<S::Error>(key)?, value));
        }
        ordered.sort_unstable_by(|a, b| key_order(a.0, b.0));
        // Keys of a subclass of str may be equal in all but their hash.
        if let Some(pair) = ordered.windows(2).find(|pair| pair[0].0 == pair[1].0) {
            return Err(S::Error::custom(self.place.twice(pair[0].0)));
        }
        let mut map = to.serialize_map(Some(ordered.len()))?;
        for (key, value) in ordered {
            let place = self.place.key(key);
            map.serialize_entry(key, &Node { value, place })?;
        }
        map.end()
    }
}

impl Serialize for Node<'_, '_> {
    fn serialize<S: Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        let value = self.value;
        if let Ok(text) = value.cast::<PyString>() {
            to.serialize_str(self.text(text)?)
        } else if let Ok(object) = value.cast::<PyDict>() {
            self.object(object, to)
        } else if let Ok(list) = value.cast::<PyList>() {
            self.list(list.iter(), to)
        } else if let Ok(tuple) = value.cast::<PyTuple>() {
            self.list(tuple.iter(), to)
        } else if value.is_none() {
            to.serialize_unit()
        } else if let Ok(boolean) = value.cast::<PyBool>() {
            to.serialize_bool(boolean.is_true())
        } else if value.is_instance_of::<PyInt>() {
            let value = value.extract::<i64>().map_err(|_| self.refused(INTEGER))?;
            to.serialize_i64(self.place.integer(value).map_err(S::Error::custom)?)
        } else if value.is_instance_of::<PyFloat>() {
            Err(self.refused(FLOAT))
        } else {
            let name = value.get_type().name();
            let name = name.map_or_else(|_| "this".to_owned(), |name| name.to_string());
            Err(self.refused(format_args!("{name} cannot be written in canonical JSON")))
        }
    }
}

/// The canonical bytes of a value.
#[pyfunction]
#[pyo3(signature = (value, /))]
fn canonical_encode<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyBytes>> {
    let place = Place::ROOT;
    let bytes = serde_json::to_vec(&Node { value, place })
        .map_err(|error| refuse("E_FORMAT", error.to_string()))?;
    Ok(PyBytes::new(value.py(), &bytes))
}

struct Objects<'py>(Python<'py>);

impl<'py> Build for Objects<'py> {
    type Value = Bound<'py, PyAny>;
    type Error = PyErr;

    fn null(&self) -> Self::Value {
        self.0.None().into_bound(self.0)
    }

    fn boolean(&self, value: bool) -> Self::Value {
        PyBool::new(self.0, value).to_owned().into_any()
    }

    fn integer(&self, value: i64) -> Self::Value {
        PyInt::new(self.0, value).into_any()
    }

    fn text(&self, value: &str) -> Self::Value {
        PyString::new(self.0, value).into_any()
    }

    fn list(&self, items: Vec<Self::Value>) -> PyResult<Self::Value> {
        Ok(PyList::new(self.0, items)?.into_any())
    }

    fn object(&self, items: Vec<(Self::Value, Self::Value)>) -> PyResult<Self::Value> {
        let object = PyDict::new(self.0);
        for (key, value) in items {
            object.set_item(key, value)?;
        }
        Ok(object.into_any())
    }
}

/// The value of canonical bytes; anything that is not exactly the canonical bytes of a value is refused.
#[pyfunction]
#[pyo3(signature = (data, /))]
fn canonical_decode<'py>(py: Python<'py>, data: &[u8]) -> PyResult<Bound<'py, PyAny>> {
    read(data, &Objects(py)).map_err(|text| refuse("E_FORMAT", text))
}

/// Refuses anything that is not exactly the canonical bytes of a value, and builds nothing.
#[pyfunction]
#[pyo3(signature = (data, /))]
fn canonical_check(data: &[u8]) -> PyResult<()> {
    read(data, &()).map_err(|text| refuse("E_FORMAT", text))
}

pub(crate) fn register(m: &Bound<'_, PyModule>) -> PyResult<()> {
    m.add_function(wrap_pyfunction!(canonical_encode, m)?)?;
    m.add_function(wrap_pyfunction!(canonical_check, m)?)?;
    m.add_function(wrap_pyfunction!(canonical_decode, m)?)
}
