//! Docker's images, for the kubelet and for `knarr image`.

use std::path::Path;

use bollard::auth::DockerCredentials;
use bollard::models::ImageInspect;
use bollard::query_parameters::{
    CreateImageOptions, ImportImageOptions, ListImagesOptions, RemoveImageOptions,
};
use futures::{StreamExt, TryStreamExt};
use tokio::io::AsyncWriteExt;

use super::engine::{Engine, explain, gone_is_fine};
use crate::images::name;
use crate::runtime::types::{
    AuthConfig, FilesystemIdentifier, FilesystemUsage, Image, Int64Value, UInt64Value,
};
use crate::runtime::{Result, RuntimeError, usage};

/// What Docker writes where an image has no name.
const NONE: &str = "<none>";

fn failed(error: impl std::fmt::Display) -> RuntimeError {
    RuntimeError::Failed(error.to_string())
}

/// A name in full, as other runtimes tell it: Docker leaves out its own registry.
fn full_name(short: &str) -> String {
    match name::parse(short) {
        Ok(parsed) => {
            let tag = parsed.tag.map(|tag| format!(":{tag}")).unwrap_or_default();
            let digest = parsed.digest.map(|digest| format!("@{digest}")).unwrap_or_default();
            format!("{}/{}{tag}{digest}", parsed.registry, parsed.path)
        }
        Err(_) => short.to_owned(),
    }
}

fn names(short: &[String]) -> Vec<String> {
    short.iter().filter(|name| !name.contains(NONE)).map(|name| full_name(name)).collect()
}

/// The user of an image: a number or a name.
fn user(image: &ImageInspect) -> &str {
    let config = image.config.as_ref();
    config.and_then(|config| config.user.as_deref()).unwrap_or_default().split(':').next().unwrap_or_default()
}

fn image(inspected: &ImageInspect) -> Image {
    let user = user(inspected);
    let uid = user.parse().ok().map(|value| Int64Value { value });
    Image {
        id: inspected.id.clone().unwrap_or_default(),
        repo_tags: names(inspected.repo_tags.as_deref().unwrap_or_default()),
        repo_digests: names(inspected.repo_digests.as_deref().unwrap_or_default()),
        size: inspected.size.and_then(|size| u64::try_from(size).ok()).unwrap_or_default(),
        username: if uid.is_some() { String::new() } else { user.to_owned() },
        uid,
        pinned: false,
    }
}

/// All images. Whose users they name is not told.
pub async fn list(engine: &Engine) -> Result<Vec<Image>> {
    let list = |docker: bollard::Docker| async move { docker.list_images(None::<ListImagesOptions>).await };
    let image = |summary: bollard::models::ImageSummary| Image {
        id: summary.id,
        repo_tags: names(&summary.repo_tags),
        repo_digests: names(&summary.repo_digests),
        size: u64::try_from(summary.size).unwrap_or_default(),
        ..Image::default()
    };
    Ok(engine.call(list).await?.into_iter().map(image).collect())
}

/// The image of that name or id as Docker describes it; an error if it is not there.
pub async fn inspect(engine: &Engine, name: &str) -> Result<ImageInspect> {
    engine.call(|docker| async move { docker.inspect_image(name).await }).await
}

/// The image of that name or id, if it is there.
pub async fn find(engine: &Engine, name: &str) -> Result<Option<Image>> {
    match inspect(engine, name).await {
        Ok(found) => Ok(Some(image(&found))),
        Err(RuntimeError::NotFound(_)) => Ok(None),
        Err(error) => Err(error),
    }
}

/// How a container's image is told: a name of it, and by name and digest if it was pulled, else by its id.
pub fn reference(inspected: &ImageInspect) -> (String, String) {
    let image = image(inspected);
    let name = image.repo_tags.into_iter().next().unwrap_or_default();
    (name, image.repo_digests.into_iter().next().unwrap_or(image.id))
}

fn credentials(auth: AuthConfig) -> DockerCredentials {
    use base64::Engine as _;
    let some = |text: String| (!text.is_empty()).then_some(text);
    let decoded = base64::engine::general_purpose::STANDARD.decode(&auth.auth).ok();
    let decoded = decoded.and_then(|bytes| String::from_utf8(bytes).ok());
    let pair = decoded.as_deref().and_then(|text| text.split_once(':'));
    DockerCredentials {
        username: some(auth.username).or(pair.map(|(user, _)| user.to_owned())),
        password: some(auth.password).or(pair.map(|(_, password)| password.to_owned())),
        serveraddress: some(auth.server_address),
        identitytoken: some(auth.identity_token),
        registrytoken: some(auth.registry_token),
        ..DockerCredentials::default()
    }
}

