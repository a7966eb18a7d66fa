use super::*;

fn folder(name: &str, text: &str) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    std::fs::write(folder.path().join(name), text).unwrap();
    folder
}

fn message(name: &str, text: &str) -> String {
    let folder = folder(name, text);
    Templates::load(Some(folder.path())).unwrap_err().to_string().replace(&folder.path().display().to_string(), "")
}

#[test]
fn the_built_in_ones_are_sound_and_ask_for_two_lines() {
    for (name, text) in [SYSTEM, INITIALISE, MUTATE, CROSSOVER] {
        check(text).unwrap_or_else(|e| panic!("{name}: {e}"));
    }
    let templates = Templates::load(None).unwrap();
    assert!(templates.system().contains("\nThought: ") && templates.system().contains("\nFormula: "));
    assert!(templates.user(Template::Mutate).contains("{{ parents }}"));
    assert!(templates.user(Template::Crossover).contains("{{ parents }}"));
    assert!(!templates.user(Template::Initialise).contains("parents"));
}

#[test]
fn a_folder_overrides_what_it_holds() {
    let folder = folder("mutate.md", "Change {{ parents }}");
    let templates = Templates::load(Some(folder.path())).unwrap();
    assert_eq!(templates.user(Template::Mutate), "Change {{ parents }}");
    assert_eq!(templates.system(), Templates::load(None).unwrap().system());
}

#[test]
fn errors_name_file_and_line() {
    let unknown = message("mutate.md", "one\ntwo {{ parent }}\n");
    assert!(unknown.starts_with("/mutate.md: line 2: `parent` is not something a question has"), "{unknown}");
    assert!(unknown.contains("`parents`"), "{unknown}");
    let open = message("system.md", "one\n{% if complaint %}\nthree\n");
    assert!(open.starts_with("/system.md: line 4, column 1: not a Tera template: expected"), "{open}");
    let broken = message("crossover.md", "{{ parents }\n");
    assert!(broken.starts_with("/crossover.md: line 1, column"), "{broken}");
}

#[test]
fn an_unknown_name_inside_a_branch_is_found() {
    let hidden = message("initialise.md", "a\n{% if complaint %}\n{{ nothing }}\n{% endif %}");
    assert!(hidden.starts_with("/initialise.md: line 3: `nothing`"), "{hidden}");
    let other = message("initialise.md", "{% if complaint %}a{% else %}{{ nothing }}{% endif %}");
    assert!(other.starts_with("/initialise.md: line 1: `nothing`"), "{other}");
}

#[test]
fn a_missing_folder_and_a_huge_file_are_errors() {
    let error = Templates::load(Some(Path::new("/no/such/folder"))).unwrap_err();
    assert_eq!(error.to_string(), "/no/such/folder: no such folder of prompt templates [TQ001]");
    assert!(message("mutate.md", &"a".repeat(LONGEST + 1)).contains("more than the limit"));
}
