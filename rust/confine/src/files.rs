//! Landlock: which files there are for a process, no TCP, no abstract sockets and signals beyond itself.

use std::path::PathBuf;

use landlock::{
    ABI, Access, AccessFs, AccessNet, CompatLevel, Compatible, LandlockStatus, PathBeneath, PathFd,
    Ruleset, RulesetAttr, RulesetCreatedAttr, RulesetError, RulesetStatus, Scope,
};

use crate::Refusal;

// Every right of this version is taken away; what an older kernel does not know, the list of system calls must hold.
const WANTED: ABI = ABI::V7;

fn missing(error: &RulesetError) -> Refusal {
    Refusal(format!(
        "this kernel has no Landlock, or it is not enabled: {error}"
    ))
}

/// Leaves these files, and no others; says which version of Landlock holds.
pub fn restrict(read: &[PathBuf], execute: &[PathBuf]) -> Result<String, Refusal> {
    let mut ruleset = Ruleset::default()
        .set_compatibility(CompatLevel::HardRequirement)
        .handle_access(AccessFs::from_all(ABI::V1))
        .and_then(|ruleset| {
            ruleset
                .set_compatibility(CompatLevel::BestEffort)
                .handle_access(AccessFs::from_all(WANTED))
        })
        .and_then(|ruleset| ruleset.handle_access(AccessNet::from_all(WANTED)))
        .and_then(|ruleset| ruleset.scope(Scope::from_all(WANTED)))
        .and_then(Ruleset::create)
        .map_err(|error| missing(&error))?;
    for (paths, access) in [
        (read, AccessFs::ReadFile.into()),
        (execute, AccessFs::ReadFile | AccessFs::Execute),
    ] {
        for path in paths {
            let file = PathFd::new(path)
                .map_err(|error| Refusal(format!("{}: {error}", path.display())))?;
            ruleset = ruleset
                .add_rule(PathBeneath::new(file, access))
                .map_err(|error| Refusal(format!("{}: {error}", path.display())))?;
        }
    }
    let status = ruleset.restrict_self().map_err(|error| missing(&error))?;
    match (status.ruleset, status.landlock) {
        (RulesetStatus::NotEnforced, _)
        | (_, LandlockStatus::NotEnabled | LandlockStatus::NotImplemented) => Err(Refusal(
            "this kernel has no Landlock, or it is not enabled".to_owned(),
        )),
        (_, LandlockStatus::Available { effective_abi, .. }) => {
            Ok(format!("Landlock {effective_abi:?}"))
        }
    }
}
