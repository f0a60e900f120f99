//! Errors that go nowhere: about nothing that we know, or that can't be sent on.

use lb_common::{
    abi::BackendState,
    verdict::Verdict::{DropError, DropTooBig, DropTtl, PassNotVip},
};

use super::{RFC, error};
use crate::{
    modes::{backend, client, pool, server, stranger, vip},
    packet::Packet,
    rig::Rig,
    row::{Row, row},
    site::TCP,
};

/// What they quote belongs to no flow of ours.
pub fn about_nothing(six: bool) -> Vec<Row> {
    let (from, to) = (client(six, 30), vip(six, 80));
    let sent = Packet::tcp(to, from, "A");
    let about = |quote: &[u8]| error(six, to.ip(), quote);
    let head = if six { 40 } else { 20 };
    let echo = Packet::echo(to.ip(), from.ip());
    let other = stranger(six, 30);
    let later = Packet::udp(to, from, &[1; 90]).fragments(40)[1].clone();
    let mut version = sent.ip();
    version[0] ^= 0x10;
    let mut rows = vec![
        row("about an unknown flow", about(&sent.ip())),
        row(
            "about a closed port",
            about(&Packet::tcp(vip(six, 22), from, "A").ip()),
        ),
        row("without a quote", about(&[])),
        row(
            "that quotes half an IP header",
            about(&sent.ip()[..head - 1]),
        ),
        row("that quotes no ports", about(&sent.ip()[..head + 7]))
            .after([&Packet::tcp(from, to, "S")]),
        row("that quotes an echo", about(&echo.ip())),
        row(
            "that quotes SCTP",
            about(&Packet::other(to.ip(), from.ip(), 132).ip()),
        ),
        row("that quotes a later fragment", about(&later)),
        row("that quotes another version", about(&version)),
        row(
            "about what somebody else has sent",
            about(&Packet::tcp(other, from, "A").ip()),
        ),
    ];
    rows = rows
        .into_iter()
        .map(|row| row.rfc(RFC).drops(DropError))
        .collect();
    let elsewhere = error(six, other.ip(), &Packet::tcp(other, from, "A").ip());
    let unknown = error(
        six,
        from.ip(),
        &Packet::tcp(from, server(six, backend(six, 90, TCP), 8_080), "A").ip(),
    );
    rows.push(row("about what the node has sent", elsewhere).passes(PassNotVip));
    rows.push(row("about a server's flow that we don't know", unknown).passes(PassNotVip));
    rows.push(
        row(
            "to the pool, about nothing",
            error(six, pool(six), &sent.ip()),
        )
        .drops(DropError),
    );
    rows
}

/// They are about a flow, and still can't reach its server.
pub fn refused(six: bool) -> Vec<Row> {
    let mut rows = Vec::new();
    for (from, port) in [(40, 90), (41, 60)] {
        let (from, to) = (client(six, from), vip(six, port));
        let dying = error(six, to.ip(), &Packet::tcp(to, from, "A").ip()).ttl(1);
        rows.push(
            row(format!("no hop left, to {port}"), dying)
                .rfc("RFC 1812 5.3.1, RFC 8200 3")
                .after([&Packet::tcp(from, to, "S")])
                .drops(DropTtl),
        );
    }
    let (from, to) = (client(six, 42), vip(six, 93));
    let long = Packet::tcp(to, from, "A").payload(&[6; 1_400]);
    rows.push(
        row("too long itself", error(six, to.ip(), &long.ip()))
            .rfc("RFC 1122 3.2.2, RFC 4443 2.4 (e)")
            .after([&Packet::tcp(from, to, "S")])
            .drops(DropTooBig),
    );
    // Last: the backend has failed then.
    let (from, to) = (client(six, 43), vip(six, 80));
    let down: fn(&mut Rig) = if six {
        |rig| rig.state(backend(true, 80, TCP), BackendState::Down)
    } else {
        |rig| rig.state(backend(false, 80, TCP), BackendState::Down)
    };
    rows.push(
        row(
            "whose backend has failed",
            error(six, to.ip(), &Packet::tcp(to, from, "A").ip()),
        )
        .after([&Packet::tcp(from, to, "S")])
        .when(down)
        .drops(DropError),
    );
    rows
}
