//! `flowgate flows`: its options, and its answers as text; and what the tables cost.

use std::{net::SocketAddr, time::Duration};

use clap::{Args, Subcommand};

use super::{
    client::Question,
    table::{Table, age, count},
};
use crate::{
    api::flows::{
        Connection, FlowAnswer, FlowCensus, FlowCounts, FlowState, FlowView, HashView, Remembers,
        Stage, TableMemory, socket,
    },
    api::watch::Ask,
    config::model::Protocol,
};

pub(super) const HELP: &str = "\
Counted are the living flows by service, backend, state and age, the time since the last
packet from or to the client. Flows are hashed, and no address is kept: so they can be
counted, and one that you name can be found, but who is connected can't be listed.

A service that goes by the client's hash in the mode dsr or tunnel remembers flows only
while its backends change.

With --watch, connections are told as they begin, at most so many in a second and node;
of the rest it is told how many they were. It costs something only while somebody watches.

Examples:
  flowgate flows
  flowgate flows --watch
  flowgate flows --watch --service web --rate 10
  flowgate flows --watch --output json | jq .client
  flowgate flows find tcp 198.51.100.7:40312 203.0.113.10:80
  flowgate flows find udp [2001:db8:c::7]:40312 [2001:db8::10]:53";

const FIND_HELP: &str = "\
Tells which backend has a connection, how far it has come, and when its last packet came.
Where a service remembers no flows, it tells where the hash of this one leads.

Exit status: 1 when no such flow is known.";

/// What `flowgate flows` is told.
#[derive(Debug, Clone, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub struct FlowsArgs {
    /// Show connections as they begin, until Ctrl-C
    #[arg(long)]
    pub watch: bool,
    /// Watch this service's only; may be given several times
    #[arg(long = "service", value_name = "NAME", requires = "watch")]
    pub services: Vec<String>,
    /// Show at most N connections a second, 1–100,000
    #[arg(long, value_name = "N", requires = "watch", default_value_t = Ask::RATE, value_parser = rate)]
    pub rate: u32,
    /// To find one, instead of counting them.
    #[command(subcommand)]
    pub verb: Option<FlowsVerb>,
}

/// What to do with flows.
#[derive(Debug, Clone, Subcommand)]
pub enum FlowsVerb {
    /// Find the flow of one connection
    #[command(after_help = FIND_HELP)]
    Find {
        /// tcp or udp
        #[arg(value_parser = protocol)]
        protocol: Protocol,
        /// The client's address and port
        #[arg(value_name = "CLIENT:PORT", value_parser = socket)]
        client: SocketAddr,
        /// The VIP and the port that the client speaks to
        #[arg(value_name = "VIP:PORT", value_parser = socket)]
        vip: SocketAddr,
    },
}

impl From<FlowsArgs> for Question {
    fn from(args: FlowsArgs) -> Self {
        match args.verb {
            None if args.watch => Question::Watch(Ask {
                services: args.services,
                rate: args.rate,
            }),
            None => Question::Flows,
            Some(FlowsVerb::Find {
                protocol,
                client,
                vip,
            }) => Question::Flow(Connection {
                protocol,
                client,
                vip,
            }),
        }
    }
}

fn rate(text: &str) -> Result<u32, String> {
    let rate = text.parse().ok();
    rate.filter(|rate| Ask::RATES.contains(rate))
        .ok_or_else(|| "write a number from 1 to 100000".to_owned())
}

fn protocol(text: &str) -> Result<Protocol, String> {
    let named = Protocol::ALL.iter().find(|(name, _)| *name == text);
    named
        .map(|(_, protocol)| *protocol)
        .ok_or_else(|| "write tcp or udp".to_owned())
}

/// `flowgate flows`.
pub(super) fn census(census: &FlowCensus) -> String {
    let tick = Duration::from_millis(census.tick_ms).as_secs_f64();
    let mut text = format!(
        "{} flows; the flow table has {} slots, and knows ages to {tick} s\n\n",
        count(census.flows),
        count(census.slots)
    );
    text.push_str(&counts(census));
    for service in &census.services {
        if service.remembers == Remembers::Changes {
            let name = service.name.replace(char::is_control, " ");
            text.push_str(&format!(
                "\n{name} remembers flows only while its backends change"
            ));
        }
    }
    if !text.ends_with('\n') {
        text.push('\n');
    }
    text
}

