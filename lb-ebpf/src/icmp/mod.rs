//! ICMP errors: about our flows, from beyond the clients or from behind us.

pub mod relay;
pub mod step;

use lb_common::{
    abi::{BackendState, Keeping},
    verdict::Verdict,
};

use crate::{
    flow::Flows,
    frame::{self, Frame},
    ip::{Edit, Ip, New},
    maps::{self, BackendRef, EndpointRef},
    node,
    outcome::Outcome,
    packet::{MAX_OFFSET, Packet},
    parse::{Flow, TCP, UDP, at, extension},
    ports::{self, Ports},
    rewrite::{
        self, Way, nat,
        translate::{self, Translation},
    },
    service, turn,
};

/// An ICMP message.
#[derive(Clone, Copy)]
pub struct Message<I: Ip> {
    /// Where it begins in its frame.
    pub l4: usize,
    /// Length of the IP packet in bytes.
    pub length: usize,
    /// Source address.
    pub source: I::Address,
    /// Destination address.
    pub destination: I::Address,
}

impl<I: Ip> Message<I> {
    /// The message at `l4` in the frame.
    #[inline(always)]
    #[must_use]
    pub fn at(packet: &Packet, frame: &Frame, l4: usize) -> Option<Self> {
        let (source, destination) = I::ends(packet, frame)?;
        Some(Message {
            l4,
            length: usize::from(I::length(packet, frame)?),
            source,
            destination,
        })
    }
}

/// Where in a frame the packet of TCP or UDP lies that an error quotes.
#[derive(Clone, Copy)]
pub struct Quoted {
    /// Where its IP header begins.
    pub at: usize,
    /// Where its TCP or UDP header begins.
    pub l4: usize,
    /// Whether it is TCP.
    pub is_tcp: bool,
    /// Whether so much of it is there that it has its TCP checksum.
    pub has_tcp_checksum: bool,
    /// Whether its IP header has neither options nor extensions.
    pub is_plain: bool,
}

impl Quoted {
    /// `None` unless the ports are there too; `end` is where the packet that quotes it
    /// ends. The verifier doesn't know which it is.
    #[inline(always)]
    fn new(at: usize, l4: usize, is_tcp: bool, is_plain: bool, end: usize) -> Option<Self> {
        if l4 + at::UDP > end {
            return None;
        }
        let flag = |flag: bool| node::any(u64::from(flag)) & 1 != 0;
        let checksum_end = l4 + at::TCP_CHECKSUM + 2;
        Some(Quoted {
            at,
            l4: node::any(l4 as u64) as usize & MAX_OFFSET,
            is_tcp: flag(is_tcp),
            has_tcp_checksum: flag(is_tcp && checksum_end <= end),
            is_plain: flag(is_plain),
        })
    }

    #[inline(always)]
    fn protocol(&self) -> u8 {
        if self.is_tcp { TCP } else { UDP }
    }
}

/// The packet of TCP or UDP that an error quotes.
#[derive(Clone, Copy)]
pub struct Quote<I: Ip> {
    /// Where it lies.
    pub place: Quoted,
    /// Source address.
    pub source: I::Address,
    /// Destination address.
    pub destination: I::Address,
    /// Source port.
    pub source_port: u16,
    /// Destination port.
    pub destination_port: u16,
}

impl<I: Ip> Quote<I> {
    /// What lies there.
    #[inline(always)]
    fn at(packet: &Packet, frame: &Frame, place: Quoted) -> Option<Self> {
        let quoted = Frame {
            ip: place.at,
            ..*frame
        };
        let (source, destination) = I::ends(packet, &quoted)?;
        let head = packet.at::<{ at::UDP }>(place.l4)?;
        Some(Quote {
            place,
            source,
            destination,
            source_port: head.load::<u16, { at::port::SOURCE }>(),
            destination_port: head.load::<u16, { at::port::DESTINATION }>(),
        })
    }
}

const FRAGMENT_OFFSET: u16 = 0x1fffu16.to_be();

/// [`Ip::quoted`] of IPv4.
#[inline(always)]
pub fn quoted4(packet: &Packet, at: usize, end: usize) -> Option<Quoted> {
    let header = packet.at::<{ at::IPV4 }>(at)?;
    let version = header.load::<u8, { at::ipv4::VERSION }>();
    let protocol = header.load::<u8, { at::ipv4::PROTOCOL }>();
    let fragment = header.load::<u16, { at::ipv4::FRAGMENT }>();
    let balanced = protocol == TCP || protocol == UDP;
    if version >> 4 != 4 || version & 15 < 5 || fragment & FRAGMENT_OFFSET != 0 || !balanced {
        return None;
    }
    let l4 = at + usize::from(version & 15) * 4;
    Quoted::new(at, l4, protocol == TCP, version & 15 == 5, end)
}

