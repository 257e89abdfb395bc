//! The store on archives made here.

use std::collections::BTreeMap;
use std::os::unix::fs::{MetadataExt, PermissionsExt};

use tar::EntryType;

use super::*;

/// An entry of a layer.
enum Item<'a> {
    File(&'a str, &'a str),
    Dir(&'a str, u32),
    Symlink(&'a str, &'a str),
    Hard(&'a str, &'a str),
    Device(&'a str, u32, u32),
}

fn layer(items: &[Item<'_>]) -> Vec<u8> {
    let mut layer = tar::Builder::new(Vec::new());
    for item in items {
        let (path, kind, link, content, mode) = match item {
            Item::File(path, content) => (*path, EntryType::Regular, "", *content, 0o4751),
            Item::Dir(path, mode) => (*path, EntryType::Directory, "", "", *mode),
            Item::Symlink(path, link) => (*path, EntryType::Symlink, *link, "", 0o777),
            Item::Hard(path, link) => (*path, EntryType::Link, *link, "", 0o644),
            Item::Device(path, ..) => (*path, EntryType::Char, "", "", 0o600),
        };
        let mut header = tar::Header::new_gnu();
        // The library refuses paths that lead upwards; attackers do not use it.
        let field = &mut header.as_old_mut().name;
        field[..path.len()].copy_from_slice(path.as_bytes());
        let field = &mut header.as_old_mut().linkname;
        field[..link.len()].copy_from_slice(link.as_bytes());
        header.set_entry_type(kind);
        header.set_size(content.len() as u64);
        header.set_mode(mode);
        header.set_uid(if nix::unistd::geteuid().is_root() { 12 } else { 0 });
        header.set_gid(13);
        header.set_mtime(1_000_000_000);
        if let Item::Device(_, major, minor) = item {
            header.set_device_major(*major).expect("device");
            header.set_device_minor(*minor).expect("device");
        }
        header.set_cksum();
        layer.append(&header, content.as_bytes()).expect("entry");
    }
    layer.into_inner().expect("layer")
}

/// An archive as docker writes it.
fn archive(name: &str, layers: &[Vec<u8>]) -> Vec<u8> {
    let mut out = tar::Builder::new(Vec::new());
    let mut put = |path: &str, bytes: &[u8]| {
        let mut header = tar::Header::new_gnu();
        header.set_mode(0o644);
        header.set_size(bytes.len() as u64);
        out.append_data(&mut header, path, bytes).expect("archive");
    };
    let diff_ids: Vec<String> = layers.iter().map(|layer| digest_of(layer)).collect();
    let config = serde_json::json!({
        "architecture": architecture(), "os": "linux", "config": {"Env": null, "User": "7:8"},
        "rootfs": {"type": "layers", "diff_ids": diff_ids},
    });
    put("config.json", config.to_string().as_bytes());
    let paths: Vec<String> = (0..layers.len()).map(|index| format!("{index}/layer.tar")).collect();
    for (path, layer) in paths.iter().zip(layers) {
        put(path, layer);
    }
    let saved = serde_json::json!([{"Config": "config.json", "RepoTags": [name], "Layers": paths}]);
    put("manifest.json", saved.to_string().as_bytes());
    out.into_inner().expect("archive")
}

fn store() -> (tempfile::TempDir, Store) {
    let folder = tempfile::tempdir().expect("folder");
    let store = Store::open(&folder.path().join("store")).expect("store");
    (folder, store)
}

fn load(store: &Store, bytes: &[u8]) -> Result<Record> {
    let file = tempfile::NamedTempFile::new().expect("file");
    std::fs::write(file.path(), bytes).expect("archive");
    store.load(file.path()).map(|mut records| records.remove(0))
}

fn is_root() -> bool {
    if !nix::unistd::geteuid().is_root() {
        println!("skipped: not root");
    }
    nix::unistd::geteuid().is_root()
}

#[test]
fn a_layer_becomes_files() {
    let (_folder, store) = store();
    let items = [
        Item::Dir("./", 0o751),
        Item::Dir("d", 0o1777),
        Item::File("d/f", "content"),
        Item::Hard("hard", "d/f"),
        Item::Symlink("link", "/etc/passwd"),
        Item::File("implicit/parent", "x"),
    ];
    let record = load(&store, &archive("a:1", &[layer(&items)])).expect("image");
    assert_eq!(record.names.iter().collect::<Vec<_>>(), ["docker.io/library/a:1"]);
    let root = store.layers_dir().join(&record.layers[0]);
    let meta = |path: &str| std::fs::symlink_metadata(root.join(path)).expect(path);
    assert_eq!(std::fs::read_to_string(root.join("d/f")).expect("file"), "content");
    assert_eq!(meta("d").permissions().mode() & 0o7777, 0o1777);
    assert_eq!(meta(".").permissions().mode() & 0o7777, 0o751);
    assert_eq!(meta("d/f").permissions().mode() & 0o7777, 0o4751, "the change of owner must not clear it");
    assert_eq!(meta("hard").ino(), meta("d/f").ino());
    assert_eq!(std::fs::read_link(root.join("link")).expect("link"), Path::new("/etc/passwd"));
    assert_eq!(meta("d").mtime(), 1_000_000_000);
    if nix::unistd::geteuid().is_root() {
        assert_eq!((meta("d/f").uid(), meta("link").gid()), (12, 13));
    }
    assert_eq!(store.config(&record).expect("config").config.user, "7:8");
}

#[test]
fn layers_hide_what_is_below() {
    if !is_root() {
        return;
    }
    let (folder, store) = store();
    let lower = [
        Item::Dir("d", 0o711),
        Item::File("d/gone", ""),
        Item::File("d/stays", ""),
        Item::Dir("o", 0o755),
        Item::File("o/old", ""),
        Item::Symlink("to-d", "d"),
    ];
    let upper = [
        Item::File("d/.wh.gone", ""),
        Item::File("o/new", "new"),
        Item::File("o/.wh..wh..opq", ""),
        Item::File("to-d/through", "x"),
        Item::Hard("hard", "d/stays"),
    ];
    let record = load(&store, &archive("a:1", &[layer(&lower), layer(&upper)])).expect("image");
    let at = |name: &str| folder.path().join(name);
    for name in ["upper", "work", "merged"] {
        std::fs::create_dir(at(name)).expect("folder");
    }
    on_own_directory(&store.layers_dir(), || {
        mount_overlay(&record.layers, &at("upper"), &at("work"), &at("merged"))
    })
    .expect("mounted");
    let list = |path: &str| {
        let entries = std::fs::read_dir(at("merged").join(path)).expect("folder").flatten();
        let mut names: Vec<String> =
            entries.map(|entry| entry.file_name().into_string().expect("name")).collect();
        names.sort();
        names
    };
    let seen = (list("d"), list("o"), list("."));
    let mode = std::fs::metadata(at("merged/d")).expect("folder").permissions().mode() & 0o777;
    nix::mount::umount(&at("merged")).expect("unmounted");
    assert_eq!(seen.0, ["stays", "through"]);
    assert_eq!(seen.1, ["new"], "what the same layer made stays");
    assert_eq!(seen.2, ["d", "hard", "o", "to-d"]);
    assert_eq!(mode, 0o711, "a folder that a layer does not mention keeps its mode");
}

#[test]
fn nothing_leaves_the_root() {
    let (folder, store) = store();
    let outside = folder.path().join("outside");
    std::fs::create_dir(&outside).expect("folder");
    std::fs::write(outside.join("secret"), "secret").expect("file");
    let (out, secret) = (outside.display().to_string(), outside.join("secret").display().to_string());
    let attacks: [&[Item<'_>]; 7] = [
        &[Item::File("../../../outside/new", "x")],
        &[Item::Symlink("a", &out), Item::File("a/new", "x")],
        &[Item::Symlink("a", "../../../outside"), Item::File("a/new", "x")],
        &[Item::Symlink("a", &out), Item::Symlink("b", "a"), Item::Dir("b/new", 0o755)],
        &[Item::Symlink("f", &secret), Item::File("f", "overwritten")],
        &[Item::Symlink("a", &out), Item::File("a/.wh.secret", "")],
        &[Item::Symlink("a", &out), Item::Hard("stolen", "a/secret")],
    ];
    for (index, attack) in attacks.iter().enumerate() {
        let loaded = load(&store, &archive("a:1", &[layer(attack)]));
        if let Ok(record) = loaded {
            let root = store.layers_dir().join(&record.layers[0]);
            assert!(std::fs::read(root.join("stolen")).is_err(), "attack {index}");
        }
        let mut left: Vec<_> = std::fs::read_dir(&outside).expect("folder").flatten().collect();
        let names: Vec<_> = left.drain(..).map(|entry| entry.file_name()).collect();
        assert_eq!(names, ["secret"], "attack {index}");
        assert_eq!(std::fs::read_to_string(&secret).expect("file"), "secret", "attack {index}");
    }
}

#[test]
fn what_would_change_the_meaning_of_a_layer_is_refused() {
    let (_folder, store) = store();
    let error = load(&store, &archive("a:1", &[layer(&[Item::Device("x", 0, 0)])])).expect_err("refused");
    assert!(error.to_string().contains("device 0:0"), "{error}");
    assert_eq!(store.list().expect("list"), []);
}

#[test]
fn wrong_content_is_refused() {
    let (_folder, store) = store();
    let good = layer(&[Item::File("a", "1")]);
    let bytes = archive("a:1", std::slice::from_ref(&good));
    // The same archive with another layer than the configuration says.
    let text = digest_of(&good);
    let other = digest_of(b"other");
    let position = bytes.windows(text.len()).position(|part| part == text.as_bytes()).expect("digest");
    let mut bad = bytes.clone();
    bad[position..position + text.len()].copy_from_slice(other.as_bytes());
    assert!(matches!(load(&store, &bad), Err(StoreError::Digest { .. })));
    assert!(load(&store, b"no archive").is_err());
    assert!(load(&store, &bytes).is_ok());
}

#[test]
fn images_are_named_saved_held_and_collected() {
    let (folder, store) = store();
    let first = load(&store, &archive("reg.test/a:1", &[layer(&[Item::File("a", "1")])])).expect("image");
    let again = load(&store, &archive("reg.test/a:2", &[layer(&[Item::File("a", "1")])])).expect("image");
    assert_eq!((first.id.clone(), again.names.len()), (again.id, 2));
    for name in ["reg.test/a:1", "reg.test/a:2", &first.id, &first.id[7..], &first.id[7..20]] {
        assert_eq!(store.find(name).expect("find").map(|one| one.id), Some(first.id.clone()), "{name}");
    }
    for name in ["reg.test/a", "a:1", "reg.test/b:1"] {
        assert_eq!(store.find(name).expect("find"), None, "{name}");
    }
    let mut saved = Vec::new();
    store.save(&["reg.test/a:2".to_owned()], &mut saved).expect("saved");

    let container = folder.path().join("container");
    std::fs::create_dir(&container).expect("folder");
    store.hold("c1", &[&first], &container).expect("held");
    store.remove("reg.test/a:1").expect("removed");
    assert!(
        store.find("reg.test/a:1").expect("find").is_none() && store.find(&first.id).expect("find").is_some()
    );
    store.remove(&first.id).expect("removed");
    assert_eq!(store.list().expect("list"), []);
    let layers = || std::fs::read_dir(store.layers_dir()).expect("folder").count();
    assert_eq!(layers(), 1, "a container has it");
    std::fs::remove_dir(&container).expect("folder");
    store.collect().expect("collected");
    assert_eq!(layers(), 0);

    let back = load(&store, &saved).expect("loaded");
    assert_eq!((back.id, back.names), (first.id, ["reg.test/a:2".to_owned()].into()));
    let moved = load(&store, &archive("reg.test/a:2", &[layer(&[Item::File("a", "2")])])).expect("image");
    let records: BTreeMap<_, _> =
        store.list().expect("list").into_iter().map(|one| (one.id, one.names)).collect();
    assert_eq!(
        records,
        [(moved.id, moved.names)].into(),
        "the name moved, and nothing else leads to the other one"
    );
}
