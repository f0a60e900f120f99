//! No verdict without a row.

use std::collections::BTreeSet;

use lb_common::verdict::Verdict;

use crate::{arp, drops, dsr, echo, nat_forward, nat_return, pass, row::check};

#[test]
fn every_verdict_has_a_row() {
    let tables = [
        arp::rows(),
        drops::rows(),
        dsr::rows(),
        echo::rows(),
        nat_forward::rows(),
        nat_return::rows(),
        pass::rows(),
    ];
    let seen: BTreeSet<Verdict> = tables.iter().flat_map(|rows| check(rows)).collect();
    let all: BTreeSet<Verdict> = Verdict::ALL.iter().copied().collect();
    let unseen: Vec<_> = all.difference(&seen).collect();
    assert!(unseen.is_empty(), "no row has {unseen:?}");
}