/// The counts themselves: a row for each service, and for each backend with flows.
fn counts(census: &FlowCensus) -> String {
    let below = census
        .ages
        .iter()
        .map(|&seconds| format!("<{}", short(seconds)));
    let last = census.ages.last().copied().unwrap_or(0);
    let ages: Vec<String> = below.chain([format!("≥{}", short(last))]).collect();
    let states = FlowState::ALL.map(|(name, _)| name.to_uppercase());
    let mut headings = vec!["SERVICE", "BACKEND", "FLOWS"];
    headings.extend(states.iter().map(String::as_str));
    headings.extend(ages.iter().map(String::as_str));
    let mut table = Table::new(&headings, &[2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12]);
    let mut row = |service: &str, backend: &str, counts: &FlowCounts| {
        let mut cells = vec![service.to_owned(), backend.to_owned(), count(counts.flows)];
        let of = |state| counts.states.get(&state).map_or(&[][..], Vec::as_slice);
        let sum = |state: FlowState| count(of(state).iter().sum());
        cells.extend(FlowState::ALL.map(|(_, state)| sum(state)));
        let class = |class: usize| {
            let ages = counts.states.values().filter_map(|ages| ages.get(class));
            count(ages.sum())
        };
        cells.extend((0..ages.len()).map(class));
        table.add(cells);
    };
    for service in &census.services {
        row(&service.name, "(all)", &service.counts);
        for backend in service.backends.iter().filter(|one| one.counts.flows > 0) {
            row(&service.name, &backend.name, &backend.counts);
        }
        if service.removed.flows > 0 {
            row(&service.name, "(removed)", &service.removed);
        }
    }
    if census.removed.flows > 0 {
        row("(removed)", "(all)", &census.removed);
    }
    table.text()
}

/// `flowgate flows find`: an error and its hint when nothing is known.
pub(super) fn found(asked: &Connection, answer: &FlowAnswer) -> Result<String, (String, String)> {
    let connection = format!(
        "{} {} → {}, service {}",
        asked.protocol,
        asked.client,
        asked.vip,
        answer.service.replace(char::is_control, " ")
    );
    let led = answer.hash.as_ref().map(led);
    match (&answer.flow, led, answer.remembers) {
        (Some(flow), led, _) => {
            let led = led.map_or_else(String::new, |led| format!("{led}\n"));
            Ok(format!("{connection}\n{}\n{led}", told(flow)))
        }
        (None, Some(led), Remembers::Changes) => Ok(format!(
            "{connection}\n{led}\nnothing is remembered of this flow\n"
        )),
        (None, ..) => Err((
            format!("no such flow is known: {connection}"),
            "it hasn't begun here, or its timeout has passed; `flowgate flows` counts those \
             that are known"
                .to_owned(),
        )),
    }
}

/// A flow in one line.
fn told(flow: &FlowView) -> String {
    let backend = flow.backend.as_deref().unwrap_or("(removed)");
    let backend = backend.replace(char::is_control, " ");
    let within = age(flow.within_ms.div_ceil(1_000));
    let mut text = format!(
        "backend {backend}, {}, last packet within {within}",
        flow.state.name()
    );
    if let Some(source) = flow.source {
        text.push_str(&format!(", known there as {source}"));
    }
    if flow.expired {
        text.push_str("; expired");
    }
    text
}

/// Where a hash leads, in one line.
fn led(hash: &HashView) -> String {
    let named = |name: &Option<String>| {
        let name = name.as_deref().unwrap_or("(removed)");
        name.replace(char::is_control, " ")
    };
    let backend = named(&hash.backend);
    match hash.stage {
        Stage::Stable => format!("its hash leads to {backend}"),
        Stage::Moving => format!(
            "its hash leads to {backend} for a new connection, to {} for an older one",
            named(&hash.before)
        ),
        Stage::Tracked => {
            format!("its hash leads to {backend}, but for flows that are remembered")
        }
    }
}

/// What the tables cost, in `flowgate status`.
pub(super) fn memory(tables: &[TableMemory]) -> String {
    let mut text = Table::new(&["TABLE", "MEMORY", "FOR"], &[1]);
    let all = tables.iter().map(|one| one.bytes).sum();
    for one in tables {
        text.row([one.table.clone(), bytes(one.bytes), one.why.clone()]);
    }
    text.row(["(all)".to_owned(), bytes(all), String::new()]);
    text.text()
}

/// Bytes in binary units.
fn bytes(bytes: u64) -> String {
    const MIB: f64 = (1 << 20) as f64;
    match bytes {
        0..1_024 => format!("{bytes} B"),
        1_024..1_048_576 => format!("{} KiB", bytes.div_ceil(1_024)),
        _ => format!("{:.1} MiB", bytes as f64 / MIB),
    }
}

/// A round number of seconds, in its greatest unit.
fn short(seconds: u64) -> String {
    match seconds {
        0..60 => format!("{seconds}s"),
        60..3_600 => format!("{}min", seconds / 60),
        _ => format!("{}h", seconds / 3_600),
    }
}
