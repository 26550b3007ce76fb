//! The processes of a server: what they cost together, and how they are ended for certain. The
//! processor time comes from a control group if one can be created (it is exact and includes all
//! children), otherwise from `/proc`.

use std::collections::HashMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::str::FromStr;
use std::sync::Mutex;
use std::time::{Duration, Instant};

use anyhow::{Context, Result};
use rustix::process::{Pid, Signal, kill_process};

/// The running processes. A signal needs them, because it runs no destructor.
static RUNNING: Mutex<Vec<u32>> = Mutex::new(Vec::new());

fn running() -> std::sync::MutexGuard<'static, Vec<u32>> {
    RUNNING.lock().unwrap_or_else(std::sync::PoisonError::into_inner)
}

/// Ends all started programs, cleans up, and ends this program. No program can be started during
/// that.
pub fn end_all(clean_up: impl FnOnce()) -> ! {
    let running = running();
    for root in &*running {
        let group = Group::of(*root);
        if let Some(group) = &group {
            group.kill();
        }
        kill_tree(*root);
    }
    clean_up();
    // The exit code that a shell reports for an end by SIGINT.
    std::process::exit(130)
}

/// A started program, with all its children.
pub struct Process {
    child: Child,
    group: Option<Group>,
}

impl Process {
    pub fn spawn(command: &mut Command) -> Result<Process> {
        let program = command.get_program().to_string_lossy().into_owned();
        let mut running = running();
        let child = command.spawn().with_context(|| format!("cannot start {program}"))?;
        running.push(child.id());
        Ok(Process { child, group: None })
    }

    /// From now on, counts the processor time of this program exactly, if the system can do that.
    pub fn account(&mut self) {
        self.group = Group::holding(self.child.id());
    }

    pub fn has_ended(&mut self) -> bool {
        !matches!(self.child.try_wait(), Ok(None))
    }

    /// The processor time up to now, including children that have ended.
    pub fn cpu(&self) -> Result<Duration> {
        match &self.group {
            Some(group) => group.cpu(),
            None => Ok(tree(self.child.id())
                .iter()
                .filter_map(|pid| Stat::of(*pid))
                .map(|stat| stat.cpu())
                .sum()),
        }
    }

    /// The proportional set size in bytes.
    pub fn pss(&self) -> u64 {
        self.sum("smaps_rollup", "Pss:")
    }

    /// The resident memory in bytes.
    pub fn resident(&self) -> u64 {
        self.sum("status", "VmRSS:")
    }

    /// The most resident memory in bytes since [`Process::forget_peak`].
    pub fn peak(&self) -> u64 {
        self.sum("status", "VmHWM:")
    }

    pub fn forget_peak(&self) {
        for pid in tree(self.child.id()) {
            // proc(5): 5 resets the peak. A process that has just ended has none.
            let _ = fs::write(format!("/proc/{pid}/clear_refs"), "5");
        }
    }

    fn sum(&self, file: &str, field: &str) -> u64 {
        let of = |pid| fs::read_to_string(format!("/proc/{pid}/{file}")).ok();
        tree(self.child.id())
            .into_iter()
            .filter_map(of)
            .filter_map(|text| kibibytes(&text, field))
            .sum::<u64>()
            * 1024
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        let root = self.child.id();
        let mut running = running();
        if let Some(group) = &self.group {
            group.kill();
        }
        kill_tree(root);
        let _ = self.child.wait();
        running.retain(|pid| *pid != root);
    }
}

/// Kills a process and its descendants. Repeats that until none is left, because a server may fork
/// at the same time.
fn kill_tree(root: u32) {
    let deadline = Instant::now() + Duration::from_secs(5);
    while Instant::now() < deadline {
        let alive = tree(root)
            .into_iter()
            .filter(|pid| Stat::of(*pid).is_some_and(|stat| stat.state != 'Z'));
        let mut killed = 0;
        // The root is killed last, because afterwards its children could not be found.
        for pid in alive.collect::<Vec<_>>().into_iter().rev() {
            if let Some(pid) = i32::try_from(pid).ok().and_then(Pid::from_raw) {
                let _ = kill_process(pid, Signal::KILL);
                killed += 1;
            }
        }
        if killed == 0 {
            return;
        }
    }
}

/// A process and its descendants, parents before children.
fn tree(root: u32) -> Vec<u32> {
    let mut children: HashMap<u32, Vec<u32>> = HashMap::new();
    let processes = fs::read_dir("/proc").into_iter().flatten().flatten();
    for pid in processes.filter_map(|entry| entry.file_name().to_str()?.parse().ok()) {
        if let Some(stat) = Stat::of(pid) {
            children.entry(stat.parent).or_default().push(pid);
        }
    }
    let mut found = vec![root];
    let mut next = 0;
    while let Some(pid) = found.get(next) {
        found.extend(children.remove(pid).unwrap_or_default());
        next += 1;
    }
    found
}

