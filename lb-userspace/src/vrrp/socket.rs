//! The raw sockets that advertisements go through.

use std::{
    io::{self, IoSliceMut},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6},
    os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd},
};

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt,
    sockopt::{BindToDevice, Ipv6RecvHopLimit, Ipv6RecvPacketInfo},
};
use rustix::{
    io::Errno,
    net::{
        AddressFamily, Protocol, SendFlags, SocketFlags, SocketType, bind, netdevice, sendto,
        socket_with, sockopt,
    },
};

use super::{HOP_LIMIT, MAX_MESSAGE, PROTOCOL, PacketError, Received};

/// Where IPv4 advertisements go (RFC 9568 section 5.1.1.2).
pub const GROUP: Ipv4Addr = Ipv4Addr::new(224, 0, 0, 18);
/// Where IPv6 advertisements go (RFC 9568 section 5.1.2.2).
pub const GROUP6: Ipv6Addr = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 0, 0, 0x12);
/// Network control (CS6), as routing protocols have it.
const TRAFFIC_CLASS: u8 = 0xc0;
/// What is asked for as receive buffer; the kernel doubles it, to count its own
/// overhead.
const RECEIVE_BUFFER: usize = 64 << 10;
/// The kernel charges a packet more than this, so the buffer never holds more of them.
const LEAST_CHARGE: usize = 512;
/// As many packets as can have been waiting when one begins to read.
pub const MOST_WAITING: usize = 2 * RECEIVE_BUFFER / LEAST_CHARGE;

/// A group's socket can't be had.
#[derive(Debug, thiserror::Error)]
pub enum OpenError {
    /// Not root.
    #[error("VRRP needs a raw socket, which takes root (or CAP_NET_RAW); run it with sudo")]
    NotPermitted,
    /// The interface isn't there.
    #[error("interface {0} does not exist; `ip link` lists those that do")]
    NoInterface(String),
    /// The address isn't this node's.
    #[error(
        "{address} is not an address of this node, or not ready yet; `ip address show dev {interface}` lists those of {interface}"
    )]
    NoAddress {
        /// The address that advertisements are to come from.
        address: IpAddr,
        /// Where they are to leave.
        interface: String,
    },
    /// Anything else.
    #[error("{what} on {interface}: {source}")]
    Other {
        /// What was tried.
        what: &'static str,
        /// Where.
        interface: String,
        /// What the kernel said.
        source: io::Error,
    },
}

/// Where a group's advertisements go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Route {
    /// The interface, by name.
    pub interface: String,
    /// This node's address.
    pub address: IpAddr,
    /// Unicast peers, of the same IP version; none: multicast.
    pub peers: Vec<IpAddr>,
}

/// A raw socket of one group, bound to its interface.
#[derive(Debug)]
pub struct Channel {
    socket: OwnedFd,
    ifindex: u32,
    multicast: bool,
    destinations: Vec<SocketAddr>,
}

/// Whether an advertisement could be sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Delivery {
    /// To the group or a peer, or what kept it is on their side.
    Sent,
    /// Not at all, for a reason on this side.
    Failed,
}

/// What a packet is read into.
pub struct Buffer {
    packet: Vec<u8>,
    control: Vec<u8>,
}

/// A packet that has been read.
#[derive(Debug)]
pub struct Incoming<'b> {
    /// Who sent it.
    pub from: IpAddr,
    /// What it is.
    pub packet: Result<Received<'b>, PacketError>,
}

impl Buffer {
    pub fn new() -> Self {
        /// The longest IPv4 header.
        const HEADER: usize = 60;
        Self {
            packet: vec![0; HEADER + MAX_MESSAGE],
            control: nix::cmsg_space!(nix::libc::in6_pktinfo, nix::libc::c_int),
        }
    }
}

