//! Fixture tables: a packet in, and everything that must come of it.

use std::{collections::BTreeSet, fmt::Write as _};

use flowgate::datapath::counters::BackendCounters;
use lb_common::verdict::Verdict;

use crate::{
    diff,
    frame::Frame,
    rig::{Rig, XDP_DROP, XDP_PASS, XDP_TX},
    site,
};

/// What must come out. Where we are free to choose, as with `full-nat`'s ports, it is told
/// what came out, and makes of the choice, if that is one that we may make, the rest.
type Output = Box<dyn Fn(&[u8]) -> Vec<u8>>;

fn exactly(output: &impl Bytes) -> Output {
    let output = output.wire();
    Box::new(move |_| output.clone())
}

/// One packet and what must come of it.
pub struct Row {
    name: String,
    /// The RFC section that asks for it, where one does.
    rfc: &'static str,
    before: Vec<Vec<u8>>,
    prepare: fn(&mut Rig),
    packet: Vec<u8>,
    verdict: Verdict,
    action: u32,
    output: Output,
    counted: (u16, BackendCounters),
}

/// A row that so far passes its packet untouched.
pub fn row(name: impl Into<String>, packet: impl Bytes) -> Row {
    let packet = packet.wire();
    Row {
        name: name.into(),
        rfc: "",
        before: Vec::new(),
        prepare: |_| {},
        output: exactly(&packet),
        packet,
        verdict: Verdict::PassProtocol,
        action: XDP_PASS,
        counted: (0, BackendCounters::default()),
    }
}

/// Something that goes on the wire.
pub trait Bytes {
    fn wire(&self) -> Vec<u8>;
}

impl Bytes for Frame {
    fn wire(&self) -> Vec<u8> {
        self.bytes()
    }
}

impl Bytes for Vec<u8> {
    fn wire(&self) -> Vec<u8> {
        self.clone()
    }
}

impl Bytes for &[u8] {
    fn wire(&self) -> Vec<u8> {
        self.to_vec()
    }
}

impl Row {
    pub fn rfc(mut self, section: &'static str) -> Self {
        self.rfc = section;
        self
    }

    /// Packets that go before it.
    pub fn after<'a, B: Bytes + 'a>(mut self, packets: impl IntoIterator<Item = &'a B>) -> Self {
        self.before = packets.into_iter().map(Bytes::wire).collect();
        self
    }

    /// A change of the maps, between the packets before it and itself.
    pub fn when(mut self, prepare: fn(&mut Rig)) -> Self {
        self.prepare = prepare;
        self
    }

    pub fn passes(mut self, verdict: Verdict) -> Self {
        self.verdict = verdict;
        self
    }

    pub fn drops(mut self, verdict: Verdict) -> Self {
        (self.verdict, self.action) = (verdict, XDP_DROP);
        self
    }

    pub fn answers(mut self, verdict: Verdict, output: impl Bytes) -> Self {
        (self.verdict, self.action, self.output) = (verdict, XDP_TX, exactly(&output));
        self
    }

    /// It goes to a backend; a first packet is counted as a connection.
    pub fn forwards(
        mut self,
        verdict: Verdict,
        action: u32,
        backend: u16,
        output: impl Bytes,
    ) -> Self {
        (self.verdict, self.action, self.output) = (verdict, action, exactly(&output));
        let counted = BackendCounters {
            packets_in: 1,
            bytes_in: self.packet.len() as u64,
            connections: u64::from(verdict == Verdict::ForwardNew),
            ..BackendCounters::default()
        };
        self.counted = (backend, counted);
        self
    }

    /// It comes from a backend.
    pub fn returns(
        mut self,
        verdict: Verdict,
        action: u32,
        backend: u16,
        output: impl Bytes,
    ) -> Self {
        (self.verdict, self.action, self.output) = (verdict, action, exactly(&output));
        let counted = BackendCounters {
            packets_out: 1,
            bytes_out: self.packet.len() as u64,
            ..BackendCounters::default()
        };
        self.counted = (backend, counted);
        self
    }

    /// Sent, and counted for no backend.
    pub fn counts_nothing(mut self) -> Self {
        self.counted = (0, BackendCounters::default());
        self
    }

    /// What comes out is as `output` makes it of what came out.
    pub fn like(mut self, output: impl Fn(&[u8]) -> Vec<u8> + 'static) -> Self {
        self.output = Box::new(output);
        self
    }

    /// Runs it; what came out otherwise than it should, as text.
    fn run(&self, rig: &mut Rig, program: &mut Program<'_>) -> Result<Verdict, String> {
        for packet in &self.before {
            program(rig, packet);
        }
        (self.prepare)(rig);
        rig.risen();
        // And 0, which nothing may count on.
        let numbers = [&[0], &rig.numbers()[..]].concat();
        let counters = |rig: &Rig| -> Vec<BackendCounters> {
            numbers.iter().map(|&number| rig.counters(number)).collect()
        };
        let before = counters(rig);
        let (action, output) = program(rig, &self.packet);
        let risen = rig.risen();
        let mut text = String::new();
        if risen != [(self.verdict, 1)] {
            let _ = writeln!(text, "  expected one {:?}, counted {risen:?}", self.verdict);
        }
        if action != self.action {
            let _ = writeln!(text, "  expected action {}, got {action}", self.action);
        }
        let expected = (self.output)(&output);
        if output != expected {
            text += &diff::of(&expected, &output);
        }
        for ((&number, before), after) in numbers.iter().zip(before).zip(counters(rig)) {
            let got = less(after, before);
            let expected = if number == self.counted.0 {
                self.counted.1
            } else {
                BackendCounters::default()
            };
            if got != expected {
                let _ = writeln!(
                    text,
                    "  backend {number}: expected {expected:?}\n                  got {got:?}"
                );
            }
        }
        if text.is_empty() {
            return Ok(self.verdict);
        }
        Err(format!("{} [{}]\n{text}", self.name, self.rfc))
    }
}

fn less(a: BackendCounters, b: BackendCounters) -> BackendCounters {
    BackendCounters {
        packets_in: a.packets_in - b.packets_in,
        bytes_in: a.bytes_in - b.bytes_in,
        packets_out: a.packets_out - b.packets_out,
        bytes_out: a.bytes_out - b.bytes_out,
        connections: a.connections - b.connections,
    }
}

/// Runs a table on a site of its own; the verdicts that were seen.
pub fn check(rows: &[Row]) -> BTreeSet<Verdict> {
    check_on(&mut site::rig(), rows)
}

/// Runs a table; the verdicts that were seen.
pub fn check_on(rig: &mut Rig, rows: &[Row]) -> BTreeSet<Verdict> {
    check_through(rig, &mut Rig::run, rows)
}

/// What packets go through, on a rig's maps: action and packet.
pub type Program<'a> = dyn FnMut(&mut Rig, &[u8]) -> (u32, Vec<u8>) + 'a;

/// Runs a table through another program on the rig's maps; the verdicts that were seen.
pub fn check_through(rig: &mut Rig, program: &mut Program<'_>, rows: &[Row]) -> BTreeSet<Verdict> {
    let results = rows.iter().map(|row| row.run(rig, program));
    let (good, bad): (Vec<_>, Vec<_>) = results.partition(Result::is_ok);
    let bad: Vec<String> = bad.into_iter().filter_map(Result::err).collect();
    assert!(
        bad.is_empty(),
        "{} of {} rows:\n{}",
        bad.len(),
        rows.len(),
        bad.join("\n")
    );
    good.into_iter().flatten().collect()
}
