//! Real web servers.

use std::{
    collections::BTreeSet,
    fmt::Write as _,
    fs,
    net::{Ipv4Addr, SocketAddr},
    path::{Path, PathBuf},
    time::Duration,
};

use anyhow::{Context, Result};
use rustix::process::Signal;

use crate::{http, netns::Namespace, process::Process, wait::eventually};

/// The path of the big file.
pub const DOWNLOAD: &str = "/download";
/// Its size.
pub const DOWNLOAD_BYTES: u64 = 3 << 20;
/// How long it takes, since the server sends no faster.
pub const DOWNLOAD_TIME: Duration = Duration::from_secs(DOWNLOAD_BYTES / DOWNLOAD_RATE);
/// Bytes a second.
const DOWNLOAD_RATE: u64 = 512 << 10;

/// The byte at `position` of the big file.
pub fn download_byte(position: u64) -> u8 {
    // 251 is prime, so no power of two shifts the pattern onto itself.
    (position % 251) as u8
}

/// nginx on one host: it tells its name at `/`, answers `/healthz` (unlogged),
/// and serves the big file slowly.
#[derive(Debug)]
pub struct Nginx {
    name: String,
    directory: PathBuf,
    answers_at: SocketAddr,
    process: Option<Process>,
}

impl Nginx {
    /// Writes its files below `scratch` and starts it on `host`, listening on
    /// each of `ports` of every address.
    pub fn start(host: &Namespace, name: &str, ports: &[u16], scratch: &Path) -> Result<Self> {
        let directory = scratch.join(name);
        fs::create_dir(&directory)
            .with_context(|| format!("cannot make {}", directory.display()))?;
        let file: Vec<u8> = (0..DOWNLOAD_BYTES).map(download_byte).collect();
        fs::write(directory.join("download"), file)?;
        fs::write(
            directory.join("nginx.conf"),
            configuration(name, ports, &directory),
        )?;
        let mut nginx = Self {
            name: name.to_owned(),
            directory,
            answers_at: SocketAddr::from((Ipv4Addr::LOCALHOST, ports[0])),
            process: None,
        };
        nginx.restart(host)?;
        Ok(nginx)
    }

    /// Starts it again after [`Nginx::kill`], and waits until it answers.
    pub fn restart(&mut self, host: &Namespace) -> Result<()> {
        let mut command = host.command("nginx")?;
        command
            .arg("-e")
            .arg(self.directory.join("error.log"))
            .arg("-c")
            .arg(self.directory.join("nginx.conf"));
        // SIGTERM: the master then ends its workers, which SIGKILL would orphan.
        let process = Process::start(
            &format!("nginx on {} (package nginx-light)", self.name),
            command,
            &self.directory.join("output.log"),
            Signal::TERM,
        )?;
        self.process = Some(process);
        let what = format!("nginx on {} answers", self.name);
        let answer = eventually(Duration::from_secs(10), &what, || {
            if let Some(process) = &mut self.process
                && let Some(status) = process.ended()?
            {
                anyhow::bail!("nginx ended ({status}): {}", process.log());
            }
            Ok(self.answers(host).ok())
        })?;
        anyhow::ensure!(answer == self.name, "{answer} answers for {}", self.name);
        Ok(())
    }

    /// Asks it on its own host for something that it doesn't log; gives the name of who answers.
    pub fn answers(&self, host: &Namespace) -> Result<String> {
        host.run(|| http::get(self.answers_at, "/healthz", Duration::from_secs(1)))
    }

    /// Kills master and workers with SIGKILL, as a crash would.
    pub fn kill(&mut self) -> Result<()> {
        self.process
            .take()
            .with_context(|| format!("nginx on {} doesn't run", self.name))?
            .kill()
    }

    /// The server's name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The requests that it has logged since the first start.
    pub fn logged(&self) -> Result<Logged> {
        let log = fs::read_to_string(self.directory.join("access.log"))?;
        let mut connections = BTreeSet::new();
        let mut requests = 0;
        for line in log.lines() {
            // "nginx's process, its number of the connection, status, path":
            // numbers begin again with each process.
            let mut fields = line.split(' ');
            connections.insert((fields.next(), fields.next()));
            requests += 1;
        }
        Ok(Logged {
            requests,
            connections: connections.len() as u64,
        })
    }

    /// What it complained about.
    pub fn errors(&self) -> String {
        fs::read_to_string(self.directory.join("error.log")).unwrap_or_default()
    }
}

/// What a web server has logged, without health checks.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Logged {
    /// Requests.
    pub requests: u64,
    /// Connections on which there was a request.
    pub connections: u64,
}

fn configuration(name: &str, ports: &[u16], directory: &Path) -> String {
    let directory = directory.display();
    let served_by = http::SERVED_BY;
    let mut text = format!(
        "daemon off;
user root;
worker_processes 1;
pid {directory}/nginx.pid;
error_log {directory}/error.log;
events {{ worker_connections 8192; }}
http {{
    log_format counted '$pid $connection $status $request_uri';
    access_log {directory}/access.log counted;
    default_type text/plain;
    keepalive_timeout 300s;
"
    );
    // Debian's build would put these where only a whole installation may write.
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        let _ = writeln!(text, "    {kind}_temp_path {directory}/{kind};");
    }
    text.push_str("    server {\n");
    for port in ports {
        for address in ["", "[::]:"] {
            let _ = writeln!(text, "        listen {address}{port} backlog=4096;");
        }
    }
    let _ = write!(
        text,
        "        add_header {served_by} {name} always;
        root {directory};
        location = / {{ return 200 \"{name}\\n\"; }}
        location = /healthz {{ access_log off; return 200 \"ok\\n\"; }}
        location = {DOWNLOAD} {{ limit_rate {DOWNLOAD_RATE}; }}
        location / {{ return 404; }}
    }}
}}
"
    );
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_download_lasts_long_enough_to_be_disturbed() {
        assert!(DOWNLOAD_TIME >= Duration::from_secs(3));
    }
}
