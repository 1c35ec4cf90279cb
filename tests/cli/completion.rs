//! `keyway completion` and `keyway man`: completion scripts and manual pages.

use std::process::Command;

use crate::support::Shell;

#[test]
fn bash_completes_commands_and_options() {
    let shell = Shell::new();
    let script = shell.file("completion", shell.done(&["completion", "bash"]));
    let complete = |words: &str| {
        let count = words.split(' ').count() - 1;
        let line = format!(
            "source '{script}'; COMP_WORDS=({words}); [ '{}' = ' ' ] && COMP_WORDS+=(''); COMP_CWORD={count}; \
             _keyway keyway \"${{COMP_WORDS[$COMP_CWORD]}}\"; echo \"${{COMPREPLY[@]}}\"",
            &words[words.len() - 1..]
        );
        let output = Command::new("bash").args(["-c", &line]).output().unwrap();
        assert!(output.stderr.is_empty(), "{words}: {}", String::from_utf8_lossy(&output.stderr));
        String::from_utf8(output.stdout).unwrap()
    };
    assert!(complete("keyway ke").contains("key"));
    let commands = complete("keyway key ");
    for command in ["create", "import", "info", "ls", "rm", "encrypt", "decrypt", "dek", "hmac"] {
        assert!(commands.contains(command), "{command}: {commands}");
    }
    assert!(complete("keyway key ls --").contains("--insecure"));
}

#[test]
fn zsh_and_fish_have_scripts_of_every_command() {
    let shell = Shell::new();
    for (name, mark) in [("zsh", "#compdef keyway"), ("fish", "complete -c keyway")] {
        let script = shell.done(&["completion", name]);
        assert!(script.contains(mark), "{name}");
        for command in ["server", "key", "policy", "identity", "log", "status", "metric", "explain", "template"] {
            assert!(script.contains(command), "{name}: {command}");
        }
    }
    assert!(shell.fails(2, &["completion", "tcsh"]).contains("bash, zsh, fish"));
}

#[test]
fn every_command_has_a_manual_page() {
    let shell = Shell::new();
    let pages = shell.path("pages");
    shell.done(&["man", pages.to_str().unwrap()]);
    for (page, parts) in [
        ("keyway.1", &["Exit codes", "KES_SERVER"][..]),
        ("keyway-key-create.1", &["NAME", "keyway key create my-key"]),
        ("keyway-policy-explain.1", &["IDENTITY", "METHOD"]),
    ] {
        let text = std::fs::read_to_string(pages.join(page)).unwrap_or_else(|_| panic!("no page {page}"));
        for part in parts {
            assert!(text.replace('\\', "").contains(part), "{page}: {part}");
        }
    }
    let pages = std::fs::read_dir(&pages).unwrap().count();
    assert!(pages > 25, "only {pages} pages");
    let said = shell.fails(1, &["man", "/proc/keyway"]);
    assert!(said.contains("cannot write to /proc/keyway"), "{said}");
}
