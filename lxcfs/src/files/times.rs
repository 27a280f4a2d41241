//! Processor time of a container, spread over the processors that it has.
//!
//! cgroup v1 tells the time of each processor. v2 tells the sum alone, which is split evenly: the lines then say nothing of
//! their own, and their sum is right. What is not used is idle.
//!
//! No counter of /proc/stat may ever fall, or who subtracts two readings sees years. When a container gets other processors,
//! what each had until then stays, and what comes later is spread over the new ones. A process that takes over knows nothing of
//! that, and splits as if the container had always had its present ones; where that is more than they could have given, idle time
//! is counted from then on.

use std::collections::BTreeMap;
use std::time::Duration;

use cgroup::CpuList;
use cgroup::view::CpuTime;

use super::{ticks, ticks_of};

/// Time that was used for something, and for nothing, in ticks.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Spent {
    /// By programs.
    pub user: u64,
    /// By the kernel on their behalf.
    pub system: u64,
    /// By nobody.
    pub idle: u64,
}

impl Spent {
    fn plus(self, other: Self) -> Self {
        Self {
            user: self.user.saturating_add(other.user),
            system: self.system.saturating_add(other.system),
            idle: self.idle.saturating_add(other.idle),
        }
    }

    fn most(self, other: Self) -> Self {
        Self {
            user: self.user.max(other.user),
            system: self.system.max(other.system),
            idle: self.idle.max(other.idle),
        }
    }
}

/// The times of a container.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Times {
    /// Of all processors together, those that it had before included.
    pub all: Spent,
    /// Of each that it has.
    pub each: BTreeMap<u32, Spent>,
}

/// What has been shown of a container's times.
#[derive(Debug, Default)]
pub struct History {
    /// The processors that it has had since `since`.
    cpus: CpuList,
    /// Time used, and age, when it got them.
    since: Sum,
    /// What had been shown by then.
    before: Times,
    /// Time used, and age, when it was last asked.
    latest: Sum,
    /// What has been shown last, of every processor that it ever had.
    shown: Times,
}

/// Sums of a container, in ticks.
#[derive(Clone, Copy, Debug, Default)]
struct Sum {
    user: u64,
    system: u64,
    age: u64,
}

/// The most processors that times are told of: more than any kernel has.
const MOST: u64 = 8192;

impl History {
    /// Spreads the time used until now over the processors that the container has now.
    pub fn show(&mut self, time: &CpuTime, cpus: &CpuList, age: Duration) -> Times {
        let now = Sum { user: ticks(time.user), system: ticks(time.system), age: ticks_of(age) };
        if *cpus != self.cpus {
            self.begin(cpus);
        }
        let later = Sum {
            user: now.user.saturating_sub(self.since.user),
            system: now.system.saturating_sub(self.since.system),
            age: now.age.saturating_sub(self.since.age),
        };
        let count = self.cpus.count().clamp(1, MOST);
        let idle = later.age.saturating_mul(count).saturating_sub(later.user.saturating_add(later.system));
        let all = self.before.all.plus(Spent { user: later.user, system: later.system, idle });
        let mut each = BTreeMap::new();
        for (at, cpu) in (0..).zip(cpus.numbers().take(MOST as usize)) {
            let before = self.before.each.get(&cpu).copied().unwrap_or_default();
            let spent = match &time.each {
                Some(each) => own(each, cpu, now.age),
                None => before.plus(share(later, at, count)),
            };
            each.insert(cpu, spent.most(self.shown.each.get(&cpu).copied().unwrap_or_default()));
        }
        self.shown.all = all.most(self.shown.all);
        self.shown.each.extend(each.clone());
        self.latest = now;
        self.begin_idle_anew(later, count);
        Times { all: self.shown.all, each }
    }

    /// Counts idle time from now on, where the container has used more than its present processors could have given it: it had
    /// others, of which nothing was seen. It would be idle only after as much time again. Less than a second is nothing, since
    /// time used and age are not read at one moment.
    fn begin_idle_anew(&mut self, later: Sum, count: u64) {
        const SECOND: u64 = 100;
        let given = later.age.saturating_add(SECOND).saturating_mul(count);
        if later.user.saturating_add(later.system) > given {
            self.before = self.shown.clone();
            self.since = self.latest;
        }
    }

    fn begin(&mut self, cpus: &CpuList) {
        self.cpus = cpus.clone();
        self.before = self.shown.clone();
        self.since = self.latest;
    }
}

/// Returns the time of a processor that is counted.
fn own(each: &[(u32, u64, u64)], cpu: u32, age: u64) -> Spent {
    let found = each.iter().find(|(number, ..)| *number == cpu);
    let (user, system) = found.map_or((0, 0), |(_, user, system)| (ticks(*user), ticks(*system)));
    Spent { user, system, idle: age.saturating_sub(user.saturating_add(system)) }
}

/// Returns the part of one processor. The first ones have one tick more, so that the sum is right.
fn share(Sum { user, system, age }: Sum, at: u64, count: u64) -> Spent {
    let part = |whole: u64| whole / count + u64::from(at < whole % count);
    let (user, system) = (part(user), part(system));
    Spent { user, system, idle: age.saturating_sub(user.saturating_add(system)) }
}
