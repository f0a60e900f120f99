//! Groups of VIPs that move between nodes: the threads for VRRP and replication, and what the
//! manager tells them and hears from them.

mod flows;
mod notify;
pub mod settings;
mod views;

use std::{
    net::IpAddr,
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicU8, Ordering},
    },
};

use anyhow::Context as _;
use lb_common::{abi::Identity, flow::Tick};
use tokio::sync::mpsc;
use tracing::{error, info, warn};

use self::{
    flows::Numbers,
    notify::{Notice, Notifier},
    settings::Burden,
};
use super::aims::Port;
use crate::{
    api::{
        server::{ControlError, ErrorKind},
        types::ApiError,
        vip::FailoverReply,
    },
    config::{
        model::{Config, Group},
        refusal::{alternatives, quoted},
    },
    datapath::{Object, Tables},
    net::NetState,
    plan::Model,
    replicate::{ClusterKey, Replicator, Role, Told},
    vrrp::{Addresses, Command, GroupSetup, GroupStatus, Reason, Report, Runner, State},
};

/// What the threads have to tell.
pub(super) enum News {
    Vrrp(Report),
    Replication(Told),
}

/// What is needed to begin.
pub(super) struct Means<'a> {
    pub config: &'a Config,
    pub net: &'a NetState,
    pub ports: &'a [Port],
    pub tables: &'a Tables,
    pub model: &'a Model,
    pub object: &'a Object,
    pub identity: &'a Identity,
    /// The cluster key; `None` without replication.
    pub key: Option<ClusterKey>,
    pub tick: Tick,
}

/// The groups; none on a node without peers.
pub(super) struct Vips {
    groups: Vec<Known>,
    runner: Shared<Runner>,
    replicator: Option<Arc<Replicator>>,
    /// What the roster that replication has was made of.
    numbers: Numbers,
    notifier: Notifier,
    /// What replication reads the data plane's coarse clock from.
    tick: Arc<AtomicU8>,
    pub news: mpsc::UnboundedReceiver<News>,
    // Without threads nobody else holds one, and the receiver would never wait.
    sender: mpsc::UnboundedSender<News>,
}

/// A thread's handle that another thread tells things by, until it is taken away.
type Shared<T> = Arc<Mutex<Option<T>>>;

/// What the thread knows of a group.
struct Known {
    config: Group,
    address: IpAddr,
    addresses: Addresses,
    is_up: bool,
    burden: Burden,
}

impl Vips {
    /// No groups.
    pub(super) fn none() -> Self {
        let (sender, news) = mpsc::unbounded_channel();
        Vips {
            groups: Vec::new(),
            runner: Arc::default(),
            replicator: None,
            numbers: Numbers::default(),
            notifier: Notifier::start(),
            tick: Arc::default(),
            news,
            sender,
        }
    }

    /// Begins to take part.
    ///
    /// # Errors
    /// When a group's interface, address or socket can't be had.
    pub(super) fn start(means: Means<'_>) -> anyhow::Result<Self> {
        let mut vips = Vips {
            numbers: Numbers::of(means.model),
            tick: Arc::new(AtomicU8::new(means.tick)),
            ..Vips::none()
        };
        if means.config.groups.is_empty() {
            return Ok(vips);
        }
        let mut setups = Vec::new();
        for (number, group) in means.config.numbered_groups() {
            let (ifindex, address) = settings::place(group, means.net)?;
            let addresses = settings::addresses(group, means.net, means.ports);
            setups.push(GroupSetup {
                name: group.name.clone(),
                interface: group.interface.clone(),
                ifindex,
                vrid: group.vrid.get(),
                settings: settings::settings(group, address),
                convention: settings::convention(group),
                peers: group.peers.clone(),
                addresses: addresses.clone(),
                lease: means.tables.lease(number),
            });
            vips.groups.push(Known {
                config: group.clone(),
                address,
                addresses,
                is_up: true,
                burden: Burden::default(),
            });
        }
        vips.replicator = vips.replicate(&means)?.map(Arc::new);
        let (replicator, sender) = (vips.replicator.clone(), vips.sender.clone());
        // Until it is there, replication waits with what it has to tell it.
        let mut told = lock(&vips.runner);
        let runner = Runner::start(setups, move |report| {
            if let (Some(replicator), Report::Became { state, .. }) = (&replicator, &report) {
                replicator.set_role(role(*state));
            }
            // The manager is gone only when the daemon ends.
            let _ = sender.send(News::Vrrp(report));
        })?;
        if vips.replicator.is_none() {
            runner.command(Command::InSync(true));
        }
        *told = Some(runner);
        drop(told);
        Ok(vips)
    }

