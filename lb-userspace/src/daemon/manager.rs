//! The daemon's one owner of everything that changes: it takes events, one after the
//! other, and brings the maps to where they should be.

mod flows;
mod health;
mod network;
mod start;
mod sweep;
mod watchers;

use std::{
    collections::{BTreeSet, HashMap, HashSet},
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use anyhow::anyhow;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::MissedTickBehavior,
};
use tracing::{debug, error, info, warn};

use self::{
    network::Joined,
    sweep::{Pace, Swept},
    watchers::Watchers,
};
use super::{
    RUNTIME_CHANGES,
    aims::{self, Way, Ways, aims},
    control::Request,
    ports::Ports,
    views::{Known, Scene, unix_seconds},
    vips::Vips,
};
use crate::{
    api::{
        server::{ControlError, ErrorKind},
        types::{ApiError, ChangeReply, ReloadReply, Status},
    },
    cli::RunArgs,
    config::model::Config,
    datapath::{Counters, DatapathError, Flows, Object, PortsUsed, Tables, WriteError},
    desired::{Change, Desired},
    health::{Checker, HealthEvent, TargetId},
    net::{NetState, Watcher},
    plan::{self, Model, Plan, PlanError, Target},
};

/// How often it is asked whether the flow table is to be looked at, and whether somebody
/// still watches.
const LOOK: Duration = Duration::from_millis(125);

pub(super) struct Manager {
    args: RunArgs,
    started: SystemTime,
    desired: Desired,
    health: HashMap<TargetId, Known>,
    net: Arc<NetState>,
    ways: Ways,
    /// What the maps hold is for this; `None` when they lag behind.
    target: Option<Target>,
    ports: Ports,
    tables: Tables,
    counters: Counters,
    model: Model,
    checker: Checker,
    watcher: Watcher,
    clock: Object,
    flows: Arc<Flows>,
    sweep: Option<JoinHandle<Swept>>,
    pace: Pace,
    ports_used: PortsUsed,
    joined: Joined,
    watchers: Watchers,
    vips: Vips,
    health_events: mpsc::Receiver<HealthEvent>,
    net_changes: watch::Receiver<Arc<NetState>>,
}

