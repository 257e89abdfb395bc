//! Devices of nodes, the claims on them, and which devices a claim gets on a node.
//!
//! A device goes to one claim at a time, or in shares to several (`shares`). Devices that share hardware draw on the
//! counters of their pool (`counters`). What is switched off is never allocated.
//!
//! Source: documentation page "Dynamic Resource Allocation".
use crate::node::NodeView;
use crate::plugins::selector_matches;
use crate::views::Named;
use k8s_openapi::api::resource::v1::{
    CapacityRequirements, Device, DeviceClaim, DeviceClass, DeviceConstraint, DeviceRequest, DeviceSelector,
    DeviceToleration, ResourceClaim, ResourceSlice,
};
use k8s_openapi::api::resource::v1beta2::DeviceTaintRuleSpec;
use knarr_api::cel::device::{self as cel, Attribute, Selector};
use knarr_component::store::Key;
use parking_lot::Mutex;
use serde_json::{Value, json};
use std::cell::RefCell;
use std::collections::{BTreeMap, HashMap, HashSet};
use std::sync::Arc;

pub mod conditions;
mod counters;
pub mod extended;
mod shares;

use counters::Counters;
pub use shares::{Share, Taken};
use shares::{Used, is_shared, share_of};

/// Steps of the search for devices on one node.
const STEPS: usize = 10_000;
/// Most that hold a claim.
pub const MAX_HOLDERS: usize = 256;

/// Driver, pool and name.
pub type Id = (String, String, String);

/// All that bears on devices.
#[derive(Default)]
pub struct Devices {
    /// Claims.
    pub claims: HashMap<Key, Arc<Named<ResourceClaim>>>,
    /// What drivers offer, by name.
    pub slices: BTreeMap<String, Arc<Named<ResourceSlice>>>,
    /// Taints that administrators put on devices, by name of the rule.
    pub rules: BTreeMap<String, Arc<Named<DeviceTaintRuleSpec>>>,
    /// Classes of devices, by name.
    pub classes: HashMap<String, Arc<Named<DeviceClass>>>,
    /// Devices that a pod's placing gives to a claim, which the API does not say yet.
    pub assumed: HashMap<Key, Vec<Taken>>,
    /// Compiled selectors, by text.
    selectors: Mutex<HashMap<String, Arc<Result<Selector, String>>>>,
}

impl std::fmt::Debug for Devices {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Devices({} claims, {} slices)", self.claims.len(), self.slices.len())
    }
}

/// A device with where it is.
struct Offer<'a> {
    id: Id,
    device: &'a Device,
    slice: &'a ResourceSlice,
}

/// What one request of a claim asks for.
struct Wanted<'a> {
    claim: usize,
    /// `request` or `request/subrequest`.
    name: String,
    class: &'a str,
    selectors: Vec<&'a DeviceSelector>,
    tolerations: Option<&'a Vec<DeviceToleration>>,
    /// None for all that match.
    count: Option<i64>,
    /// Capacities that a device must have.
    capacity: Option<&'a CapacityRequirements>,
    admin: bool,
}

impl Wanted<'_> {
    /// What the request takes of a device; none where the device cannot give it.
    fn taken(&self, offer: &Offer<'_>) -> Option<Taken> {
        let share = match is_shared(offer.device) {
            true => Some(share_of(&offer.slice.spec.driver, offer.device, self.capacity)?),
            false => None,
        };
        Some(Taken { id: offer.id.clone(), share })
    }
}

/// What a claim gets.
#[derive(Clone, Debug, PartialEq)]
pub struct Allocation {
    /// The claim.
    pub claim: Key,
    /// Its devices; none where it has them already.
    pub devices: Vec<Taken>,
    /// `status.allocation`; none where it has one already.
    pub allocation: Option<Value>,
}

impl Devices {
    /// Keeps a claim unless a newer version of it is known.
    pub fn set_claim(&mut self, claim: &Arc<Named<ResourceClaim>>) {
        let version = |claim: &Named<ResourceClaim>| {
            claim.value.metadata.resource_version.as_ref().and_then(|version| version.parse::<u64>().ok())
        };
        let newer = self.claims.get(&claim.key).is_some_and(|known| {
            known.value.metadata.uid == claim.value.metadata.uid && version(known) > version(claim)
        });
        if !newer {
            self.claims.insert(claim.key.clone(), Arc::clone(claim));
        }
    }

