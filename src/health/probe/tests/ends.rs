//! What becomes of the connections that probes are sent over.

use tokio::sync::mpsc;

use super::{endpoint::Told, *};

/// Asks as often as `count` and gives what was done with the connections, the end of the prober included.
async fn told_by(endpoint: &Endpoint, kind: &ProbeKind, count: usize) -> Vec<Told> {
    let (tell, mut told) = mpsc::unbounded_channel();
    let address = endpoint.address;
    let mut prober = Prober::new(kind, "a", async || Plain::telling(address, &tell).await);
    for _ in 0..count {
        _ = prober.ask().await;
    }
    drop(prober);
    std::iter::from_fn(|| told.try_recv().ok()).collect()
}

#[tokio::test]
async fn between_two_probes_a_connection_is_kept() {
    let endpoint = endpoint(&[&[OK, CHUNKED]]).await;
    assert_eq!(
        told_by(&endpoint, &http((200, 200)), 2).await,
        [Told::Begun, Told::Kept, Told::Begun, Told::Kept, Told::Dropped]
    );
}

#[tokio::test]
async fn a_status_that_is_none_of_the_wanted_keeps_the_connection_too() {
    let endpoint = endpoint(&[&["HTTP/1.1 503 No\r\ncontent-length: 0\r\n\r\n", OK]]).await;
    let told = told_by(&endpoint, &http((200, 200)), 2).await;
    assert_eq!(told, [Told::Begun, Told::Kept, Told::Begun, Told::Kept, Told::Dropped]);
}

#[tokio::test]
async fn every_end_has_its_reason() {
    let ends = [
        (
            "HTTP/1.1 200 OK\r\nconnection: close\r\ncontent-length: 0\r\n\r\n",
            CloseReason::EndpointAsked,
        ),
        ("HTTP/1.1 200 OK\r\n\r\nuntil the end", CloseReason::ClosedByEndpoint),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok, and more",
            CloseReason::UnexpectedBytes,
        ),
        ("SSH-2.0-OpenSSH\r\n", CloseReason::AbortedResponse),
        (
            "HTTP/1.1 200 OK\r\ncontent-length: 9\r\n\r\nok",
            CloseReason::AbortedResponse,
        ),
    ];
    for (answer, reason) in ends {
        let endpoint = endpoint(&[&[answer]]).await;
        let told = told_by(&endpoint, &http((200, 200)), 1).await;
        assert_eq!(told, [Told::Begun, Told::Closed(reason)], "{answer:?}");
    }
}

#[tokio::test]
async fn a_tcp_probe_asks_nothing_and_ends_its_connection() {
    let endpoint = endpoint(&[&[]]).await;
    let told = told_by(&endpoint, &ProbeKind::Tcp, 1).await;
    assert_eq!(told, [Told::Closed(CloseReason::ProbeEnded)]);
}

#[tokio::test]
async fn a_kept_connection_that_has_died_makes_room_for_another_in_the_same_probe() {
    let mut endpoint = endpoint(&[&[OK], &[OK]]).await;
    let (tell, mut told) = mpsc::unbounded_channel();
    let address = endpoint.address;
    let mut prober = Prober::new(&http((200, 200)), "a", async || Plain::telling(address, &tell).await);
    assert!(prober.ask().await.is_ok());
    endpoint.closed.recv().await.expect("the first connection ends");
    let kept = prober.kept.as_mut().expect("it has been kept");
    kept.stream().readable().await.expect("the FIN has come");
    assert!(prober.ask().await.is_ok());
    let told: Vec<_> = std::iter::from_fn(|| told.try_recv().ok()).collect();
    assert_eq!(
        told,
        [
            Told::Begun,
            Told::Kept,
            Told::Closed(CloseReason::ClosedByEndpoint),
            Told::Begun,
            Told::Kept
        ]
    );
}

#[tokio::test]
async fn a_probe_whose_time_is_up_drops_its_connection_in_the_middle() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("loopback");
    let address = listener.local_addr().expect("bound");
    let (tell, mut told) = mpsc::unbounded_channel();
    let mut prober = Prober::new(&http((200, 200)), "a", async || Plain::telling(address, &tell).await);
    {
        let ask = prober.ask();
        let asked = async {
            let (mut stream, _) = listener.accept().await.expect("a connection");
            read_request(&mut stream).await
        };
        tokio::select! {
            answered = ask => panic!("nobody answers: {answered:?}"),
            request = asked => assert!(request.is_some()),
        }
    }
    assert!(prober.kept.is_none());
    let told: Vec<_> = std::iter::from_fn(|| told.try_recv().ok()).collect();
    assert_eq!(told, [Told::Begun, Told::Dropped]);
}
