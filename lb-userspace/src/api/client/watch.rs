//! Following what the daemon tells.

use std::ops::ControlFlow;

use http_body_util::BodyExt as _;
use hyper::{Method, Response, body::Incoming};

use super::{ApiError, Bytes, Client, ClientError, StatusCode, json};
use crate::api::watch::{Ask, Told};

impl Client {
    /// Follows new connections: `began` is called when it begins, then `each` with whatever
    /// is told, until one of them breaks it off.
    ///
    /// # Errors
    /// See [`ClientError`]; [`ClientError::Unreachable`] also when the daemon ends it.
    pub async fn watch(
        &self,
        ask: &Ask,
        mut each: impl FnMut(Option<Told>) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        let body = json(ask).map_err(|error| self.garbled(error))?;
        let (mut sender, connection) = self.connect().await?;
        let request = self.request(Method::POST, "/v1/flows/watch", body)?;
        let answer = async {
            let response = tokio::time::timeout(self.deadline, sender.send_request(request))
                .await
                .map_err(|_| self.silent())?
                .map_err(|error| self.garbled(error))?;
            if !response.status().is_success() {
                return Err(self.refusal(response).await);
            }
            if each(None).is_break() {
                return Ok(());
            }
            self.follow(response.into_body(), each).await
        };
        tokio::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            _ = connection => answer.await,
        }
    }

    async fn follow(
        &self,
        mut body: Incoming,
        mut each: impl FnMut(Option<Told>) -> ControlFlow<()>,
    ) -> Result<(), ClientError> {
        let mut rest = Vec::new();
        // A broken connection is an end like any other.
        while let Some(Ok(frame)) = body.frame().await {
            rest.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new()));
            while let Some(end) = rest.iter().position(|&byte| byte == b'\n') {
                let told = serde_json::from_slice(&rest[..end]);
                if each(Some(told.map_err(|error| self.garbled(error))?)).is_break() {
                    return Ok(());
                }
                rest.drain(..=end);
            }
        }
        Err(ClientError::Unreachable(ApiError {
            error: "the daemon has ended the watch".to_owned(),
            hint: "has it been stopped? `systemctl status flowgate`".to_owned(),
        }))
    }

    async fn refusal(&self, response: Response<Incoming>) -> ClientError {
        let status: StatusCode = response.status();
        let body = response.into_body().collect().await;
        let body = body.map(|body| body.to_bytes()).unwrap_or_default();
        self.refused(status, &body)
    }
}
