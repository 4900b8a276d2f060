//! Native keys: what a message is about, found in its payload without decoding it.

use std::fmt;

use pyo3::IntoPyObjectExt;
use pyo3::exceptions::{PyTypeError, PyValueError};
use pyo3::prelude::*;
use pyo3::types::{PyBytes, PyString};
use regex::bytes::Regex;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

/// What a message is about: a callable that takes its payload, ``bytes`` or ``str``, and returns its key, or None.
///
/// Made by ``fastws.keys``; for ``Conflate``, ``message_key=``, ``RedundantClient``, or to be called.
#[pyclass(frozen, module = "fastws._core")]
pub struct Key {
    way: Way,
    text: String,
}

enum Way {
    /// Names of members, from the outermost object on.
    Json(Vec<String>),
    /// From the first byte to before the second; negative: from the end.
    Slice(isize, isize),
    Regex(Regex),
}

#[pymethods]
impl Key {
    /// The value of a member of a JSON object: `path` are names, from the outermost object on.
    #[staticmethod]
    fn json(path: Vec<String>, text: String) -> Self {
        Self { way: Way::Json(path), text }
    }

    /// The bytes from `start` to before `stop`, as Python's slices count.
    #[staticmethod]
    fn slice(start: isize, stop: isize, text: String) -> Self {
        Self { way: Way::Slice(start, stop), text }
    }

    /// What the first group of `pattern`, or all of it if it has none, matches first. Raises ValueError.
    #[staticmethod]
    fn regex(pattern: &str, text: String) -> PyResult<Self> {
        let regex = Regex::new(pattern).map_err(|error| PyValueError::new_err(error.to_string()))?;
        Ok(Self { way: Way::Regex(regex), text })
    }

    /// The key of a message; None: it has none.
    #[pyo3(signature = (payload, /))]
    fn __call__(&self, payload: &Bound<'_, PyAny>) -> PyResult<Option<Py<PyAny>>> {
        let py = payload.py();
        let payload = if let Ok(bytes) = payload.cast::<PyBytes>() {
            bytes.as_bytes()
        } else if let Ok(text) = payload.cast::<PyString>() {
            text.to_str()?.as_bytes()
        } else {
            let kind = payload.get_type().name()?;
            return Err(PyTypeError::new_err(format!("a payload is bytes or str, not {kind}")));
        };
        Ok(match &self.way {
            Way::Json(path) => match find_json(payload, path) {
                None => None,
                Some(Scalar::Text(text)) => Some(text.into_py_any(py)?),
                Some(Scalar::Whole(number)) => Some(number.into_py_any(py)?),
                Some(Scalar::Float(number)) => Some(number.into_py_any(py)?),
                Some(Scalar::Bool(value)) => Some(value.into_py_any(py)?),
            },
            Way::Slice(start, stop) => {
                part(payload, *start, *stop).map(|found| PyBytes::new(py, found).into_any().unbind())
            }
            Way::Regex(regex) => {
                let found = if regex.captures_len() > 1 {
                    regex.captures(payload).and_then(|groups| groups.get(1))
                } else {
                    regex.find(payload)
                };
                found.map(|found| PyBytes::new(py, found.as_bytes()).into_any().unbind())
            }
        })
    }

    fn __repr__(&self) -> &str {
        &self.text
    }
}

/// A message that ends before the first byte has no key; one that ends before the last has a shorter one.
fn part(payload: &[u8], start: isize, stop: isize) -> Option<&[u8]> {
    let length = payload.len() as isize;
    let from_start = |at: isize| (if at < 0 { at.saturating_add(length) } else { at }).clamp(0, length) as usize;
    payload.get(from_start(start)..from_start(stop)).filter(|found| !found.is_empty())
}

/// A value that can be a key.
enum Scalar {
    Text(String),
    Whole(i128),
    Float(f64),
    Bool(bool),
}

/// The scalar at a path of a JSON document. What is behind it is not looked at.
fn find_json(payload: &[u8], path: &[String]) -> Option<Scalar> {
    let mut found = None;
    let mut document = serde_json::Deserializer::from_slice(payload);
    // It ends with an error also where something was found: no more is read then.
    let _ = Search { path, found: &mut found }.deserialize(&mut document);
    found
}

struct Search<'a> {
    path: &'a [String],
    found: &'a mut Option<Scalar>,
}

impl Search<'_> {
    fn end<E: Error>(self, scalar: Scalar) -> Result<(), E> {
        if self.path.is_empty() {
            *self.found = Some(scalar);
        }
        Err(E::custom("no more is read"))
    }
}

impl<'de> DeserializeSeed<'de> for Search<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Search<'_> {
    type Value = ();

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("JSON")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let Some((name, path)) = self.path.split_first() else { return Err(A::Error::custom("an object")) };
        while let Some(known) = map.next_key_seed(Name(name))? {
            if known {
                return map.next_value_seed(Search { path, found: self.found });
            }
            map.next_value::<IgnoredAny>()?;
        }
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, _: A) -> Result<(), A::Error> {
        Err(A::Error::custom("an array"))
    }

    fn visit_str<E: Error>(self, text: &str) -> Result<(), E> {
        self.end(Scalar::Text(text.to_owned()))
    }

    fn visit_u64<E: Error>(self, number: u64) -> Result<(), E> {
        self.end(Scalar::Whole(i128::from(number)))
    }

    fn visit_i64<E: Error>(self, number: i64) -> Result<(), E> {
        self.end(Scalar::Whole(i128::from(number)))
    }

    fn visit_f64<E: Error>(self, number: f64) -> Result<(), E> {
        self.end(Scalar::Float(number))
    }

    fn visit_bool<E: Error>(self, value: bool) -> Result<(), E> {
        self.end(Scalar::Bool(value))
    }

    fn visit_unit<E: Error>(self) -> Result<(), E> {
        Ok(())
    }
}

/// Compares a member's name without making a string of it.
struct Name<'a>(&'a str);

impl<'de> DeserializeSeed<'de> for Name<'_> {
    type Value = bool;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<bool, D::Error> {
        deserializer.deserialize_str(self)
    }
}

impl Visitor<'_> for Name<'_> {
    type Value = bool;

    fn expecting(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("a name")
    }

    fn visit_str<E: Error>(self, name: &str) -> Result<bool, E> {
        Ok(name == self.0)
    }
}
