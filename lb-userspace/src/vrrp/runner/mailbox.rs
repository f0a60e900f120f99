//! Messages between threads of which one never waits.

use std::{
    os::fd::{AsFd, BorrowedFd, OwnedFd},
    sync::{Mutex, PoisonError, TryLockError},
};

use rustix::{
    event::{EventfdFlags, PollFd, PollFlags, eventfd, poll},
    io::{Errno, read, write},
};

/// A queue that can be polled.
///
/// The thread that keeps time only ever *tries* the lock: whoever holds it may not be running, for
/// ordinary threads wait behind it. What it can't have now, it gets by the wake-up that
/// follows once the lock is free.
pub struct Mailbox<T> {
    queue: Mutex<Vec<T>>,
    /// Readable since something was put into the queue.
    ready: OwnedFd,
}

impl<T> Mailbox<T> {
    /// An empty one.
    ///
    /// # Errors
    /// No file descriptor is left.
    pub fn new() -> std::io::Result<Self> {
        let flags = EventfdFlags::CLOEXEC | EventfdFlags::NONBLOCK;
        Ok(Self {
            queue: Mutex::new(Vec::new()),
            ready: eventfd(0, flags)?,
        })
    }

    /// Puts `message` into it. May wait.
    pub fn send(&self, message: T) {
        let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
        queue.push(message);
        drop(queue);
        self.wake();
    }

    /// Puts all `messages` into it, unless that means waiting: then they stay where they are.
    pub fn try_send(&self, messages: &mut Vec<T>) {
        if let Some(mut queue) = self.try_queue() {
            queue.append(messages);
            drop(queue);
            self.wake();
        }
    }

    /// Appends what is in it to `messages`, unless that means waiting: then it becomes readable
    /// again.
    pub fn try_take(&self, messages: &mut Vec<T>) {
        self.rest();
        if let Some(mut queue) = self.try_queue() {
            messages.append(&mut queue);
        }
    }

    /// Hands each message to `take` until that says no. Waits for them.
    pub fn each(&self, mut take: impl FnMut(T) -> bool) {
        loop {
            let mut ready = [PollFd::new(&self.ready, PollFlags::IN)];
            match poll(&mut ready, None) {
                Ok(_) | Err(Errno::INTR) => {}
                // It can't fail otherwise with a descriptor of our own.
                Err(_) => return,
            }
            self.rest();
            let mut queue = self.queue.lock().unwrap_or_else(PoisonError::into_inner);
            let messages = std::mem::take(&mut *queue);
            drop(queue);
            for message in messages {
                if !take(message) {
                    return;
                }
            }
        }
    }

    fn try_queue(&self) -> Option<std::sync::MutexGuard<'_, Vec<T>>> {
        match self.queue.try_lock() {
            Ok(queue) => Some(queue),
            Err(TryLockError::Poisoned(poisoned)) => Some(poisoned.into_inner()),
            Err(TryLockError::WouldBlock) => None,
        }
    }

    /// A full counter is readable too.
    fn wake(&self) {
        let _ = write(&self.ready, &1u64.to_ne_bytes());
    }

    fn rest(&self) {
        let _ = read(&self.ready, &mut [0; 8]);
    }
}

impl<T> AsFd for Mailbox<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.ready.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn all_messages_arrive_in_their_order() {
        const MANY: u32 = 10_000;
        let mailbox = Mailbox::new().expect("a mailbox");
        let mut taken = Vec::new();
        std::thread::scope(|scope| {
            scope.spawn(|| {
                let mut kept = Vec::new();
                for n in 0..MANY {
                    kept.push(n);
                    mailbox.try_send(&mut kept);
                }
                while !kept.is_empty() {
                    mailbox.try_send(&mut kept);
                }
            });
            mailbox.each(|n| {
                taken.push(n);
                n + 1 < MANY
            });
        });
        assert!(taken.into_iter().eq(0..MANY));
    }

    #[test]
    fn a_held_lock_is_not_waited_for() {
        let mailbox = Mailbox::new().expect("a mailbox");
        mailbox.send(1);
        let mut messages = vec![2];
        let mut taken = Vec::new();
        let held = mailbox.queue.lock().expect("free");
        mailbox.try_send(&mut messages);
        mailbox.try_take(&mut taken);
        drop(held);
        assert_eq!((&messages, &taken), (&vec![2], &vec![]));
        mailbox.try_send(&mut messages);
        mailbox.try_take(&mut taken);
        assert_eq!((messages, taken), (vec![], vec![1, 2]));
    }
}
