//! The verbs and their options.

use std::{net::IpAddr, num::NonZeroU32, path::PathBuf};

use clap::{Args, Parser, Subcommand, ValueEnum};

use super::{
    flows::{self, FlowsArgs},
    vip::{self, VipVerb},
};
use crate::config::rules;

/// Where the daemon keeps its socket and its state.
pub const DEFAULT_RUN_DIR: &str = "/run/flowgate";

const EXAMPLES: &str = "\
Examples:
  flowgate check /etc/flowgate/flowgate.toml   Is this file all right?
  sudo flowgate run                            Balance as the file says
  flowgate status                              What is balanced, and is it well?
  flowgate backend drain web web1              Send web1 no new connections
  flowgate backend list --output json | jq .   The same for programs

Exit status:
  0  done
  1  refused or failed: the reason is on standard error
  2  the command line was not understood
  3  no daemon answers on the socket";

const CHECK_EXAMPLE: &str = "\
Every error is told with its line and a way out. A small configuration:

  [node]
  interfaces = [\"eth0\"]

  [[service]]
  name = \"web\"
  vip = \"203.0.113.10\"
  port = 80
  protocol = \"tcp\"                # or \"udp\"
  scheduler = \"round-robin\"       # or \"maglev\", \"least-connections\" …
  forward = \"dsr\"                 # or \"tunnel\", \"nat\", \"full-nat\"
  health = { kind = \"http\", path = \"/healthz\", interval = \"500ms\" }

  [[service.backend]]
  name = \"web1\"
  address = \"10.0.0.11\"

Exit status: 0 when the file is all right, else 1.";

const BACKEND_EXAMPLES: &str = "\
Examples:
  flowgate backend list                         Of all services
  flowgate backend list web                     Of one
  flowgate backend add web web3 10.0.0.13       A new server
  flowgate backend add web sorry 10.0.0.99 --backup    For when no other is left
  flowgate backend drain web web1               Before maintenance: no new connections
  flowgate backend enable web web1              After it
  flowgate backend weight web web3 2            Twice the share of weight 1

These changes outlive a restart of the daemon, and `flowgate reload` keeps those
that still fit. `flowgate unload` and a reboot forget them: what should stay belongs
in the configuration file.";

const RUN_HELP: &str = "\
Examples:
  sudo flowgate run --config ./flowgate.toml
  sudo flowgate run --sample 1000     Log what became of one packet in a thousand

Ctrl-C and SIGTERM stop the daemon and leave forwarding in place;
`flowgate unload` removes everything.";

/// A layer-4 load balancer whose data plane is an XDP program.
#[derive(Debug, Parser)]
#[command(name = "flowgate", version, after_help = EXAMPLES, arg_required_else_help = true)]
pub struct Cli {
    /// The daemon's socket [default: /run/flowgate/flowgate.sock]
    #[arg(
        long,
        global = true,
        value_name = "PATH",
        env = "FLOWGATE_SOCKET",
        hide_env_values = true,
        display_order = 100
    )]
    pub socket: Option<PathBuf>,

    /// How to answer: `table` for people, `json` (the API's own) for programs
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "FORM",
        default_value_t = Output::Table,
        hide_possible_values = true,
        display_order = 101
    )]
    pub output: Output,

    /// What to do.
    #[command(subcommand)]
    pub command: Command,
}

/// How to answer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Output {
    /// Aligned columns.
    Table,
    /// The API's types.
    Json,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum Command {
    /// Run the daemon in the foreground
    #[command(after_help = RUN_HELP)]
    Run(RunArgs),
    /// Check a configuration file; needs no daemon and no privileges
    #[command(after_help = CHECK_EXAMPLE)]
    Check {
        /// The configuration file
        file: PathBuf,
    },
    /// Show the daemon, its interfaces and the health of each service
    Status,
    /// Show the counters: what became of packets, and who got them
    Stats,
    /// Count the flows that are remembered, find one, or watch new ones
    #[command(after_help = flows::HELP)]
    Flows(FlowsArgs),
    /// Show services
    #[command(subcommand)]
    Service(ServiceVerb),
    /// Show and change backends
    #[command(subcommand, after_help = BACKEND_EXAMPLES)]
    Backend(BackendVerb),
    /// Show who holds the VIPs, or hand them over
    #[command(subcommand, after_help = vip::HELP)]
    Vip(VipVerb),
    /// Make the daemon read its configuration file again
    #[command(
        after_help = "A file with an error changes nothing. Runtime changes that still fit are kept."
    )]
    Reload,
    /// Stop forwarding: detach the program and remove everything pinned
    #[command(
        after_help = "Stop the daemon first. Established connections through this node break, and runtime changes are forgotten."
    )]
    Unload(UnloadArgs),
}

