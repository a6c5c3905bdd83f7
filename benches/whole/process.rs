//! A process seen from outside: the CPU time and the memory it has taken so far.

use std::time::Duration;

/// User and system time of all threads, those that ended included, to the nanosecond.
#[cfg(target_os = "linux")]
#[expect(
    unsafe_code,
    reason = "the standard library has no clock of another process"
)]
pub fn cpu_time(process_id: u32) -> Duration {
    let mut clock: libc::clockid_t = 0;
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let process_id = libc::pid_t::try_from(process_id).expect("a process id");
    // SAFETY: both calls write to what they are given a pointer to, which lives here.
    let failed = unsafe {
        libc::clock_getcpuclockid(process_id, &raw mut clock) != 0
            || libc::clock_gettime(clock, &raw mut time) != 0
    };
    assert!(!failed, "process {process_id} is gone");
    Duration::new(
        time.tv_sec.unsigned_abs(),
        time.tv_nsec.unsigned_abs() as u32,
    )
}

#[cfg(not(target_os = "linux"))]
pub fn cpu_time(_process_id: u32) -> Duration {
    unimplemented!("the clock of another process is read on Linux alone")
}

/// The high-water mark of resident memory.
pub fn peak_memory_bytes(process_id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process_id}/status"));
    let status = status.expect("the process is still there");
    let mark = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = mark.and_then(|mark| mark.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.expect("a number of kB") * 1_024
}
