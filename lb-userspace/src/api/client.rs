//! The API's client: one connection and one deadline for each request.

mod watch;

use std::{
    io,
    path::{Path, PathBuf},
    time::Duration,
};

use http_body_util::{BodyExt, Full, Limited};
use hyper::{Method, Request, StatusCode, body::Bytes, client::conn::http1, header};
use hyper_util::rt::TokioIo;
use serde::{Serialize, de::DeserializeOwned};
use thiserror::Error;
use tokio::net::UnixStream;

use super::{
    flows::{Connection, FlowAnswer, FlowCensus},
    types::{
        ApiError, BackendPatch, ChangeReply, NewBackend, ReloadReply, ServiceView, Stats, Status,
    },
    vip::{FailoverAsk, FailoverReply, VipStatus},
};
use crate::{config::model::AdminState, desired::Change};

/// How long a request may take, from connecting to the answer's last byte.
const DEADLINE: Duration = Duration::from_secs(10);

/// The largest answer, in bytes: several times that of the most backends.
const MAX_ANSWER: usize = 256 << 20;

type Sender = http1::SendRequest<Full<Bytes>>;
/// What moves the bytes of a connection.
type Connected = http1::Connection<TokioIo<UnixStream>, Full<Bytes>>;

/// Asks the daemon.
#[derive(Debug, Clone)]
pub struct Client {
    socket: PathBuf,
    deadline: Duration,
}

/// Why there is no answer.
#[derive(Debug, Error)]
pub enum ClientError {
    /// Nobody answers on the socket.
    #[error("{}", .0.error)]
    Unreachable(ApiError),
    /// The daemon refuses.
    #[error("{}", .0.error)]
    Refused(ApiError),
    /// What answers isn't a daemon of this version.
    #[error("{}", .0.error)]
    Garbled(ApiError),
}

impl ClientError {
    /// The reason and the way out.
    pub fn told(&self) -> &ApiError {
        match self {
            Self::Unreachable(told) | Self::Refused(told) | Self::Garbled(told) => told,
        }
    }
}

impl Client {
    /// A client of the daemon that serves on `socket`.
    pub fn new(socket: impl Into<PathBuf>) -> Self {
        Self {
            socket: socket.into(),
            deadline: DEADLINE,
        }
    }

    /// The same with another deadline for each request.
    pub fn with_deadline(self, deadline: Duration) -> Self {
        Self { deadline, ..self }
    }

    /// The daemon and everything it balances.
    ///
    /// # Errors
    /// See [`ClientError`], here and below.
    pub async fn status(&self) -> Result<Status, ClientError> {
        self.ask(Method::GET, "/v1/status", Bytes::new()).await
    }

