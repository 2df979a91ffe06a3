//! Connections and requests of the endpoint.

use std::{
    convert::Infallible,
    io,
    sync::{
        Arc,
        atomic::{AtomicU64, Ordering},
    },
    time::Duration,
};

use http::{HeaderValue, Request, Response, header, request::Parts};
use http_body_util::BodyExt;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::TokioIo;
use tokio::{
    net::{TcpListener, TcpStream},
    task::JoinSet,
};

use super::{
    Options,
    answer::{self, Content, Origin, Plan},
    body::Answer,
};

/// Time after which accepting is tried again when the process has no descriptor left.
const ACCEPT_RETRY: Duration = Duration::from_millis(100);

/// Answers the clients of `listener`, each connection in a task of its own; never returns.
///
/// Cancellation: dropping the future ends all of its connections.
pub async fn serve(listener: TcpListener, options: Options) {
    let options = Arc::new(options);
    let mut connections = JoinSet::new();
    let mut opened = 0;
    loop {
        tokio::select! {
            accepted = listener.accept() => match accepted {
                Ok((stream, _)) => {
                    opened += 1;
                    connections.spawn(serve_connection(stream, opened, options.clone()));
                }
                // The client was gone before it was accepted.
                Err(e) if e.kind() == io::ErrorKind::ConnectionAborted => {}
                Err(error) => {
                    tracing::warn!(%error, "endpoint cannot accept");
                    tokio::time::sleep(ACCEPT_RETRY).await;
                }
            },
            Some(_) = connections.join_next() => {}
        }
    }
}

async fn serve_connection(stream: TcpStream, connection: u64, options: Arc<Options>) {
    // Only a delay of small answers is lost where this is refused.
    let _ = stream.set_nodelay(true);
    let requests = AtomicU64::new(0);
    let service = service_fn(|request| {
        let origin = Origin {
            connection,
            request: requests.fetch_add(1, Ordering::Relaxed) + 1,
        };
        respond(request, origin, options.clone())
    });
    if let Err(error) = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service)
        .await
    {
        tracing::debug!(%error, connection, "endpoint connection ended");
    }
}

async fn respond(
    request: Request<Incoming>,
    origin: Origin,
    options: Arc<Options>,
) -> Result<Response<Answer>, Infallible> {
    let (parts, body) = request.into_parts();
    let plan = answer::plan(&parts.method, parts.uri.path(), &options, fastrand::f64());
    if !plan.delay.is_zero() {
        tokio::time::sleep(plan.delay).await;
    }
    let content_type = answer::content_type(&plan.content, &parts.headers);
    let Plan { status, content, .. } = plan;
    let answer = match content {
        Content::EchoBody => Answer::Echo(body),
        other => {
            // Read to its end, so that the connection can serve another request.
            discard(body).await;
            match other {
                Content::Text(text) => Answer::sized(text, None),
                Content::Filling(size) => Answer::sized("", Some(size)),
                Content::EchoHead => Answer::sized(answer::head(&parts), None),
                _ => Answer::sized(answer::greeting(&options.name, origin, &parts.headers), options.size),
            }
        }
    };
    let mut response = Response::new(answer);
    *response.status_mut() = status;
    describe(&mut response, content_type, &parts);
    Ok(response)
}

/// Adds what the body cannot say.
fn describe(response: &mut Response<Answer>, content_type: Option<HeaderValue>, request: &Parts) {
    if let Some(content_type) = content_type {
        response.headers_mut().insert(header::CONTENT_TYPE, content_type);
    }
    if let Answer::Echo(_) = response.body() {
        let path = HeaderValue::try_from(request.uri.to_string());
        let method = HeaderValue::try_from(request.method.as_str());
        for (name, value) in [("x-echo-method", method), ("x-echo-path", path)] {
            // What is no field value is not echoed.
            if let Ok(value) = value {
                response.headers_mut().insert(name, value);
            }
        }
    }
}

