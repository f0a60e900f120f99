//! The way of a packet, top to bottom.

use lb_common::{
    limits,
    verdict::{FIRST_DROP, Verdict},
};

use crate::{
    answer,
    flow::Flows,
    fragment,
    frame::{self, Carries, Frame},
    icmp::{self, Message, relay},
    ip::{Ip, V4, V6},
    maps::{BackendRef, EndpointRef, HopWords},
    node,
    packet::{Context, Packet},
    parse::{Kind, Segment},
    ports::{self, Ports},
    rewrite::{
        self, Carried, Way,
        nat::{self, Sides},
    },
    schedule, service,
};

/// What became of a packet, and where it leaves if it is sent, in one word: what isn't
/// inlined gives back no more. Or the step that it takes next.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Outcome(u64);

/// Steps that have a stack of their own, which all of them together wouldn't fit in: a
/// packet comes back to [`run`] between them.
#[derive(Clone, Copy)]
#[repr(u64)]
enum Step {
    /// IPv6.
    Six = 1 << 32,
    /// A question that we may answer.
    Question = 2 << 32,
    /// A later fragment.
    Fragment = 3 << 32,
    /// To or from a server in `full-nat`.
    Full = 4 << 32,
    /// To a server in `full-nat`, by a known port.
    ToFull = 5 << 32,
    /// From a server in `full-nat`, perhaps.
    FromFull = 6 << 32,
    /// An ICMP error.
    Error = 7 << 32,
    /// An ICMP error to an address of the pool, perhaps.
    ErrorToPool = 8 << 32,
    /// An ICMP error for a client of `nat`, perhaps.
    ErrorToClient = 9 << 32,
    /// An ICMP error for a client of `nat`.
    ErrorAbout = 10 << 32,
    /// An ICMP error about a tunnel's packet, perhaps.
    ErrorInTunnel = 11 << 32,
    /// An ICMP error about what we have sent from a port of the pool.
    ErrorFromPort = 12 << 32,
}

/// Set in the number of what isn't a verdict yet.
const STEP: u64 = 1 << 31;
/// The other bits of a step's number: what it is told.
const TOLD: u64 = STEP - 1;
/// What an ICMP message's step is told: where it begins. Above it, of what was sent to
/// which backend it tells.
const MESSAGE: u64 = (1 << MESSAGE_BITS) - 1;
const MESSAGE_BITS: u32 = 12;
/// The IP version.
const FAMILY_BIT: u32 = 40;
/// The number of a port of the pool lies above all else.
const PORT_BIT: u32 = 41;
const STEP_BITS: u64 = (1 << PORT_BIT) - 1;
const _: () = assert!((icmp::NO_PORT as u64) < 1 << (64 - PORT_BIT));
/// Of what [`Step::ToFull`] is told, the bits that say which port; the verdict is above.
const PLACE_BITS: u32 = 25;
const _: () = assert!((limits::MAX_POOL as u64) << 16 <= 1 << PLACE_BITS);
const _: () = assert!((FIRST_DROP as u64) << PLACE_BITS <= STEP);

impl Outcome {
    /// It isn't sent.
    #[inline(always)]
    #[must_use]
    pub fn here(verdict: Verdict) -> Self {
        Outcome(verdict as u64)
    }

    /// It leaves by the interface that it came by.
    #[inline(always)]
    #[must_use]
    pub fn back(verdict: Verdict) -> Self {
        Outcome(verdict as u64 | u64::from(node::egress()) << 32)
    }

    /// It leaves for a next hop.
    #[inline(always)]
    #[must_use]
    pub fn to(verdict: Verdict, hop: HopWords) -> Self {
        Outcome::sent(verdict as u32, hop)
    }

    #[inline(always)]
    fn next<I: Ip>(step: Step) -> Self {
        Outcome::message::<I>(step, 0)
    }

    /// The next step of an ICMP message that begins at `l4` in its frame.
    #[inline(always)]
    fn message<I: Ip>(step: Step, l4: usize) -> Self {
        Outcome(STEP | step as u64 | (I::FAMILY as u64) << FAMILY_BIT | l4 as u64 & MESSAGE)
    }

    /// The next step of an ICMP error that begins at `l4` in its frame, and is about what
    /// was sent to `backend`.
    #[inline(always)]
    fn about<I: Ip>(l4: usize, backend: BackendRef) -> Self {
        let backend = u64::from(backend.number()) << MESSAGE_BITS;
        Outcome(Outcome::message::<I>(Step::ErrorAbout, l4).0 | backend)
    }

