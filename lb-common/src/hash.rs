//! Hashes: one keyed, for flows; one plain, for the endpoint table.

use crate::{
    abi::{Address, Family},
    flow::FINGERPRINT_BITS,
};

/// Words of [`FlowKeys`].
pub const FLOW_KEYS: usize = 15;

/// Secret keys of the flow hash, random for each cluster. They don't change
/// while a flow table lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct FlowKeys(pub [u64; FLOW_KEYS]);

/// The keys that fold an IPv6 address: the data plane has them as read-only data.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct FoldKeys(pub [u64; 5]);

/// What a service contributes to the hash of its flows: random words that userspace
/// makes of the keys once, and the data plane finds in the service's record.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct Seed(pub [u64; 2]);

impl FlowKeys {
    /// The seed of a service; address and port as they lie in a packet. Each half of each
    /// word is a strongly universal hash (multilinear-HM: Lemire and Kaser, "Strongly
    /// universal string hashing is fast", 2014), so seeds of any two services are
    /// independent for whoever doesn't know the keys.
    #[must_use]
    pub const fn seed(&self, family: Family, vip: Address, vip_port: u16, protocol: u8) -> Seed {
        let vip = match family {
            Family::V4 => vip[0] as u64,
            Family::V6 => self.fold_keys().fold(vip),
        };
        let rest = vip_port as u64 | (protocol as u64) << 16 | (family as u64) << 24;
        Seed([self.word(vip, rest, 1), self.word(vip, rest, 2)])
    }

    const fn word(&self, vip: u64, rest: u64, which: u64) -> u64 {
        let parts = [vip & LOW, rest, vip >> 32, which];
        let k = &self.0;
        let high = multilinear([k[0], k[1], k[2], k[3], k[4]], parts);
        let low = multilinear([k[5], k[6], k[7], k[8], k[9]], parts);
        mix(high >> 32 << 32 | low >> 32)
    }

    /// The keys that fold IPv6 addresses.
    #[must_use]
    pub const fn fold_keys(&self) -> FoldKeys {
        let mut keys = [0; 5];
        let mut at = 0;
        while at < keys.len() {
            keys[at] = self.0[10 + at];
            at += 1;
        }
        FoldKeys(keys)
    }
}

impl FoldKeys {
    /// An IPv6 address in one word; the upper halves of two of them are the same with
    /// probability 2⁻³² for whoever doesn't know the keys (multilinear-HM, as for the seeds).
    #[must_use]
    #[inline(always)]
    pub const fn fold(&self, address: Address) -> u64 {
        let parts = [
            address[0] as u64,
            address[1] as u64,
            address[2] as u64,
            address[3] as u64,
        ];
        multilinear(self.0, parts)
    }
}

const LOW: u64 = 0xffff_ffff;

impl Seed {
    /// The keyed 64-bit hash of the flow from a client. `client` is an IPv4 address as it
    /// lies in the packet, or a folded IPv6 one; `ports` is the client's port, and the
    /// VIP's above it, as they lie in the packet.
    ///
    /// For whoever doesn't know the keys, two flows of a service collide in all bits with
    /// probability at most 2⁻³², or twice that for IPv6, where the folded addresses may be the
    /// same: where the ports differ the equation is linear in the
    /// first word with a factor below 2³², where the low halves of the clients differ it
    /// is linear in the second, and where only the high halves differ their factor is odd
    /// and random. Two flows of different services collide like random words. The
    /// bijection at the end breaks up the regular spacing that neighbouring ports and
    /// addresses would have.
    #[must_use]
    #[inline(always)]
    pub const fn hash(self, client: u64, ports: u32) -> u64 {
        let address = self.0[0].wrapping_add(client & LOW);
        let port = self.0[1].wrapping_add(ports as u64);
        let high = (client >> 32).wrapping_mul(self.0[0] | 1);
        mix(address.wrapping_mul(port).wrapping_add(high))
    }
}

#[inline(always)]
const fn multilinear(k: [u64; 5], parts: [u64; 4]) -> u64 {
    let [a, b, c, d] = parts;
    let ab = k[0].wrapping_add(a).wrapping_mul(k[1].wrapping_add(b));
    let cd = k[2].wrapping_add(c).wrapping_mul(k[3].wrapping_add(d));
    ab.wrapping_add(cd).wrapping_add(k[4])
}

/// A bijection of 64-bit words whose every output bit depends on every input bit
/// (the last step of MurmurHash3, with one multiplication less).
#[inline(always)]
pub(crate) const fn mix(x: u64) -> u64 {
    let x = (x ^ x >> 32).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^ x >> 29
}

const REDUCED_SHIFT: u32 = 64 - FINGERPRINT_BITS;

