//! `[[route]]`: which requests it is for.

use std::collections::HashMap;

use http::Method;

use super::{
    HeaderCondition, HeaderEdits,
    action::{Action, ActionReader},
    address::parse_host_pattern,
    header::{Head, read_conditions, write_conditions},
    listener::Listener,
    problem::Wrong,
    reader::{Table, Value},
    write::Entries,
};

/// `[[route]]`: a rule that leads to a cluster or to an answer of the proxy's own.
#[derive(Debug, Clone, PartialEq)]
pub struct Route {
    pub host: HostPattern,
    pub path: PathPattern,
    /// Empty: any method.
    pub methods: Vec<Method>,
    pub headers: Vec<HeaderCondition>,
    pub action: Action,
    pub request_headers: HeaderEdits,
    pub response_headers: HeaderEdits,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum HostPattern {
    Any,
    /// Lower case, no port, no dot at the end; an IPv6 address is in brackets.
    Exact(String),
    /// `*.example.org` is kept as `.example.org`: it matches every name that ends so, and not `example.org`.
    Suffix(String),
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub enum PathPattern {
    /// Matches at segment borders: `/api` and `/api/` match `/api`, `/api/` and `/api/x`, not `/apix`.
    Prefix(String),
    Exact(String),
}

impl PathPattern {
    /// The same for two patterns that match the same paths.
    fn matched(&self) -> Self {
        match self {
            Self::Prefix(path) => Self::Prefix(path.trim_end_matches('/').to_owned()),
            Self::Exact(path) => Self::Exact(path.clone()),
        }
    }
}

impl Route {
    /// A route that sends every request to `cluster` as it is.
    pub fn forward_all(cluster: impl Into<String>) -> Self {
        Self {
            host: HostPattern::Any,
            path: PathPattern::Prefix("/".to_owned()),
            methods: Vec::new(),
            headers: Vec::new(),
            action: Action::forward(cluster.into()),
            request_headers: HeaderEdits::default(),
            response_headers: HeaderEdits::default(),
        }
    }

    fn read(table: &mut Table<'_>, clusters: &[String]) -> Option<Self> {
        let host = table.or("host", HostPattern::Any, |value| {
            value.parse(
                "a host, such as \"shop.example\", \"*.example\" or \"*\"",
                parse_host_pattern,
            )
        });
        let path = read_path_pattern(table);
        let methods = table.or("methods", Vec::new(), read_methods);
        let headers = read_conditions(table);
        let action = ActionReader { path: &path, clusters }.read(table);
        let request_headers = read_edits(table, "request_headers", Head::Request);
        let response_headers = read_edits(table, "response_headers", Head::Response);
        let action = action?;
        if !matches!(action, Action::Forward(_)) && !request_headers.is_empty() {
            let wrong = Wrong::new("no endpoint sees the request of a route that answers by itself");
            table.report(
                "request_headers",
                wrong.help("leave `request_headers` out, or write `response_headers`"),
            );
        }
        Some(Self {
            host,
            path,
            methods,
            headers,
            action,
            request_headers,
            response_headers,
        })
    }

    pub(super) fn write(&self) -> String {
        let mut entries = Entries::default();
        entries.changed("host", &self.host.written(), &"*".to_owned());
        match &self.path {
            PathPattern::Prefix(path) => entries.changed("path", path, &"/".to_owned()),
            PathPattern::Exact(path) => entries.put("path_exact", path),
        }
        entries.changed("methods", &self.methods, &Vec::new());
        entries.put_table("headers", &write_conditions(&self.headers));
        self.action.write(&mut entries);
        entries.put_table("request_headers", &self.request_headers.entries());
        entries.put_table("response_headers", &self.response_headers.entries());
        entries.section("[[route]]")
    }

    /// Whether the same requests meet the conditions of both, given that host and path are the same.
    fn has_conditions_of(&self, other: &Self) -> bool {
        same_set(&self.methods, &other.methods) && same_set(&self.headers, &other.headers)
    }
}

/// Whether both hold the same items, none of which is in there twice.
fn same_set<T: PartialEq>(one: &[T], other: &[T]) -> bool {
    one.len() == other.len() && one.iter().all(|item| other.contains(item))
}

fn read_edits(table: &mut Table<'_>, key: &'static str, head: Head) -> HeaderEdits {
    table.section(key, HeaderEdits::default(), |table| HeaderEdits::read(table, head))
}

fn read_path_pattern(table: &mut Table<'_>) -> PathPattern {
    let prefix = table
        .value("path")
        .and_then(|value| value.parse("a path, such as \"/api\"", parse_path));
    let exact = table
        .value("path_exact")
        .and_then(|value| value.parse("a path, such as \"/api\"", parse_path));
    if table.has("path") && table.has("path_exact") {
        let wrong = Wrong::new("a route has either a `path` or a `path_exact`");
        table.report(
            "path_exact",
            wrong.help("leave out one of the two; `path` also matches everything below it"),
        );
    }
    match exact {
        Some(path) => PathPattern::Exact(path),
        None => PathPattern::Prefix(prefix.unwrap_or_else(|| "/".to_owned())),
    }
}

/// A path (RFC 3986 3.3) that a request can have once its own dot segments are resolved.
pub(super) fn parse_path(text: &str) -> Result<String, Wrong> {
    let wrong = || Wrong::new(format!("{text:?} is not a path"));
    if !text.starts_with('/') {
        return Err(wrong().help(format!("begin it with a slash: {:?}", format!("/{text}"))));
    }
    if text.contains(['?', '#']) {
        return Err(wrong().help("leave out the query and the fragment: routes look at the path alone"));
    }
    if let Some(odd) = text.chars().find(|c| !c.is_ascii_graphic()) {
        let mut buffer = [0; 4];
        let encoded: String = odd
            .encode_utf8(&mut buffer)
            .bytes()
            .map(|byte| format!("%{byte:02X}"))
            .collect();
        return Err(wrong().help(format!("write {odd:?} as \"{encoded}\"")));
    }
    let mut rest = text;
    while let Some((_, after)) = rest.split_once('%') {
        match after.get(..2) {
            Some(hex) if hex.eq_ignore_ascii_case("2f") => {
                return Err(wrong().help("leave out the encoded slash: it is no border between segments"));
            }
            Some(hex) if hex.chars().all(|c| c.is_ascii_hexdigit()) => rest = after,
            _ => return Err(wrong().help("write two hexadecimal digits behind each %, or \"%25\" for the sign itself")),
        }
    }
    let decoded = text.replace("%2e", ".").replace("%2E", ".");
    if decoded.split('/').any(|segment| segment == "." || segment == "..") {
        return Err(wrong().help("leave out dot segments: requests are matched without them"));
    }
    Ok(text.to_owned())
}

fn read_methods(value: Value<'_>) -> Option<Vec<Method>> {
    let mut methods = Vec::new();
    for item in value.items("[\"GET\", \"HEAD\"]")? {
        let Some(method) = item.parse("a method, such as \"GET\"", parse_method) else {
            continue;
        };
        if methods.contains(&method) {
            item.report(Wrong::new(format!("`{method}` is there twice")).help("leave it out"));
        } else {
            methods.push(method);
        }
    }
    if value.is_empty_array() {
        value.report(Wrong::new("a route for no method").help("leave `methods` out for all methods"));
    }
    Some(methods)
}

/// Methods are case-sensitive (RFC 9110 9.1), and all registered ones are in upper case.
fn parse_method(text: &str) -> Result<Method, Wrong> {
    let wrong = || Wrong::new(format!("{text:?} is not a method"));
    let method = Method::from_bytes(text.as_bytes()).map_err(|_| wrong().help("write one word, such as \"GET\""))?;
    if text.contains(|c: char| c.is_ascii_lowercase()) {
        return Err(wrong().help(format!(
            "write {:?}: methods are case-sensitive",
            text.to_ascii_uppercase()
        )));
    }
    Ok(method)
}

/// Reads every `[[route]]`.
/// Reads every `[[route]]`; without one, `listeners` have to do without.
pub(super) fn read_routes(table: &mut Table<'_>, clusters: &[String], listeners: &[Listener]) -> Vec<Route> {
    let Some(value) = table.value("route") else {
        if !listeners.is_empty() && listeners.iter().all(|listener| listener.redirect_to_https.is_some()) {
            return Vec::new();
        }
        let wrong = Wrong::new("there is no `[[route]]`: no request would lead anywhere");
        let help = match clusters.first() {
            Some(cluster) => format!("add\n[[route]]\ncluster = {cluster:?}"),
            None => "add\n[[route]]\ncluster = \"api\"\n\n[cluster.api]\nendpoints = [\"127.0.0.1:9000\"]".to_owned(),
        };
        table.report_absence(wrong.help(help));
        return Vec::new();
    };
    let mut routes: Vec<Route> = Vec::new();
    let mut by_place: HashMap<(HostPattern, PathPattern), Vec<(usize, usize)>> = HashMap::new();
    for item in value
        .items("each route under a `[[route]]` line, in double brackets")
        .unwrap_or_default()
    {
        let read = item.table("each route under a `[[route]]` line", |table| {
            Route::read(table, clusters)
        });
        let Some(route) = read.flatten() else { continue };
        let same_place = by_place.entry((route.host.clone(), route.path.matched())).or_default();
        if let Some((_, line)) = same_place
            .iter()
            .find(|(index, _)| routes[*index].has_conditions_of(&route))
        {
            let wrong = Wrong::new(format!(
                "the route of line {line} has the same conditions, so this one never matches"
            ));
            item.report(wrong.help("remove one of the two, or give one of them a further condition"));
        }
        same_place.push((routes.len(), item.line()));
        routes.push(route);
    }
    routes
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn a_path_begins_with_a_slash_and_is_nothing_but_a_path() {
        for text in ["/", "/api", "/api/", "/a%20b", "/a.b/..c/.", "/%E2%82%AC", "/a//b"] {
            let has_dots = text.ends_with("/.");
            assert_eq!(parse_path(text).is_err(), has_dots, "{text}");
        }
        for text in [
            "",
            "api",
            "/a?b",
            "/a#b",
            "/a b",
            "/ü",
            "/..",
            "/a/./b",
            "/%2e%2E/a",
            "/a%2Fb",
            "/a%2fb",
            "/%",
            "/%4",
            "/%4g",
            "/%é",
        ] {
            assert!(parse_path(text).unwrap_err().what_to_write().is_some(), "{text}");
        }
        assert_eq!(
            parse_path("/ü").unwrap_err().what_to_write(),
            Some("write 'ü' as \"%C3%BC\"")
        );
    }

    #[test]
    fn methods_are_in_upper_case() {
        assert_eq!(parse_method("GET"), Ok(Method::GET));
        assert!(parse_method("PURGE").is_ok());
        assert!(parse_method("get").unwrap_err().to_string().contains("\"GET\""));
        assert!(parse_method("").is_err());
        assert!(parse_method("G T").is_err());
    }

    #[test]
    fn prefixes_match_the_same_with_and_without_a_slash_at_the_end() {
        let prefix = |path: &str| PathPattern::Prefix(path.to_owned()).matched();
        let exact = |path: &str| PathPattern::Exact(path.to_owned()).matched();
        assert_eq!(prefix("/api"), prefix("/api/"));
        assert_ne!(exact("/api"), exact("/api/"));
        assert_ne!(exact("/api"), prefix("/api"));
    }

    proptest! {
        #[test]
        fn no_path_is_too_odd_to_be_refused(text in "/?[%2eEfF./a-cé?#\\PC]{0,16}") {
            if let Ok(path) = parse_path(&text) {
                prop_assert!(path.starts_with('/') && path.is_ascii());
            }
        }
    }
}
