//! Echo requests.

use std::{
    net::{IpAddr, SocketAddr, UdpSocket},
    time::Duration,
};

use anyhow::{Result, ensure};
use rustix::net::{AddressFamily, SocketType, ipproto, socket};

use crate::netns::Namespace;

/// How long an answer may take.
const PATIENCE: Duration = Duration::from_secs(2);
/// Types of request and reply: ICMP's and ICMPv6's.
const ECHO: (u8, u8) = (8, 0);
const ECHO6: (u8, u8) = (128, 129);

/// Sends one echo request with `payload` bytes from `host`, and checks that the
/// answer repeats them.
pub fn ping(host: &Namespace, peer: impl Into<IpAddr>, payload: usize) -> Result<()> {
    let peer = peer.into();
    let (family, protocol, (request, reply)) = match peer {
        IpAddr::V4(_) => (AddressFamily::INET, ipproto::ICMP, ECHO),
        IpAddr::V6(_) => (AddressFamily::INET6, ipproto::ICMPV6, ECHO6),
    };
    // The kernel makes identifier and checksum, if it lets us.
    host.sysctl("net.ipv4.ping_group_range", "0 0")?;
    host.run(|| {
        let socket = socket(family, SocketType::DGRAM, Some(protocol))?;
        let socket = UdpSocket::from(socket);
        socket.set_read_timeout(Some(PATIENCE))?;
        let mut request = vec![request, 0, 0, 0, 0, 0, 0, 1];
        request.extend((0..payload).map(|at| (at % 251) as u8));
        socket.send_to(&request, SocketAddr::from((peer, 0)))?;
        let mut answer = vec![0; request.len() + 1];
        let (length, _) = socket.recv_from(&mut answer)?;
        ensure!(length == request.len(), "{length} bytes came back");
        ensure!(answer[0] == reply, "ICMP type {} came back", answer[0]);
        ensure!(answer[6..length] == request[6..], "other bytes came back");
        Ok(())
    })
}