/// Fetches an image; answers its id.
pub async fn pull(engine: &Engine, image: &str, auth: Option<AuthConfig>) -> Result<String> {
    let name = name::parse(image).map_err(failed)?;
    let options = CreateImageOptions {
        from_image: Some(full_name(&name.with_default_tag())),
        ..CreateImageOptions::default()
    };
    let credentials = auth.map(credentials);
    let pull = |docker: bollard::Docker| async move {
        let mut progress = std::pin::pin!(docker.create_image(Some(options), None, credentials));
        while let Some(step) = progress.next().await {
            step?;
        }
        Ok(())
    };
    engine.long_call(pull).await?;
    let found = inspect(engine, image).await?;
    found.id.ok_or_else(|| failed(format!("Docker names no id of {image}")))
}

/// Removes an image with all its names; one that is gone is fine.
pub async fn remove(engine: &Engine, name: &str) -> Result<()> {
    let found = match inspect(engine, name).await {
        Err(RuntimeError::NotFound(_)) => return Ok(()),
        other => other?,
    };
    let id = found.id.unwrap_or_default();
    let by_id = name == id || id.strip_prefix("sha256:").is_some_and(|hex| hex.starts_with(name));
    let mut all = vec![name.to_owned()];
    if by_id {
        // By its id alone Docker removes only what has one name.
        all = found.repo_tags.into_iter().flatten().chain(found.repo_digests.into_iter().flatten()).collect();
        all.push(id);
    }
    for name in all.iter().filter(|name| !name.contains(NONE)) {
        let remove = |docker: bollard::Docker| async move {
            docker.remove_image(name, None::<RemoveImageOptions>, None).await
        };
        gone_is_fine(engine.call(remove).await)?;
    }
    Ok(())
}

/// Space taken by images.
pub async fn file_system(engine: &Engine) -> Result<FilesystemUsage> {
    let root = engine.call(|docker| async move { docker.info().await }).await?.docker_root_dir;
    let value = |value: u64| Some(UInt64Value { value });
    Ok(FilesystemUsage {
        timestamp: usage::now(),
        fs_id: Some(FilesystemIdentifier { mountpoint: root.unwrap_or_default() }),
        used_bytes: value(list(engine).await?.iter().map(|image| image.size).sum()),
        inodes_used: value(0),
    })
}

/// Loads an archive as `docker save` writes it, plain or compressed; answers the names of its images.
pub async fn load(engine: &Engine, file: tokio::fs::File) -> Result<Vec<String>> {
    let pieces = tokio_util::io::ReaderStream::new(file);
    let load = |docker: bollard::Docker| async move {
        let options = ImportImageOptions { quiet: true, ..ImportImageOptions::default() };
        docker.import_image_stream(options, pieces, None).try_collect::<Vec<_>>().await
    };
    let told = engine.long_call(load).await?;
    // Lines read `Loaded image: NAME` or `Loaded image ID: ID`.
    let names = told.into_iter().filter_map(|line| {
        let text = line.stream?;
        text.strip_prefix("Loaded image")?.split_once(": ").map(|(_, name)| name.trim().to_owned())
    });
    Ok(names.collect())
}

/// Writes images into an archive, which must not be used if that fails.
pub async fn save(engine: &Engine, images: &[String], file: &Path) -> Result<()> {
    for image in images {
        inspect(engine, image).await?;
    }
    let client = engine.client().await?;
    let names: Vec<&str> = images.iter().map(String::as_str).collect();
    let mut pieces = std::pin::pin!(client.export_images(&names));
    let mut file = tokio::fs::File::create(file).await.map_err(failed)?;
    while let Some(piece) = pieces.next().await {
        file.write_all(&piece.map_err(explain)?).await.map_err(failed)?;
    }
    file.flush().await.map_err(failed)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_told_in_full() {
        assert_eq!(full_name("busybox:1"), "docker.io/library/busybox:1");
        assert_eq!(full_name("test.local/a/b@sha256:00"), "test.local/a/b@sha256:00");
        let both = ["<none>:<none>".to_owned(), "a/b:1".to_owned()];
        assert_eq!(names(&both), ["docker.io/a/b:1"]);
    }

    #[test]
    fn credentials_of_either_form() {
        let check = |auth: AuthConfig| {
            let made = credentials(auth);
            assert_eq!((made.username.as_deref(), made.password.as_deref()), (Some("u"), Some("p:w")));
        };
        check(AuthConfig { username: "u".to_owned(), password: "p:w".to_owned(), ..AuthConfig::default() });
        check(AuthConfig { auth: "dTpwOnc=".to_owned(), ..AuthConfig::default() });
    }
}