    /// Devices that are somebody's, by the API or by what it does not say yet.
    fn used(&self) -> Used {
        let results = self.claims.values().filter_map(|claim| {
            claim.value.status.as_ref()?.allocation.as_ref()?.devices.as_ref()?.results.as_ref()
        });
        let owned = results.flatten().filter_map(Taken::of);
        let told = |claim: &Key| self.claims.get(claim).is_some_and(|claim| is_allocated(&claim.value));
        let assumed = self.assumed.iter().filter(|(claim, _)| !told(claim));
        Used::new(owned.chain(assumed.flat_map(|(_, taken)| taken).cloned()))
    }

    /// The slices of the newest generation of each complete pool.
    fn pools(&self) -> Vec<Vec<&ResourceSlice>> {
        let mut pools: BTreeMap<(&str, &str), Vec<&ResourceSlice>> = BTreeMap::new();
        for slice in self.slices.values().map(|slice| &slice.value) {
            let spec = &slice.spec;
            let pool = pools.entry((&spec.driver, &spec.pool.name)).or_default();
            match pool.first().map(|known| known.spec.pool.generation.cmp(&spec.pool.generation)) {
                Some(std::cmp::Ordering::Greater) => {}
                Some(std::cmp::Ordering::Less) => *pool = vec![slice],
                _ => pool.push(slice),
            }
        }
        let complete =
            |pool: &Vec<&ResourceSlice>| pool.len() as i64 == pool[0].spec.pool.resource_slice_count;
        pools.into_values().filter(complete).collect()
    }

