//! Errors about flows of `full-nat`, both ways: the port of the pool has to be seen first.

use std::net::SocketAddr;

use lb_common::verdict::Verdict::{ForwardError, ReturnError, ReturnKernel};

use super::{PROTOCOLS, cut, cuts, error, requoted, segment};
use crate::{
    modes::{VERSIONS, backend, client, server, unrouted, vip},
    packet::{arriving, ends, framed},
    rig::{XDP_PASS, XDP_TX},
    row::{Row, check_on, row},
    site::{self, OWN, ROUTER_MAC, mac_of},
};

const RFC: &str = "RFC 5508 4.2";

/// A flow by both its names.
struct Flow {
    six: bool,
    protocol: u8,
    client: SocketAddr,
    vip: SocketAddr,
    /// The source that it has of ours.
    ours: SocketAddr,
    server: SocketAddr,
    /// Its backend.
    number: u16,
}

#[test]
fn errors_about_full_nat() {
    let mut rig = site::rig();
    for six in VERSIONS {
        for protocol in PROTOCOLS {
            for (port, own) in [(70, 8_080), (71, 71)] {
                let number = backend(six, port, protocol);
                let (server, vip) = (server(six, number, own), vip(six, port));
                let mut rows = Vec::new();
                for (client, is_routed) in [(client(six, 50), true), (unrouted(six, 50), false)] {
                    let opened = arriving(&segment(protocol, client, vip, "S").ip());
                    let (_, out) = rig.run(&opened);
                    let flow = Flow {
                        six,
                        protocol,
                        client,
                        vip,
                        ours: ends(&out[14..]).0,
                        server,
                        number,
                    };
                    for size in cuts(six) {
                        rows.extend([flow.forth(size), flow.back(size, is_routed)]);
                    }
                }
                check_on(&mut rig, &rows);
            }
        }
    }
}

impl Flow {
    /// From behind the client, about what the server has sent.
    fn forth(&self, size: usize) -> Row {
        let sent = segment(self.protocol, self.vip, self.client, "A");
        let error = error(self.six, self.vip.ip(), &cut(&sent, size));
        let translated = segment(self.protocol, self.server, self.ours, "A");
        let goes = error
            .clone()
            .to((self.server.ip(), 0).into())
            .payload(&requoted(&sent, &translated, size))
            .hop();
        let out = framed(mac_of(self.number), OWN, &[], &goes.ip());
        row(format!("to the server, {size} quoted"), error)
            .rfc(RFC)
            .forwards(ForwardError, XDP_TX, self.number, out)
    }

    /// From behind the server, about what the client has sent.
    fn back(&self, size: usize, is_routed: bool) -> Row {
        let sent = segment(self.protocol, self.ours, self.server, "A");
        let error = error(self.six, self.ours.ip(), &cut(&sent, size));
        let translated = segment(self.protocol, self.client, self.vip, "A");
        let goes = error
            .clone()
            .from((self.vip.ip(), 0).into())
            .to((self.client.ip(), 0).into())
            .payload(&requoted(&sent, &translated, size));
        let row = row(format!("to the client, {size} quoted"), error).rfc(RFC);
        if is_routed {
            let out = framed(ROUTER_MAC, OWN, &[], &goes.hop().ip());
            row.returns(ReturnError, XDP_TX, self.number, out)
        } else {
            let out = arriving(&goes.ip());
            row.returns(ReturnKernel, XDP_PASS, self.number, out)
        }
    }
}
