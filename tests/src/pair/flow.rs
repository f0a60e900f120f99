//! Whether a known flow is served: datagrams of one flow, each numbered and echoed.

use std::net::UdpSocket;

use anyhow::{Context, Result};

use super::{
    bed::{Bed, PROBER, service},
    clock::Clock,
    probe::{PATIENCE, Probing},
};

/// Begins to send.
pub fn start(bed: &Bed, clock: Clock) -> Result<Probing> {
    let open = || -> std::io::Result<UdpSocket> {
        let socket = UdpSocket::bind((PROBER, 0))?;
        socket.connect(service())?;
        socket.set_read_timeout(Some(PATIENCE))?;
        Ok(socket)
    };
    let socket = bed.prober.run(open).context("a socket for datagrams")?;
    let out = socket.try_clone()?;
    let send = move |number: u32| {
        // What isn't sent isn't answered.
        let _ = out.send(&number.to_be_bytes());
    };
    let receive = move || {
        let mut buffer = [0; 4];
        let length = socket.recv(&mut buffer).ok()?;
        (length == buffer.len()).then(|| u32::from_be_bytes(buffer))
    };
    Ok(Probing::start(clock, send, receive))
}