    /// The devices that can be reached from a node.
    fn offers<'a>(&self, pools: &[Vec<&'a ResourceSlice>], node: &NodeView) -> Vec<Offer<'a>> {
        let mut offers = Vec::new();
        for slice in pools.iter().flatten().copied() {
            let spec = &slice.spec;
            let each = spec.per_device_node_selection == Some(true);
            for device in spec.devices.iter().flatten() {
                let (name, all, selector) = match each {
                    true => (&device.node_name, device.all_nodes, &device.node_selector),
                    false => (&spec.node_name, spec.all_nodes, &spec.node_selector),
                };
                let reached = all == Some(true)
                    || name.as_deref() == Some(&node.name)
                    || selector.as_ref().is_some_and(|selector| selector_matches(selector, node));
                if reached && is_supported(device) {
                    let id = (spec.driver.clone(), spec.pool.name.clone(), device.name.clone());
                    offers.push(Offer { id, device, slice });
                }
            }
        }
        // What is there at once is better than what must be prepared.
        offers.sort_by_key(|offer| has_conditions(offer.device));
        offers
    }

    fn selector(&self, text: &str) -> Arc<Result<Selector, String>> {
        let mut known = self.selectors.lock();
        Arc::clone(known.entry(text.to_owned()).or_insert_with(|| Arc::new(Selector::compile(text))))
    }

    /// Whether a request could have the device now: nothing keeps it off, and it has room.
    fn is_to_be_had(&self, offer: &Offer<'_>, wanted: &Wanted<'_>, used: &Used) -> bool {
        let repels = |taint: Taint<'_>| {
            taint.effect != "None"
                && !wanted.tolerations.into_iter().flatten().any(|toleration| tolerates(toleration, &taint))
        };
        if self.taints(offer).any(repels) {
            return false;
        }
        let Some(taken) = wanted.taken(offer) else { return false };
        wanted.admin || used.has_room(&taken, offer.device)
    }

    /// Whether a device is what a request of `claim` asks for, whoever has it.
    ///
    /// # Errors
    /// A selector that has no answer, for example since the device lacks an attribute.
    fn is_asked_for(
        &self,
        offer: &Offer<'_>,
        wanted: &Wanted<'_>,
        claim: &ResourceClaim,
    ) -> Result<bool, String> {
        let device = view(offer);
        if !has_capacity(offer, &device, wanted.capacity) {
            return Ok(false);
        }
        let class = self.classes.get(wanted.class).map(|class| &class.value.spec.selectors);
        let of_class: Vec<_> = class.into_iter().flatten().flatten().collect();
        let meta = &claim.metadata;
        let (namespace, name) = (meta.namespace.as_deref(), meta.name.as_deref());
        let own = format!("claim {}/{}", namespace.unwrap_or_default(), name.unwrap_or_default());
        Ok(self.selects(&of_class, &device, &format!("class {}", wanted.class))?
            && self.selects(&wanted.selectors, &device, &own)?)
    }

    /// Whether all selectors of a class or claim select the device.
    fn selects(&self, all: &[&DeviceSelector], device: &cel::Device, whose: &str) -> Result<bool, String> {
        for (index, selector) in all.iter().enumerate() {
            let Some(expression) = selector.cel.as_ref().map(|cel| &cel.expression) else {
                return Err(format!("{whose}: selector #{index}: unsupported selector"));
            };
            let selected = match &*self.selector(expression) {
                Ok(selector) => selector
                    .selects(device)
                    .map_err(|error| format!("{whose}: selector #{index}: runtime error: {error}"))?,
                Err(error) => return Err(format!("{whose}: selector #{index}: CEL compile error: {error}")),
            };
            if !selected {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Taints of a device, by its driver and by rules.
    fn taints<'a>(&'a self, offer: &'a Offer<'_>) -> impl Iterator<Item = Taint<'a>> {
        let (driver, pool, device) = &offer.id;
        let of_driver = offer.device.taints.iter().flatten();
        let of_driver = of_driver.map(|taint| Taint::new(&taint.key, taint.value.as_ref(), &taint.effect));
        let fits = |wanted: &Option<String>, found: &String| wanted.as_ref().is_none_or(|one| one == found);
        let of_rules = self.rules.values().map(|rule| &rule.value).filter(move |rule| {
            rule.device_selector.as_ref().is_some_and(|wanted| {
                fits(&wanted.driver, driver) && fits(&wanted.pool, pool) && fits(&wanted.device, device)
            })
        });
        let of_rules =
            of_rules.map(|rule| Taint::new(&rule.taint.key, rule.taint.value.as_ref(), &rule.taint.effect));
        of_driver.chain(of_rules)
    }

    /// What claims get on a node; none when it has not what they need. Claims that have their devices are in the
    /// result too.
    ///
    /// # Errors
    /// A selector that has no answer for a device.
    pub fn allocate(
        &self,
        claims: &[Arc<Named<ResourceClaim>>],
        node: &NodeView,
    ) -> Result<Option<Vec<Allocation>>, String> {
        let (used, pools) = (self.used(), self.pools());
        let offers = self.offers(&pools, node);
        let counters = Counters::left(&pools, &used);
        let open: Vec<&ResourceClaim> =
            claims.iter().map(|claim| &claim.value).filter(|claim| !is_allocated(claim)).collect();
        let (steps, fault) = (STEPS, None);
        let mut search = Search { devices: self, offers: &offers, used, counters, open: &open, steps, fault };
        let found = search.from(0, 0, &mut Vec::new());
        if let Some(fault) = search.fault {
            return Err(fault);
        }
        let Some(found) = found else { return Ok(None) };
        let mut results = Vec::new();
        for claim in claims {
            let index = open.iter().position(|other| std::ptr::eq(*other, &claim.value));
            let Some(index) = index else {
                results.push(Allocation { claim: claim.key.clone(), devices: Vec::new(), allocation: None });
                continue;
            };
            let own: Vec<&Pick> = found.iter().filter(|pick| pick.claim == index).collect();
            let allocation = self.describe(open[index], &own, &offers, node);
            let devices = own.iter().filter(|pick| !pick.admin).map(|pick| pick.taken.clone());
            results.push(Allocation {
                claim: claim.key.clone(),
                devices: devices.collect(),
                allocation: Some(allocation),
            });
        }
        Ok(Some(results))
    }

    /// `status.allocation` of a claim.
    fn describe(&self, claim: &ResourceClaim, own: &[&Pick], offers: &[Offer<'_>], node: &NodeView) -> Value {
        let mut config = Vec::new();
        let mut told = HashSet::new();
        for pick in own.iter().filter(|pick| told.insert(&pick.request)) {
            let class = self.classes.get(&pick.class).map(|class| &class.value.spec.config);
            for entry in class.into_iter().flat_map(|config| config.iter().flatten()) {
                config
                    .push(json!({"source": "FromClass", "requests": [pick.request], "opaque": entry.opaque}));
            }
        }
        for entry in claim.spec.devices.iter().flat_map(|devices| devices.config.iter().flatten()) {
            config.push(json!({
                "source": "FromClaim", "requests": entry.requests, "opaque": entry.opaque,
            }));
        }
        let results: Vec<Value> = own
            .iter()
            .map(|pick| {
                let (driver, pool, device) = &offers[pick.offer].id;
                let mut result =
                    json!({"request": pick.request, "driver": driver, "pool": pool, "device": device});
                if pick.admin {
                    result["adminAccess"] = true.into();
                }
                if let Some(tolerations) = &pick.tolerations {
                    result["tolerations"] = json!(tolerations);
                }
                let device = offers[pick.offer].device;
                if has_conditions(device) {
                    result["bindingConditions"] = json!(device.binding_conditions);
                    result["bindingFailureConditions"] = json!(device.binding_failure_conditions);
                }
                if let Some(share) = pick.taken.share.as_ref().filter(|_| !pick.admin) {
                    result["shareID"] = uuid::Uuid::new_v4().to_string().into();
                    let amounts =
                        share.iter().map(|(name, amount)| (name.clone(), amount.to_string().into()));
                    result["consumedCapacity"] = Value::Object(amounts.collect());
                }
                result
            })
            .collect();
        let mut allocation = json!({"devices": {"results": results}});
        if !config.is_empty() {
            allocation["devices"]["config"] = Value::Array(config);
        }
        let everywhere = own.iter().all(|pick| {
            let offer = &offers[pick.offer];
            offer.slice.spec.all_nodes == Some(true) && offer.device.binds_to_node != Some(true)
        });
        if !everywhere {
            allocation["nodeSelector"] = json!({"nodeSelectorTerms": [{"matchFields": [
                {"key": "metadata.name", "operator": "In", "values": [node.name]},
            ]}]});
        }
        allocation
    }
}

/// A device that was chosen for a request.
#[derive(Clone, Debug)]
struct Pick {
    claim: usize,
    request: String,
    class: String,
    offer: usize,
    admin: bool,
    taken: Taken,
    tolerations: Option<Vec<DeviceToleration>>,
}

struct Search<'a> {
    devices: &'a Devices,
    offers: &'a [Offer<'a>],
    used: Used,
    counters: Counters,
    open: &'a [&'a ResourceClaim],
    steps: usize,
    /// Why the search cannot go on.
    fault: Option<String>,
}

