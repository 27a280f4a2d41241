//! Who counts what runs in containers: a thread that looks every five seconds, at those whose load somebody has read lately.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, Weak};
use std::thread;
use std::time::{Duration, Instant};

use cgroup::view::Tasks;

use crate::files::{Averages, Load};

/// The most tasks of one container that are looked at. Of more the load is at least what is seen.
const TASKS: usize = 10_000;

/// The most groups inside of one in which they are looked for: each costs some system calls, and at the first look everybody else waits.
const GROUPS: usize = 500;

/// How long somebody is taken to be interested who has read a load.
const INTEREST: Duration = Duration::from_secs(900);

/// The load of one container.
#[derive(Debug)]
pub struct Counted {
    tasks: Tasks,
    state: Mutex<State>,
    /// When it was last read, in seconds since the boot.
    read: AtomicU64,
}

#[derive(Debug)]
struct State {
    averages: Averages,
    load: Load,
    taken: Instant,
}

impl Counted {
    fn new(tasks: Tasks) -> Self {
        let load = look(&tasks);
        let averages = Averages::begin(load.running + load.blocked);
        let state = Mutex::new(State { averages, load, taken: Instant::now() });
        Self { tasks, state, read: AtomicU64::new(now()) }
    }

    /// Returns the load.
    pub fn load(&self) -> Load {
        self.read.store(now(), Ordering::Relaxed);
        self.latest()
    }

    /// Returns the load to somebody who would not have it counted.
    pub fn latest(&self) -> Load {
        let state = guard(&self.state);
        Load { averages: state.averages.hundredths(), ..state.load }
    }

    fn interests(&self) -> bool {
        now().saturating_sub(self.read.load(Ordering::Relaxed)) < INTEREST.as_secs()
    }

    fn take(&self) {
        let load = look(&self.tasks);
        let mut state = guard(&self.state);
        // A machine that slept, or was busy, has not asked for a while.
        let times = (state.taken.elapsed().as_millis() / Averages::EVERY.as_millis()).max(1);
        state.averages.take(load.running + load.blocked, u32::try_from(times).unwrap_or(u32::MAX));
        state.load = load;
        state.taken = Instant::now();
    }
}

/// All loads that are counted.
#[derive(Debug, Default)]
pub struct Loads(Arc<Mutex<Vec<Weak<Counted>>>>);

impl Loads {
    /// Begins to count a container's load, from what runs now. The thread ends when there is nothing to be counted.
    pub fn count(&self, tasks: Tasks) -> Arc<Counted> {
        const STACK: usize = 128 << 10;
        let counted = Arc::new(Counted::new(tasks));
        let mut all = guard(&self.0);
        all.push(Arc::downgrade(&counted));
        if all.len() == 1 {
            let shared = Arc::clone(&self.0);
            let thread = thread::Builder::new().name("loads".to_owned()).stack_size(STACK);
            if thread.spawn(move || keep_taking(&shared)).is_err() {
                // What is read then is of this moment, and the next reader tries again.
                all.clear();
            }
        }
        counted
    }
}

fn keep_taking(all: &Mutex<Vec<Weak<Counted>>>) {
    loop {
        thread::sleep(Averages::EVERY);
        let living: Vec<Arc<Counted>> = {
            let mut all = guard(all);
            all.retain(|one| one.upgrade().is_some_and(|one| one.interests()));
            if all.is_empty() {
                return;
            }
            all.iter().filter_map(Weak::upgrade).collect()
        };
        living.iter().for_each(|one| one.take());
    }
}

impl Counted {
    /// Tells whether it has not been counted for so long that it has to begin anew.
    pub fn is_stale(&self) -> bool {
        guard(&self.state).taken.elapsed() > Averages::EVERY * 12
    }
}

/// Looks at each task once. Source: proc_pid_stat(5), field 3.
fn look(tasks: &Tasks) -> Load {
    let all = tasks.list(TASKS, GROUPS);
    let mut load = Load { tasks: all.len() as u64, ..Load::default() };
    for task in &all {
        match sys::process::state_of(*task) {
            Some('R') => load.running += 1,
            Some('D') => load.blocked += 1,
            _ => {}
        }
    }
    load.last_pid = all.iter().max().map_or(0, |task| sys::process::innermost_pid(*task).unwrap_or(0));
    load
}

fn now() -> u64 {
    sys::clock::since_boot().as_secs()
}

fn guard<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn of_a_container_with_many_groups_or_tasks_no_more_than_so_many_are_looked_at() {
        let root = tempfile::tempdir().unwrap();
        // Numbers that no process can have.
        let pid = |at: usize| 500_000_000 + at;
        let group = |name: &str, pids: std::ops::Range<usize>| {
            let group = root.path().join(name);
            std::fs::create_dir_all(&group).unwrap();
            let lines: String = pids.map(|at| format!("{}\n", pid(at))).collect();
            std::fs::write(group.join("cgroup.procs"), &lines).unwrap();
            std::fs::write(group.join("cgroup.threads"), &lines).unwrap();
        };
        let tasks = |name: &str| {
            let dir = sys::path::open_dir(&root.path().join(name)).unwrap();
            let directory =
                cgroup::view::Directory { version: cgroup::Version::V2, controllers: Vec::new(), dir };
            look(&cgroup::view::View::new(vec![directory]).tasks().unwrap().unwrap()).tasks
        };
        group("many", 0..0);
        (0..GROUPS + 50).for_each(|at| group(&format!("many/{at}"), at..at + 1));
        // The container's own is one of them.
        assert_eq!(tasks("many"), 499);
        group("full", 0..TASKS + 50);
        assert_eq!(tasks("full"), 10_000);
    }
}
