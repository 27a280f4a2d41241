//! Subordinate ids: the lines that grant them, and the helpers that write the maps.

use types::IdRange;

use super::Severity::{Costs, Note};
use super::Who::{Administrator, You};
use super::{Check, Verdict, fine, found, list};
use crate::host::{Program, Seen, Survey, capability};
use crate::idmap::FULL_RANGE;

/// What a container has without more ids.
const ONE_ID: &str =
    "one id, the caller's, which is root inside; other owners and users are taken on in name alone";
const MORE_IDS: &str = "a container with more than one user needs a map of subordinate ids";
const NEEDS_HELPER: &str =
    "the kernel lets only a privileged helper write a map of more than the caller's own id";

pub(super) const CHECKS: &[Check] = &[
    Check {
        id: "helper.no_new_privs",
        severity: Costs,
        seen: "no_new_privs is set for the process (/proc/self/status)",
        why: "under no_new_privs no helper gains its rights, so no map of more than one id is written",
        mend: "systemd-run --user --pty --same-dir -- $SHELL",
        advice: "in a unit of systemd: NoNewPrivileges=no; in docker: --security-opt no-new-privileges=false",
        who: You,
        meanwhile: ONE_ID,
        look: no_new_privs,
    },
    Check {
        id: "idmap.absent",
        severity: Costs,
        seen: "there is no bryo-idmap where bryo looks for it",
        why: NEEDS_HELPER,
        mend: "sudo cargo xtask install --prefix <prefix>",
        advice: "newuidmap of the system does as well",
        who: Administrator,
        meanwhile: "the system's newuidmap where it works, else one id",
        look: |survey| own(survey, absent),
    },
    Check {
        id: "idmap.nosuid",
        severity: Costs,
        seen: "bryo-idmap is on a mount with nosuid",
        why: "on such a mount neither file capabilities nor the setuid bit count",
        mend: "sudo mount -o remount,bind,suid \"$(findmnt -fno TARGET -T <helper>)\"",
        advice: "or install Bryo elsewhere: cargo xtask install --prefix DIR",
        who: Administrator,
        meanwhile: "the system's newuidmap where it works, else one id",
        look: |survey| own(survey, on_nosuid),
    },
    Check {
        id: "idmap.owner",
        severity: Costs,
        seen: "bryo-idmap, or a directory on the way to it, is not root's or can be written by others",
        why: "what the file may do may all do who can change it: a shared mapping changes it and leaves it its rights",
        mend: "sudo cargo xtask install",
        advice: "take the rights that it has from it: sudo chmod u-s <helper>; sudo setcap -r <helper>",
        who: Administrator,
        meanwhile: "the helper if it has rights, else the system's newuidmap where it works, else one id",
        look: |survey| own(survey, exposed),
    },
    Check {
        id: "idmap.capabilities",
        severity: Costs,
        seen: "bryo-idmap is root's, and has neither its two file capabilities alone nor the setuid bit",
        why: NEEDS_HELPER,
        mend: "sudo setcap cap_setuid,cap_setgid=ep <helper>",
        advice: "or install the package that has newuidmap",
        who: Administrator,
        meanwhile: "the system's newuidmap where it works, else one id",
        look: |survey| own(survey, without_rights),
    },
    Check {
        id: "newuidmap.absent",
        severity: Costs,
        seen: "there is no newuidmap or no newgidmap, and bryo-idmap cannot do the work",
        why: NEEDS_HELPER,
        mend: "<install> <uidmap>",
        advice: "the package is uidmap, shadow-utils or shadow; bryo-idmap does as well, with its capabilities",
        who: Administrator,
        meanwhile: ONE_ID,
        look: |survey| of_system(survey, |program| program.installed.is_none(), "there is no"),
    },
    Check {
        id: "newuidmap.rights",
        severity: Costs,
        seen: "newuidmap or newgidmap gains no rights, and bryo-idmap cannot do the work",
        why: NEEDS_HELPER,
        mend: "sudo setcap cap_setuid=ep <newuidmap> && sudo setcap cap_setgid=ep <newgidmap>",
        advice: "bryo-idmap does as well, with its capabilities",
        who: Administrator,
        meanwhile: ONE_ID,
        look: |survey| of_system(survey, |program| program.installed.is_some(), "no rights are gained by"),
    },
    Check {
        id: "subid.nsswitch",
        severity: Costs,
        seen: "/etc/nsswitch.conf names another source for subid: than files",
        why: "the ids of the files are not those that are granted; bryo-idmap then grants nothing, and newuidmap asks the \
              source",
        mend: "getsubids <user>; getsubids -g <user>",
        advice: "write the ranges that it prints as lxc.idmap into the configuration, where they differ from the files",
        who: You,
        meanwhile: "the ranges of the files, as far as newuidmap grants them",
        look: nsswitch,
    },
    Check {
        id: "subid.absent",
        severity: Costs,
        seen: "/etc/subuid or /etc/subgid grants nothing to anybody",
        why: MORE_IDS,
        mend: "sudo usermod <options> <user>",
        advice: "",
        who: Administrator,
        meanwhile: ONE_ID,
        look: |survey| {
            ungranted(
                survey,
                |lines| lines.others.is_empty(),
                |file, _| format!("{file} is empty or not there"),
            )
        },
    },
    Check {
        id: "subid.foreign",
        severity: Costs,
        seen: "/etc/subuid or /etc/subgid grants ids to others alone",
        why: MORE_IDS,
        mend: "sudo usermod <options> <user>",
        advice: "",
        who: Administrator,
        meanwhile: ONE_ID,
        look: |survey| {
            ungranted(
                survey,
                |lines| !lines.others.is_empty(),
                |file, lines| {
                    let mut names: Vec<String> = lines.others.iter().map(|(name, _)| name.clone()).collect();
                    names.dedup();
                    format!("{file} grants ids to {}, and none to {}", list(&names), lines.owner)
                },
            )
        },
    },
    Check {
        id: "subid.short",
        severity: Costs,
        seen: "the lines grant fewer than 65536 user ids or group ids",
        why: "a distribution's own users go up to 65534 (nobody); files of ids that are not mapped cannot be unpacked",
        mend: "sudo usermod <options> <user>",
        advice: "",
        who: Administrator,
        meanwhile: "the ids that are granted, from 0 on",
        look: short,
    },
    Check {
        id: "subid.differ",
        severity: Note,
        seen: "more user ids are granted than group ids, or the other way round",
        why: "a file whose owner and group are the same number can be made only up to the smaller count",
        mend: "sudo usermod <options> <user>",
        advice: "",
        who: Administrator,
        meanwhile: "each kind has what is granted",
        look: differ,
    },
    Check {
        id: "subid.overlap",
        severity: Costs,
        seen: "a range of the caller's is granted to somebody else too",
        why: "users of the two people's containers are the same to the kernel: each may end and read the other's processes and \
              files",
        mend: "sudo usermod <options> <user>",
        advice: "containers that exist keep the old ids in lxc.idmap and in the owners of their files: make them anew",
        who: Administrator,
        meanwhile: "the range, shared",
        look: overlap,
    },
    Check {
        id: "subid.account",
        severity: Costs,
        seen: "a range of the caller's holds the id of an account or a group of this host",
        why: "a user of the container is that account to the kernel, and may end its processes and read its files",
        mend: "sudo usermod <options> <user>",
        advice: "containers that exist keep the old ids in lxc.idmap and in the owners of their files: make them anew",
        who: Administrator,
        meanwhile: "the range, shared",
        look: account,
    },
    Check {
        id: "subid.line",
        severity: Note,
        seen: "a line of /etc/subuid or /etc/subgid cannot be read",
        why: "such a line grants nothing, whatever it was meant to",
        mend: "sudoedit <file>",
        advice: "",
        who: Administrator,
        meanwhile: "the other lines",
        look: bad_line,
    },
];