fn requests(claim: &ResourceClaim) -> &[DeviceRequest] {
    let devices: Option<&DeviceClaim> = claim.spec.devices.as_ref();
    devices.and_then(|devices| devices.requests.as_deref()).unwrap_or_default()
}

/// The alternatives of a request.
fn alternatives(claim: usize, request: &DeviceRequest) -> Vec<Wanted<'_>> {
    let count = |mode: Option<&String>, count: Option<i64>| match mode.map(String::as_str) {
        Some("All") => None,
        _ => Some(count.unwrap_or(1)),
    };
    if let Some(exact) = &request.exactly {
        return vec![Wanted {
            claim,
            name: request.name.clone(),
            class: &exact.device_class_name,
            selectors: exact.selectors.iter().flatten().collect(),
            tolerations: exact.tolerations.as_ref(),
            count: count(exact.allocation_mode.as_ref(), exact.count),
            capacity: exact.capacity.as_ref(),
            admin: exact.admin_access == Some(true),
        }];
    }
    let several = request.first_available.iter().flatten().map(|sub| Wanted {
        claim,
        name: format!("{}/{}", request.name, sub.name),
        class: &sub.device_class_name,
        selectors: sub.selectors.iter().flatten().collect(),
        tolerations: sub.tolerations.as_ref(),
        count: count(sub.allocation_mode.as_ref(), sub.count),
        capacity: sub.capacity.as_ref(),
        admin: false,
    });
    several.collect()
}

