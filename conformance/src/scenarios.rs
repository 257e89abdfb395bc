//! The scenarios, one file a subject; [`all`] is the only list of them.
mod api;
mod controllers;
mod dns;
mod extensions;
mod jobs;
mod kubectl_output;
mod namespaces;
mod nodes;
mod pods;
mod policies;
mod probes;
mod protocols;
mod rollouts;
mod services;
mod sets;
pub mod simulated;
mod streams;
mod three_tier;
mod volumes;

use crate::context::Context;
use anyhow::Result;

/// One scenario.
pub struct Scenario {
    /// Name; its namespace is named after it.
    pub name: &'static str,
    /// Disturbs others, so it is played alone.
    pub alone: bool,
    /// Plays it.
    pub play: fn(&Context) -> Result<()>,
}

const fn scenario(name: &'static str, play: fn(&Context) -> Result<()>) -> Scenario {
    Scenario { name, alone: false, play }
}

/// Every scenario, by subject.
pub fn all() -> Vec<Scenario> {
    vec![
        scenario("three_tier", three_tier::play),
        scenario("api_writes", api::writes),
        scenario("api_refusals", api::refusals),
        scenario("api_watch", api::watch),
        scenario("api_rbac", api::rbac),
        scenario("custom_resources", extensions::custom_resources),
        scenario("admission_policies", extensions::admission_policies),
        scenario("kubectl_top", extensions::top),
        scenario("quotas", extensions::quotas),
        scenario("autoscaling", controllers::autoscaling),
        scenario("provisioned_volumes", controllers::provisioned_volumes),
        scenario("claims", controllers::claims),
        scenario("ephemeral_volumes", controllers::ephemeral_volumes),
        scenario("certificates", controllers::certificates),
        scenario("certificate_login", controllers::certificate_login),
        scenario("aggregated_roles", controllers::aggregated_roles),
        scenario("account_tokens", controllers::account_tokens),
        scenario("load_balancer", controllers::load_balancer),
        scenario("dns_records", dns::records),
        scenario("jobs_run", jobs::run),
        scenario("jobs_fail", jobs::fail),
        scenario("cron_jobs", jobs::cron),
        scenario("kubectl_forms", kubectl_output::forms),
        scenario("kubectl_explain", kubectl_output::explain),
        scenario("kubectl_diff_and_describe", kubectl_output::diff_and_describe),
        scenario("namespace_deletion", namespaces::deletion),
        scenario("pods_restart", pods::restart),
        scenario("pods_init_containers", pods::init_containers),
        scenario("pods_restart_all", pods::restart_all),
        scenario("pods_restart_all_from_init", pods::restart_all_from_init),
        scenario("pods_debug", pods::debug),
        scenario("pods_environment", pods::environment),
        scenario("pods_memory_limit", pods::memory_limit),
        scenario("pods_resize", pods::resize),
        scenario("pods_image_missing", pods::image_missing),
        scenario("pods_profile_missing", pods::profile_missing),
        scenario("policies_ingress", policies::ingress),
        scenario("policies_egress", policies::egress),
        scenario("probes_grpc", probes::grpc),
        scenario("rollout_without_failed_requests", rollouts::without_failed_requests),
        scenario("rollout_undo", rollouts::undo),
        scenario("rollout_scale", rollouts::scale),
        scenario("service_kinds", services::kinds),
        scenario("service_readiness", services::readiness),
        scenario("service_affinity", services::affinity),
        scenario("service_udp", services::udp),
        scenario("stateful_set", sets::stateful),
        scenario("daemon_set", sets::daemon),
        scenario("stream_logs", streams::logs),
        scenario("stream_exec", streams::exec),
        scenario("stream_attach", streams::attach),
        scenario("stream_copy", streams::copy),
        scenario("stream_port_forward", streams::port_forward),
        scenario("stream_exec_spdy", |context| streams::exec(&context.over_spdy())),
        scenario("stream_attach_spdy", |context| streams::attach(&context.over_spdy())),
        scenario("stream_copy_spdy", |context| streams::copy(&context.over_spdy())),
        scenario("stream_port_forward_spdy", |context| streams::port_forward(&context.over_spdy())),
        scenario("stream_forms", protocols::forms),
        scenario("stream_exec_protocols", protocols::exec),
        scenario("stream_port_forward_protocols", protocols::port_forward),
        scenario("stream_log_protocols", protocols::logs),
        scenario("stream_log_rotation", streams::log_rotation),
        scenario("volumes_projected", volumes::projected),
        scenario("volumes_updates", volumes::updates),
        scenario("volumes_shared", volumes::shared),
        scenario("volumes_variables", volumes::variables),
        Scenario { name: "kubectl_every_resource", alone: true, play: kubectl_output::every_resource },
        Scenario { name: "node_drain", alone: true, play: nodes::drain },
        Scenario { name: "node_lost", alone: true, play: nodes::lost },
        Scenario { name: "namespaces_gone", alone: true, play: namespaces::none_lingers },
    ]
}
