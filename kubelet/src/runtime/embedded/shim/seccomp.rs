//! The system calls that a container with profile `RuntimeDefault` may make: those of the default profile that
//! containerd and docker share, with what capabilities add to it. Everything else fails with EPERM.
//!
//! Programs of another architecture than the machine's (32 bits on a 64-bit kernel) are killed.
//! Source of the list: Docker's documentation, "Seccomp security profiles for Docker".

use std::collections::{BTreeMap, BTreeSet};
use std::io;
use std::path::Path;

use nix::libc;
use seccompiler::{
    BpfProgram, SeccompAction, SeccompCmpArgLen, SeccompCmpOp, SeccompCondition, SeccompFilter, SeccompRule,
    TargetArch,
};

/// Programs for the kernel; the last one wins where two would refuse a call with different errors.
#[derive(Debug, Clone)]
pub struct Filter(Vec<BpfProgram>);

/// Expands names of system calls to their numbers.
macro_rules! numbers {
    ($($name:ident)*) => { [$(libc::$name),*] };
}

/// Calls that every architecture has.
fn common() -> impl Iterator<Item = libc::c_long> {
    numbers! {
        SYS_accept SYS_accept4 SYS_adjtimex SYS_bind SYS_brk SYS_capget SYS_capset SYS_chdir SYS_clock_adjtime
        SYS_clock_getres SYS_clock_gettime SYS_clock_nanosleep SYS_close SYS_close_range SYS_connect
        SYS_copy_file_range SYS_dup SYS_dup3 SYS_epoll_create1 SYS_epoll_ctl SYS_epoll_pwait SYS_epoll_pwait2
        SYS_eventfd2 SYS_execve SYS_execveat SYS_exit SYS_exit_group SYS_faccessat SYS_faccessat2 SYS_fadvise64
        SYS_fallocate SYS_fanotify_mark SYS_fchdir SYS_fchmod SYS_fchmodat SYS_fchown SYS_fchownat SYS_fcntl
        SYS_fdatasync SYS_fgetxattr SYS_flistxattr SYS_flock SYS_fremovexattr SYS_fsetxattr SYS_fstat SYS_fstatfs
        SYS_fsync SYS_ftruncate SYS_futex SYS_futex_waitv SYS_getcpu SYS_getcwd SYS_getdents64 SYS_getegid
        SYS_geteuid SYS_getgid SYS_getgroups SYS_getitimer SYS_getpeername SYS_getpgid SYS_getpid SYS_getppid
        SYS_getpriority SYS_getrandom SYS_getresgid SYS_getresuid SYS_getrlimit SYS_get_robust_list SYS_getrusage
        SYS_getsid SYS_getsockname SYS_getsockopt SYS_gettid SYS_gettimeofday SYS_getuid SYS_getxattr
        SYS_inotify_add_watch SYS_inotify_init1 SYS_inotify_rm_watch SYS_io_cancel SYS_ioctl SYS_io_destroy
        SYS_io_getevents SYS_ioprio_get SYS_ioprio_set SYS_io_setup SYS_io_submit SYS_kill
        SYS_landlock_add_rule SYS_landlock_create_ruleset SYS_landlock_restrict_self SYS_lgetxattr SYS_linkat
        SYS_listen SYS_listxattr SYS_llistxattr SYS_lremovexattr SYS_lseek SYS_lsetxattr SYS_madvise SYS_membarrier
        SYS_memfd_create SYS_memfd_secret SYS_mincore SYS_mkdirat SYS_mknodat SYS_mlock SYS_mlock2 SYS_mlockall
        SYS_mmap SYS_mprotect SYS_mq_getsetattr SYS_mq_notify SYS_mq_open SYS_mq_timedreceive SYS_mq_timedsend
        SYS_mq_unlink SYS_mremap SYS_msgctl SYS_msgget SYS_msgrcv SYS_msgsnd SYS_msync SYS_munlock SYS_munlockall
        SYS_munmap SYS_name_to_handle_at SYS_nanosleep SYS_newfstatat SYS_openat SYS_openat2 SYS_pidfd_open
        SYS_pidfd_send_signal SYS_pipe2 SYS_pkey_alloc SYS_pkey_free SYS_pkey_mprotect SYS_ppoll SYS_prctl SYS_pread64
        SYS_preadv SYS_preadv2 SYS_prlimit64 SYS_process_mrelease SYS_pselect6 SYS_ptrace SYS_pwrite64 SYS_pwritev
        SYS_pwritev2 SYS_read SYS_readahead SYS_readlinkat SYS_readv SYS_recvfrom SYS_recvmmsg SYS_recvmsg
        SYS_remap_file_pages SYS_removexattr SYS_renameat2 SYS_restart_syscall SYS_rseq SYS_rt_sigaction
        SYS_rt_sigpending SYS_rt_sigprocmask SYS_rt_sigqueueinfo SYS_rt_sigreturn SYS_rt_sigsuspend
        SYS_rt_sigtimedwait SYS_rt_tgsigqueueinfo SYS_sched_getaffinity SYS_sched_getattr SYS_sched_getparam
        SYS_sched_get_priority_max SYS_sched_get_priority_min SYS_sched_getscheduler SYS_sched_rr_get_interval
        SYS_sched_setaffinity SYS_sched_setattr SYS_sched_setparam SYS_sched_setscheduler SYS_sched_yield SYS_seccomp
        SYS_semctl SYS_semget SYS_semop SYS_semtimedop SYS_sendfile SYS_sendmmsg SYS_sendmsg SYS_sendto SYS_setfsgid
        SYS_setfsuid SYS_setgid SYS_setgroups SYS_setitimer SYS_setpgid SYS_setpriority SYS_setregid SYS_setresgid
        SYS_setresuid SYS_setreuid SYS_setrlimit SYS_set_robust_list SYS_setsid SYS_setsockopt SYS_set_tid_address
        SYS_setuid SYS_setxattr SYS_shmat SYS_shmctl SYS_shmdt SYS_shmget SYS_shutdown SYS_sigaltstack SYS_signalfd4
        SYS_socketpair SYS_splice SYS_statfs SYS_statx SYS_symlinkat SYS_sync SYS_sync_file_range SYS_syncfs
        SYS_sysinfo SYS_tee SYS_tgkill SYS_timer_create SYS_timer_delete SYS_timer_getoverrun SYS_timer_gettime
        SYS_timer_settime SYS_timerfd_create SYS_timerfd_gettime SYS_timerfd_settime SYS_times SYS_tkill SYS_truncate
        SYS_umask SYS_uname SYS_unlinkat SYS_utimensat SYS_vmsplice SYS_wait4 SYS_waitid SYS_write SYS_writev
        SYS_process_vm_readv SYS_process_vm_writev
    }
    .into_iter()
}

