//! Who answers for the VIPs, asked again and again by a host on the link.

use std::{
    fmt,
    net::{IpAddr, Ipv6Addr},
    sync::{
        Arc, Mutex, PoisonError,
        atomic::{AtomicBool, Ordering},
    },
    thread::JoinHandle,
    time::{Duration, Instant},
};

use anyhow::Result;

use super::{
    bed::{Bed, WATCHER, WATCHER_MAC},
    wire::{Family, Node, host, vip},
};
use crate::{frames::Frames, link::End, wait::eventually};

/// Between two questions. One that has no answer by the next one has none.
pub const EVERY: Duration = Duration::from_millis(10);
/// Questions in a row that have to have the same answer for it to count as settled.
const SETTLED: usize = 10;
/// How often the thread looks at the time.
const PATIENCE: Duration = Duration::from_millis(1);
/// Every EtherType (`ETH_P_ALL`).
const ALL: u16 = 3;
const ARP: [u8; 2] = [0x08, 0x06];
const IPV6: [u8; 2] = [0x86, 0xdd];
const ICMPV6: u8 = 58;

/// A question for both VIPs, and who has answered it.
#[derive(Debug, Clone, Copy)]
pub struct Question {
    /// When it was put.
    pub at: Instant,
    /// For the IPv4 VIP and the IPv6 one, whether each node has answered.
    answered: [Nodes; 2],
}

/// Some of the nodes.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Nodes {
    ours: bool,
    theirs: bool,
}

/// A thread that asks, until it is dropped.
#[derive(Debug)]
pub struct Answers {
    questions: Arc<Mutex<Vec<Question>>>,
    stop: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

/// Who answered in a span of time. What isn't asked isn't counted: while the thread waits for a
/// CPU it learns nothing of anybody.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Span {
    /// The longest time in which questions had no answer.
    pub silence: Duration,
    /// The time in which both nodes answered.
    pub both: Duration,
}

impl Nodes {
    fn only(node: Node) -> Self {
        Self {
            ours: node == Node::Ours,
            theirs: node == Node::Theirs,
        }
    }

    fn has(self, node: Node) -> bool {
        match node {
            Node::Ours => self.ours,
            Node::Theirs => self.theirs,
        }
    }
}

impl Question {
    /// Whether that node has answered for both VIPs.
    fn by(&self, node: Node) -> bool {
        self.answered.iter().all(|nodes| nodes.has(node))
    }

    fn by_none(&self) -> bool {
        self.answered.contains(&Nodes::default())
    }

    fn by_both(&self) -> bool {
        let both = Nodes {
            ours: true,
            theirs: true,
        };
        self.answered.contains(&both)
    }
}

impl Answers {
    /// Starts to ask.
    pub fn start(bed: &Bed) -> Result<Self> {
        let frames = Frames::open(End::new(&bed.watcher, "eth0"), ALL, PATIENCE)?;
        let questions = Arc::new(Mutex::new(Vec::new()));
        let stop = Arc::new(AtomicBool::new(false));
        let thread = std::thread::spawn({
            let (questions, stop) = (Arc::clone(&questions), Arc::clone(&stop));
            move || ask(&frames, &questions, &stop)
        });
        Ok(Self {
            questions,
            stop,
            thread: Some(thread),
        })
    }

    /// The questions put since then, but for the last, which may still be answered.
    fn since(&self, moment: Instant) -> Vec<Question> {
        let questions = self
            .questions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let all = questions.split_last().map_or(&[][..], |(_, before)| before);
        let first = all.partition_point(|question| question.at < moment);
        all[first..].to_vec()
    }

    /// Waits until only that node has answered some questions in a row, put since then.
    pub fn only(&self, node: Node, moment: Instant, deadline: Duration) -> Result<()> {
        let what = format!("only {node} answers for the VIPs");
        self.settled(moment, deadline, &what, |question| {
            question.answered == [Nodes::only(node); 2]
        })
    }

    /// Waits until that node, and perhaps the other, has answered some in a row.
    pub fn also(&self, node: Node, moment: Instant, deadline: Duration) -> Result<()> {
        let what = format!("{node} answers for the VIPs");
        self.settled(moment, deadline, &what, |question| question.by(node))
    }

    fn settled(
        &self,
        moment: Instant,
        deadline: Duration,
        what: &str,
        right: impl Fn(&Question) -> bool,
    ) -> Result<()> {
        eventually(deadline, what, || {
            let all = self.since(moment);
            let last = all.iter().rev().take(SETTLED);
            let settled = all.len() >= SETTLED && last.clone().all(&right);
            Ok(settled.then_some(()))
        })
        .map_err(|error| error.context(format!("last: {}", self.last())))
    }

    /// How long after that moment the node first answered for both VIPs.
    pub fn first(&self, node: Node, moment: Instant) -> Option<Duration> {
        let all = self.since(moment);
        let first = all.iter().find(|question| question.by(node))?;
        Some(first.at - moment)
    }

    /// How long after that moment the node last answered for any of them.
    pub fn last_of(&self, node: Node, moment: Instant) -> Option<Duration> {
        let all = self.since(moment);
        let any = |question: &&Question| question.answered.iter().any(|nodes| nodes.has(node));
        Some(all.iter().rev().find(any)?.at - moment)
    }

    /// Who answered since then.
    pub fn span(&self, moment: Instant) -> Span {
        let all = self.since(moment);
        let silent = all.split(|question| !question.by_none());
        let longest = silent.map(<[_]>::len).max().unwrap_or_default();
        let both = all.iter().filter(|question| question.by_both()).count();
        Span {
            silence: EVERY * longest as u32,
            both: EVERY * both as u32,
        }
    }

