//! What keeps containers from starting on this host, or costs them something: from a [`Survey`] to [`Finding`]s.
//!
//! One table of [`Check`]s, spread over files by topic. A check has a stable id, says why it matters, which line mends
//! it and who must run that, and what is used meanwhile; its `look` decides by facts alone, so every finding is tested
//! without a host that has it. The hints of a failing start are these findings too: what is wrong has one wording.
//! `docs/doctor.md` has the table for readers.

mod cgroups;
mod devices;
mod ids;
mod kernel;
mod limits;
mod network;
mod storage;
mod userns;
mod visible;

#[cfg(test)]
mod tests;

use serde::Serialize;

use crate::host::{Seen, Survey};

/// How bad it is, the worst first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Severity {
    /// No container starts.
    Stops,
    /// No container with an init starts; commands run (`bryo run`, `bryo execute`).
    StopsInit,
    /// Containers start, and lack something.
    Costs,
    /// Nothing is lacking, or only what few use.
    Note,
    /// It cannot be seen here.
    Unknown,
    /// Nothing is wrong.
    Fine,
}

impl Severity {
    /// Returns the words for a heading.
    pub fn words(self) -> &'static str {
        match self {
            Self::Stops => "stops every start",
            Self::StopsInit => "stops every init",
            Self::Costs => "costs a feature",
            Self::Note => "worth knowing",
            Self::Unknown => "unknown",
            Self::Fine => "fine",
        }
    }
}

/// Who must run the line that mends it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "lowercase")]
pub enum Who {
    /// The caller.
    You,
    /// Whoever may be root of this host.
    Administrator,
}

impl Who {
    /// Returns the word for messages.
    pub fn word(self) -> &'static str {
        match self {
            Self::You => "you",
            Self::Administrator => "the administrator",
        }
    }
}

/// One thing that is looked at. In `mend` and `advice`, `<words>` are filled in by what was found.
#[derive(Debug)]
pub struct Check {
    /// Its name, the same in every version.
    pub id: &'static str,
    /// How bad it is when it is found; at most, where another rung does the work.
    pub severity: Severity,
    /// What is looked for.
    pub seen: &'static str,
    /// Why it matters.
    pub why: &'static str,
    /// The command line that mends it; empty where no single one does.
    pub mend: &'static str,
    /// What to do where there is no such line, or where it is done elsewhere; may be empty.
    pub advice: &'static str,
    /// Who must run it.
    pub who: Who,
    /// What is used meanwhile.
    pub meanwhile: &'static str,
    look: fn(&Survey) -> Seen<Verdict>,
}

/// What a check comes to.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Verdict {
    /// Nothing is wrong: the fact, or why it does not matter here.
    Fine(String),
    /// It is found.
    Found(Fact),
}

/// A fact that is a finding.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Fact {
    /// As seen, with the file and the value.
    text: String,
    /// What fills the `<words>` of the check.
    words: Vec<(&'static str, String)>,
    /// Less bad than the check says: another rung does the work.
    is_covered: bool,
    /// The check's line works on this host; else only its advice is given.
    is_mendable: bool,
}

/// Says that nothing is wrong.
fn fine(text: impl Into<String>) -> Seen<Verdict> {
    Ok(Verdict::Fine(text.into()))
}

/// Says what was found.
fn found(text: impl Into<String>) -> Fact {
    Fact { text: text.into(), words: Vec::new(), is_covered: false, is_mendable: true }
}

impl Fact {
    /// Fills a word of the check, as one word of a shell: paths and names are nobody's to trust who pastes the line
    /// after `sudo`.
    fn with(self, word: &'static str, value: impl AsRef<str>) -> Self {
        self.with_words(word, quoted(value.as_ref()))
    }

    /// Fills in several words of a shell, made here.
    fn with_words(mut self, word: &'static str, value: impl Into<String>) -> Self {
        self.words.push((word, value.into()));
        self
    }

    /// Makes it a note where something else does the work.
    fn covered_if(self, is_covered: bool) -> Self {
        Self { is_covered, ..self }
    }

    /// Leaves the check's line out where it would not work.
    fn mendable_if(self, is_mendable: bool) -> Self {
        Self { is_mendable, ..self }
    }