fn no_new_privs(survey: &Survey) -> Seen<Verdict> {
    match survey.host.no_new_privs {
        true if !survey.host.caller.is_root() => {
            found("/proc/self/status has NoNewPrivs: 1").mendable_if(survey.session.has_manager).into()
        }
        true => fine("no_new_privs is set, and root needs no helper"),
        false => fine("no_new_privs is not set"),
    }
}

/// Looks at Bryo's own helper. What is wrong with it is a note where newuidmap does the work.
fn own(survey: &Survey, wrong: fn(&str, &Program) -> Option<String>) -> Seen<Verdict> {
    let host = &survey.host;
    if host.caller.is_root() {
        return fine("root needs no helper");
    }
    let helper = &host.helpers.idmap;
    let path = helper.path.display().to_string();
    match wrong(&path, helper) {
        Some(fact) => found(fact)
            .with("helper", path)
            .with("prefix", prefix(survey))
            .covered_if(host.helpers.system_works() && !helper.gains_also(BOTH))
            .into(),
        None => fine(path),
    }
}

/// Returns where root may install helpers: where Bryo is, unless others can change what lies there.
pub(super) fn prefix(survey: &Survey) -> String {
    match survey.host.helpers.idmap.exposed {
        Some(_) => "/usr/local".to_owned(),
        None => survey.host.programs.prefix().display().to_string(),
    }
}

