//! The API's server: paths and bodies to [`Control`], answers and errors to JSON.

use std::future::Future;

use axum::{
    Router,
    body::{Body, Bytes},
    extract::{
        DefaultBodyLimit, Path, State,
        rejection::{BytesRejection, PathRejection},
    },
    http::{StatusCode, header},
    response::{IntoResponse, Response},
    routing::{delete, get, post},
};
use futures_util::StreamExt as _;
use serde::{Serialize, de::DeserializeOwned};
use tokio::net::UnixListener;

use super::{
    flows::{Connection, FlowAnswer, FlowCensus, socket},
    types::{
        ApiError, BackendPatch, ChangeReply, NewBackend, ReloadReply, ServiceView, Stats, Status,
    },
    vip::{FailoverAsk, FailoverReply, VipStatus},
    watch::{self, Ask, Telling},
};
use crate::{
    config::model::{AdminState, Protocol},
    desired::{Change, ChangeError},
};

/// The largest request body, in bytes.
const MAX_BODY: usize = 64 << 10;

/// Who can answer for the daemon: a clonable handle that passes each question
/// on and waits for the answer.
pub trait Control: Clone + Send + Sync + 'static {
    /// The daemon and everything it balances.
    fn status(&self) -> impl Future<Output = Result<Status, ControlError>> + Send;
    /// The counters alone.
    fn stats(&self) -> impl Future<Output = Result<Stats, ControlError>> + Send;
    /// The flows, counted.
    fn flows(&self) -> impl Future<Output = Result<FlowCensus, ControlError>> + Send;
    /// What is known of one connection.
    fn flow(
        &self,
        asked: Connection,
    ) -> impl Future<Output = Result<FlowAnswer, ControlError>> + Send;
    /// New connections, as they come.
    fn watch(&self, ask: Ask) -> impl Future<Output = Result<Telling, ControlError>> + Send;
    /// Who holds the VIPs.
    fn vip(&self) -> impl Future<Output = Result<VipStatus, ControlError>> + Send;
    /// Lets a standby have them.
    fn fail_over(
        &self,
        ask: FailoverAsk,
    ) -> impl Future<Output = Result<FailoverReply, ControlError>> + Send;
    /// Makes a change, whole or not at all.
    fn change(
        &self,
        change: Change,
    ) -> impl Future<Output = Result<ChangeReply, ControlError>> + Send;
    /// Reads the configuration again.
    fn reload(&self) -> impl Future<Output = Result<ReloadReply, ControlError>> + Send;
}

/// Why the daemon didn't do what it was asked; nothing was changed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ControlError {
    /// Whose fault it is.
    pub kind: ErrorKind,
    /// The reason and the way out.
    pub error: ApiError,
}

/// Whose fault an error is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The request names something that isn't there (404).
    NotFound,
    /// The request would break a rule (409).
    Refused,
    /// The daemon tried and failed (500).
    Failed,
    /// The daemon is starting or stopping (503).
    Unavailable,
}

impl From<ChangeError> for ControlError {
    fn from(error: ChangeError) -> Self {
        let kind = match error {
            ChangeError::Unknown(_) => ErrorKind::NotFound,
            ChangeError::Refused(_) => ErrorKind::Refused,
        };
        Self {
            kind,
            error: error.refusal().into(),
        }
    }
}

/// Serves until `shutdown` is ready, then finishes the requests under way.
///
/// # Errors
/// When the listener fails.
pub async fn serve(
    listener: UnixListener,
    control: impl Control,
    shutdown: impl Future<Output = ()> + Send + 'static,
) -> std::io::Result<()> {
    axum::serve(listener, router(control))
        .with_graceful_shutdown(shutdown)
        .await
}

