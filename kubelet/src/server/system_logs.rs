//! `GET /logs/PATH`: the files below `/var/log` of the node.

use std::io::Read;
use std::os::unix::fs::FileTypeExt;

use axum::body::Body;
use axum::extract::Path;
use axum::http::header;
use axum::response::{Html, IntoResponse, Redirect, Response};
use pathrs::Root;
use pathrs::flags::OpenFlags;
use tokio_util::io::ReaderStream;

use super::Failure;

/// Where logs are.
const FOLDER: &str = "/var/log";

/// Answers the folder itself.
pub async fn top() -> Result<Response, Failure> {
    serve(FOLDER, String::new()).await
}

/// Answers a file, or the names in a folder.
pub async fn below(Path(path): Path<String>) -> Result<Response, Failure> {
    serve(FOLDER, path).await
}

fn not_found() -> Failure {
    Failure::not_found("404 page not found\n")
}

/// What is found at a path, which never leads out of the folder.
enum Found {
    File(std::fs::File),
    Folder(String),
}

fn look(folder: &str, path: &str) -> Option<Found> {
    let inside = path.trim_matches('/');
    let root = Root::open(folder).ok()?;
    let file = root
        .open_subpath(
            if inside.is_empty() { "." } else { inside },
            OpenFlags::O_RDONLY | OpenFlags::O_NONBLOCK,
        )
        .ok()?;
    let kind = file.metadata().ok()?.file_type();
    if kind.is_file() {
        return Some(Found::File(file));
    }
    if !kind.is_dir() || kind.is_socket() {
        return None;
    }
    let entries =
        std::fs::read_dir(format!("/proc/self/fd/{}", std::os::fd::AsRawFd::as_raw_fd(&file))).ok()?;
    let mut names: Vec<String> = entries
        .flatten()
        .filter_map(|entry| {
            let end = if entry.path().is_dir() { "/" } else { "" };
            Some(entry.file_name().to_str()?.to_owned() + end)
        })
        .collect();
    names.sort();
    let line = |name: &String| {
        let text = name.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&#34;");
        format!("<a href=\"{text}\">{text}</a>\n")
    };
    Some(Found::Folder(format!(
        "<!doctype html>\n<meta name=\"viewport\" content=\"width=device-width\">\n<pre>\n{}</pre>\n",
        names.iter().map(line).collect::<String>()
    )))
}

async fn serve(folder: &'static str, path: String) -> Result<Response, Failure> {
    let wanted = path.clone();
    let found =
        tokio::task::spawn_blocking(move || look(folder, &wanted)).await.map_err(Failure::internal)?;
    match found.ok_or_else(not_found)? {
        Found::Folder(_) if !path.is_empty() && !path.ends_with('/') => {
            let name = path.rsplit('/').next().unwrap_or_default();
            Ok(Redirect::permanent(&format!("{name}/")).into_response())
        }
        Found::Folder(page) => Ok(Html(page).into_response()),
        Found::File(mut file) => {
            let mut first = [0; 512];
            let length = file.read(&mut first).unwrap_or_default();
            let is_text = std::str::from_utf8(&first[..length]).is_ok();
            std::io::Seek::rewind(&mut file).map_err(Failure::internal)?;
            let kind = if is_text { "text/plain; charset=utf-8" } else { "application/octet-stream" };
            let body = Body::from_stream(ReaderStream::new(tokio::fs::File::from_std(file)));
            Ok(([(header::CONTENT_TYPE, kind)], body).into_response())
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nothing_outside_is_found() {
        let folder = tempfile::tempdir().expect("directory");
        let path = folder.path().to_str().expect("text");
        std::fs::create_dir(folder.path().join("pods")).expect("folder");
        std::fs::write(folder.path().join("a<b.log"), "text").expect("file");
        std::os::unix::fs::symlink("/etc/hostname", folder.path().join("link")).expect("link");
        let found = |inside: &str| match look(path, inside) {
            Some(Found::File(_)) => "file".to_owned(),
            Some(Found::Folder(page)) => page,
            None => "nothing".to_owned(),
        };
        assert_eq!(found("a<b.log"), "file");
        assert!(found("").contains(
            "<a href=\"a&lt;b.log\">a&lt;b.log</a>\n<a href=\"link\">link</a>\n<a href=\"pods/\">pods/</a>"
        ));
        assert_eq!(found("../../etc/hostname"), "nothing");
        assert_eq!(found("link"), "nothing");
        assert_eq!(found("gone"), "nothing");
    }
}
