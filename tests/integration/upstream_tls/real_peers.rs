//! Endpoints that people really use.

use std::{
    fs,
    net::{SocketAddr, TcpStream},
    path::Path,
    process::Command,
};

use super::Trust;
use crate::support::{
    Proxy,
    authority::Authority,
    eventually, pattern,
    tools::{self, Tool},
};

/// nginx with these lines in its server; it listens at `address` by the first of them.
pub(crate) fn start_nginx(site: &Path, server: impl Fn(SocketAddr) -> String) -> (Tool, SocketAddr) {
    for _ in 0..5 {
        let address = SocketAddr::from(([127, 0, 0, 1], tools::free_port()));
        let config = format!(
            "daemon off;\nmaster_process off;\nerror_log stderr warn;\npid {site}/nginx.pid;\nevents {{}}\n\
             http {{\nclient_body_temp_path {site};\nproxy_temp_path {site};\nfastcgi_temp_path {site};\n\
             uwsgi_temp_path {site};\nscgi_temp_path {site};\nlog_format who '$proxy_protocol_addr $remote_addr $request';\n\
             access_log {site}/access.log who;\nserver {{\nroot {site};\n{}\n}}\n}}\n",
            server(address),
            site = site.display(),
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
            is_up = TcpStream::connect(address).is_ok();
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
fn nginx() {
    if !tools::needs("nginx") {
        return;
    }
    let trust = Trust::of(&[]);
    for protocols in ["TLSv1.2", "TLSv1.3", "TLSv1.2 TLSv1.3"] {
        let site = tempfile::tempdir().expect("a temporary directory");
        fs::write(site.path().join("large.bin"), pattern(5 << 20)).expect("a file can be written");
        fs::write(site.path().join("small.txt"), "small").expect("a file can be written");
        let (nginx, address) = start_nginx(site.path(), |address| {
            format!(
                "listen {address} ssl;\nssl_protocols {protocols};\nssl_session_tickets on;\nkeepalive_requests 5;\n\
                 ssl_certificate {};\nssl_certificate_key {};",
                trust.certificate.chain().display(),
                trust.certificate.key().display()
            )
        });
        let proxy = Proxy::to(&[address]).with(&trust.section()).workers(1).start();
        let mut client = proxy.connect();
        for _ in 0..50 {
            assert_eq!(client.get("/small.txt").text(), "small");
        }
        let large = client.get("/large.bin");
        assert!(
            large.cut.is_none() && large.body == pattern(5 << 20),
            "the large file differs"
        );
        let handshakes = |kind: &str| {
            let kind = format!("kind=\"{kind}\"");
            proxy.metric("forebay_upstream_tls_handshakes_total", &[&kind])
        };
        // nginx closes each connection behind its fifth request.
        assert_eq!(
            (handshakes("full"), handshakes("resumed"), handshakes("failed")),
            (1.0, 10.0, 0.0),
            "{protocols}"
        );
        drop(proxy);
        let complaints = nginx.stderr.all();
        assert!(complaints.is_empty(), "{complaints:?}");
    }
}

#[test]
fn openssl() {
    if !tools::needs("openssl") {
        return;
    }
    let trust = Trust::of(&[]);
    for version in ["-tls1_2", "-tls1_3"] {
        let site = tempfile::tempdir().expect("a temporary directory");
        fs::write(site.path().join("small.txt"), "small").expect("a file can be written");
        let port = tools::free_port().to_string();
        let mut command = Command::new("openssl");
        command
            .current_dir(site.path())
            .args(["s_server", "-WWW", "-accept", &port, version, "-cert"]);
        command
            .arg(trust.certificate.chain())
            .arg("-key")
            .arg(trust.certificate.key());
        let server = Tool::start(&mut command);
        assert!(server.stdout.wait_for("ACCEPT"), "{:?}", server.stderr.all());
        let address = SocketAddr::from(([127, 0, 0, 1], port.parse().expect("a number")));
        let proxy = Proxy::to(&[address]).with(&trust.section()).workers(1).start();
        // It serves one connection after the other, and each answer ends with it.
        for _ in 0..5 {
            let response = proxy.get("/small.txt");
            assert_eq!(
                (response.status, response.cut, response.text().as_str()),
                (200, None, "small"),
                "{version}"
            );
        }
        let resumed = proxy.metric("forebay_upstream_tls_handshakes_total", &["kind=\"resumed\""]);
        assert_eq!(resumed, 4.0, "{version}");
    }
}

#[test]
fn python_behind_an_unknown_authority_is_told_so() {
    if !tools::needs("python3") {
        return;
    }
    let (trust, other) = (Trust::of(&[]), Authority::new("Another"));
    let script = "import http.server as s, ssl, sys\n\
        server = s.ThreadingHTTPServer(('127.0.0.1', 0), s.SimpleHTTPRequestHandler)\n\
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)\n\
        context.load_cert_chain(sys.argv[1], sys.argv[2])\n\
        server.socket = context.wrap_socket(server.socket, server_side=True, do_handshake_on_connect=False)\n\
        print('port', server.server_port, flush=True)\n\
        server.serve_forever()\n";
    let site = tempfile::tempdir().expect("a temporary directory");
    fs::write(site.path().join("small.txt"), "small").expect("a file can be written");
    let mut command = Command::new("python3");
    command
        .current_dir(site.path())
        .args(["-c", script])
        .arg(trust.certificate.chain())
        .arg(trust.certificate.key());
    let python = Tool::start(&mut command);
    let address = tools::announced(&python);
    let proxy = Proxy::to(&[address]).with(&trust.section()).start();
    for _ in 0..5 {
        assert_eq!(proxy.get("/small.txt").text(), "small");
    }
    let other = format!("[cluster.main.tls]\nroots = {:?}\n", other.chain());
    let proxy = Proxy::to(&[address]).with(&other).start();
    assert_eq!(proxy.get("/small.txt").error(), "tls_certificate_error");
    assert_eq!(proxy.get("/small.txt").error(), "tls_certificate_error");
    assert!(python.stderr.wait_for("unknown ca"), "the alert has not reached it");
}
