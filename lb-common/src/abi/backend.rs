use super::{Address, Mac, Record};
use crate::{checksum::Delta, limits::MAX_INTERFACES, tags::Tags};

/// Whether a backend takes new flows, and keeps those that it has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum BackendState {
    /// The number belongs to no backend. Flows that still name it are scheduled again.
    Free = 0,
    /// Gets no new flows; those that it has are scheduled again at once.
    Down = 1,
    /// Keeps its flows, gets no new ones. From here on a backend keeps them.
    Draining = 2,
    /// Takes new flows and keeps those that it has.
    Active = 3,
}

impl BackendState {
    /// The state that a record's byte stands for; bytes that stand for none are `Free`.
    #[must_use]
    #[inline(always)]
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => BackendState::Down,
            2 => BackendState::Draining,
            3 => BackendState::Active,
            _ => BackendState::Free,
        }
    }
}

/// How packets reach a backend.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[repr(u8)]
pub enum Forward {
    /// Direct server return: the destination MAC is rewritten.
    Dsr = 1,
    /// Destination address and port are rewritten, and back on the return path.
    Nat = 2,
    /// Both ends are rewritten, and back on the return path.
    FullNat = 3,
    /// Behind an outer IPv4 header (RFC 2003, RFC 4213).
    Ip4 = 4,
    /// Behind an outer IPv6 header (RFC 2473).
    Ip6 = 5,
    /// Behind outer IPv4 and UDP headers: GUE, variant 1 (draft-ietf-intarea-gue-09).
    Gue4 = 6,
    /// Behind outer IPv6 and UDP headers.
    Gue6 = 7,
}

impl Forward {
    /// Every mode.
    pub const ALL: [Forward; 7] = [
        Forward::Dsr,
        Forward::Nat,
        Forward::FullNat,
        Forward::Ip4,
        Forward::Ip6,
        Forward::Gue4,
        Forward::Gue6,
    ];

    /// The mode that a record's byte stands for.
    #[must_use]
    #[inline(always)]
    pub const fn from_byte(byte: u8) -> Option<Self> {
        match byte {
            1 => Some(Forward::Dsr),
            2 => Some(Forward::Nat),
            3 => Some(Forward::FullNat),
            4 => Some(Forward::Ip4),
            5 => Some(Forward::Ip6),
            6 => Some(Forward::Gue4),
            7 => Some(Forward::Gue6),
            _ => None,
        }
    }

    /// Bytes that it puts before the packet.
    #[must_use]
    #[inline(always)]
    pub const fn overhead(self) -> u16 {
        match self {
            Forward::Dsr | Forward::Nat | Forward::FullNat => 0,
            Forward::Ip4 => 20,
            Forward::Ip6 => 40,
            Forward::Gue4 => 28,
            Forward::Gue6 => 48,
        }
    }
}

/// One server in one service. Indexed by backend number; number 0 is never used.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Backend {
    /// The server's own address.
    pub address: Address,
    /// Its service's VIP.
    pub vip: Address,
    /// The server's port, in network byte order; 0 when packets keep theirs.
    pub port: u16,
    /// The service's port, in network byte order; the first one of a range.
    pub vip_port: u16,
    /// The service's number.
    pub service: u16,
    /// Another backend with this address, port and protocol, in a `nat` service; 0 for none.
    pub sharing: u16,
    /// The place in the device map of the interface behind which it is.
    pub egress: u8,
    /// IP protocol number.
    pub protocol: u8,
    /// The longest IP packet that the way there takes, in bytes, outer headers included.
    pub mtu: u16,
    /// The VLAN tags that frames carry there.
    pub tags: Tags,
    /// MAC of the backend, or of the router on the way to it. All of it lies in one word.
    pub destination: Mac,
    /// MAC of our interface.
    pub source: Mac,
    /// [`BackendState`].
    pub state: u8,
    /// [`Forward`].
    pub forward: u8,
    /// What a one's complement sum changes by when the server's address becomes the VIP's, see
    /// [`Backend::translating`].
    pub difference: u16,
}

// SAFETY: the fields' sizes add up to the checked size, so there is no padding;
// integers and byte arrays take every bit pattern.
unsafe impl Record for Backend {}
const _: () = assert!(16 + 16 + 8 + 2 + 2 + 4 + 6 + 6 + 4 == size_of::<Backend>());
const _: () = assert!(MAX_INTERFACES <= 1 << 8);
const _: () = assert!(size_of::<Backend>() == 64);

impl Backend {
    /// A number that no backend has.
    pub const FREE: Backend = Backend {
        address: [0; 4],
        vip: [0; 4],
        port: 0,
        vip_port: 0,
        service: 0,
        sharing: 0,
        egress: 0,
        protocol: 0,
        mtu: 0,
        tags: Tags::NONE,
        destination: [0; 6],
        source: [0; 6],
        state: BackendState::Free as u8,
        forward: 0,
        difference: 0,
    };

    /// The same, with the difference between its two addresses.
    #[must_use]
    pub const fn translating(self) -> Self {
        let difference = Delta::new().eight(self.address, self.vip).folded();
        Backend { difference, ..self }
    }
}