impl Channel {
    /// Opens it on the link `ifindex` of that name.
    ///
    /// # Errors
    /// Says what is missing.
    pub fn open(route: &Route, ifindex: u32) -> Result<Self, OpenError> {
        let multicast = route.peers.is_empty();
        let (family, group) = match route.address {
            IpAddr::V4(_) => (AddressFamily::INET, IpAddr::from(GROUP)),
            IpAddr::V6(_) => (AddressFamily::INET6, GROUP6.into()),
        };
        let peers = if multicast { &[group] } else { &*route.peers };
        let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
        let protocol = Protocol::from_raw(u32::from(PROTOCOL).try_into().expect("not 0"));
        let socket = socket_with(family, SocketType::RAW, flags, Some(protocol))
            .map_err(|errno| failure("a raw socket", route, errno))?;
        let name = route.interface.clone().into();
        setsockopt(&socket, BindToDevice, &name)
            .map_err(|errno| failure("binding VRRP's socket", route, from_nix(errno)))?;
        sockopt::set_socket_recv_buffer_size(&socket, RECEIVE_BUFFER)
            .and_then(|()| match route.address {
                IpAddr::V4(address) => set_v4(&socket, address, multicast, ifindex),
                IpAddr::V6(address) => set_v6(&socket, address, multicast, ifindex),
            })
            .map_err(|errno| failure("setting up VRRP's socket", route, errno))?;
        Ok(Self {
            socket,
            ifindex,
            multicast,
            destinations: peers
                .iter()
                .map(|&peer| with_scope(peer, ifindex))
                .collect(),
        })
    }

    /// The number of the interface of that name, if it is another one than when this was opened.
    pub fn replaced(&self, interface: &str) -> Option<u32> {
        let now = netdevice::name_to_index(&self.socket, interface).ok()?;
        (now != self.ifindex).then_some(now)
    }

    /// Where advertisements go, in an order that stays.
    pub fn destinations(&self) -> impl Iterator<Item = IpAddr> {
        self.destinations.iter().map(SocketAddr::ip)
    }

    /// Whether they go to the group of all VRRP routers.
    pub fn is_multicast(&self) -> bool {
        self.multicast
    }

    /// Sends to each destination its message. Doesn't wait.
    pub fn send<'m>(&self, messages: impl Iterator<Item = &'m [u8]>) -> Delivery {
        let mut delivery = Delivery::Failed;
        for (destination, message) in self.destinations.iter().zip(messages) {
            let sent = sendto(&self.socket, message, SendFlags::DONTWAIT, destination);
            // Nothing unreachable stands between this node and its own link's group.
            let theirs = |errno: Errno| {
                let unreachable = [Errno::NETUNREACH, Errno::HOSTUNREACH, Errno::CONNREFUSED];
                !self.multicast && unreachable.contains(&errno)
            };
            if sent.map_or_else(theirs, |_| true) {
                delivery = Delivery::Sent;
            }
        }
        delivery
    }

    /// Reads one packet; `None`: none is waiting. Doesn't wait.
    pub fn receive<'b>(&self, buffer: &'b mut Buffer) -> Option<Incoming<'b>> {
        let Buffer { packet, control } = buffer;
        let mut errors = 0;
        let (from, length, truncated, beside) = loop {
            let mut vectors = [IoSliceMut::new(packet)];
            let flags = MsgFlags::MSG_DONTWAIT;
            let control = Some(control.as_mut_slice());
            let fd = self.socket.as_raw_fd();
            match recvmsg::<SockaddrStorage>(fd, &mut vectors, control, flags) {
                Ok(message) => {
                    let truncated = message.flags.contains(MsgFlags::MSG_TRUNC);
                    let beside = message.cmsgs().ok().and_then(beside);
                    break (message.address, message.bytes, truncated, beside);
                }
                Err(nix::errno::Errno::EAGAIN) => return None,
                // An error that was waiting for whoever reads is gone once it has been read.
                Err(_) if errors < 3 => errors += 1,
                Err(_) => return None,
            }
        };
        let v4 = || Some(IpAddr::from(from.as_ref()?.as_sockaddr_in()?.ip()));
        let v6 = || Some(IpAddr::from(from.as_ref()?.as_sockaddr_in6()?.ip()));
        let source = v4().or_else(v6)?;
        let packet = &packet[..length];
        let packet = match (source, beside) {
            _ if truncated => Err(PacketError::Oversized),
            (IpAddr::V4(_), _) => Received::from_ipv4(packet),
            (IpAddr::V6(_), Some((destination, hop_limit))) => Ok(Received {
                source,
                destination: destination.into(),
                hop_limit,
                message: packet,
            }),
            // The kernel always tells, once it has been asked to.
            (IpAddr::V6(_), None) => return None,
        };
        Some(Incoming {
            from: source,
            packet,
        })
    }
}

