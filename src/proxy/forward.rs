//! The head that an endpoint gets: the client's end-to-end fields, what is said of the client, and the route's edits.

use std::{borrow::Cow, net::IpAddr};

use http::{HeaderMap, HeaderName, HeaderValue, Request, header, uri::Scheme};

use super::target::Target;
use crate::{
    config::{Forwarding, HostHeader, ReservedFields},
    downstream::{Client, Incoming},
    http1::RequestHead,
    snapshot::ForwardTo,
    upstream::{Encode, Endpoint, Expectation, Fits, KeepAlive, Opens, Repeat, RequestFraming},
    worker::buffers,
};

/// How a client's connection option may not be used: to take away a field that the request's meaning or our own word
/// depends on (rule of RFC 9110 7.6.1; Apache CVE-2022-31813).
const PROTECTED: [HeaderName; 9] = [
    header::HOST,
    header::CONTENT_LENGTH,
    header::TRANSFER_ENCODING,
    header::AUTHORIZATION,
    header::COOKIE,
    header::FORWARDED,
    header::VIA,
    header::EXPECT,
    header::CONTENT_TYPE,
];

const IDEMPOTENCY_KEY: HeaderName = HeaderName::from_static("idempotency-key");

/// What is needed to write a head for any endpoint of the route's cluster ([`Encode`]).
#[derive(Debug)]
pub struct Head<'a> {
    pub request: &'a mut Request<Option<Incoming>>,
    pub client: &'a Client,
    pub forwarding: &'a Forwarding,
    pub to: &'a ForwardTo,
    pub framing: RequestFraming,
    pub opens: &'a Opens,
    pub expectation: Expectation,
}

/// Whether what the client says of others is believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Trust {
    Yes,
    No,
}

/// Refuses a Connection field that names what it must not.
///
/// # Errors
/// Plain words for the client.
pub(super) fn check_connection(headers: &HeaderMap, reserved: Option<&ReservedFields>) -> Result<(), &'static str> {
    for name in nominated(headers) {
        let forwarded = name.len() > 12 && name[..12].eq_ignore_ascii_case("x-forwarded-");
        if forwarded
            || reserved.is_some_and(|reserved| reserved.has(name))
            || PROTECTED
                .iter()
                .any(|protected| protected.as_str().eq_ignore_ascii_case(name))
        {
            return Err("Connection names a field that is not the connection's");
        }
    }
    Ok(())
}

fn nominated(headers: &HeaderMap) -> impl Iterator<Item = &str> {
    let values = headers.get_all(header::CONNECTION).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
}

/// Whether the request may reach an endpoint twice: if its method is idempotent (RFC 9110 9.2.2), or where the cluster
/// believes an Idempotency-Key, by which the endpoint recognises a request that it has seen.
pub(super) fn repeat<B>(to: &ForwardTo, request: &Request<B>) -> Repeat {
    let has_key = || {
        request
            .headers()
            .get(IDEMPOTENCY_KEY)
            .is_some_and(|key| !key.is_empty())
    };
    if request.method().is_idempotent() || (to.cluster.retry.idempotency_key && has_key()) {
        Repeat::Allowed
    } else {
        Repeat::Forbidden
    }
}

