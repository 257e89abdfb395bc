//! Tables of configurations: what becomes of them, or the message that refuses them.
use super::*;

const HEAD: &str = "apiVersion: kubescheduler.config.k8s.io/v1\nkind: KubeSchedulerConfiguration\n";

fn check(text: &str, expected: &str) {
    let message = match Settings::parse(&format!("{HEAD}{text}")) {
        Err(error) => error.to_string(),
        Ok(settings) => settings.profiles.iter().map(describe).collect::<Vec<_>>().join("; "),
    };
    assert_eq!(message, expected, "{text}");
}

/// Name, numbers of filters, scores with weights.
fn describe(profile: &Profile) -> String {
    let scores = profile.scores.iter().map(|(plugin, weight)| format!("{}={weight}", plugin.name()));
    let scores = scores.collect::<Vec<_>>().join(" ");
    let preempts = if profile.preemption.is_some() { " preempts" } else { "" };
    format!("{}: {} {scores}{preempts}", profile.name, profile.filters.len())
}

const ALL: &str = "TaintToleration=3 NodeAffinity=2 NodeResourcesFit=1 PodTopologySpread=2 InterPodAffinity=2 \
    NodeResourcesBalancedAllocation=1 ImageLocality=1 preempts";

#[test]
fn profiles() {
    check("", &format!("default-scheduler: 14 {ALL}"));
    check(
        "profiles: [{schedulerName: a}, {schedulerName: b, plugins: {score: {disabled: [{name: '*'}]}}}]",
        &format!("a: 14 {ALL}; b: 14  preempts"),
    );
    check(
        "profiles:\n- plugins:\n    multiPoint: {disabled: [{name: '*'}], enabled: [{name: NodeName}]}\n    score: {enabled: [{name: ImageLocality, weight: 7}]}",
        "default-scheduler: 1 ImageLocality=7",
    );
    check(
        "profiles: [{plugins: {postFilter: {disabled: [{name: DefaultPreemption}]}, score: {disabled: [{name: '*'}], \
         enabled: [{name: NodeAffinity}]}}}]",
        "default-scheduler: 14 NodeAffinity=2",
    );
    check(
        "profiles: [{plugins: {filter: {enabled: [{name: Foo}]}}}]",
        "initializing profiles: creating profile for scheduler name default-scheduler: \"Foo\" does not exist",
    );
}

#[test]
fn the_default_file_is_the_default() {
    let parsed = Settings::parse(HEAD).unwrap();
    let names = |profile: &Profile| profile.filters.iter().map(|plugin| plugin.name()).collect::<Vec<_>>();
    assert_eq!(names(&parsed.profiles[0]), names(&Profile::default()));
    let weights = |profile: &Profile| {
        let mut weights: Vec<_> =
            profile.scores.iter().map(|(plugin, weight)| (plugin.name(), *weight)).collect();
        weights.sort_unstable();
        weights
    };
    assert_eq!(weights(&parsed.profiles[0]), weights(&Profile::default()));
}

#[test]
fn faults() {
    check("foo: 1", "strict decoding error: unknown field \"foo\"");
    check(
        "profiles: [{plugins: {filter: {enable: []}}, bar: 1}]",
        "strict decoding error: unknown field \"profiles[0].bar\", unknown field \"profiles[0].plugins.filter.enable\"",
    );
    check(
        "profiles: [{pluginConfig: [{name: DefaultPreemption, args: {foo: 1}}]}]",
        "decoding .profiles[0].pluginConfig[0]: strict decoding error: decoding args for plugin DefaultPreemption: \
         strict decoding error: unknown field \"foo\"",
    );
    check(
        "profiles: [{pluginConfig: [{name: DefaultPreemption, args: {kind: InterPodAffinityArgs, \
         apiVersion: kubescheduler.config.k8s.io/v1}}]}]",
        "decoding .profiles[0].pluginConfig[0]: args for plugin DefaultPreemption were not of type \
         DefaultPreemptionArgs.kubescheduler.config.k8s.io, got InterPodAffinityArgs.kubescheduler.config.k8s.io",
    );
    check("parallelism: 0", "parallelism: Invalid value: 0: should be an integer value greater than zero");
    check(
        "percentageOfNodesToScore: 101\npodInitialBackoffSeconds: 5\npodMaxBackoffSeconds: 4",
        "[percentageOfNodesToScore: Invalid value: 101: not in valid range [0-100], podMaxBackoffSeconds: Invalid \
         value: 4: must be greater than or equal to PodInitialBackoffSeconds]",
    );
    check(
        "profiles: [{schedulerName: a}, {schedulerName: a}]",
        "profiles[1].schedulerName: Duplicate value: \"a\"",
    );
    check(
        "profiles: [{pluginConfig: [{name: InterPodAffinity, args: {hardPodAffinityWeight: 101}}]}]",
        "profiles[0].pluginConfig[0].args.hardPodAffinityWeight: Invalid value: 101: not in valid range [0-100]",
    );
    let other = Settings::parse("apiVersion: v1\nkind: Pod").map(|_| ()).unwrap_err().to_string();
    assert_eq!(other, "no kind \"Pod\" is registered for version \"v1\" in scheme");
}