/// The fields of `/proc/PID/stat` (proc(5)).
#[derive(Debug, PartialEq)]
struct Stat {
    state: char,
    parent: u32,
    /// In clock ticks: its own user and system time, then that of its children that have ended.
    times: [u64; 4],
}

impl Stat {
    fn of(pid: u32) -> Option<Stat> {
        Stat::parse(&fs::read_to_string(format!("/proc/{pid}/stat")).ok()?)
    }

    fn parse(text: &str) -> Option<Stat> {
        // The name in brackets may hold anything, also brackets and spaces.
        let fields: Vec<&str> = text.rsplit_once(')')?.1.split_whitespace().collect();
        let number = |index: usize| u64::from_str(fields.get(index)?).ok();
        Some(Stat {
            state: fields.first()?.chars().next()?,
            parent: fields.get(1)?.parse().ok()?,
            times: [number(11)?, number(12)?, number(13)?, number(14)?],
        })
    }

    fn cpu(&self) -> Duration {
        let ticks: u64 = self.times.iter().sum();
        Duration::from_secs_f64(ticks as f64 / rustix::param::clock_ticks_per_second() as f64)
    }
}

/// The number after the name of a field, in the form of `/proc`.
fn kibibytes(text: &str, field: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix(field))?;
    line.trim().trim_end_matches(" kB").parse().ok()
}

/// A control group (version 2) of the benchmark, which is removed with this value.
struct Group(PathBuf);

impl Group {
    /// The group of a process, if there is one.
    fn of(pid: u32) -> Option<Group> {
        let mounts = fs::read_to_string("/proc/mounts").ok()?;
        Some(Group(Path::new(cgroup2(&mounts)?).join(format!("plainftpd-bench-{pid}"))))
    }

    fn holding(pid: u32) -> Option<Group> {
        let group = Group::of(pid)?;
        fs::create_dir(&group.0).ok()?;
        fs::write(group.0.join("cgroup.procs"), pid.to_string()).ok()?;
        group.cpu().ok()?;
        Some(group)
    }

    /// Kills all processes of the group, including those whose parent has ended.
    fn kill(&self) {
        let _ = fs::write(self.0.join("cgroup.kill"), "1");
    }

    fn cpu(&self) -> Result<Duration> {
        let text = fs::read_to_string(self.0.join("cpu.stat"))?;
        let usage = text.lines().find_map(|line| line.strip_prefix("usage_usec "));
        Ok(Duration::from_micros(usage.context("no usage in cpu.stat")?.trim().parse()?))
    }
}

impl Drop for Group {
    fn drop(&mut self) {
        // The group is busy until the last killed process has ended.
        let deadline = Instant::now() + Duration::from_secs(5);
        while let Err(error) = fs::remove_dir(&self.0) {
            if error.kind() != io::ErrorKind::ResourceBusy || Instant::now() > deadline {
                return;
            }
            std::thread::yield_now();
        }
    }
}

fn cgroup2(mounts: &str) -> Option<&str> {
    let mut fields = mounts.lines().map(|line| line.split(' ').collect::<Vec<_>>());
    fields
        .find(|fields| fields.get(2) == Some(&"cgroup2"))
        .and_then(|fields| fields.get(1).copied())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_fields_of_a_stat_line_are_found_after_any_name() {
        let line = "42 (a) b (c) S 7 42 42 0 -1 4194560 100 0 0 0 11 12 13 14 20 0 1 0 99 1 1";
        assert_eq!(
            Stat::parse(line),
            Some(Stat { state: 'S', parent: 7, times: [11, 12, 13, 14] })
        );
        assert_eq!(Stat::parse("42 (a) S"), None);
    }

    #[test]
    fn memory_is_read_by_its_field() {
        let text = "Rss:    2000 kB\nPss:            1234 kB\nPss_Dirty: 5 kB\n";
        assert_eq!(kibibytes(text, "Pss:"), Some(1234));
        assert_eq!(kibibytes(text, "VmHWM:"), None);
    }

    #[test]
    fn the_control_groups_are_found_where_they_are_mounted() {
        let mounts =
            "tmpfs /sys/fs/cgroup tmpfs rw 0 0\ncgroup2 /sys/fs/cgroup/unified cgroup2 rw 0 0\n";
        assert_eq!(cgroup2(mounts), Some("/sys/fs/cgroup/unified"));
        assert_eq!(cgroup2("proc /proc proc rw 0 0\n"), None);
    }

    #[test]
    fn a_process_is_in_its_own_tree() {
        let own = std::process::id();
        assert_eq!(tree(own).first(), Some(&own));
    }
}
