//! The table, and the same for programs.

use serde::Serialize;

use crate::{row::Row, target::Target};

/// A gap of echoes before the fault that tells of a busy machine, in milliseconds.
const CALM: f64 = 20.0;

/// All that was measured.
#[derive(Debug, Serialize)]
pub struct Report {
    /// The kernel's release.
    pub kernel: String,
    /// The CPU's name.
    pub cpu: String,
    pub cpus: usize,
    /// Connections that stay.
    pub connections: u32,
    pub newcomers_per_second: u32,
    /// From an echo to the connection's next message.
    pub pause_ms: u32,
    /// Between Flowgate's advertisements.
    pub interval_ms: u32,
    pub rows: Vec<Row>,
    pub targets: Vec<Target>,
}

impl Report {
    /// How many targets were missed.
    pub fn missed(&self) -> usize {
        self.targets.iter().filter(|target| !target.met).count()
    }

    /// For people.
    pub fn print(&self) {
        println!("Linux {}, {}, {} CPUs", self.kernel, self.cpu, self.cpus);
        println!(
            "{} connections, each with a message {} ms after the last echo; {} new ones a second; \
             Flowgate advertises each {} ms",
            self.connections, self.pause_ms, self.newcomers_per_second, self.interval_ms
        );
        println!();
        println!("Gaps in service in milliseconds, median and worst:");
        println!(
            "  new     no new connection was accepted within 5 ms: a SYN each millisecond, sent once"
        );
        println!(
            "  flow    no datagram of a known flow was echoed within 5 ms: one each millisecond"
        );
        println!(
            "  past    new connections to a server, past the load balancers: what isn't theirs"
        );
        println!(
            "  gap     the longer one of new and flow, less the time that probes past them waited, too"
        );
        println!("  lost    the longer one of new and flow when late answers count, too");
        println!("  echoes  no echo arrived at any connection (TCP's timers make it longer)");
        println!(
            "  one     between two echoes of one connection that survived, the pause included"
        );
        println!(
            "Two: both nodes answered ARP for the VIP, in milliseconds, worst; + at the end still."
        );
        for rows in self.rows.chunk_by(|a, b| a.fault == b.fault) {
            print_fault(rows);
        }
        println!();
        self.print_calm();
        self.print_targets();
    }

    /// What this machine makes of no fault.
    fn print_calm(&self) {
        let trials = self.rows.iter().flat_map(|row| &row.trials);
        let mut calm: Vec<f64> = trials
            .filter(|trial| trial.established > 0)
            .map(|trial| trial.calm_echo_gap)
            .collect();
        calm.sort_by(f64::total_cmp);
        let (Some(worst), median) = (calm.last(), calm.get(calm.len() / 2)) else {
            return;
        };
        let median = median.copied().unwrap_or_default();
        println!(
            "Before the faults, the longest times without an echo: median {median:.1} ms, worst {worst:.1} ms."
        );
        if median > CALM {
            println!(
                "BUSY: something else is at work on this machine, and in these figures; measure again \
                 when it is quiet."
            );
        }
        println!();
    }

    fn print_targets(&self) {
        let width = self
            .targets
            .iter()
            .map(|target| target.what.chars().count());
        let width = width.max().unwrap_or_default();
        for Target {
            what,
            figure,
            most,
            met,
        } in &self.targets
        {
            let met = if *met { "met" } else { "MISSED" };
            println!("{what:<width$} {figure:>8.1}  ≤ {most:>5.1}  {met}");
        }
        match (self.missed(), self.targets.len()) {
            (_, 0) => println!("No target was measured."),
            (0, _) => println!("All targets met."),
            (missed, all) => println!("{missed} of {all} targets MISSED."),
        }
    }
}

fn print_fault(rows: &[Row]) {
    let width = rows.iter().map(|row| row.contender.chars().count());
    let width = width.max().unwrap_or_default();
    println!();
    println!(
        "{:<width$} {:^11} {:^11} {:^11} {:^11} {:^11} {:^11} {:^11} {:^13} {:^11} {:^13} {:>7}",
        rows[0].fault.name().to_uppercase(),
        "new",
        "flow",
        "past",
        "gap",
        "lost",
        "echoes",
        "one",
        "broken",
        "young",
        "new failed",
        "two"
    );
    for row in rows {
        let gap = |figure: &dyn Fn(&flowgate_tests::pair::outcome::Outcome) -> f64| {
            let spread = row.spread(figure);
            spread.map_or_else(String::new, |s| format!("{:.0} {:.0}", s.median, s.max))
        };
        let has_flow = row.trials.iter().any(|trial| trial.flow_gap.is_some());
        let flow = match has_flow {
            true => gap(&|trial| trial.flow_gap.unwrap_or_default()),
            false => "-".to_owned(),
        };
        let of = |some: usize, all: usize| format!("{some}/{all}");
        let two = row.spread(|trial| trial.two_answering);
        let still = row.trials.iter().any(|trial| trial.two_at_end);
        println!(
            "{:<width$} {:>11} {:>11} {:>11} {:>11} {:>11} {:>11} {:>11} {:>13} {:>11} {:>13} {:>6}{}{}",
            row.contender,
            gap(&|trial| trial.syn_gap),
            flow,
            gap(&|trial| trial.bypass_gap),
            gap(&|trial| trial.own_gap),
            gap(&|trial| trial.lost_gap),
            gap(&|trial| trial.echo_gap),
            gap(&|trial| trial.connection_gap),
            of(
                row.sum(|trial| trial.broken),
                row.sum(|trial| trial.established)
            ),
            of(
                row.sum(|trial| trial.young_broken),
                row.sum(|trial| trial.young)
            ),
            of(
                row.sum(|trial| trial.new_failed),
                row.sum(|trial| trial.new)
            ),
            two.map_or_else(String::new, |spread| format!("{:.0}", spread.max)),
            if still { "+" } else { " " },
            match row.failures.len() {
                0 => String::new(),
                count => format!("  {count} not measured"),
            }
        );
    }
}