/// Maps `hash` to `0..length` without a division (multiply and shift). It goes by bits that
/// a flow's entry keeps, so that an entry tells its flow's place in a wheel.
#[must_use]
#[inline(always)]
pub const fn reduce(hash: u64, length: u32) -> u32 {
    (((hash << REDUCED_SHIFT >> 32) * length as u64) >> 32) as u32
}

/// The plain hash of an endpoint's key, whose top bits depend on all of it: those are its slot,
/// where its group's pilot is 0.
#[must_use]
#[inline(always)]
pub const fn endpoint(address: Address, selector: u32) -> u64 {
    // 0 for IPv4, which has nothing there.
    let low = address[2] as u64 | (address[3] as u64) << 32;
    let low = low.wrapping_mul(0xd6e8_feb8_6659_fd93);
    let low = (low ^ low >> 32).wrapping_add(address[1] as u64);
    let low = low.wrapping_mul(0xa076_1d64_78bd_642f);
    let high = address[0] as u64 | (address[1] as u64) << 32;
    let x = high ^ (selector as u64) << 32 ^ low ^ low >> 32;
    x.wrapping_mul(0x9e37_79b9_7f4a_7c15)
}

/// An endpoint's hash with its halves mixed: the lower ones, of which the top bits know nothing,
/// reach up, and the upper ones down.
#[must_use]
#[inline(always)]
pub const fn spread(hash: u64) -> u64 {
    (hash ^ hash >> 32).wrapping_mul(0xff51_afd7_ed55_8ccd)
}

/// The bit of an address in the filter of known ones, of 2^`bits`.
#[must_use]
#[inline(always)]
pub const fn known(address: Address, bits: u32) -> u32 {
    (endpoint(address, 0) >> (64 - bits)) as u32
}

/// The group of an endpoint, below 2^`bits`.
#[must_use]
#[inline(always)]
pub const fn group(hash: u64, bits: u32) -> u32 {
    (spread(hash) >> (64 - bits)) as u32
}

