//! What a server behind a tunnel needs: packets are taken out of others.
//!
//! The kernel's devices do it where the kernel has them. Where it hasn't, a thread
//! reads tunnelled packets from a socket and puts the inner ones into a TUN device.

use std::{
    fs::{File, OpenOptions},
    io::{self, Write},
    net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket},
    os::fd::AsRawFd,
    sync::{
        Arc,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::Duration,
};

use anyhow::{Context, Result};
use socket2::{Domain, Protocol, Socket, Type};

use crate::{
    netns::{Namespace, run},
    require,
    site::Family,
};

/// How often the thread looks whether it is to end.
const LOOK: Duration = Duration::from_millis(50);
/// The device, whoever makes it.
const DEVICE: &str = "inner";
/// `UDP_NO_CHECK6_RX` of linux/udp.h.
const UDP_NO_CHECK6_RX: libc::c_int = 102;
/// Protocol numbers of IPv4 and IPv6 in IP.
const IPV4_IN_IP: i32 = 4;
const IPV6_IN_IP: i32 = 41;

/// What takes packets out of others, until it is dropped.
#[derive(Debug)]
pub enum Decapsulator {
    /// A device of the kernel's; it goes with its host.
    Kernel,
    /// A thread of ours.
    Thread(Reader),
}

impl Decapsulator {
    /// Sets it up on `host` for packets to `own` with packets of `inner` in them: in
    /// IP, or in UDP to the port `gue`.
    pub fn start(host: &Namespace, own: IpAddr, inner: Family, gue: Option<u16>) -> Result<Self> {
        // The answer leaves by another interface than the question came by.
        for device in ["all", "default"] {
            host.sysctl(&format!("net.ipv4.conf.{device}.rp_filter"), "0")?;
        }
        match kernel_device(host, own, inner, gue) {
            Ok(()) => return Ok(Self::Kernel),
            Err(error) => require::not_available("tunnels", &error)?,
        }
        Ok(Self::Thread(Reader::start(host, own, inner, gue)?))
    }

    /// Who it is.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Kernel => "the kernel's tunnel device",
            Self::Thread(_) => "the harness's own decapsulator (this kernel has no tunnels)",
        }
    }
}

fn kernel_device(host: &Namespace, own: IpAddr, inner: Family, gue: Option<u16>) -> Result<()> {
    let kind = match (own, inner) {
        (IpAddr::V4(_), Family::V4) => format!("ipip local {own} remote any"),
        (IpAddr::V4(_), Family::V6) => format!("sit local {own} remote any"),
        (IpAddr::V6(_), _) => format!("ip6tnl mode any local {own} remote ::"),
    };
    if let Some(port) = gue {
        let family = if own.is_ipv4() { "-4" } else { "-6" };
        let mut ip = host.command("ip")?;
        ip.args([family, "fou", "add", "port", &port.to_string(), "gue"]);
        run(&mut ip)?;
    }
    host.ip(&format!(
        "link add {DEVICE} type {kind}\nlink set {DEVICE} up"
    ))
}

/// A thread that takes packets out of others.
#[derive(Debug)]
pub struct Reader {
    stop: Arc<AtomicBool>,
    worker: Option<JoinHandle<()>>,
}

impl Reader {
    fn start(host: &Namespace, own: IpAddr, inner: Family, gue: Option<u16>) -> Result<Self> {
        let socket = host
            .run(|| listen(own, inner, gue))
            .context("cannot listen for tunnelled packets")?;
        socket.set_read_timeout(Some(LOOK))?;
        let mut device = host.run(tun).context("cannot make a TUN device")?;
        host.ip(&format!("link set {DEVICE} up"))?;
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = Arc::clone(&stop);
        // A raw socket of IPv4 tells the outer header too.
        let has_header = gue.is_none() && own.is_ipv4();
        let worker = std::thread::spawn(move || {
            let mut buffer = vec![0; 65_536];
            while !stopped.load(Ordering::Relaxed) {
                let Ok((length, _)) = socket.recv_from(&mut buffer) else {
                    continue;
                };
                let header = match buffer.first() {
                    Some(first) if has_header => usize::from(first & 0xf) * 4,
                    _ => 0,
                };
                if let Some(packet) = buffer[..length].get(header..) {
                    // What the kernel doesn't take is lost, as on any way.
                    let _ = device.write(packet);
                }
            }
        });
        Ok(Self {
            stop,
            worker: Some(worker),
        })
    }
}

impl Drop for Reader {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(worker) = self.worker.take() {
            let _ = worker.join();
        }
    }
}

fn listen(own: IpAddr, inner: Family, gue: Option<u16>) -> io::Result<UdpSocket> {
    if let Some(port) = gue {
        let socket = UdpSocket::bind((own, port))?;
        if own.is_ipv6() {
            take_without_checksum(&socket)?;
        }
        return Ok(socket);
    }
    let (domain, any): (_, IpAddr) = match own {
        IpAddr::V4(_) => (Domain::IPV4, Ipv4Addr::UNSPECIFIED.into()),
        IpAddr::V6(_) => (Domain::IPV6, Ipv6Addr::UNSPECIFIED.into()),
    };
    let protocol = match inner {
        Family::V4 => IPV4_IN_IP,
        Family::V6 => IPV6_IN_IP,
    };
    let socket = Socket::new(domain, Type::RAW, Some(Protocol::from(protocol)))?;
    socket.bind(&SocketAddr::new(any, 0).into())?;
    Ok(socket.into())
}

/// Has a socket of IPv6 take datagrams without a checksum, which a tunnel's outer
/// header may leave out (RFC 6935).
fn take_without_checksum(socket: &UdpSocket) -> io::Result<()> {
    let on: libc::c_int = 1;
    // SAFETY: the option reads one int, which outlives the call, and its size is told.
    let result = unsafe {
        libc::setsockopt(
            socket.as_raw_fd(),
            libc::SOL_UDP,
            UDP_NO_CHECK6_RX,
            (&raw const on).cast(),
            size_of_val(&on) as libc::socklen_t,
        )
    };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(())
}

/// `struct ifreq`, as `TUNSETIFF` reads it.
#[repr(C)]
struct Request {
    name: [u8; libc::IFNAMSIZ],
    flags: i16,
    rest: [u8; 22],
}

/// A TUN device named [`DEVICE`]; it goes with the file.
fn tun() -> io::Result<File> {
    let file = OpenOptions::new()
        .read(true)
        .write(true)
        .open("/dev/net/tun")?;
    let mut name = [0; libc::IFNAMSIZ];
    name[..DEVICE.len()].copy_from_slice(DEVICE.as_bytes());
    let flags = libc::IFF_TUN | libc::IFF_NO_PI;
    let request = Request {
        name,
        flags: i16::try_from(flags).expect("both flags are low bits"),
        rest: [0; 22],
    };
    // SAFETY: TUNSETIFF reads and writes a `struct ifreq`, as large and laid out as
    // `Request`, which outlives the call.
    let result = unsafe { libc::ioctl(file.as_raw_fd(), libc::TUNSETIFF, &raw const request) };
    if result < 0 {
        return Err(io::Error::last_os_error());
    }
    Ok(file)
}
