//! How many of what. The data plane's maps have these sizes, and the
//! configuration is checked against them.

/// Services of one node.
pub const MAX_SERVICES: u32 = 4_096;
/// Backends of one node, all services together. Backend numbers are 1 to this.
pub const MAX_BACKENDS: u32 = 65_535;
/// `nat` services that may share one server address, port and protocol: the
/// return path tries each in turn.
pub const MAX_NAT_SHARED: u32 = 4;
/// Weight of a backend; the least is 1.
pub const MAX_WEIGHT: u16 = 256;
/// Entries of one wheel: a prime, as Maglev wants it.
pub const MAX_WHEEL: u32 = 65_537;
/// Entries of all wheels together, with room for the replacements.
pub const WHEEL_ENTRIES: u32 = 1 << 23;
/// CPUs that count, each for itself, by their numbers: of all that the machine may have. With
/// more the largest region of what they count would be beyond what the verifier lets a
/// program address.
pub const MAX_CPUS: u32 = 512;
/// Interfaces that one node forwards between.
pub const MAX_INTERFACES: u32 = 64;
/// Port ranges of one VIP, those of both protocols together.
pub const MAX_VIP_RANGES: u32 = 8;
/// Groups of VIPs that move together, with the one of those that don't; a power of two.
pub const MAX_GROUPS: u32 = 64;
/// Bytes of the ring in which new connections are told: 4,096 of them.
pub const WATCH_RING: u32 = 1 << 18;
/// Addresses of the `full-nat` pool, both families together.
pub const MAX_POOL: u32 = 64;
/// Buckets of eight ports that one address of the pool can have.
pub const MAX_PORT_BUCKETS: u32 = 65_536 / 8;
/// Fragmented packets whose later fragments are awaited at one time.
pub const MAX_FRAGMENTED: u32 = 16_384;
/// Extension headers of an IPv6 packet that are followed.
pub const MAX_EXTENSION_HEADERS: u32 = 4;
/// Bytes of one IPv6 extension header that is followed.
pub const MAX_EXTENSION_LENGTH: u32 = 256;
/// Routes of each family that the return path of `nat` knows.
pub const MAX_ROUTES: u32 = 16;
/// On-link neighbours of each family that the return path of `nat` knows.
pub const MAX_NEIGHBOURS: u32 = 16_384;
/// Slots of the endpoint table (services, VIPs and `nat` servers), a power of two.
pub const ENDPOINT_SLOTS: u32 = 1 << 17;
/// Groups of the endpoint table, each with a pilot of its own, a power of two.
pub const ENDPOINT_GROUPS: u32 = 1 << 15;
/// Bits of the filter that tells which addresses are in the endpoint table, a power of two.
pub const KNOWN_BITS: u32 = 1 << 20;
/// Fewest and most flows that a flow table can be asked to hold.
pub const FLOWS: core::ops::RangeInclusive<u32> = 1_024..=(1 << 25);

/// Buckets of a flow table that is to hold `flows` flows: twice as many slots,
/// rounded up to a power of two, so that few buckets overflow.
#[must_use]
pub const fn flow_buckets(flows: u32) -> u32 {
    let slots = (flows as u64 * 2).next_power_of_two();
    (slots / crate::flow::BUCKET_SLOTS as u64) as u32
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_flow_table_has_two_slots_a_flow() {
        assert_eq!(flow_buckets(1_000_000), 1 << 18);
        assert_eq!(flow_buckets(*FLOWS.start()), 256);
        assert_eq!(flow_buckets(*FLOWS.end()), 1 << 23);
    }
}
