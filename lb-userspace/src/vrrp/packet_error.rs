//! Why a packet is no advertisement of a group.

use super::Convention;

/// Why a packet is no advertisement of a group. Such packets change nothing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PacketError {
    /// Not a whole IPv4 packet of VRRP.
    #[error("not a whole IPv4 packet of VRRP")]
    IpHeader,
    /// It came from beyond a router.
    #[error(
        "hop limit {0} instead of 255: it doesn't come from this link; let the peer send with 255, from the same link"
    )]
    HopLimit(u8),
    /// Too short, or longer than its addresses take.
    #[error("{length} bytes instead of {expected}")]
    Length {
        /// Its length in bytes.
        length: usize,
        /// What it should be.
        expected: usize,
    },
    /// Another version of VRRP.
    #[error(
        "VRRP version {version}, but the group is configured for version {expected}; set the same on both nodes"
    )]
    Version {
        /// The packet's.
        version: u8,
        /// The group's.
        expected: u8,
    },
    /// VRRP has one type of message.
    #[error("VRRP message type {0}, which doesn't exist")]
    Type(u8),
    /// Broken on its way or forged.
    #[error("wrong checksum")]
    Checksum,
    /// The peer sums up what we don't, or the other way round.
    #[error("{}", convention_text(*.0))]
    Convention(Convention),
    /// A virtual router that isn't this group's.
    #[error("virtual router {0}, which isn't this group's")]
    Vrid(u8),
    /// Version 2 with authentication, which RFC 3768 took away.
    #[error(
        "authentication type {0}, which isn't supported; configure the peer without authentication"
    )]
    Authentication(u8),
    /// No virtual address.
    #[error("no virtual address in it")]
    NoAddress,
    /// An interval of 0.
    #[error("an advertisement interval of 0")]
    Interval,
    /// Longer than any message.
    #[error("longer than any advertisement")]
    Oversized,
    /// Its sender is not among the group's peers.
    #[error("it isn't among the group's peers; add it to `peers` if it should be")]
    Stranger,
    /// To an address where the group's advertisements don't go.
    #[error("sent to {}; let both nodes use multicast, or name each in the other's `peers`", way(*.multicast))]
    Destination {
        /// To a multicast group, not to this node.
        multicast: bool,
    },
}

impl PacketError {
    /// All labels, in the order of the variants.
    pub const LABELS: [&str; 14] = [
        "ip_header",
        "hop_limit",
        "length",
        "version",
        "type",
        "checksum",
        "checksum_convention",
        "vrid",
        "authentication",
        "no_address",
        "interval",
        "oversized",
        "stranger",
        "destination",
    ];

    /// Its name in metrics.
    pub fn label(self) -> &'static str {
        Self::LABELS[self.number()]
    }

    /// The place of its label in [`LABELS`](Self::LABELS).
    pub(super) fn number(self) -> usize {
        match self {
            Self::IpHeader => 0,
            Self::HopLimit(_) => 1,
            Self::Length { .. } => 2,
            Self::Version { .. } => 3,
            Self::Type(_) => 4,
            Self::Checksum => 5,
            Self::Convention(_) => 6,
            Self::Vrid(_) => 7,
            Self::Authentication(_) => 8,
            Self::NoAddress => 9,
            Self::Interval => 10,
            Self::Oversized => 11,
            Self::Stranger => 12,
            Self::Destination { .. } => 13,
        }
    }
}

fn convention_text(ours: Convention) -> &'static str {
    match ours {
        Convention::PseudoHeader => {
            "the peer leaves the pseudo-header out of its checksum; set checksum_as_v2 for the group, or unset it on the peer"
        }
        Convention::AsV2 => {
            "the peer's checksum covers the pseudo-header; unset checksum_as_v2 for the group, or set it on the peer"
        }
    }
}

fn way(multicast: bool) -> &'static str {
    if multicast {
        "a multicast group"
    } else {
        "this node alone"
    }
}