fn absent(path: &str, helper: &Program) -> Option<String> {
    helper.installed.is_none().then(|| format!("there is no {path}"))
}

fn on_nosuid(path: &str, helper: &Program) -> Option<String> {
    let file = helper.installed.filter(|file| file.nosuid);
    file.map(|_| format!("{path} is mounted nosuid (statvfs: ST_NOSUID)"))
}

/// Tells who else than root can change a helper that is installed.
pub(super) fn exposed(path: &str, helper: &Program) -> Option<String> {
    let (file, exposed) = (helper.installed?, helper.exposed.as_ref()?);
    Some(match file.setuid || file.capabilities != 0 {
        true => format!("{path} has rights, and {exposed}"),
        false => format!("{path} may not be given rights: {exposed}"),
    })
}

fn without_rights(path: &str, helper: &Program) -> Option<String> {
    let file = helper.installed.filter(|file| helper.exposed.is_none() && !file.would_gain(BOTH))?;
    Some(match file.capabilities & BOTH {
        BOTH => format!("{path} has more capabilities than the two, and does nothing with more"),
        capability::SETUID => format!("{path} has cap_setuid alone"),
        capability::SETGID => format!("{path} has cap_setgid alone"),
        _ => format!("{path} has no file capability (security.capability) of the two"),
    })
}

const BOTH: u64 = capability::SETUID | capability::SETGID;

/// Looks at the system's helpers, where Bryo's own does not do the work.
fn of_system(survey: &Survey, is_wrong: fn(&Program) -> bool, how: &str) -> Seen<Verdict> {
    let host = &survey.host;
    if host.caller.is_root() {
        return fine("root needs no helper");
    }
    if host.helpers.own_works() && !host.helpers.ids_elsewhere {
        return fine("bryo-idmap writes the maps");
    }
    let (newuidmap, newgidmap) = (&host.helpers.newuidmap, &host.helpers.newgidmap);
    let works = [newuidmap.gains_also(capability::SETUID), newgidmap.gains_also(capability::SETGID)];
    let wrong =
        [newuidmap, newgidmap].into_iter().zip(works).filter(|(program, works)| !works && is_wrong(program));
    let wrong: Vec<String> = wrong.map(|(program, _)| program.path.display().to_string()).collect();
    if wrong.is_empty() {
        return fine("newuidmap and newgidmap are not in this way");
    }
    found(format!("{how} {}", list(&wrong)))
        .with("newuidmap", newuidmap.path.display().to_string())
        .with("newgidmap", newgidmap.path.display().to_string())
        .of_packages(survey)
        .into()
}

