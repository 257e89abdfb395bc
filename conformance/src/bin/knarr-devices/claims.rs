//! The DRA driver: for each claim it describes a device in `/var/run/cdi`.

use std::collections::BTreeMap;
use std::path::PathBuf;

use knarr_conformance::wire::{Calls, Outcome, PluginInfo};
use prost::Message;
use serde_json::json;

use crate::Args;

/// Where devices are described.
const FOLDER: &str = "/var/run/cdi";

/// The driver.
pub struct Driver {
    /// Its settings.
    pub args: Args,
    /// Where it listens.
    pub socket: PathBuf,
}

#[derive(Clone, PartialEq, Message)]
struct Claim {
    #[prost(string, tag = "1")]
    namespace: String,
    #[prost(string, tag = "2")]
    uid: String,
    #[prost(string, tag = "3")]
    name: String,
}

#[derive(Clone, PartialEq, Message)]
struct Claims {
    #[prost(message, repeated, tag = "1")]
    claims: Vec<Claim>,
}

#[derive(Clone, PartialEq, Message)]
struct Device {
    #[prost(string, repeated, tag = "1")]
    requests: Vec<String>,
    #[prost(string, tag = "2")]
    pool: String,
    #[prost(string, tag = "3")]
    name: String,
    #[prost(string, repeated, tag = "4")]
    cdi: Vec<String>,
}

#[derive(Clone, PartialEq, Message)]
struct Prepared {
    #[prost(message, repeated, tag = "1")]
    devices: Vec<Device>,
    #[prost(string, tag = "2")]
    error: String,
}

#[derive(Clone, PartialEq, Message)]
struct AllPrepared {
    #[prost(btree_map = "string, message", tag = "1")]
    claims: BTreeMap<String, Prepared>,
}

#[derive(Clone, PartialEq, Message)]
struct Unprepared {
    #[prost(string, tag = "1")]
    error: String,
}

#[derive(Clone, PartialEq, Message)]
struct AllUnprepared {
    #[prost(btree_map = "string, message", tag = "1")]
    claims: BTreeMap<String, Unprepared>,
}

fn failed(error: impl std::fmt::Display) -> (u16, String) {
    (2, error.to_string())
}

fn description(uid: &str) -> PathBuf {
    PathBuf::from(FOLDER).join(format!("knarr.test-{uid}.json"))
}

impl Calls for Driver {
    fn call(&self, path: &str, body: &[u8]) -> Outcome {
        match path {
            "/pluginregistration.Registration/GetInfo" => Ok(PluginInfo {
                r#type: "DRAPlugin".to_owned(),
                name: self.args.driver.clone(),
                endpoint: self.socket.display().to_string(),
                versions: vec!["v1.DRAPlugin".to_owned()],
            }
            .encode_to_vec()),
            "/pluginregistration.Registration/NotifyRegistrationStatus" => Ok(Vec::new()),
            "/k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/NodePrepareResources" => {
                let asked = Claims::decode(body).map_err(failed)?;
                let prepared = |claim: &Claim| Ok((claim.uid.clone(), self.prepare(claim)?));
                let claims = asked.claims.iter().map(prepared).collect::<Result<_, (u16, String)>>()?;
                Ok(AllPrepared { claims }.encode_to_vec())
            }
            "/k8s.io.kubelet.pkg.apis.dra.v1.DRAPlugin/NodeUnprepareResources" => {
                let asked = Claims::decode(body).map_err(failed)?;
                for claim in &asked.claims {
                    self.args.note("unprepare", &json!(claim.name))?;
                    let _ = std::fs::remove_file(description(&claim.uid));
                }
                let claims =
                    asked.claims.into_iter().map(|claim| (claim.uid, Unprepared::default())).collect();
                Ok(AllUnprepared { claims }.encode_to_vec())
            }
            _ => Err((12, format!("{path} is not known"))),
        }
    }
}

impl Driver {
    fn prepare(&self, claim: &Claim) -> Result<Prepared, (u16, String)> {
        self.args.note("prepare", &json!(claim.name))?;
        if claim.name.starts_with("bad") {
            return Ok(Prepared { devices: Vec::new(), error: "the claim is bad".to_owned() });
        }
        let described = json!({"cdiVersion": "0.5.0", "kind": "knarr.test/null", "devices": [{
            "name": claim.uid, "containerEdits": {
                "env": [format!("CLAIM_OF_{}={}", claim.namespace.replace('-', "_"), claim.name)],
                "deviceNodes": [{"path": "/dev/knarr-claimed", "hostPath": "/dev/null"}],
            },
        }]});
        std::fs::create_dir_all(FOLDER).map_err(failed)?;
        std::fs::write(description(&claim.uid), described.to_string()).map_err(failed)?;
        let device = Device {
            requests: Vec::new(),
            pool: "pool".to_owned(),
            name: "null-0".to_owned(),
            cdi: vec![format!("knarr.test/null={}", claim.uid)],
        };
        Ok(Prepared { devices: vec![device], error: String::new() })
    }
}
