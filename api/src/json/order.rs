//! Puts the faults of strict decoding into the order in which a reader of the document comes upon them.
use super::StrictError;
use super::path::Frame;
use serde::de::{DeserializeSeed, Deserializer, MapAccess, SeqAccess, Visitor};
use std::cell::{Cell, RefCell};
use std::collections::HashMap;
use std::fmt;

/// Sorts faults by their places in the document; what has none stays behind them.
pub(super) fn sort(bytes: &[u8], faults: &mut [StrictError]) {
    if faults.len() < 2 {
        return;
    }
    let paths = faults.iter().filter_map(path).map(|path| (path.to_owned(), Vec::new()));
    let places = Places { found: RefCell::new(paths.collect()), next: Cell::new(0) };
    let root = Frame::root();
    let mut reader = serde_json::Deserializer::from_slice(bytes);
    // What was read before is well-formed; where it had to be mended, the order stays as it is.
    if (Walk { path: &root, places: &places }).deserialize(&mut reader).is_err() {
        return;
    }
    let found = places.found.into_inner();
    faults.sort_by_key(|fault| {
        let at = path(fault).and_then(|path| found.get(path)).map(Vec::as_slice).unwrap_or_default();
        let nth = usize::from(matches!(fault, StrictError::Duplicate(_)));
        at.get(nth).copied().unwrap_or(usize::MAX)
    });
}

fn path(fault: &StrictError) -> Option<&str> {
    match fault {
        StrictError::Unknown(path) | StrictError::Duplicate(path) => Some(path),
        StrictError::Yaml { .. } => None,
    }
}

/// Where the members stand that faults are about.
struct Places {
    found: RefCell<HashMap<String, Vec<usize>>>,
    next: Cell<usize>,
}

#[derive(Clone, Copy)]
struct Walk<'a> {
    path: &'a Frame<'a>,
    places: &'a Places,
}

impl<'de> DeserializeSeed<'de> for Walk<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Walk<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<(), E> {
        Ok(())
    }

    fn visit_bool<E>(self, _: bool) -> Result<(), E> {
        Ok(())
    }

    fn visit_i64<E>(self, _: i64) -> Result<(), E> {
        Ok(())
    }

    fn visit_u64<E>(self, _: u64) -> Result<(), E> {
        Ok(())
    }

    fn visit_f64<E>(self, _: f64) -> Result<(), E> {
        Ok(())
    }

    fn visit_str<E>(self, _: &str) -> Result<(), E> {
        Ok(())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut items: A) -> Result<(), A::Error> {
        let mut at = 0;
        while items.next_element_seed(Walk { path: &self.path.index(at), ..self })?.is_some() {
            at += 1;
        }
        Ok(())
    }

    fn visit_map<A: MapAccess<'de>>(self, mut members: A) -> Result<(), A::Error> {
        while let Some(key) = members.next_key::<String>()? {
            let path = self.path.key(&key);
            let Places { found, next } = self.places;
            if let Some(places) = found.borrow_mut().get_mut(&path.full()) {
                places.push(next.get());
            }
            next.set(next.get() + 1);
            members.next_value_seed(Walk { path: &path, ..self })?;
        }
        Ok(())
    }
}
