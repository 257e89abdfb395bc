//! What of the machine pods may use, and what is kept: for Kubernetes, for the system, and free.

use std::collections::BTreeMap;

use knarr_api::quantity::Quantity;

use crate::args::Args;
use crate::node::machine::Machine;
use crate::topology::cpus::{CpuSet, Cpus, parse};

/// The resources that can be kept.
const RESOURCES: [&str; 3] = ["cpu", "memory", "ephemeral-storage"];

/// What is kept of a machine.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reserved {
    /// Thousandths by resource, without what must be free.
    pub amounts: BTreeMap<String, i64>,
    /// CPUs that are kept, where they are named or counted.
    pub cpus: CpuSet,
}

impl Reserved {
    /// What the flags say. CPUs that are named count instead of those that are counted.
    pub fn read(args: &Args, cpus: &Cpus) -> Result<Self, String> {
        let mut amounts: BTreeMap<String, i64> = BTreeMap::new();
        for (name, amount) in args.kube_reserved.iter().chain(&args.system_reserved) {
            if !RESOURCES.contains(&name.as_str()) {
                return Err(format!("cannot reserve {name:?} resource"));
            }
            let amount: Quantity = amount.parse().map_err(|_| format!("{amount:?} is no quantity"))?;
            let milli = amount.milli_value();
            if milli < 0 {
                return Err(format!("resource quantity for {name:?} cannot be negative"));
            }
            *amounts.entry(name.clone()).or_default() += milli;
        }
        let named = parse(&args.reserved_cpus)?;
        if !named.is_empty() {
            amounts.insert(
                "cpu".to_owned(),
                i64::try_from(named.len()).unwrap_or(i64::MAX).saturating_mul(1000),
            );
            return Ok(Self { amounts, cpus: named });
        }
        let milli = amounts.get("cpu").copied().unwrap_or_default();
        let count = usize::try_from((milli + 999) / 1000).unwrap_or_default();
        let taken = cpus.take(&cpus.all(), count);
        let cpus = taken.ok_or_else(|| format!("{count} CPUs cannot be kept: the machine has fewer"))?;
        Ok(Self { amounts, cpus })
    }

    /// What pods may use, by resource, in thousandths.
    pub fn allocatable(&self, args: &Args, machine: &Machine) -> BTreeMap<String, i64> {
        let mut all = machine.allocatable(args.max_pods, args.eviction_hard.reserved(machine));
        for (name, kept) in &self.amounts {
            all.entry(name.clone()).and_modify(|amount| *amount = amount.saturating_sub(*kept).max(0));
        }
        all
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::topology::cpus::format;

    #[derive(Parser)]
    struct Flags {
        #[command(flatten)]
        args: Args,
    }

    fn read(flags: &[&str]) -> Result<(String, i64, i64), String> {
        let args = Flags::parse_from(["kubelet"].iter().chain(flags)).args;
        let reserved = Reserved::read(&args, &crate::topology::cpus::tests::machine())?;
        let machine = Machine { cpus: 8, memory: 1 << 30, ..Machine::default() };
        let all = reserved.allocatable(&args, &machine);
        Ok((format(&reserved.cpus), all["cpu"], all["memory"] / 1000))
    }

    #[test]
    fn what_is_kept() {
        let free = (1 << 30) - (100 << 20);
        assert_eq!(read(&[]), Ok((String::new(), 8000, free)));
        let both = ["--kube-reserved=cpu=100m,memory=1Mi", "--system-reserved=cpu=1"];
        assert_eq!(read(&both), Ok(("0,2".to_owned(), 6900, free - (1 << 20))));
        assert_eq!(read(&["--system-reserved=cpu=3", "--reserved-cpus=5"]), Ok(("5".to_owned(), 7000, free)));
        assert_eq!(read(&["--system-reserved=gpu=1"]), Err("cannot reserve \"gpu\" resource".to_owned()));
        assert!(read(&["--system-reserved=cpu=9"]).is_err());
    }
}