    /// Starts replication, if it is configured.
    fn replicate(&self, means: &Means<'_>) -> anyhow::Result<Option<Replicator>> {
        let (Some(replication), Some(key)) = (&means.config.replication, &means.key) else {
            return Ok(None);
        };
        let tick = Arc::clone(&self.tick);
        let tick = Box::new(move || tick.load(Ordering::Relaxed));
        let setup = flows::setup(means, replication, key.clone(), self.numbers.roster(), tick)
            .context("replication")?;
        let (runner, sender) = (Arc::clone(&self.runner), self.sender.clone());
        let replicator = Replicator::start(setup, move |told| {
            if let (Told::InSync(in_sync), Some(runner)) = (told, &*lock(&runner)) {
                runner.command(Command::InSync(in_sync));
            }
            let _ = sender.send(News::Replication(told));
        })?;
        Ok(Some(replicator))
    }

    /// Tells the threads what has changed of the network, the backends and the configuration.
    /// `active` tells how many backends of a service take new connections.
    pub(super) fn follow(
        &mut self,
        config: &Config,
        net: &NetState,
        ports: &[Port],
        active: impl Fn(&str) -> usize,
    ) {
        let runner = lock(&self.runner);
        let Some(runner) = &*runner else { return };
        let known = self.groups.iter_mut().zip(&config.groups).enumerate();
        for (group, (known, config)) in known {
            for command in known.changes(group, config, net, ports, &active) {
                runner.command(command);
            }
        }
    }

    /// Whether there is anything to follow.
    pub(super) fn is_empty(&self) -> bool {
        self.groups.is_empty()
    }

    /// Backend numbers mean something else from now on. To be called before the maps have new ones.
    pub(super) fn number(&mut self, model: &Model) {
        let Some(replicator) = &self.replicator else {
            return;
        };
        if !self.numbers.are_of(model) {
            self.numbers = Numbers::of(model);
            replicator.set_roster(self.numbers.roster());
        }
    }

    /// Whether the coarse clock has to be told from time to time.
    pub(super) fn wants_tick(&self) -> bool {
        self.replicator.is_some()
    }

    /// Tells the data plane's coarse clock.
    pub(super) fn set_tick(&self, tick: Tick) {
        self.tick.store(tick, Ordering::Relaxed);
    }

    /// Lets a standby have a group's addresses, or all groups'.
    pub(super) fn hand_over(&self, only: Option<&str>) -> Result<FailoverReply, ControlError> {
        let refused = |kind, error: String, hint: String| ControlError {
            kind,
            error: ApiError { error, hint },
        };
        let names = || self.groups.iter().map(|group| group.config.name.as_str());
        if self.groups.is_empty() {
            return Err(refused(
                ErrorKind::Refused,
                "this node is in no group: it holds its VIPs always".into(),
                "a section [[vrrp]] in the configuration makes one".into(),
            ));
        }
        if let Some(only) = only.filter(|only| names().all(|name| name != *only)) {
            return Err(refused(
                ErrorKind::NotFound,
                format!("there is no group {}", quoted(only)),
                alternatives(only, names()),
            ));
        }
        if let Some(replicator) = &self.replicator {
            // The youngest flows, too.
            replicator.catch_up();
        }
        let runner = lock(&self.runner);
        let Some(runner) = &*runner else {
            return Err(refused(
                ErrorKind::Unavailable,
                "the daemon is stopping".into(),
                "its groups are handed over by that".into(),
            ));
        };
        let wanted = |name: &str| only.is_none_or(|only| only == name);
        let states = runner.status();
        let active: Vec<usize> = (0..states.len())
            .filter(|&group| wanted(&states[group].name) && states[group].state == State::Active)
            .collect();
        if active.is_empty() {
            return Err(refused(
                ErrorKind::Refused,
                "this node is active in none of them".into(),
                "`flowgate vip status` shows who is; ask that node".into(),
            ));
        }
        let groups = active.into_iter().map(|group| {
            runner.command(Command::HandOver { group });
            states[group].name.clone()
        });
        Ok(FailoverReply {
            groups: groups.collect(),
        })
    }

