//! The second wall around a visiting script: what a process can no longer do once it has enclosed itself.
//!
//! A process encloses itself before it reads anything that a stranger wrote ([`enclose`]), starts the one program
//! that it needs, and seals itself ([`seal`]). Both are final for it and for whatever it starts. Landlock decides
//! which files there are, seccomp which system calls; neither asks who the user is.

/// Why a process cannot be enclosed here.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Refusal(pub String);

#[cfg(target_os = "linux")]
mod files;
#[cfg(target_os = "linux")]
mod process;
#[cfg(target_os = "linux")]
pub mod syscalls;

#[cfg(target_os = "linux")]
pub use linux::{adopt_orphans, enclose, narrow, seal};

#[cfg(target_os = "linux")]
mod linux {
    use std::path::PathBuf;

    use crate::{Refusal, files, process, syscalls};

    /// Encloses this process: no new privileges, no debugger, an end with its parent, these files, and the system
    /// calls of [`syscalls::ENCLOSED`].
    ///
    /// The process must have one thread. It may still start programs among `execute`.
    ///
    /// # Errors
    /// What this machine lacks, or a file that cannot be named. The process must then end: some walls may stand.
    pub fn enclose(read: &[PathBuf], execute: &[PathBuf]) -> Result<String, Refusal> {
        process::alone()?;
        process::guard()?;
        let walls = files::restrict(read, execute)?;
        syscalls::enclose()?;
        Ok(walls)
    }

    /// Takes away the change of other processes' limits, from this thread and from what it starts from now on.
    ///
    /// A thread that was there before keeps it, and can still bind what this one starts, until it seals the process.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn narrow() -> Result<(), Refusal> {
        syscalls::narrow()
    }

    /// Ends what only a start needs: from now on this process, with all of its threads, starts no program and no
    /// process, and opens no file.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn seal() -> Result<(), Refusal> {
        syscalls::seal()
    }

    /// Makes this process the parent of its children's orphans, so that it can bury them.
    ///
    /// # Errors
    /// What the kernel answered.
    pub fn adopt_orphans() -> Result<(), Refusal> {
        process::adopt()
    }
}

#[cfg(not(target_os = "linux"))]
mod elsewhere {
    use std::path::PathBuf;

    use crate::Refusal;

    const TEXT: &str = "scripts run on Linux only: this system has no Landlock and no seccomp";

    /// Refuses: there are no walls here.
    ///
    /// # Errors
    /// Always.
    pub fn enclose(_read: &[PathBuf], _execute: &[PathBuf]) -> Result<String, Refusal> {
        Err(Refusal(TEXT.to_owned()))
    }

    /// Refuses: there are no walls here.
    ///
    /// # Errors
    /// Always.
    pub fn seal() -> Result<(), Refusal> {
        Err(Refusal(TEXT.to_owned()))
    }

    /// Refuses: there are no walls here.
    ///
    /// # Errors
    /// Always.
    pub fn narrow() -> Result<(), Refusal> {
        Err(Refusal(TEXT.to_owned()))
    }

    /// Does nothing: no cell is started here.
    ///
    /// # Errors
    /// Never.
    pub fn adopt_orphans() -> Result<(), Refusal> {
        Ok(())
    }
}

#[cfg(not(target_os = "linux"))]
pub use elsewhere::{adopt_orphans, enclose, narrow, seal};
