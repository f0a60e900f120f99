//! What a frame says: sections 1 and 2 of docs/PACKETS.md.

use std::net::IpAddr;

use lb_common::verdict::Verdict;

use crate::{
    bytes::{Mac, address4, address6, long, mac, word},
    site::{TCP, UDP},
};

/// ICMP's protocol number.
pub const ICMP: u8 = 1;
/// ICMPv6's.
pub const ICMP6: u8 = 58;

/// A frame's link layer.
#[derive(Debug, Clone)]
pub struct Link {
    /// Where the network layer begins.
    pub head: usize,
    /// Type and control information of each tag.
    pub tags: Vec<(u16, u16)>,
    /// What is behind them.
    pub ether_type: u16,
    /// Destination MAC.
    pub to: Mac,
    /// Source MAC.
    pub from: Mac,
}

/// Reads the link layer. `None` when the frame ends before it does.
#[must_use]
pub fn link(frame: &[u8]) -> Option<Link> {
    if frame.len() < 14 {
        return None;
    }
    let mut at = 12;
    let mut tags = Vec::new();
    while tags.len() < 2 && matches!(word(frame, at), 0x8100 | 0x88a8) {
        if frame.len() < at + 6 {
            return None;
        }
        tags.push((word(frame, at), word(frame, at + 2)));
        at += 4;
    }
    Some(Link {
        head: at + 2,
        tags,
        ether_type: word(frame, at),
        to: mac(frame, 0),
        from: mac(frame, 6),
    })
}

/// Whether an IP packet is a piece of a larger one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Piece {
    /// It is whole.
    Whole,
    /// The first, of the packet with this identification.
    First(u32),
    /// Another one.
    Later(u32),
}

impl Piece {
    fn of(id: u32, is_later: bool, has_more: bool) -> Self {
        match (is_later, has_more) {
            (true, _) => Piece::Later(id),
            (false, true) => Piece::First(id),
            (false, false) => Piece::Whole,
        }
    }
}

/// An IP packet as far as anybody may look into it.
#[derive(Debug, Clone)]
pub struct Ip {
    /// Where it begins.
    pub at: usize,
    /// Its length, as it says.
    pub length: usize,
    /// Source.
    pub source: IpAddr,
    /// Destination.
    pub destination: IpAddr,
    /// Time to live, or hop limit.
    pub ttl: u8,
    /// TOS, or traffic class.
    pub class: u8,
    /// Whether it is a fragment.
    pub piece: Piece,
    /// The upper layer's protocol.
    pub protocol: u8,
    /// Where the upper layer begins.
    pub upper: usize,
    /// Whether it has neither options nor extension headers.
    pub is_plain: bool,
}

impl Ip {
    /// Whether it is IPv6.
    #[must_use]
    pub fn is_v6(&self) -> bool {
        self.source.is_ipv6()
    }

    /// Where it ends.
    #[must_use]
    pub fn end(&self) -> usize {
        self.at + self.length
    }

    /// Whether it is a fragment other than the first: its upper layer can't be seen.
    #[must_use]
    pub fn is_later(&self) -> bool {
        matches!(self.piece, Piece::Later(_))
    }

    /// Whether it is TCP.
    #[must_use]
    pub fn is_tcp(&self) -> bool {
        self.protocol == TCP
    }

    /// Whether it has ports.
    #[must_use]
    pub fn has_ports(&self) -> bool {
        matches!(self.protocol, TCP | UDP)
    }

    /// Source port.
    #[must_use]
    pub fn source_port(&self, frame: &[u8]) -> u16 {
        word(frame, self.upper)
    }

    /// Destination port.
    #[must_use]
    pub fn destination_port(&self, frame: &[u8]) -> u16 {
        word(frame, self.upper + 2)
    }

    /// TCP's flags; none for UDP.
    #[must_use]
    pub fn flags(&self, frame: &[u8]) -> u8 {
        if self.is_tcp() {
            frame[self.upper + 13]
        } else {
            0
        }
    }
}

/// Why a packet isn't looked at further. The verdict is for one to a VIP.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refused {
    /// Its destination, if it could be read.
    pub destination: Option<IpAddr>,
    /// Its verdict.
    pub verdict: Verdict,
}

fn refused(destination: IpAddr, verdict: Verdict) -> Refused {
    Refused {
        destination: Some(destination),
        verdict,
    }
}

const UNREADABLE: Refused = Refused {
    destination: None,
    verdict: Verdict::PassMalformed,
};