/// [`Ip::quoted`] of IPv6.
#[inline(always)]
pub fn quoted6(packet: &Packet, at: usize, end: usize) -> Option<Quoted> {
    let header = packet.at::<{ at::IPV6 }>(at)?;
    if header.load::<u8, { at::ipv6::VERSION }>() >> 4 != 6 || at + at::IPV6 > end {
        return None;
    }
    let next = header.load::<u8, { at::ipv6::NEXT }>();
    let chain = extension::follow(packet, at + at::IPV6, next, end);
    let balanced = chain.protocol == TCP || chain.protocol == UDP;
    if chain.is_refused || chain.is_later || !balanced {
        return None;
    }
    let is_plain = next == chain.protocol;
    Quoted::new(at, chain.l4, chain.protocol == TCP, is_plain, end)
}

/// The way to the backend that an ICMP error to a VIP is about what it has sent as that;
/// `None` in it when there is none. `None` for an error that isn't for a VIP.
#[inline(always)]
#[must_use]
pub fn way_of<I: Ip, F: Flows<I>>(
    packet: &Packet,
    frame: &Frame,
    error: &Message<I>,
) -> Option<Option<Way>> {
    let vip = service::vip::<I>(error.destination)?;
    if vip.index() != 0 {
        return None;
    }
    Some(about(packet, frame, error).and_then(|quote| way::<I, F>(&quote, vip)))
}

/// Sends an ICMP error about what a backend has sent as the VIP to that backend.
#[inline(always)]
#[must_use]
pub fn to_backend<I: Ip>(
    packet: &Packet,
    frame: &Frame,
    error: &Message<I>,
    way: Way,
) -> Option<Outcome> {
    let quote = &quoted(packet, frame, error)?;
    if let Some(refused) = rewrite::forward_error(packet, frame, error, quote, way) {
        return Some(refused);
    }
    let verdict = Verdict::ForwardError as u32;
    Some(Outcome::to_backend(verdict, way.backend))
}

/// The number of the pool's port that an ICMP error is about what we have sent from. Or
/// [`NO_PORT`] for one to the pool that is about none; `None` when it is for no address of
/// the pool.
#[inline(always)]
#[must_use]
pub fn port_of<I: Ip>(packet: &Packet, frame: &Frame, error: &Message<I>) -> Option<u32> {
    let vip = service::vip::<I>(error.destination)?;
    let place = u32::from(vip.index()).wrapping_sub(1);
    let held = about(packet, frame, error).and_then(|quote| {
        let held = ports::held(place, u16::from_be(quote.source_port))?;
        let backend = BackendRef::get(held.slot.entry.backend());
        let it = backend.address::<I::Address>() == quote.destination
            && backend.heard_at(held.owner.vip_port) == quote.destination_port
            && backend.protocol() == quote.place.protocol();
        it.then_some(held.slot.number)
    });
    Some(held.unwrap_or(NO_PORT))
}

/// The number of no port.
pub const NO_PORT: u32 = (1 << 22) - 1;

/// What an error quotes, if that is what its receiver has sent.
#[inline(always)]
fn about<I: Ip>(packet: &Packet, frame: &Frame, error: &Message<I>) -> Option<Quote<I>> {
    let place = quoted(packet, frame, error)?;
    let quote = Quote::at(packet, frame, place)?;
    (quote.source == error.destination).then_some(quote)
}

/// Where what an error quotes lies.
#[inline(always)]
fn quoted<I: Ip>(packet: &Packet, frame: &Frame, error: &Message<I>) -> Option<Quoted> {
    I::quoted(packet, error.l4 + at::UDP, frame.ip + error.length)
}

/// The way to the backend that has sent, as this VIP, what an error quotes.
#[inline(always)]
fn way<I: Ip, F: Flows<I>>(quote: &Quote<I>, vip: EndpointRef) -> Option<Way> {
    let sent = Sent {
        vip: quote.source,
        vip_port: quote.source_port,
        client: quote.destination,
        client_port: quote.destination_port,
        is_tcp: quote.place.is_tcp,
    };
    sent.way::<F, true>(vip)
}

/// Both ends of a flow.
struct Sent<I: Ip> {
    vip: I::Address,
    vip_port: u16,
    client: I::Address,
    client_port: u16,
    is_tcp: bool,
}

