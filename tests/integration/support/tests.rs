//! The tools, tried on each other: a client straight at a scripted endpoint.

use super::*;

#[test]
fn the_endpoint_records_every_byte_and_how_the_client_left() {
    let endpoint = Endpoint::echoing();
    let mut client = Client::connect(endpoint.address());
    assert_eq!(client.post("/a", "hello").text(), "hello");
    drop(client);
    let connections = endpoint.wait_closed(1);
    let sent = "POST /a HTTP/1.1\r\nHost: test.example\r\nContent-Length: 5\r\n\r\nhello";
    assert_eq!(String::from_utf8_lossy(&connections[0].bytes), sent);
    assert_eq!(connections[0].end, Some(End::Fin));
    assert_eq!(endpoint.requests()[0].body, b"hello");
}

#[test]
fn the_endpoint_tells_a_reset_from_a_close() {
    let endpoint = Endpoint::answering("x");
    let client = Client::connect(endpoint.address());
    endpoint.wait_opened(1);
    client.reset();
    assert_eq!(endpoint.wait_closed(1)[0].end, Some(End::Reset));
}

#[test]
fn the_client_tells_a_whole_body_from_a_cut_one() {
    let endpoint = Endpoint::start(|exchange| {
        exchange.send(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n5\r\nhello\r\n");
        match exchange.target() {
            "/whole" => exchange.send(b"0\r\nX-End: yes\r\n\r\n"),
            "/cut" => exchange.close(),
            _ => exchange.reset(),
        }
    });
    let whole = Client::connect(endpoint.address()).get("/whole");
    assert_eq!((whole.text().as_str(), whole.cut), ("hello", None));
    assert_eq!(whole.trailers, [("X-End".to_owned(), "yes".to_owned())]);
    assert_eq!(Client::connect(endpoint.address()).get("/cut").cut, Some(End::Fin));
    assert_eq!(Client::connect(endpoint.address()).get("/reset").cut, Some(End::Reset));
}

#[test]
fn the_client_keeps_interim_responses_apart() {
    let endpoint = Endpoint::saying("HTTP/1.1 103 Early Hints\r\nLink: </a>\r\n\r\nHTTP/1.1 204 No Content\r\n\r\n");
    let response = Client::connect(endpoint.address()).get("/");
    assert_eq!((response.status, response.interim.len()), (204, 1));
}

#[test]
fn unreachable_addresses_refuse_or_keep_silent() {
    use std::{net::TcpStream, time::Duration};
    let refused = TcpStream::connect(unreachable::Refusing::new().address()).expect_err("nobody listens");
    assert_eq!(refused.kind(), std::io::ErrorKind::ConnectionRefused);
    let silent = unreachable::Silent::new();
    let timed_out = TcpStream::connect_timeout(&silent.address(), Duration::from_millis(100));
    assert_eq!(
        timed_out.expect_err("nobody accepts").kind(),
        std::io::ErrorKind::TimedOut
    );
}

#[test]
fn a_namespace_counts_the_sockets_inside() {
    let Some(namespace) = netns::Namespace::make() else {
        return;
    };
    let endpoint = Endpoint::start_on(&format!("{}:0", namespace.outer()), |exchange| exchange.respond("x"));
    namespace.source_ports(30000, 30100);
    let port = endpoint.address().port();
    let mut command = std::process::Command::new("ip");
    command.args(["netns", "exec", namespace.name(), "python3", "-c"]);
    let script = "import socket,sys; s=socket.create_connection((sys.argv[1],int(sys.argv[2]))); sys.stdin.read()";
    command.args([script, &namespace.outer().to_string(), &port.to_string()]);
    if !tools::needs("python3") {
        return;
    }
    let mut child = command
        .stdin(std::process::Stdio::piped())
        .spawn()
        .expect("python runs");
    endpoint.wait_opened(1);
    assert_eq!(namespace.sockets("established", port), 1);
    assert_eq!(namespace.sockets("time-wait", port), 0);
    drop(child.stdin.take());
    child.wait().expect("python ends");
    eventually("the socket waits", || namespace.sockets("time-wait", port) == 1);
}
