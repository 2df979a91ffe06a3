//! What a request asks for beyond an answer: another protocol, or a tunnel.

use http::{HeaderMap, HeaderValue, Method, Request, Response, StatusCode, Version, header};

use super::{answer::announce_close, body::Source, extended, reason::Reason};
use crate::{
    snapshot::Action,
    upstream::{Opens, RequestFraming, Upgrade},
};

/// What is wrong with a request whose answer would be a tunnel, given the action that it was routed to.
pub(super) fn refusal<B>(request: &Request<B>, action: Option<&Action>) -> Option<(Reason, &'static str)> {
    if let Some(extended) = extended::of(request) {
        return match action {
            Some(Action::Forward(to)) if to.upgrade.contains(&extended.protocol) => None,
            None => None,
            // RFC 9220 3. Any success of another action would be taken for the tunnel.
            Some(_) => Some((Reason::UnknownProtocol, "this protocol is not to be had here")),
        };
    }
    let connects = *request.method() == Method::CONNECT;
    let allowed = matches!(action, Some(Action::Forward(to)) if to.connect);
    (connects && !allowed).then_some((Reason::MethodNotAllowed, "CONNECT is not allowed here"))
}

/// What the endpoint may be asked for on behalf of this request, of which `allowed` says the protocols in lower case.
///
/// An upgrade that is not allowed is passed over, as is the one to `h2c`, which is never allowed (RFC 9110 7.8: whoever
/// does not want to change goes on as before).
///
/// # Errors
/// Plain words for the client: a body stands where the bytes of the other protocol would begin.
pub(super) fn opens<B>(
    request: &Request<B>,
    framing: RequestFraming,
    allowed: &[String],
) -> Result<Opens, &'static str> {
    if *request.method() == Method::CONNECT {
        return match framing {
            RequestFraming::None => Ok(Opens::Connect),
            _ => Err("a CONNECT request has no body"),
        };
    }
    if let Some(extended) = extended::of(request) {
        return Ok(Opens::Upgrade(Box::new(Upgrade {
            protocols: HeaderValue::try_from(&extended.protocol).expect("the route names it, so it is a token"),
            accept: extended.accept.clone(),
        })));
    }
    // RFC 9110 7.8: HTTP/1.0 knows no upgrade; in HTTP/2 the field is malformed.
    if request.version() != Version::HTTP_11 || !request.headers().contains_key(header::UPGRADE) {
        return Ok(Opens::Nothing);
    }
    let headers = request.headers();
    if !elements(headers, &header::CONNECTION).any(|option| option.eq_ignore_ascii_case("upgrade")) {
        return Ok(Opens::Nothing);
    }
    let asked = || elements(headers, &header::UPGRADE);
    // Clients ask for h2c as a matter of course, whatever they send.
    if framing != RequestFraming::None && asked().any(|protocol| !protocol.eq_ignore_ascii_case("h2c")) {
        return Err("a request that asks for an upgrade has a body");
    }
    let granted: Vec<_> = allowed
        .iter()
        .map(String::as_str)
        .filter(|allowed| asked().any(|protocol| protocol.eq_ignore_ascii_case(allowed)))
        .collect();
    if granted.is_empty() {
        return Ok(Opens::Nothing);
    }
    Ok(Opens::Upgrade(Box::new(Upgrade {
        protocols: HeaderValue::try_from(granted.join(", ")).expect("tokens and slashes"),
        accept: None,
    })))
}

/// Says in an answer of the endpoint what became of the tunnel. `granted` is the protocol that it changed to.
///
/// # Errors
/// When the client would take the answer for something else than it is.
pub(super) fn finish(
    response: &mut Response<Source>,
    opens: &Opens,
    granted: Option<HeaderValue>,
    version: Version,
) -> Result<(), (Reason, &'static str)> {
    match (opens, granted) {
        (Opens::Nothing, _) => {}
        (Opens::Upgrade(_), Some(_)) if version == Version::HTTP_2 => {
            *response.status_mut() = StatusCode::OK;
            response.headers_mut().remove(header::SEC_WEBSOCKET_ACCEPT);
        }
        (Opens::Upgrade(_), Some(protocol)) => {
            let headers = response.headers_mut();
            headers.insert(header::CONNECTION, HeaderValue::from_static("upgrade"));
            headers.insert(header::UPGRADE, protocol);
        }
        // RFC 8441 5: any success says that there is a tunnel.
        (Opens::Upgrade(_), None) if version == Version::HTTP_2 && response.status().is_success() => {
            return Err((Reason::NoUpgrade, "the endpoint did not change the protocol"));
        }
        (Opens::Connect, _) if !response.status().is_success() => announce_close(response, version),
        (Opens::Upgrade(_) | Opens::Connect, _) => {}
    }
    Ok(())
}