impl Encode for Head<'_> {
    fn http1(self, endpoint: &Endpoint, keep_alive: KeepAlive) -> (Vec<u8>, HeaderMap) {
        let mut out = buffers::take_write();
        let target = Target::of_checked(self.request);
        let mut head = RequestHead::start(&mut out, self.request.method(), self.path(&target).as_bytes());
        match self.host(&target, endpoint) {
            Host::Fixed(value) => head.field(&header::HOST, value),
            Host::Named(host) => head.raw_field("host", host.as_bytes()),
        }
        self.fields(&mut head, &target);
        if self.framing == RequestFraming::Chunked {
            head.chunked();
        }
        match self.opens {
            // An endpoint that changes the protocol has no use for another word on the connection; if it does not, the
            // connection ends all the same.
            Opens::Upgrade(upgrade) => {
                head.raw_field("connection", b"upgrade");
                head.field(&header::UPGRADE, &upgrade.protocols);
            }
            Opens::Nothing | Opens::Connect if keep_alive == KeepAlive::No => head.raw_field("connection", b"close"),
            Opens::Nothing | Opens::Connect => {}
        }
        head.finish();
        // The memory of the client's fields serves those of the answer.
        let mut recycled = std::mem::take(self.request.headers_mut());
        recycled.clear();
        (out, recycled)
    }

    fn http2(&mut self, endpoint: &Endpoint) -> Option<http::Request<()>> {
        let target = Target::of_checked(self.request);
        let host = match self.host(&target, endpoint) {
            Host::Fixed(value) => value.to_str().ok()?,
            Host::Named(host) => host,
        };
        let scheme = if endpoint.connector.tls().is_some() {
            Scheme::HTTPS
        } else {
            Scheme::HTTP
        };
        let uri = http::Uri::builder()
            .scheme(scheme)
            .authority(host)
            .path_and_query(&*self.path(&target))
            .build()
            .ok()?;
        let mut headers = HeaderMap::with_capacity(self.request.headers().len() + 4);
        self.fields(&mut headers, &target);
        let mut request = http::Request::new(());
        *request.method_mut() = self.request.method().clone();
        *request.uri_mut() = uri;
        *request.version_mut() = http::Version::HTTP_2;
        *request.headers_mut() = headers;
        Some(request)
    }
}

/// Where the fields of a head are written to.
trait Fields {
    fn field(&mut self, name: &HeaderName, value: &HeaderValue);

    /// A field of our own making. The caller vouches that `name` is a token in lower case and that `value` holds no CR,
    /// LF or NUL.
    fn raw_field(&mut self, name: &'static str, value: &[u8]);

    fn length(&mut self, length: u64);

    /// Says that trailers are welcome (RFC 9110 10.1.4), which is so since we hand them on.
    fn te_trailers(&mut self);
}

impl Fields for RequestHead<'_> {
    fn field(&mut self, name: &HeaderName, value: &HeaderValue) {
        RequestHead::field(self, name, value);
    }

    fn raw_field(&mut self, name: &'static str, value: &[u8]) {
        RequestHead::raw_field(self, name, value);
    }

    fn length(&mut self, length: u64) {
        RequestHead::length(self, length);
    }

    fn te_trailers(&mut self) {
        RequestHead::raw_field(self, "te", b"trailers");
        RequestHead::raw_field(self, "connection", b"te");
    }
}

impl Fields for HeaderMap {
    fn field(&mut self, name: &HeaderName, value: &HeaderValue) {
        self.append(name, value.clone());
    }

    fn raw_field(&mut self, name: &'static str, value: &[u8]) {
        if let Ok(value) = HeaderValue::from_bytes(value) {
            self.append(HeaderName::from_static(name), value);
        }
    }

    fn length(&mut self, length: u64) {
        self.append(header::CONTENT_LENGTH, length.into());
    }

    /// The one value that HTTP/2 has for it (RFC 9113 8.2.2).
    fn te_trailers(&mut self) {
        self.insert(header::TE, HeaderValue::from_static("trailers"));
    }
}

