//! One TCP connection, as ssh would have.

use std::{
    io::{Read, Write},
    net::{Shutdown, SocketAddr, TcpListener, TcpStream},
    time::Duration,
};

use anyhow::{Context, Result, ensure};

use crate::netns::Namespace;

/// How long either end waits for the other.
const PATIENCE: Duration = Duration::from_secs(5);

/// Sends some hundred kilobytes to a server on `host` at `peer`, and checks that they come
/// back.
pub fn echoes(host: &Namespace, from: &Namespace, peer: SocketAddr) -> Result<()> {
    let listener = host.run(|| TcpListener::bind(peer))?;
    let echo = std::thread::spawn(move || -> Result<()> {
        let (mut stream, _) = listener.accept()?;
        stream.set_read_timeout(Some(PATIENCE))?;
        let mut received = Vec::new();
        stream.read_to_end(&mut received)?;
        stream.write_all(&received)?;
        Ok(())
    });
    let sent: Vec<u8> = (0..300_000u32).map(|at| (at % 251) as u8).collect();
    let mut stream = from
        .run(|| TcpStream::connect_timeout(&peer, PATIENCE))
        .with_context(|| format!("cannot connect to {peer}"))?;
    stream.set_read_timeout(Some(PATIENCE))?;
    stream.write_all(&sent)?;
    stream.shutdown(Shutdown::Write)?;
    let mut received = Vec::new();
    stream.read_to_end(&mut received)?;
    echo.join().expect("the echo server doesn't panic")?;
    ensure!(received == sent, "{} bytes came back", received.len());
    Ok(())
}
