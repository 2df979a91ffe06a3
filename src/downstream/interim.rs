//! Interim answers (RFC 9110 15.2) on their way to a client.

use std::{
    cell::RefCell,
    fmt,
    rc::{Rc, Weak},
};

use http::{HeaderMap, StatusCode};

/// Somebody who is told of interim answers.
pub(super) trait Hear {
    fn hear(&self, status: StatusCode, fields: &HeaderMap);
}

/// A client that can be told of interim answers to its present request.
#[derive(Clone)]
pub struct Interim(Rc<dyn Hear>);

impl Interim {
    /// Tells of an endpoint's answer other than 100 and 101. `fields` are end-to-end.
    pub fn tell(&self, status: StatusCode, fields: &HeaderMap) {
        self.0.hear(status, fields);
    }
}

impl fmt::Debug for Interim {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Interim")
    }
}

/// Who hears for a client, if anybody does.
#[derive(Default)]
pub(super) struct Hearer(RefCell<Option<Weak<dyn Hear>>>);

impl Hearer {
    pub(super) fn set(&self, hearer: Weak<dyn Hear>) {
        self.0.replace(Some(hearer));
    }

    /// Nobody any more, so that the memory goes that even a weak pointer keeps.
    pub(super) fn clear(&self) {
        self.0.replace(None);
    }

    pub(super) fn get(&self) -> Option<Interim> {
        self.0.borrow().as_ref().and_then(Weak::upgrade).map(Interim)
    }
}

impl fmt::Debug for Hearer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hearer")
    }
}
