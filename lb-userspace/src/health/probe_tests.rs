use std::{
    net::SocketAddr,
    time::{Duration, Instant},
};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{TcpListener, TcpStream},
    task::JoinHandle,
};

use super::{Endpoint, ProbeError, probe};
use crate::config::model::CheckKind;

/// Longer than any answer on loopback takes, even on a busy machine.
const PATIENCE: Duration = Duration::from_secs(10);
/// For servers that never answer.
const SHORT: Duration = Duration::from_millis(50);

fn http(host: Option<&str>, expect: (u16, u16)) -> CheckKind {
    CheckKind::Http {
        path: "/healthz?deep=1".to_owned(),
        host: host.map(str::to_owned),
        expect,
    }
}

/// Reads up to the end of a request's head.
async fn read_head(stream: &mut TcpStream) -> String {
    let mut head = Vec::new();
    while !head.ends_with(b"\r\n\r\n") {
        head.push(stream.read_u8().await.expect("a whole request"));
    }
    String::from_utf8(head).expect("ASCII")
}

/// A server that gives one client `answer`, then reads until the client closes.
/// Yields the request's head and what the last read said.
async fn answering(
    answer: &'static [u8],
) -> (SocketAddr, JoinHandle<(String, std::io::Result<usize>)>) {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("bound");
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accept");
        let head = read_head(&mut stream).await;
        stream.write_all(answer).await.expect("write");
        stream.shutdown().await.expect("shutdown");
        let last = stream.read(&mut [0; 64]).await;
        (head, last)
    });
    (address, server)
}

async fn ask(address: SocketAddr, kind: &CheckKind, limit: Duration) -> Result<(), ProbeError> {
    let host = "203.0.113.10".to_owned();
    probe(&Endpoint { address, host }, kind, limit).await
}

/// An address where nobody listens, nor will: no other test uses this one.
async fn closed_port() -> SocketAddr {
    let listener = TcpListener::bind("127.0.3.1:0").await.expect("bind");
    listener.local_addr().expect("bound")
}

#[tokio::test]
async fn tcp_accepts_and_closes_plainly() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("bound");
    assert_eq!(ask(address, &CheckKind::Tcp, PATIENCE).await, Ok(()));
    let (mut stream, _) = listener.accept().await.expect("accept");
    let end = stream.read(&mut [0; 1]).await;
    assert_eq!(end.expect("an end of file, not a reset"), 0);
}

#[tokio::test]
async fn refusal_is_said_in_words() {
    let address = closed_port().await;
    for kind in [CheckKind::Tcp, http(None, (200, 399))] {
        let error = ask(address, &kind, PATIENCE)
            .await
            .expect_err("closed port");
        assert_eq!(error.to_string(), "connection refused");
    }
}

