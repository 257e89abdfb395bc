//! Leave for pods' packets on hosts that forward nothing by default.
//!
//! Docker and ufw set the policy of `filter FORWARD`, the chain of iptables, to drop. No rule in a table of
//! our own can overrule that, so two rules go into theirs, marked with the cluster's name for removal.

use crate::names;
use crate::nft::{Error, Family, Nft};

/// The chain of iptables.
const TABLE: &str = "filter";
const CHAIN: &str = "FORWARD";

/// Lets packets of the cluster's bridge pass, where they would not. Repeating it changes nothing.
pub async fn accept(nft: &Nft, cluster: &str) -> Result<(), Error> {
    for family in Family::ALL {
        let Some(listing) = list(nft, family).await else { continue };
        if drops(&listing) && handles(&listing, cluster).is_empty() {
            let (ip, bridge, comment) = (family.ip(), names::bridge(cluster), names::service_table(cluster));
            let rule = |way: &str| {
                format!(
                    "insert rule {ip} {TABLE} {CHAIN} {way} \"{bridge}\" counter accept comment \"{comment}\"\n"
                )
            };
            nft.apply(&(rule("iifname") + &rule("oifname"))).await?;
        }
    }
    Ok(())
}

/// Removes what [`accept`] added.
pub async fn withdraw(nft: &Nft, cluster: &str) -> Result<(), Error> {
    for family in Family::ALL {
        let Some(listing) = list(nft, family).await else { continue };
        let delete = |handle: &u64| format!("delete rule {} {TABLE} {CHAIN} handle {handle}\n", family.ip());
        let commands: String = handles(&listing, cluster).iter().map(delete).collect();
        nft.apply(&commands).await?;
    }
    Ok(())
}

/// The chain with its rules' handles, if there is one.
async fn list(nft: &Nft, family: Family) -> Option<String> {
    nft.run(&["-a", "list", "chain", family.ip(), TABLE, CHAIN], "").await.ok()
}

fn drops(listing: &str) -> bool {
    listing.contains("policy drop;")
}

/// Handles of the cluster's rules.
fn handles(listing: &str, cluster: &str) -> Vec<u64> {
    let comment = format!("comment \"{}\"", names::service_table(cluster));
    let of_line = |line: &str| line.rsplit_once("# handle ")?.1.trim().parse().ok();
    listing.lines().filter(|line| line.contains(&comment)).filter_map(of_line).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_clusters_own_rules_are_found() {
        let listing = "table ip filter { # handle 1\n\tchain FORWARD { # handle 2\n\
            \t\ttype filter hook forward priority filter; policy drop;\n\
            \t\tiifname \"kn-dev\" counter packets 0 bytes 0 accept comment \"knarr-dev\" # handle 7\n\
            \t\tiifname \"kn-dev2\" counter packets 0 bytes 0 accept comment \"knarr-dev2\" # handle 8\n\
            \t\tjump DOCKER-USER # handle 5\n\t}\n}\n";
        assert!(drops(listing));
        assert_eq!(handles(listing, "dev"), [7]);
        assert_eq!(handles(listing, "dev2"), [8]);
        assert!(handles(listing, "de").is_empty());
    }
}
