//! Network interfaces, as netlink messages tell of them.

use rtnetlink::packet_route::link::{
    InfoData, InfoVlan, LinkAttribute, LinkFlags, LinkInfo, LinkMessage, State,
    VlanProtocol as KernelProtocol,
};

use super::{
    Mac, decode,
    vlan::{Vlan, VlanProtocol},
};

/// A network interface.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Link {
    /// Its number, which stays while it exists.
    pub ifindex: u32,
    /// Its name.
    pub name: String,
    /// Its Ethernet address; `None` where the link layer is another.
    pub mac: Option<Mac>,
    /// The largest IP packet that it carries, in bytes.
    pub mtu: u32,
    /// Whether it is switched on.
    pub up: bool,
    /// Whether there is a cable and somebody at its other end.
    pub carrier: bool,
    /// Whether it leads back to this machine only.
    pub loopback: bool,
    /// What VLAN it is, on which link; `None` for other kinds of link.
    pub vlan: Option<Vlan>,
    /// Changes after `carrier`, when the kernel has drawn the consequences: only then
    /// are next hops on the link marked.
    pub(super) settled: State,
}

impl Link {
    /// A link of which nothing but its number is known.
    pub(super) fn unknown(ifindex: u32) -> Self {
        Self {
            ifindex,
            name: String::new(),
            mac: None,
            mtu: 0,
            up: false,
            carrier: false,
            loopback: false,
            vlan: None,
            settled: State::Unknown,
        }
    }

    /// Takes in a message, which may hold some of the attributes only.
    pub(super) fn take(&mut self, message: &LinkMessage) {
        let flags = message.header.flags;
        self.up = flags.contains(LinkFlags::Up);
        self.carrier = flags.contains(LinkFlags::LowerUp);
        self.loopback = flags.contains(LinkFlags::Loopback);
        for attribute in &message.attributes {
            match attribute {
                LinkAttribute::IfName(name) => self.name.clone_from(name),
                LinkAttribute::Address(bytes) => self.mac = decode::mac(bytes),
                LinkAttribute::Mtu(bytes) => self.mtu = *bytes,
                LinkAttribute::OperState(state) => self.settled = *state,
                LinkAttribute::LinkInfo(info) => {
                    self.vlan = vlan(info, parent(&message.attributes));
                }
                _ => {}
            }
        }
    }
}

/// The link under it; 0 when that is in another network namespace.
fn parent(attributes: &[LinkAttribute]) -> u32 {
    let mut parent = 0;
    for attribute in attributes {
        match attribute {
            LinkAttribute::Link(ifindex) => parent = *ifindex,
            LinkAttribute::LinkNetNsId(_) => return 0,
            _ => {}
        }
    }
    parent
}

fn vlan(info: &[LinkInfo], parent: u32) -> Option<Vlan> {
    let data = info.iter().find_map(|info| match info {
        LinkInfo::Data(InfoData::Vlan(data)) => Some(data),
        _ => None,
    })?;
    let mut number = None;
    let mut protocol = VlanProtocol::Dot1q;
    for attribute in data {
        match attribute {
            InfoVlan::Id(id) => number = Some(*id),
            InfoVlan::Protocol(KernelProtocol::Ieee8021Ad) => protocol = VlanProtocol::Dot1ad,
            _ => {}
        }
    }
    Some(Vlan {
        parent,
        id: number?,
        protocol,
    })
}
