//! `flowgate flows --watch` shows the connections that real clients make, and ends.

use std::{
    collections::BTreeSet, net::SocketAddr, path::PathBuf, process::Command, time::Duration,
};

use anyhow::{Context, Result, ensure};
use aya::maps::{Array, Map, MapData};
use flowgate_tests::{
    dns,
    flowgate::{self, Flowgate},
    http::{After, Connection},
    process::Process,
    site::{Description, Family, Site, Way, Wiring},
    wait::eventually,
};
use rustix::process::Signal;
use serde_json::Value;

/// Connections that are made, and how long each may take for anything.
const CONNECTIONS: usize = 12;
const PATIENCE: Duration = Duration::from_secs(4);
/// How long anything that is to be seen may take on a busy machine.
const SOON: Duration = Duration::from_secs(10);

macro_rules! cases {
    ($($name:ident: $way:ident, $family:ident, $test:ident;)+) => {$(
        #[test]
        fn $name() -> Result<()> {
            let description = Description {
                way: Way::$way,
                vip: Family::$family,
                servers: Family::$family,
                wiring: Wiring::Switches,
            };
            Site::test(description, $test)
        }
    )+};
}

cases! {
    dsr_ipv4: Dsr, V4, shown;
    full_nat_ipv6: FullNat, V6, shown;
    the_end_of_whoever_watches: Dsr, V4, ended;
    the_end_of_the_daemon: Nat, V4, orphaned;
}

/// A `flowgate flows --watch`.
struct Watch {
    process: Process,
    name: &'static str,
}

impl Watch {
    /// Starts it, and waits until the program is switched to tell.
    fn start(site: &Site, name: &'static str, arguments: &[&str]) -> Result<Self> {
        let mut command = Command::new(flowgate::binary()?);
        command.arg("--socket").arg(site.flowgate.socket());
        command.args(["flows", "--watch"]).args(arguments);
        let log = site.scratch().join(format!("{name}.log"));
        let process = Process::start(name, command, &log, Signal::KILL)?;
        Ok(Watch { process, name })
    }

    fn lines(&self) -> Vec<String> {
        let log = self.process.log();
        // The last one may not be whole.
        let whole = log.rfind('\n').map_or("", |end| &log[..end]);
        whole.lines().map(str::to_owned).collect()
    }

    /// Waits until it shows its headings.
    fn begun(self) -> Result<Self> {
        eventually(SOON, "the watch begins", || {
            let lines = self.lines();
            Ok(lines.first().map(|line| line.starts_with("TIME")))
        })?;
        Ok(self)
    }

    /// Waits until it has shown so many lines.
    fn shows(&self, lines: usize) -> Result<Vec<String>> {
        let what = format!("{} shows {lines} lines", self.name);
        eventually(SOON, &what, || {
            Ok(Some(self.lines()).filter(|shown| shown.len() >= lines))
        })
        .with_context(|| format!("it has shown {:#?}", self.lines()))
    }
}

/// Words of the switch: of the services, how many, and until when.
const WORDS: usize = 64 + 2;

/// Until when the program is switched to tell, in ns; 0 when it isn't.
fn until(flowgate: &Flowgate) -> Result<u64> {
    let path: PathBuf = flowgate.pin_dir().join("maps").join("WATCH");
    let map = Map::Array(MapData::from_pin(&path)?);
    let switch: Array<_, [u64; WORDS]> = Array::try_from(map)?;
    Ok(switch.get(&0, 0)?[WORDS - 1])
}

fn is_off(flowgate: &Flowgate) -> Result<()> {
    eventually(SOON, "the telling ends", || {
        Ok((until(flowgate)? == 0).then_some(()))
    })
}

/// Connections of the client: their own ends, and the servers that they got.
fn connect(site: &Site, many: usize) -> Result<BTreeSet<(SocketAddr, String)>> {
    let vip = site.at(80);
    site.client.run(|| {
        let open = |_| -> Result<_> {
            let mut connection = Connection::open(vip, PATIENCE)?;
            let own = connection.own()?;
            let head = connection.get("/", After::Close)?;
            connection.skip(head.length)?;
            Ok((own, head.server))
        };
        (0..many).map(open).collect()
    })
}

