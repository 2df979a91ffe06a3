//! In front of servers that people really use.

use std::{fs, net::SocketAddr, path::Path, process::Command};

use tempfile::TempDir;

use crate::support::{
    Proxy, eventually, pattern,
    tools::{self, Tool},
};

/// A folder with files to serve.
fn site() -> TempDir {
    let site = tempfile::tempdir().expect("a temporary directory");
    fs::write(site.path().join("small.txt"), "small").expect("a file can be written");
    fs::write(site.path().join("large.bin"), pattern(5 << 20)).expect("a file can be written");
    fs::write(site.path().join("empty.txt"), "").expect("a file can be written");
    site
}

/// What every server has to give: small, large and empty files, errors, and all of it again on kept connections.
fn check(server: SocketAddr) {
    let proxy = Proxy::to(&[server]).start();
    let mut client = proxy.connect();
    for _ in 0..20 {
        assert_eq!(client.get("/small.txt").text(), "small");
    }
    let large = client.get("/large.bin");
    assert!(
        large.cut.is_none() && large.body == pattern(5 << 20),
        "the large file differs"
    );
    assert_eq!(
        (client.get("/empty.txt").text().as_str(), client.get("/nothing").status),
        ("", 404)
    );
    client.send("HEAD /large.bin HTTP/1.1\r\nHost: test.example\r\n\r\n");
    assert_eq!(client.response_to_head().field("content-length"), Some("5242880"));
    assert_eq!(client.get("/small.txt").text(), "small");
    if tools::needs("curl") {
        let url = format!("http://{}/small.txt", proxy.address());
        assert_eq!(tools::curl(&[&url, &url, &url]), (0, "smallsmallsmall".to_owned()));
    }
}

#[test]
fn nginx() {
    if !tools::needs("nginx") {
        return;
    }
    let site = site();
    let (_nginx, address) = start_nginx(site.path());
    check(address);
    let proxy = Proxy::to(&[address]).start();
    let mut client = proxy.connect();
    client.send("GET /large.bin HTTP/1.1\r\nHost: test.example\r\nRange: bytes=1000-1999\r\n\r\n");
    let part = client.response();
    assert_eq!(part.status, 206);
    assert!(part.body == pattern(2000)[1000..], "the part differs");
    let tag = client
        .get("/small.txt")
        .field("etag")
        .expect("nginx gives tags")
        .to_owned();
    client.send(format!(
        "GET /small.txt HTTP/1.1\r\nHost: test.example\r\nIf-None-Match: {tag}\r\n\r\n"
    ));
    assert_eq!(client.response().status, 304);
}

/// Starts nginx on a port that was free a moment ago, and tries again when it is not any more.
fn start_nginx(site: &Path) -> (Tool, SocketAddr) {
    for _ in 0..5 {
        let address = SocketAddr::from(([127, 0, 0, 1], tools::free_port()));
        let root = site.display();
        let user = if fs::metadata("/proc/self").is_ok_and(|own| std::os::unix::fs::MetadataExt::uid(&own) == 0) {
            "user root;"
        } else {
            ""
        };
        let config = format!(
            "daemon off; master_process off; {user} pid {root}/nginx.pid; error_log stderr; events {{}}\n\
             http {{ access_log off; client_body_temp_path {root}/body; proxy_temp_path {root}/proxy; fastcgi_temp_path {root}/fastcgi;\n\
             uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi; server {{ listen {address}; root {root}; }} }}\n",
        );
        let file = site.join("nginx.conf");
        fs::write(&file, config).expect("a file can be written");
        let mut nginx = Tool::start(
            Command::new("nginx")
                .arg("-p")
                .arg(site)
                .arg("-c")
                .arg(&file)
                .args(["-e", "stderr"]),
        );
        let mut is_up = false;
        eventually("nginx is up or has given up", || {
            is_up = std::net::TcpStream::connect(address).is_ok();
            is_up || !nginx.is_running()
        });
        if is_up && nginx.is_running() {
            return (nginx, address);
        }
        eprintln!("nginx did not start: {:?}", nginx.stderr.all());
    }
    panic!("nginx does not start");
}

#[test]
fn python() {
    if !tools::needs("python3") {
        return;
    }
    for protocol in ["HTTP/1.0", "HTTP/1.1"] {
        let site = site();
        let script = "import sys, functools, http.server as s\n\
            handler = type('Handler', (s.SimpleHTTPRequestHandler,), {'protocol_version': sys.argv[2]})\n\
            server = s.ThreadingHTTPServer(('127.0.0.1', 0), functools.partial(handler, directory=sys.argv[1]))\n\
            print('port', server.server_port, flush=True)\n\
            server.serve_forever()\n";
        let python = Tool::start(
            Command::new("python3")
                .args(["-c", script])
                .arg(site.path())
                .arg(protocol),
        );
        check(tools::announced(&python));
    }
}

#[test]
fn node() {
    if !tools::needs("node") {
        return;
    }
    let site = site();
    let script = "const http = require('http'), fs = require('fs'), root = process.argv[1];\n\
        const server = http.createServer((request, response) => {\n\
          if (request.method === 'POST') return request.pipe(response);\n\
          fs.stat(root + request.url, (error, stat) => {\n\
            if (error) { response.statusCode = 404; return response.end('no'); }\n\
            if (request.method === 'HEAD') response.setHeader('Content-Length', stat.size);\n\
            if (request.method === 'HEAD') return response.end();\n\
            fs.createReadStream(root + request.url).pipe(response);\n\
          });\n\
        }).listen(0, '127.0.0.1', () => console.log('port', server.address().port));\n";
    let node = Tool::start(Command::new("node").args(["-e", script]).arg(site.path()));
    let address = tools::announced(&node);
    check(address);
    let body = pattern(3 << 20);
    let echo = Proxy::to(&[address]).start().connect().post("/", &body);
    assert!(echo.body == body, "the echo differs");
}
