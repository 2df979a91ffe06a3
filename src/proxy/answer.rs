//! Answers of the proxy's own: they say why, in plain words and in `Proxy-Status` (RFC 9209).

use bytes::Bytes;
use http::{HeaderValue, Response, StatusCode, Version, header};

use super::{body::Source, reason::Reason};
use crate::{config, downstream::Refusal, proxy::target::Target};

/// The port that an https URL need not name (RFC 9110 4.2.2).
const HTTPS: u16 = 443;
const PROXY_STATUS: http::HeaderName = http::HeaderName::from_static("proxy-status");

/// An answer to a request that failed; `details` says more than the reason does.
pub(super) fn failure(reason: Reason, details: &str) -> Response<Source> {
    error(reason.status(), reason.proxy_error(), details)
}

/// An answer to a request whose head is refused.
pub(super) fn refusal(refusal: Refusal) -> Response<Source> {
    error(refusal.status, refusal.proxy_error(), refusal.details)
}

/// Ends an HTTP/1 connection with this answer: what was sent on it cannot be trusted, or was not read whole.
pub(super) fn announce_close(response: &mut Response<Source>, version: Version) {
    if version != Version::HTTP_2 {
        response
            .headers_mut()
            .insert(header::CONNECTION, HeaderValue::from_static("close"));
    }
}

/// Leaves only its length of a body of our own (RFC 9110 9.3.2).
pub(super) fn leave_body_out(response: &mut Response<Source>) {
    if let Source::Own(body) = response.body_mut()
        && !body.is_empty()
    {
        let length = std::mem::take(body).len();
        response.headers_mut().insert(header::CONTENT_LENGTH, length.into());
    }
}

fn error(status: StatusCode, proxy_error: &str, details: &str) -> Response<Source> {
    let text = format!(
        "{} {}: {details}\n",
        status.as_u16(),
        status.canonical_reason().unwrap_or("Error")
    );
    let mut response = text_response(
        status,
        HeaderValue::from_static("text/plain; charset=utf-8"),
        text.into(),
    );
    let proxy_status = format!("forebay; error={proxy_error}; details=\"{}\"", quoted(details));
    if let Ok(value) = HeaderValue::try_from(proxy_status) {
        response.headers_mut().insert(PROXY_STATUS, value);
    }
    response
}

/// The inside of an RFC 8941 3.3.3 string.
fn quoted(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for char in text.chars() {
        match char {
            '"' | '\\' => out.extend(['\\', char]),
            ' '..='~' => out.push(char),
            _ => out.push('?'),
        }
    }
    out
}

pub(super) fn redirect(redirect: &config::Redirect, target: &Target<'_>) -> Response<Source> {
    let mut to = String::new();
    for part in config::template_parts(&redirect.to) {
        to.push_str(match part {
            config::TemplatePart::Text(text) => text,
            config::TemplatePart::Field("host") => target.authority,
            config::TemplatePart::Field("path") => target.path,
            config::TemplatePart::Field("query") => target.query,
            config::TemplatePart::Field(_) => "",
        });
    }
    moved(redirect.status, to)
}

fn moved(status: StatusCode, to: String) -> Response<Source> {
    let text = format!("see {to}\n");
    let plain = HeaderValue::from_static("text/plain; charset=utf-8");
    let mut response = text_response(status, plain, text.into());
    match HeaderValue::try_from(to) {
        Ok(location) => {
            response.headers_mut().insert(header::LOCATION, location);
            response
        }
        Err(_) => failure(
            Reason::BadRequest,
            "the request cannot be put into the redirect's target",
        ),
    }
}

/// The same request over TLS, on `port` of the same host; `None` if the client named none. 308 keeps its method and its
/// body (RFC 9110 15.4.9).
pub(super) fn to_https(port: u16, target: &Target<'_>) -> Option<Response<Source>> {
    let host = Some(target.host).filter(|host| !host.is_empty())?;
    let port = if port == HTTPS {
        String::new()
    } else {
        format!(":{port}")
    };
    let to = format!("https://{host}{port}{}{}", target.path, target.query);
    Some(moved(StatusCode::PERMANENT_REDIRECT, to))
}

pub(super) fn respond(respond: &config::Respond) -> Response<Source> {
    text_response(
        respond.status,
        respond.content_type.clone(),
        respond.body.clone().into(),
    )
}

fn text_response(status: StatusCode, content_type: HeaderValue, body: Bytes) -> Response<Source> {
    // RFC 9110 6.4.1: these have no body.
    let bare = matches!(status, StatusCode::NO_CONTENT | StatusCode::NOT_MODIFIED);
    let mut response = Response::new(Source::Own(if bare { Bytes::new() } else { body }));
    *response.status_mut() = status;
    if !bare {
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    }
    response
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_failure_says_why_in_words_and_in_proxy_status() {
        let response = failure(Reason::ConnectRefused, "the endpoint \"a\" refused");
        assert_eq!(response.status(), StatusCode::BAD_GATEWAY);
        assert_eq!(
            response.headers()[PROXY_STATUS],
            "forebay; error=connection_refused; details=\"the endpoint \\\"a\\\" refused\""
        );
        let Source::Own(body) = response.body() else {
            panic!("a body of its own")
        };
        assert_eq!(body, &b"502 Bad Gateway: the endpoint \"a\" refused\n"[..]);
    }
}