/// Reads the IPv4 packet of a frame.
///
/// # Errors
///
/// [`Refused`].
pub fn ipv4(frame: &[u8], at: usize) -> Result<Ip, Refused> {
    if frame.len() < at + 20 || frame[at] >> 4 != 4 {
        return Err(UNREADABLE);
    }
    let destination = address4(frame, at + 16);
    let header = usize::from(frame[at] & 15) * 4;
    let length = usize::from(word(frame, at + 2));
    if header < 20 || length < header || at + length > frame.len() {
        return Err(refused(destination, Verdict::DropMalformed));
    }
    let protocol = frame[at + 9];
    let (id, place) = (u32::from(word(frame, at + 4)), word(frame, at + 6));
    let piece = Piece::of(id, place & 0x1fff != 0, place & 0x2000 != 0);
    let ip = Ip {
        at,
        length,
        source: address4(frame, at + 12),
        destination,
        ttl: frame[at + 8],
        class: frame[at + 1],
        piece,
        protocol,
        upper: at + header,
        is_plain: header == 20,
    };
    upper(ip, ICMP)
}

/// Reads the IPv6 packet of a frame.
///
/// # Errors
///
/// [`Refused`].
pub fn ipv6(frame: &[u8], at: usize) -> Result<Ip, Refused> {
    if frame.len() < at + 40 || frame[at] >> 4 != 6 {
        return Err(UNREADABLE);
    }
    let destination = address6(frame, at + 24);
    let length = 40 + usize::from(word(frame, at + 4));
    if at + length > frame.len() {
        return Err(refused(destination, Verdict::DropMalformed));
    }
    let walk = extensions(frame, at, at + length).map_err(|v| refused(destination, v))?;
    let ip = Ip {
        at,
        length,
        source: address6(frame, at + 8),
        destination,
        ttl: frame[at + 7],
        class: (word(frame, at) >> 4) as u8,
        piece: walk.piece,
        protocol: walk.protocol,
        upper: walk.upper,
        is_plain: walk.upper == at + 40,
    };
    upper(ip, ICMP6)
}

/// Whether the upper layer is one of ours and there.
fn upper(ip: Ip, icmp: u8) -> Result<Ip, Refused> {
    let verdict = match ip.piece {
        // Of an IPv6 packet's later fragment nothing more is known.
        Piece::Later(_) if ip.is_v6() || ip.has_ports() => return Ok(ip),
        Piece::Later(_) | Piece::First(_) if ip.protocol == icmp => Some(Verdict::DropFragment),
        _ => {
            let least = match ip.protocol {
                TCP => Some(20),
                UDP => Some(8),
                protocol if protocol == icmp => Some(8),
                _ => None,
            };
            match least {
                None => Some(Verdict::DropVipProtocol),
                Some(least) if ip.upper + least > ip.end() => Some(Verdict::DropMalformed),
                Some(_) => None,
            }
        }
    };
    match verdict {
        Some(verdict) => Err(refused(ip.destination, verdict)),
        None => Ok(ip),
    }
}

/// What stands behind the extension headers of an IPv6 packet.
#[derive(Debug, Clone, Copy)]
pub struct Walk {
    /// Whether it is a fragment.
    pub piece: Piece,
    /// The first header that isn't one of them; of no meaning in a later fragment.
    pub protocol: u8,
    /// Where that begins.
    pub upper: usize,
}

/// Walks over the extension headers of the packet at `at`, which ends at `end`.
///
/// # Errors
///
/// `DropExtension` or `DropMalformed`.
pub fn extensions(frame: &[u8], at: usize, end: usize) -> Result<Walk, Verdict> {
    const HOP_BY_HOP: u8 = 0;
    const ROUTING: u8 = 43;
    const FRAGMENT: u8 = 44;
    const DESTINATION: u8 = 60;
    let mut next = frame[at + 6];
    let mut from = at + 40;
    let mut piece = Piece::Whole;
    let mut seen = Vec::new();
    while matches!(next, HOP_BY_HOP | ROUTING | FRAGMENT | DESTINATION) {
        // What its number alone tells.
        if seen.len() == 4
            || (next == HOP_BY_HOP && !seen.is_empty())
            || (next == FRAGMENT && seen.contains(&FRAGMENT))
        {
            return Err(Verdict::DropExtension);
        }
        if from + 8 > end {
            return Err(Verdict::DropMalformed);
        }
        let length = match next {
            FRAGMENT => 8,
            _ => usize::from(frame[from + 1]) * 8 + 8,
        };
        if length > 256 || (next == ROUTING && frame[from + 3] != 0) {
            return Err(Verdict::DropExtension);
        }
        if from + length > end {
            return Err(Verdict::DropMalformed);
        }
        if next == FRAGMENT {
            let (place, id) = (word(frame, from + 2), long(frame, from + 4));
            piece = Piece::of(id, place & 0xfff8 != 0, place & 1 != 0);
            if matches!(piece, Piece::Later(_)) {
                return Ok(Walk {
                    piece,
                    protocol: frame[from],
                    upper: from + 8,
                });
            }
        }
        seen.push(next);
        next = frame[from];
        from += length;
    }
    Ok(Walk {
        piece,
        protocol: next,
        upper: from,
    })
}
