//! The largest packet that leaves the host unfragmented.

/// What Ethernet carries.
const ETHERNET: u32 = 1500;

/// The MTU of the interface of the host's IPv4 default route in bytes, or Ethernet's if there is none.
pub fn of_default_route() -> u32 {
    let routes = std::fs::read_to_string("/proc/net/route").unwrap_or_default();
    let mtu = default_interface(&routes)
        .and_then(|name| std::fs::read_to_string(format!("/sys/class/net/{name}/mtu")).ok())
        .and_then(|text| text.trim().parse().ok());
    mtu.map_or(ETHERNET, usable)
}

/// What an interface's MTU says of the way beyond it: a loopback-like one with jumbo packets says nothing.
pub fn usable(mtu: u32) -> u32 {
    if (1280..=9216).contains(&mtu) { mtu } else { ETHERNET }
}

/// The interface of the default route in the kernel's table: its columns are interface, destination,
/// gateway, flags and so on, as hexadecimal numbers.
fn default_interface(routes: &str) -> Option<&str> {
    routes.lines().skip(1).find_map(|line| {
        let mut columns = line.split_whitespace();
        let (interface, destination) = (columns.next()?, columns.next()?);
        let mask = columns.nth(5)?;
        (destination == "00000000" && mask == "00000000").then_some(interface)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn finds_the_default_route() {
        let table = "Iface\tDestination\tGateway\tFlags\tRefCnt\tUse\tMetric\tMask\tMTU\tWindow\tIRTT\n\
                     kn-a\t0001F40A\t00000000\t0001\t0\t0\t0\t00FFFFFF\t0\t0\t0\n\
                     eth0\t00000000\t010200C0\t0003\t0\t0\t0\t00000000\t0\t0\t0\n";
        assert_eq!(default_interface(table), Some("eth0"));
        assert_eq!(default_interface(""), None);
    }
}