/// The host that the endpoint gets to see.
enum Host<'a> {
    Fixed(&'a HeaderValue),
    Named(&'a str),
}

impl Head<'_> {
    fn path<'t>(&self, target: &Target<'t>) -> Cow<'t, str> {
        match &self.to.replace_prefix {
            Some((cut, with)) if target.whole != "*" && *self.opens != Opens::Connect => {
                replace_prefix(target, *cut, with).into()
            }
            _ => target.whole.into(),
        }
    }

    fn host<'h>(&'h self, target: &Target<'h>, endpoint: &'h Endpoint) -> Host<'h> {
        match &self.to.host_header {
            HostHeader::Fixed(value) => Host::Fixed(value),
            HostHeader::Keep if !target.authority.is_empty() => Host::Named(target.authority),
            HostHeader::Keep | HostHeader::Endpoint => Host::Named(&endpoint.name),
        }
    }

    /// Everything but the host and what belongs to the connection.
    fn fields(&self, head: &mut impl Fields, target: &Target<'_>) {
        let trust = self.trust();
        self.of_request(head, trust);
        self.of_client(head, target, trust);
        for (name, value) in self.to.request_headers.set.iter().chain(&self.to.request_headers.add) {
            head.field(name, value);
        }
        if let RequestFraming::Length(length) = self.framing {
            head.length(length);
        }
    }

    /// The client's fields, less those that end here and those that the route removes or replaces.
    fn of_request(&self, head: &mut impl Fields, trust: Trust) {
        let headers = self.request.headers();
        let nominates = headers.contains_key(header::CONNECTION);
        let edits = &self.to.request_headers;
        let edited = !edits.remove.is_empty() || !edits.set.is_empty();
        let mut cookies: Option<&HeaderValue> = None;
        let own_via = self.forwarding.via.is_some();
        for (name, value) in headers {
            if ends_here(name, trust)
                || own_via && *name == header::VIA
                || nominates && nominated(headers).any(|option| name.as_str().eq_ignore_ascii_case(option))
                || edited && self.is_edited(name)
            {
                // A method that usually has a body says that it has none (RFC 9110 8.6).
                if *name == header::CONTENT_LENGTH && self.framing == RequestFraming::None {
                    head.length(0);
                } else if *name == header::TE && wants_trailers(value) {
                    head.te_trailers();
                }
                continue;
            }
            if *name == header::COOKIE && self.request.version() == http::Version::HTTP_2 {
                cookies = Some(value);
                continue;
            }
            head.field(name, value);
        }
        if cookies.is_some() {
            self.cookies(head);
        }
        if self.expectation == Expectation::Continue {
            head.raw_field("expect", b"100-continue");
        }
    }

    /// HTTP/2 may split Cookie into crumbs; HTTP/1.1 has one (RFC 9113 8.2.3).
    fn cookies(&self, head: &mut impl Fields) {
        let crumbs: Vec<_> = self
            .request
            .headers()
            .get_all(header::COOKIE)
            .iter()
            .map(HeaderValue::as_bytes)
            .collect();
        head.raw_field("cookie", &crumbs.join(&b"; "[..]));
    }

    fn is_edited(&self, name: &HeaderName) -> bool {
        let edits = &self.to.request_headers;
        edits.remove.contains(name) || edits.set.iter().any(|(set, _)| set == name)
    }

    fn trust(&self) -> Trust {
        let ip = self.client.address.ip();
        let trusted = self.forwarding.trusted_proxies.iter().any(|net| net.contains(&ip));
        if trusted { Trust::Yes } else { Trust::No }
    }

    /// Who the client is. What it says of itself counts only if it is a trusted proxy.
    fn of_client(&self, head: &mut impl Fields, target: &Target<'_>, trust: Trust) {
        let headers = self.request.headers();
        let ip = self.client.address.ip();
        let said = |name: &str| {
            (trust == Trust::Yes)
                .then(|| headers.get_all(name))
                .into_iter()
                .flatten()
        };
        if self.forwarding.x_forwarded {
            match said("x-forwarded-for").next() {
                None => head.raw_field("x-forwarded-for", self.client.ip.as_bytes()),
                Some(_) => {
                    let mut all: Vec<_> = said("x-forwarded-for").map(HeaderValue::as_bytes).collect();
                    all.push(self.client.ip.as_bytes());
                    head.raw_field("x-forwarded-for", &all.join(&b", "[..]));
                }
            }
            let proto = if self.client.tls.is_some() {
                &b"https"[..]
            } else {
                b"http"
            };
            head.raw_field(
                "x-forwarded-proto",
                said("x-forwarded-proto").next().map_or(proto, HeaderValue::as_bytes),
            );
            let host = said("x-forwarded-host")
                .next()
                .map_or(target.authority.as_bytes(), HeaderValue::as_bytes);
            if !host.is_empty() {
                head.raw_field("x-forwarded-host", host);
            }
        }
        if self.forwarding.forwarded {
            head.raw_field("forwarded", &self.forwarded(target, ip, said("forwarded")));
        }
        if let Some(via) = &self.forwarding.via {
            let said = headers.get_all(header::VIA);
            head.raw_field("via", &super::via::extended(said.iter(), self.request.version(), via));
        }
    }

    /// RFC 7239 4.
    fn forwarded<'v>(&self, target: &Target<'_>, ip: IpAddr, said: impl Iterator<Item = &'v HeaderValue>) -> Vec<u8> {
        let mut out = Vec::new();
        for value in said {
            out.extend_from_slice(value.as_bytes());
            out.extend_from_slice(b", ");
        }
        let node = match ip {
            IpAddr::V4(ip) => ip.to_string(),
            IpAddr::V6(ip) => format!("\"[{ip}]\""),
        };
        let proto = if self.client.tls.is_some() { "https" } else { "http" };
        out.extend_from_slice(format!("for={node};proto={proto}").as_bytes());
        if !target.authority.is_empty() {
            out.extend_from_slice(format!(";host=\"{}\"", target.authority).as_bytes());
        }
        out
    }
}

