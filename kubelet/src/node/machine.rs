//! The machine as the kernel describes it.

use std::collections::BTreeMap;
use std::net::{IpAddr, Ipv4Addr, UdpSocket};

/// Facts read once.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    /// Host name.
    pub hostname: String,
    /// Memory in bytes.
    pub memory: i64,
    /// CPUs that may be used.
    pub cpus: i64,
    /// Bytes of the file system of the root directory.
    pub disk: i64,
    /// Bytes in huge pages, by the size of those as resources are named: `2Mi`, `1Gi`.
    pub huge_pages: BTreeMap<&'static str, i64>,
    /// Release of the kernel.
    pub kernel: String,
    /// Name of the distribution.
    pub os_image: String,
    /// Id of the machine.
    pub machine_id: String,
    /// Id of the system by its firmware.
    pub system_uuid: String,
    /// Id of this boot.
    pub boot_id: String,
}

impl Machine {
    /// Reads everything; what cannot be read stays empty.
    pub fn read() -> Self {
        let line =
            |path: &str| std::fs::read_to_string(path).map(|text| text.trim().to_owned()).unwrap_or_default();
        let machine_id = Some(line("/etc/machine-id"))
            .filter(|id| !id.is_empty())
            .unwrap_or_else(|| line("/var/lib/dbus/machine-id"));
        let system_uuid = Some(line("/sys/class/dmi/id/product_uuid"))
            .filter(|id| !id.is_empty())
            .unwrap_or_else(|| machine_id.clone());
        Self {
            hostname: line("/proc/sys/kernel/hostname"),
            memory: memory(&line("/proc/meminfo")),
            cpus: std::thread::available_parallelism().map_or(1, |count| count.get() as i64),
            disk: disk("/"),
            huge_pages: [("2Mi", 2048), ("1Gi", 1 << 20)]
                .map(|(name, kilobytes)| {
                    let count =
                        line(&format!("/sys/kernel/mm/hugepages/hugepages-{kilobytes}kB/nr_hugepages"));
                    (name, count.parse::<i64>().unwrap_or_default() * kilobytes * 1024)
                })
                .into(),
            kernel: line("/proc/sys/kernel/osrelease"),
            os_image: os_image(&line("/etc/os-release")),
            machine_id,
            system_uuid,
            boot_id: line("/proc/sys/kernel/random/boot_id"),
        }
    }

    /// The addresses that the node uses towards others, if none were given.
    pub fn default_ips(&self) -> Vec<IpAddr> {
        // No packet is sent: connecting only chooses the source address by the routes.
        let chosen = UdpSocket::bind((Ipv4Addr::UNSPECIFIED, 0)).and_then(|socket| {
            socket.connect((Ipv4Addr::new(192, 0, 2, 1), 9))?;
            socket.local_addr()
        });
        vec![chosen.map_or(IpAddr::V4(Ipv4Addr::LOCALHOST), |address| address.ip())]
    }

    /// What pods may use, by resource, in thousandths. Nothing is held back for the system but what must be free
    /// (bytes of memory and of disk): these are machines made for the cluster.
    pub fn allocatable(&self, max_pods: usize, (memory, disk): (i64, i64)) -> BTreeMap<String, i64> {
        let huge = self
            .huge_pages
            .iter()
            .map(|(size, bytes)| (format!("hugepages-{size}"), bytes.saturating_mul(1000)));
        let held: i64 = self.huge_pages.values().sum();
        let usual = [
            ("cpu", self.cpus * 1000),
            // What is in huge pages cannot be used otherwise.
            ("memory", self.memory.saturating_sub(memory).saturating_sub(held).saturating_mul(1000)),
            ("ephemeral-storage", self.disk.saturating_sub(disk).saturating_mul(1000)),
            ("pods", max_pods as i64 * 1000),
        ]
        .map(|(name, value)| (name.to_owned(), value));
        usual.into_iter().chain(huge).collect()
    }
}

fn memory(meminfo: &str) -> i64 {
    let kilobytes = meminfo
        .lines()
        .find_map(|line| line.strip_prefix("MemTotal:"))
        .and_then(|rest| rest.split_whitespace().next()?.parse::<i64>().ok());
    kilobytes.unwrap_or_default() * 1024
}

fn disk(path: &str) -> i64 {
    nix::sys::statvfs::statvfs(path)
        .map(|stat| i64::try_from(stat.blocks() * stat.fragment_size()).unwrap_or(i64::MAX))
        .unwrap_or_default()
}

fn os_image(os_release: &str) -> String {
    let line = os_release.lines().find_map(|line| line.strip_prefix("PRETTY_NAME="));
    line.map(|name| name.trim_matches('"').to_owned()).unwrap_or_else(|| "Linux".to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_the_kernels_files() {
        assert_eq!(memory("MemTotal:  16000 kB\nMemFree: 1 kB"), 16000 * 1024);
        assert_eq!(os_image("ID=debian\nPRETTY_NAME=\"Debian 12\"\n"), "Debian 12");
        let machine = Machine::read();
        assert!(machine.memory > 0 && machine.cpus > 0 && !machine.kernel.is_empty());
    }
}
