//! The conditions of one route.

use http::Method;

use super::Request;
use crate::config::{HeaderCondition, HeaderTest, HostPattern, PathPattern, Route};

/// What a request must be like to take a route.
#[derive(Debug, Clone)]
pub struct Rule {
    pub host: HostPattern,
    pub path: PathPattern,
    pub conditions: Conditions,
}

/// What a route asks for besides host and path.
#[derive(Debug, Clone, Default)]
pub struct Conditions {
    /// Empty: any method. `GET` does not stand for `HEAD`.
    pub methods: Vec<Method>,
    /// All of them must hold.
    pub headers: Vec<HeaderCondition>,
}

impl From<&Route> for Rule {
    fn from(route: &Route) -> Self {
        let conditions = Conditions {
            methods: route.methods.clone(),
            headers: route.headers.clone(),
        };
        Self {
            host: route.host.clone(),
            path: route.path.clone(),
            conditions,
        }
    }
}

impl Conditions {
    /// How many there are: of two routes for the same host and path, the one with more is asked first.
    pub(super) fn count(&self) -> usize {
        usize::from(!self.methods.is_empty()) + self.headers.len()
    }

    pub(super) fn hold_for(&self, request: &Request<'_>) -> bool {
        (self.methods.is_empty() || self.methods.contains(request.method))
            && self.headers.iter().all(|condition| holds(condition, request))
    }
}

/// A field that occurs on several lines equals a value when one of its lines does.
fn holds(condition: &HeaderCondition, request: &Request<'_>) -> bool {
    match &condition.test {
        HeaderTest::Equals(value) => request
            .headers
            .get_all(&condition.name)
            .iter()
            .any(|line| line == value),
        HeaderTest::Present => request.headers.contains_key(&condition.name),
        HeaderTest::Absent => !request.headers.contains_key(&condition.name),
    }
}
