//! What the driver does.

use std::collections::BTreeMap;
use std::io::Write;
use std::path::{Path, PathBuf};

use knarr_conformance::wire::{Calls, Outcome, PluginInfo};
use nix::mount::{MntFlags, MsFlags, mount, umount2};
use prost::Message;
use serde_json::json;

use crate::Args;

/// Codes of gRPC.
const UNKNOWN: u16 = 2;
const INVALID_ARGUMENT: u16 = 3;
const UNIMPLEMENTED: u16 = 12;

/// The driver.
pub struct Driver {
    /// Its settings.
    pub args: Args,
    /// Where it listens.
    pub socket: PathBuf,
}

#[derive(Clone, PartialEq, Message)]
struct Registered {
    #[prost(bool, tag = "1")]
    registered: bool,
    #[prost(string, tag = "2")]
    error: String,
}

#[derive(Clone, PartialEq, Message)]
struct Topology {
    #[prost(btree_map = "string, string", tag = "1")]
    segments: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct NodeInfo {
    #[prost(string, tag = "1")]
    node_id: String,
    #[prost(int64, tag = "2")]
    max_volumes: i64,
    #[prost(message, optional, tag = "3")]
    topology: Option<Topology>,
}

#[derive(Clone, PartialEq, Message)]
struct Stage {
    #[prost(string, tag = "1")]
    volume: String,
    #[prost(btree_map = "string, string", tag = "2")]
    publish_context: BTreeMap<String, String>,
    #[prost(string, tag = "3")]
    staging: String,
    #[prost(btree_map = "string, string", tag = "5")]
    secrets: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "6")]
    context: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct Publish {
    #[prost(string, tag = "1")]
    volume: String,
    #[prost(btree_map = "string, string", tag = "2")]
    publish_context: BTreeMap<String, String>,
    #[prost(string, tag = "3")]
    staging: String,
    #[prost(string, tag = "4")]
    target: String,
    #[prost(bool, tag = "6")]
    readonly: bool,
    #[prost(btree_map = "string, string", tag = "7")]
    secrets: BTreeMap<String, String>,
    #[prost(btree_map = "string, string", tag = "8")]
    context: BTreeMap<String, String>,
}

#[derive(Clone, PartialEq, Message)]
struct Range {
    #[prost(int64, tag = "1")]
    required: i64,
}

#[derive(Clone, PartialEq, Message)]
struct Expand {
    #[prost(string, tag = "1")]
    volume: String,
    #[prost(message, optional, tag = "3")]
    range: Option<Range>,
}

/// Unstaging and unpublishing.
#[derive(Clone, PartialEq, Message)]
struct Release {
    #[prost(string, tag = "1")]
    volume: String,
    #[prost(string, tag = "2")]
    path: String,
}

impl Calls for Driver {
    fn call(&self, path: &str, body: &[u8]) -> Outcome {
        match path {
            "/pluginregistration.Registration/GetInfo" => Ok(PluginInfo {
                r#type: "CSIPlugin".to_owned(),
                name: self.args.name.clone(),
                endpoint: self.socket.display().to_string(),
                versions: vec!["1.0.0".to_owned()],
            }
            .encode_to_vec()),
            "/pluginregistration.Registration/NotifyRegistrationStatus" => {
                let told: Registered = decode(body)?;
                self.note("registered", &json!({"registered": told.registered, "error": told.error}))
            }
            "/csi.v1.Node/NodeGetInfo" => Ok(NodeInfo {
                node_id: self.args.node.clone(),
                max_volumes: 5,
                topology: Some(Topology {
                    segments: [("csi.knarr.test/node".to_owned(), self.args.node.clone())].into(),
                }),
            }
            .encode_to_vec()),
            // STAGE_UNSTAGE_VOLUME and EXPAND_VOLUME, each three messages deep.
            "/csi.v1.Node/NodeGetCapabilities" => {
                Ok(vec![0x0a, 0x04, 0x0a, 0x02, 0x08, 0x01, 0x0a, 0x04, 0x0a, 0x02, 0x08, 0x03])
            }
            "/csi.v1.Node/NodeStageVolume" => self.stage(&decode(body)?),
            "/csi.v1.Node/NodePublishVolume" => self.publish(&decode(body)?),
            "/csi.v1.Node/NodeExpandVolume" => {
                let asked: Expand = decode(body)?;
                let bytes = asked.range.unwrap_or_default().required;
                self.note("expand", &json!({"volume": asked.volume, "bytes": bytes}))
            }
            "/csi.v1.Node/NodeUnpublishVolume" => self.release("unpublish", &decode(body)?),
            "/csi.v1.Node/NodeUnstageVolume" => self.release("unstage", &decode(body)?),
            _ => Err((UNIMPLEMENTED, format!("{path} is not known"))),
        }
    }
}

