//! What `flowgate flows` says of real connections, and how long the largest configuration
//! takes.

use std::{
    fmt::{self, Write as _},
    fs,
    net::SocketAddr,
    path::Path,
    time::{Duration, Instant},
};

use anyhow::{Context, Result, ensure};
use flowgate_tests::{
    bpffs::PinDir,
    dns,
    flowgate::{self, Flowgate},
    http::{After, Connection},
    interrupt,
    link::{End, cable},
    marks,
    netns::Namespace,
    process::Process,
    site::{Description, Family, Site, Way, Wiring},
    wait::eventually,
};
use rustix::process::Signal;
use serde_json::Value;

/// Connections that are held open, and how long each may take for anything.
const HELD: usize = 12;
const PATIENCE: Duration = Duration::from_secs(4);

macro_rules! cases {
    ($($name:ident: $way:ident, $family:ident;)+) => {$(
        #[test]
        fn $name() -> Result<()> {
            let description = Description {
                way: Way::$way,
                vip: Family::$family,
                servers: Family::$family,
                wiring: Wiring::Switches,
            };
            Site::test(description, held_connections)
        }
    )+};
}

cases! {
    dsr_ipv4: Dsr, V4;
    nat_ipv6: Nat, V6;
    full_nat_ipv4: FullNat, V4;
    full_nat_ipv6: FullNat, V6;
}

/// Connections are counted with their servers, and each is found with its own.
fn held_connections(site: &mut Site) -> Result<()> {
    let vip = site.at(80);
    let held = site.client.run(|| {
        let open = |_| -> Result<_> {
            let mut connection = Connection::open(vip, PATIENCE)?;
            let head = connection.get("/", After::Keep)?;
            connection.skip(head.length)?;
            let own = connection.own()?;
            Ok((connection, own, head.server))
        };
        (0..HELD).map(open).collect::<Result<Vec<_>>>()
    })?;
    dns::ask(&site.client, site.vip())?;

    let census = site.flowgate.json(&["flows"])?;
    for server in ["web1", "web2"] {
        let expected = held.iter().filter(|(_, _, by)| by == server).count();
        ensure!(expected > 0, "{server} has no connection");
        let counts = in_service(&census, "web", server)?;
        let ages = &counts["states"]["established"];
        ensure!(sum(ages) == expected as u64, "{server}: {counts}");
        // The clock may have ticked meanwhile.
        let young = [&ages[0], &ages[1]].into_iter().filter_map(Value::as_u64);
        ensure!(young.sum::<u64>() == expected as u64, "{server}: {counts}");
    }
    let asked = ["web1", "web2"].map(|server| in_service(&census, "dns", server));
    let asked: Vec<&Value> = asked.into_iter().collect::<Result<_>>()?;
    ensure!(asked.iter().any(|counts| counts["flows"] != 0), "{census}");

    for (_, own, server) in &held {
        let answer = find(site, *own, vip)?;
        let flow = &answer["flow"];
        ensure!(flow["backend"] == server.as_str(), "{own}: {answer}");
        ensure!(flow["state"] == "established", "{own}: {answer}");
        let translated = flow["source"].is_string();
        ensure!(
            translated == (site.description.way == Way::FullNat),
            "{own}: {answer}"
        );
    }
    never_was(site, held[0].1, vip)
}

/// What was never a connection, or of no service, is not found.
fn never_was(site: &Site, known: SocketAddr, vip: SocketAddr) -> Result<()> {
    let never = SocketAddr::new(known.ip(), 9);
    let strangers = [
        ("tcp", never, vip, "no such flow is known"),
        ("udp", known, vip, "no service takes"),
        (
            "tcp",
            known,
            SocketAddr::new(vip.ip(), 81),
            "no service takes",
        ),
    ];
    for (protocol, client, vip, reason) in strangers {
        let (client, vip) = (client.to_string(), vip.to_string());
        let output = site
            .flowgate
            .command(&["flows", "find", protocol, &client, &vip])?;
        let error = String::from_utf8_lossy(&output.stderr);
        ensure!(output.status.code() == Some(1), "{client}: {output:?}");
        ensure!(error.contains(reason), "{client}: {error}");
    }
    Ok(())
}

fn find(site: &Site, client: SocketAddr, vip: SocketAddr) -> Result<Value> {
    let (client, vip) = (client.to_string(), vip.to_string());
    site.flowgate.json(&["flows", "find", "tcp", &client, &vip])
}

fn in_service<'a>(census: &'a Value, service: &str, backend: &str) -> Result<&'a Value> {
    let named = |list: &'a Value, name: &str| {
        let list = list.as_array()?;
        list.iter().find(|one| one["name"] == name)
    };
    named(&census["services"], service)
        .and_then(|service| named(&service["backends"], backend))
        .with_context(|| format!("no {service}/{backend} in {census}"))
}

fn sum(list: &Value) -> u64 {
    let list = list.as_array().into_iter().flatten();
    list.filter_map(Value::as_u64).sum()
}

