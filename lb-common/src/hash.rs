//! Hashes: one keyed, for flows; one plain, for the endpoint table.

/// Secret keys of the flow hash, random for each cluster. They don't change
/// while a flow table lives.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(C)]
pub struct FlowKeys(pub [u64; 10]);

/// A 5-tuple from the client to the VIP; addresses and ports as they lie in the
/// packet, read with the machine's own loads.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Tuple {
    /// The client's address.
    pub client: u32,
    /// The virtual IP.
    pub vip: u32,
    /// The client's port.
    pub client_port: u16,
    /// The service's port.
    pub vip_port: u16,
    /// IP protocol number.
    pub protocol: u8,
}

impl FlowKeys {
    /// The keyed 64-bit hash of a flow.
    ///
    /// Two strongly universal 32-bit hashes (multilinear-HM: Lemire and Kaser,
    /// "Strongly universal string hashing is fast", 2014), so for whoever
    /// doesn't know the keys any two tuples collide in n of its bits with
    /// probability 2⁻ⁿ; then a bijection, which keeps that and breaks up the
    /// regular spacing that neighbouring ports and addresses would have.
    #[must_use]
    #[inline(always)]
    pub const fn hash(&self, tuple: Tuple) -> u64 {
        let a = tuple.client as u64;
        let b = tuple.vip as u64;
        let c = tuple.client_port as u64 | (tuple.vip_port as u64) << 16;
        let d = tuple.protocol as u64;
        let high = multilinear(
            [self.0[0], self.0[1], self.0[2], self.0[3], self.0[4]],
            a,
            b,
            c,
            d,
        );
        let low = multilinear(
            [self.0[5], self.0[6], self.0[7], self.0[8], self.0[9]],
            a,
            b,
            c,
            d,
        );
        mix(high >> 32 << 32 | low >> 32)
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

    fn tuple(client: u32, client_port: u16) -> Tuple {
        Tuple {
            client,
            vip: 0x0a71_00cb,
            client_port,
            vip_port: 0x5000,
            protocol: 6,
        }
    }

    /// Buckets of 8 slots at half load: how many of 2^16 neighbouring flows find no place.
    fn overflow(tuples: impl Iterator<Item = Tuple>) -> usize {
        let mut load = vec![0usize; 1 << 14];
        for tuple in tuples {
            load[(KEYS.hash(tuple) >> (64 - 14)) as usize] += 1;
        }
        load.iter().map(|&n| n.saturating_sub(8)).sum()
    }

    #[test]
    fn neighbouring_ports_and_addresses_spread_like_random_ones() {
        // Poisson with mean 4: 0.7 % of 65,536 overflow, 465 ± 60.
        let ports = overflow((0..=u16::MAX).map(|port| tuple(0x0100_000a, port.to_be())));
        let addresses = overflow((0..1u32 << 16).map(|n| tuple((0x0a00_0000 + n).to_be(), 0x3930)));
        assert!((300..650).contains(&ports), "{ports}");
        assert!((300..650).contains(&addresses), "{addresses}");
    }

    #[test]
    fn every_input_bit_changes_about_half_the_output() {
        let flip = |bit: u32| {
            let t = tuple(0x0100_000a, 0x3930);
            match bit {
                0..32 => Tuple {
                    client: t.client ^ 1 << bit,
                    ..t
                },
                32..48 => Tuple {
                    client_port: t.client_port ^ 1 << (bit - 32),
                    ..t
                },
                48..64 => Tuple {
                    vip_port: t.vip_port ^ 1 << (bit - 48),
                    ..t
                },
                _ => Tuple {
                    protocol: t.protocol ^ 1 << (bit - 64),
                    ..t
                },
            }
        };
        let base = KEYS.hash(tuple(0x0100_000a, 0x3930));
        let changed: Vec<u32> = (0..72)
            .map(|bit| (KEYS.hash(flip(bit)) ^ base).count_ones())
            .collect();
        assert!(
            changed.iter().all(|&n| (12..=52).contains(&n)),
            "{changed:?}"
        );
        let mean = f64::from(changed.iter().sum::<u32>()) / 72.0;
        assert!((28.0..36.0).contains(&mean), "{mean}");
    }

    #[test]
    fn other_keys_give_another_order() {
        let mut other = KEYS;
        other.0[1] ^= 1 << 40;
        let same = (0..10_000u16)
            .filter(|&port| {
                let t = tuple(1, port);
                KEYS.hash(t) >> 50 == other.hash(t) >> 50
            })
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
