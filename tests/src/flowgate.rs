//! The product: its configuration for a lab, its daemon and its command line.

use std::{
    fmt::Write as _,
    fs,
    path::{Path, PathBuf},
    process::{Command, ExitStatus, Output},
    time::Duration,
};

use anyhow::{Context, Result, anyhow, bail, ensure};
use rustix::process::Signal;
use serde_json::Value;

use crate::{
    lab::{Lab, PORTS},
    netns::Namespace,
    process::{Process, how},
    wait::{eventually, slowness},
};

/// The service on the VIP's first port: round robin.
pub const EVEN: &str = "web";
/// The service on the VIP's second port: weighted round robin.
pub const WEIGHTED: &str = "shares";

/// How long the daemon may take for anything.
const DEADLINE: Duration = Duration::from_secs(30);

/// How often a web server is asked, and what that bounds.
pub mod health {
    use std::time::Duration;

    use crate::wait::slowness;

    /// From one check to the next, before jitter. A slow machine is asked less often
    /// ([`slowness`]), and has as much longer to answer.
    pub const INTERVAL: Duration = Duration::from_millis(200);
    /// A check without an answer by then has failed. As long as may be: the
    /// machine may be busy with other things than the lab.
    pub const TIMEOUT: Duration = INTERVAL;
    /// Failures in a row after which a server is down, and successes after which
    /// it is back.
    pub const TIMES: u32 = 3;
    /// Per cent by which an interval may be longer or shorter.
    pub const JITTER: u32 = 10;
    /// What a busy machine may add.
    const SLACK: Duration = Duration::from_millis(500);

    /// The longest time that a change of a server's health may go unnoticed.
    pub fn notice() -> Duration {
        (INTERVAL * TIMES * (100 + JITTER) / 100 + TIMEOUT + SLACK) * slowness()
    }
}

/// The product, installed for one lab. On drop the daemon is killed.
#[derive(Debug)]
pub struct Flowgate {
    binary: PathBuf,
    configuration: PathBuf,
    run_dir: PathBuf,
    pin_dir: PathBuf,
    log: PathBuf,
    daemon: Option<Process>,
}

impl Flowgate {
    /// Writes a configuration for the lab; nothing runs yet.
    pub fn new(binary: &Path, lab: &Lab) -> Result<Self> {
        let text = configuration(lab);
        Self::installed(binary, lab.scratch(), lab.pins.path(), &text)
    }

    /// Writes a configuration; files are kept in `scratch`. Nothing runs yet.
    pub fn installed(
        binary: &Path,
        scratch: &Path,
        pin_dir: &Path,
        configuration: &str,
    ) -> Result<Self> {
        let flowgate = Self {
            binary: binary.to_owned(),
            configuration: scratch.join("flowgate.toml"),
            run_dir: scratch.join("run"),
            pin_dir: pin_dir.to_owned(),
            log: scratch.join("flowgate.log"),
            daemon: None,
        };
        fs::write(&flowgate.configuration, configuration)?;
        Ok(flowgate)
    }

    /// The configuration file.
    pub fn configuration(&self) -> &Path {
        &self.configuration
    }

    /// Where the daemon's pins are.
    pub fn pin_dir(&self) -> &Path {
        &self.pin_dir
    }

    /// The command `flowgate run` on `host`, with the given run and pin directories.
    pub fn run_command(&self, host: &Namespace, run_dir: &Path, pin_dir: &Path) -> Result<Command> {
        let mut command = host.command(&self.binary)?;
        command.arg("run").arg("--config").arg(&self.configuration);
        command.arg("--run-dir").arg(run_dir);
        command.arg("--pin-dir").arg(pin_dir);
        Ok(command)
    }

    /// Starts the daemon on `host`, and waits until it answers and holds every
    /// web server for active.
    pub fn start(&mut self, host: &Namespace) -> Result<()> {
        self.begin(host)?;
        eventually(
            DEADLINE,
            "flowgate holds all web servers for active",
            || {
                self.fail_if_ended()?;
                Ok(self
                    .states()
                    .ok()
                    .filter(|states| {
                        !states.is_empty() && states.iter().all(|(_, s)| s == "active")
                    })
                    .map(|_| ()))
            },
        )
        .map_err(|error| anyhow!("{error:#}; flowgate said:\n{}", tail(&self.log(), 20)))
    }

