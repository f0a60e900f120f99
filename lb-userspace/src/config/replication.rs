//! `[replication]`: where the flow table goes to, and under which key.

use std::{net::SocketAddr, path::PathBuf};

use super::{
    error::Report,
    model::Replication,
    refusal::{Refusal, quoted},
    rules,
    table::{Keys, Value},
};

/// What the file says: `Some(None)` where it says nothing, `None` after errors were noted.
pub(super) fn read(report: &mut Report<'_>, root: &Keys<'_>) -> Option<Option<Replication>> {
    let Some(table) = root.maybe(report, "replication", Value::table)? else {
        return Some(None);
    };
    let place = root.span("replication");
    let known = ["key_file", "listen", "peer"];
    let keys = Keys::new(report, table, place, "[replication]", &known);
    let key_file = keys.need(
        report,
        "key_file",
        "\"/etc/flowgate/cluster.key\"",
        |value| path(value.text()?),
    );
    let listen = keys.need(report, "listen", "\"10.0.0.2:5151\"", |value| {
        socket(value.text()?)
    });
    let peer = keys.need(report, "peer", "\"10.0.0.3:5151\"", |value| {
        socket(value.text()?)
    });
    if let Some((listen, peer)) = listen.zip(peer) {
        report.keep(&keys.span("peer"), differ(listen, peer));
    }
    Some(Some(Replication {
        key_file: key_file?,
        listen: listen?,
        peer: peer?,
    }))
}

/// A path that doesn't depend on where the daemon was started.
pub(super) fn path(text: &str) -> Result<PathBuf, Refusal> {
    let path = PathBuf::from(text);
    match path.is_absolute() && !text.contains('\0') {
        true => Ok(path),
        false => Err(Refusal::new(
            format!("{} is not an absolute path", quoted(text)),
            "write it from the root on: \"/etc/flowgate/…\"",
        )),
    }
}

fn socket(text: &str) -> Result<SocketAddr, Refusal> {
    let socket: SocketAddr = text.parse().map_err(|_| {
        Refusal::new(
            format!("{} is not an address with a port", quoted(text)),
            "write such as \"10.0.0.2:5151\" or \"[2001:db8::2]:5151\"",
        )
    })?;
    rules::node_address(socket.ip())?;
    rules::port(socket.port().into())?;
    Ok(socket)
}

fn differ(listen: SocketAddr, peer: SocketAddr) -> Result<(), Refusal> {
    if listen.is_ipv4() != peer.is_ipv4() {
        return Err(Refusal::new(
            format!("{peer} and {listen} are of different IP versions"),
            "give both nodes addresses of one IP version",
        ));
    }
    if listen.ip() == peer.ip() {
        return Err(Refusal::new(
            "the peer has this node's own address",
            "`listen` is this node's address, `peer` the other node's",
        ));
    }
    Ok(())
}
