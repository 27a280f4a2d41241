//! `bryo config --settings`: Bryo's own settings, what holds, and which file says so.

use std::path::PathBuf;

use config::settings::SETTINGS;
use serde::Serialize;

use crate::context::Context;
use crate::json;
use crate::output;

/// One setting as it holds.
#[derive(Debug, Serialize)]
struct Told {
    name: &'static str,
    /// What holds; null where nothing is set and the default is no value.
    value: Option<String>,
    /// The file that says so; null for the default.
    file: Option<PathBuf>,
    default: &'static str,
    doc: &'static str,
}

/// Prints all settings. Returns the exit status.
pub(super) fn list(context: &Context, json: bool) -> i32 {
    let all: Vec<Told> = SETTINGS
        .iter()
        .map(|setting| {
            let (value, file) = context.told(setting);
            Told { name: setting.name, value, file, default: setting.default, doc: setting.doc }
        })
        .collect();
    match json {
        true => output::print_line(json::text(&all)),
        false => all.iter().for_each(|told| output::print(entry(told))),
    }
    0
}

fn entry(told: &Told) -> String {
    let value = told.value.as_deref().unwrap_or(told.default);
    let from = told.file.as_ref().map_or("default".to_owned(), |file| file.display().to_string());
    format!("{:<16} {value}    ({from})\n{:17}{}\n", told.name, "", told.doc.replace('`', ""))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_setting_is_told_with_its_file_or_as_the_default() {
        let told = |value: Option<&str>, file: Option<&str>| Told {
            name: "stop.timeout",
            value: value.map(str::to_owned),
            file: file.map(PathBuf::from),
            default: "60",
            doc: "How `long`.",
        };
        let doc = "                 How long.\n";
        assert_eq!(entry(&told(None, None)), format!("stop.timeout     60    (default)\n{doc}"));
        assert_eq!(entry(&told(Some("5"), Some("/c"))), format!("stop.timeout     5    (/c)\n{doc}"));
    }
}