impl<I: Ip> Sent<I> {
    /// The way to its backend, if it is a flow that is known; to one of `full-nat` only
    /// if `PORTS_TOO`.
    #[inline(always)]
    fn way<F: Flows<I>, const PORTS_TOO: bool>(&self, vip: EndpointRef) -> Option<Way> {
        let protocol = if self.is_tcp { TCP } else { UDP };
        let service = match service::at::<I>(self.vip, self.vip_port, protocol) {
            Some(service) => service,
            None => service::around::<I>(vip, self.vip, self.vip_port, self.is_tcp, protocol)?,
        };
        let flow = Flow {
            client: self.client,
            client_port: self.client_port,
            vip_port: self.vip_port,
        };
        let (number, place, hash) = if PORTS_TOO && service.keeping()(Keeping::Ports) {
            let key = <Ports as Flows<I>>::key(&flow, service);
            let found = <Ports as Flows<I>>::find(&key)?;
            let hash = <Ports as Flows<I>>::hash(&key);
            (found.entry.backend(), found.number, hash)
        } else {
            let key = F::key(&flow, service);
            let hash = F::hash(&key);
            let number = match F::find(&key) {
                Some(found) => found.entry.backend(),
                None if service.keeping()(Keeping::Changes) => {
                    turn::steady(service, hash, || self.client)?.of_unknown()
                }
                None => return None,
            };
            (number, 0, hash)
        };
        let backend = BackendRef::get(number);
        let gone = matches!(backend.state(), BackendState::Free | BackendState::Down);
        (!gone).then_some(Way {
            backend,
            hash,
            place,
        })
    }
}

/// Sends an ICMP error about what we have sent from the pool's port of that number to the
/// client that it was sent for. `None` when it is about nothing of the kind.
#[inline(always)]
#[must_use]
pub fn from_port<I: Ip>(
    packet: &Packet,
    frame: &Frame,
    error: &Message<I>,
    number: u32,
) -> Option<Outcome> {
    let quote = &quoted(packet, frame, error)?;
    let held = ports::at(number)?;
    let backend = BackendRef::get(held.slot.entry.backend());
    let (client, vip) = (ports::client(&held.owner), backend.vip());
    let outer = Edit {
        hop: false,
        source: New::to(vip),
        destination: New::to(client),
    };
    let inner = Translation {
        edit: Edit {
            hop: false,
            source: New::to(client),
            destination: New::to(vip),
        },
        source_port: New::to(held.owner.client_port),
        destination_port: New::to(held.owner.vip_port),
    };
    Some(returned(
        packet, frame, error, quote, backend, client, &outer, &inner,
    ))
}

/// The backend, of `nat`, that an ICMP error is about what a client has sent to it.
#[inline(always)]
#[must_use]
pub fn server_of<I: Ip, F: Flows<I>>(
    packet: &Packet,
    frame: &Frame,
    error: &Message<I>,
) -> Option<BackendRef> {
    let quote = &about(packet, frame, error)?;
    let (port, protocol) = (quote.destination_port, quote.place.protocol());
    let flow = Flow {
        client: quote.source,
        client_port: quote.source_port,
        vip_port: port,
    };
    let server = service::server::<I>(quote.destination, port, protocol)?;
    Some(nat::origin::<I, F>(&flow, protocol, server)?.backend)
}

/// Sends an ICMP error about what a client has sent to `backend` to that client. `None`
/// when it is about nothing of the kind.
#[inline(always)]
#[must_use]
pub fn to_client<I: Ip>(
    packet: &Packet,
    frame: &Frame,
    error: &Message<I>,
    backend: BackendRef,
) -> Option<Outcome> {
    let quote = &quoted(packet, frame, error)?;
    let port = packet.at::<{ at::UDP }>(quote.l4)?;
    let port = port.load::<u16, { at::port::DESTINATION }>();
    let vip = backend.vip();
    let outer = Edit {
        hop: false,
        source: New::to(vip),
        destination: New::KEPT,
    };
    let inner = Translation {
        edit: Edit {
            hop: false,
            source: New::KEPT,
            destination: New::to(vip),
        },
        source_port: New::NONE,
        destination_port: New::to(backend.spoken_from(port)),
    };
    let client = error.destination;
    Some(returned(
        packet, frame, error, quote, backend, client, &outer, &inner,
    ))
}

/// Sends an error from behind us, translated, to the client.
#[inline(always)]
#[allow(clippy::too_many_arguments, reason = "two headers, and whose they are")]
fn returned<I: Ip>(
    packet: &Packet,
    frame: &Frame,
    error: &Message<I>,
    quote: &Quoted,
    backend: BackendRef,
    client: I::Address,
    outer: &Edit<I>,
    inner: &Translation<I>,
) -> Outcome {
    let hop = maps::route(client);
    if let Some(hop) = hop
        && let Some(refused) = rewrite::refused_back::<I>(packet, frame, || error.length, None, hop)
    {
        return refused;
    }
    let outer = Edit {
        hop: hop.is_some(),
        ..*outer
    };
    if translate::error(packet, frame, error, quote, &outer, inner).is_none() {
        return Outcome::here(Verdict::DropInternal);
    }
    // Where the hop isn't known, the kernel finds it, and counts it.
    let sent = match hop {
        Some(hop) => match frame::send(packet, frame, hop) {
            Some(refused) => return Outcome::here(refused),
            None => Outcome::to(Verdict::ReturnError, hop),
        },
        None => Outcome::here(Verdict::ReturnKernel),
    };
    sent.from_backend(backend)
}