fn nsswitch(survey: &Survey) -> Seen<Verdict> {
    match survey.host.helpers.ids_elsewhere {
        true => found("/etc/nsswitch.conf names another source for subid: than files")
            .with("user", survey.host.caller.label())
            .into(),
        false => fine("the files are the source of subordinate ids"),
    }
}

/// What one of the two files grants.
#[derive(Clone, Debug)]
struct Lines {
    /// The file.
    file: &'static str,
    /// usermod's word for the kind: `subuids`.
    kind: &'static str,
    /// The caller, as the file names it.
    owner: String,
    /// What the caller has.
    own: Vec<IdRange>,
    /// What others have.
    others: Vec<(String, IdRange)>,
    /// Ids of accounts or of groups.
    accounts: Vec<(String, u32)>,
}

impl Lines {
    /// Reads both files.
    fn of(survey: &Survey) -> Seen<[Self; 2]> {
        if survey.host.helpers.ids_elsewhere {
            return Err("/etc/nsswitch.conf names another source than the files (subid.nsswitch)".to_owned());
        }
        let identity = &survey.identity;
        let caller = &survey.host.caller;
        let owner =
            policy::subid::Owner { uid: caller.uid.0, name: caller.name.as_deref().map(str::as_bytes) };
        let lines = |file, kind, text: &Seen<String>, accounts: &Seen<String>| -> Seen<Self> {
            let text = text.as_ref()?.as_bytes();
            let named = |(name, range): (&[u8], IdRange)| (String::from_utf8_lossy(name).into_owned(), range);
            Ok(Self {
                file,
                kind,
                owner: caller.label(),
                own: policy::subid::ranges(text, &owner),
                others: policy::subid::others(text, &owner).into_iter().map(named).collect(),
                accounts: accounts.as_ref()?.lines().filter_map(account_of).collect(),
            })
        };
        Ok([
            lines("/etc/subuid", "subuids", &identity.subuid, &identity.passwd)?,
            lines("/etc/subgid", "subgids", &identity.subgid, &identity.group)?,
        ])
    }

    fn count(&self) -> u64 {
        self.own.iter().map(|range| u64::from(range.count())).sum()
    }

    fn add(&self, range: IdRange) -> String {
        format!("--add-{} {range}", self.kind)
    }
}

/// Returns name and id of a line of passwd(5) or group(5).
fn account_of(line: &str) -> Option<(String, u32)> {
    let mut fields = line.split(':');
    Some((fields.next()?.to_owned(), fields.nth(1)?.parse().ok()?))
}

/// Returns a range that no line grants and no account has.
fn free(survey: &Survey) -> Option<IdRange> {
    let identity = &survey.identity;
    let texts =
        [&identity.subuid, &identity.subgid].map(|text| text.as_deref().unwrap_or_default().as_bytes());
    let accounts = [&identity.passwd, &identity.group].map(|text| text.as_deref().unwrap_or_default());
    let taken: Vec<u32> =
        accounts.iter().flat_map(|text| text.lines()).filter_map(account_of).map(|(_, id)| id).collect();
    policy::subid::free_range(&texts, &taken, FULL_RANGE)
}

/// Makes a finding about some of the files: what is seen in them, and the options of usermod that mend it.
fn about(
    survey: &Survey,
    wrong: Vec<(Lines, String)>,
    option: impl Fn(&Lines, IdRange) -> String,
    otherwise: &str,
) -> Seen<Verdict> {
    if survey.host.caller.is_root() {
        return fine("root needs no lines");
    }
    if wrong.is_empty() {
        return fine(otherwise);
    }
    let free = free(survey).ok_or("no range of 65536 ids is free below 2147483648")?;
    let options: Vec<String> = wrong.iter().map(|(lines, _)| option(lines, free)).collect();
    let facts: Vec<String> = wrong.into_iter().map(|(_, fact)| fact).collect();
    found(facts.join("; "))
        .with_words("options", options.join(" "))
        .with("user", survey.host.caller.label())
        .into()
}

