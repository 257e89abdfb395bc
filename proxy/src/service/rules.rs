//! All services' rules for nftables, kept up to date with the plans.

use std::sync::Arc;

use super::plan::{self, Plans};
use super::render::{self, Rendered};
use super::shared::Needs;
use super::{Config, base};
use crate::nft::RuleSet;

/// The rules that follow from plans. Only those of services whose plan differs are written anew.
#[derive(Debug)]
pub struct Rules {
    config: Config,
    plans: Plans,
    needs: Needs,
    rules: RuleSet,
}

impl Rules {
    /// The rules that are there without any service.
    pub fn new(config: Config) -> Rules {
        let rules = RuleSet::new(Arc::new(base::fragment(&config)));
        Rules { config, plans: Plans::new(), needs: Needs::default(), rules }
    }

    /// The rules for these plans.
    pub fn of(&mut self, plans: &Plans) -> RuleSet {
        let before = std::mem::replace(&mut self.plans, plans.clone());
        for (key, _, now) in plan::changes(&before, plans) {
            let rendered = now.map(|plan| render::service(plan, &self.config));
            let is_there = rendered.is_some();
            let Rendered { fragment, shared } = rendered.unwrap_or_default();
            self.needs.set(key, shared, &self.config, &mut self.rules);
            match is_there {
                true => self.rules.insert(key, Arc::new(fragment)),
                false => self.rules.remove(key),
            }
        }
        self.rules.clone()
    }
}