const SERVICES: u32 = 4_096;
const BACKENDS: u32 = 65_000;

/// How long the largest configuration takes from the daemon's start until it is ready. What
/// it costs is printed too. Time on a CPU is what it is judged by: others may use the machine.
#[test]
#[ignore = "prints times, which mean something with a release build on a quiet machine"]
fn the_largest_configuration() -> Result<()> {
    interrupt::install();
    marks::remove_of_the_dead();
    let scratch = tempfile::tempdir()?;
    let pins = PinDir::new()?;
    let (lb, far) = (Namespace::new("lb")?, Namespace::new("far")?);
    cable(End::new(&lb, "front"), End::new(&far, "front"))?;
    // All backends behind one router, for the kernel has no room for so many neighbours.
    far.ip("addr add 192.168.0.2/24 dev front")?;
    lb.ip("addr add 192.168.0.1/24 dev front\nroute add 10.0.0.0/8 via 192.168.0.2")?;
    let text = largest();
    let flowgate = Flowgate::installed(&flowgate::binary()?, scratch.path(), pins.path(), &text)?;
    let first = started(&flowgate, &lb, scratch.path(), &pins)?;
    println!("{SERVICES} services, {BACKENDS} backends: {first}");
    let again = started(&flowgate, &lb, scratch.path(), &pins)?;
    println!("the same, taking over what is loaded: {again}");
    let limit = Duration::from_secs(2);
    let slowest = first.busy.max(again.busy);
    ensure!(slowest < limit, "{slowest:?} on a CPU, more than {limit:?}");
    Ok(())
}

/// What a start took, and how much of it on a CPU.
struct Start {
    took: Duration,
    busy: Duration,
}

impl fmt::Display for Start {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ready after {:?}, {:?} on a CPU", self.took, self.busy)
    }
}

/// The time on a CPU that a process has had (proc_pid_stat(5)).
fn busy(process: &Process) -> Result<Duration> {
    let path = format!("/proc/{}/stat", process.pid().as_raw_nonzero());
    let text = fs::read_to_string(path)?;
    // The name before may contain anything but this.
    let (_, rest) = text.rsplit_once(") ").context("no name in stat")?;
    let times = rest.split(' ').skip(11).take(2).map(str::parse::<u64>);
    let ticks: u64 = times.sum::<Result<u64, _>>()?;
    // USER_HZ is 100 wherever we run.
    Ok(Duration::from_millis(ticks * 10))
}

/// Starts the daemon, times it until it says that it is ready, asks it, and stops it.
fn started(flowgate: &Flowgate, lb: &Namespace, files: &Path, pins: &PinDir) -> Result<Start> {
    let (run_dir, log) = (files.join("run"), files.join("log"));
    let mut command = flowgate.run_command(lb, &run_dir, pins.path())?;
    command.env("RUST_LOG", "info");
    let _ = fs::remove_file(&log);
    let begun = Instant::now();
    let mut daemon = Process::start("flowgate run", command, &log, Signal::TERM)?;
    let ready = eventually(Duration::from_secs(120), "flowgate is ready", || {
        ensure!(
            daemon.ended()?.is_none(),
            "it ended: {}",
            fs::read_to_string(&log)?
        );
        let is_ready = fs::read_to_string(&log)?.contains("ready");
        if !is_ready {
            return Ok(None);
        }
        Ok(Some(Start {
            took: begun.elapsed(),
            busy: busy(&daemon)?,
        }))
    })?;
    for verb in ["status", "flows"] {
        let asked = Instant::now();
        let said = flowgate.said(&[verb])?;
        println!(
            "flowgate {verb}: {} bytes in {:?}",
            said.len(),
            asked.elapsed()
        );
        let head: Vec<&str> = said.lines().take(16).collect();
        println!("{}", head.join("\n"));
    }
    daemon.signal(Signal::TERM)?;
    daemon.wait(Duration::from_secs(30))?;
    Ok(ready)
}

/// Services with a VIP each, and 15 or 16 backends each.
fn largest() -> String {
    let mut text = String::from("[node]\ninterfaces = [\"front\"]\n");
    for service in 0..SERVICES {
        let (high, low) = (service >> 8, service & 255);
        let _ = write!(
            text,
            "\n[[service]]\nname = \"s{service}\"\nvip = \"203.0.{high}.{low}\"\nport = 80\n\
             protocol = \"tcp\"\nscheduler = \"round-robin\"\n\
             forward = \"tunnel\"\nencapsulation = \"gue\"\ngue_port = 6080\n"
        );
        for backend in (service..BACKENDS).step_by(SERVICES as usize) {
            let [_, b, c, d] = (backend + 256).to_be_bytes();
            let _ = write!(
                text,
                "\n[[service.backend]]\nname = \"b{backend}\"\naddress = \"10.{b}.{c}.{d}\"\n"
            );
        }
    }
    text
}