    /// What has happened is logged, and told to whoever is to be notified.
    pub(super) fn hear(&self, news: News) {
        match news {
            News::Vrrp(Report::Became {
                group,
                state,
                reason,
            }) => {
                let Some(known) = self.groups.get(group) else {
                    return;
                };
                let name = &known.config.name;
                match state {
                    State::Fault => warn!(group = name, "{state}: {reason}"),
                    _ => info!(group = name, "{state}: {reason}"),
                }
                if reason == Reason::Started {
                    self.warn_of_priority(group);
                }
                if let Some(program) = &known.config.notify {
                    self.notifier.tell(Notice {
                        program: program.clone(),
                        group: name.clone(),
                        state,
                        reason: reason.to_string(),
                    });
                }
            }
            News::Vrrp(Report::Clash { group, from, clash }) => {
                warn!(group = self.name(group), peer = %from, "the peer is configured otherwise: {clash}");
            }
            News::Vrrp(Report::Refused { group, from, error }) => {
                warn!(group = self.name(group), %from, "an advertisement was refused: {error}");
            }
            News::Vrrp(Report::Stopped) => {}
            News::Replication(told) => flows::log(told),
        }
    }

    /// Without real-time priority a busy machine may keep advertisements from going out in time.
    fn warn_of_priority(&self, group: usize) {
        let status = lock(&self.runner).as_ref().map(Runner::status);
        let is_urgent =
            |status: &Vec<GroupStatus>| status.get(group).is_none_or(|one| one.realtime);
        if !status.as_ref().is_none_or(is_urgent) {
            warn!(
                group = self.name(group),
                "no real-time priority: under load advertisements may be late, and the VIPs move; it takes CAP_SYS_NICE"
            );
        }
    }

    fn name(&self, group: usize) -> &str {
        self.groups
            .get(group)
            .map_or("?", |known| &known.config.name)
    }

    /// Leaves the groups orderly: a standby takes over, if there is one. Waits for that.
    pub(super) async fn stop(mut self) {
        let runner = lock(&self.runner).take();
        let Some(runner) = runner else { return };
        info!("leaving the groups");
        // Replication goes on until the groups are left, and so does not end before.
        let replicator = self.replicator.clone();
        let leave = move || {
            if let Some(replicator) = replicator {
                replicator.catch_up();
            }
            runner.stop();
        };
        if let Err(error) = tokio::task::spawn_blocking(leave).await {
            error!("leaving the groups: {error}");
        }
        while let Ok(news) = self.news.try_recv() {
            self.hear(news);
        }
        self.notifier.finish().await;
    }
}

impl Known {
    /// What the thread is to be told, and notes that it knows.
    fn changes(
        &mut self,
        group: usize,
        config: &Group,
        net: &NetState,
        ports: &[Port],
        active: &impl Fn(&str) -> usize,
    ) -> Vec<Command> {
        let mut commands = Vec::new();
        let before = settings::settings(&self.config, self.address);
        let after = settings::settings(config, self.address);
        if before != after {
            commands.push(Command::Reconfigure {
                group,
                settings: after,
            });
        }
        self.config.clone_from(config);
        let addresses = settings::addresses(config, net, ports);
        if addresses != self.addresses {
            self.addresses.clone_from(&addresses);
            commands.push(Command::Addresses { group, addresses });
        }
        let up = settings::is_up(config, net);
        if up != self.is_up {
            self.is_up = up;
            commands.push(Command::Link { group, up });
        }
        let burden = settings::burden(config, net, active);
        if burden != self.burden {
            if burden.reasons != self.burden.reasons {
                match burden.reasons.is_empty() {
                    true => info!(group = config.name, "everything tracked is well again"),
                    false => warn!(group = config.name, "{}", burden.reasons.join("; ")),
                }
            }
            commands.push(Command::Track {
                group,
                penalty: burden.penalty,
                fault: burden.fault,
            });
            self.burden = burden;
        }
        commands
    }
}

/// What a node does with flows, by what it is to the one group.
fn role(state: State) -> Role {
    match state {
        State::Active => Role::Active,
        State::Standby | State::Fault => Role::Standby,
        State::Init => Role::Off,
    }
}

fn lock<T>(shared: &Shared<T>) -> std::sync::MutexGuard<'_, Option<T>> {
    shared.lock().unwrap_or_else(PoisonError::into_inner)
}
