//! As much HTTP/1.1 as a client that counts needs.

use std::{
    io::{self, BufRead, BufReader, ErrorKind, Read, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream},
    sync::atomic::{AtomicU16, Ordering},
    time::Duration,
};

use anyhow::{Context, Result, bail, ensure};
use socket2::{Domain, Socket, Type};

/// The header in which a web server of the lab tells its name.
pub const SERVED_BY: &str = "X-Served-By";
/// No single header line of ours is longer, in bytes.
const MAX_LINE: u64 = 4096;
/// The ports below are for servers.
const FIRST_PORT: u16 = 10_000;

/// Whether the connection is to be used again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum After {
    /// The server closes it after the answer.
    Close,
    /// It stays open.
    Keep,
}

/// The head of an answer.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Head {
    /// The status, such as 200.
    pub status: u16,
    /// The server's name, from [`SERVED_BY`].
    pub server: String,
    /// Length of the body in bytes.
    pub length: u64,
}

/// A client's end of one connection.
#[derive(Debug)]
pub struct Connection {
    stream: BufReader<TcpStream>,
    peer: SocketAddr,
}

impl Connection {
    /// Connects; `patience` also bounds each later read and write.
    pub fn open(peer: SocketAddr, patience: Duration) -> Result<Self> {
        let stream = connect(peer, patience).context("connect")?;
        stream.set_read_timeout(Some(patience))?;
        stream.set_write_timeout(Some(patience))?;
        stream.set_nodelay(true)?;
        Ok(Self {
            stream: BufReader::new(stream),
            peer,
        })
    }

    /// Its own address and port.
    pub fn own(&self) -> Result<SocketAddr> {
        Ok(self.stream.get_ref().local_addr()?)
    }

    /// Sends `GET path` and reads the head of the answer, which must be a 200.
    pub fn get(&mut self, path: &str, after: After) -> Result<Head> {
        let then = match after {
            After::Close => "close",
            After::Keep => "keep-alive",
        };
        let peer = self.peer;
        let request = format!("GET {path} HTTP/1.1\r\nHost: {peer}\r\nConnection: {then}\r\n\r\n");
        self.stream
            .get_mut()
            .write_all(request.as_bytes())
            .context("send")?;
        let head = self.head()?;
        ensure!(head.status == 200, "status {}", head.status);
        Ok(head)
    }

    fn head(&mut self) -> Result<Head> {
        let first = self.line()?;
        let status = first
            .split(' ')
            .nth(1)
            .and_then(|code| code.parse().ok())
            .with_context(|| format!("not an HTTP status line: {first:?}"))?;
        let (mut server, mut length) = (String::new(), 0);
        loop {
            let line = self.line()?;
            let Some((name, value)) = line.split_once(':') else {
                ensure!(line.is_empty(), "not an HTTP header: {line:?}");
                break;
            };
            if name.eq_ignore_ascii_case(SERVED_BY) {
                value.trim().clone_into(&mut server);
            } else if name.eq_ignore_ascii_case("Content-Length") {
                length = value.trim().parse().context("Content-Length")?;
            }
        }
        Ok(Head {
            status,
            server,
            length,
        })
    }

    fn line(&mut self) -> Result<String> {
        let mut line = String::new();
        let mut limited = (&mut self.stream).take(MAX_LINE);
        if limited.read_line(&mut line).context("read")? == 0 {
            bail!("closed before the answer");
        }
        Ok(line.trim_end().to_owned())
    }

    /// Reads the next bytes of a body into `buffer`; 0 means that the server closed.
    pub fn read(&mut self, buffer: &mut [u8]) -> Result<usize> {
        self.stream.read(buffer).context("read")
    }

    /// Reads a whole body that is of no interest.
    pub fn skip(&mut self, length: u64) -> Result<()> {
        let got =
            io::copy(&mut (&mut self.stream).take(length), &mut io::sink()).context("read")?;
        ensure!(got == length, "closed after {got} of {length} bytes");
        Ok(())
    }
}

/// Connects from a port that this process has not used for long.
///
/// The kernel would choose at random, and so now and then a port whose last
/// connection was refused: the load balancer can't tell such a SYN from one sent
/// again, and sends it where the first one went instead of counting it anew.
fn connect(peer: SocketAddr, patience: Duration) -> io::Result<TcpStream> {
    static NEXT: AtomicU16 = AtomicU16::new(0);
    let any: IpAddr = match peer {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    };
    loop {
        let own = FIRST_PORT + NEXT.fetch_add(1, Ordering::Relaxed) % (u16::MAX - FIRST_PORT);
        let socket = Socket::new(Domain::for_address(peer), Type::STREAM, None)?;
        socket.set_reuse_address(true)?;
        let outcome = socket
            .bind(&SocketAddr::new(any, own).into())
            .and_then(|()| socket.connect_timeout(&peer.into(), patience));
        match outcome {
            Ok(()) => return Ok(socket.into()),
            // After some 55,000 connections it begins again, and some may still be open.
            Err(error) if error.kind() == ErrorKind::AddrInUse => {}
            Err(error) if error.kind() == ErrorKind::AddrNotAvailable => {}
            Err(error) => return Err(error),
        }
    }
}

/// One request on a connection of its own; returns the name of the server.
pub fn get(peer: SocketAddr, path: &str, patience: Duration) -> Result<String> {
    let mut connection = Connection::open(peer, patience)?;
    let head = connection.get(path, After::Close)?;
    connection.skip(head.length)?;
    Ok(head.server)
}
