//! The verbs that ask the daemon, and `check`, which needs none.

use std::path::{Path, PathBuf};

use serde::Serialize;

use super::{
    Output, REFUSED, SOCKET, Screen, UNREACHABLE,
    args::{BackendName, BackendVerb, DEFAULT_RUN_DIR},
    flows, views, vip,
};
use crate::{
    api::{
        client::{Client, ClientError},
        flows::{Connection, FlowAnswer},
        types::ServiceView,
        vip::FailoverAsk,
        watch::Ask,
    },
    config::{
        model::Config,
        refusal::{alternatives, quoted},
    },
    desired::Change,
};

/// A verb that the daemon answers.
pub(super) enum Question {
    Status,
    Stats,
    Services,
    Backends(Option<String>),
    Flows,
    Flow(Connection),
    Watch(Ask),
    Vip,
    FailOver(FailoverAsk),
    Change(Change),
    Reload,
}

impl From<BackendVerb> for Question {
    fn from(verb: BackendVerb) -> Self {
        Self::Change(match verb {
            BackendVerb::List { service } => return Self::Backends(service),
            BackendVerb::Add {
                backend: BackendName { service, name },
                address,
                port,
                weight,
                backup,
            } => Change::AddBackend {
                service,
                name,
                address,
                port,
                weight,
                backup,
            },
            BackendVerb::Remove(BackendName { service, name }) => {
                Change::RemoveBackend { service, name }
            }
            BackendVerb::Enable(BackendName { service, name }) => Change::Enable { service, name },
            BackendVerb::Drain(BackendName { service, name }) => Change::Drain { service, name },
            BackendVerb::Weight {
                backend: BackendName { service, name },
                weight,
            } => Change::SetWeight {
                service,
                name,
                weight,
            },
        })
    }
}

/// Puts questions to the daemon and shows what it says.
pub(super) struct Asker<'a> {
    pub(super) screen: Screen<'a>,
    pub(super) output: Output,
}

impl Asker<'_> {
    /// Asks the daemon behind `socket`; returns the exit status.
    pub(super) fn ask(mut self, socket: Option<PathBuf>, question: Question) -> u8 {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = match runtime {
            Ok(runtime) => runtime,
            Err(error) => return self.refuse(&format!("can't start: {error}"), ""),
        };
        let socket = socket.unwrap_or_else(|| Path::new(DEFAULT_RUN_DIR).join(SOCKET));
        let asked = runtime.block_on(self.put(&Client::new(socket), question));
        asked.unwrap_or_else(|error| {
            let told = error.told();
            self.refuse(&told.error, &told.hint);
            match error {
                ClientError::Unreachable(_) => UNREACHABLE,
                ClientError::Refused(_) | ClientError::Garbled(_) => REFUSED,
            }
        })
    }

    async fn put(&mut self, client: &Client, question: Question) -> Result<u8, ClientError> {
        Ok(match question {
            Question::Status => {
                let status = client.status().await?;
                self.answer(&views::status(&status), &status)
            }
            Question::Stats => {
                let stats = client.stats().await?;
                self.answer(&views::stats(&stats), &stats)
            }
            Question::Services => {
                let services = client.services().await?;
                self.answer(&views::services(&services), &services)
            }
            Question::Backends(only) => self.backends(client.services().await?, only.as_deref()),
            Question::Flows => {
                let census = client.flows().await?;
                self.answer(&flows::census(&census), &census)
            }
            Question::Flow(asked) => self.flow(&asked, &client.flow(&asked).await?),
            Question::Watch(ask) => self.watch(client, &ask).await?,
            Question::Vip => {
                let status = client.vip().await?;
                self.answer(&vip::status(&status), &status)
            }
            Question::FailOver(ask) => {
                let begun = client.fail_over(&ask).await?;
                match vip::handed_over(client, &begun).await? {
                    Ok(done) => self.answer(&done.text(), &done),
                    Err((error, hint)) => self.refuse(&error, &hint),
                }
            }
            Question::Change(change) => {
                let reply = client.change(change).await?;
                self.answer(&format!("{}\n", reply.message), &reply)
            }
            Question::Reload => {
                let reply = client.reload().await?;
                self.answer(&views::reloaded(&reply), &reply)
            }
        })
    }

    /// Shows the backends of all services, or of the one that was named.
    fn backends(&mut self, services: Vec<ServiceView>, only: Option<&str>) -> u8 {
        let Some(only) = only else {
            return self.answer(&views::backends(&services), &services);
        };
        let (shown, others): (Vec<_>, Vec<_>) = services
            .into_iter()
            .partition(|service| service.name == only);
        if shown.is_empty() {
            let hint = alternatives(only, others.iter().map(|service| service.name.as_str()));
            let error = format!("there is no service called {}", quoted(only));
            return self.refuse(&error, &hint);
        }
        self.answer(&views::backends(&shown), &shown)
    }

    /// Shows what is known of a connection; that nothing is, is a failure.
    fn flow(&mut self, asked: &Connection, answer: &FlowAnswer) -> u8 {
        match flows::found(asked, answer) {
            Ok(text) => self.answer(&text, answer),
            Err((error, hint)) => self.refuse(&error, &hint),
        }
    }

    fn answer(&mut self, text: &str, value: &impl Serialize) -> u8 {
        self.screen.answer(self.output, text, value)
    }

    fn refuse(&mut self, error: &str, hint: &str) -> u8 {
        self.screen.complain(self.output, error, hint);
        REFUSED
    }
}

/// What `flowgate check` says of a file that is all right.
#[derive(Serialize)]
struct Checked {
    interfaces: Vec<String>,
    services: usize,
    backends: usize,
}

/// `flowgate check`; returns the exit status.
pub(super) fn check(screen: &mut Screen<'_>, output: Output, file: &Path) -> u8 {
    let config = match Config::load(file) {
        Ok(config) => config,
        Err(errors) => {
            screen.explain(output, &errors);
            return REFUSED;
        }
    };
    let backends = config.services.iter().map(|one| one.backends.len());
    let checked = Checked {
        services: config.services.len(),
        backends: backends.sum(),
        interfaces: config.node.interfaces,
    };
    let text = format!(
        "{}: all right: {} and {} on {}\n",
        file.display(),
        many(checked.services, "service"),
        many(checked.backends, "backend"),
        checked.interfaces.join(", ")
    );
    screen.answer(output, &text, &checked)
}

fn many(number: usize, what: &str) -> String {
    match number {
        1 => format!("1 {what}"),
        _ => format!("{number} {what}s"),
    }
}