fn ungranted(
    survey: &Survey,
    is_this: fn(&Lines) -> bool,
    fact: fn(&str, &Lines) -> String,
) -> Seen<Verdict> {
    let both = Lines::of(survey)?;
    let wrong = both.into_iter().filter(|lines| lines.own.is_empty() && is_this(lines));
    let wrong = wrong.map(|lines| (lines.clone(), fact(lines.file, &lines))).collect();
    about(survey, wrong, Lines::add, "/etc/subuid and /etc/subgid have lines for the caller")
}

fn short(survey: &Survey) -> Seen<Verdict> {
    let is_short = |lines: &Lines| !lines.own.is_empty() && lines.count() < u64::from(FULL_RANGE);
    let wrong = Lines::of(survey)?.into_iter().filter(is_short);
    let fact = |lines: &Lines| format!("{} grants {} ids to {}", lines.file, lines.count(), lines.owner);
    let wrong = wrong.map(|lines| (lines.clone(), fact(&lines))).collect();
    about(survey, wrong, Lines::add, "no line is too short")
}

fn differ(survey: &Survey) -> Seen<Verdict> {
    let [users, groups] = Lines::of(survey)?;
    let (u, g) = (users.count(), groups.count());
    let is_wrong = u != g && u > 0 && g > 0;
    let fact = format!("{} grants {u} ids to {}, and {} {g}", users.file, users.owner, groups.file);
    let lesser = if u < g { users } else { groups };
    let wrong = is_wrong.then_some((lesser, fact)).into_iter().collect();
    about(survey, wrong, Lines::add, "as many user ids are granted as group ids")
}

fn overlap(survey: &Survey) -> Seen<Verdict> {
    shared(survey, overlapped, "no range of the caller's is another's too")
}

fn account(survey: &Survey) -> Seen<Verdict> {
    shared(survey, inhabited, "no range of the caller's holds an account")
}

/// Looks for ranges that are somebody else's too: each is to be replaced by a free one.
fn shared(survey: &Survey, clash: fn(&Lines, IdRange) -> Option<String>, otherwise: &str) -> Seen<Verdict> {
    let mut old = Vec::new();
    let mut wrong = Vec::new();
    for lines in Lines::of(survey)? {
        let first = lines.own.iter().find_map(|own| Some((*own, clash(&lines, *own)?)));
        if let Some((own, fact)) = first {
            old.push((lines.file, own));
            wrong.push((lines, fact));
        }
    }
    let option = |lines: &Lines, free: IdRange| match old.iter().find(|(file, _)| *file == lines.file) {
        Some((_, range)) => format!("--del-{} {range} {}", lines.kind, lines.add(free)),
        None => lines.add(free),
    };
    about(survey, wrong, option, otherwise)
}

fn overlapped(lines: &Lines, own: IdRange) -> Option<String> {
    let (name, other) = lines.others.iter().find(|(_, other)| other.overlaps(own))?;
    Some(format!("{} grants {own} to {} and {other} to {name}", lines.file, lines.owner))
}

fn inhabited(lines: &Lines, own: IdRange) -> Option<String> {
    let is_within = |id: u32| IdRange::new(id.into(), 1).is_ok_and(|one| own.covers(one));
    let (name, id) = lines.accounts.iter().find(|(_, id)| is_within(*id))?;
    Some(format!("{} grants {own} to {}, and {id} is {name}", lines.file, lines.owner))
}

fn bad_line(survey: &Survey) -> Seen<Verdict> {
    for (file, text) in [("/etc/subuid", &survey.identity.subuid), ("/etc/subgid", &survey.identity.subgid)] {
        if let Some(bad) = policy::subid::bad_lines(text.as_ref()?.as_bytes()).first() {
            return found(format!("{file}, {bad}")).with("file", file).into();
        }
    }
    fine("every line of /etc/subuid and /etc/subgid can be read")
}