/// Why the maps can't be brought to where they should be.
#[derive(Debug, thiserror::Error)]
enum ReconcileError {
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Write(#[from] WriteError),
}

impl Manager {
    /// Serves until something breaks that can't be mended.
    pub(super) async fn run(
        &mut self,
        mut requests: mpsc::Receiver<Request>,
    ) -> anyhow::Result<()> {
        let mut sweeps = tokio::time::interval(LOOK);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(event) = self.health_events.recv() => {
                    let mut services = HashSet::from([event.id.service.clone()]);
                    self.take_health(event);
                    while let Ok(event) = self.health_events.try_recv() {
                        services.insert(event.id.service.clone());
                        self.take_health(event);
                    }
                    let outcome = self.reconcile_services(&services);
                    log_failure(outcome);
                    self.follow_groups();
                }
                changed = self.net_changes.changed() => {
                    changed.map_err(|_| anyhow!("the kernel's network announcements ended"))?;
                    self.take_net().await;
                    self.reconcile_and_log();
                    self.follow_groups();
                }
                Some(news) = self.vips.news.recv() => self.vips.hear(news),
                Some(request) = requests.recv() => self.answer(request).await,
                _ = sweeps.tick() => {
                    self.begin_sweep();
                    self.renew_watch();
                    self.tell_tick();
                }
                Some(opened) = self.watchers.opened.recv() => self.tell(&opened[..]),
                Some(watcher) = self.watchers.leavers.recv() => self.end_watch(watcher),
                swept = async { self.sweep.as_mut().expect("guarded").await }, if self.sweep.is_some() => {
                    self.sweep = None;
                    match swept {
                        Ok(swept) => self.end_sweep(swept),
                        Err(error) => error!("counting flows failed: {error}"),
                    }
                }
            }
        }
    }

    async fn answer(&mut self, request: Request) {
        // Whoever asked may have gone away; then the answer is nobody's.
        match request {
            Request::Status(reply) => drop(reply.send(self.status().map_err(failed))),
            Request::Stats(reply) => drop(reply.send(Ok(self.scene().stats()))),
            Request::Flows(reply) => self.count_flows(reply),
            Request::Flow(asked, reply) => drop(reply.send(self.find_flow(&asked))),
            Request::Watch(ask, reply) => drop(reply.send(self.watch(ask))),
            Request::Vip(reply) => drop(reply.send(Ok(self.vips.status()))),
            Request::FailOver(ask, reply) => {
                drop(reply.send(self.vips.hand_over(ask.group.as_deref())));
            }
            Request::Change(change, reply) => drop(reply.send(self.change(change).await)),
            Request::Reload(reply) => drop(reply.send(self.reload().await)),
        }
    }

    /// Leaves the groups: a standby takes over.
    pub(super) async fn leave(self) {
        self.vips.stop().await;
    }

    fn scene(&self) -> Scene<'_> {
        Scene {
            config: self.desired.config(),
            health: &self.health,
            ways: &self.ways,
            model: &self.model,
            net: &self.net,
            ports: &self.ports,
            counters: &self.counters,
            ports_used: self.ports_used,
        }
    }

    fn status(&self) -> Result<Status, DatapathError> {
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            started: unix_seconds(self.started),
            interfaces: self.scene().interfaces(),
            services: self.scene().services(),
            full_nat: self.scene().full_nat(),
            memory: self.memory()?,
        })
    }

    async fn change(&mut self, change: Change) -> Result<ChangeReply, ControlError> {
        let before = self.desired.clone();
        let adds = matches!(change, Change::AddBackend { .. });
        let only = change
            .keeps_backends()
            .then(|| HashSet::from([change.names().0.to_owned()]));
        let applied = self.desired.apply(change)?;
        if adds && let Err(error) = aims::check_families(self.desired.config(), &self.net) {
            self.desired = before;
            return Err(refused(error));
        }
        if applied.changed
            && let Err(error) = self.adopt(only).await
        {
            self.desired = before;
            self.watch_health().await;
            self.reconcile_and_log();
            return Err(error);
        }
        self.follow_groups();
        info!("{}", applied.message);
        Ok(applied)
    }

    async fn reload(&mut self) -> Result<ReloadReply, ControlError> {
        let config = Config::load(&self.args.config).map_err(|e| refused(e.to_string()))?;
        self.desired
            .can_reload(&config)
            .map_err(|no| ControlError {
                kind: ErrorKind::Refused,
                error: (&no).into(),
            })?;
        aims::check_families(&config, &self.net).map_err(refused)?;
        let names = &config.node.interfaces;
        let attached = self.ports.set(names, &self.net, &mut self.tables).await;
        if let Err(error) = attached {
            self.keep_interfaces().await;
            return Err(refused(error.to_string()));
        }
        let before = self.desired.clone();
        let warnings = self.desired.reload(config);
        if let Err(error) = self.adopt(None).await {
            self.desired = before;
            self.keep_interfaces().await;
            self.watch_health().await;
            self.reconcile_and_log();
            return Err(error);
        }
        self.warn_of_forwarding();
        self.follow_groups();
        Ok(ReloadReply {
            changed: before.config() != self.desired.config(),
            message: format!("{} was read again", self.args.config.display()),
            warnings,
        })
    }

    /// Attaches to what is desired and to nothing else, after a configuration that named other
    /// interfaces was refused.
    async fn keep_interfaces(&mut self) {
        let names = &self.desired.config().node.interfaces;
        let kept = self.ports.keep(names, &self.net, &mut self.tables).await;
        if let Err(error) = kept {
            warn!("after the refusal the interfaces aren't as they were: {error}");
        }
    }

    /// Makes what is desired so, and keeps it for the next daemon. It may be known that only
    /// states and weights of backends have changed, and of which services.
    async fn adopt(&mut self, only: Option<HashSet<String>>) -> Result<(), ControlError> {
        match only {
            Some(services) => self.reconcile_services(&services).map_err(failed)?,
            None => {
                self.watch_health().await;
                self.reconcile().map_err(failed)?;
            }
        }
        let path: PathBuf = self.args.run_dir.join(RUNTIME_CHANGES);
        self.desired
            .changes()
            .save(&path)
            .map_err(|error| ControlError {
                kind: ErrorKind::Failed,
                error: ApiError {
                    error: format!("can't keep the change in {}: {error}", path.display()),
                    hint: "nothing was changed".into(),
                },
            })
    }

    fn reconcile_and_log(&mut self) {
        let outcome = self.reconcile();
        log_failure(outcome);
    }

    /// Brings the maps to where they should be.
    fn reconcile(&mut self) -> Result<(), ReconcileError> {
        self.target = None;
        let (plan, target) = self.plan()?;
        self.carry_out(plan)?;
        self.target = Some(target);
        Ok(())
    }

    /// The way of the maps to where they should be.
    fn plan(&mut self) -> Result<(Plan, Target), PlanError> {
        let (target, ways) = aims(
            self.desired.config(),
            |id| Some(self.health.get(id)?.health),
            &self.net,
            &self.ports.list(),
        );
        for (id, way) in &ways {
            tell(id, way, self.ways.get(id));
        }
        self.ways = ways;
        let plan = match plan::plan(&self.model, &target, Instant::now()) {
            // Many wheels in one go leave places that aren't free yet.
            Err(PlanError::Wheels(_)) if self.model.chunks.are_awaited() => {
                std::thread::sleep(plan::GRACE);
                plan::plan(&self.model, &target, Instant::now())
            }
            plan => plan,
        };
        Ok((plan?, target))
    }

    /// Brings the maps to where they should be, where nothing has changed but health, states
    /// and weights of backends of the services with these names.
    fn reconcile_services(&mut self, names: &HashSet<String>) -> Result<(), ReconcileError> {
        let Some(mut target) = self.target.take() else {
            return self.reconcile();
        };
        let (config, ports) = (self.desired.config(), self.ports.list());
        let mut ways = Ways::new();
        let mut keys = BTreeSet::new();
        let services = config.services.iter();
        for service in services.filter(|service| names.contains(&service.name)) {
            let health = |id: &TargetId| Some(self.health.get(id)?.health);
            let wanted = aims::service_aims(config, service, health, &self.net, &ports, &mut ways);
            target.services.insert(aims::key(service), wanted);
            keys.insert(aims::key(service));
        }
        for (id, way) in &ways {
            tell(id, way, self.ways.get(id));
        }
        self.ways.extend(ways);
        let model = std::mem::take(&mut self.model);
        match plan::plan_services(model, &target, keys, Instant::now()) {
            Ok(plan) => self.carry_out(plan)?,
            Err(_) => {
                self.model = self.tables.recover();
                return self.reconcile();
            }
        }
        self.target = Some(target);
        Ok(())
    }

    fn carry_out(&mut self, plan: Plan) -> Result<(), WriteError> {
        for write in &plan.writes {
            debug!("{write}");
        }
        self.watchers.forget_names();
        self.vips.number(&plan.model);
        if let Err(error) = self.tables.apply(&plan.writes, &self.counters) {
            // Some of it is written: what the maps hold is to be read again.
            self.model = self.tables.recover();
            self.target = None;
            return Err(error);
        }
        self.model = plan.model;
        Ok(())
    }
}

fn log_failure(outcome: Result<(), ReconcileError>) {
    if let Err(error) = outcome {
        error!("the data plane stays as it was: {error}");
    }
}

/// Says what has changed of the way to a backend.
fn tell(id: &TargetId, way: &Way, before: Option<&Way>) {
    let TargetId { service, backend } = id;
    match (way, before) {
        (Err(reason), Some(Ok(_))) => warn!(service, backend, "lost the way: {reason}"),
        // It is only just being looked for.
        (Err(reason), None) => debug!(service, backend, "no way yet: {reason}"),
        (Err(reason), Some(before)) if way != before => {
            info!(service, backend, "no way to it: {reason}");
        }
        _ => {}
    }
}

fn refused(error: String) -> ControlError {
    ControlError {
        kind: ErrorKind::Refused,
        error: ApiError {
            error,
            hint: "nothing was changed".into(),
        },
    }
}

fn failed(error: impl std::fmt::Display) -> ControlError {
    ControlError {
        kind: ErrorKind::Failed,
        error: ApiError {
            error: error.to_string(),
            hint: "nothing was changed; the daemon's log may say more".into(),
        },
    }
}