/// What `flowgate run` is told.
#[derive(Debug, Clone, Args)]
pub struct RunArgs {
    /// The configuration file
    #[arg(
        long,
        value_name = "FILE",
        default_value = "/etc/flowgate/flowgate.toml"
    )]
    pub config: PathBuf,
    /// Where the socket and the runtime changes are kept
    #[arg(long, value_name = "DIR", default_value = DEFAULT_RUN_DIR)]
    pub run_dir: PathBuf,
    /// Where the program and its maps are pinned, on a bpf file system
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf/flowgate")]
    pub pin_dir: PathBuf,
    /// Log what became of one packet in N; none when left out
    #[arg(long, value_name = "N", value_parser = sample)]
    pub sample: Option<NonZeroU32>,
    /// Where to serve the API: `--socket`, else in the run directory.
    #[arg(skip)]
    pub socket: PathBuf,
}

/// What `flowgate unload` is told.
#[derive(Debug, Clone, Args)]
pub struct UnloadArgs {
    /// Where the socket and the runtime changes are kept
    #[arg(long, value_name = "DIR", default_value = DEFAULT_RUN_DIR)]
    pub run_dir: PathBuf,
    /// Where the program and its maps are pinned, on a bpf file system
    #[arg(long, value_name = "DIR", default_value = "/sys/fs/bpf/flowgate")]
    pub pin_dir: PathBuf,
}

/// What to do with services.
#[derive(Debug, Subcommand)]
pub enum ServiceVerb {
    /// List the services
    List,
}

/// What to do with backends.
#[derive(Debug, Subcommand)]
pub enum BackendVerb {
    /// List the backends of all services or of one
    List {
        /// The service's name
        service: Option<String>,
    },
    /// Add a backend; it takes new connections once it is healthy
    Add {
        /// Which one.
        #[command(flatten)]
        backend: BackendName,
        /// Its own address
        #[arg(value_parser = address)]
        address: IpAddr,
        /// Its port, in the modes nat and full-nat; the service's when left out
        #[arg(long, value_name = "N", value_parser = port)]
        port: Option<u32>,
        /// Its share of new connections beside the others', 1–256
        #[arg(long, value_name = "N", default_value_t = 1, value_parser = weight)]
        weight: u32,
        /// Give it new connections only while no other backend takes any
        #[arg(long)]
        backup: bool,
    },
    /// Remove a backend at once; its connections break
    #[command(
        after_help = "To let its connections end first, drain it and wait until its packets in `flowgate stats` stop rising."
    )]
    Remove(BackendName),
    /// Let a backend take new connections
    Enable(BackendName),
    /// Let a backend keep its connections and give it no new ones
    Drain(BackendName),
    /// Set a backend's share of new connections
    Weight {
        /// Which one.
        #[command(flatten)]
        backend: BackendName,
        /// The share, 1–256
        #[arg(value_parser = weight)]
        weight: u32,
    },
}

/// Which backend.
#[derive(Debug, Clone, Args)]
pub struct BackendName {
    /// The service's name
    #[arg(value_parser = name)]
    pub service: String,
    /// The backend's name in the service
    #[arg(value_parser = name)]
    pub name: String,
}

fn name(text: &str) -> Result<String, String> {
    rules::name(text).map_err(|refusal| refusal.one_line())
}

fn address(text: &str) -> Result<IpAddr, String> {
    rules::address(text).map_err(|refusal| refusal.one_line())
}

// The bounds of ports and weights are the daemon's to tell.
fn port(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| "write a number from 1 to 65535".to_owned())
}

fn weight(text: &str) -> Result<u32, String> {
    text.parse()
        .map_err(|_| "write a number from 1 to 256".to_owned())
}

fn sample(text: &str) -> Result<NonZeroU32, String> {
    text.parse()
        .map_err(|_| "write a number from 1 on, such as 1000".to_owned())
}
