//! seccomp: the system calls that are left. Everything that is not named here fails with EPERM.

use std::collections::BTreeMap;

use libc as sys;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter,
    SeccompRule, TargetArch, apply_filter, apply_filter_all_threads,
};

use crate::Refusal;

/// System calls that an enclosed process may make, whatever their arguments are.
///
/// Paths may be opened: Landlock says which. Sockets can be used and not made. No signal can be sent, even to
/// itself: what must end, ends with `exit_group`.
pub const ENCLOSED: &[sys::c_long] = &[
    // Memory.
    sys::SYS_brk,
    sys::SYS_madvise,
    sys::SYS_membarrier,
    sys::SYS_mmap,
    sys::SYS_mprotect,
    sys::SYS_mremap,
    sys::SYS_munmap,
    // Threads and their waiting; clone has conditions of its own.
    sys::SYS_clone3, // answered with ENOSYS by a filter of its own, so that the C library takes clone
    sys::SYS_exit,
    sys::SYS_exit_group,
    sys::SYS_futex,
    sys::SYS_get_robust_list,
    sys::SYS_getcpu,
    sys::SYS_getpid,
    sys::SYS_getppid,
    sys::SYS_gettid,
    sys::SYS_restart_syscall,
    sys::SYS_rseq,
    sys::SYS_sched_getaffinity,
    sys::SYS_sched_yield,
    sys::SYS_set_robust_list,
    sys::SYS_set_tid_address,
    // Signals to itself, as the kernel sends them.
    sys::SYS_rt_sigaction,
    sys::SYS_rt_sigprocmask,
    sys::SYS_rt_sigreturn,
    sys::SYS_sigaltstack,
    // Time.
    sys::SYS_clock_getres,
    sys::SYS_clock_gettime,
    sys::SYS_clock_nanosleep,
    sys::SYS_gettimeofday,
    sys::SYS_nanosleep,
    // Descriptors that are open already, and pipes.
    sys::SYS_close,
    sys::SYS_close_range,
    sys::SYS_dup,
    sys::SYS_dup3,
    sys::SYS_epoll_create1,
    sys::SYS_epoll_ctl,
    sys::SYS_epoll_pwait,
    sys::SYS_eventfd2,
    sys::SYS_fstat,
    sys::SYS_lseek,
    sys::SYS_pipe2,
    sys::SYS_ppoll,
    sys::SYS_pread64,
    sys::SYS_pselect6,
    sys::SYS_read,
    sys::SYS_readv,
    sys::SYS_recvfrom,
    sys::SYS_recvmsg,
    sys::SYS_sendmsg,
    sys::SYS_sendto,
    sys::SYS_shutdown,
    sys::SYS_write,
    sys::SYS_writev,
    // Files, as far as Landlock leaves any.
    sys::SYS_faccessat,
    sys::SYS_faccessat2,
    sys::SYS_getcwd,
    sys::SYS_newfstatat,
    sys::SYS_openat,
    sys::SYS_readlinkat,
    sys::SYS_statx,
    // What the process is and has used.
    sys::SYS_getegid,
    sys::SYS_geteuid,
    sys::SYS_getgid,
    sys::SYS_getrandom,
    sys::SYS_getrusage,
    sys::SYS_getuid,
    sys::SYS_sysinfo,
    sys::SYS_uname,
    // The start of the interpreter, until `seal`.
    sys::SYS_execve,
    sys::SYS_pidfd_open,
    sys::SYS_prlimit64,
    sys::SYS_wait4,
    sys::SYS_waitid,
];

/// Older forms of calls above, which only this architecture has.
#[cfg(target_arch = "x86_64")]
const OLDER: &[sys::c_long] = &[
    sys::SYS_access,
    sys::SYS_arch_prctl,
    sys::SYS_dup2,
    sys::SYS_epoll_wait,
    sys::SYS_getrlimit,
    sys::SYS_lstat,
    sys::SYS_open,
    sys::SYS_pipe,
    sys::SYS_poll,
    sys::SYS_readlink,
    sys::SYS_select,
    sys::SYS_stat,
    sys::SYS_time,
];
#[cfg(not(target_arch = "x86_64"))]
const OLDER: &[sys::c_long] = &[];

#[cfg(target_arch = "x86_64")]
const FORKS: &[sys::c_long] = &[sys::SYS_fork, sys::SYS_vfork];
#[cfg(not(target_arch = "x86_64"))]
const FORKS: &[sys::c_long] = &[];

