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

/// Bytes of a link layer without tags.
const LINK: u16 = 14;

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
    /// What the data plane would else work out for each packet, see [`Backend::hinted`]. `nat` and
    /// `full-nat`: what a one's complement sum changes by when the server's address becomes the
    /// VIP's. Other modes: how long a frame without tags may be, in bytes, that goes to it without
    /// another question; 0 for none.
    pub hint: u16,
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
        hint: 0,
    };

    /// The same, with the hint that its other fields give.
    #[must_use]
    pub const fn hinted(self) -> Self {
        let hint = match Forward::from_byte(self.forward) {
            Some(Forward::Nat | Forward::FullNat) => {
                Delta::new().eight(self.address, self.vip).folded()
            }
            Some(mode) if self.state >= BackendState::Draining as u8 && self.tags.0 == 0 => self
                .mtu
                .saturating_sub(mode.overhead())
                .saturating_add(LINK),
            Some(_) | None => 0,
        };
        Backend { hint, ..self }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A backend by a way of 1,500 bytes.
    fn backend(forward: Forward, state: BackendState, tags: Tags) -> Backend {
        Backend {
            mtu: 1_500,
            forward: forward as u8,
            state: state as u8,
            tags,
            ..Backend::FREE
        }
    }

    #[test]
    fn a_hint_is_the_longest_frame_that_goes_without_another_question() {
        let tagged = Tags::NONE.within(7, false);
        let hint = |forward, state, tags| backend(forward, state, tags).hinted().hint;
        let rows = [
            (Forward::Dsr, 1_514),
            (Forward::Ip4, 1_494),
            (Forward::Ip6, 1_474),
            (Forward::Gue4, 1_486),
            (Forward::Gue6, 1_466),
        ];
        for (forward, longest) in rows {
            for state in [BackendState::Active, BackendState::Draining] {
                assert_eq!(hint(forward, state, Tags::NONE), longest, "{forward:?}");
                assert_eq!(hint(forward, state, tagged), 0, "{forward:?} with tags");
            }
            for state in [BackendState::Down, BackendState::Free] {
                assert_eq!(hint(forward, state, Tags::NONE), 0, "{forward:?} {state:?}");
            }
        }
        assert_eq!(Backend::FREE.hinted().hint, 0);
    }

    #[test]
    fn where_addresses_are_translated_it_is_their_difference() {
        // 10.0.0.1 becomes 192.0.2.1: c000 - 0a00 and 0201 - 0001 are b600 and 0200, together b800.
        let difference = u16::from_ne_bytes([0xb8, 0x00]);
        for forward in [Forward::Nat, Forward::FullNat] {
            for state in [BackendState::Active, BackendState::Down] {
                let translated = Backend {
                    address: [u32::from_ne_bytes([10, 0, 0, 1]), 0, 0, 0],
                    vip: [u32::from_ne_bytes([192, 0, 2, 1]), 0, 0, 0],
                    ..backend(forward, state, Tags::NONE)
                };
                assert_eq!(
                    translated.hinted().hint,
                    difference,
                    "{forward:?} {state:?}"
                );
            }
        }
    }

    #[test]
    fn a_way_narrower_than_its_outer_headers_takes_link_layers_only() {
        let mut narrow = backend(Forward::Gue6, BackendState::Active, Tags::NONE);
        narrow.mtu = 40;
        assert_eq!(narrow.hinted().hint, LINK);
    }
}
