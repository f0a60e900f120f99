//! The table, and the same for programs.

use flowgate_tests::spread::Spread;
use serde::Serialize;

use crate::machine::Machine;
use crate::measure::{Figures, Ratio};
use crate::quiet::{Quiet, TOLERANCE};
use crate::row;
use crate::target::{Against, Target};

/// 64-byte frames on 10 Gbit/s Ethernet: 84 bytes each with preamble and gap.
const LINE_RATE_NS: f64 = 67.2;
/// Bytes that a slot of the flow table may take.
const SLOT_TARGET: f64 = 8.0;
/// All that was measured.
#[derive(Serialize)]
pub struct Report {
    /// Where.
    pub machine: Machine,
    /// Rounds of each row: those in which the machine was quietest.
    pub rounds: u32,
    /// Packets of each program in each round.
    pub repeat: u32,
    /// The rows.
    pub rows: Vec<Row>,
    /// What was to be reached, as far as its rows were measured.
    pub targets: Vec<Judged>,
    /// Whether other work on the machine showed in the figures.
    pub noisy: bool,
}

/// A row, in nanoseconds per packet.
#[derive(Serialize)]
pub struct Row {
    /// Its name.
    pub scenario: String,
    /// The product, net of the prologue.
    pub ours: Spread,
    /// The reference, net of the prologue, where it is measured.
    pub reference: Option<Spread>,
    /// What is subtracted from both.
    pub prologue: Spread,
    /// The bare swap, raw.
    pub swap: Spread,
    /// How much longer than its least in any row the bare swap took, by its median, as a share.
    pub noise: f64,
    /// Cores that this takes of Flowgate at 10 GbE line rate.
    pub line_rate_cores: f64,
}

/// A target, and whether it was met.
#[derive(Serialize)]
pub struct Judged {
    /// What is compared with what.
    pub what: String,
    /// What it came to: a ratio, or nanoseconds, or bytes.
    pub figure: f64,
    /// What it is, where both sides were measured in turns.
    pub turns: Option<Ratio>,
    /// The most that it may be.
    pub most: f64,
    /// Whether it isn't more.
    pub met: bool,
}

impl Row {
    /// Of a row and its figures. `quiet` knows all rows.
    pub fn new(row: row::Row, figures: &Figures, quiet: Quiet) -> Self {
        Row {
            scenario: row.to_string(),
            ours: figures.ours,
            reference: figures.reference,
            prologue: figures.prologue,
            swap: figures.swap,
            noise: quiet.noise(figures.swap.median),
            line_rate_cores: figures.ours.median / LINE_RATE_NS,
        }
    }
}

impl Judged {
    /// A target, by the rows that were measured. `None` when one that it takes wasn't. `quiet`
    /// knows all rows.
    pub fn new(target: &Target, rows: &[(row::Row, Figures)], quiet: Quiet) -> Option<Self> {
        let find = |row: row::Row| {
            let found = rows.iter().find(|(measured, _)| *measured == row);
            found.map(|(_, figures)| figures)
        };
        let of = find(target.of)?;
        let medians = |other: Spread| (of.ours.median / other.median, None);
        let turns = |ratio: Ratio| (ratio.judged(), Some(ratio));
        let (beside, (figure, turns)) = match target.against {
            Against::Clock => ("ns".to_owned(), (of.ours.median, None)),
            Against::Ours(other) => {
                let beside = find(other)?;
                let figure = of.times(beside, quiet).map_or(medians(beside.ours), turns);
                (format!("/ {other}"), figure)
            }
            Against::Reference(other) if other == target.of => {
                ("/ LRU hash".to_owned(), turns(of.times_reference(quiet)?))
            }
            Against::Reference(other) => {
                let figure = medians(find(other)?.reference?);
                (format!("/ LRU hash, {other}"), figure)
            }
        };
        Some(Judged {
            turns,
            ..Self::of(format!("{} {beside}", target.of), figure, target.most)
        })
    }

    /// Bytes that a flow takes: of the flow table, and beside it of the reference.
    pub fn memory(ours: f64, reference: f64) -> Self {
        let what = format!("bytes per flow slot (LRU hash: {reference:.0})");
        Self::of(what, ours, SLOT_TARGET)
    }