    /// Starts the daemon on `host`, and waits until it answers.
    pub fn launch(&mut self, host: &Namespace) -> Result<()> {
        self.begin(host)?;
        eventually(DEADLINE, "flowgate answers", || {
            self.fail_if_ended()?;
            let answered = self.command(&["status"])?.status.success();
            Ok(answered.then_some(()))
        })
        .map_err(|error| anyhow!("{error:#}; flowgate said:\n{}", tail(&self.log(), 20)))
    }

    fn begin(&mut self, host: &Namespace) -> Result<()> {
        let command = self.run_command(host, &self.run_dir, &self.pin_dir)?;
        let process = Process::start("flowgate run", command, &self.log, Signal::KILL)?;
        self.daemon = Some(process);
        Ok(())
    }

    fn fail_if_ended(&mut self) -> Result<()> {
        let daemon = self.daemon.as_mut().context("flowgate doesn't run")?;
        if let Some(status) = daemon.ended()? {
            bail!("flowgate run ended by itself: {}", how(status));
        }
        Ok(())
    }

    /// Kills the daemon with SIGKILL, as a crash would.
    pub fn kill(&mut self) -> Result<()> {
        self.daemon.take().context("flowgate doesn't run")?.kill()
    }

    /// For how long the daemon's thread of that name has been ready to run, and waited for a CPU.
    pub fn waited_for_cpu(&self, thread: &str) -> Result<Duration> {
        let daemon = self.daemon.as_ref().context("flowgate doesn't run")?;
        let tasks = format!("/proc/{}/task", daemon.pid().as_raw_nonzero());
        for task in fs::read_dir(tasks)? {
            let task = task?.path();
            // Other threads end meanwhile.
            let name = fs::read_to_string(task.join("comm")).unwrap_or_default();
            if name.trim_end() != thread {
                continue;
            }
            // Nanoseconds on a CPU, and waiting for one; how often it ran.
            let times = fs::read_to_string(task.join("schedstat"))?;
            let waited = times.split_whitespace().nth(1).context("no time in it")?;
            return Ok(Duration::from_nanos(waited.parse()?));
        }
        bail!("flowgate has no thread called {thread}")
    }

    /// Sends the daemon `signal` and waits for its end.
    pub fn stop(&mut self, signal: Signal) -> Result<ExitStatus> {
        let mut daemon = self.daemon.take().context("flowgate doesn't run")?;
        daemon.signal(signal)?;
        daemon.wait(DEADLINE)
    }

    /// Runs `flowgate unload`, which must succeed.
    pub fn unload(&self, host: &Namespace) -> Result<()> {
        let mut command = host.command(&self.binary)?;
        command.arg("unload").arg("--run-dir").arg(&self.run_dir);
        command.arg("--pin-dir").arg(&self.pin_dir);
        expect_success(&command.output()?, "unload").map(drop)
    }

    /// Where the daemon serves.
    pub fn socket(&self) -> PathBuf {
        self.run_dir.join("flowgate.sock")
    }

    /// Runs the command line against the daemon's socket.
    pub fn command(&self, arguments: &[&str]) -> Result<Output> {
        Command::new(&self.binary)
            .arg("--socket")
            .arg(self.socket())
            .args(arguments)
            .output()
            .with_context(|| format!("cannot start {}", self.binary.display()))
    }

    /// Runs the command line, which must succeed, and returns what it said.
    pub fn said(&self, arguments: &[&str]) -> Result<String> {
        expect_success(&self.command(arguments)?, &arguments.join(" "))
    }

    /// Runs the command line and reads its JSON.
    pub fn json(&self, arguments: &[&str]) -> Result<Value> {
        let text = self.said(&[arguments, &["--output", "json"]].concat())?;
        serde_json::from_str(&text).with_context(|| format!("{arguments:?} is no JSON: {text}"))
    }

