//! Greetings: what two nodes must have in common.

use std::fmt;

use super::reader::Reader;
use crate::replicate::seal::Session;

/// What two nodes' tables must have in common for one to follow the other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Terms {
    /// Slots of the flow table.
    pub flow_slots: u64,
    /// [`lb_common::abi::Pool::bits`]: how `full-nat`'s ports lie.
    pub pool: u64,
    /// A digest of the flow table's keys: with others, a flow lies elsewhere.
    pub flow_keys: [u8; 16],
    /// The addresses of the `full-nat` pool, as a digest.
    pub pool_addresses: [u8; 16],
    /// Nanoseconds of a tick. May differ, for ages are converted; never 0.
    pub tick_ns: u64,
}

/// In what two nodes' [`Terms`] differ.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Difference {
    /// Slots of the flow table.
    FlowSlots {
        /// The peer's.
        theirs: u64,
        /// This node's.
        ours: u64,
    },
    /// The shape of the `full-nat` pool.
    Pool,
    /// The keys of the flow table.
    FlowKeys,
    /// The addresses of the `full-nat` pool.
    PoolAddresses,
}

impl fmt::Display for Difference {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Difference::FlowSlots { theirs, ours } => write!(
                f,
                "its flow table has {theirs} slots, this node's {ours}; set the same `max_flows`"
            ),
            Difference::Pool => {
                f.write_str("its full-nat pool has other ports or another number of addresses")
            }
            Difference::FlowKeys => f.write_str(
                "its flow table has other keys; both must be made with the same cluster key",
            ),
            Difference::PoolAddresses => f.write_str("its full-nat pool has other addresses"),
        }
    }
}

impl Terms {
    /// The first thing in which the peer's terms differ from these.
    #[must_use]
    pub fn difference(&self, theirs: &Terms) -> Option<Difference> {
        if self.flow_slots != theirs.flow_slots {
            return Some(Difference::FlowSlots {
                theirs: theirs.flow_slots,
                ours: self.flow_slots,
            });
        }
        let others = [
            (self.flow_keys == theirs.flow_keys, Difference::FlowKeys),
            (self.pool == theirs.pool, Difference::Pool),
            (
                self.pool_addresses == theirs.pool_addresses,
                Difference::PoolAddresses,
            ),
        ];
        others
            .into_iter()
            .find_map(|(same, difference)| (!same).then_some(difference))
    }

    fn write(&self, body: &mut Vec<u8>) {
        for number in [self.flow_slots, self.pool, self.tick_ns] {
            body.extend_from_slice(&number.to_be_bytes());
        }
        body.extend_from_slice(&self.flow_keys);
        body.extend_from_slice(&self.pool_addresses);
    }

    fn read(from: &mut Reader<'_>) -> Option<Self> {
        let [flow_slots, pool, tick_ns] = [from.u64()?, from.u64()?, from.u64()?];
        Some(Terms {
            flow_slots,
            pool,
            tick_ns: (tick_ns != 0).then_some(tick_ns)?,
            flow_keys: from.take()?,
            pool_addresses: from.take()?,
        })
    }
}

/// The body of the standby's greeting, or of the answer with the number that it answers. Both are
/// as long as the other, so nobody gets more by a greeting than it sent.
#[must_use]
pub fn greeting(echo: &Session, terms: &Terms) -> Vec<u8> {
    let mut body = echo.to_vec();
    terms.write(&mut body);
    body
}

/// The other way round: the number that it answers, and the terms.
#[must_use]
pub fn read_greeting(body: &[u8]) -> Option<(Session, Terms)> {
    let mut from = Reader(body);
    let read = (from.take()?, Terms::read(&mut from)?);
    from.0.is_empty().then_some(read)
}