#[cfg(target_arch = "x86_64")]
fn of_architecture() -> impl Iterator<Item = libc::c_long> {
    numbers! {
        SYS_access SYS_alarm SYS_arch_prctl SYS_chmod SYS_chown SYS_creat SYS_dup2 SYS_epoll_create SYS_epoll_ctl_old
        SYS_epoll_wait SYS_epoll_wait_old SYS_eventfd SYS_fork SYS_futimesat SYS_getdents SYS_getpgrp
        SYS_get_thread_area SYS_inotify_init SYS_lchown SYS_link SYS_lstat SYS_mkdir SYS_mknod SYS_modify_ldt SYS_open
        SYS_pause SYS_pipe SYS_poll SYS_readlink SYS_rename SYS_renameat SYS_rmdir SYS_select SYS_set_thread_area
        SYS_signalfd SYS_stat SYS_symlink SYS_time SYS_unlink SYS_ustat SYS_utime SYS_utimes SYS_vfork
    }
    .into_iter()
}

#[cfg(not(target_arch = "x86_64"))]
fn of_architecture() -> impl Iterator<Item = libc::c_long> {
    numbers! { SYS_renameat }.into_iter()
}

/// Calls that a capability brings with it.
fn of_capability(name: &str) -> Vec<libc::c_long> {
    match name {
        "CAP_SYS_ADMIN" => numbers! {
            SYS_bpf SYS_clone3 SYS_fanotify_init SYS_fsconfig SYS_fsmount SYS_fsopen SYS_fspick SYS_mount
            SYS_mount_setattr SYS_move_mount SYS_open_tree SYS_perf_event_open SYS_quotactl SYS_quotactl_fd
            SYS_setdomainname SYS_sethostname SYS_setns SYS_syslog SYS_umount2 SYS_unshare SYS_clone
        }
        .to_vec(),
        "CAP_SYS_BOOT" => vec![libc::SYS_reboot],
        "CAP_SYS_CHROOT" => vec![libc::SYS_chroot],
        "CAP_SYS_MODULE" => numbers! { SYS_delete_module SYS_init_module SYS_finit_module }.to_vec(),
        "CAP_SYS_PACCT" => vec![libc::SYS_acct],
        "CAP_SYS_PTRACE" => numbers! { SYS_kcmp SYS_pidfd_getfd SYS_process_madvise }.to_vec(),
        #[cfg(target_arch = "x86_64")]
        "CAP_SYS_RAWIO" => numbers! { SYS_iopl SYS_ioperm }.to_vec(),
        "CAP_SYS_TIME" => numbers! { SYS_settimeofday SYS_clock_settime }.to_vec(),
        "CAP_SYS_TTY_CONFIG" => vec![libc::SYS_vhangup],
        "CAP_SYS_NICE" => {
            numbers! { SYS_get_mempolicy SYS_mbind SYS_set_mempolicy SYS_set_mempolicy_home_node }.to_vec()
        }
        "CAP_DAC_READ_SEARCH" => vec![libc::SYS_open_by_handle_at],
        "CAP_SYSLOG" => vec![libc::SYS_syslog],
        "CAP_BPF" => vec![libc::SYS_bpf],
        "CAP_PERFMON" => vec![libc::SYS_perf_event_open],
        _ => Vec::new(),
    }
}