/// Reads a body to its end, keeping nothing of it. A broken one ends the connection, which hyper sees for itself.
async fn discard(mut body: Incoming) {
    while let Some(Ok(_)) = body.frame().await {}
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt, AsyncWriteExt};

    use super::*;
    use crate::cli::endpoint::Share;

    struct Endpoint {
        address: std::net::SocketAddr,
        task: JoinSet<()>,
    }

    async fn start(options: Options) -> Endpoint {
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let address = listener.local_addr().unwrap();
        let mut task = JoinSet::new();
        task.spawn(serve(listener, options));
        Endpoint { address, task }
    }

    fn options() -> Options {
        Options {
            name: "a".into(),
            delay: Duration::ZERO,
            size: None,
            fail: Share::NONE,
        }
    }

    impl Endpoint {
        /// Sends `requests` on one connection, the last of which closes it; returns all that comes back.
        async fn talk(&self, requests: &str) -> String {
            let mut stream = TcpStream::connect(self.address).await.unwrap();
            stream.write_all(requests.as_bytes()).await.unwrap();
            let mut answer = String::new();
            stream.read_to_string(&mut answer).await.unwrap();
            answer
        }

        async fn get(&self, path: &str) -> String {
            self.talk(&format!("GET {path} HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n"))
                .await
        }
    }

    fn body(answer: &str) -> &str {
        answer.split_once("\r\n\r\n").unwrap().1
    }

    #[tokio::test]
    async fn connections_and_requests_are_numbered() {
        let endpoint = start(options()).await;
        let two = "GET /1 HTTP/1.1\r\nhost: x\r\nx-forwarded-for: 10.0.0.9\r\n\r\n\
                   GET /2 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        let answers = endpoint.talk(two).await;
        assert!(
            answers.contains("a: connection 1, request 1 on it, x-forwarded-for: 10.0.0.9\n"),
            "{answers}"
        );
        assert!(
            answers.contains("a: connection 1, request 2 on it, x-forwarded-for: none\n"),
            "{answers}"
        );
        assert_eq!(
            body(&endpoint.get("/").await),
            "a: connection 2, request 1 on it, x-forwarded-for: none\n"
        );
    }

    #[tokio::test]
    async fn an_unwanted_body_leaves_the_connection_usable() {
        let endpoint = start(options()).await;
        let two = "POST / HTTP/1.1\r\nhost: x\r\ncontent-length: 5\r\n\r\nhello\
                   GET / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n";
        assert!(endpoint.talk(two).await.contains("connection 1, request 2"));
    }

    #[tokio::test]
    async fn answers_have_the_size_that_was_asked_for() {
        let endpoint = start(Options {
            size: Some(70_000),
            ..options()
        })
        .await;
        let answer = endpoint.get("/").await;
        assert!(answer.contains("content-length: 70000\r\n"));
        assert_eq!(body(&answer).len(), 70_000);
        assert_eq!(body(&endpoint.get("/bytes/100KiB").await).len(), 100 << 10);
        assert_eq!(body(&endpoint.get("/healthz").await), "ok\n");
    }

    #[tokio::test]
    async fn a_head_request_gets_the_head_alone() {
        let endpoint = start(Options {
            size: Some(1000),
            ..options()
        })
        .await;
        let answer = endpoint
            .talk("HEAD / HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
            .await;
        assert!(
            answer.starts_with("HTTP/1.1 200 OK\r\n") && answer.contains("content-length: 1000\r\n"),
            "{answer}"
        );
        assert_eq!(body(&answer), "");
    }

    #[tokio::test]
    async fn a_body_is_echoed_with_its_type() {
        let endpoint = start(options()).await;
        let answer = endpoint
            .talk(
                "PUT /echo/it?x=1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\ncontent-type: text/odd\r\n\
                 transfer-encoding: chunked\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\n\r\n",
            )
            .await;
        for field in [
            "content-type: text/odd",
            "x-echo-method: PUT",
            "x-echo-path: /echo/it?x=1",
        ] {
            assert!(answer.contains(&format!("{field}\r\n")), "{answer}");
        }
        assert!(
            body(&answer).contains("abc") && body(&answer).ends_with("0\r\n\r\n"),
            "{answer}"
        );
        let answer = endpoint.get("/echo").await;
        assert_eq!(body(&answer), "GET /echo HTTP/1.1\nhost: x\nconnection: close\n");
    }

    #[tokio::test]
    async fn failures_and_statuses_reach_the_client() {
        let endpoint = start(Options {
            fail: "100%".parse().unwrap(),
            ..options()
        })
        .await;
        assert!(endpoint.get("/").await.starts_with("HTTP/1.1 500 "));
        assert!(endpoint.get("/healthz").await.starts_with("HTTP/1.1 200 "));
        let endpoint = start(options()).await;
        assert!(
            endpoint
                .get("/status/503")
                .await
                .starts_with("HTTP/1.1 503 Service Unavailable\r\n")
        );
        assert_eq!(body(&endpoint.get("/status/204").await), "");
    }

    #[tokio::test(start_paused = true)]
    async fn the_delay_passes_before_the_answer() {
        let endpoint = start(Options {
            delay: Duration::from_secs(3),
            ..options()
        })
        .await;
        let before = tokio::time::Instant::now();
        endpoint.get("/slow/40s").await;
        assert!(before.elapsed() >= Duration::from_secs(43));
    }

    #[tokio::test]
    async fn connections_end_with_their_endpoint() {
        let mut endpoint = start(options()).await;
        let mut stream = TcpStream::connect(endpoint.address).await.unwrap();
        stream
            .write_all(b"GET /bytes/1 HTTP/1.1\r\nhost: x\r\n\r\n")
            .await
            .unwrap();
        let mut byte = [0];
        stream.read_exact(&mut byte).await.unwrap();
        endpoint.task.shutdown().await;
        let mut rest = Vec::new();
        // An end or a reset, but an end.
        let _ = stream.read_to_end(&mut rest).await;
        assert!(TcpStream::connect(endpoint.address).await.is_err());
    }
}
