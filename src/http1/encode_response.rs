//! A response head, written for a client of HTTP/1.

use http::{HeaderMap, StatusCode, header};

use super::{Framing, Version, line};

/// Writes a response head behind what is already in the buffer.
///
/// Of `headers` all are written but those that say where the message or the connection ends: that is told by `framing`,
/// where [`Framing::None`] writes nothing, and `connection`. `date` is said where they say none (RFC 9110 6.6.1).
pub fn encode_response_head(
    out: &mut Vec<u8>,
    version: Version,
    status: StatusCode,
    headers: &HeaderMap,
    framing: Framing,
    connection: Option<&[u8]>,
    date: &[u8],
) {
    status_line(out, version, status);
    let mut has_date = false;
    for (name, value) in headers {
        match *name {
            header::CONTENT_LENGTH | header::TRANSFER_ENCODING | header::CONNECTION => continue,
            header::TRAILER if framing != Framing::Chunked => continue,
            header::DATE => has_date = true,
            _ => {}
        }
        line(out, name.as_str().as_bytes(), value.as_bytes());
    }
    match framing {
        Framing::Length(length) => line(out, b"content-length", itoa::Buffer::new().format(length).as_bytes()),
        Framing::Chunked => out.extend_from_slice(b"transfer-encoding: chunked\r\n"),
        Framing::None | Framing::UntilClose => {}
    }
    if !has_date {
        line(out, b"date", date);
    }
    if let Some(connection) = connection {
        line(out, b"connection", connection);
    }
    out.extend_from_slice(b"\r\n");
}

/// Writes the head of an interim answer (RFC 9110 15.2), with those of `headers` that do not speak of a body or of the
/// connection.
pub fn encode_interim_head(out: &mut Vec<u8>, status: StatusCode, headers: &HeaderMap) {
    status_line(out, Version::Http11, status);
    for (name, value) in headers {
        if !matches!(
            *name,
            header::CONTENT_LENGTH | header::TRANSFER_ENCODING | header::CONNECTION | header::TRAILER
        ) {
            line(out, name.as_str().as_bytes(), value.as_bytes());
        }
    }
    out.extend_from_slice(b"\r\n");
}

fn status_line(out: &mut Vec<u8>, version: Version, status: StatusCode) {
    if (version, status) == (Version::Http11, StatusCode::OK) {
        return out.extend_from_slice(b"HTTP/1.1 200 OK\r\n");
    }
    out.extend_from_slice(match version {
        Version::Http10 => b"HTTP/1.0 ",
        Version::Http11 => b"HTTP/1.1 ",
    });
    out.extend_from_slice(status.as_str().as_bytes());
    out.push(b' ');
    // A status that nobody has named gets the empty reason that RFC 9112 4 allows.
    out.extend_from_slice(status.canonical_reason().unwrap_or_default().as_bytes());
    out.extend_from_slice(b"\r\n");
}

#[cfg(test)]
mod tests {
    use http::HeaderValue;

    use super::*;

    fn encoded(
        version: Version,
        status: u16,
        fields: &[(&str, &str)],
        framing: Framing,
        connection: Option<&str>,
    ) -> String {
        let mut headers = HeaderMap::new();
        for (name, value) in fields {
            let name: http::HeaderName = name.parse().expect("a token");
            headers.append(name, HeaderValue::from_str(value).expect("no control bytes"));
        }
        let status = StatusCode::from_u16(status).expect("a status");
        let mut out = b"before".to_vec();
        encode_response_head(
            &mut out,
            version,
            status,
            &headers,
            framing,
            connection.map(str::as_bytes),
            b"now",
        );
        String::from_utf8(out).expect("ascii")
    }

    #[test]
    fn a_head_is_written_line_by_line_and_says_when() {
        assert_eq!(
            encoded(
                Version::Http11,
                200,
                &[("etag", "a"), ("set-cookie", "b"), ("set-cookie", "c")],
                Framing::Length(7),
                None
            ),
            "beforeHTTP/1.1 200 OK\r\netag: a\r\nset-cookie: b\r\nset-cookie: c\r\ncontent-length: 7\r\ndate: now\r\n\r\n"
        );
        assert_eq!(
            encoded(
                Version::Http10,
                404,
                &[("date", "then")],
                Framing::UntilClose,
                Some("close")
            ),
            "beforeHTTP/1.0 404 Not Found\r\ndate: then\r\nconnection: close\r\n\r\n"
        );
        assert_eq!(
            encoded(Version::Http11, 299, &[], Framing::None, None),
            "beforeHTTP/1.1 299 \r\ndate: now\r\n\r\n"
        );
    }

    #[test]
    fn an_interim_head_has_no_word_of_the_end() {
        let mut headers = HeaderMap::new();
        headers.insert(header::LINK, HeaderValue::from_static("</a.css>"));
        headers.insert(header::CONTENT_LENGTH, HeaderValue::from_static("5"));
        let mut out = Vec::new();
        encode_interim_head(&mut out, StatusCode::from_u16(103).expect("a status"), &headers);
        assert_eq!(out, b"HTTP/1.1 103 Early Hints\r\nlink: </a.css>\r\n\r\n");
    }

    #[test]
    fn where_it_ends_is_said_once_and_by_us() {
        let lies = [
            ("content-length", "5"),
            ("transfer-encoding", "gzip"),
            ("connection", "x"),
            ("trailer", "y"),
        ];
        assert_eq!(
            encoded(Version::Http11, 200, &lies, Framing::Chunked, Some("keep-alive")),
            "beforeHTTP/1.1 200 OK\r\ntrailer: y\r\ntransfer-encoding: chunked\r\ndate: now\r\nconnection: keep-alive\r\n\r\n"
        );
        assert_eq!(
            encoded(Version::Http11, 304, &lies, Framing::None, None),
            "beforeHTTP/1.1 304 Not Modified\r\ndate: now\r\n\r\n"
        );
    }
}
