//! A plugin that speaks over real sockets.

use std::collections::BTreeSet;

use super::*;

const PATIENCE: Duration = Duration::from_secs(20);

/// Allocates what it is asked for, but fails for the device `bad`.
struct FakePlugin;

#[async_trait]
impl server::Calls for FakePlugin {
    async fn call(&self, path: &str, request: Bytes) -> Result<Vec<u8>, Status> {
        match path {
            "/v1beta1.DevicePlugin/ListAndWatch" => {
                let device = |(id, health): (&str, &str)| messages::Device {
                    id: id.to_owned(),
                    health: health.to_owned(),
                    topology: None,
                };
                let devices = [("a", "Healthy"), ("b", "Healthy"), ("bad", "Healthy"), ("ill", "Unhealthy")];
                Ok(messages::Devices { devices: devices.map(device).into() }.encode_to_vec())
            }
            "/v1beta1.DevicePlugin/GetPreferredAllocation" => {
                let asked: PreferredRequest = server::decode(request)?;
                let last = asked.containers[0].available.iter().rev().take(1).cloned().collect();
                Ok(IdsOfContainers { containers: vec![messages::Ids { ids: last }] }.encode_to_vec())
            }
            "/v1beta1.DevicePlugin/Allocate" => {
                let asked: IdsOfContainers = server::decode(request)?;
                let ids = asked.containers[0].ids.join(",");
                if ids.contains("bad") {
                    return Err(Status::internal("it is bad"));
                }
                let answer = Allocated {
                    envs: [("IDS".to_owned(), ids)].into(),
                    devices: vec![messages::Node {
                        container_path: "/dev/x".to_owned(),
                        host_path: "/dev/null".to_owned(),
                        permissions: "rw".to_owned(),
                    }],
                    ..Allocated::default()
                };
                Ok(AllocateResponse { containers: vec![answer] }.encode_to_vec())
            }
            "/v1beta1.DevicePlugin/PreStartContainer" => Ok(Vec::new()),
            _ => Err(server::unknown(path)),
        }
    }
}

fn holder(uid: &str) -> Holder {
    (uid.to_owned(), "c".to_owned(), "example.com/x".to_owned())
}

async fn register(root: &Path, version: &str, resource: &str, options: Options) -> Result<(), Status> {
    let request = messages::RegisterRequest {
        version: version.to_owned(),
        endpoint: "plugin.sock".to_owned(),
        resource_name: resource.to_owned(),
        options: Some(options),
    };
    let socket = Socket::new(root.join("device-plugins/kubelet.sock"));
    socket.call("/v1beta1.Registration/Register", request, PATIENCE).await.map(|Empty {}| ())
}

/// Devices with a plugin that has listed them; its list ends at once, so they are held as healthy by hand.
async fn with_plugin(root: &Path, options: Options) -> Arc<Devices> {
    let devices = Devices::open(root, CancellationToken::new());
    devices.listen().expect("socket");
    let listener = server::listen(&devices.folder.join("plugin.sock")).expect("socket");
    tokio::spawn(server::serve(listener, Arc::new(FakePlugin), CancellationToken::new()));
    let mut amounts = devices.amounts();
    register(root, VERSION, "example.com/x", options).await.expect("registered");
    let listed = amounts.wait_for(|amounts| amounts.get("example.com/x") == Some(&(4, 0)));
    tokio::time::timeout(PATIENCE, listed).await.expect("in time").expect("listed");
    let ids = ["a", "b", "bad"];
    let healthy = |id: &str| (id.to_owned(), Device { is_healthy: true, nodes: Vec::new() });
    devices.state.lock().books.devices.insert("example.com/x".to_owned(), ids.map(healthy).into());
    devices
}

#[tokio::test]
async fn plugins_register_and_allocate() {
    let root = tempfile::tempdir().expect("directory");
    let devices =
        with_plugin(root.path(), Options { pre_start_required: true, preferred_allocation: false }).await;
    let given = devices.allocate(&holder("p"), 2, &Ids::new(), None).await.expect("devices");
    assert_eq!(given, BTreeSet::from(["a", "b"].map(str::to_owned)));
    let error = devices.allocate(&holder("q"), 1, &Ids::new(), None).await.expect_err("a bad device");
    assert_eq!(error, "rpc error: code = Internal desc = it is bad");
    let extras = devices.prepare("p", "c").await.expect("prepared");
    assert_eq!(extras.env, [("IDS".to_owned(), "a,b".to_owned())]);
    assert_eq!(extras.devices[0].host_path, "/dev/null");
    assert_eq!(devices.prepare("p", "other").await.expect("nothing"), Extras::default());

    // A new kubelet knows what pods hold, and that the resource had been there.
    let later = Devices::open(root.path(), CancellationToken::new());
    assert_eq!(later.state.lock().books.held, devices.state.lock().books.held);
    assert_eq!(*later.amounts().borrow(), [("example.com/x".to_owned(), (0, 0))].into());
    later.retain(|uid| uid != "p");
    assert!(Devices::open(root.path(), CancellationToken::new()).state.lock().books.held.is_empty());
}

#[tokio::test]
async fn plugins_choose() {
    let root = tempfile::tempdir().expect("directory");
    let devices =
        with_plugin(root.path(), Options { pre_start_required: false, preferred_allocation: true }).await;
    devices.state.lock().books.devices.get_mut("example.com/x").expect("devices").remove("bad");
    let given = devices.allocate(&holder("p"), 1, &Ids::new(), None).await.expect("devices");
    assert_eq!(given, BTreeSet::from(["b".to_owned()]));
}

#[tokio::test]
async fn plugins_are_refused() {
    let root = tempfile::tempdir().expect("directory");
    let devices = Devices::open(root.path(), CancellationToken::new());
    devices.listen().expect("socket");
    let refused = async |version, resource| {
        let status = register(root.path(), version, resource, Options::default()).await;
        status.expect_err("refused").message().to_owned()
    };
    assert_eq!(refused(VERSION, "cpu").await, "the ResourceName \"cpu\" is invalid");
    assert_eq!(
        refused("v1", "example.com/x").await,
        "requested API version \"v1\" is not supported by kubelet. Supported version is \"v1beta1\""
    );
}
