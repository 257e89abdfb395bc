//! Leave for pods' packets on hosts that forward nothing by default.
//!
//! Docker and ufw set the policy of `filter FORWARD`, the chain of iptables, to drop. No rule in a table of
//! our own can overrule that, so two rules go into theirs, marked with the cluster's name for removal.

use crate::names;
use crate::nft::{Commands, Error, Family, Foreign, Nft, Statement, What};

/// The chain of iptables.
const TABLE: &str = "filter";
const CHAIN: &str = "FORWARD";

/// Lets packets of the cluster's bridge pass, where they would not. Repeating it changes nothing.
pub async fn accept(nft: &Nft, cluster: &str) -> Result<(), Error> {
    let (bridge, comment) = (names::bridge(cluster), names::service_table(cluster));
    for family in Family::ALL {
        let Some(chain) = nft.foreign(family, TABLE, CHAIN).await? else { continue };
        if !chain.drops || !handles(&chain, &comment).is_empty() {
            continue;
        }
        let rules = [Statement::came_by(&bridge), Statement::leaves_by(&bridge)]
            .map(|passes| vec![passes, Statement::Count, Statement::accept()]);
        let mut commands = Commands::new(TABLE);
        rules.iter().for_each(|rule| commands.push(family, What::InsertRule(CHAIN, rule, &comment)));
        nft.apply(&commands).await?;
    }
    Ok(())
}

/// Removes what [`accept`] added.
pub async fn withdraw(nft: &Nft, cluster: &str) -> Result<(), Error> {
    let comment = names::service_table(cluster);
    for family in Family::ALL {
        let Some(chain) = nft.foreign(family, TABLE, CHAIN).await? else { continue };
        let mut commands = Commands::new(TABLE);
        for handle in handles(&chain, &comment) {
            commands.push(family, What::DeleteRule(CHAIN, handle));
        }
        nft.apply(&commands).await?;
    }
    Ok(())
}

/// Numbers of the cluster's rules.
fn handles(chain: &Foreign, comment: &str) -> Vec<u64> {
    chain.rules.iter().filter(|(_, found)| found == comment).map(|(handle, _)| *handle).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_the_clusters_own_rules_are_found() {
        let rules = [(7, "knarr-dev"), (8, "knarr-dev2"), (5, "")];
        let rules = rules.map(|(handle, comment)| (handle, comment.to_owned())).into();
        let chain = Foreign { drops: true, rules };
        assert_eq!(handles(&chain, "knarr-dev"), [7]);
        assert_eq!(handles(&chain, "knarr-dev2"), [8]);
        assert!(handles(&chain, "knarr-de").is_empty());
    }
}