    /// The next step of an ICMP error that begins at `l4` in its frame, and is about what
    /// we have sent from the pool's port of that number.
    #[inline(always)]
    fn from_port<I: Ip>(l4: usize, number: u32) -> Self {
        let number = u64::from(number) << PORT_BIT;
        Outcome(Outcome::message::<I>(Step::ErrorFromPort, l4).0 | number)
    }

    /// The number of [`Outcome::from_port`].
    #[inline(always)]
    fn port(self) -> u32 {
        (self.0 >> PORT_BIT) as u32
    }

    /// The backend of [`Outcome::about`].
    #[inline(always)]
    fn backend(self) -> Option<BackendRef> {
        BackendRef::get(((self.0 & TOLD) >> MESSAGE_BITS) as u16)
    }

    /// Where the message of a step begins.
    #[inline(always)]
    fn l4(self) -> usize {
        (self.0 & MESSAGE) as usize
    }

    /// [`Step::ToFull`], of the flow whose port has this number; chosen so.
    #[inline(always)]
    fn full<I: Ip>(place: u32, verdict: u32) -> Self {
        let told = u64::from(place) | u64::from(verdict) << PLACE_BITS;
        Outcome(Outcome::next::<I>(Step::ToFull).0 | told & TOLD)
    }

    #[inline(always)]
    fn place(self) -> u32 {
        self.0 as u32 & ((1 << PLACE_BITS) - 1)
    }

    /// The number of the verdict that the step was told.
    #[inline(always)]
    fn chosen(self) -> u32 {
        ((self.0 & TOLD) >> PLACE_BITS) as u32
    }

    /// It leaves for a next hop, with the verdict of that number.
    #[inline(always)]
    fn sent(number: u32, hop: HopWords) -> Self {
        Outcome(u64::from(number) | u64::from(hop.egress()) << 32)
    }

    #[inline(always)]
    fn is_step(self) -> bool {
        self.0 & STEP != 0
    }

    #[inline(always)]
    fn takes<I: Ip>(self, step: Step) -> bool {
        self.0 & STEP_BITS & !TOLD == Outcome::next::<I>(step).0
    }

    /// The same outcome, of which the verifier doesn't know which it is.
    #[inline(always)]
    fn any(self) -> Self {
        Outcome(node::any(self.0))
    }

    /// The verdict's number.
    #[inline(always)]
    #[must_use]
    pub fn number(self) -> u32 {
        self.0 as u32
    }

    /// Whether this is the verdict.
    #[inline(always)]
    #[must_use]
    pub fn is(self, verdict: Verdict) -> bool {
        self.number() == verdict as u32
    }