/// The slot of an endpoint whose group has this pilot, below 2^`bits`.
#[must_use]
#[inline(always)]
pub const fn slot(hash: u64, pilot: u16, bits: u32) -> u32 {
    if pilot == 0 {
        // One multiplication, for most packets ask for no more.
        return (hash >> (64 - bits)) as u32;
    }
    let hash = spread(hash);
    // Bits that the group doesn't depend on: 16 and up for the start, 32 and up for the
    // step, which is odd so that it reaches every slot.
    let step = (pilot as u64).wrapping_mul(hash >> 32 | 1);
    ((hash >> 16).wrapping_add(step) & ((1 << bits) - 1)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    const KEYS: FlowKeys = FlowKeys([
        0x243f_6a88_85a3_08d3,
        0x1319_8a2e_0370_7344,
        0xa409_3822_299f_31d0,
        0x082e_fa98_ec4e_6c89,
        0x4528_21e6_38d0_1377,
        0xbe54_66cf_34e9_0c6c,
        0xc0ac_29b7_c97c_50dd,
        0x3f84_d5b5_b547_0917,
        0x9216_d5d9_8979_fb1b,
        0xd131_0ba6_98df_b5ac,
        0x2ffd_72db_d01a_dfb7,
        0xb8e1_afed_6a26_7e96,
        0xba7c_9045_f12c_7f99,
        0x24a1_9947_b391_6cf7,
        0x0801_f2e2_858e_fc16,
    ]);

    const VIP: Address = [0x0a71_00cb, 0, 0, 0];
    const VIP6: Address = [0xb80d_0120, 0, 0, 0x1000_0000];

    fn seed() -> Seed {
        KEYS.seed(Family::V4, VIP, 0x5000, 6)
    }

    /// An IPv6 client, given by its four words.
    fn six(words: Address, ports: u32) -> u64 {
        let seed = KEYS.seed(Family::V6, VIP6, 0x5000, 6);
        seed.hash(KEYS.fold_keys().fold(words), ports)
    }

    /// Buckets of 8 slots at half load: how many of 2^16 neighbouring flows find no place.
    fn overflow(hashes: impl Iterator<Item = u64>) -> usize {
        let mut load = vec![0usize; 1 << 14];
        for hash in hashes {
            load[(hash >> (64 - 14)) as usize] += 1;
        }
        load.iter().map(|&n| n.saturating_sub(8)).sum()
    }

    #[test]
    fn neighbouring_ports_and_addresses_spread_like_random_ones() {
        // Poisson with mean 4: 0.7 % of 65,536 overflow, 465 ± 60.
        let hash = |client: u32, port: u16| {
            seed().hash(
                u64::from(client.to_be()),
                0x5000_0000 | u32::from(port.to_be()),
            )
        };
        let ports = overflow((0..=u16::MAX).map(|port| hash(0x0a00_0001, port)));
        let addresses = overflow((0..1u32 << 16).map(|n| hash(0x0a00_0000 + n, 0x3930)));
        let both = overflow(
            (0..1u32 << 16).map(|n| hash(0x0a00_0000 + (n & 0xff), 32_768 + (n >> 8) as u16)),
        );
        let host = |n: u32| [0xb80d_0120, 0, 0, n.to_be()];
        let six_addresses = overflow((0..1u32 << 16).map(|n| six(host(n), 0x5000_3039)));
        let six_ports = overflow((0..1u32 << 16).map(|n| six(host(1), 0x5000_0000 | n)));
        let networks = overflow((0..1u32 << 16).map(|n| six([0xb80d_0120, n, 0, 1], 0x5000_3039)));
        let all = [ports, addresses, both, six_addresses, six_ports, networks];
        for overflow in all {
            assert!((300..650).contains(&overflow), "{all:?}");
        }
    }

    #[test]
    fn every_input_bit_changes_about_half_the_output() {
        let (client, ports) = (0x0100_000a, 0x5000_3930);
        let base = seed().hash(client, ports);
        let of = |vip, port, protocol| {
            let seed = KEYS.seed(Family::V4, vip, port, protocol);
            seed.hash(client, ports)
        };
        let other = |bit: u32| match bit {
            0..32 => seed().hash(client ^ 1 << bit, ports),
            32..64 => seed().hash(client, ports ^ 1 << (bit - 32)),
            64..80 => of(VIP, 0x5000 ^ 1 << (bit - 64), 6),
            80..112 => of([VIP[0] ^ 1 << (bit - 80), 0, 0, 0], 0x5000, 6),
            _ => of(VIP, 0x5000, 17),
        };
        let mut changed: Vec<u32> = (0..113)
            .map(|bit| (other(bit) ^ base).count_ones())
            .collect();
        let client = [0xb80d_0120, 0x1234, 0, 0x0100_0000];
        let base = six(client, ports);
        changed.extend((0..128).map(|bit: usize| {
            let mut other = client;
            other[bit / 32] ^= 1 << (bit % 32);
            (six(other, ports) ^ base).count_ones()
        }));
        assert!(
            changed.iter().all(|&n| (10..=54).contains(&n)),
            "{changed:?}"
        );
        let mean = f64::from(changed.iter().sum::<u32>()) / 241.0;
        assert!((28.0..36.0).contains(&mean), "{mean}");
    }

    #[test]
    fn no_two_of_two_million_flows_are_the_same() {
        let mut hashes: Vec<u64> = (0..1u32 << 20)
            .map(|n| seed().hash(u64::from((0x0a00_0000 + (n >> 4)).to_be()), n & 15))
            .collect();
        hashes
            .extend((0..1u32 << 20).map(|n| six([0xb80d_0120, n >> 12, n >> 4 & 255, 1], n & 15)));
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), 2 << 20);
    }

    #[test]
    fn neighbouring_endpoints_have_hashes_of_their_own() {
        // Networks and hosts of a site, as what they may be.
        let selectors = [
            0x0600_5000,
            0x0601_5000,
            0x0603_5000,
            0x0002_0000,
            0x1101_3500,
        ];
        let mut hashes = Vec::new();
        for (network, host) in (0..64u32).flat_map(|n| (0..256u32).map(move |h| (n, h))) {
            let six = [0xb80d_0120, network.to_be(), 0, host.to_be()];
            let four = [(0x0a00_0000 | network << 8 | host).to_be(), 0, 0, 0];
            hashes.extend(selectors.map(|s| endpoint(six, s | 1 << 23)));
            hashes.extend(selectors.map(|s| endpoint(four, s)));
        }
        let all = hashes.len();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), all);
    }

    #[test]
    fn other_keys_give_another_order() {
        let mut other = KEYS;
        other.0[1] ^= 1 << 40;
        let other = other.seed(Family::V4, VIP, 0x5000, 6);
        let same = (0..10_000u32)
            .filter(|&port| seed().hash(1, port) >> 50 == other.hash(1, port) >> 50)
            .count();
        assert!(same < 10, "{same}");
    }

    proptest! {
        #[test]
        fn reduce_stays_below_the_length(hash: u64, length in 1u32..=65_536) {
            prop_assert!(reduce(hash, length) < length);
        }

        #[test]
        fn an_endpoint_lies_inside_its_table(address: Address, selector: u32, pilot: u16) {
            let hash = endpoint(address, selector);
            prop_assert!(group(hash, 15) < 1 << 15);
            prop_assert!(slot(hash, pilot, 17) < 1 << 17);
        }
    }
}