/// Two watch at once: one the web's, one everything as JSON.
fn shown(site: &mut Site) -> Result<()> {
    ensure!(until(&site.flowgate)? == 0, "nobody watches yet");
    let web = Watch::start(site, "web", &["--service", "web"])?.begun()?;
    let all = Watch::start(site, "all", &["--output", "json"])?;
    let vip = site.at(80);
    // JSON has no headings: its first line shows that it has begun.
    let mut warm = BTreeSet::new();
    eventually(SOON, "the watch begins", || {
        warm.extend(connect(site, 1)?);
        Ok((!all.lines().is_empty()).then_some(()))
    })?;
    let mut made = connect(site, CONNECTIONS)?;
    dns::ask(&site.client, site.vip())?;
    made.extend(warm);

    let lines = web.shows(1 + made.len())?;
    let mut seen = BTreeSet::new();
    for line in &lines[1..] {
        let words: Vec<&str> = line.split_whitespace().collect();
        let [_, protocol, client, at, service, backend, server] = words[..] else {
            anyhow::bail!("{line}");
        };
        ensure!((protocol, service) == ("tcp", "web"), "{line}");
        ensure!(at.parse::<SocketAddr>()? == vip, "{line}");
        ensure!(server.parse::<SocketAddr>().is_ok(), "{line}");
        ensure!(
            seen.insert((client.parse()?, backend.to_owned())),
            "twice: {line}"
        );
    }
    ensure!(seen == made, "{seen:#?}, not {made:#?}");

    let of_dns = eventually(SOON, "the question to the name server is shown", || {
        let lines = all.lines();
        Ok(lines.into_iter().find(|line| line.contains("\"dns\"")))
    })?;
    let told: Value = serde_json::from_str(&of_dns)?;
    ensure!(told["protocol"] == "udp", "{told}");
    ensure!(told["vip"] == site.at(53).to_string(), "{told}");
    ensure!(told["at_ms"].as_u64() > Some(1_700_000_000_000), "{told}");
    Ok(())
}

/// However one ends, the telling ends with the last of them, at once.
fn ended(site: &mut Site) -> Result<()> {
    let mut first = Watch::start(site, "first", &[])?.begun()?;
    let mut second = Watch::start(site, "second", &["--rate", "1"])?.begun()?;
    first.process.kill()?;
    // The one that is left gets its own rate, and hears how much that leaves out.
    connect(site, CONNECTIONS)?;
    let lines = eventually(SOON, "it is told what was not shown", || {
        let lines = second.lines();
        let told = lines.iter().any(|line| line.contains("more not shown"));
        Ok(told.then_some(lines))
    })?;
    ensure!(lines.len() < CONNECTIONS, "{lines:#?}");
    second.process.kill()?;
    is_off(&site.flowgate)?;

    let mut third = Watch::start(site, "third", &[])?.begun()?;
    third.process.signal(Signal::INT)?;
    third.process.wait(SOON)?;
    is_off(&site.flowgate)?;

    let mut unknown = Watch::start(site, "unknown", &["--service", "wbe"])?;
    let status = unknown.process.wait(SOON)?;
    let said = unknown.process.log();
    ensure!(status.code() == Some(1), "{status}: {said}");
    ensure!(
        said.contains("no service called") && said.contains("did you mean"),
        "{said}"
    );
    ensure!(until(&site.flowgate)? == 0, "{said}");
    Ok(())
}

/// A daemon that is killed leaves nothing switched on.
fn orphaned(site: &mut Site) -> Result<()> {
    let mut watch = Watch::start(site, "orphan", &[])?.begun()?;
    connect(site, 1)?;
    watch.shows(2)?;
    site.flowgate.kill()?;
    let status = watch.process.wait(SOON)?;
    let said = watch.process.log();
    ensure!(status.code() == Some(3), "{status}: {said}");
    ensure!(said.contains("the daemon has ended the watch"), "{said}");
    ensure!(until(&site.flowgate)? != 0, "nobody has switched it off");
    // The program itself does, at the first connection after the daemon's time.
    eventually(SOON, "the telling ends", || {
        connect(site, 1)?;
        Ok((until(&site.flowgate)? == 0).then_some(()))
    })?;
    Ok(())
}
