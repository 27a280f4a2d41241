//! The memory of monitors, as the kernel accounts for it.

use std::fs;
use std::time::Duration;

use anyhow::{Context, Result, ensure};
use tests::{Process, User};

/// After how long monitors of either side have nothing to do any more.
const REST: Duration = Duration::from_secs(1);

/// How many containers share what can be shared.
const TEN: usize = 10;

/// Measures the monitors of one container and of ten, of Bryo and of LXC, and returns a line `ROW SIDE KB 0` for each.
/// The containers share a root file system and have names of their own.
pub(crate) fn measure(user: User<'_>) -> Result<String> {
    let mut lines = String::new();
    for (side, bin) in [("bryo", "/run/bryo-lab/prefix/bin"), ("lxc", "/usr/bin")] {
        let start = |number: usize| {
            let script = format!(
                "mkdir -p ten/{side}-{number} && cp .local/share/lxc/web-{side}/config ten/{side}-{number}/ && \
                 {bin}/lxc-start -P $HOME/ten -n {side}-{number} -s lxc.uts.name={side}-{number}"
            );
            user.sh(&script).succeeds();
        };
        start(0);
        std::thread::sleep(REST);
        for monitor in monitors(user, 1)? {
            lines += &format!("anonymous-of-one {side} {} 0\n", field(&monitor, "Pss_Anon:")?);
        }
        (1..TEN).for_each(start);
        std::thread::sleep(REST);
        for monitor in monitors(user, TEN)? {
            lines += &format!("pss-of-each-of-ten {side} {} 0\n", field(&monitor, "Pss:")?);
        }
        for number in 0..TEN {
            user.sh(&format!("{bin}/lxc-stop -P $HOME/ten -n {side}-{number} -k")).succeeds();
        }
        user.sh("rm -r ten").succeeds();
    }
    Ok(lines)
}

fn monitors(user: User<'_>, count: usize) -> Result<Vec<Process>> {
    let monitors = user.monitors();
    ensure!(monitors.len() == count, "{count} containers have {} monitors", monitors.len());
    Ok(monitors)
}

/// Returns a number of /proc/PID/smaps_rollup, in kB. Source: proc_pid_smaps(5).
fn field(process: &Process, name: &str) -> Result<u64> {
    let text = fs::read_to_string(format!("/proc/{}/smaps_rollup", process.pid))
        .with_context(|| format!("the memory of {process}"))?;
    let line = text.lines().find_map(|line| line.strip_prefix(name)).context("the kernel tells no PSS")?;
    Ok(line.trim().trim_end_matches("kB").trim().parse()?)
}