    /// The place in the device map of the interface that it leaves by.
    #[inline(always)]
    #[must_use]
    pub fn egress(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// The whole way of a packet, with flows remembered in `F`.
#[inline(always)]
#[must_use]
pub fn run<F: Flows<V4> + Flows<V6>>(context: Context) -> Outcome {
    let mut outcome = four::<F>(context).any();
    if !outcome.is_step() {
        return outcome;
    }
    if outcome.takes::<V6>(Step::Six) {
        outcome = six::<F>(context).any();
        if !outcome.is_step() {
            return outcome;
        }
    }
    if outcome.takes::<V4>(Step::Question) || outcome.takes::<V6>(Step::Question) {
        return question(context).any();
    }
    detour::<V6, F>(context, detour::<V4, F>(context, outcome))
}

/// The other steps of one IP version.
#[inline(always)]
fn detour<I: Ip, F: Flows<I> + Flows<V4> + Flows<V6>>(
    context: Context,
    outcome: Outcome,
) -> Outcome {
    let mut outcome = outcome.any();
    if outcome.takes::<I>(Step::Fragment) {
        outcome = fragment::<I>(context);
    }
    outcome = outcome.any();
    if outcome.takes::<I>(Step::Full) {
        outcome = full::<I>(context);
    }
    outcome = outcome.any();
    if outcome.takes::<I>(Step::ToFull) {
        outcome = to_full::<I>(context, outcome);
    }
    outcome = outcome.any();
    if outcome.takes::<I>(Step::FromFull) {
        outcome = from_full::<I>(context);
    }
    outcome = outcome.any();
    if outcome.takes::<I>(Step::Error) {
        outcome = error::<I, F>(context, outcome.l4());
    }
    outcome = outcome.any();
    if outcome.takes::<I>(Step::ErrorToPool) {
        outcome = error_to_pool::<I>(context, outcome.l4());
    }
    outcome = outcome.any();
    if outcome.takes::<I>(Step::ErrorFromPort) {
        outcome = error_from_port::<I>(context, outcome);
    }
    outcome = outcome.any();
    if outcome.takes::<I>(Step::ErrorToClient) {
        outcome = error_to_client::<I, F>(context, outcome.l4());
    }
    outcome = outcome.any();
    if outcome.takes::<I>(Step::ErrorAbout) {
        outcome = error_about::<I>(context, outcome);
    }
    outcome = outcome.any();
    if outcome.takes::<I>(Step::ErrorInTunnel) {
        outcome = error_in_tunnel::<I, F>(context, outcome.l4());
    }
    outcome.any()
}

#[inline(never)]
fn four<F: Flows<V4>>(context: Context) -> Outcome {
    let packet = &Packet::of(context);
    let frame = &frame::parse(packet);
    match frame.carries {
        Carries::Ipv4 => ip::<V4, F>(packet, frame),
        Carries::Ipv6 => Outcome::next::<V6>(Step::Six),
        Carries::Ipv6ToGroup | Carries::Arp => Outcome::next::<V6>(Step::Question),
        Carries::Foreign => Outcome::here(frame.verdict),
    }
}

#[inline(never)]
fn six<F: Flows<V6>>(context: Context) -> Outcome {
    let packet = &Packet::of(context);
    ip::<V6, F>(packet, &frame::parse(packet).any())
}

#[inline(never)]
fn question(context: Context) -> Outcome {
    let packet = &Packet::of(context);
    let frame = &frame::parse(packet).any();
    match frame.carries {
        Carries::Arp => answer::arp(packet, frame),
        Carries::Ipv6ToGroup => answer::solicitation(packet, frame, Verdict::PassGroup),
        Carries::Ipv4 => {
            let parsed = V4::parse(packet, frame);
            V4::echo(packet, frame, &parsed.segment)
        }
        Carries::Ipv6 => {
            let parsed = V6::parse(packet, frame);
            match parsed.kind {
                Kind::Solicitation => answer::solicitation(packet, frame, Verdict::PassNeighbour),
                _ => V6::echo(packet, frame, &parsed.segment),
            }
        }
        Carries::Foreign => Outcome::here(Verdict::DropInternal),
    }
}

#[inline(never)]
fn fragment<I: Ip>(context: Context) -> Outcome {
    let packet = &Packet::of(context);
    let frame = &frame::parse(packet).any();
    fragment::follow(packet, frame, &I::parse(packet, frame).segment)
}

#[inline(never)]
fn error<I: Ip, F: Flows<I>>(context: Context, l4: usize) -> Outcome {
    let packet = &Packet::of(context);
    let frame = &frame::parse(packet).any();
    Message::<I>::at(packet, frame, l4)
        .and_then(|message| icmp::to_backend::<I, F>(packet, frame, &message))
        .unwrap_or(Outcome::message::<I>(Step::ErrorToPool, l4))
}

#[inline(never)]
fn error_to_pool<I: Ip>(context: Context, l4: usize) -> Outcome {
    let packet = &Packet::of(context);
    let frame = &frame::parse(packet).any();
    let message = Message::<I>::at(packet, frame, l4);
    match message.and_then(|message| icmp::port_of(packet, frame, &message)) {
        Some(icmp::NO_PORT) => Outcome::here(Verdict::DropError),
        Some(number) => Outcome::from_port::<I>(l4, number),
        None => Outcome::message::<I>(Step::ErrorToClient, l4),
    }
}

#[inline(never)]
fn error_from_port<I: Ip>(context: Context, step: Outcome) -> Outcome {
    let packet = &Packet::of(context);
    let frame = &frame::parse(packet).any();
    Message::<I>::at(packet, frame, step.l4())
        .and_then(|message| icmp::from_port(packet, frame, &message, step.port()))
        .unwrap_or(Outcome::here(Verdict::DropError))
}

#[inline(never)]
fn error_to_client<I: Ip, F: Flows<I>>(context: Context, l4: usize) -> Outcome {
    let packet = &Packet::of(context);
    let frame = &frame::parse(packet).any();
    Message::<I>::at(packet, frame, l4)
        .and_then(|message| icmp::server_of::<I, F>(packet, frame, &message))
        .map_or(Outcome::message::<I>(Step::ErrorInTunnel, l4), |backend| {
            Outcome::about::<I>(l4, backend)
        })
}

#[inline(never)]
fn error_about<I: Ip>(context: Context, step: Outcome) -> Outcome {
    let packet = &Packet::of(context);
    let frame = &frame::parse(packet).any();
    let Some(backend) = step.backend() else {
        return Outcome::here(Verdict::DropInternal);
    };
    Message::<I>::at(packet, frame, step.l4())
        .and_then(|message| icmp::to_client(packet, frame, &message, backend))
        .unwrap_or(Outcome::here(Verdict::DropInternal))
}

#[inline(never)]
fn error_in_tunnel<I: Ip, F: Flows<V4> + Flows<V6>>(context: Context, l4: usize) -> Outcome {
    let packet = &Packet::of(context);
    let frame = &frame::parse(packet).any();
    Message::<I>::at(packet, frame, l4)
        .and_then(|message| relay::outer::<I, F>(packet, frame, &message))
        .unwrap_or(Outcome::here(Verdict::PassNotVip))
}

/// Finds the flow's port, and leaves the rest to the next step: it holds what this one
/// needs the stack for.
#[inline(never)]
fn full<I: Ip>(context: Context) -> Outcome {
    let packet = &Packet::of(context);
    let frame = &frame::parse(packet).any();
    let segment = &I::parse(packet, frame).segment.any();
    let Some(service) = service_of(segment).0 else {
        return Outcome::next::<I>(Step::FromFull);
    };
    let key = <Ports as Flows<I>>::key(&segment.flow(service.number()), service.seed());
    let choice = schedule::choose::<I, Ports>(service, segment, &key);
    if choice.backend.is_none() {
        return Outcome(u64::from(choice.verdict));
    }
    Outcome::full::<I>(choice.place, choice.verdict)
}

#[inline(never)]
fn to_full<I: Ip>(context: Context, step: Outcome) -> Outcome {
    let packet = &Packet::of(context);
    let frame = &frame::parse(packet).any();
    let segment = &I::parse(packet, frame).segment.any();
    let Some(held) = ports::at(step.place()) else {
        return Outcome::here(Verdict::DropInternal);
    };
    let Some(backend) = BackendRef::get(held.slot.entry.backend()) else {
        return Outcome::here(Verdict::DropInternal);
    };
    let (length, place) = (packet.length(), step.place());
    let carried = Carried::Segment;
    if let Some(refused) = rewrite::forward_full(packet, frame, segment, carried, backend, place) {
        return refused;
    }
    if segment.is_first {
        let way = Way {
            backend,
            hash: 0,
            place,
        };
        fragment::forth(segment, way);
    }
    let number = step.chosen();
    backend.count_in(length, u64::from(number == Verdict::ForwardNew as u32));
    Outcome::sent(number, backend.hop())
}

#[inline(never)]
fn from_full<I: Ip>(context: Context) -> Outcome {
    let packet = &Packet::of(context);
    let frame = &frame::parse(packet).any();
    let segment = &I::parse(packet, frame).segment.any();
    match service::vip::<I>(segment.destination) {
        Some(vip) => to_pool(packet, frame, segment, vip),
        None => Outcome::here(Verdict::DropInternal),
    }
}

#[inline(always)]
fn ip<I: Ip, F: Flows<I>>(packet: &Packet, frame: &Frame) -> Outcome {
    let parsed = I::parse(packet, frame);
    let segment = &parsed.segment;
    match parsed.kind {
        Kind::Segment => transport::<I, F>(packet, frame, &segment.any()),
        Kind::Fragment => Outcome::next::<I>(Step::Fragment),
        Kind::Error => Outcome::message::<I>(Step::Error, segment.l4),
        Kind::Echo | Kind::Solicitation => Outcome::next::<I>(Step::Question),
        Kind::Stray => Outcome::here(service::stray::<I>(segment.destination, parsed.verdict)),
        Kind::Foreign => Outcome::here(parsed.verdict),
    }
}

/// The service that a segment is for, and where it has no port of its own, or nobody has
/// it, the VIP.
#[inline(always)]
fn service_of<I: Ip>(segment: &Segment<I>) -> (Option<EndpointRef>, Option<EndpointRef>) {
    let (vip, port) = (segment.destination, segment.destination_port);
    let exact = service::at::<I>(vip, port, segment.protocol());
    if exact.is_some() {
        return (exact, None);
    }
    let Some(record) = service::vip::<I>(vip) else {
        return (None, None);
    };
    let protocol = segment.protocol();
    let around = service::around::<I>(record, vip, port, segment.is_tcp, protocol);
    (around, Some(record))
}

#[inline(always)]
fn transport<I: Ip, F: Flows<I>>(packet: &Packet, frame: &Frame, segment: &Segment<I>) -> Outcome {
    match service_of(segment) {
        (Some(service), _) if service.keeps_ports() => Outcome::next::<I>(Step::Full),
        (Some(service), _) => to_backend::<I, F>(service, packet, frame, segment),
        (None, Some(vip)) if vip.index() != 0 => Outcome::next::<I>(Step::Full),
        (None, Some(_)) => Outcome::here(Verdict::DropClosedPort),
        (None, None) => from_server::<I, F>(packet, frame, segment),
    }
}

#[inline(always)]
fn to_backend<I: Ip, F: Flows<I>>(
    service: EndpointRef,
    packet: &Packet,
    frame: &Frame,
    segment: &Segment<I>,
) -> Outcome {
    let key = F::key(&segment.flow(service.number()), service.seed());
    let choice = schedule::choose::<I, F>(service, segment, &key);
    let Some(backend) = choice.backend else {
        return Outcome(u64::from(choice.verdict));
    };
    let way = Way {
        backend,
        hash: F::hash(&key),
        place: choice.place,
    };
    let length = packet.length();
    if let Some(refused) = rewrite::forward(packet, frame, segment, Carried::Segment, way) {
        return refused;
    }
    if segment.is_first {
        fragment::forth(segment, way);
    }
    backend.count_in(length, choice.opened);
    Outcome::sent(choice.verdict, backend.hop())
}

/// To an address of ours, but to none of its services: the answer of a server in
/// `full-nat`, or to nobody.
#[inline(always)]
fn to_pool<I: Ip>(
    packet: &Packet,
    frame: &Frame,
    segment: &Segment<I>,
    vip: EndpointRef,
) -> Outcome {
    let nobody = Outcome::here(Verdict::DropClosedPort);
    let place = vip.index();
    if place == 0 {
        return nobody;
    }
    let port = u16::from_be(segment.destination_port);
    let Some(held) = ports::held(u32::from(place) - 1, port) else {
        return nobody;
    };
    let Some(backend) = BackendRef::get(held.slot.entry.backend()) else {
        return nobody;
    };
    let it = backend.address::<I::Address>() == segment.source
        && backend.heard_at(held.owner.vip_port) == segment.source_port
        && backend.protocol() == segment.protocol();
    if !it {
        return nobody;
    }
    let outcome = nat::answer_full(packet, frame, segment, backend, held);
    if segment.is_first && is_returned(outcome) {
        fragment::back(segment, backend, held.slot.number);
    }
    outcome
}

/// To nobody of ours: the answer of a server in `nat`, or the node's own business.
#[inline(always)]
fn from_server<I: Ip, F: Flows<I>>(
    packet: &Packet,
    frame: &Frame,
    segment: &Segment<I>,
) -> Outcome {
    let server = service::server::<I>(segment.source, segment.source_port, segment.protocol());
    let Some(server) = server else {
        return Outcome::here(Verdict::PassNotVip);
    };
    let sides = Sides {
        client: segment.destination,
        client_port: segment.destination_port,
        server_port: segment.source_port,
        protocol: segment.protocol(),
    };
    let Some(origin) = nat::origin::<I, F>(&sides, server) else {
        return Outcome::here(Verdict::PassNotVip);
    };
    let outcome = nat::answer::<I, F>(packet, frame, segment, origin);
    if segment.is_first && is_returned(outcome) {
        fragment::back(segment, origin.backend, 0);
    }
    outcome
}

#[inline(always)]
fn is_returned(outcome: Outcome) -> bool {
    outcome.is(Verdict::ReturnNat) || outcome.is(Verdict::ReturnKernel)
}
