//! A thread pool: one thread per client, and an idle thread serves the next client.
//!
//! Threads are reused because to start and end one takes longer than all the work of a short
//! session. An idle thread ends after one second, so that a rush of clients leaves no threads
//! behind.

use std::collections::VecDeque;
use std::io;
use std::sync::{Arc, Condvar, Mutex, PoisonError};
use std::thread;
use std::time::Duration;

use crate::config::STACK_SIZE;
use crate::lock::lock;

/// How long an idle thread waits for its next client.
const IDLE: Duration = Duration::from_secs(1);

/// Threads that serve clients of type `C`.
#[derive(Debug)]
pub struct ThreadPool<C> {
    serve: fn(C),
    state: Mutex<State<C>>,
    arrived: Condvar,
}

#[derive(Debug)]
struct State<C> {
    /// Clients for which an idle thread has been woken or a new one started.
    waiting: VecDeque<C>,
    idle: usize,
}

impl<C: Send + 'static> ThreadPool<C> {
    /// A pool without threads yet. Each client is given to `serve`, which must not panic.
    pub fn new(serve: fn(C)) -> Arc<ThreadPool<C>> {
        let state = State { waiting: VecDeque::new(), idle: 0 };
        Arc::new(ThreadPool { serve, state: Mutex::new(state), arrived: Condvar::new() })
    }

    /// Serves a client on a thread of its own. If the system cannot start one more thread, fails
    /// and drops the client.
    pub fn execute(self: &Arc<ThreadPool<C>>, client: C) -> io::Result<()> {
        let mut state = lock(&self.state);
        state.waiting.push_back(client);
        if state.waiting.len() <= state.idle {
            drop(state);
            self.arrived.notify_one();
            return Ok(());
        }
        let pool = Arc::clone(self);
        let builder = thread::Builder::new().name("client".to_string()).stack_size(STACK_SIZE);
        let started = builder.spawn(move || pool.work());
        if started.is_err() {
            // The lock has been held since this client was put at the end.
            state.waiting.pop_back();
        }
        started.map(drop)
    }

    fn work(&self) {
        loop {
            let mut state = lock(&self.state);
            state.idle += 1;
            let waited =
                self.arrived.wait_timeout_while(state, IDLE, |state| state.waiting.is_empty());
            state = waited.unwrap_or_else(PoisonError::into_inner).0;
            state.idle -= 1;
            let Some(client) = state.waiting.pop_front() else { return };
            drop(state);
            (self.serve)(client);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::mpsc::{Receiver, Sender, channel};
    use std::thread::ThreadId;

    /// A client that reports its thread, and then stays until its receiver ends.
    type Client = (Sender<ThreadId>, Receiver<()>);

    fn serve((arrived, leave): Client) {
        arrived.send(thread::current().id()).unwrap();
        let _ = leave.recv();
    }

    fn give(threads: &Arc<ThreadPool<Client>>) -> (ThreadId, Sender<()>) {
        let ((arrived, arrival), (go, leave)) = (channel(), channel());
        threads.execute((arrived, leave)).unwrap();
        (arrival.recv().unwrap(), go)
    }

    fn idle(threads: &Arc<ThreadPool<Client>>) -> usize {
        threads.state.lock().unwrap().idle
    }

    #[test]
    fn each_client_has_its_own_thread_and_an_idle_thread_serves_the_next_client() {
        let threads = ThreadPool::new(serve);
        let (first, second) = (give(&threads), give(&threads));
        assert_ne!(first.0, second.0);
        drop(first.1);
        while idle(&threads) == 0 {
            thread::yield_now();
        }
        let third = give(&threads);
        assert_eq!(third.0, first.0);
        assert_ne!(give(&threads).0, second.0, "the second thread is still busy");
    }

    #[test]
    fn an_idle_thread_ends_after_a_moment() {
        let threads = ThreadPool::new(serve);
        drop(give(&threads).1);
        while Arc::strong_count(&threads) > 1 {
            thread::yield_now();
        }
        assert_eq!(idle(&threads), 0);
    }
}
