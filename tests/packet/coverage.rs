//! No verdict without a row.

use std::collections::BTreeSet;

use lb_common::verdict::Verdict;

use crate::{
    arp, changing, drops, dsr, echo, foreign, fragments, full_nat, headroom, icmp_errors, ipv6,
    nat_forward, nat_return, pass, ranges,
    row::{Row, check},
    solicitation, tags, too_big, tunnel,
};

/// Every table whose rows need nothing from each other.
pub fn tables() -> Vec<Vec<Row>> {
    vec![
        arp::rows(),
        changing::rows(),
        drops::rows(),
        dsr::rows(),
        echo::rows(),
        foreign::rows(),
        fragments::rows(),
        full_nat::rows(),
        icmp_errors::rows(),
        ipv6::rows(),
        nat_forward::rows(),
        nat_return::rows(),
        pass::rows(),
        ranges::rows(),
        solicitation::rows(),
        tags::rows(),
        too_big::rows(),
        tunnel::rows(),
    ]
}

#[test]
fn every_verdict_has_a_row() {
    let mut seen: BTreeSet<Verdict> = tables().iter().flat_map(|rows| check(rows)).collect();
    // These need to see what came out before they know what must go in.
    seen.extend(icmp_errors::relayed());
    seen.extend(headroom::exhaust());
    let all: BTreeSet<Verdict> = Verdict::ALL.iter().copied().collect();
    let unseen: Vec<_> = all.difference(&seen).collect();
    assert!(unseen.is_empty(), "no row has {unseen:?}");
}
