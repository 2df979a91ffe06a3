//! Which route a request takes.
//!
//! # Which route wins?
//!
//! Of all routes whose host, path, methods and header conditions match, in this order:
//!
//! 1. the most specific host: an exact name, then the longest suffix, then any host;
//! 2. the longest path: the exact path before every prefix, then the longest prefix;
//! 3. the one with more conditions (a list of methods is one, each header condition is one);
//! 4. the one that comes first in the file.
//!
//! A host is no fence: where the most specific host has no route that matches, the less specific ones are asked.
//! So a route for any host also serves the paths that the routes of a named host leave out.
//!
//! # What is compared?
//!
//! The path is compared byte for byte, as it will be forwarded. The host is compared without regard to ASCII case and
//! without one trailing dot (RFC 3986 3.2.2). A host longer than 255 bytes is no name (RFC 1035 2.3.4), so
//! only routes for any host take it.
//!
//! A lookup allocates nothing. Its cost follows the number of different *lengths* of suffixes and prefixes, neither
//! the number of routes nor the number of slashes that a client puts into a path.

mod by_length;
mod paths;
mod rule;

use std::collections::HashMap;

use http::{HeaderMap, Method};

use self::{by_length::ByLength, paths::Paths};
use crate::config::HostPattern;

pub use self::rule::{Conditions, Rule};

/// In bytes: what the domain name system can hold (RFC 1035 2.3.4).
const MAX_HOST: usize = 255;

/// An ordered set of routes, each of which leads to a `T`.
#[derive(Debug)]
pub struct Router<T> {
    exact: HashMap<Box<[u8]>, Paths<T>>,
    /// Keys begin with their dot.
    suffixes: ByLength<Paths<T>>,
    any: Paths<T>,
}

/// What a request shows to the router.
#[derive(Debug, Clone, Copy)]
pub struct Request<'a> {
    /// The authority's host as sent, without port; in any case.
    pub host: &'a str,
    /// The path without the query.
    pub path: &'a str,
    pub method: &'a Method,
    pub headers: &'a HeaderMap,
}

impl<T> Router<T> {
    /// The router for `routes`, given in the order of the file.
    pub fn new(routes: impl IntoIterator<Item = (Rule, T)>) -> Self {
        let mut router = Self {
            exact: HashMap::new(),
            suffixes: ByLength::default(),
            any: Paths::default(),
        };
        for (rule, value) in routes {
            let paths = match rule.host {
                HostPattern::Any => &mut router.any,
                HostPattern::Exact(name) => router.exact.entry(name.into_bytes().into()).or_default(),
                HostPattern::Suffix(suffix) => router.suffixes.entry(suffix.as_bytes()),
            };
            paths.add(rule.path, rule.conditions, value);
        }
        router
    }

    /// The value of the route that `request` takes; `None` where no route matches.
    pub fn find(&self, request: &Request<'_>) -> Option<&T> {
        if self.exact.is_empty() && self.suffixes.is_empty() {
            return self.any.find(request);
        }
        let mut buffer = [0; MAX_HOST];
        self.find_by_host(canonical(request.host, &mut buffer), request)
            .or_else(|| self.any.find(request))
    }

    fn find_by_host(&self, host: &[u8], request: &Request<'_>) -> Option<&T> {
        self.exact.get(host).and_then(|paths| paths.find(request)).or_else(|| {
            // A suffix needs at least one byte before its dot.
            let longest = host.len().saturating_sub(1);
            self.suffixes
                .longest_first(longest, |length| {
                    let suffix = &host[host.len() - length..];
                    suffix.starts_with(b".").then_some(suffix)
                })
                .find_map(|paths| paths.find(request))
        })
    }
}

/// `host` in lower case and without a trailing dot; empty where it is too long to be a name.
fn canonical<'a>(host: &'a str, buffer: &'a mut [u8; MAX_HOST]) -> &'a [u8] {
    let host = host.strip_suffix('.').unwrap_or(host).as_bytes();
    if !host.iter().any(u8::is_ascii_uppercase) {
        return host;
    }
    let Some(lower) = buffer.get_mut(..host.len()) else {
        return &[];
    };
    lower.copy_from_slice(host);
    lower.make_ascii_lowercase();
    lower
}

#[cfg(test)]
mod tests;
