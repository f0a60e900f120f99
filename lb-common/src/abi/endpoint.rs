use super::{Address, Family, Record};
use crate::{
    hash::{FlowKeys, Seed},
    limits::MAX_VIP_RANGES,
    wheel::{Index, Slot},
};

/// What an endpoint is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Kind {
    /// A service: VIP, port, protocol. Of a port range the first port; of all ports 0.
    Service = 1,
    /// A VIP or an address of the `full-nat` pool; port and protocol are zero.
    Vip = 2,
    /// A server of a `nat` service: address, port, protocol. Port 0 for one whose
    /// packets keep their port.
    Server = 3,
}

/// Where a service's flows are kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(u8)]
pub enum Keeping {
    /// In the flow table.
    Flows = 0,
    /// With the source port that each has (`full-nat`).
    Ports = 1,
    /// In the flow table, but only while their place in the wheel changes hands, see
    /// [`Slot`]. For steady indexes ([`Index::is_steady`]), and modes whose answers don't
    /// come back through us.
    Changes = 2,
}

impl Keeping {
    /// From the byte in a record; what it doesn't know is [`Keeping::Flows`].
    #[must_use]
    #[inline(always)]
    pub const fn from_byte(byte: u8) -> Self {
        match byte {
            1 => Keeping::Ports,
            2 => Keeping::Changes,
            _ => Keeping::Flows,
        }
    }
}

/// Something that a packet's source or destination may be.
///
/// The record lies in the slot that [`crate::hash::slot`] gives for its key with
/// its group's pilot; userspace chooses pilots so that no two share a slot. A
/// slot whose selector is 0 is free.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct Endpoint {
    /// The address.
    pub address: Address,
    /// Port, protocol, kind and family in one word, see [`selector`].
    pub selector: u32,
    /// Service: the [`Index`] of its scheduler. VIP: 1 more than its place in the
    /// `full-nat` pool, or 0 for one that is in none.
    pub index: u8,
    /// Service: [`Keeping`].
    pub keeping: u8,
    /// VIP: which of its ranges are of TCP services, a bit each.
    pub tcp_ranges: u8,
    /// VIP: which of its ranges are of UDP services.
    pub udp_ranges: u8,
    /// Service: wheel, number, length of the client's prefix for [`Index::Source`], and
    /// two words of seed. Server: 0, number, 0, and the
    /// seed. VIP: number of its group, and four words of two [`Range`]s each.
    pub detail: [u64; 5],
}

/// A range of ports, both ends included, in host byte order.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Range {
    /// The first port.
    pub first: u16,
    /// The last port.
    pub last: u16,
}

impl Range {
    /// In one word.
    #[must_use]
    pub const fn bits(self) -> u32 {
        self.first as u32 | (self.last as u32) << 16
    }

    /// From the form that [`Range::bits`] gives.
    #[must_use]
    #[inline(always)]
    pub const fn from_bits(bits: u32) -> Self {
        Range {
            first: bits as u16,
            last: (bits >> 16) as u16,
        }
    }
}

/// Where a service's wheel lies. One word, so that a wheel is replaced whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C, align(8))]
pub struct Wheel {
    /// Its first chunk.
    pub chunk: u32,
    /// How many entries it has; 0 when no backend takes new connections.
    pub length: u32,
}

impl Wheel {
    /// In one word.
    #[must_use]
    pub const fn bits(self) -> u64 {
        self.chunk as u64 | (self.length as u64) << 32
    }

    /// From the form that [`Wheel::bits`] gives.
    #[must_use]
    #[inline(always)]
    pub const fn from_bits(bits: u64) -> Self {
        Wheel {
            chunk: bits as u32,
            length: (bits >> 32) as u32,
        }
    }
}

/// Wheel entries of one chunk: a cache line.
pub const WHEEL_CHUNK: u32 = 16;

/// A cache line of a wheel.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C, align(64))]
pub struct WheelChunk(pub [Slot; WHEEL_CHUNK as usize]);

/// Port (as it lies in the packet), kind, family and protocol in one word, from the lowest bits up.
#[must_use]
#[inline(always)]
pub const fn selector(family: Family, port: u16, protocol: u8, kind: Kind) -> u32 {
    selector_of(family, port, carried(protocol), kind)
}

/// An IP protocol number where a selector has it: in the uppermost byte of a word, as the IPv4 header
/// has it too.
#[must_use]
#[inline(always)]
pub const fn carried(protocol: u8) -> u32 {
    (protocol as u32) << PROTOCOL_BIT
}

/// A selector, of a protocol as [`carried`] gives it.
#[must_use]
#[inline(always)]
pub const fn selector_of(family: Family, port: u16, carried: u32, kind: Kind) -> u32 {
    port as u32 | (kind as u32) << KIND_BIT | (family as u32) << FAMILY_BIT | carried
}

const KIND_BIT: u32 = 16;
const FAMILY_BIT: u32 = 23;
const PROTOCOL_BIT: u32 = 24;

/// The number of the kind of an endpoint with this selector.
#[must_use]
pub const fn kind_of(selector: u32) -> u32 {
    selector >> KIND_BIT & 0x7f
}

/// Its IP protocol number; 0 for a VIP.
#[must_use]
#[inline(always)]
pub const fn protocol_of(selector: u32) -> u8 {
    (selector >> PROTOCOL_BIT) as u8
}

/// The family of an endpoint with this selector.
#[must_use]
pub const fn family_of(selector: u32) -> Family {
    if selector >> FAMILY_BIT & 1 == 0 {
        Family::V4
    } else {
        Family::V6
    }
}

impl Endpoint {
    /// A slot that holds nothing.
    pub const FREE: Endpoint = Endpoint {
        address: [0; 4],
        selector: 0,
        index: 0,
        keeping: 0,
        tcp_ranges: 0,
        udp_ranges: 0,
        detail: [0; 5],
    };