impl Search<'_> {
    /// Devices for the requests from the given one on, behind those that were chosen. The alternatives of a request
    /// are tried in their order.
    fn from(&mut self, claim: usize, request: usize, picks: &mut Vec<Pick>) -> Option<Vec<Pick>> {
        let open = self.open;
        let Some(of_claim) = open.get(claim) else { return Some(picks.clone()) };
        let Some(wanted) = requests(of_claim).get(request) else { return self.from(claim + 1, 0, picks) };
        for wanted in alternatives(claim, wanted) {
            let fault = RefCell::new(None);
            let is_to_be_had =
                |index: &usize| self.devices.is_to_be_had(&self.offers[*index], &wanted, &self.used);
            let is_asked_for = |index: &usize| {
                let asked = self.devices.is_asked_for(&self.offers[*index], &wanted, of_claim);
                asked.unwrap_or_else(|error| {
                    fault.borrow_mut().get_or_insert(error);
                    false
                })
            };
            let (suitable, count): (Vec<usize>, _) = match wanted.count {
                Some(count) => {
                    let suitable = (0..self.offers.len()).filter(is_to_be_had).filter(is_asked_for);
                    (suitable.collect(), usize::try_from(count).unwrap_or(0))
                }
                // All that match, of which there must be one, or none.
                None => {
                    let all: Vec<usize> = (0..self.offers.len()).filter(is_asked_for).collect();
                    let count = if all.iter().all(is_to_be_had) { all.len() } else { 0 };
                    (all, count)
                }
            };
            self.fault = fault.into_inner();
            if self.fault.is_some() {
                return None;
            }
            if count == 0 {
                continue;
            }
            if let Some(found) = self.choose(&wanted, &suitable, count, request, picks) {
                return Some(found);
            }
            if self.fault.is_some() {
                return None;
            }
        }
        None
    }

    fn choose(
        &mut self,
        wanted: &Wanted<'_>,
        suitable: &[usize],
        count: usize,
        request: usize,
        picks: &mut Vec<Pick>,
    ) -> Option<Vec<Pick>> {
        if count == 0 {
            return self.from(wanted.claim, request + 1, picks);
        }
        for (position, offer) in suitable.iter().copied().enumerate() {
            self.steps = self.steps.checked_sub(1)?;
            let shared = suitable[position..].iter().any(|index| is_shared(self.offers[*index].device));
            if suitable.len() - position < count && !shared {
                return None;
            }
            let device = self.offers[offer].device;
            let Some(taken) = wanted.taken(&self.offers[offer]) else { continue };
            if !wanted.admin && !self.used.has_room(&taken, device) {
                continue;
            }
            picks.push(Pick {
                claim: wanted.claim,
                request: wanted.name.clone(),
                class: wanted.class.to_owned(),
                offer,
                admin: wanted.admin,
                taken: taken.clone(),
                tolerations: wanted.tolerations.cloned(),
            });
            if self.agree(wanted.claim, picks) && (wanted.admin || self.take(&taken, device)) {
                // Another share of the same device may be the next one.
                let next = position + usize::from(!(is_shared(device) && wanted.count.is_some()));
                let found = self.choose(wanted, &suitable[next..], count - 1, request, picks);
                if found.is_some() || self.fault.is_some() {
                    return found;
                }
                if !wanted.admin {
                    self.give_back(&taken, device);
                }
            }
            picks.pop();
        }
        None
    }

    /// Takes a device if its pool has what it consumes, which is consumed once however many share it.
    fn take(&mut self, taken: &Taken, device: &Device) -> bool {
        let first = !self.used.contains(&taken.id);
        if first && !self.counters.take(&taken.id, device) {
            return false;
        }
        self.used.add(taken);
        true
    }

    fn give_back(&mut self, taken: &Taken, device: &Device) {
        self.used.remove(taken);
        if !self.used.contains(&taken.id) {
            self.counters.give_back(&taken.id, device);
        }
    }

    /// Whether the devices chosen for a claim satisfy its constraints so far.
    fn agree(&self, claim: usize, picks: &[Pick]) -> bool {
        let constraints =
            self.open[claim].spec.devices.iter().flat_map(|all| all.constraints.iter().flatten());
        constraints.into_iter().all(|constraint| {
            let own = picks.iter().filter(|pick| pick.claim == claim && concerns(constraint, &pick.request));
            let value = |pick: &Pick, name: &str| attribute(&self.offers[pick.offer], name);
            if let Some(name) = &constraint.match_attribute {
                let values: Vec<_> = own.map(|pick| value(pick, name)).collect();
                return values.iter().all(|value| value.is_some() && *value == values[0]);
            }
            if let Some(name) = &constraint.distinct_attribute {
                let values: Vec<_> = own.map(|pick| value(pick, name)).collect();
                let distinct: HashSet<String> = values.iter().flatten().map(|v| format!("{v:?}")).collect();
                return distinct.len() == values.len();
            }
            true
        })
    }
}

fn concerns(constraint: &DeviceConstraint, request: &str) -> bool {
    let parent = request.split('/').next().unwrap_or_default();
    let listed = constraint.requests.as_deref().unwrap_or_default();
    listed.is_empty() || listed.iter().any(|name| name == request || name == parent)
}

