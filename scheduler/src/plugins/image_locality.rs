//! Nodes that hold a pod's images already are better, the more the larger the images are.
use crate::node::NodeInfo;
use crate::plugin::{MAX_SCORE, Normalize, Rating, Score};
use crate::pod::PodView;
use crate::world::World;

const MIB: i64 = 1 << 20;
/// Less than this is not worth a difference.
const MIN_SIZE: i64 = 23 * MIB;
/// A container's images count no more than this.
const MAX_SIZE_PER_CONTAINER: i64 = 1000 * MIB;

/// Images that are there already.
pub struct ImageLocality;

impl Score for ImageLocality {
    fn name(&self) -> &'static str {
        "ImageLocality"
    }

    fn prepare<'a>(&'a self, pod: &'a PodView, world: &'a World, _: &[&NodeInfo]) -> Option<Rating<'a>> {
        let nodes = world.nodes();
        if pod.images.is_empty() {
            return None;
        }
        // An image that is on few nodes counts less, so that one node does not get all pods of it.
        let spread = |image: &String| {
            let holders = nodes.values().filter(|info| info.node.images.contains_key(image)).count();
            holders as f64 / nodes.len().max(1) as f64
        };
        let images: Vec<(&String, f64)> = pod.images.iter().map(|image| (image, spread(image))).collect();
        let largest = MAX_SIZE_PER_CONTAINER * images.len() as i64;
        let score = move |info: &NodeInfo| {
            let held =
                images.iter().filter_map(|(image, spread)| Some((info.node.images.get(*image)?, spread)));
            let size: f64 = held.map(|(size, spread)| *size as f64 * spread).sum();
            let size = (size as i64).clamp(MIN_SIZE, largest.max(MIN_SIZE));
            MAX_SCORE * (size - MIN_SIZE) / (largest - MIN_SIZE).max(1)
        };
        Some(Rating { score: Box::new(score), normalize: Normalize::No })
    }
}
