//! The scheduler: queue, cache, plugins, preemption, binding.