    fn of(what: String, figure: f64, most: f64) -> Self {
        Judged {
            what,
            figure,
            turns: None,
            most,
            met: figure <= most,
        }
    }
}

/// Whether the bare swap, which always does the same, didn't always take the same.
pub fn is_noisy(rows: &[Row]) -> bool {
    rows.iter().any(|row| row.noise > TOLERANCE)
}

impl Report {
    /// How many targets were missed.
    pub fn missed(&self) -> usize {
        self.targets.iter().filter(|target| !target.met).count()
    }

    /// For people.
    pub fn print(&self) {
        let Machine {
            kernel,
            cpu,
            pinned_to,
            jit,
        } = &self.machine;
        let jit = if *jit { "on" } else { "OFF" };
        println!("Linux {kernel}, {cpu}, CPU {pinned_to}, JIT {jit}");
        println!(
            "{} rounds of {} of the shortest packets; ns per packet, net of writing the packet",
            self.rounds, self.repeat
        );
        println!();
        self.print_rows();
        println!();
        self.print_targets();
        println!();
        self.print_swap();
        println!(
            "10 GbE line rate is 14.88 Mpps, {LINE_RATE_NS} ns per packet: the last column says how many \
             cores Flowgate's part of that takes; the driver's part comes on top."
        );
        if self.noisy {
            println!(
                "NOISY: the bare swap took more than {:.0} % longer in some rows than in others. Something \
                 else is at work on this machine; measure again when it is quiet.",
                TOLERANCE * 100.0
            );
        }
        match self.missed() {
            0 => println!("All targets met."),
            missed => println!("{missed} of {} targets MISSED.", self.targets.len()),
        }
    }

    fn print_rows(&self) {
        println!(
            "{:<46} {:^22}   {:^22}         cores at",
            "", "Flowgate", "kernel LRU hash"
        );
        println!(
            "{:<46} {:>8} {:>6} {:>6}   {:>8} {:>6} {:>6}   ratio   10 GbE",
            "", "median", "min", "max", "median", "min", "max"
        );
        for row in &self.rows {
            let columns = |spread: Spread| {
                format!(
                    "{:>8.1} {:>6.1} {:>6.1}",
                    spread.median, spread.min, spread.max
                )
            };
            let (reference, ratio) = match row.reference {
                Some(reference) => (
                    columns(reference),
                    format!("{:.2}", row.ours.median / reference.median),
                ),
                None => Default::default(),
            };
            println!(
                "{:<46} {}   {reference:>22}   {ratio:>5}   {:>6.2}{}",
                row.scenario,
                columns(row.ours),
                row.line_rate_cores,
                if row.noise > TOLERANCE {
                    "   noisy"
                } else {
                    ""
                },
            );
        }
    }

    fn print_targets(&self) {
        let width = self
            .targets
            .iter()
            .map(|target| target.what.chars().count());
        let width = width.max().unwrap_or_default();
        for Judged {
            what,
            figure,
            turns,
            most,
            met,
        } in &self.targets
        {
            let met = if *met { "met" } else { "MISSED" };
            let turns = match turns {
                Some(Ratio {
                    quiet: Some(_),
                    all,
                }) => {
                    format!("  in quiet turns; in all {all:.2}")
                }
                Some(Ratio { quiet: None, .. }) => "  in all turns, few of them quiet".to_owned(),
                None => String::new(),
            };
            println!("{what:<width$} {figure:>6.2}  ≤ {most:>5.2}  {met:<6}{turns}");
        }
    }

    fn print_swap(&self) {
        let of = |spread: fn(&Row) -> f64| Spread::of(self.rows.iter().map(spread).collect());
        println!(
            "For comparison, raw: a bare \"swap MACs, send back\" takes {:.1} ns, writing the packet \
             {:.1} to {:.1} ns.",
            of(|row| row.swap.median).median,
            of(|row| row.prologue.median).min,
            of(|row| row.prologue.median).max,
        );
    }
}