const THREAD: u64 = sys::CLONE_THREAD as u64;
const SPAWN: u64 = (sys::CLONE_VM | sys::CLONE_VFORK) as u64;
// Every namespace.
const NAMESPACES: u64 = (sys::CLONE_NEWCGROUP
    | sys::CLONE_NEWIPC
    | sys::CLONE_NEWNET
    | sys::CLONE_NEWNS
    | sys::CLONE_NEWPID
    | sys::CLONE_NEWUSER
    | sys::CLONE_NEWUTS) as u64;

fn failed(error: impl std::fmt::Display) -> Refusal {
    Refusal(format!("this kernel takes no seccomp filter: {error}"))
}

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

/// A rule that holds if each of these arguments compares as it says.
fn when(conditions: &[(u8, SeccompCmpOp, u64)]) -> Result<SeccompRule, Refusal> {
    let conditions = conditions
        .iter()
        .map(|(index, operator, value)| {
            SeccompCondition::new(*index, SeccompCmpArgLen::Qword, operator.clone(), *value)
                .map_err(failed)
        })
        .collect::<Result<Vec<_>, _>>()?;
    SeccompRule::new(conditions).map_err(failed)
}

fn compile(
    rules: Rules,
    others: SeccompAction,
    these: SeccompAction,
) -> Result<BpfProgram, Refusal> {
    let target = TargetArch::try_from(std::env::consts::ARCH).map_err(failed)?;
    let filter = SeccompFilter::new(rules, others, these, target).map_err(failed)?;
    filter.try_into().map_err(failed)
}

fn whole(calls: impl IntoIterator<Item = sys::c_long>) -> Rules {
    calls.into_iter().map(|call| (call, Vec::new())).collect()
}

/// Leaves the calls above, threads, and the start of a program.
pub fn enclose() -> Result<(), Refusal> {
    let mut rules = whole(ENCLOSED.iter().chain(OLDER).copied());
    let equal = |mask: u64| SeccompCmpOp::MaskedEq(mask);
    rules.insert(
        sys::SYS_clone,
        vec![
            when(&[(0, equal(THREAD | NAMESPACES), THREAD)])?,
            when(&[(0, equal(SPAWN | NAMESPACES), SPAWN)])?,
        ],
    );
    // Further walls; both calls can only take away.
    let privileges = when(&[(0, SeccompCmpOp::Eq, sys::PR_SET_NO_NEW_PRIVS as u64)])?;
    let filter = when(&[(0, SeccompCmpOp::Eq, u64::from(sys::SECCOMP_SET_MODE_FILTER))])?;
    rules.insert(sys::SYS_seccomp, vec![filter]);
    // Names of threads and of memory; every other option of prctl is refused.
    let name = when(&[(0, SeccompCmpOp::Eq, sys::PR_SET_NAME as u64)])?;
    let memory = when(&[(0, SeccompCmpOp::Eq, sys::PR_SET_VMA as u64)])?;
    rules.insert(sys::SYS_prctl, vec![name, memory, privileges]);
    // Copies and flags of descriptors; not their owners, who would get signals.
    let copies = [
        sys::F_DUPFD,
        sys::F_DUPFD_CLOEXEC,
        sys::F_GETFD,
        sys::F_SETFD,
        sys::F_GETFL,
        sys::F_SETFL,
    ]
    .into_iter()
    .map(|command| when(&[(1, SeccompCmpOp::Eq, command as u64)]))
    .collect::<Result<Vec<_>, _>>()?;
    rules.insert(sys::SYS_fcntl, copies);
    // The settings of descriptors, not of devices.
    let descriptors = [sys::FIONBIO, sys::FIOCLEX, sys::FIONREAD, sys::TCGETS]
        .into_iter()
        .map(|request| when(&[(1, SeccompCmpOp::Eq, request)]))
        .collect::<Result<Vec<_>, _>>()?;
    rules.insert(sys::SYS_ioctl, descriptors);
    // The interpreter's runtime talks to itself over a pair of its own.
    let pair = when(&[(0, SeccompCmpOp::Eq, sys::AF_UNIX as u64)])?;
    rules.insert(sys::SYS_socketpair, vec![pair]);
    let allowed = compile(
        rules,
        SeccompAction::Errno(sys::EPERM as u32),
        SeccompAction::Allow,
    )?;
    let absent = compile(
        whole([sys::SYS_clone3]),
        SeccompAction::Allow,
        SeccompAction::Errno(sys::ENOSYS as u32),
    )?;
    apply_filter(&absent).map_err(failed)?;
    apply_filter(&allowed).map_err(failed)
}

