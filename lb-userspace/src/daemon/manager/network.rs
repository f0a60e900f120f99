//! What the manager does about the network.

use std::{collections::BTreeSet, net::Ipv6Addr, sync::Arc};

use lb_common::abi::BackendState;
use tracing::{error, warn};

use super::{Manager, aims};
use crate::{
    config::model::{Backend, Service},
    net::{Family, Groups, Link},
};

/// The multicast groups that are joined, and for what.
#[derive(Default)]
pub(super) struct Joined {
    groups: Groups,
    wanted: BTreeSet<(u32, Ipv6Addr)>,
    links: Vec<Link>,
}

impl Manager {
    pub(super) async fn take_net(&mut self) {
        self.net = Arc::clone(&self.net_changes.borrow_and_update());
        if let Err(error) = self.ports.follow(&self.net, &mut self.tables).await {
            error!("{error}");
        }
        self.want();
    }

    /// Tells the groups what has changed of the network and the backends.
    pub(super) fn follow_groups(&mut self) {
        if self.vips.is_empty() {
            return;
        }
        let (config, model) = (self.desired.config(), &self.model);
        let active = |name: &str| {
            let service = config.services.iter().find(|service| service.name == name);
            let takes = |service: &Service, backend: &Backend| {
                let number = model.backends.get(&aims::number_id(service, backend));
                let record = number.and_then(|number| model.records.get(number));
                record.is_some_and(|record| record.state == BackendState::Active as u8)
            };
            service.map_or(0, |service| {
                let backends = service.backends.iter();
                backends.filter(|backend| takes(service, backend)).count()
            })
        };
        self.vips
            .follow(config, &self.net, &self.ports.list(), active);
    }

    /// Tells replication the time.
    pub(super) fn tell_tick(&mut self) {
        if !self.vips.wants_tick() {
            return;
        }
        match self.clock.tick() {
            Ok(tick) => self.vips.set_tick(tick),
            Err(error) => error!("{error}"),
        }
    }

    /// Has the kernel look for the next hops that are needed, and neighbours' questions
    /// for our VIPs come in.
    pub(super) fn want(&mut self) {
        let ports = self.ports.list();
        let config = self.desired.config();
        self.watcher
            .want(aims::wanted_hops(config, &self.net, &ports));
        let wanted = aims::groups(config, &self.net, &ports);
        let links: Vec<Link> = self.net.links().cloned().collect();
        // A link may have lost its memberships when it changed.
        if (&wanted, &links) == (&self.joined.wanted, &self.joined.links) {
            return;
        }
        for error in self.joined.groups.set(&wanted) {
            warn!("{error}");
        }
        (self.joined.wanted, self.joined.links) = (wanted, links);
    }

    /// The modes that translate leave answers to the kernel whose next hop isn't known
    /// yet.
    pub(super) fn warn_of_forwarding(&self) {
        let switches = [
            (Family::V4, "net.ipv4.ip_forward"),
            (Family::V6, "net.ipv6.conf.all.forwarding"),
        ];
        for (family, name) in switches {
            let path = format!("/proc/sys/{}", name.replace('.', "/"));
            let is_off = std::fs::read_to_string(path).is_ok_and(|text| text.trim() == "0");
            if is_off && aims::translates(self.desired.config(), family) {
                warn!(
                    "{name} is 0: in the modes nat and full-nat the first {family} answers to a client whose next hop isn't known yet are lost; `sysctl -w {name}=1`"
                );
            }
        }
    }
}