fn wants_trailers(te: &HeaderValue) -> bool {
    let codings = te.as_bytes().split(|byte| *byte == b',');
    codings
        .map(<[u8]>::trim_ascii)
        .any(|coding| coding.eq_ignore_ascii_case(b"trailers"))
}

/// Fields that are ours to write, or that belong to the client's connection (RFC 9110 7.6.1).
fn ends_here(name: &HeaderName, trust: Trust) -> bool {
    match *name {
        header::HOST
        | header::CONNECTION
        | header::TRANSFER_ENCODING
        | header::CONTENT_LENGTH
        | header::TE
        | header::UPGRADE
        | header::EXPECT
        | header::FORWARDED => true,
        _ => {
            let name = name.as_str();
            // By the first letter: nearly every other field is told apart by one comparison.
            match name.as_bytes()[0] {
                b'x' if trust == Trust::Yes => {
                    matches!(name, "x-forwarded-for" | "x-forwarded-proto" | "x-forwarded-host")
                }
                b'x' => name.starts_with("x-forwarded-"),
                b'k' => name == "keep-alive",
                b'p' => name == "proxy-connection",
                b'h' => name == "http2-settings",
                _ => false,
            }
        }
    }
}

/// How a request's body reaches the endpoint: by what the engine made of the client's framing, in our own words.
pub(super) fn framing(body: &impl hyper::body::Body) -> RequestFraming {
    if body.is_end_stream() {
        return RequestFraming::None;
    }
    body.size_hint()
        .exact()
        .map_or(RequestFraming::Chunked, RequestFraming::Length)
}

/// Whether the head names the endpoint that it is for.
pub(super) fn fits(to: &ForwardTo, target: &Target<'_>) -> Fits {
    match &to.host_header {
        HostHeader::Fixed(_) => Fits::Any,
        HostHeader::Keep if !target.authority.is_empty() => Fits::Any,
        HostHeader::Keep | HostHeader::Endpoint => Fits::One,
    }
}

/// The target with the first `cut` bytes of its path replaced.
fn replace_prefix(target: &Target<'_>, cut: usize, with: &str) -> String {
    let rest = target.path.get(cut..).unwrap_or("");
    let slash = if rest.starts_with('/') || (with.len() > 1 && rest.is_empty()) {
        ""
    } else {
        "/"
    };
    format!("{with}{slash}{rest}{}", target.query)
}
