//! The daemon's one owner of everything that changes: it takes events, one after the
//! other, and brings the maps to where they should be.

mod health;
mod sweep;

use std::{
    collections::HashMap,
    path::PathBuf,
    sync::Arc,
    time::{Duration, Instant, SystemTime},
};

use anyhow::{Context as _, anyhow};
use lb_common::flow::Timeouts;
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
    time::MissedTickBehavior,
};
use tracing::{debug, error, info, warn};

use self::sweep::Swept;
use super::{
    RUNTIME_CHANGES,
    aims::{self, Ways, aims},
    control::Request,
    ports::Ports,
    views::{Known, Scene, unix_seconds},
};
use crate::{
    api::{
        server::{ControlError, ErrorKind},
        types::{ApiError, ChangeReply, ReloadReply, Stats, Status},
    },
    cli::RunArgs,
    config::model::Config,
    datapath::{Constants, Counters, DatapathError, Flows, Object, Pins, Tables, object},
    desired::{Change, Desired, RuntimeChanges},
    health::{Checker, HealthEvent, TargetId},
    net::{NetState, Watcher},
    plan::{self, Model, PlanError},
};

/// How often expired flows are cleared and flows counted.
const SWEEP: Duration = Duration::from_secs(10);

pub(super) struct Manager {
    args: RunArgs,
    started: SystemTime,
    desired: Desired,
    health: HashMap<TargetId, Known>,
    net: Arc<NetState>,
    ways: Ways,
    ports: Ports,
    tables: Tables,
    counters: Counters,
    model: Model,
    checker: Checker,
    watcher: Watcher,
    clock: Object,
    flows: Arc<Flows>,
    sweep: Option<JoinHandle<Swept>>,
    health_events: mpsc::Receiver<HealthEvent>,
    net_changes: watch::Receiver<Arc<NetState>>,
}

