//! New connections on their way from the program's ring to whoever watches.

use std::{collections::HashSet, io, mem, sync::Arc, time::Duration};

use futures_util::stream;
use lb_common::abi::{Opened, WatchCount};
use tokio::{
    io::{Interest, unix::AsyncFd},
    sync::{broadcast, mpsc},
    time::{Interval, MissedTickBehavior},
};

use crate::{
    api::watch::{Ask, Opening, Telling, Told},
    datapath::Ring,
};

/// Connections that are read at one go, and how many such goes may wait for the manager.
const BATCH: usize = 256;
const BATCHES: usize = 4;
/// How often it is told how many were not shown.
const ACCOUNT: Duration = Duration::from_secs(1);

/// Reads the ring as long as somebody takes what it held.
///
/// # Errors
///
/// When the ring can't be waited for.
pub(in crate::daemon) fn read(ring: Ring) -> io::Result<mpsc::Receiver<Vec<Opened>>> {
    // SAFETY: the ring owns its map's descriptor, keeps it open as long as it lives, and
    // always returns that one.
    let mut ring = unsafe { AsyncFd::register_with_interest(ring, Interest::READABLE) }?;
    let (read, batches) = mpsc::channel(BATCHES);
    tokio::spawn(async move {
        while let Ok(mut guard) = ring.readable_mut().await {
            loop {
                let batch: Vec<_> = guard.get_inner_mut().by_ref().take(BATCH).collect();
                if batch.is_empty() {
                    break;
                }
                // While the manager is busy the ring fills up, and the program counts
                // what it has no room for.
                if read.send(batch).await.is_err() {
                    return;
                }
            }
            guard.clear_ready();
        }
    });
    Ok(batches)
}

/// What all that watch are told.
#[derive(Debug, Clone)]
pub(super) enum News {
    /// A connection, and the window of the kernel's clock that it began in.
    Opened(u64, Arc<Opening>),
    /// So many that the program has not told of.
    Untold(u64),
}

/// What one of them is shown: its services, and no more than its rate.
#[derive(Debug)]
struct Share {
    services: HashSet<String>,
    rate: u64,
    count: WatchCount,
}

impl Share {
    fn new(ask: Ask) -> Self {
        Share {
            services: ask.services.into_iter().collect(),
            rate: ask.rate.into(),
            count: WatchCount::default(),
        }
    }

    fn shows(&mut self, window: u64, opening: &Opening) -> bool {
        let is_asked_for = self.services.is_empty()
            || opening
                .to
                .as_ref()
                .is_some_and(|to| self.services.contains(&to.service));
        is_asked_for && self.count.admits(window, self.rate)
    }

    fn hide(&mut self, connections: u64) {
        self.count.untold += connections;
    }

    /// What has not been shown since this was last asked.
    fn hidden(&mut self) -> Option<Told> {
        match mem::take(&mut self.count.untold) {
            0 => None,
            not_shown => Some(Told::NotShown { not_shown }),
        }
    }
}

/// Tells the manager that a watch has ended, however that came.
pub(super) struct Leave {
    pub(super) watcher: u64,
    pub(super) left: mpsc::UnboundedSender<u64>,
}

impl Drop for Leave {
    fn drop(&mut self) {
        // Without a manager nothing is left to end.
        let _ = self.left.send(self.watcher);
    }
}

struct Watcher {
    news: broadcast::Receiver<News>,
    share: Share,
    account: Interval,
    _leave: Leave,
}

impl Watcher {
    async fn next(&mut self) -> Option<Told> {
        loop {
            tokio::select! {
                news = self.news.recv() => match news {
                    Ok(News::Opened(window, opening)) => {
                        if self.share.shows(window, &opening) {
                            return Some(Told::Opened(Arc::unwrap_or_clone(opening)));
                        }
                    }
                    Ok(News::Untold(connections)) => self.share.hide(connections),
                    Err(broadcast::error::RecvError::Lagged(missed)) => self.share.hide(missed),
                    Err(broadcast::error::RecvError::Closed) => return None,
                },
                _ = self.account.tick() => {
                    if let Some(told) = self.share.hidden() {
                        return Some(told);
                    }
                }
            }
        }
    }
}

/// What is told to one that watches.
pub(super) fn telling(ask: Ask, news: broadcast::Receiver<News>, leave: Leave) -> Telling {
    let mut account = tokio::time::interval(ACCOUNT);
    account.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let watcher = Watcher {
        news,
        share: Share::new(ask),
        account,
        _leave: leave,
    };
    Box::pin(stream::unfold(watcher, |mut watcher| async {
        let told = watcher.next().await?;
        Some((told, watcher))
    }))
}

#[cfg(test)]
mod tests {
    use futures_util::StreamExt as _;

    use super::*;
    use crate::{api::watch::Server, config::model::Protocol};

    fn opening(service: &str) -> Opening {
        let socket = "192.0.2.1:80".parse().unwrap();
        Opening {
            at_ms: 0,
            protocol: Protocol::Tcp,
            client: socket,
            vip: socket,
            to: Some(Server {
                service: service.into(),
                backend: "one".into(),
                server: socket,
            }),
        }
    }

    fn ask(services: &[&str], rate: u32) -> Ask {
        let services = services.iter().map(|&name| name.to_owned()).collect();
        Ask { services, rate }
    }

    #[test]
    fn a_share_has_its_services_and_its_rate() {
        let (web, dns) = (opening("web"), opening("dns"));
        let mut share = Share::new(ask(&["web"], 2));
        assert!(!share.shows(1, &dns), "not asked for");
        assert_eq!(share.hidden(), None, "and not missed");
        let shown = (0..5).filter(|_| share.shows(1, &web)).count();
        assert_eq!(shown, 2);
        assert!(share.shows(2, &web), "another window");
        share.hide(10);
        assert_eq!(share.hidden(), Some(Told::NotShown { not_shown: 13 }));
        assert_eq!(share.hidden(), None, "it was told");
        let removed = Opening { to: None, ..web };
        assert!(!share.shows(3, &removed));
        assert!(Share::new(ask(&[], 1)).shows(3, &removed));
    }

    #[tokio::test]
    async fn who_is_slow_misses_some_and_holds_up_nobody() {
        let (news, receiver) = broadcast::channel(4);
        let (left, mut leavers) = mpsc::unbounded_channel();
        let leave = Leave { watcher: 7, left };
        let mut telling = telling(ask(&[], 1_000), receiver, leave);
        let web = Arc::new(opening("web"));
        for _ in 0..10 {
            let waits_for_nobody = news.send(News::Opened(1, Arc::clone(&web)));
            waits_for_nobody.unwrap();
        }
        news.send(News::Untold(100)).unwrap();
        drop(news);
        let (mut shown, mut missed) = (0, 0);
        while let Some(told) = telling.next().await {
            match told {
                Told::Opened(_) => shown += 1,
                Told::NotShown { not_shown } => missed += not_shown,
            }
        }
        // The channel keeps four things.
        assert_eq!(shown, 3);
        // What is only hidden at the very end nobody waits for.
        assert!(missed == 0 || missed >= 7, "{missed}");
        drop(telling);
        assert_eq!(leavers.recv().await, Some(7));
    }
}