/// The flags of `clone` that make namespaces.
const NEW_NAMESPACES: u64 = 0x7e02_0000;
/// Values of `personality` that change nothing dangerous.
const PERSONALITIES: [u64; 5] = [0, 8, 0x2_0000, 0x2_0008, 0xffff_ffff];

type Rules = BTreeMap<i64, Vec<SeccompRule>>;

fn rule(argument: u8, compare: SeccompCmpOp, value: u64) -> Result<SeccompRule, seccompiler::BackendError> {
    SeccompRule::new(vec![SeccompCondition::new(argument, SeccompCmpArgLen::Dword, compare, value)?])
}

fn rules(capabilities: &BTreeSet<String>) -> Result<Rules, seccompiler::BackendError> {
    let mut rules: Rules = common().chain(of_architecture()).map(|call| (call, Vec::new())).collect();
    // Sockets to the hypervisor are not for containers.
    rules.insert(libc::SYS_socket, vec![rule(0, SeccompCmpOp::Ne, libc::AF_VSOCK as u64)?]);
    rules.insert(libc::SYS_clone, vec![rule(0, SeccompCmpOp::MaskedEq(NEW_NAMESPACES), 0)?]);
    let personalities = PERSONALITIES.iter().map(|value| rule(0, SeccompCmpOp::Eq, *value));
    rules.insert(libc::SYS_personality, personalities.collect::<Result<_, _>>()?);
    for call in capabilities.iter().flat_map(|name| of_capability(name)) {
        rules.insert(call, Vec::new());
    }
    // The other filter refuses it unless it is allowed.
    rules.insert(libc::SYS_clone3, Vec::new());
    Ok(rules)
}

impl Filter {
    /// The filter of `RuntimeDefault` for a container with these capabilities.
    pub fn runtime_default(capabilities: &BTreeSet<String>) -> Result<Self, String> {
        let build = || {
            let arch = TargetArch::try_from(std::env::consts::ARCH)?;
            let refused = SeccompAction::Errno(libc::EPERM as u32);
            let first = SeccompFilter::new(rules(capabilities)?, refused, SeccompAction::Allow, arch)?;
            let mut programs: Vec<BpfProgram> = vec![first.try_into()?];
            if !capabilities.contains("CAP_SYS_ADMIN") {
                // Programs then fall back to `clone`, whose flags can be looked at.
                let unknown = SeccompAction::Errno(libc::ENOSYS as u32);
                let only: Rules = [(libc::SYS_clone3, Vec::new())].into();
                programs.push(SeccompFilter::new(only, SeccompAction::Allow, unknown, arch)?.try_into()?);
            }
            Ok::<_, seccompiler::BackendError>(Self(programs))
        };
        build().map_err(|error| error.to_string())
    }

    /// The filter of a profile.
    pub fn of_file(path: &Path) -> Result<Self, String> {
        let text = std::fs::read_to_string(path).map_err(|error| error.to_string());
        let programs = text.and_then(|text| super::profile::programs(&text));
        programs.map(Self).map_err(|error| format!("cannot load seccomp profile {path:?}: {error}"))
    }

    /// Sets the filter for this process for ever. Without `no_new_privs` this needs the capability SYS_ADMIN.
    pub fn install(&self, no_new_privs: bool) -> io::Result<()> {
        for program in &self.0 {
            if no_new_privs {
                seccompiler::apply_filter(program).map_err(io::Error::other)?;
            } else {
                install_privileged(program)?;
            }
        }
        Ok(())
    }
}

/// What `seccompiler::apply_filter` does, but without setting `no_new_privs`, which would take their meaning from
/// programs that change the user.
fn install_privileged(program: &BpfProgram) -> io::Result<()> {
    let length = libc::c_ushort::try_from(program.len()).map_err(io::Error::other)?;
    let described = libc::sock_fprog { len: length, filter: program.as_ptr().cast_mut().cast() };
    // SAFETY: the kernel copies `length` instructions, which live as long as `program`, and changes none of them;
    // both types are the kernel's `struct sock_filter`.
    #[allow(unsafe_code, reason = "no crate installs a filter without setting no_new_privs")]
    let result =
        unsafe { libc::syscall(libc::SYS_seccomp, libc::SECCOMP_SET_MODE_FILTER, 0, &raw const described) };
    if result == 0 { Ok(()) } else { Err(io::Error::last_os_error()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn filters_are_made_for_any_capabilities() {
        let none = Filter::runtime_default(&BTreeSet::new()).expect("filter");
        assert_eq!(none.0.len(), 2);
        let admin = Filter::runtime_default(&["CAP_SYS_ADMIN".to_owned()].into()).expect("filter");
        assert_eq!(admin.0.len(), 1);
        assert!(admin.0[0].len() > none.0[0].len());
        assert!(!rules(&BTreeSet::new()).expect("rules").contains_key(&libc::SYS_mount));
    }
}