#[tokio::test]
async fn http_asks_as_configured_and_closes_plainly() {
    for (host, expected) in [(None, "203.0.113.10"), (Some("foobar.com"), "foobar.com")] {
        let (address, server) = answering(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nok").await;
        assert_eq!(
            ask(address, &http(host, (200, 399)), PATIENCE).await,
            Ok(())
        );
        let (head, end) = server.await.expect("the server didn't panic");
        assert!(
            head.starts_with("GET /healthz?deep=1 HTTP/1.1\r\n"),
            "{head}"
        );
        let lines: Vec<_> = head.lines().map(str::to_ascii_lowercase).collect();
        let version = env!("CARGO_PKG_VERSION");
        for line in [
            format!("host: {expected}"),
            format!("user-agent: flowgate-health/{version}"),
            "connection: close".to_owned(),
        ] {
            assert!(lines.contains(&line), "no {line:?} in {head}");
        }
        assert_eq!(end.expect("an end of file, not a reset"), 0);
    }
}

#[tokio::test]
async fn http_status_decides_both_ends_included() {
    const EXPECT: (u16, u16) = (201, 399);
    let answers: [(&'static [u8], Option<&str>); 4] = [
        (
            b"HTTP/1.1 200 X\r\ncontent-length: 0\r\n\r\n",
            Some("status 200, expected 201–399"),
        ),
        (b"HTTP/1.1 201 X\r\ncontent-length: 0\r\n\r\n", None),
        (b"HTTP/1.1 399 X\r\ncontent-length: 0\r\n\r\n", None),
        (
            b"HTTP/1.1 400 X\r\ncontent-length: 0\r\n\r\n",
            Some("status 400, expected 201–399"),
        ),
    ];
    for (answer, failure) in answers {
        let (address, _server) = answering(answer).await;
        let got = ask(address, &http(None, EXPECT), PATIENCE).await;
        let words = got.err().map(|error| error.to_string());
        assert_eq!(words.as_deref(), failure);
    }
}

#[tokio::test]
async fn something_else_than_http_is_a_failure() {
    for (answer, words) in [
        (&b"SSH-2.0-OpenSSH_9.2\r\n"[..], "no HTTP answer: "),
        (&b""[..], "no HTTP answer: the server closed the connection"),
    ] {
        let (address, _server) = answering(answer).await;
        let error = ask(address, &http(None, (200, 399)), PATIENCE)
            .await
            .expect_err("not HTTP");
        assert!(error.to_string().starts_with(words), "{error}");
    }
}

#[tokio::test]
async fn silence_ends_at_the_limit() {
    // The kernel accepts for a listener that never does; nobody answers.
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("bound");
    let started = Instant::now();
    let error = ask(address, &http(None, (200, 399)), SHORT).await;
    assert_eq!(error, Err(ProbeError::Timeout(SHORT)));
    assert!(started.elapsed() >= SHORT);
    assert_eq!(
        ProbeError::Timeout(SHORT).to_string(),
        "no answer within 50ms"
    );
}

#[tokio::test]
async fn an_endless_body_is_cut_off() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("bound");
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accept");
        read_head(&mut stream).await;
        let head = b"HTTP/1.1 200 OK\r\n\r\n";
        stream.write_all(head).await.expect("write");
        let mut sent = 0;
        while let Ok(bytes) = stream.write(&[b'x'; 4096]).await {
            sent += bytes;
        }
        sent
    });
    let started = Instant::now();
    assert_eq!(
        ask(address, &http(None, (200, 200)), PATIENCE).await,
        Ok(())
    );
    assert!(
        started.elapsed() < PATIENCE / 2,
        "the bound ended it, not the clock"
    );
    assert!(server.await.expect("ended") >= 64 * 1024);
}

#[tokio::test]
async fn a_usual_body_is_taken_so_that_no_reset_follows() {
    // More than is read along with the head.
    const PAGE: usize = 32 * 1024;
    let head = format!("HTTP/1.1 200 OK\r\ncontent-length: {PAGE}\r\n\r\n");
    let answer = [head.as_bytes(), &[b'x'; PAGE]].concat();
    let (address, server) = answering(answer.leak()).await;
    let got = ask(address, &http(None, (200, 200)), PATIENCE).await;
    assert_eq!(got, Ok(()));
    let (_, end) = server.await.expect("the server didn't panic");
    assert_eq!(end.expect("an end of file, not a reset"), 0);
}

#[tokio::test]
async fn a_stalled_body_does_not_undo_the_status() {
    let listener = TcpListener::bind("127.0.0.1:0").await.expect("bind");
    let address = listener.local_addr().expect("bound");
    let server = tokio::spawn(async move {
        let (mut stream, _) = listener.accept().await.expect("accept");
        read_head(&mut stream).await;
        let part = b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nhalf";
        stream.write_all(part).await.expect("write");
        let _ = stream.read(&mut [0; 1]).await;
    });
    // The head must come within it, the body doesn't.
    let limit = Duration::from_secs(3);
    assert_eq!(ask(address, &http(None, (200, 200)), limit).await, Ok(()));
    server.await.expect("ended");
}