fn is_allocated(claim: &ResourceClaim) -> bool {
    claim.status.as_ref().is_some_and(|status| status.allocation.is_some())
}

/// The nodes that can use the devices of a claim; none where all can or it has none.
pub fn nodes_of(claim: &ResourceClaim) -> Option<&k8s_openapi::api::core::v1::NodeSelector> {
    claim.status.as_ref()?.allocation.as_ref()?.node_selector.as_ref()
}

fn is_supported(device: &Device) -> bool {
    let partition = device.consumes_counters.as_ref().is_some_and(|counters| !counters.is_empty());
    let enabled = knarr_api::gates::enabled;
    (!partition || enabled("DRAPartitionableDevices"))
        && (!is_shared(device) || enabled("DRAConsumableCapacity"))
        && (!has_conditions(device)
            || (enabled("DRADeviceBindingConditions") && enabled("DRAResourceClaimDeviceStatus")))
}

/// Whether the driver has to prepare the device before a pod may be bound.
fn has_conditions(device: &Device) -> bool {
    device.binding_conditions.as_ref().is_some_and(|conditions| !conditions.is_empty())
}

/// A taint, whoever put it on.
struct Taint<'a> {
    key: &'a str,
    value: &'a str,
    effect: &'a str,
}

impl<'a> Taint<'a> {
    fn new(key: &'a str, value: Option<&'a String>, effect: &'a str) -> Self {
        Self { key, value: value.map(String::as_str).unwrap_or_default(), effect }
    }
}

fn tolerates(toleration: &DeviceToleration, taint: &Taint<'_>) -> bool {
    let same = |a: Option<&String>, b: &str| a.is_none_or(|a| a.is_empty() || a == b);
    same(toleration.effect.as_ref(), taint.effect)
        && same(toleration.key.as_ref(), taint.key)
        && (toleration.operator.as_deref() == Some("Exists")
            || toleration.value.as_deref().unwrap_or_default() == taint.value)
}

/// Domain and name of an attribute or capacity; without a domain it is the driver's.
fn qualified<'a>(name: &'a str, driver: &'a str) -> (&'a str, &'a str) {
    name.split_once('/').unwrap_or((driver, name))
}

fn attribute(offer: &Offer<'_>, wanted: &str) -> Option<Attribute> {
    let driver = &offer.slice.spec.driver;
    let mut all = offer.device.attributes.iter().flatten();
    let (_, value) = all.find(|(name, _)| qualified(name, driver) == qualified(wanted, driver))?;
    convert(value)
}

fn convert(value: &k8s_openapi::api::resource::v1::DeviceAttribute) -> Option<Attribute> {
    None.or_else(|| value.bool.map(Attribute::Bool))
        .or_else(|| value.int.map(Attribute::Int))
        .or_else(|| value.string.clone().map(Attribute::Text))
        .or_else(|| value.version.clone().map(Attribute::Version))
}

/// Whether a device has what a request wants of it at least.
fn has_capacity(offer: &Offer<'_>, device: &cel::Device, wanted: Option<&CapacityRequirements>) -> bool {
    let wanted = wanted.and_then(|wanted| wanted.requests.as_ref()).into_iter().flatten();
    wanted.into_iter().all(|(name, least)| {
        let (domain, name) = qualified(name, &offer.slice.spec.driver);
        let has = device.capacity.get(domain).and_then(|of_domain| of_domain.get(name));
        let least = least.0.parse::<knarr_api::quantity::Quantity>();
        matches!((has, least), (Some(has), Ok(least)) if has.nanos() >= least.nanos())
    })
}

/// A device as selectors see it.
fn view(offer: &Offer<'_>) -> cel::Device {
    let driver = &offer.slice.spec.driver;
    let mut seen =
        cel::Device { driver: driver.clone(), shared: is_shared(offer.device), ..cel::Device::default() };
    for (name, value) in offer.device.attributes.iter().flatten() {
        let (domain, name) = qualified(name, driver);
        let Some(value) = convert(value) else { continue };
        seen.attributes.entry(domain.to_owned()).or_default().insert(name.to_owned(), value);
    }
    for (name, capacity) in offer.device.capacity.iter().flatten() {
        let (domain, name) = qualified(name, driver);
        let Ok(amount) = capacity.value.0.parse() else { continue };
        seen.capacity.entry(domain.to_owned()).or_default().insert(name.to_owned(), amount);
    }
    seen
}

#[cfg(test)]
mod tests;
