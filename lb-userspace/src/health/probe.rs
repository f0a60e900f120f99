//! One question to one backend.

use std::{io, net::SocketAddr, time::Duration};

use http_body_util::{BodyExt, Empty, Limited};
use hyper::{
    Request,
    body::{Bytes, Incoming},
    client::conn::http1,
    header,
};
use hyper_util::rt::TokioIo;
use thiserror::Error;
use tokio::{
    net::TcpStream,
    time::{Instant, timeout, timeout_at},
};

use crate::config::model::CheckKind;

/// How the checks name themselves to web servers.
const USER_AGENT: &str = concat!("flowgate-health/", env!("CARGO_PKG_VERSION"));

/// Bytes of an answer's body that are read before the connection is closed.
/// Closing with unread bytes resets the connection, which servers log.
const BODY_BOUND: usize = 64 * 1024;

/// Why a probe failed, in words for a person.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum ProbeError {
    /// The time was up.
    #[error("no answer within {0:?}")]
    Timeout(Duration),
    /// No connection.
    #[error("{0}")]
    Connect(String),
    /// A connection, but no HTTP answer on it.
    #[error("no HTTP answer: {0}")]
    Http(String),
    /// An HTTP answer with an unexpected status.
    #[error("status {got}, expected {low}–{high}")]
    Status {
        /// What came.
        got: u16,
        /// The lowest expected status.
        low: u16,
        /// The highest expected status.
        high: u16,
    },
}

/// Where a probe goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Endpoint {
    /// The address and port that are connected to.
    pub address: SocketAddr,
    /// The `Host` header of a check that names none.
    pub host: String,
}

/// Asks `endpoint` what `kind` says; fails after `limit` at the latest.
///
/// Dropping the future closes the connection.
///
/// # Errors
/// Whatever makes the backend unhealthy, see [`ProbeError`].
pub async fn probe(
    endpoint: &Endpoint,
    kind: &CheckKind,
    limit: Duration,
) -> Result<(), ProbeError> {
    let deadline = Instant::now() + limit;
    let asked = async {
        let stream = TcpStream::connect(endpoint.address)
            .await
            .map_err(|error| ProbeError::Connect(in_words(&error)))?;
        match kind {
            CheckKind::Tcp => Ok(()),
            CheckKind::Http { path, host, expect } => {
                let host = host.as_deref().unwrap_or(&endpoint.host);
                http(stream, path, host, *expect, deadline).await
            }
        }
    };
    timeout_at(deadline, asked)
        .await
        .unwrap_or(Err(ProbeError::Timeout(limit)))
}

/// `GET path` on a fresh connection.
async fn http(
    stream: TcpStream,
    path: &str,
    host: &str,
    (low, high): (u16, u16),
    deadline: Instant,
) -> Result<(), ProbeError> {
    let request = Request::get(path)
        .header(header::HOST, host)
        .header(header::USER_AGENT, USER_AGENT)
        .header(header::CONNECTION, "close")
        .body(Empty::<Bytes>::new())
        .map_err(|error| ProbeError::Http(error.to_string()))?;
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream))
        .await
        .map_err(|error| http_error(&error))?;
    // The connection is driven here and not by a task of its own, so that
    // dropping the probe closes it.
    let ask = async {
        let response = sender
            .send_request(request)
            .await
            .map_err(|error| http_error(&error))?;
        let got = response.status().as_u16();
        let left = deadline.saturating_duration_since(Instant::now());
        drain(response.into_body(), left / 2).await;
        if (low..=high).contains(&got) {
            Ok(())
        } else {
            Err(ProbeError::Status { got, low, high })
        }
    };
    let mut ask = std::pin::pin!(ask);
    tokio::select! {
        biased;
        verdict = &mut ask => verdict,
        // It can end before its last answer has been taken from it.
        _ = connection => ask.await,
    }
}

/// Reads the body's beginning and forgets it. The status has decided already,
/// so neither an error nor slowness here matters.
async fn drain(body: Incoming, limit: Duration) {
    let mut body = Limited::new(body, BODY_BOUND);
    let to_end = async { while let Some(Ok(_)) = body.frame().await {} };
    let _ = timeout(limit, to_end).await;
}

/// What is wrong with an HTTP exchange, with the cause that hyper hides in it.
fn http_error(error: &hyper::Error) -> ProbeError {
    let source = std::error::Error::source(error);
    let words = match source.and_then(|cause| cause.downcast_ref::<io::Error>()) {
        Some(cause) => in_words(cause),
        None if error.is_incomplete_message() => "the server closed the connection".to_owned(),
        None => error.to_string(),
    };
    ProbeError::Http(words)
}

/// An I/O error without its number.
fn in_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "connection refused".to_owned(),
        io::ErrorKind::ConnectionReset => "connection reset".to_owned(),
        io::ErrorKind::HostUnreachable => "host unreachable".to_owned(),
        io::ErrorKind::NetworkUnreachable => "network unreachable".to_owned(),
        io::ErrorKind::TimedOut => "connection timed out".to_owned(),
        io::ErrorKind::AddrNotAvailable => "no local port free for the check".to_owned(),
        _ => error.to_string(),
    }
}
