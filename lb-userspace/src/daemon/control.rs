//! The API's side of the daemon: each request is a message to the manager.

use tokio::sync::{mpsc, oneshot};
use tracing::{error, info, warn};

use crate::{
    api::{
        flows::{Connection, FlowAnswer, FlowCensus},
        server::{Control, ControlError, ErrorKind},
        types::{ApiError, ChangeReply, ReloadReply, Stats, Status},
        vip::{FailoverAsk, FailoverReply, VipStatus},
        watch::{Ask, Telling},
    },
    desired::Change,
};

/// Where an answer goes.
pub(super) type Reply<T> = oneshot::Sender<Result<T, ControlError>>;

/// What the manager is asked.
pub(super) enum Request {
    Status(Reply<Status>),
    Stats(Reply<Stats>),
    Flows(Reply<FlowCensus>),
    Flow(Connection, Reply<FlowAnswer>),
    Watch(Ask, Reply<Telling>),
    Change(Change, Reply<ChangeReply>),
    Vip(Reply<VipStatus>),
    FailOver(FailoverAsk, Reply<FailoverReply>),
    Reload(Reply<ReloadReply>),
}

/// Asks the manager.
#[derive(Clone)]
pub(super) struct Handle(mpsc::Sender<Request>);

impl Handle {
    pub(super) fn new(requests: mpsc::Sender<Request>) -> Self {
        Handle(requests)
    }

    async fn ask<T>(&self, request: impl FnOnce(Reply<T>) -> Request) -> Result<T, ControlError> {
        let stopping = || ControlError {
            kind: ErrorKind::Unavailable,
            error: ApiError {
                error: "the daemon is stopping".into(),
                hint: "ask again once it has been started".into(),
            },
        };
        let (reply, answer) = oneshot::channel();
        self.0.send(request(reply)).await.map_err(|_| stopping())?;
        answer.await.map_err(|_| stopping())?
    }
}

impl Control for Handle {
    async fn status(&self) -> Result<Status, ControlError> {
        self.ask(Request::Status).await
    }

    async fn stats(&self) -> Result<Stats, ControlError> {
        self.ask(Request::Stats).await
    }

    async fn flows(&self) -> Result<FlowCensus, ControlError> {
        self.ask(Request::Flows).await
    }

    async fn flow(&self, asked: Connection) -> Result<FlowAnswer, ControlError> {
        self.ask(|reply| Request::Flow(asked, reply)).await
    }

    async fn watch(&self, ask: Ask) -> Result<Telling, ControlError> {
        self.ask(|reply| Request::Watch(ask, reply)).await
    }

    async fn change(&self, change: Change) -> Result<ChangeReply, ControlError> {
        self.ask(|reply| Request::Change(change, reply)).await
    }

    async fn vip(&self) -> Result<VipStatus, ControlError> {
        self.ask(Request::Vip).await
    }

    async fn fail_over(&self, ask: FailoverAsk) -> Result<FailoverReply, ControlError> {
        self.ask(|reply| Request::FailOver(ask, reply)).await
    }

    async fn reload(&self) -> Result<ReloadReply, ControlError> {
        self.ask(Request::Reload).await
    }
}

/// Reloads for a signal, where the log is the only one to answer to.
pub(super) async fn reload_and_log(handle: &Handle) {
    match handle.reload().await {
        Ok(reply) => {
            info!("{}", reply.message);
            for warning in reply.warnings {
                warn!("{warning}");
            }
        }
        Err(failed) => error!("{}; {}", failed.error.error, failed.error.hint),
    }
}