    /// Fills in how this distribution installs packages; where that is not known, there is no line.
    fn of_packages(self, survey: &Survey) -> Self {
        let Some(packages) = survey.packages else { return self.mendable_if(false) };
        self.with_words("install", packages.install).with("uidmap", packages.uidmap)
    }

    fn fill(&self, template: &str) -> Option<String> {
        let put = |text: String, (word, value): &(&str, String)| text.replace(&format!("<{word}>"), value);
        (!template.is_empty()).then(|| self.words.iter().fold(template.to_owned(), put))
    }
}

impl From<Fact> for Seen<Verdict> {
    fn from(fact: Fact) -> Self {
        Ok(Verdict::Found(fact))
    }
}

/// What a check found, in words. The JSON of `bryo doctor` has the same names.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Finding {
    /// The name of the check.
    pub id: &'static str,
    /// How bad it is.
    pub severity: Severity,
    /// The fact as seen; of [`Severity::Unknown`] why it cannot be seen.
    pub fact: String,
    /// Why it matters.
    pub why: &'static str,
    /// The command line that mends it.
    pub mend: Option<String>,
    /// What to do where there is no such line, or where it is done elsewhere.
    pub advice: Option<String>,
    /// Who must run it.
    pub who: Who,
    /// What is used meanwhile.
    pub meanwhile: &'static str,
}

impl Finding {
    fn of(check: &Check, survey: &Survey) -> Self {
        let (severity, fact) = match (check.look)(survey) {
            Ok(Verdict::Found(fact)) if fact.is_covered => (check.severity.max(Severity::Note), fact),
            Ok(Verdict::Found(fact)) => (check.severity, fact),
            Ok(Verdict::Fine(text)) => (Severity::Fine, found(text)),
            Err(reason) => (Severity::Unknown, found(reason)),
        };
        let is_found = severity <= Severity::Note;
        Self {
            id: check.id,
            severity,
            why: check.why,
            mend: fact.fill(check.mend).filter(|_| is_found && fact.is_mendable),
            advice: fact.fill(check.advice).filter(|_| is_found),
            fact: fact.text,
            who: check.who,
            meanwhile: check.meanwhile,
        }
    }

    /// Returns what to do, in one line: the command, else the advice.
    pub fn help(&self) -> &str {
        self.mend.as_deref().or(self.advice.as_deref()).unwrap_or(&self.fact)
    }

    /// Tells whether containers lack something, or do not start at all.
    pub fn matters(&self) -> bool {
        self.severity <= Severity::Costs
    }
}

/// Returns all checks, in the order of a start.
pub fn checks() -> impl Iterator<Item = &'static Check> {
    let topics = [
        kernel::CHECKS,
        userns::CHECKS,
        ids::CHECKS,
        visible::CHECKS,
        cgroups::CHECKS,
        storage::CHECKS,
        network::CHECKS,
        devices::CHECKS,
        limits::CHECKS,
    ];
    topics.into_iter().flatten()
}

/// Returns what each check comes to, in the order of a start: also what is fine, and what cannot be seen.
pub fn look(survey: &Survey) -> Vec<Finding> {
    checks().map(|check| Finding::of(check, survey)).collect()
}

/// Returns what is wrong, the worst first.
pub fn findings(survey: &Survey) -> Vec<Finding> {
    let mut found: Vec<Finding> =
        look(survey).into_iter().filter(|finding| finding.severity <= Severity::Note).collect();
    found.sort_by_key(|finding| finding.severity);
    found
}

/// Returns a text as one word of a shell.
fn quoted(text: &str) -> String {
    let is_plain = |c: char| c.is_alphanumeric() || "/._-+:=,@%".contains(c);
    match !text.is_empty() && text.chars().all(is_plain) {
        true => text.to_owned(),
        false => format!("'{}'", text.replace('\'', "'\\''")),
    }
}

/// Joins names as a sentence does, and counts the rest where there are many.
fn list(names: &[String]) -> String {
    const MOST: usize = 5;
    match names {
        [] => "none".to_owned(),
        [one] => one.clone(),
        [first @ .., last] if names.len() <= MOST => format!("{} and {last}", first.join(", ")),
        many => format!("{} and {} more", many[..MOST].join(", "), many.len() - MOST),
    }
}
