//! Ctrl-C without leftovers.
//!
//! The first SIGINT, SIGTERM or SIGHUP only sets a flag. Every wait of the
//! harness looks at it and fails with [`Interrupted`], so that the stack unwinds
//! through each `Drop`. A second signal means that this took too long: whatever
//! carries our mark is removed by force, and the process exits.

use std::{
    process::exit,
    sync::{
        Once,
        atomic::{AtomicBool, Ordering},
    },
    thread,
};

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::marks;

static INTERRUPTED: AtomicBool = AtomicBool::new(false);
static INSTALLED: Once = Once::new();

/// What every wait fails with after Ctrl-C.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("interrupted")]
pub struct Interrupted;

/// Fails with [`Interrupted`] once a signal has arrived.
pub fn check() -> Result<(), Interrupted> {
    if INTERRUPTED.load(Ordering::Relaxed) {
        Err(Interrupted)
    } else {
        Ok(())
    }
}

/// Starts to listen for signals; further calls do nothing.
pub fn install() {
    INSTALLED.call_once(|| {
        let (ready, wait) = std::sync::mpsc::channel();
        thread::spawn(move || {
            tokio::runtime::Builder::new_current_thread()
                .enable_io()
                .build()
                .expect("a runtime for signals")
                .block_on(listen(ready));
        });
        // A signal that arrives before the handler is there would kill us uncleaned.
        let _ = wait.recv();
    });
}

async fn listen(ready: std::sync::mpsc::Sender<()>) {
    let open = |kind| signal(kind).expect("a signal handler");
    let mut int = open(SignalKind::interrupt());
    let mut term = open(SignalKind::terminate());
    let mut hup = open(SignalKind::hangup());
    let _ = ready.send(());
    next(&mut int, &mut term, &mut hup).await;
    INTERRUPTED.store(true, Ordering::Relaxed);
    eprintln!("interrupted: cleaning up (again to force)");
    next(&mut int, &mut term, &mut hup).await;
    marks::remove(std::process::id());
    exit(130);
}

async fn next(int: &mut Signal, term: &mut Signal, hup: &mut Signal) {
    tokio::select! {
        _ = int.recv() => {}
        _ = term.recv() => {}
        _ = hup.recv() => {}
    }
}
