//! The pause program: holds a pod's namespaces, reaps orphans when it is the pod's process 1, and ends on
//! SIGTERM or SIGINT. It is compiled by `build.rs` alone, without a library, so that its image is a few KiB.
#![no_std]
#![no_main]

use core::arch::asm;

#[panic_handler]
fn panic(_: &core::panic::PanicInfo) -> ! {
    exit(70)
}

const SIGINT: usize = 2;
const SIGTERM: usize = 15;
const SIGCHLD: usize = 17;
const SIG_BLOCK: usize = 0;
const WNOHANG: usize = 1;

#[cfg(target_arch = "x86_64")]
mod number {
    pub const SIGPROCMASK: usize = 14;
    pub const SIGTIMEDWAIT: usize = 128;
    pub const WAIT4: usize = 61;
    pub const EXIT: usize = 60;
}

#[cfg(target_arch = "aarch64")]
mod number {
    pub const SIGPROCMASK: usize = 135;
    pub const SIGTIMEDWAIT: usize = 137;
    pub const WAIT4: usize = 260;
    pub const EXIT: usize = 93;
}

#[cfg(target_arch = "x86_64")]
fn syscall(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let result: isize;
    // SAFETY: the kernel's calling convention; the callers pass valid pointers or null.
    unsafe {
        asm!("syscall", inlateout("rax") number => result, in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d,
            lateout("rcx") _, lateout("r11") _);
    }
    result
}

#[cfg(target_arch = "aarch64")]
fn syscall(number: usize, a: usize, b: usize, c: usize, d: usize) -> isize {
    let result: isize;
    // SAFETY: the kernel's calling convention; the callers pass valid pointers or null.
    unsafe {
        asm!("svc 0", in("x8") number, inlateout("x0") a => result, in("x1") b, in("x2") c, in("x3") d);
    }
    result
}

fn exit(code: usize) -> ! {
    loop {
        syscall(number::EXIT, code, 0, 0, 0);
    }
}

#[unsafe(no_mangle)]
extern "C" fn _start() -> ! {
    let signals: u64 = 1 << (SIGINT - 1) | 1 << (SIGTERM - 1) | 1 << (SIGCHLD - 1);
    let set = &raw const signals as usize;
    syscall(number::SIGPROCMASK, SIG_BLOCK, set, 0, 8);
    loop {
        // Without a time limit: it returns the next of the blocked signals.
        match syscall(number::SIGTIMEDWAIT, set, 0, 0, 8) {
            s if s == SIGINT as isize || s == SIGTERM as isize => exit(0),
            s if s == SIGCHLD as isize => while syscall(number::WAIT4, usize::MAX, 0, WNOHANG, 0) > 0 {},
            _ => {}
        }
    }
}