impl Driver {
    fn stage(&self, asked: &Stage) -> Outcome {
        if asked.context.contains_key("fail") {
            return Err((INVALID_ARGUMENT, "the volume is bad".to_owned()));
        }
        let folder = self.folder(&asked.volume)?;
        bind(&folder, Path::new(&asked.staging), false)?;
        let (secrets, context) = (&asked.secrets, &asked.publish_context);
        self.note("stage", &json!({"volume": asked.volume, "secrets": secrets, "publishContext": context}))
    }

    fn publish(&self, asked: &Publish) -> Outcome {
        let from = match asked.staging.as_str() {
            // It lives with its pod, and was not staged.
            "" => self.folder(&asked.volume)?,
            staging => PathBuf::from(staging),
        };
        bind(&from, Path::new(&asked.target), asked.readonly)?;
        let told = json!({"volume": asked.volume, "readonly": asked.readonly, "context": asked.context,
            "secrets": asked.secrets, "target": asked.target});
        self.note("publish", &told)
    }

    fn release(&self, call: &str, asked: &Release) -> Outcome {
        let path = Path::new(&asked.path);
        match umount2(path, MntFlags::empty()) {
            Ok(()) | Err(nix::Error::EINVAL | nix::Error::ENOENT) => {}
            Err(error) => return Err((UNKNOWN, format!("{}: {error}", path.display()))),
        }
        // The kubelet removes what is left.
        let _ = std::fs::remove_dir(path);
        self.note(call, &json!({"volume": asked.volume}))
    }

    fn folder(&self, volume: &str) -> Result<PathBuf, (u16, String)> {
        let folder = self.args.data.join("volumes").join(volume);
        std::fs::create_dir_all(&folder).map_err(failed)?;
        Ok(folder)
    }

    fn note(&self, call: &str, told: &serde_json::Value) -> Outcome {
        let mut line = json!({"call": call});
        if let (Some(line), Some(told)) = (line.as_object_mut(), told.as_object()) {
            line.extend(told.clone());
        }
        let file =
            std::fs::OpenOptions::new().create(true).append(true).open(self.args.data.join("calls.jsonl"));
        file.and_then(|mut file| file.write_all(format!("{line}\n").as_bytes())).map_err(failed)?;
        Ok(Vec::new())
    }
}

fn decode<T: Message + Default>(body: &[u8]) -> Result<T, (u16, String)> {
    T::decode(body).map_err(|error| (INVALID_ARGUMENT, error.to_string()))
}

fn failed(error: impl std::fmt::Display) -> (u16, String) {
    (UNKNOWN, error.to_string())
}

fn bind(from: &Path, to: &Path, readonly: bool) -> Result<(), (u16, String)> {
    std::fs::create_dir_all(to).map_err(failed)?;
    let none = None::<&str>;
    mount(Some(from), to, none, MsFlags::MS_BIND, none).map_err(failed)?;
    if readonly {
        let again = MsFlags::MS_BIND | MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY;
        mount(none, to, none, again, none).map_err(failed)?;
    }
    Ok(())
}
