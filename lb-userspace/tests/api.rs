//! The API over a real socket, with a stand-in for the daemon.

mod fake;

use std::{ops::ControlFlow, os::unix::fs::PermissionsExt, path::Path, time::Duration};

use fake::Daemon;
use flowgate::{
    api::{
        client::{Client, ClientError},
        socket::{self, BindError},
        types::{AdminView, ApiError},
        watch::Ask,
    },
    desired::Change,
};
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    net::{UnixListener, UnixStream},
};

fn drain(service: &str, name: &str) -> Change {
    let (service, name) = (service.to_owned(), name.to_owned());
    Change::Drain { service, name }
}

/// One request, byte for byte; the status and the body of the answer.
async fn raw(socket: &Path, request: &str) -> (u16, String) {
    let mut stream = UnixStream::connect(socket).await.unwrap();
    // Who has refused a long request needn't read the rest: what it said before it closed counts.
    let _ = stream.write_all(request.as_bytes()).await;
    let mut answer = Vec::new();
    let _ = stream.read_to_end(&mut answer).await;
    let answer = String::from_utf8(answer).unwrap();
    let (head, body) = answer.split_once("\r\n\r\n").unwrap();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    (status, body.to_owned())
}

async fn send(socket: &Path, method: &str, path: &str, body: &str) -> (u16, String) {
    let length = body.len();
    let head = format!("{method} {path} HTTP/1.1\r\nhost: x\r\nconnection: close");
    raw(
        socket,
        &format!("{head}\r\ncontent-length: {length}\r\n\r\n{body}"),
    )
    .await
}

