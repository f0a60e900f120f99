//! What the manager does about the network.

use std::{collections::BTreeSet, net::Ipv6Addr, sync::Arc};

use tracing::{error, warn};

use super::{Manager, aims};
use crate::{
    config::model::Config,
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

    /// What can't be changed while flows go by it.
    pub(super) fn check_reload(&self, asked: &Config) -> Result<(), String> {
        let current = self.desired.config();
        let in_use = "while the flow table is in use: `flowgate unload` and start again";
        if asked.node.max_flows != current.node.max_flows {
            return Err(format!(
                "max_flows can't change from {} to {} {in_use}",
                current.node.max_flows, asked.node.max_flows
            ));
        }
        if asked.timeouts != current.timeouts {
            return Err(format!("[timeouts] can't change {in_use}"));
        }
        if aims::pool(asked) != aims::pool(current) {
            return Err(format!("[full_nat] can't change {in_use}"));
        }
        aims::check_families(asked, &self.net)
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
