//! What a request asks for: one authority and one path, from which routing, log and endpoint all draw.

use http::{
    Method, Request, Version, header,
    uri::{Authority, PathAndQuery},
};

use crate::http1;

/// The host and the path that were asked for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Target<'a> {
    /// As sent, with its port; empty if an HTTP/1.0 client named none.
    pub(super) authority: &'a str,
    /// The same without the port.
    pub(super) host: &'a str,
    /// Without the query; `/` for `OPTIONS *`.
    pub(super) path: &'a str,
    /// With its `?`, or empty.
    pub(super) query: &'a str,
    /// The whole as it stands in the request line; `*` for `OPTIONS *`, the authority for CONNECT.
    pub(super) whole: &'a str,
}

impl<'a> Target<'a> {
    /// The same of a request that has passed [`Target::of`], without looking at it again; `host` is left with its port.
    pub(super) fn of_checked<B>(request: &'a Request<B>) -> Self {
        if *request.method() == Method::CONNECT {
            return Self::of_connect(request.uri().authority().map_or("", Authority::as_str), "");
        }
        let whole = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        let path = if whole == "*" { "/" } else { request.uri().path() };
        let query = if whole == "*" {
            ""
        } else {
            whole.get(path.len()..).unwrap_or("")
        };
        let authority = match request.uri().authority() {
            Some(authority) => authority.as_str(),
            None => request
                .headers()
                .get(header::HOST)
                .and_then(|host| host.to_str().ok())
                .unwrap_or(""),
        };
        Self {
            authority,
            host: authority,
            path,
            query,
            whole,
        }
    }

    /// # Errors
    /// What is wrong, in plain words (RFC 9110 7.2, RFC 9112 3.2).
    pub(super) fn of<B>(request: &'a Request<B>) -> Result<Self, &'static str> {
        if *request.method() == Method::CONNECT {
            return Self::connect(request);
        }
        let authority = authority(request)?;
        let host = if authority.is_empty() {
            ""
        } else {
            http1::parse_authority(authority.as_bytes())
                .map_err(|problem| problem.description())?
                .host
        };
        let whole = request.uri().path_and_query().map_or("/", PathAndQuery::as_str);
        if whole == "*" && request.method() == Method::OPTIONS {
            return Ok(Self {
                authority,
                host,
                path: "/",
                query: "",
                whole,
            });
        }
        let path = request.uri().path();
        http1::check_path(path.as_bytes()).map_err(|problem| problem.description())?;
        Ok(Self {
            authority,
            host,
            path,
            query: &whole[path.len().min(whole.len())..],
            whole,
        })
    }
}

impl<'a> Target<'a> {
    /// The target of a CONNECT request: a host and a port, and nothing else (RFC 9110 9.3.6).
    fn connect<B>(request: &'a Request<B>) -> Result<Self, &'static str> {
        let uri = request.uri();
        let authority = authority(request)?;
        if uri.authority().is_none() || uri.scheme().is_some() || uri.path_and_query().is_some() {
            return Err("the target of CONNECT is a host with its port");
        }
        let http1::Authority { host, port } =
            http1::parse_authority(authority.as_bytes()).map_err(|problem| problem.description())?;
        if port.is_none() {
            return Err("the target of CONNECT has no port");
        }
        Ok(Self::of_connect(authority, host))
    }

    fn of_connect(authority: &'a str, host: &'a str) -> Self {
        Self {
            authority,
            host,
            path: "/",
            query: "",
            whole: authority,
        }
    }
}

/// The one authority of a request. Where there is both one in the request line and a Host field, they must agree.
fn authority<B>(request: &Request<B>) -> Result<&str, &'static str> {
    let mut hosts = request.headers().get_all(header::HOST).iter();
    let host = match hosts.next() {
        Some(host) => Some(host.to_str().map_err(|_| "Host is not text")?),
        None => None,
    };
    if hosts.next().is_some() {
        return Err("Host is repeated");
    }
    match (request.uri().authority().map(Authority::as_str), host) {
        (Some(line), Some(host)) if !line.eq_ignore_ascii_case(host) => {
            Err("the request line and Host name different hosts")
        }
        (Some(line), _) => Ok(line),
        (None, Some("")) => Err("Host is empty"),
        (None, Some(host)) => Ok(host),
        (None, None) if request.version() == Version::HTTP_10 => Ok(""),
        (None, None) => Err("Host is missing"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn check(uri: &str, host: Option<&str>) -> Result<(String, String, String), &'static str> {
        let mut request = Request::builder().uri(uri);
        if let Some(host) = host {
            request = request.header(header::HOST, host);
        }
        let request = request.body(()).expect("a request");
        let target = Target::of(&request)?;
        Ok((target.host.to_owned(), target.path.to_owned(), target.query.to_owned()))
    }

    #[test]
    fn host_path_and_query_are_told_apart() {
        let parts = |a: &str, b: &str, c: &str| Ok((a.to_owned(), b.to_owned(), c.to_owned()));
        assert_eq!(
            check("/a/b?c=d", Some("shop.example:80")),
            parts("shop.example", "/a/b", "?c=d")
        );
        assert_eq!(check("/?", Some("shop.example")), parts("shop.example", "/", "?"));
        assert_eq!(
            check("http://shop.example/a", Some("Shop.example")),
            parts("shop.example", "/a", "")
        );
    }

    #[test]
    fn there_is_exactly_one_authority() {
        assert!(check("/", None).is_err());
        assert!(check("http://a.example/", Some("b.example")).is_err());
        assert!(check("/", Some("user@a.example")).is_err());
        assert!(check("/", Some("a.example:99999")).is_err());
    }
}