    /// A service, of flows that are hashed with `keys`.
    #[must_use]
    #[allow(clippy::too_many_arguments, reason = "a record has as many fields")]
    pub const fn service(
        keys: &FlowKeys,
        family: Family,
        vip: Address,
        port: u16,
        protocol: u8,
        keeping: Keeping,
        index: Index,
        number: u32,
        wheel: Wheel,
    ) -> Self {
        let seed = keys.seed(family, vip, port, protocol);
        Endpoint {
            address: vip,
            selector: selector(family, port, protocol, Kind::Service),
            index: index as u8,
            keeping: keeping as u8,
            detail: [wheel.bits(), number as u64, 0, seed.0[0], seed.0[1]],
            ..Endpoint::FREE
        }
    }

    /// A VIP of a group, held as long as that group's [`Lease`](super::Lease) says. `pool`
    /// is its place in the `full-nat` pool.
    #[must_use]
    pub const fn vip(family: Family, vip: Address, group: u32, pool: Option<u8>) -> Self {
        Endpoint {
            address: vip,
            selector: selector(family, 0, 0, Kind::Vip),
            index: match pool {
                Some(place) => place + 1,
                None => 0,
            },
            detail: [group as u64, 0, 0, 0, 0],
            ..Endpoint::FREE
        }
    }

    /// The VIP with these port ranges: each with whether a TCP and whether a UDP service
    /// has it. The first that fits is taken, so all ports come last. At most
    /// [`MAX_VIP_RANGES`]; more are left out.
    #[must_use]
    pub fn with_ranges(mut self, ranges: &[(Range, bool, bool)]) -> Self {
        for (place, &(range, tcp, udp)) in ranges.iter().take(MAX_VIP_RANGES as usize).enumerate() {
            self.detail[1 + place / 2] |= u64::from(range.bits()) << (place % 2 * 32);
            self.tcp_ranges |= u8::from(tcp) << place;
            self.udp_ranges |= u8::from(udp) << place;
        }
        self
    }

    /// A server that is `backend`, whose service has this seed, in a `nat` service.
    #[must_use]
    pub const fn server(
        family: Family,
        address: Address,
        port: u16,
        protocol: u8,
        backend: u16,
        seed: Seed,
    ) -> Self {
        Endpoint {
            address,
            selector: selector(family, port, protocol, Kind::Server),
            detail: [0, backend as u64, 0, seed.0[0], seed.0[1]],
            ..Endpoint::FREE
        }
    }

    /// Service: its wheel.
    #[must_use]
    pub const fn wheel(&self) -> Wheel {
        Wheel::from_bits(self.detail[0])
    }

    /// The service with another wheel.
    #[must_use]
    pub const fn with_wheel(mut self, wheel: Wheel) -> Self {
        self.detail[0] = wheel.bits();
        self
    }

    /// Service: its number. Server: the number of the first backend that it is.
    #[must_use]
    pub const fn number(&self) -> u32 {
        self.detail[1] as u32
    }

    /// The service, which knows clients by the first `prefix` bits of their addresses.
    #[must_use]
    pub const fn with_prefix(mut self, prefix: u8) -> Self {
        self.detail[2] = prefix as u64;
        self
    }

    /// Service: how many bits of its clients' addresses [`Index::Source`] looks at.
    #[must_use]
    pub const fn prefix(&self) -> u8 {
        self.detail[2] as u8
    }

    /// Service: its part of its flows' hash. Server: that of its first backend's service.
    #[must_use]
    pub const fn seed(&self) -> Seed {
        Seed([self.detail[3], self.detail[4]])
    }

    /// The VIP, which moves with another group.
    #[must_use]
    pub const fn in_group(mut self, group: u32) -> Self {
        self.detail[0] = group as u64;
        self
    }

    /// VIP: the number of the group that it moves with.
    #[must_use]
    pub const fn group(&self) -> u32 {
        self.detail[0] as u32
    }
}

// SAFETY: the fields' sizes add up to the checked size, so there is no padding;
// integers take every bit pattern.
unsafe impl Record for Endpoint {}
const _: () = assert!(16 + 4 + 4 + 5 * 8 == size_of::<Endpoint>());
const _: () = assert!(size_of::<Endpoint>() == 64);
const _: () = assert!(MAX_VIP_RANGES == 8, "four words of two");

// SAFETY: 16 slots, each one u32, fill the checked 64.
unsafe impl Record for WheelChunk {}
const _: () = assert!(size_of::<WheelChunk>() == 64);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_lie_in_their_order() {
        let (a, b) = (
            Range {
                first: 80,
                last: 90,
            },
            Range {
                first: 0,
                last: 65_535,
            },
        );
        let vip = Endpoint::vip(Family::V6, [1, 2, 3, 4], 7, Some(0));
        let vip = vip.with_ranges(&[(a, true, false), (a, false, true), (b, true, true)]);
        assert_eq!(
            (vip.tcp_ranges, vip.udp_ranges, vip.index),
            (0b101, 0b110, 1)
        );
        assert_eq!(Range::from_bits(vip.detail[1] as u32), a);
        assert_eq!(Range::from_bits((vip.detail[1] >> 32) as u32), a);
        assert_eq!(Range::from_bits(vip.detail[2] as u32), b);
        assert_eq!(vip.group(), 7);
    }

    #[test]
    fn families_have_selectors_of_their_own() {
        let [four, six] = [Family::V4, Family::V6].map(|f| selector(f, 80, 6, Kind::Server));
        assert_ne!(four, six);
        assert_eq!((family_of(four), family_of(six)), (Family::V4, Family::V6));
    }
}
