//! The daemon's beginning.

use std::{
    collections::HashMap,
    sync::Arc,
    time::{Duration, SystemTime},
};

use anyhow::{Context as _, anyhow, bail};
use lb_common::{abi::Identity, flow::Timeouts};
use tokio::{
    sync::{mpsc, watch},
    time::timeout,
};
use tracing::{info, warn};

use super::{Joined, Manager, Pace, Watchers};
use crate::{
    cli::RunArgs,
    config::model::Config,
    daemon::{
        RUNTIME_CHANGES,
        aims::{self, Ways},
        ports::Ports,
        vips::{Means, Vips, settings},
    },
    datapath::{Constants, Counters, Flows, Object, Pins, PortsUsed, Ring, Switch, Tables, object},
    desired::{Desired, RuntimeChanges},
    health::Checker,
    net::{NetState, Watcher},
    replicate::ClusterKey,
};

/// How long addresses are waited for: while a machine boots, IPv6 ones are still being
/// checked for duplicates.
const ADDRESSES: Duration = Duration::from_secs(5);

/// The maps, opened.
struct Maps {
    identity: Identity,
    clock: Object,
    tables: Tables,
    counters: Counters,
    flows: Flows,
    watchers: Watchers,
}

impl Maps {
    /// Makes the maps, or takes over those that are pinned.
    fn open(pins: &Pins, config: &Config, key: Option<&ClusterKey>) -> anyhow::Result<Self> {
        let (pool, addresses) = aims::pool(config);
        let made = object::new_identity(config.node.max_flows, &config.timeouts)
            .context("making the flow table's keys")?;
        let made = Identity { pool, ..made };
        let made = match key {
            // The nodes' tables are to agree.
            Some(key) => Identity {
                flow_keys: key.flow_keys(),
                ..made
            },
            None => made,
        };
        let found = pins.identity()?;
        if let Some(found) = &found {
            Pins::check(found, &made)?;
        }
        if let (Some(found), Some(_)) = (&found, key)
            && found.flow_keys != made.flow_keys
        {
            bail!(
                "the flow table that is loaded has other keys than the cluster key gives: `flowgate unload`, then start again; or put back the key, or take [replication] out"
            );
        }
        let identity = found.unwrap_or(made);
        let constants = Constants::new(identity);
        let mut clock = Object::load(object::OBJECT, &constants, Some(&pins.maps()))?;
        clock.tick()?;
        let mut tables = Tables::open(&mut clock)?;
        match found {
            Some(_) => tables.check_pool(&addresses)?,
            None => tables.put_pool(&addresses),
        }
        tables.identity.store(0, &identity);
        let has_buffers = Constants {
            has_buffers: true,
            ..constants
        };
        let mut for_buffers = Object::load(object::OBJECT, &has_buffers, Some(&pins.maps()))?;
        tables.follow_devices(&mut for_buffers)?;
        let counters = Counters::open(&clock)?;
        let (switch, ring) = (Switch::open(&mut clock)?, Ring::open(&mut clock)?);
        let watchers =
            Watchers::new(switch, ring).context("waiting for the ring of new connections")?;
        let timeouts = Timeouts::from_bits(identity.timeouts);
        let (buckets, in_pool) = (clock.shared("FLOWS")?, clock.shared("PORTS")?);
        let flows = Flows::new(buckets, in_pool, identity.pool, timeouts);
        Ok(Maps {
            identity,
            clock,
            tables,
            counters,
            flows,
            watchers,
        })
    }
}

impl Manager {
    /// Takes over what a daemon before left, or begins anew, and attaches. A beginning
    /// that fails leaves nothing behind.
    pub(in crate::daemon) async fn start(args: &RunArgs, config: Config) -> anyhow::Result<Self> {
        let (watcher, mut net_changes) = Watcher::start().await?;
        Ports::check(&config.node.interfaces, &net_changes.borrow())?;
        wait_for_addresses(&config, &mut net_changes).await?;
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
        let key = match &config.replication {
            Some(replication) => Some(ClusterKey::load(&replication.key_file)?),
            None => None,
        };
        let pins = Pins::create(&args.pin_dir)?;
        let net = Arc::clone(&net_changes.borrow());
        let Maps {
            identity,
            clock,
            mut tables,
            counters,
            flows,
            watchers,
        } = Maps::open(&pins, &config, key.as_ref())?;
        let model = tables.recover();
        if !model.backends.is_empty() {
            info!(
                backends = model.backends.len(),
                "taking over what is loaded"
            );
        }
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
        let names = desired.config().node.interfaces.clone();
        let mut ports = Ports::new(pins, identity, args.sample.map_or(0, |n| n.get()));
        let loading = ports.begin(&names, &net, &mut tables)?;
        let mut manager = Manager {
            args: args.clone(),
            started: SystemTime::now(),
            desired,
            health: HashMap::new(),
            net,
            ways: Ways::new(),
            target: None,
            ports,
            tables,
            counters,
            model,
            checker: Checker::new(events),
            watcher,
            clock,
            flows: Arc::new(flows),
            sweep: None,
            pace: Pace::default(),
            ports_used: PortsUsed::default(),
            joined: Joined::default(),
            watchers,
            vips: Vips::none(),
            health_events,
            net_changes,
        };
        manager.watch_health().await;
        // Beside the verifier. What is loading must have ended before a failure is told: it
        // pins maps.
        let planned = manager.plan();
        manager.ports.end(&names, loading).await?;
        let (plan, target) = planned?;
        manager.carry_out(plan)?;
        manager.target = Some(target);
        manager.warn_of_forwarding();
        manager.join_groups(key)?;
        Ok(manager)
    }
}

impl Manager {
    /// Takes part in the groups, now that everything is in place to serve.
    fn join_groups(&mut self, key: Option<ClusterKey>) -> anyhow::Result<()> {
        let tick = self.clock.tick()?;
        self.vips = Vips::start(Means {
            config: self.desired.config(),
            net: &self.net,
            ports: &self.ports.list(),
            tables: &self.tables,
            model: &self.model,
            object: &self.clock,
            identity: &self.tables.identity.load(0),
            key,
            tick,
        })?;
        self.follow_groups();
        Ok(())
    }
}

/// Whether the node has all addresses that it needs.
fn has_addresses(config: &Config, net: &NetState) -> Result<(), String> {
    aims::check_families(config, net)?;
    let mut places = config
        .groups
        .iter()
        .map(|group| settings::place(group, net));
    places
        .try_for_each(|place| place.map(drop))
        .map_err(|error| error.to_string())
}

/// Waits until the node has an address of each family that backends have, and those that
/// its groups advertise from.
async fn wait_for_addresses(
    config: &Config,
    changes: &mut watch::Receiver<Arc<NetState>>,
) -> anyhow::Result<()> {
    let there = changes.wait_for(|net| has_addresses(config, net).is_ok());
    if timeout(ADDRESSES, there).await.is_ok() {
        return Ok(());
    }
    has_addresses(config, &changes.borrow()).map_err(|missing| anyhow!(missing))
}