/// The API's paths.
pub fn router<C: Control>(control: C) -> Router {
    Router::new()
        .route("/v1/status", get(status::<C>))
        .route("/v1/services", get(services::<C>))
        .route("/v1/stats", get(stats::<C>))
        .route("/v1/services/{service}/backends", post(add::<C>))
        .route(
            "/v1/services/{service}/backends/{backend}",
            delete(remove::<C>).patch(patch::<C>),
        )
        .route("/v1/flows", get(flows::<C>))
        .route("/v1/flows/watch", post(follow::<C>))
        .route("/v1/flows/{protocol}/{client}/{vip}", get(flow::<C>))
        .route("/v1/vip", get(vip::<C>))
        .route("/v1/vip/failover", post(fail_over::<C>))
        .route("/v1/reload", post(reload::<C>))
        .fallback(unknown_path)
        .method_not_allowed_fallback(wrong_method)
        .layer(DefaultBodyLimit::max(MAX_BODY))
        .with_state(control)
}

/// An answer that isn't a success.
struct Failure(StatusCode, ApiError);

impl Failure {
    fn new(status: StatusCode, error: impl Into<String>, hint: impl Into<String>) -> Self {
        let (error, hint) = (error.into(), hint.into());
        Self(status, ApiError { error, hint })
    }
}

impl From<ControlError> for Failure {
    fn from(error: ControlError) -> Self {
        let status = match error.kind {
            ErrorKind::NotFound => StatusCode::NOT_FOUND,
            ErrorKind::Refused => StatusCode::CONFLICT,
            ErrorKind::Failed => StatusCode::INTERNAL_SERVER_ERROR,
            ErrorKind::Unavailable => StatusCode::SERVICE_UNAVAILABLE,
        };
        Self(status, error.error)
    }
}

impl From<BytesRejection> for Failure {
    fn from(rejection: BytesRejection) -> Self {
        let hint = format!("send a JSON body of at most {MAX_BODY} bytes");
        Self::new(rejection.status(), rejection.body_text(), hint)
    }
}

impl From<PathRejection> for Failure {
    fn from(rejection: PathRejection) -> Self {
        let hint = "names in paths are UTF-8, percent-encoded";
        Self::new(rejection.status(), rejection.body_text(), hint)
    }
}

impl IntoResponse for Failure {
    fn into_response(self) -> Response {
        (self.0, axum::Json(self.1)).into_response()
    }
}

type Answer<T> = Result<Json<T>, Failure>;

/// A body as JSON with a line break at its end, for people who use curl.
struct Json<T>(T);

impl<T: Serialize> IntoResponse for Json<T> {
    fn into_response(self) -> Response {
        match serde_json::to_vec(&self.0) {
            Ok(mut body) => {
                body.push(b'\n');
                ([(header::CONTENT_TYPE, "application/json")], body).into_response()
            }
            Err(error) => Failure::new(
                StatusCode::INTERNAL_SERVER_ERROR,
                format!("the answer can't be written: {error}"),
                "report this as a bug",
            )
            .into_response(),
        }
    }
}

/// A request's body as a value.
fn body<T: DeserializeOwned>(
    bytes: Result<Bytes, BytesRejection>,
    example: &str,
) -> Result<T, Failure> {
    serde_json::from_slice(&bytes?).map_err(|error| {
        Failure::new(
            StatusCode::BAD_REQUEST,
            format!("the body is not what is asked for: {error}"),
            format!("send JSON such as {example}"),
        )
    })
}

async fn status<C: Control>(State(control): State<C>) -> Answer<Status> {
    Ok(Json(control.status().await?))
}

async fn services<C: Control>(State(control): State<C>) -> Answer<Vec<ServiceView>> {
    Ok(Json(control.status().await?.services))
}

async fn stats<C: Control>(State(control): State<C>) -> Answer<Stats> {
    Ok(Json(control.stats().await?))
}

async fn flows<C: Control>(State(control): State<C>) -> Answer<FlowCensus> {
    Ok(Json(control.flows().await?))
}

async fn flow<C: Control>(
    State(control): State<C>,
    path: Result<Path<(String, String, String)>, PathRejection>,
) -> Answer<FlowAnswer> {
    let Path((protocol, client, vip)) = path?;
    let refused = |what: &str, hint: String| {
        let error = format!("{what} is not understood");
        Failure::new(StatusCode::BAD_REQUEST, error, hint)
    };
    let named = Protocol::ALL.iter().find(|(name, _)| *name == protocol);
    let asked = Connection {
        protocol: named
            .ok_or_else(|| refused("the protocol", "write tcp or udp".to_owned()))?
            .1,
        client: socket(&client).map_err(|hint| refused("the client", hint))?,
        vip: socket(&vip).map_err(|hint| refused("the VIP", hint))?,
    };
    Ok(Json(control.flow(asked).await?))
}

