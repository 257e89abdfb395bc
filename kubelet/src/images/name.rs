//! Names of images: `registry/path:tag@digest`.

/// A name taken apart.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ImageName {
    /// Host of the registry, `docker.io` if the name has none.
    pub registry: String,
    /// Path within the registry.
    pub path: String,
    /// Tag, if given.
    pub tag: Option<String>,
    /// Digest, if given.
    pub digest: Option<String>,
    original: String,
}

impl ImageName {
    /// The name as it was written, with `:latest` if it had neither tag nor digest.
    pub fn with_default_tag(&self) -> String {
        if self.tag.is_some() || self.digest.is_some() {
            self.original.clone()
        } else {
            format!("{}:latest", self.original)
        }
    }
}

/// Takes a name apart; the error is the original's text.
pub fn parse(text: &str) -> Result<ImageName, &'static str> {
    const INVALID: &str = "invalid reference format";
    let (rest, digest) = match text.split_once('@') {
        Some((rest, digest)) if digest.contains(':') => (rest, Some(digest.to_owned())),
        Some(_) => return Err(INVALID),
        None => (text, None),
    };
    let name_start = rest.rfind('/').map_or(0, |at| at + 1);
    let (name, tag) = match rest[name_start..].split_once(':') {
        Some((name, tag)) => (&rest[..name_start + name.len()], Some(tag.to_owned())),
        None => (rest, None),
    };
    let (registry, path) = match name.split_once('/') {
        Some((host, path)) if host.contains(['.', ':']) || host == "localhost" => (host, path.to_owned()),
        Some(_) => ("docker.io", name.to_owned()),
        None => ("docker.io", format!("library/{name}")),
    };
    if path.chars().any(|c| c.is_ascii_uppercase()) {
        return Err("invalid reference format: repository name must be lowercase");
    }
    let valid_part = |part: &str| {
        let edge = |c: Option<char>| c.is_some_and(|c| c.is_ascii_alphanumeric());
        edge(part.chars().next())
            && edge(part.chars().next_back())
            && part.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    let valid_tag = |tag: &String| {
        let first = tag.chars().next().is_some_and(|c| c.is_ascii_alphanumeric() || c == '_');
        first && tag.len() <= 128 && tag.chars().all(|c| c.is_ascii_alphanumeric() || "._-".contains(c))
    };
    if !path.split('/').all(valid_part) || !tag.as_ref().is_none_or(valid_tag) {
        return Err(INVALID);
    }
    Ok(ImageName { registry: registry.to_owned(), path, tag, digest, original: text.to_owned() })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names() {
        let check = |text: &str, expected: Option<(&str, &str, &str)>| {
            let got = parse(text)
                .ok()
                .map(|name| (name.registry.clone(), name.path.clone(), name.with_default_tag()));
            let expected = expected.map(|(r, p, f)| (r.to_owned(), p.to_owned(), f.to_owned()));
            assert_eq!(got, expected, "{text}");
        };
        check("busybox", Some(("docker.io", "library/busybox", "busybox:latest")));
        check("a/b:1", Some(("docker.io", "a/b", "a/b:1")));
        check("registry.test/busybox:1.35", Some(("registry.test", "busybox", "registry.test/busybox:1.35")));
        check("localhost:5000/x", Some(("localhost:5000", "x", "localhost:5000/x:latest")));
        check("x@sha256:abcd", Some(("docker.io", "library/x", "x@sha256:abcd")));
        check("Upper/case", None);
        check("", None);
        check("a b", None);
        check("x:", None);
        check("invalid-image-name:bad tag", None);
    }
}
