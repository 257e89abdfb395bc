//! The device plugin.

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, Result};
use futures::StreamExt;
use futures::stream::BoxStream;
use http_body_util::{BodyExt, Full};
use hyper::body::Bytes;
use hyper_util::rt::{TokioExecutor, TokioIo};
use inotify::{Inotify, WatchMask};
use knarr_conformance::wire::{self, Calls, Outcome};
use prost::Message;
use serde_json::json;
use tokio::net::UnixStream;
use tokio::sync::watch;

use crate::Args;

#[derive(Clone, PartialEq, Message)]
struct Options {
    #[prost(bool, tag = "1")]
    pre_start: bool,
    #[prost(bool, tag = "2")]
    preferred: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Register {
    #[prost(string, tag = "1")]
    version: String,
    #[prost(string, tag = "2")]
    endpoint: String,
    #[prost(string, tag = "3")]
    resource: String,
    #[prost(message, optional, tag = "4")]
    options: Option<Options>,
}

#[derive(Clone, PartialEq, Message)]
struct Device {
    #[prost(string, tag = "1")]
    id: String,
    #[prost(string, tag = "2")]
    health: String,
}

#[derive(Clone, PartialEq, Message)]
struct Devices {
    #[prost(message, repeated, tag = "1")]
    devices: Vec<Device>,
}

#[derive(Clone, PartialEq, Message)]
struct Ids {
    #[prost(string, repeated, tag = "1")]
    ids: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct OfContainers {
    #[prost(message, repeated, tag = "1")]
    containers: Vec<Ids>,
}

#[derive(Clone, PartialEq, Message)]
struct Preference {
    #[prost(string, repeated, tag = "1")]
    available: Vec<String>,
    #[prost(string, repeated, tag = "2")]
    must_include: Vec<String>,
    #[prost(int32, tag = "3")]
    size: i32,
}

#[derive(Clone, PartialEq, Message)]
struct Preferences {
    #[prost(message, repeated, tag = "1")]
    containers: Vec<Preference>,
}

/// A mount, or a device node with its permissions.
#[derive(Clone, PartialEq, Message)]
struct Mount {
    #[prost(string, tag = "1")]
    container_path: String,
    #[prost(string, tag = "2")]
    host_path: String,
    #[prost(bool, tag = "3")]
    read_only: bool,
}

#[derive(Clone, PartialEq, Message)]
struct Node {
    #[prost(string, tag = "1")]
    container_path: String,
    #[prost(string, tag = "2")]
    host_path: String,
    #[prost(string, tag = "3")]
    permissions: String,
}

#[derive(Clone, PartialEq, Message)]
struct Allocated {
    #[prost(btree_map = "string, string", tag = "1")]
    envs: std::collections::BTreeMap<String, String>,
    #[prost(message, repeated, tag = "2")]
    mounts: Vec<Mount>,
    #[prost(message, repeated, tag = "3")]
    devices: Vec<Node>,
}

#[derive(Clone, PartialEq, Message)]
struct AllAllocated {
    #[prost(message, repeated, tag = "1")]
    containers: Vec<Allocated>,
}

struct Plugin {
    args: Args,
    devices: watch::Receiver<Devices>,
}

/// The devices of the file.
fn read(args: &Args) -> Devices {
    let text = std::fs::read_to_string(args.data.join("devices")).unwrap_or_default();
    let device = |line: &str| {
        let (id, health) = line.split_once(' ')?;
        Some(Device { id: id.to_owned(), health: health.to_owned() })
    };
    Devices { devices: text.lines().filter_map(device).collect() }
}

/// Serves, and announces itself whenever a kubelet begins to listen.
pub async fn run(args: Args) -> Result<()> {
    let folder = args.kubelet.join("device-plugins");
    let (sender, devices) = watch::channel(read(&args));
    let inotify = Inotify::init()?;
    inotify.watches().add(&folder, WatchMask::CREATE | WatchMask::MOVED_TO)?;
    inotify.watches().add(&args.data, WatchMask::CLOSE_WRITE | WatchMask::MOVED_TO)?;
    let mut changes = inotify.into_event_stream([0; 4096])?;
    let mut serving = announce(&args, &folder, &devices).await?;
    while let Some(change) = changes.next().await {
        match change?.name.as_deref().and_then(|name| name.to_str()) {
            Some("kubelet.sock") => {
                serving.abort();
                serving = announce(&args, &folder, &devices).await?;
            }
            Some("devices") => drop(sender.send(read(&args))),
            _ => {}
        }
    }
    Ok(())
}

async fn announce(
    args: &Args,
    folder: &Path,
    devices: &watch::Receiver<Devices>,
) -> Result<tokio::task::JoinHandle<Result<()>>> {
    // The kubelet removes all it finds when it starts.
    let listener = wire::listen(&args.data.join("plugin.sock"), &folder.join("null.sock"))?;
    let plugin = Plugin { args: args.clone(), devices: devices.clone() };
    let serving = tokio::spawn(wire::serve(listener, Arc::new(plugin)));
    let told = Register {
        version: "v1beta1".to_owned(),
        endpoint: "null.sock".to_owned(),
        resource: args.resource.clone(),
        options: Some(Options { pre_start: true, preferred: true }),
    };
    register(&folder.join("kubelet.sock"), told.encode_to_vec()).await?;
    Ok(serving)
}

async fn register(socket: &Path, message: Vec<u8>) -> Result<()> {
    let stream = UnixStream::connect(socket).await.with_context(|| format!("{}", socket.display()))?;
    let client = hyper::client::conn::http2::Builder::new(TokioExecutor::new());
    let (mut sender, connection) = client.handshake(TokioIo::new(stream)).await?;
    tokio::spawn(connection);
    let mut body = vec![0];
    body.extend(u32::try_from(message.len())?.to_be_bytes());
    body.extend(message);
    let request = hyper::Request::post("http://kubelet/v1beta1.Registration/Register")
        .header("content-type", "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from(body)))?;
    let answer = sender.send_request(request).await?.into_body().collect().await?;
    let status = answer.trailers().and_then(|trailers| trailers.get("grpc-status")).cloned();
    anyhow::ensure!(status.is_some_and(|status| status == "0"), "the kubelet refused the plugin");
    Ok(())
}

fn decode<T: Message + Default>(body: &[u8]) -> Result<T, (u16, String)> {
    T::decode(body).map_err(|error| (3, error.to_string()))
}

impl Calls for Plugin {
    fn call(&self, path: &str, body: &[u8]) -> Outcome {
        match path {
            "/v1beta1.DevicePlugin/GetPreferredAllocation" => {
                let asked: Preferences = decode(body)?;
                let last = |asked: &Preference| {
                    let size = usize::try_from(asked.size).unwrap_or_default();
                    Ids { ids: asked.available.iter().rev().take(size).cloned().collect() }
                };
                Ok(OfContainers { containers: asked.containers.iter().map(last).collect() }.encode_to_vec())
            }
            "/v1beta1.DevicePlugin/Allocate" => {
                let asked: OfContainers = decode(body)?;
                let ids: Vec<String> = asked.containers.iter().map(|ids| ids.ids.join(",")).collect();
                self.args.note("allocate", &json!(ids))?;
                if ids.iter().any(|ids| ids.contains("broken")) {
                    return Err((13, "the device is broken".to_owned()));
                }
                let containers = ids.iter().map(|ids| self.allocated(ids)).collect();
                Ok(AllAllocated { containers }.encode_to_vec())
            }
            "/v1beta1.DevicePlugin/PreStartContainer" => {
                self.args.note("prestart", &json!(decode::<Ids>(body)?.ids))
            }
            _ => Err((12, format!("{path} is not known"))),
        }
    }

    fn stream(&self, path: &str) -> Option<BoxStream<'static, Vec<u8>>> {
        if path != "/v1beta1.DevicePlugin/ListAndWatch" {
            return None;
        }
        let mut devices = self.devices.clone();
        devices.mark_changed();
        let next = |mut devices: watch::Receiver<Devices>| async move {
            devices.changed().await.ok()?;
            let message = devices.borrow_and_update().encode_to_vec();
            Some((message, devices))
        };
        Some(futures::stream::unfold(devices, next).boxed())
    }
}

impl Plugin {
    fn allocated(&self, ids: &str) -> Allocated {
        Allocated {
            envs: [("NULL_DEVICES".to_owned(), ids.to_owned())].into(),
            mounts: vec![Mount {
                container_path: "/null-data".to_owned(),
                host_path: self.args.data.display().to_string(),
                read_only: true,
            }],
            devices: vec![Node {
                container_path: "/dev/knarr-null".to_owned(),
                host_path: "/dev/null".to_owned(),
                permissions: "rw".to_owned(),
            }],
        }
    }
}