async fn follow<C: Control>(
    State(control): State<C>,
    bytes: Result<Bytes, BytesRejection>,
) -> Result<Response, Failure> {
    let ask: Ask = body(bytes, r#"{"services": ["web"], "rate": 1000} or {}"#)?;
    if !Ask::RATES.contains(&ask.rate) {
        let (least, most) = (Ask::RATES.start(), Ask::RATES.end());
        return Err(Failure::new(
            StatusCode::BAD_REQUEST,
            format!("the rate {} is none that can be had", ask.rate),
            format!("give one of {least} to {most} connections a second"),
        ));
    }
    let lines = control.watch(ask).await?.map(|told| watch::line(&told));
    let kind = [(header::CONTENT_TYPE, "application/x-ndjson")];
    Ok((kind, Body::from_stream(lines)).into_response())
}

async fn vip<C: Control>(State(control): State<C>) -> Answer<VipStatus> {
    Ok(Json(control.vip().await?))
}

async fn fail_over<C: Control>(
    State(control): State<C>,
    bytes: Result<Bytes, BytesRejection>,
) -> Answer<FailoverReply> {
    let ask = body(bytes, r#"{"group": "site"} or {}"#)?;
    Ok(Json(control.fail_over(ask).await?))
}

async fn reload<C: Control>(State(control): State<C>) -> Answer<ReloadReply> {
    Ok(Json(control.reload().await?))
}

async fn add<C: Control>(
    State(control): State<C>,
    path: Result<Path<String>, PathRejection>,
    bytes: Result<Bytes, BytesRejection>,
) -> Answer<ChangeReply> {
    let Path(service) = path?;
    let new: NewBackend = body(bytes, r#"{"name": "web3", "address": "10.0.0.13"}"#)?;
    let change = Change::AddBackend {
        service,
        name: new.name,
        address: new.address,
        port: new.port,
        weight: new.weight.unwrap_or(1),
        backup: new.backup,
    };
    Ok(Json(control.change(change).await?))
}

async fn remove<C: Control>(
    State(control): State<C>,
    path: Result<Path<(String, String)>, PathRejection>,
) -> Answer<ChangeReply> {
    let Path((service, name)) = path?;
    let change = Change::RemoveBackend { service, name };
    Ok(Json(control.change(change).await?))
}

async fn patch<C: Control>(
    State(control): State<C>,
    path: Result<Path<(String, String)>, PathRejection>,
    bytes: Result<Bytes, BytesRejection>,
) -> Answer<ChangeReply> {
    let Path((service, name)) = path?;
    let patch: BackendPatch = body(bytes, r#"{"state": "drain"} or {"weight": 2}"#)?;
    let change = match (patch.state, patch.weight) {
        (Some(AdminState::Enabled), None) => Change::Enable { service, name },
        (Some(AdminState::Draining), None) => Change::Drain { service, name },
        (None, Some(weight)) => Change::SetWeight {
            service,
            name,
            weight,
        },
        _ => {
            return Err(Failure::new(
                StatusCode::BAD_REQUEST,
                "a patch sets either `state` or `weight`",
                r#"send {"state": "drain"}, {"state": "enabled"} or {"weight": 2}"#,
            ));
        }
    };
    Ok(Json(control.change(change).await?))
}

async fn unknown_path() -> Failure {
    Failure::new(
        StatusCode::NOT_FOUND,
        "there is no such path",
        "there are /v1/status, /v1/services, /v1/stats, /v1/reload, /v1/vip[/failover], \
         /v1/flows[/{protocol}/{client}/{vip}], /v1/flows/watch and /v1/services/{service}/backends[/{backend}]",
    )
}

async fn wrong_method() -> Failure {
    Failure::new(
        StatusCode::METHOD_NOT_ALLOWED,
        "this path has no such method",
        "GET tells, POST adds, reloads, watches or hands over, PATCH changes a backend, DELETE removes one",
    )
}
