//! The image of sandboxes: the pause program alone, carried in this binary.

use bollard::body_full;
use bollard::query_parameters::{CreateImageOptions, RemoveImageOptions};
use futures::TryStreamExt;

use super::engine::Engine;
use crate::runtime::embedded::shim::PAUSE_PROGRAM;
use crate::runtime::{PAUSE_IMAGE, Result, RuntimeError};

/// Makes sure that Docker has the image.
pub async fn ensure(engine: &Engine) -> Result<()> {
    match engine.call(|docker| async move { docker.inspect_image(PAUSE_IMAGE).await }).await {
        Err(RuntimeError::NotFound(_)) => {}
        other => return other.map(drop),
    }
    let root = root().map_err(|error| RuntimeError::Failed(error.to_string()))?;
    let (name, tag) = PAUSE_IMAGE.rsplit_once(':').unwrap_or((PAUSE_IMAGE, "latest"));
    let options = CreateImageOptions {
        from_src: Some("-".to_owned()),
        repo: Some(name.to_owned()),
        tag: Some(tag.to_owned()),
        changes: vec!["ENTRYPOINT [\"/pause\"]".to_owned(), "USER 65535:65535".to_owned()],
        ..CreateImageOptions::default()
    };
    let import = |docker: bollard::Docker| async move {
        docker.create_image(Some(options), Some(body_full(root.into())), None).try_collect::<Vec<_>>().await
    };
    engine.call(import).await.map(drop)
}

/// Removes the image, unless sandboxes of others have it.
pub async fn remove(engine: &Engine) {
    let remove = |docker: bollard::Docker| async move {
        docker.remove_image(PAUSE_IMAGE, None::<RemoveImageOptions>, None).await
    };
    if let Err(error) = engine.call(remove).await {
        tracing::debug!(%error, "the pause image stays");
    }
}

/// The root file system as an archive.
fn root() -> std::io::Result<Vec<u8>> {
    let mut archive = tar::Builder::new(Vec::new());
    let mut header = tar::Header::new_ustar();
    header.set_size(PAUSE_PROGRAM.len() as u64);
    header.set_mode(0o755);
    header.set_cksum();
    archive.append_data(&mut header, "pause", PAUSE_PROGRAM)?;
    archive.into_inner()
}
