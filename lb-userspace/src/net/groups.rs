//! Membership of the multicast groups by which neighbours ask for IPv6 VIPs.
//!
//! The packet program answers neighbour solicitations for VIPs that no interface has,
//! so nobody else tells NICs and switches (MLD snooping) to let them in. Sockets that
//! receive nothing do it: the kernel keeps their memberships while they are open.

use std::{
    collections::{BTreeMap, BTreeSet},
    net::Ipv6Addr,
    os::fd::OwnedFd,
};

use rustix::{
    io::Errno,
    net::{
        AddressFamily, SocketFlags, SocketType, socket_with,
        sockopt::{set_ipv6_add_membership, set_ipv6_drop_membership},
    },
};
use thiserror::Error;

/// Memberships of one socket. The kernel counts their memory against
/// `net.core.optmem_max`, whose smallest default has room for about 350.
const PER_SOCKET: usize = 128;

/// Why neighbour solicitations for a VIP may not arrive.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
#[error("link number {ifindex} can't join {group}, where neighbours ask for {vip}: {why}")]
pub struct GroupError {
    /// The link.
    pub ifindex: u32,
    /// The address asked for.
    pub vip: Ipv6Addr,
    /// Its solicited-node multicast group.
    pub group: Ipv6Addr,
    /// What the kernel said, and the way out.
    pub why: String,
}

/// A group on a link, by its ifindex.
type Membership = (u32, Ipv6Addr);

/// The groups that are joined, until it is dropped.
#[derive(Debug, Default)]
pub struct Groups {
    sockets: Vec<Socket>,
}

#[derive(Debug)]
struct Socket {
    fd: OwnedFd,
    joined: BTreeSet<Membership>,
}

impl Groups {
    /// Joins the groups of the (ifindex, VIP) pairs `wanted`, in the network namespace of
    /// the calling thread, and leaves all others. To be called when `wanted` changes and
    /// when links do: a link that was deleted, or whose MTU was too small for IPv6 (1280
    /// bytes), has lost its memberships, and gets them back here.
    ///
    /// Gives what couldn't be joined; the rest is.
    pub fn set(&mut self, wanted: &BTreeSet<(u32, Ipv6Addr)>) -> Vec<GroupError> {
        let vips: BTreeMap<Membership, Ipv6Addr> = wanted
            .iter()
            .map(|&(ifindex, vip)| ((ifindex, solicited_node(vip)), vip))
            .collect();
        let known = known();
        self.leave(|one| !vips.contains_key(one) || !known.contains(one));
        let mut errors = Vec::new();
        for ((ifindex, group), vip) in vips {
            if let Err(error) = self.join((ifindex, group)) {
                errors.push(GroupError {
                    ifindex,
                    vip,
                    group,
                    why: reason(error),
                });
            }
        }
        errors
    }

    fn join(&mut self, one: Membership) -> Result<(), Errno> {
        let (ifindex, group) = one;
        if self.sockets.iter().any(|s| s.joined.contains(&one)) {
            return Ok(());
        }
        let has_room = |socket: &Socket| socket.joined.len() < PER_SOCKET;
        let place = match self.sockets.iter().position(has_room) {
            Some(place) => place,
            None => {
                self.sockets.push(Socket {
                    fd: open()?,
                    joined: BTreeSet::new(),
                });
                self.sockets.len() - 1
            }
        };
        let socket = &mut self.sockets[place];
        set_ipv6_add_membership(&socket.fd, &group, ifindex)?;
        socket.joined.insert(one);
        Ok(())
    }

    fn leave(&mut self, unwanted: impl Fn(&Membership) -> bool) {
        for Socket { fd, joined } in &mut self.sockets {
            joined.retain(|one| {
                if !unwanted(one) {
                    return true;
                }
                // It fails where the membership has gone with its link, but the socket
                // forgets it then too.
                let _ = set_ipv6_drop_membership(&*fd, &one.1, one.0);
                false
            });
        }
        self.sockets.retain(|socket| !socket.joined.is_empty());
    }
}

/// What this namespace is a member of, in the kernel's own words: a socket goes on to
/// believe in memberships that went with their link, and would take them from a new link
/// of the same number when it is closed.
fn known() -> BTreeSet<Membership> {
    let list = std::fs::read_to_string("/proc/thread-self/net/igmp6").unwrap_or_default();
    list.lines().filter_map(membership).collect()
}

/// `3  eth0  ff0200000000000000000001ff001234  1 00000004 0`
fn membership(line: &str) -> Option<Membership> {
    let mut words = line.split_whitespace();
    let ifindex = words.next()?.parse().ok()?;
    let group = u128::from_str_radix(words.nth(1)?, 16).ok()?;
    Some((ifindex, Ipv6Addr::from_bits(group)))
}

/// The group in which neighbours ask for an address (RFC 4291, section 2.7.1).
#[must_use]
pub fn solicited_node(address: Ipv6Addr) -> Ipv6Addr {
    const BASE: u128 = 0xff02_0000_0000_0000_0000_0001_ff00_0000;
    Ipv6Addr::from_bits(BASE | (address.to_bits() & 0x00ff_ffff))
}

fn open() -> Result<OwnedFd, Errno> {
    let (family, kind) = (AddressFamily::INET6, SocketType::DGRAM);
    socket_with(family, kind, SocketFlags::CLOEXEC, None)
}

/// What the kernel said, and the way out where there is one.
fn reason(error: Errno) -> String {
    match error {
        Errno::NODEV => "there is no such link".to_owned(),
        Errno::INVAL => {
            format!("{error}; IPv6 is off there: it needs an MTU of 1280 bytes at least")
        }
        Errno::AFNOSUPPORT => format!("{error}; this kernel has no IPv6"),
        _ => error.to_string(),
    }
}
