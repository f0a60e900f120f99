//! The daemon: wiring and signals. Decisions are made elsewhere: what should be in
//! [`crate::desired`], what the maps should hold in [`aims`], and the way there in
//! [`crate::plan`].

pub mod aims;
mod control;
mod lock;
mod manager;
mod openings;
mod ports;
mod samples;
mod views;
mod vips;

use std::{
    fs,
    path::Path,
    thread,
    time::{Duration, Instant},
};

use anyhow::{Context as _, bail};
use tokio::{
    signal::unix::{SignalKind, signal},
    sync::{mpsc, watch},
};
use tracing::info;

use self::{control::Handle, lock::Lock, manager::Manager};
use crate::{
    api::{server, socket},
    cli::{RunArgs, UnloadArgs},
    config::model::Config,
    datapath::Pins,
    net,
};

/// Where runtime changes are kept, in the run directory.
const RUNTIME_CHANGES: &str = "runtime.json";

/// Runs the daemon until SIGINT or SIGTERM, which leave forwarding in place.
///
/// # Errors
///
/// When it can't start: the reason and a way out.
pub fn run(args: RunArgs) -> anyhow::Result<()> {
    tracing_subscriber::fmt()
        .with_env_filter(
            tracing_subscriber::EnvFilter::try_from_default_env()
                .unwrap_or_else(|_| tracing_subscriber::EnvFilter::new("info")),
        )
        .with_target(false)
        .with_ansi(std::io::IsTerminal::is_terminal(&std::io::stderr()))
        .with_writer(std::io::stderr)
        .init();
    let config = Config::load(&args.config)?;
    let _lock = Lock::take(&args.run_dir)?;
    raise_file_limit();
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .worker_threads(2)
        .build()
        .context("starting the runtime")?
        .block_on(serve(args, config))
}

async fn serve(args: RunArgs, config: Config) -> anyhow::Result<()> {
    let mut interrupt = signal(SignalKind::interrupt()).context("catching SIGINT")?;
    let mut terminate = signal(SignalKind::terminate()).context("catching SIGTERM")?;
    let mut hangup = signal(SignalKind::hangup()).context("catching SIGHUP")?;
    let mut manager = Manager::start(&args, config).await?;
    let listener = socket::bind(&args.socket)?;
    let (requests, received) = mpsc::channel(64);
    let handle = Handle::new(requests);
    let (stop, stopped) = watch::channel(false);
    let api = tokio::spawn(server::serve(listener, handle.clone(), until(stopped)));
    info!(socket = %args.socket.display(), "ready");
    let ended = {
        let managing = manager.run(received);
        tokio::pin!(managing);
        loop {
            tokio::select! {
                ended = &mut managing => break ended,
                _ = interrupt.recv() => break Ok(()),
                _ = terminate.recv() => break Ok(()),
                _ = hangup.recv() => {
                    let handle = handle.clone();
                    tokio::spawn(async move { control::reload_and_log(&handle).await });
                }
            }
        }
    };
    tokio::select! {
        () = manager.leave() => {}
        // Whoever can't wait for a standby asks once more.
        _ = interrupt.recv() => {}
        _ = terminate.recv() => {}
    }
    // Nobody waits for the answers of requests that come now.
    let _ = stop.send(true);
    api.abort();
    let _ = fs::remove_file(&args.socket);
    info!(
        "stopped; forwarding goes on without health checks until `flowgate run` or `flowgate unload`"
    );
    ended
}

async fn until(mut stopped: watch::Receiver<bool>) {
    // An error means that the sender has gone: the same.
    let _ = stopped.wait_for(|stopped| *stopped).await;
}

/// The interfaces that programs are pinned for.
fn linked(pin_dir: &Path) -> Vec<String> {
    let entries = fs::read_dir(pin_dir.join("links")).into_iter().flatten();
    entries
        .filter_map(|entry| entry.ok()?.file_name().into_string().ok())
        .collect()
}

/// Waits until no program runs on these interfaces: the kernel detaches it a moment after
/// the last pin has gone.
fn gone(names: &[String]) -> anyhow::Result<()> {
    let socket = rustix::net::socket(
        rustix::net::AddressFamily::INET,
        rustix::net::SocketType::DGRAM,
        None,
    )?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()?;
    for name in names {
        // An interface that isn't there has no program.
        let Ok(ifindex) = rustix::net::netdevice::name_to_index(&socket, name) else {
            continue;
        };
        let deadline = Instant::now() + DETACHING;
        while runtime.block_on(net::xdp_mode(ifindex)).is_some() {
            if Instant::now() > deadline {
                bail!(
                    "{name} still runs an XDP program: `ip link show {name}` tells which; another program's is not removed"
                );
            }
            thread::sleep(Duration::from_millis(2));
        }
    }
    Ok(())
}

/// By then the kernel has detached a program whose pin is gone.
const DETACHING: Duration = Duration::from_secs(5);

/// Removes the program, its maps and what the daemon kept.
///
/// # Errors
///
/// When a daemon runs, or the pins can't be removed.
pub fn unload(args: UnloadArgs) -> anyhow::Result<()> {
    let removed = {
        let _lock = if args.run_dir.exists() {
            Some(Lock::take(&args.run_dir)?)
        } else {
            None
        };
        let names = linked(&args.pin_dir);
        let removed = Pins::remove(&args.pin_dir)?;
        gone(&names)?;
        for name in [RUNTIME_CHANGES, "flowgate.sock", lock::NAME] {
            remove_file(&args.run_dir.join(name))?;
        }
        removed
    };
    // Somebody else's files may be there, or nothing.
    let _ = fs::remove_dir(&args.run_dir);
    if removed {
        println!("unloaded: nothing is forwarded any more");
    } else {
        println!("nothing was loaded under {}", args.pin_dir.display());
    }
    Ok(())
}

fn remove_file(path: &Path) -> anyhow::Result<()> {
    match fs::remove_file(path) {
        Err(e) if e.kind() != std::io::ErrorKind::NotFound => {
            bail!("can't remove {}: {e}", path.display())
        }
        _ => Ok(()),
    }
}

/// Each check under way holds a file descriptor; the usual 1,024 are soon used up.
fn raise_file_limit() {
    use rustix::process::{Resource, Rlimit, getrlimit, setrlimit};
    let limit = getrlimit(Resource::Nofile);
    let raised = Rlimit {
        current: limit.maximum,
        maximum: limit.maximum,
    };
    if let Err(error) = setrlimit(Resource::Nofile, raised) {
        tracing::warn!("can't raise the limit of open files: {error}");
    }
}