/// Takes away the change of another process's limits, from this thread and from what it starts.
pub fn narrow() -> Result<(), Refusal> {
    let others = when(&[(0, SeccompCmpOp::Ne, 0), (2, SeccompCmpOp::Ne, 0)])?;
    let rules = Rules::from([(sys::SYS_prlimit64, vec![others])]);
    let refused = compile(
        rules,
        SeccompAction::Allow,
        SeccompAction::Errno(sys::EPERM as u32),
    )?;
    apply_filter(&refused).map_err(failed)
}

/// Calls that name a file, of which a sealed process opens none and asks for none.
const NAMED: &[sys::c_long] = &[
    sys::SYS_faccessat,
    sys::SYS_faccessat2,
    sys::SYS_openat,
    sys::SYS_readlinkat,
];
#[cfg(target_arch = "x86_64")]
const NAMED_OLDER: &[sys::c_long] = &[
    sys::SYS_access,
    sys::SYS_lstat,
    sys::SYS_open,
    sys::SYS_readlink,
    sys::SYS_stat,
];
#[cfg(not(target_arch = "x86_64"))]
const NAMED_OLDER: &[sys::c_long] = &[];

/// Takes the start of programs and processes away, and every file that is not open yet.
pub fn seal() -> Result<(), Refusal> {
    let mut starts = whole(
        [
            sys::SYS_execve,
            sys::SYS_execveat,
            sys::SYS_pidfd_open,
            sys::SYS_seccomp,
            sys::SYS_socketpair,
        ]
        .iter()
        .chain(FORKS)
        .copied(),
    );
    starts.insert(
        sys::SYS_clone,
        vec![when(&[(0, SeccompCmpOp::MaskedEq(THREAD), 0)])?],
    );
    let starts = compile(
        starts,
        SeccompAction::Allow,
        SeccompAction::Errno(sys::EPERM as u32),
    )?;
    let mut files = whole(NAMED.iter().chain(NAMED_OLDER).copied());
    // With an empty name these two ask for an open descriptor. Libraries that look for a file hear that it is closed.
    let empty = SeccompCmpOp::MaskedEq(sys::AT_EMPTY_PATH as u64);
    files.insert(sys::SYS_newfstatat, vec![when(&[(3, empty.clone(), 0)])?]);
    files.insert(sys::SYS_statx, vec![when(&[(2, empty, 0)])?]);
    let files = compile(
        files,
        SeccompAction::Allow,
        SeccompAction::Errno(sys::EACCES as u32),
    )?;
    // This one first: the other takes the call away that sets filters.
    apply_filter_all_threads(&files).map_err(failed)?;
    apply_filter_all_threads(&starts).map_err(failed)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;

    #[test]
    fn the_list_names_each_call_once() {
        let all: Vec<_> = ENCLOSED.iter().chain(OLDER).collect();
        assert_eq!(all.iter().collect::<BTreeSet<_>>().len(), all.len());
    }

    #[test]
    fn the_list_holds_none_of_these() {
        let never = [
            sys::SYS_socket,
            sys::SYS_connect,
            sys::SYS_bind,
            sys::SYS_kill,
            sys::SYS_tgkill,
            sys::SYS_ptrace,
            sys::SYS_process_vm_readv,
            sys::SYS_pidfd_getfd,
            sys::SYS_pidfd_send_signal,
            sys::SYS_mount,
            sys::SYS_unshare,
            sys::SYS_setns,
            sys::SYS_bpf,
            sys::SYS_perf_event_open,
            sys::SYS_keyctl,
            sys::SYS_io_uring_setup,
            sys::SYS_userfaultfd,
            sys::SYS_open_by_handle_at,
            sys::SYS_memfd_create,
            sys::SYS_setsid,
            sys::SYS_setpgid,
            sys::SYS_clone, // has conditions
            sys::SYS_ioctl, // has conditions
            sys::SYS_prctl, // has conditions
            sys::SYS_fcntl, // has conditions
        ];
        for call in never {
            assert!(
                !ENCLOSED.contains(&call) && !OLDER.contains(&call),
                "call {call}"
            );
        }
    }

    #[test]
    fn a_filter_fits_the_kernel() {
        // The kernel takes 4096 instructions.
        let all = whole(ENCLOSED.iter().chain(OLDER).copied());
        let program =
            compile(all, SeccompAction::Errno(1), SeccompAction::Allow).expect("a filter");
        assert!(program.len() < 1024);
    }
}