/// The elements of a field that is a list, over all its lines (RFC 9110 5.6.1).
fn elements<'h>(headers: &'h HeaderMap, name: &header::HeaderName) -> impl Iterator<Item = &'h str> {
    let values = headers.get_all(name).iter();
    values
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .map(str::trim)
        .filter(|element| !element.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    const WEBSOCKET: &[&str] = &["websocket"];

    fn asks(fields: &[(&str, &str)], framing: RequestFraming, allowed: &[&str]) -> Result<Opens, &'static str> {
        let mut request = Request::builder().uri("/");
        for (name, value) in fields {
            request = request.header(*name, *value);
        }
        let allowed: Vec<_> = allowed.iter().map(|&protocol| protocol.to_owned()).collect();
        opens(&request.body(()).expect("a request"), framing, &allowed)
    }

    fn to(value: &'static str) -> Result<Opens, &'static str> {
        Ok(Opens::Upgrade(Box::new(Upgrade {
            protocols: HeaderValue::from_static(value),
            accept: None,
        })))
    }

    #[test]
    fn what_is_asked_for_and_allowed_is_passed_on() {
        let none = RequestFraming::None;
        let upgrade = |protocols| [("connection", "keep-alive, Upgrade"), ("upgrade", protocols)];
        assert_eq!(asks(&upgrade("websocket"), none, WEBSOCKET), to("websocket"));
        assert_eq!(asks(&upgrade("WebSocket"), none, WEBSOCKET), to("websocket"));
        assert_eq!(asks(&upgrade("h2c,, websocket ,x"), none, WEBSOCKET), to("websocket"));
        assert_eq!(asks(&upgrade("b, a"), none, &["a", "b", "c"]), to("a, b"));
        assert_eq!(asks(&upgrade("h2c"), none, WEBSOCKET), Ok(Opens::Nothing));
        assert_eq!(asks(&upgrade("websocket"), none, &[]), Ok(Opens::Nothing));
        assert_eq!(asks(&upgrade("websocket/13"), none, WEBSOCKET), Ok(Opens::Nothing));
        assert_eq!(asks(&upgrade(""), none, WEBSOCKET), Ok(Opens::Nothing));
    }

    #[test]
    fn both_fields_are_needed_over_however_many_lines() {
        let none = RequestFraming::None;
        let lines = [
            ("connection", "close"),
            ("upgrade", "x"),
            ("connection", "upgrade"),
            ("upgrade", "websocket"),
        ];
        assert_eq!(asks(&lines, none, WEBSOCKET), to("websocket"));
        assert_eq!(asks(&lines[..2], none, &["x"]), Ok(Opens::Nothing));
        assert_eq!(asks(&[("connection", "upgrade")], none, WEBSOCKET), Ok(Opens::Nothing));
        assert_eq!(
            asks(&[("connection", "upgrades"), ("upgrade", "websocket")], none, WEBSOCKET),
            Ok(Opens::Nothing)
        );
    }

    #[test]
    fn a_body_leaves_no_place_for_another_protocol() {
        for framing in [RequestFraming::Length(1), RequestFraming::Chunked] {
            let upgrade = |protocols| [("connection", "upgrade"), ("upgrade", protocols)];
            assert!(asks(&upgrade("websocket"), framing, WEBSOCKET).is_err());
            assert!(asks(&upgrade("websocket"), framing, &[]).is_err());
            assert_eq!(asks(&upgrade("h2c"), framing, WEBSOCKET), Ok(Opens::Nothing));
        }
    }

    #[test]
    fn only_http_1_1_has_upgrades() {
        for version in [Version::HTTP_10, Version::HTTP_2] {
            let request = Request::builder().version(version);
            let request = request.header("connection", "upgrade").header("upgrade", "websocket");
            let request = request.body(()).expect("a request");
            let allowed = ["websocket".to_owned()];
            assert_eq!(opens(&request, RequestFraming::None, &allowed), Ok(Opens::Nothing));
        }
    }

    #[test]
    fn connect_needs_no_field() {
        let request = Request::connect("a.example:443").body(()).expect("a request");
        assert_eq!(opens(&request, RequestFraming::None, &[]), Ok(Opens::Connect));
        assert!(opens(&request, RequestFraming::Length(1), &[]).is_err());
    }
}