    /// The last answers, for people.
    fn last(&self) -> String {
        let questions = self
            .questions
            .lock()
            .unwrap_or_else(PoisonError::into_inner);
        let last = questions.iter().rev().skip(1).take(3);
        last.map(|question| question.to_string())
            .collect::<Vec<_>>()
            .join("; ")
    }
}

impl Drop for Answers {
    fn drop(&mut self) {
        self.stop.store(true, Ordering::Relaxed);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

impl fmt::Display for Question {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = |nodes: Nodes| match (nodes.ours, nodes.theirs) {
            (false, false) => "nobody",
            (true, false) => "Flowgate",
            (false, true) => "keepalived",
            (true, true) => "both",
        };
        let [v4, v6] = self.answered.map(name);
        write!(f, "IPv4 {v4}, IPv6 {v6}")
    }
}

fn ask(frames: &Frames, questions: &Mutex<Vec<Question>>, stop: &AtomicBool) {
    let mut due = Instant::now();
    while !stop.load(Ordering::Relaxed) {
        let frame = frames.next().ok().flatten();
        let now = Instant::now();
        // What has come by now is to the last question, however late this thread reads it.
        if frame.is_none() && now >= due {
            due = now + EVERY;
            let question = Question {
                at: now,
                answered: [Nodes::default(); 2],
            };
            lock(questions).push(question);
            // The link isn't up yet, or no more.
            let _ = frames.send(&request());
            let _ = frames.send(&solicitation());
        }
        if let Some((family, node)) = frame.as_deref().and_then(answer)
            && let Some(question) = lock(questions).last_mut()
        {
            let nodes = &mut question.answered[usize::from(family == Family::V6)];
            match node {
                Node::Ours => nodes.ours = true,
                Node::Theirs => nodes.theirs = true,
            }
        }
    }
}

fn lock(questions: &Mutex<Vec<Question>>) -> std::sync::MutexGuard<'_, Vec<Question>> {
    questions.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Which VIP a frame is an answer for to our question, and whose.
fn answer(frame: &[u8]) -> Option<(Family, Node)> {
    let (head, packet) = frame.split_first_chunk::<14>()?;
    if head[..6] != WATCHER_MAC {
        return None;
    }
    let (family, mac) = if head[12..] == ARP {
        let arp = packet.first_chunk::<28>()?;
        let is_reply = arp[6..8] == [0, 2] && arp[14..18] == octets(Family::V4);
        (Family::V4, is_reply.then_some(&arp[8..14])?)
    } else {
        // IPv6's header, the advertisement's 24 bytes, and the option with the MAC.
        let message = packet.get(40..72)?;
        let is_advertisement = head[12..] == IPV6 && packet[6] == ICMPV6 && message[0] == 136;
        let of_vip = message[8..24] == octets(Family::V6) && message[24..26] == [2, 1];
        let told = (is_advertisement && of_vip).then_some(&message[26..32])?;
        (Family::V6, told)
    };
    let nodes = [Node::Ours, Node::Theirs].into_iter();
    let node = nodes.into_iter().find(|node| node.mac() == mac)?;
    Some((family, node))
}

fn octets(family: Family) -> Vec<u8> {
    bytes(vip(family))
}

fn bytes(address: IpAddr) -> Vec<u8> {
    match address {
        IpAddr::V4(address) => address.octets().to_vec(),
        IpAddr::V6(address) => address.octets().to_vec(),
    }
}

/// An ARP request for the IPv4 VIP.
fn request() -> Vec<u8> {
    [
        &[0xff; 6][..],
        &WATCHER_MAC,
        &ARP,
        &[0, 1, 8, 0, 6, 4, 0, 1],
        &WATCHER_MAC,
        &bytes(host(Family::V4, WATCHER)),
        &[0; 6],
        &octets(Family::V4),
    ]
    .concat()
}

/// A neighbour solicitation for the IPv6 VIP (RFC 4861 section 4.3).
fn solicitation() -> Vec<u8> {
    let vip = octets(Family::V6);
    let source = bytes(host(Family::V6, WATCHER));
    let mut group = Ipv6Addr::new(0xff02, 0, 0, 0, 0, 1, 0xff00, 0).octets();
    group[13..].copy_from_slice(&vip[13..]);
    let mut message = [&[135, 0, 0, 0, 0, 0, 0, 0][..], &vip, &[1, 1], &WATCHER_MAC].concat();
    let length = message.len() as u8;
    let pseudo = [&source[..], &group, &[0, 0, 0, length, 0, 0, 0, ICMPV6]].concat();
    let sum = checksum(&[&pseudo[..], &message].concat());
    message[2..4].copy_from_slice(&sum.to_be_bytes());
    let multicast = [0x33, 0x33, group[12], group[13], group[14], group[15]];
    let header = [0x60, 0, 0, 0, 0, length, ICMPV6, 255];
    [
        &multicast[..],
        &WATCHER_MAC,
        &IPV6,
        &header,
        &source,
        &group,
        &message,
    ]
    .concat()
}

/// The internet checksum (RFC 1071) of an even number of bytes: 0 over what has the right one.
pub fn checksum(bytes: &[u8]) -> u16 {
    let words = bytes.chunks(2);
    let sum: u32 = words
        .map(|word| u32::from(word[0]) << 8 | word.get(1).map_or(0, |&low| u32::from(low)))
        .sum();
    let folded = (sum >> 16) + (sum & 0xffff);
    !((folded >> 16) + folded) as u16
}
