//! Limits for what a test waits for, so that a server that hangs makes the test fail.

use std::process::{Child, Command, Output, Stdio};
use std::sync::mpsc::{RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use super::PATIENCE;

/// Runs `wait`, which waits for the process `pid`: for its output or its end. If that takes too
/// long, the process is killed, which ends the wait, and the test fails.
#[track_caller]
pub fn with_limit<T>(pid: u32, wait: impl FnOnce() -> T) -> T {
    let (done, is_done) = channel::<()>();
    let watchdog = thread::spawn(move || {
        let is_late = is_done.recv_timeout(PATIENCE) == Err(RecvTimeoutError::Timeout);
        if is_late {
            let _ = Command::new("kill").args(["-KILL", &pid.to_string()]).status();
        }
        is_late
    });
    let result = wait();
    drop(done);
    assert!(!watchdog.join().unwrap(), "nothing for {PATIENCE:?}: the process {pid} hangs");
    result
}

/// What a process writes to its pipes until it ends.
#[track_caller]
pub fn finished(child: Child) -> Output {
    with_limit(child.id(), || child.wait_with_output().unwrap())
}

/// Runs a command with pipes for its standard output and standard error.
#[track_caller]
pub fn output(command: &mut Command) -> Output {
    finished(command.stdout(Stdio::piped()).stderr(Stdio::piped()).spawn().unwrap())
}

/// Waits until `is_so`, and fails if that takes too long.
#[track_caller]
pub fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let since = Instant::now();
    while !is_so() {
        assert!(since.elapsed() < PATIENCE, "waited {PATIENCE:?} until {what}");
        thread::sleep(Duration::from_millis(1));
    }
}