    /// The services with their backends.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn services(&self) -> Result<Vec<ServiceView>, ClientError> {
        self.ask(Method::GET, "/v1/services", Bytes::new()).await
    }

    /// The counters.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn stats(&self) -> Result<Stats, ClientError> {
        self.ask(Method::GET, "/v1/stats", Bytes::new()).await
    }

    /// The flows, counted.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn flows(&self) -> Result<FlowCensus, ClientError> {
        self.ask(Method::GET, "/v1/flows", Bytes::new()).await
    }

    /// What is known of one connection.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn flow(&self, asked: &Connection) -> Result<FlowAnswer, ClientError> {
        let [client, vip] = [asked.client, asked.vip].map(|end| segment(&end.to_string()));
        let path = format!("/v1/flows/{}/{client}/{vip}", asked.protocol.name());
        self.ask(Method::GET, &path, Bytes::new()).await
    }

    /// Who holds the VIPs.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn vip(&self) -> Result<VipStatus, ClientError> {
        self.ask(Method::GET, "/v1/vip", Bytes::new()).await
    }

    /// Lets a standby have them.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn fail_over(&self, ask: &FailoverAsk) -> Result<FailoverReply, ClientError> {
        let body = json(ask).map_err(|error| self.garbled(error))?;
        self.ask(Method::POST, "/v1/vip/failover", body).await
    }

    /// Makes the daemon read its configuration again.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn reload(&self) -> Result<ReloadReply, ClientError> {
        self.ask(Method::POST, "/v1/reload", Bytes::new()).await
    }

    /// Makes one change.
    ///
    /// # Errors
    /// See [`ClientError`].
    pub async fn change(&self, change: Change) -> Result<ChangeReply, ClientError> {
        let (service, name) = change.names();
        let all = format!("/v1/services/{}/backends", segment(service));
        let one = format!("{all}/{}", segment(name));
        let set = |patch: BackendPatch| (Method::PATCH, one.clone(), json(&patch));
        let state = |state| BackendPatch {
            state: Some(state),
            weight: None,
        };
        let (method, path, body) = match change {
            Change::AddBackend {
                name,
                address,
                port,
                weight,
                backup,
                ..
            } => {
                let weight = Some(weight);
                let new = NewBackend {
                    name,
                    address,
                    port,
                    weight,
                    backup,
                };
                (Method::POST, all, json(&new))
            }
            Change::RemoveBackend { .. } => (Method::DELETE, one, Ok(Bytes::new())),
            Change::Enable { .. } => set(state(AdminState::Enabled)),
            Change::Drain { .. } => set(state(AdminState::Draining)),
            Change::SetWeight { weight, .. } => set(BackendPatch {
                state: None,
                weight: Some(weight),
            }),
        };
        let body = body.map_err(|error| self.garbled(error))?;
        self.ask(method, &path, body).await
    }

    async fn ask<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<T, ClientError> {
        let exchange = self.exchange(method, path, body);
        let (status, answer) = tokio::time::timeout(self.deadline, exchange)
            .await
            .map_err(|_| self.silent())??;
        if status.is_success() {
            return serde_json::from_slice(&answer).map_err(|error| self.garbled(error));
        }
        Err(self.refused(status, &answer))
    }

    async fn exchange(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<(StatusCode, Bytes), ClientError> {
        let (mut sender, connection) = self.connect().await?;
        let request = self.request(method, path, body)?;
        let answer = async {
            let response = sender.send_request(request).await?;
            let status = response.status();
            let body = Limited::new(response.into_body(), MAX_ANSWER);
            let body = body.collect().await?.to_bytes();
            Ok::<_, Box<dyn std::error::Error + Send + Sync>>((status, body))
        };
        // The connection moves the bytes that the answer waits for; it may end
        // first, when the daemon closes it.
        tokio::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            _ = connection => answer.await,
        }
        .map_err(|error| self.garbled(error))
    }

    async fn connect(&self) -> Result<(Sender, Connected), ClientError> {
        let stream = UnixStream::connect(&self.socket)
            .await
            .map_err(|error| unreachable(&self.socket, &error))?;
        http1::handshake(TokioIo::new(stream))
            .await
            .map_err(|error| self.garbled(error))
    }

    fn request(
        &self,
        method: Method,
        path: &str,
        body: Bytes,
    ) -> Result<Request<Full<Bytes>>, ClientError> {
        Request::builder()
            .method(method)
            .uri(path)
            .header(header::HOST, "flowgate")
            .header(header::CONTENT_TYPE, "application/json")
            .body(Full::new(body))
            .map_err(|error| self.garbled(error))
    }

    fn refused(&self, status: StatusCode, answer: &[u8]) -> ClientError {
        match serde_json::from_slice(answer) {
            Ok(error) => ClientError::Refused(error),
            Err(_) => self.garbled(format!("HTTP status {status}")),
        }
    }

    fn silent(&self) -> ClientError {
        let (socket, seconds) = (self.socket.display(), self.deadline.as_secs_f32());
        ClientError::Unreachable(ApiError {
            error: format!("the daemon behind {socket} gave no answer within {seconds} s"),
            hint: "see what it does: `journalctl -u flowgate -n 50`".to_owned(),
        })
    }

    fn garbled(&self, error: impl std::fmt::Display) -> ClientError {
        ClientError::Garbled(ApiError {
            error: format!(
                "what answers on {} is not understood: {error}",
                self.socket.display()
            ),
            hint: "are this program and the daemon of the same version? `flowgate --version`, \
                   and `systemctl restart flowgate` after an upgrade"
                .to_owned(),
        })
    }
}

fn unreachable(socket: &Path, error: &io::Error) -> ClientError {
    let path = socket.display();
    let running = "is the daemon running? `systemctl status flowgate`; if it serves elsewhere, \
                   give --socket PATH";
    let (error, hint) = match error.kind() {
        io::ErrorKind::NotFound => (format!("there is no socket {path}"), running),
        io::ErrorKind::ConnectionRefused => (format!("nobody listens on {path}"), running),
        io::ErrorKind::PermissionDenied => (
            format!("this user may not use {path}"),
            "use sudo, or join the group that owns the socket",
        ),
        _ => (format!("can't connect to {path}: {error}"), running),
    };
    let hint = hint.to_owned();
    ClientError::Unreachable(ApiError { error, hint })
}

fn json(value: &impl Serialize) -> Result<Bytes, serde_json::Error> {
    serde_json::to_vec(value).map(Bytes::from)
}

/// A name as one segment of a path (RFC 3986).
fn segment(name: &str) -> String {
    let kept = |byte: u8| byte.is_ascii_alphanumeric() || b"-._~".contains(&byte);
    name.bytes()
        .map(|byte| match kept(byte) {
            true => char::from(byte).to_string(),
            false => format!("%{byte:02X}"),
        })
        .collect()
}