impl AsFd for Channel {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What the kernel tells beside an IPv6 packet: its destination and hop limit.
fn beside(messages: impl Iterator<Item = ControlMessageOwned>) -> Option<(Ipv6Addr, u8)> {
    let (mut destination, mut hops) = (None, None);
    for message in messages {
        match message {
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                destination = Some(Ipv6Addr::from(info.ipi6_addr.s6_addr));
            }
            ControlMessageOwned::Ipv6HopLimit(limit) => hops = u8::try_from(limit).ok(),
            _ => {}
        }
    }
    destination.zip(hops)
}

/// An IPv4 socket takes only what is for the one address that it is bound to.
fn set_v4(socket: &OwnedFd, own: Ipv4Addr, multicast: bool, ifindex: u32) -> Result<(), Errno> {
    let hops = u32::from(HOP_LIMIT);
    sockopt::set_ip_ttl(socket, hops)?;
    sockopt::set_ip_tos(socket, TRAFFIC_CLASS)?;
    if multicast {
        sockopt::set_ip_multicast_ttl(socket, hops)?;
        sockopt::set_ip_multicast_loop(socket, false)?;
        // Also says what source they get.
        sockopt::set_ip_multicast_if_with_ifindex(socket, &GROUP, &own, ifindex)?;
        sockopt::set_ip_add_membership_with_ifindex(socket, &GROUP, &own, ifindex)?;
        bind(socket, &SocketAddr::from((GROUP, 0)))
    } else {
        bind(socket, &SocketAddr::from((own, 0)))
    }
}

/// An IPv6 socket also takes what is for groups that it has joined.
fn set_v6(socket: &OwnedFd, own: Ipv6Addr, multicast: bool, ifindex: u32) -> Result<(), Errno> {
    sockopt::set_ipv6_unicast_hops(socket, Some(HOP_LIMIT))?;
    sockopt::set_ipv6_tclass(socket, TRAFFIC_CLASS.into())?;
    setsockopt(socket, Ipv6RecvPacketInfo, &true).map_err(from_nix)?;
    setsockopt(socket, Ipv6RecvHopLimit, &true).map_err(from_nix)?;
    if multicast {
        sockopt::set_ipv6_multicast_hops(socket, HOP_LIMIT.into())?;
        sockopt::set_ipv6_multicast_loop(socket, false)?;
        sockopt::set_ipv6_multicast_if(socket, ifindex)?;
        sockopt::set_ipv6_add_membership(socket, &GROUP6, ifindex)?;
    }
    bind(socket, &with_scope(own.into(), ifindex))
}

/// With the link, without which a link-local address says little.
fn with_scope(address: IpAddr, ifindex: u32) -> SocketAddr {
    match address {
        IpAddr::V4(_) => SocketAddr::new(address, 0),
        IpAddr::V6(address) => SocketAddrV6::new(address, 0, 0, ifindex).into(),
    }
}

fn from_nix(errno: nix::errno::Errno) -> Errno {
    Errno::from_raw_os_error(errno as i32)
}

fn failure(what: &'static str, route: &Route, errno: Errno) -> OpenError {
    let interface = route.interface.clone();
    match errno {
        Errno::PERM | Errno::ACCESS => OpenError::NotPermitted,
        Errno::NODEV | Errno::NXIO => OpenError::NoInterface(interface),
        Errno::ADDRNOTAVAIL => OpenError::NoAddress {
            address: route.address,
            interface,
        },
        errno => OpenError::Other {
            what,
            interface,
            source: errno.into(),
        },
    }
}
