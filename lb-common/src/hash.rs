//! Hashes: one keyed, for flows; one plain, for the endpoint table.

/// Secret keys of the flow hash, random for each cluster. They don't change
/// while a flow table lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[repr(C)]
pub struct FlowKeys(pub [u64; 10]);

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
    pub const fn seed(&self, vip: u32, vip_port: u16, protocol: u8) -> Seed {
        Seed([
            self.word(vip, vip_port, protocol, 1),
            self.word(vip, vip_port, protocol, 2),
        ])
    }

    const fn word(&self, vip: u32, vip_port: u16, protocol: u8, which: u64) -> u64 {
        let (a, b, c) = (vip as u64, vip_port as u64, protocol as u64);
        let k = &self.0;
        let high = multilinear([k[0], k[1], k[2], k[3], k[4]], a, b, c, which);
        let low = multilinear([k[5], k[6], k[7], k[8], k[9]], a, b, c, which);
        mix(high >> 32 << 32 | low >> 32)
    }
}

impl Seed {
    /// The keyed 64-bit hash of the flow from a client, whose address and port are as they
    /// lie in a packet.
    ///
    /// For whoever doesn't know the keys, two flows of a service collide in all bits with
    /// probability at most 2⁻³³: where the ports differ the equation is linear in the
    /// first word with a factor below 2¹⁶, and where they are equal it is linear in the
    /// second with one below 2³². Two flows of different services collide like random
    /// words. The bijection at the end breaks up the regular spacing that neighbouring
    /// ports and addresses would have.
    #[must_use]
    #[inline(always)]
    pub const fn hash(self, client: u32, client_port: u16) -> u64 {
        let address = self.0[0].wrapping_add(client as u64);
        let port = self.0[1].wrapping_add(client_port as u64);
        mix(address.wrapping_mul(port))
    }
}

#[inline(always)]
const fn multilinear(k: [u64; 5], a: u64, b: u64, c: u64, d: u64) -> u64 {
    let ab = k[0].wrapping_add(a).wrapping_mul(k[1].wrapping_add(b));
    let cd = k[2].wrapping_add(c).wrapping_mul(k[3].wrapping_add(d));
    ab.wrapping_add(cd).wrapping_add(k[4])
}

/// A bijection of 64-bit words whose every output bit depends on every input bit
/// (the last step of MurmurHash3, with one multiplication less).
#[inline(always)]
const fn mix(x: u64) -> u64 {
    let x = (x ^ x >> 32).wrapping_mul(0xff51_afd7_ed55_8ccd);
    x ^ x >> 29
}

/// Maps `hash` to `0..length` without a division (multiply and shift).
#[must_use]
#[inline(always)]
pub const fn reduce(hash: u64, length: u32) -> u32 {
    (((hash >> 16 & 0xffff_ffff) * length as u64) >> 32) as u32
}

/// The plain hash of an endpoint's key. Its top bits choose a group; with the
/// group's pilot it chooses a slot.
#[must_use]
#[inline(always)]
pub const fn endpoint(address: u32, selector: u32) -> u64 {
    let x = (address as u64 | (selector as u64) << 32).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (x ^ x >> 32).wrapping_mul(0xff51_afd7_ed55_8ccd)
}

/// The group of an endpoint, below 2^`bits`.
#[must_use]
#[inline(always)]
pub const fn group(hash: u64, bits: u32) -> u32 {
    (hash >> (64 - bits)) as u32
}

/// The slot of an endpoint whose group has this pilot, below 2^`bits`.
#[must_use]
#[inline(always)]
pub const fn slot(hash: u64, pilot: u16, bits: u32) -> u32 {
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
    ]);

    const VIP: u32 = 0x0a71_00cb;

    fn seed() -> Seed {
        KEYS.seed(VIP, 0x5000, 6)
    }

    /// Buckets of 8 slots at half load: how many of 2^16 neighbouring flows find no place.
    fn overflow(flows: impl Iterator<Item = (u32, u16)>) -> usize {
        let mut load = vec![0usize; 1 << 14];
        for (client, port) in flows {
            load[(seed().hash(client, port) >> (64 - 14)) as usize] += 1;
        }
        load.iter().map(|&n| n.saturating_sub(8)).sum()
    }

    #[test]
    fn neighbouring_ports_and_addresses_spread_like_random_ones() {
        // Poisson with mean 4: 0.7 % of 65,536 overflow, 465 ± 60.
        let ports = overflow((0..=u16::MAX).map(|port| (0x0100_000a, port.to_be())));
        let addresses = overflow((0..1u32 << 16).map(|n| ((0x0a00_0000 + n).to_be(), 0x3930)));
        let both = overflow((0..1u32 << 16).map(|n| {
            let client = (0x0a00_0000 + (n & 0xff)).to_be();
            (client, (32_768 + (n >> 8) as u16).to_be())
        }));
        for overflow in [ports, addresses, both] {
            assert!((300..650).contains(&overflow), "{ports} {addresses} {both}");
        }
    }

    #[test]
    fn every_input_bit_changes_about_half_the_output() {
        let (client, port) = (0x0100_000a, 0x3930);
        let base = seed().hash(client, port);
        let other = |bit: u32| match bit {
            0..32 => seed().hash(client ^ 1 << bit, port),
            32..48 => seed().hash(client, port ^ 1 << (bit - 32)),
            48..64 => KEYS
                .seed(VIP, 0x5000 ^ 1 << (bit - 48), 6)
                .hash(client, port),
            64..96 => KEYS
                .seed(VIP ^ 1 << (bit - 64), 0x5000, 6)
                .hash(client, port),
            _ => KEYS.seed(VIP, 0x5000, 17).hash(client, port),
        };
        let changed: Vec<u32> = (0..97)
            .map(|bit| (other(bit) ^ base).count_ones())
            .collect();
        assert!(
            changed.iter().all(|&n| (12..=52).contains(&n)),
            "{changed:?}"
        );
        let mean = f64::from(changed.iter().sum::<u32>()) / 97.0;
        assert!((28.0..36.0).contains(&mean), "{mean}");
    }

    #[test]
    fn no_two_of_a_million_flows_are_the_same() {
        let mut hashes: Vec<u64> = (0..1u32 << 20)
            .map(|n| seed().hash((0x0a00_0000 + (n >> 4)).to_be(), (n & 15) as u16))
            .collect();
        hashes.sort_unstable();
        hashes.dedup();
        assert_eq!(hashes.len(), 1 << 20);
    }

    #[test]
    fn other_keys_give_another_order() {
        let mut other = KEYS;
        other.0[1] ^= 1 << 40;
        let other = other.seed(VIP, 0x5000, 6);
        let same = (0..10_000u16)
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
        fn an_endpoint_lies_inside_its_table(address: u32, selector: u32, pilot: u16) {
            let hash = endpoint(address, selector);
            prop_assert!(group(hash, 15) < 1 << 15);
            prop_assert!(slot(hash, pilot, 17) < 1 << 17);
        }
    }
}
