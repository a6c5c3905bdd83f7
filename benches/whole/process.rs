//! A process seen from outside: the CPU time and the memory it has taken so far.

use std::time::Duration;

use tokio::time::Instant;

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
    panic!("make bench-whole needs Linux, where the clock of another process can be read")
}

/// The high-water mark of resident memory.
pub fn peak_memory_bytes(process_id: u32) -> u64 {
    let status = std::fs::read_to_string(format!("/proc/{process_id}/status"));
    let status = status.expect("the process is still there");
    let mark = status.lines().find_map(|line| line.strip_prefix("VmHWM:"));
    let kilobytes = mark.and_then(|mark| mark.trim().trim_end_matches(" kB").parse::<u64>().ok());
    kilobytes.expect("a number of kB") * 1_024
}

/// What other processes take of the machine while this one and its children are at work.
pub struct Others {
    since: Instant,
    ticks: u64,
}

impl Others {
    pub fn watch() -> Self {
        Self {
            since: Instant::now(),
            ticks: ticks_of_others(),
        }
    }

    /// How many cores they kept busy since, on the average.
    pub fn cores(&self) -> f64 {
        /// Of both files, on every architecture that Lambda has.
        const TICKS_PER_SECOND: f64 = 100.0;
        let ticks = ticks_of_others().saturating_sub(self.ticks);
        ticks as f64 / TICKS_PER_SECOND / self.since.elapsed().as_secs_f64()
    }
}

/// Ticks of all processes, but for this one and the children that it has waited for; see proc(5).
fn ticks_of_others() -> u64 {
    let sum = |text: &str, fields: &[usize]| {
        let numbers: Vec<&str> = text.split_whitespace().collect();
        let number = |field: &usize| numbers.get(*field)?.parse::<u64>().ok();
        fields.iter().filter_map(number).sum::<u64>()
    };
    let all = std::fs::read_to_string("/proc/stat").unwrap_or_default();
    // User, nice, system, and both kinds of interrupts; idle and stolen time is nobody's.
    let all = sum(all.lines().next().unwrap_or_default(), &[1, 2, 3, 6, 7]);
    let own = std::fs::read_to_string("/proc/self/stat").unwrap_or_default();
    // The name in brackets may hold spaces.
    let behind_name = own.rsplit_once(')').map_or("", |(_, behind)| behind);
    all.saturating_sub(sum(behind_name, &[11, 12, 13, 14]))
}
