//! What is answered to which path.
//!
//! | path | answer |
//! |---|---|
//! | `/echo`, `/echo/...` | the request's body as it is; without one, the request's head as text |
//! | `/healthz` | 200, at once and always |
//! | `/status/N` | status N (200 to 599) |
//! | `/bytes/N` | N bytes (`1MiB` and the like are understood) |
//! | `/slow/TIME` | a plain answer after TIME (`250ms`; at most a minute) |
//! | any other | a plain answer: who answers, over which connection |

use std::{fmt::Write, time::Duration};

use http::{HeaderMap, Method, StatusCode, header, request::Parts};

use super::{Options, args::parse_size};

/// The longest wait that a client can ask for.
const MAX_SLOW: Duration = Duration::from_secs(60);

/// What to do with one request.
#[derive(Debug, PartialEq)]
pub(super) struct Plan {
    /// To wait before the answer.
    pub(super) delay: Duration,
    pub(super) status: StatusCode,
    pub(super) content: Content,
}

#[derive(Debug, PartialEq)]
pub(super) enum Content {
    /// Who answers, over which connection.
    Greeting,
    /// This text.
    Text(String),
    /// Nothing but filling.
    Filling(u64),
    /// The request's head as text.
    EchoHead,
    /// The request's body.
    EchoBody,
}

/// Decides on a request; `draw` is random in 0..1.
pub(super) fn plan(method: &Method, path: &str, options: &Options, draw: f64) -> Plan {
    let (first, rest) = path
        .strip_prefix('/')
        .map_or((path, ""), |path| path.split_once('/').unwrap_or((path, "")));
    if first == "healthz" {
        return Plan {
            delay: Duration::ZERO,
            status: StatusCode::OK,
            content: Content::Text("ok\n".into()),
        };
    }
    let mut plan = Plan {
        delay: options.delay,
        status: StatusCode::OK,
        content: Content::Greeting,
    };
    if options.fail.takes(draw) {
        plan.fail(StatusCode::INTERNAL_SERVER_ERROR, "failed on purpose\n".into());
        return plan;
    }
    match first {
        "echo" if [Method::GET, Method::HEAD].contains(method) => plan.content = Content::EchoHead,
        "echo" => plan.content = Content::EchoBody,
        "status" => match rest
            .parse::<u16>()
            .ok()
            .filter(|n| (200..600).contains(n))
            .map(StatusCode::from_u16)
        {
            Some(Ok(status)) => plan.fail(status, format!("{status}\n")),
            _ => plan.fail(StatusCode::BAD_REQUEST, "expected /status/200 to /status/599\n".into()),
        },
        "bytes" => match parse_size(rest) {
            Ok(size) => plan.content = Content::Filling(size),
            Err(e) => plan.fail(StatusCode::BAD_REQUEST, format!("{e}\n")),
        },
        "slow" => match humantime::parse_duration(rest) {
            Ok(wait) => plan.delay = plan.delay.saturating_add(wait.min(MAX_SLOW)),
            Err(_) => plan.fail(
                StatusCode::BAD_REQUEST,
                "expected a duration, such as /slow/250ms\n".into(),
            ),
        },
        _ => {}
    }
    plan
}

impl Plan {
    fn fail(&mut self, status: StatusCode, text: String) {
        self.status = status;
        // RFC 9110 15.3.5, 15.3.6, 15.4.5: these have no content.
        let empty = [
            StatusCode::NO_CONTENT,
            StatusCode::RESET_CONTENT,
            StatusCode::NOT_MODIFIED,
        ]
        .contains(&status);
        self.content = Content::Text(if empty { String::new() } else { text });
    }
}

/// Where a request came from, as a person wants to see it.
#[derive(Debug, Clone, Copy)]
pub(super) struct Origin {
    /// Number of the connection at this endpoint, from 1.
    pub(super) connection: u64,
    /// Number of the request on that connection, from 1.
    pub(super) request: u64,
}

/// The plain answer.
pub(super) fn greeting(name: &str, origin: Origin, headers: &HeaderMap) -> String {
    let forwarded: Vec<_> = headers
        .get_all("x-forwarded-for")
        .iter()
        .map(|value| String::from_utf8_lossy(value.as_bytes()))
        .collect();
    let forwarded = if forwarded.is_empty() {
        "none".into()
    } else {
        forwarded.join(", ")
    };
    let Origin { connection, request } = origin;
    format!("{name}: connection {connection}, request {request} on it, x-forwarded-for: {forwarded}\n")
}

/// A request's head as it arrived, except that field names are lower case.
pub(super) fn head(parts: &Parts) -> String {
    let mut text = format!("{} {} {:?}\n", parts.method, parts.uri, parts.version);
    for (name, value) in &parts.headers {
        writeln!(text, "{name}: {}", String::from_utf8_lossy(value.as_bytes()))
            .expect("writing to a string does not fail");
    }
    text
}