/// Why the maps can't be brought to where they should be.
#[derive(Debug, thiserror::Error)]
enum ReconcileError {
    #[error(transparent)]
    Plan(#[from] PlanError),
    #[error(transparent)]
    Write(#[from] crate::datapath::WriteError),
}

impl Manager {
    /// Takes over what a daemon before left, or begins anew, and attaches. A beginning
    /// that fails leaves nothing behind.
    pub(super) async fn start(args: &RunArgs, config: Config) -> anyhow::Result<Self> {
        let (watcher, net_changes) = Watcher::start().await?;
        Ports::check(&config.node.interfaces, &net_changes.borrow())?;
        let is_new = !args.pin_dir.exists();
        let started = Self::take_over(args, config, watcher, net_changes).await;
        if started.is_err() && is_new {
            Pins::remove(&args.pin_dir)?;
        }
        started
    }

    async fn take_over(
        args: &RunArgs,
        config: Config,
        watcher: Watcher,
        net_changes: watch::Receiver<Arc<NetState>>,
    ) -> anyhow::Result<Self> {
        let pins = Pins::create(&args.pin_dir)?;
        let max_flows = config.node.max_flows;
        let identity = match pins.identity()? {
            Some(identity) => {
                Pins::check_size(&identity, max_flows)?;
                identity
            }
            None => object::new_identity(max_flows, &config.timeouts)
                .context("making the flow table's keys")?,
        };
        let net = Arc::clone(&net_changes.borrow());
        let constants = Constants {
            identity,
            ifindex: 0,
            mac: [0; 6],
            sample: 0,
        };
        let mut clock = Object::load(object::OBJECT, &constants, Some(&pins.maps()))?;
        clock.tick()?;
        let mut tables = Tables::open(&mut clock)?;
        tables.identity.store(0, &identity);
        let counters = Counters::open(&mut clock);
        let timeouts = Timeouts::from_bits(identity.timeouts);
        let flows = Arc::new(Flows::new(clock.shared("FLOWS")?, timeouts));
        let model = tables.recover();
        if !model.backends.is_empty() {
            info!(
                backends = model.backends.len(),
                "taking over what is loaded"
            );
        }
        let mut ports = Ports::new(pins, identity, args.sample.map_or(0, |n| n.get()));
        ports
            .set(&config.node.interfaces, &net, &mut tables)
            .await?;

        let kept = args.run_dir.join(RUNTIME_CHANGES);
        let kept = RuntimeChanges::load(&kept).with_context(|| {
            format!(
                "reading {}; remove it to forget its changes",
                kept.display()
            )
        })?;
        let (desired, warnings) = Desired::restore(config, &kept);
        for warning in warnings {
            warn!("{warning}");
        }
        let (events, health_events) = mpsc::channel(1024);
        let mut manager = Manager {
            args: args.clone(),
            started: SystemTime::now(),
            desired,
            health: HashMap::new(),
            net,
            ways: Ways::new(),
            ports,
            tables,
            counters,
            model,
            checker: Checker::new(events),
            watcher,
            clock,
            flows,
            sweep: None,
            health_events,
            net_changes,
        };
        manager.warn_of_forwarding();
        manager.watch_health().await;
        manager.reconcile()?;
        Ok(manager)
    }

    /// `nat` leaves answers to the kernel whose next hop isn't known yet.
    fn warn_of_forwarding(&self) {
        let switch = "/proc/sys/net/ipv4/ip_forward";
        let is_off = std::fs::read_to_string(switch).is_ok_and(|text| text.trim() == "0");
        if is_off && aims::has_nat(self.desired.config()) {
            warn!(
                "net.ipv4.ip_forward is 0: in mode nat the first answers to a client whose next hop isn't known yet are lost; `sysctl -w net.ipv4.ip_forward=1`"
            );
        }
    }

    /// Serves until something breaks that can't be mended.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Request>) -> anyhow::Result<()> {
        let mut sweeps = tokio::time::interval(SWEEP);
        sweeps.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                Some(event) = self.health_events.recv() => {
                    self.take_health(event);
                    while let Ok(event) = self.health_events.try_recv() {
                        self.take_health(event);
                    }
                    self.reconcile_and_log();
                }
                changed = self.net_changes.changed() => {
                    changed.map_err(|_| anyhow!("the kernel's network announcements ended"))?;
                    self.take_net().await;
                    self.reconcile_and_log();
                }
                Some(request) = requests.recv() => self.answer(request).await,
                _ = sweeps.tick() => self.begin_sweep(),
                swept = async { self.sweep.as_mut().expect("guarded").await }, if self.sweep.is_some() => {
                    self.sweep = None;
                    match swept {
                        Ok(swept) => self.end_sweep(&swept),
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
            Request::Stats(reply) => drop(reply.send(self.stats().map_err(failed))),
            Request::Change(change, reply) => drop(reply.send(self.change(change).await)),
            Request::Reload(reply) => drop(reply.send(self.reload().await)),
        }
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
        }
    }

    fn status(&self) -> Result<Status, DatapathError> {
        Ok(Status {
            version: env!("CARGO_PKG_VERSION").into(),
            pid: std::process::id(),
            started: unix_seconds(self.started),
            interfaces: self.scene().interfaces(),
            full_nat: Vec::new(),
            services: self.scene().services()?,
        })
    }

    fn stats(&self) -> Result<Stats, DatapathError> {
        self.scene().stats()
    }

    async fn change(&mut self, change: Change) -> Result<ChangeReply, ControlError> {
        let before = self.desired.clone();
        let applied = self.desired.apply(change)?;
        if applied.changed
            && let Err(error) = self.adopt().await
        {
            self.desired = before;
            self.watch_health().await;
            self.reconcile_and_log();
            return Err(error);
        }
        info!("{}", applied.message);
        Ok(applied)
    }

    async fn reload(&mut self) -> Result<ReloadReply, ControlError> {
        let refused = |error: String| ControlError {
            kind: ErrorKind::Refused,
            error: ApiError {
                error,
                hint: "nothing was changed".into(),
            },
        };
        let config = Config::load(&self.args.config).map_err(|e| refused(e.to_string()))?;
        self.desired
            .can_reload(&config)
            .map_err(|no| ControlError {
                kind: ErrorKind::Refused,
                error: (&no).into(),
            })?;
        self.ports
            .set(&config.node.interfaces, &self.net, &mut self.tables)
            .await
            .map_err(|e| refused(e.to_string()))?;
        let before = self.desired.clone();
        let warnings = self.desired.reload(config);
        if let Err(error) = self.adopt().await {
            self.desired = before;
            self.watch_health().await;
            self.reconcile_and_log();
            return Err(error);
        }
        Ok(ReloadReply {
            changed: before.config() != self.desired.config(),
            message: format!("{} was read again", self.args.config.display()),
            warnings,
        })
    }

    /// Makes what is desired so, and keeps it for the next daemon.
    async fn adopt(&mut self) -> Result<(), ControlError> {
        self.watch_health().await;
        self.reconcile().map_err(failed)?;
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

    async fn take_net(&mut self) {
        self.net = Arc::clone(&self.net_changes.borrow_and_update());
        if let Err(error) = self.ports.follow(&self.net, &mut self.tables).await {
            error!("{error}");
        }
        self.want();
    }

    fn reconcile_and_log(&mut self) {
        if let Err(error) = self.reconcile() {
            error!("the data plane stays as it was: {error}");
        }
    }

    /// Brings the maps to where they should be.
    fn reconcile(&mut self) -> Result<(), ReconcileError> {
        let health: HashMap<_, _> = self
            .health
            .iter()
            .map(|(id, known)| (id.clone(), known.health))
            .collect();
        let (target, ways) = aims(
            self.desired.config(),
            &health,
            &self.net,
            &self.ports.list(),
        );
        for (id, way) in &ways {
            let TargetId { service, backend } = id;
            match (way, self.ways.get(id)) {
                (Err(reason), Some(Ok(_))) => warn!(service, backend, "lost the way: {reason}"),
                // It is only just being looked for.
                (Err(reason), None) => debug!(service, backend, "no way yet: {reason}"),
                (Err(reason), Some(before)) if way != before => {
                    info!(service, backend, "no way to it: {reason}");
                }
                _ => {}
            }
        }
        self.ways = ways;
        let plan = plan::plan(&self.model, &target, Instant::now())?;
        for write in &plan.writes {
            debug!("{write}");
        }
        if let Err(error) = self.tables.apply(&plan.writes, &mut self.counters) {
            // Some of it is written: what the maps hold is to be read again.
            self.model = self.tables.recover();
            return Err(error.into());
        }
        self.model = plan.model;
        Ok(())
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
