//! A driver that leaves no room for another header: a test run leaves some hundred bytes,
//! so a tunnel that ends where it begins uses it up. The kernel doesn't put a frame back
//! between the runs of one call.

use std::collections::BTreeSet;

use aya::programs::{TestRun as _, TestRunOptions};
use lb_common::{
    abi::{Backend, BackendState, Forward, Keeping, Tunnel},
    tags::Tags,
    verdict::Verdict,
    wheel::Index,
};

use crate::{
    modes::{GUE, VERSIONS, client, vip},
    packet::{Packet, arriving},
    rig::{XDP_DROP, words},
    site::{self, OWN, UDP},
};

/// The tunnel's backend.
const NUMBER: u16 = 99;

/// Sends packets round until there is no room; the verdicts that were seen.
pub fn exhaust() -> BTreeSet<Verdict> {
    let mut seen = BTreeSet::new();
    for six in VERSIONS {
        let mut rig = site::rig();
        let (family, address) = words(vip(six, 0).ip());
        let backend = Backend {
            address,
            vip: address,
            vip_port: GUE.to_be(),
            mtu: 9_000,
            tags: Tags::NONE,
            destination: OWN,
            source: OWN,
            state: BackendState::Active as u8,
            forward: if six { Forward::Gue6 } else { Forward::Gue4 } as u8,
            protocol: UDP,
            ..Backend::FREE
        };
        rig.backend(NUMBER, &backend);
        let source = words(client(six, 0).ip()).1;
        let tunnel = Tunnel {
            source,
            port: GUE.to_be(),
            ..Tunnel::NONE
        };
        rig.tunnel(NUMBER, &tunnel);
        let place = (vip(six, 0).ip(), GUE, UDP);
        rig.service_at(place, Keeping::Flows, Index::Counter, &[NUMBER]);
        assert_eq!(family, words(place.0).0);
        rig.risen();

        let frame = arriving(&Packet::udp(client(six, 1), vip(six, GUE), b"round").ip());
        let mut out = vec![0; 2_048];
        let options = TestRunOptions {
            data_in: Some(&frame),
            data_out: Some(&mut out),
            repeat: 20,
            ..TestRunOptions::new()
        };
        let program = rig.object.program("flowgate").expect("loaded");
        let result = program.test_run(options).expect("a test run");
        assert_eq!(result.return_value, XDP_DROP);
        let risen = rig.risen();
        let sent: u64 = risen
            .iter()
            .filter(|(verdict, _)| *verdict != Verdict::DropNoHeadroom)
            .map(|(_, count)| count)
            .sum();
        let each = if six { 48 } else { 28 };
        assert!((2..=256 / each).contains(&sent), "{risen:?}");
        assert_eq!(
            result.data_size_out as u64,
            frame.len() as u64 + sent * each,
            "dropped as it was"
        );
        seen.extend(risen.into_iter().map(|(verdict, _)| verdict));
    }
    assert!(seen.contains(&Verdict::DropNoHeadroom), "{seen:?}");
    seen
}

#[test]
fn without_room_for_a_header() {
    exhaust();
}