/// The content type of an answer: an echoed body keeps the request's.
pub(super) fn content_type(content: &Content, request: &HeaderMap) -> Option<header::HeaderValue> {
    match content {
        Content::EchoBody => request.get(header::CONTENT_TYPE).cloned(),
        _ => Some(header::HeaderValue::from_static("text/plain; charset=utf-8")),
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::cli::endpoint::Share;

    fn options() -> Options {
        Options {
            name: "a".into(),
            delay: Duration::from_millis(5),
            size: None,
            fail: "50%".parse().unwrap(),
        }
    }

    fn get(path: &str) -> Plan {
        plan(&Method::GET, path, &options(), 0.9)
    }

    #[test]
    fn a_plain_path_is_greeted_after_the_delay() {
        for path in ["/", "/a/b", "/statuses", "*", "", "/ECHO"] {
            let expected = Plan {
                delay: Duration::from_millis(5),
                status: StatusCode::OK,
                content: Content::Greeting,
            };
            assert_eq!(get(path), expected, "{path}");
        }
    }

    #[test]
    fn health_is_neither_delayed_nor_failed() {
        let plan = plan(&Method::GET, "/healthz", &options(), 0.0);
        let expected = Plan {
            delay: Duration::ZERO,
            status: StatusCode::OK,
            content: Content::Text("ok\n".into()),
        };
        assert_eq!(plan, expected);
    }

    #[test]
    fn a_low_draw_fails() {
        for path in ["/", "/echo", "/status/200"] {
            assert_eq!(
                plan(&Method::GET, path, &options(), 0.4).status,
                StatusCode::INTERNAL_SERVER_ERROR,
                "{path}"
            );
        }
        let never = Options {
            fail: Share::NONE,
            ..options()
        };
        assert_eq!(plan(&Method::GET, "/", &never, 0.0).status, StatusCode::OK);
    }

    #[test]
    fn echo_depends_on_the_method() {
        assert_eq!(get("/echo").content, Content::EchoHead);
        assert_eq!(
            plan(&Method::HEAD, "/echo/x", &options(), 0.9).content,
            Content::EchoHead
        );
        assert_eq!(
            plan(&Method::POST, "/echo/x", &options(), 0.9).content,
            Content::EchoBody
        );
    }

    #[test]
    fn a_status_is_as_asked_for() {
        assert_eq!(
            get("/status/503").content,
            Content::Text("503 Service Unavailable\n".into())
        );
        assert_eq!(get("/status/503").status, StatusCode::SERVICE_UNAVAILABLE);
        assert_eq!(get("/status/599").status.as_u16(), 599);
        assert_eq!(get("/status/204").content, Content::Text(String::new()));
        for path in [
            "/status",
            "/status/",
            "/status/101",
            "/status/600",
            "/status/x",
            "/status/200/x",
        ] {
            assert_eq!(get(path).status, StatusCode::BAD_REQUEST, "{path}");
        }
    }

    #[test]
    fn bytes_are_counted() {
        assert_eq!(get("/bytes/17").content, Content::Filling(17));
        assert_eq!(get("/bytes/1MiB").content, Content::Filling(1 << 20));
        assert_eq!(get("/bytes/many").status, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn a_wait_is_bounded() {
        assert_eq!(get("/slow/250ms").delay, Duration::from_millis(255));
        assert_eq!(get("/slow/2h").delay, Duration::from_millis(60_005));
        assert_eq!(get("/slow/soon").status, StatusCode::BAD_REQUEST);
    }

    #[test]
    fn the_greeting_shows_the_connection_and_who_is_behind_the_proxy() {
        let mut headers = HeaderMap::new();
        let origin = Origin {
            connection: 3,
            request: 17,
        };
        let text = greeting("a", origin, &headers);
        assert_eq!(text, "a: connection 3, request 17 on it, x-forwarded-for: none\n");
        headers.append("x-forwarded-for", header::HeaderValue::from_static("10.0.0.9"));
        headers.append("x-forwarded-for", header::HeaderValue::from_static("10.0.0.8"));
        assert!(greeting("a", origin, &headers).ends_with(" x-forwarded-for: 10.0.0.9, 10.0.0.8\n"));
    }

    #[test]
    fn a_head_is_listed_field_by_field() {
        let request = http::Request::get("/echo?x=1")
            .header("Host", "a")
            .header("X-B", "c")
            .body(())
            .unwrap();
        assert_eq!(
            head(&request.into_parts().0),
            "GET /echo?x=1 HTTP/1.1\nhost: a\nx-b: c\n"
        );
    }

    proptest! {
        #[test]
        fn any_path_has_a_plan(path in "/?(status|bytes|slow|echo)?/?[ -~é]{0,30}") {
            prop_assert!(get(&path).delay <= MAX_SLOW + Duration::from_millis(5));
        }
    }
}
