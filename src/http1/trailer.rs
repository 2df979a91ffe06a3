//! Which fields may not be trailers.

use http::HeaderName;

/// Whether a trailer of this name is dropped, in both directions (RFC 9110 6.5.1): whoever merges trailers into headers
/// must not gain framing, routing, authentication, forwarding or control of the content from them.
pub fn is_forbidden_trailer(name: &HeaderName) -> bool {
    let name = name.as_str();
    // RFC 9530 2: a digest of the content is known only at its end, so this one is meant to be a trailer.
    if name == "content-digest" {
        return false;
    }
    const PREFIXES: [&str; 6] = ["content-", "x-forwarded", "if-", "access-control-", "proxy-", "sec-"];
    PREFIXES.iter().any(|prefix| name.starts_with(prefix)) || is_forbidden_by_name(name)
}

fn is_forbidden_by_name(name: &str) -> bool {
    matches!(
        name,
        // Framing and the connection.
        "transfer-encoding" | "te" | "trailer" | "connection" | "keep-alive" | "upgrade" | "http2-settings"
        // Routing and who is asking.
        | "host" | "forwarded" | "via" | "x-real-ip" | "true-client-ip" | "max-forwards"
        // Authentication and state.
        | "authorization" | "www-authenticate" | "authentication-info" | "cookie" | "cookie2" | "set-cookie" | "set-cookie2"
        // Control of the request or the response.
        | "expect" | "range" | "cache-control" | "pragma" | "age" | "expires" | "date" | "location" | "refresh"
        | "retry-after" | "vary" | "warning" | "strict-transport-security" | "x-http-method-override" | "x-original-url"
        | "x-rewrite-url"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_cannot_steer_a_message_passes() {
        let forbidden = [
            "Content-Length",
            "Transfer-Encoding",
            "Host",
            "Connection",
            "Authorization",
            "Proxy-Authorization",
            "Cookie",
            "Set-Cookie",
            "Forwarded",
            "X-Forwarded-For",
            "X-Forwarded-Proto",
            "Content-Type",
            "Content-Encoding",
            "Content-Range",
            "If-Match",
            "TE",
            "Trailer",
            "Upgrade",
            "Keep-Alive",
            "Proxy-Connection",
            "Location",
            "Cache-Control",
        ];
        for name in forbidden {
            assert!(
                is_forbidden_trailer(&HeaderName::from_bytes(name.as_bytes()).expect("a name")),
                "{name}"
            );
        }
        for name in [
            "grpc-status",
            "grpc-message",
            "server-timing",
            "etag",
            "digest",
            "content-digest",
            "x-checksum",
        ] {
            assert!(
                !is_forbidden_trailer(&HeaderName::from_bytes(name.as_bytes()).expect("a name")),
                "{name}"
            );
        }
    }
}