    /// Every backend with its state, as `service/backend` and the state's name.
    pub fn states(&self) -> Result<Vec<(String, String)>> {
        let services = self.json(&["backend", "list"])?;
        let mut states = Vec::new();
        for service in list(&services)? {
            for backend in list(&service["backends"])? {
                let name = format!("{}/{}", text(service, "name")?, text(backend, "name")?);
                states.push((name, text(backend, "state")?.to_owned()));
            }
        }
        Ok(states)
    }

    /// What the daemons have logged.
    pub fn log(&self) -> String {
        fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Everything that helps to find out what went wrong.
    pub fn describe(&self) -> String {
        let mut text = format!("── flowgate's log\n{}", tail(&self.log(), 60));
        for arguments in [&["status"][..], &["backend", "list"], &["stats"]] {
            let output = match self.command(arguments) {
                Ok(output) => [output.stdout, output.stderr].concat(),
                Err(error) => format!("{error:#}\n").into_bytes(),
            };
            let _ = write!(
                text,
                "── flowgate {}\n{}",
                arguments.join(" "),
                String::from_utf8_lossy(&output)
            );
        }
        text
    }
}

/// Where the product's binary is: what `FLOWGATE` names, else beside the program
/// that runs (a test's is one folder deeper).
pub fn binary() -> Result<PathBuf> {
    if let Some(path) = std::env::var_os("FLOWGATE") {
        let path = PathBuf::from(path);
        ensure!(path.is_file(), "FLOWGATE: there is no {}", path.display());
        return Ok(path);
    }
    let own = std::env::current_exe()?;
    own.ancestors()
        .skip(1)
        .take(2)
        .map(|directory| directory.join("flowgate"))
        .find(|path| path.is_file())
        .with_context(|| {
            format!(
                "there is no flowgate near {}: build it (cargo build -p lb-userspace, with \
                 --release for a release build of this), or set FLOWGATE to its path",
                own.display()
            )
        })
}

fn list(value: &Value) -> Result<&Vec<Value>> {
    value
        .as_array()
        .with_context(|| format!("not a list: {value}"))
}

fn text<'a>(value: &'a Value, key: &str) -> Result<&'a str> {
    let text = value[key].as_str();
    text.with_context(|| format!("no {key} in {value}"))
}

fn expect_success(output: &Output, what: &str) -> Result<String> {
    ensure!(
        output.status.success(),
        "flowgate {what}: {}: {}",
        how(output.status),
        String::from_utf8_lossy(&output.stderr).trim_end()
    );
    Ok(String::from_utf8_lossy(&output.stdout).into_owned())
}

fn tail(text: &str, lines: usize) -> String {
    let all: Vec<_> = text.lines().collect();
    let mut tail = all[all.len().saturating_sub(lines)..].join("\n");
    tail.push('\n');
    tail
}

fn configuration(lab: &Lab) -> String {
    let mut text = format!("[node]\ninterfaces = {:?}\n", lab.mode.interfaces());
    let services = [(EVEN, "round-robin"), (WEIGHTED, "weighted-round-robin")];
    for ((name, scheduler), port) in services.into_iter().zip(PORTS) {
        let _ = write!(
            text,
            r#"
[[service]]
name = "{name}"
vip = "{vip}"
port = {port}
protocol = "tcp"
scheduler = "{scheduler}"
forward = "{forward}"
health = {{ kind = "http", path = "/healthz", interval = "{interval}ms", timeout = "{timeout}ms", fall = {times}, rise = {times}, jitter = "{jitter}%" }}
"#,
            vip = lab.vip().ip(),
            forward = lab.mode.name(),
            interval = (health::INTERVAL * slowness()).as_millis(),
            timeout = (health::TIMEOUT * slowness()).as_millis(),
            times = health::TIMES,
            jitter = health::JITTER,
        );
        for web in &lab.webs {
            let _ = write!(
                text,
                "\n[[service.backend]]\nname = \"{}\"\naddress = \"{}\"\nport = {}\n",
                web.name(),
                web.address,
                lab.mode.web_port(port)
            );
        }
    }
    text
}
