//! What a process is to others: alone, without new privileges, closed to debuggers, gone with its parent.

use rustix::process::{
    DumpableBehavior, Signal, getpid, set_child_subreaper, set_dumpable_behavior,
    set_parent_process_death_signal,
};
use rustix::thread::set_no_new_privs;

use crate::Refusal;

fn failed(what: &str, error: impl std::fmt::Display) -> Refusal {
    Refusal(format!("{what}: {error}"))
}

/// Refuses a process with several threads: Landlock binds the calling one only.
pub fn alone() -> Result<(), Refusal> {
    let threads = std::fs::read_dir("/proc/self/task")
        .map_err(|error| failed("/proc must be mounted", error))?
        .count();
    if threads == 1 {
        return Ok(());
    }
    Err(Refusal(format!(
        "{threads} threads run already, and one must"
    )))
}

/// No new privileges, no debugger, an end with the parent.
pub fn guard() -> Result<(), Refusal> {
    set_no_new_privs(true).map_err(|error| failed("no_new_privs", error))?;
    set_dumpable_behavior(DumpableBehavior::NotDumpable)
        .map_err(|error| failed("dumpable", error))?;
    set_parent_process_death_signal(Some(Signal::KILL))
        .map_err(|error| failed("parent death signal", error))
}

/// The parent of its children's orphans.
pub fn adopt() -> Result<(), Refusal> {
    set_child_subreaper(Some(getpid())).map_err(|error| failed("child subreaper", error))
}
