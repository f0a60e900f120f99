//! What replication is told of the flow table.

use std::{collections::BTreeMap, net::IpAddr, sync::Arc};

use lb_common::{
    abi::{Bucket, Identity, PortBucket},
    flow::{BUCKET_SLOTS, Tick, Timeouts},
};
use tracing::{info, warn};

use super::Means;
use crate::{
    config::model::Replication,
    datapath::{DatapathError, census::Ages},
    plan::{Id, Model, ServiceKey},
    replicate::{ClusterKey, Kind, Limits, Member, Roster, Setup, Told, fold, wire::Terms},
};

/// Everything that replication works with.
///
/// # Errors
/// When the tables' memory can't be mapped once more.
pub(super) fn setup(
    means: &Means<'_>,
    replication: &Replication,
    key: ClusterKey,
    roster: Roster,
    tick: Box<dyn Fn() -> Tick + Send>,
) -> Result<Setup, DatapathError> {
    let flows = Arc::new(means.object.shared::<Bucket>("FLOWS")?);
    let ports = Arc::new(means.object.shared::<PortBucket>("PORTS")?);
    let slots = |buckets: u32| buckets as usize * BUCKET_SLOTS;
    let all = slots(flows.length()) + slots(ports.length());
    Ok(Setup {
        key,
        listen: replication.listen,
        peer: replication.peer,
        terms: terms(
            means.identity,
            slots(flows.length()) as u64,
            &means.tables.pool(),
        ),
        timeouts: Timeouts::from_bits(means.identity.timeouts),
        limits: Limits::sized(all),
        roster,
        flows,
        ports,
        tick,
    })
}

/// How this node's tables are made.
fn terms(identity: &Identity, flow_slots: u64, pool: &[IpAddr]) -> Terms {
    let keys: Vec<u8> = identity
        .flow_keys
        .into_iter()
        .flat_map(u64::to_be_bytes)
        .collect();
    let pool: Vec<u8> = pool.iter().copied().flat_map(octets).collect();
    Terms {
        flow_slots,
        pool: identity.pool.bits(),
        flow_keys: fold(&[&keys]),
        pool_addresses: fold(&[&pool]),
        tick_ns: u64::try_from(Ages::new(identity).tick().as_nanos()).unwrap_or(u64::MAX),
    }
}

/// This node's numbers of services and backends.
#[derive(Default)]
pub(super) struct Numbers {
    services: BTreeMap<ServiceKey, u32>,
    backends: BTreeMap<Id, u16>,
}

impl Numbers {
    /// What the maps have, or are about to have.
    pub(super) fn of(model: &Model) -> Self {
        Numbers {
            services: services(model).collect(),
            backends: model.backends.clone(),
        }
    }

    /// Whether the maps' are still these. Digests are made of them otherwise, which takes longer.
    pub(super) fn are_of(&self, model: &Model) -> bool {
        let known = self.services.iter().map(|(key, number)| (*key, *number));
        self.backends == model.backends && known.eq(services(model))
    }

    /// Whom they stand for.
    pub(super) fn roster(&self) -> Roster {
        let mut roster = Roster::new();
        for (key, &number) in &self.services {
            if let Ok(number) = u16::try_from(number) {
                roster.set(Kind::Service, number, Member::of(&[&service(*key)]));
            }
        }
        for (id, &number) in &self.backends {
            let port = id.server.port().to_be_bytes();
            let server = [octets(id.server.ip()), port.to_vec()].concat();
            let member = Member::of(&[&service(id.service), &server, &[id.forward as u8]]);
            roster.set(Kind::Backend, number, member);
        }
        roster
    }
}

fn services(model: &Model) -> impl Iterator<Item = (ServiceKey, u32)> + '_ {
    let services = model.services.iter();
    services.map(|(key, placed)| (*key, placed.number))
}

fn service(key: ServiceKey) -> Vec<u8> {
    let mut name = octets(key.vip);
    name.extend(key.port.to_be_bytes());
    name.push(key.protocol_number());
    name
}

fn octets(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    }
}

/// What has happened to replication.
pub(super) fn log(told: Told) {
    match told {
        Told::Connected => info!("replication: the peer is here"),
        Told::Disconnected(ending) => info!("replication: {ending}"),
        Told::InSync(true) => info!("replication: this node knows the active one's flows"),
        Told::InSync(false) => info!("replication: this node lacks flows of the active one"),
        Told::StandbyInSync(true) => info!("replication: the standby knows this node's flows"),
        Told::StandbyInSync(false) => info!("replication: the standby lacks flows of this node"),
        Told::Refused(refusal) => warn!("replication: {refusal}"),
    }
}