#[tokio::test]
async fn new_connections_are_json_lines() {
    let daemon = Daemon::start();
    let (status, body) = send(&daemon.socket, "POST", "/v1/flows/watch", "{}").await;
    assert_eq!(status, 200);
    assert!(body.contains("{\"not_shown\":12345}\n"), "{body}");
    for (wrong, reason) in [
        (r#"{"rate": 0}"#, "the rate 0"),
        (r#"{"rate": 100001}"#, "the rate 100001"),
        (r#"{"service": "web"}"#, "unknown field"),
        ("", "is not what is asked for"),
    ] {
        let (status, body) = send(&daemon.socket, "POST", "/v1/flows/watch", wrong).await;
        assert_eq!(status, 400, "{wrong}: {body}");
        assert!(body.contains(reason), "{wrong}: {body}");
    }
    let (status, _) = send(&daemon.socket, "GET", "/v1/flows/watch", "").await;
    assert_eq!(status, 405);
}

/// What the client breaks off is broken off, and what it can't reach it says.
#[tokio::test]
async fn a_watch_goes_on_until_somebody_ends_it() {
    let daemon = Daemon::start();
    let client = Client::new(&daemon.socket);
    let ask: Ask = serde_json::from_str("{}").unwrap();
    let mut told = Vec::new();
    let broken_off = client.watch(&ask, |news| {
        told.push(news.is_some());
        match told.len() {
            2 => ControlFlow::Break(()),
            _ => ControlFlow::Continue(()),
        }
    });
    broken_off.await.unwrap();
    assert_eq!(told, [false, true]);
    let mut shown = 0;
    let ended = client.watch(&ask, |news| {
        shown += usize::from(news.is_some());
        ControlFlow::Continue(())
    });
    let error = ended.await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable(_)), "{error}");
    assert_eq!(shown, 3);
}

#[tokio::test]
async fn questions_are_answered_and_changes_made() {
    let daemon = Daemon::start();
    let client = Client::new(&daemon.socket);
    let status = client.status().await.unwrap();
    assert_eq!(status.services[0].backends[0].admin, AdminView::Enabled);

    let reply = client.change(drain("web", "web1")).await.unwrap();
    assert!(reply.changed);
    let services = client.services().await.unwrap();
    assert_eq!(services[0].backends[0].admin, AdminView::Draining);

    let enable = Change::Enable {
        service: "web".to_owned(),
        name: "web1".to_owned(),
    };
    assert!(client.change(enable).await.unwrap().changed);
    let add = Change::AddBackend {
        service: "web".to_owned(),
        name: "web9".to_owned(),
        address: "10.0.0.19".parse().unwrap(),
        port: Some(8080),
        weight: 4,
        backup: true,
    };
    assert!(client.change(add).await.unwrap().changed);
    let weight = Change::SetWeight {
        service: "web".to_owned(),
        name: "web9".to_owned(),
        weight: 9,
    };
    assert!(client.change(weight).await.unwrap().changed);
    let web = client.services().await.unwrap().remove(0);
    let web9 = web.backends.iter().find(|one| one.name == "web9").unwrap();
    assert_eq!((web9.port, web9.weight), (8080, 9));
    assert_eq!(web.backends[0].admin, AdminView::Enabled);

    let remove = Change::RemoveBackend {
        service: "web".to_owned(),
        name: "web9".to_owned(),
    };
    assert!(client.change(remove).await.unwrap().changed);
    assert_eq!(client.services().await.unwrap()[0].backends.len(), 2);
    assert_eq!(
        client.stats().await.unwrap().verdicts["forwarded"],
        12_345_678
    );
    assert!(!client.reload().await.unwrap().changed);
}

#[tokio::test]
async fn every_refusal_is_json_and_changes_nothing() {
    let daemon = Daemon::start();
    let client = Client::new(&daemon.socket);
    let before = client.status().await.unwrap();
    let backends = "/v1/services/web/backends";
    let web1 = "/v1/services/web/backends/web1";
    let large = format!("{{\"name\": \"{}\"}}", "x".repeat(100_000));
    let mut told = String::new();
    for (method, path, body) in [
        ("GET", "/", ""),
        ("GET", "/v2/status", ""),
        ("GET", backends, ""),
        ("DELETE", "/v1/status", ""),
        ("POST", backends, ""),
        ("POST", backends, "{"),
        ("POST", backends, "[1]"),
        ("POST", backends, r#"{"name": "x"}"#),
        ("POST", backends, r#"{"name": "x", "address": "here"}"#),
        (
            "POST",
            backends,
            r#"{"name": "x", "address": "10.0.0.9", "colour": 1}"#,
        ),
        (
            "POST",
            backends,
            r#"{"name": "x", "address": "10.0.0.9", "weight": 0}"#,
        ),
        (
            "POST",
            backends,
            r#"{"name": "x", "address": "10.0.0.9", "weight": -1}"#,
        ),
        (
            "POST",
            backends,
            r#"{"name": "x", "address": "203.0.113.10"}"#,
        ),
        ("POST", backends, &large),
        (
            "POST",
            "/v1/services/wbe/backends",
            r#"{"name": "x", "address": "10.0.0.9"}"#,
        ),
        (
            "POST",
            "/v1/services/%ff/backends",
            r#"{"name": "x", "address": "10.0.0.9"}"#,
        ),
        ("PATCH", web1, "{}"),
        ("PATCH", web1, r#"{"state": "drain", "weight": 2}"#),
        ("PATCH", web1, r#"{"state": "gone"}"#),
        ("PATCH", web1, "\u{0}"),
        ("DELETE", "/v1/services/web/backends/web7", ""),
    ] {
        let (status, body) = send(&daemon.socket, method, path, body).await;
        let error: ApiError = serde_json::from_str(&body).unwrap();
        let (error, hint) = (error.error, error.hint);
        told.push_str(&format!("{method} {path}: {status}\n  {error}\n  {hint}\n"));
    }
    insta::assert_snapshot!("refused_requests", told);
    assert_eq!(client.status().await.unwrap(), before);
}

#[tokio::test]
async fn what_is_not_http_ends_only_its_own_connection() {
    let daemon = Daemon::start();
    let (status, _) = raw(&daemon.socket, "\u{1}\u{2}\r\n\r\n").await;
    assert_eq!(status, 400);
    assert!(Client::new(&daemon.socket).status().await.is_ok());
}

#[tokio::test]
async fn the_client_says_what_a_refused_change_broke() {
    let daemon = Daemon::start();
    let client = Client::new(&daemon.socket);
    let error = client.change(drain("web", "a/b?c")).await.unwrap_err();
    assert!(matches!(&error, ClientError::Refused(_)));
    assert_eq!(
        error.to_string(),
        "there is no backend in service `web` called `a/b?c`"
    );
}

#[tokio::test]
async fn a_daemon_that_does_not_answer_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    // Connections wait in the backlog and are never accepted.
    let _listener = UnixListener::bind(&path).unwrap();
    let client = Client::new(&path).with_deadline(Duration::from_millis(50));
    let error = client.status().await.unwrap_err();
    assert!(matches!(error, ClientError::Unreachable(_)));
    assert!(error.to_string().ends_with("gave no answer within 0.05 s"));
}

#[tokio::test]
async fn what_answers_gibberish_is_told_apart() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("s");
    let listener = UnixListener::bind(&path).unwrap();
    let gibberish = async {
        let (mut stream, _) = listener.accept().await.unwrap();
        stream.write_all(b"+OK POP3 ready\r\n").await.unwrap();
    };
    let client = Client::new(&path);
    let (answer, ()) = tokio::join!(client.status(), gibberish);
    assert!(matches!(answer, Err(ClientError::Garbled(_))));
}

#[tokio::test]
async fn only_owner_and_group_may_use_the_socket() {
    let daemon = Daemon::start();
    let mode = std::fs::metadata(&daemon.socket)
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o660);
}

#[tokio::test]
async fn a_socket_left_behind_is_replaced_and_a_live_one_is_not() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("flowgate.sock");
    drop(socket::bind(&path).unwrap());
    assert!(path.exists());
    let _live = socket::bind(&path).unwrap();
    assert!(matches!(socket::bind(&path), Err(BindError::InUse(_))));

    let file = dir.path().join("file");
    std::fs::write(&file, "precious").unwrap();
    assert!(matches!(socket::bind(&file), Err(BindError::NotASocket(_))));
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "precious");
    let nowhere = dir.path().join("no/such/dir/s");
    assert!(matches!(socket::bind(&nowhere), Err(BindError::Io { .. })));
}
