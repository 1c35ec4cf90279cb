//! The program under the name `kes`: what scripts got from KES they get from it. `tests/vectors/kes-cli.json` holds what
//! KES printed, in a pipe and on a terminal.

mod names;

use regex::Regex;
use serde::Deserialize;

use crate::support::program::Ended;
use crate::support::shell::mode;
use crate::support::{Server, Setup, Shell};

/// One command line and how it ended.
#[derive(Deserialize)]
struct Line {
    command: String,
    /// Whether standard output was a terminal, which standard error is then too.
    terminal: bool,
    exit: i32,
    stdout: String,
    /// The beginning, where it does not end in a line break.
    stderr: String,
    /// Whether only the beginning of `stdout` is compared.
    #[serde(default)]
    head: bool,
}

fn lines() -> Vec<Line> {
    #[derive(Deserialize)]
    struct File {
        lines: Vec<Line>,
    }
    serde_json::from_str::<File>(include_str!("../vectors/kes-cli.json")).unwrap().lines
}

const POLICIES: &str = "policy:
  my-policy:
    allow: [/v1/key/create/app*, /v1/key/generate/app*]
    deny: [/v1/key/generate/app-internal*]
    identities: ['@app@']
";

fn server() -> Server {
    Server::with(Setup { policies: POLICIES.to_owned(), ..Setup::default() })
}

fn kes(server: &Server) -> Shell {
    Shell::of(server, &server.admin).unset("KEYWAY_CA").called("kes")
}

/// The expected text as a pattern: placeholders match what differs between two runs.
fn pattern(text: &str, server: &Server) -> String {
    let in_order = server.admin.identity() < server.app.identity();
    let text = if in_order {
        text.to_owned()
    } else {
        text.replace("${admin}\n${app}", "${app}\n${admin}").replace(r#""${admin}","${app}""#, r#""${app}","${admin}""#)
    };
    let mut pattern = regex::escape(&text);
    let mut known = vec![("admin", server.admin.identity().to_string()), ("app", server.app.identity().to_string())];
    known.push(("address", regex::escape(&server.address.to_string())));
    known.push(("version", regex::escape(keyway::VERSION)));
    for (name, form) in [
        ("date", r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"),
        ("time", r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z"),
        ("base64", "[A-Za-z0-9+/]+=*"),
        ("number", r"\d+"),
        ("size", r"\d+\.\d[KM]?B"),
        ("arch", "(amd64|arm64)"),
        ("api_key", "kes:v1:[A-Za-z0-9+/]+=*"),
        ("identity", "[0-9a-f]{64}"),
    ] {
        known.push((name, form.to_owned()));
    }
    for (name, form) in known {
        pattern = pattern.replace(&regex::escape(&format!("${{{name}}}")), &form);
    }
    format!("^{pattern}")
}

#[test]
fn every_recorded_command_line_ends_and_prints_as_with_kes() {
    let server = server();
    let shell = kes(&server);
    let certificate = shell.file("app.cert", server.app.pem().0);
    let mut ciphertext = String::new();
    let mut failures = Vec::new();
    let recorded = lines();
    // The last ones are of a client that has no credentials, or no server.
    let with_server = recorded.iter().filter(|line| line.command.contains("-k ") || line.command.contains("identity"));
    for line in with_server.filter(|line| line.command != "kes key create -k x" && !line.stderr.contains("no API key"))
    {
        let text = line.command.replace("DIR/app.cert", &certificate).replace("${ciphertext}", &ciphertext);
        let text = text.replace("${app}", server.app.identity().as_str());
        let arguments: Vec<_> = text.split(' ').skip(1).collect();
        let ended = if line.terminal { shell.terminal(&arguments, &[]) } else { shell.run(&arguments) };
        if let Some((_, found)) = ended.stdout.split_once("ciphertext").filter(|_| arguments[1] == "encrypt") {
            ciphertext = found.trim_matches(|char: char| "\": }\r\n".contains(char)).to_owned();
        }
        let stdout = ended.stdout.replace("\r\n", "\n");
        let end = if line.head { "" } else { "$" };
        let expected = format!("{}{end}", pattern(&line.stdout, &server));
        if ended.code != Some(line.exit)
            || !Regex::new(&expected).unwrap().is_match(&stdout)
            || !ended.stderr.starts_with(&line.stderr)
            || (line.stderr.is_empty() && !ended.stderr.is_empty())
        {
            failures
                .push(format!("{} (terminal: {}): {ended:?}\nexpected {:?}", line.command, line.terminal, line.stdout));
        }
    }
    assert!(failures.is_empty(), "{} failures:\n{}", failures.len(), failures.join("\n"));
    // The certificate is for others to read, the private key is not.
    assert_eq!((mode(&shell.path("np.cert")), mode(&shell.path("np.key"))), (0o644, 0o600));
}

#[test]
fn what_keeps_a_command_from_starting_is_one_line_on_standard_error() {
    let shell = Shell::new().called("kes");
    for (arguments, said) in [
        (&["status", "-k"][..], "Error: no API key specified. Consider setting MINIO_KES_API_KEY\n"),
        (&["nonsense"], "Error: \"nonsense\" is not a kes command. See 'kes --help'\n"),
        (&["server"], "Error: open : no such file or directory\n"),
        (&["server", "--config", "none.yml"], "Error: open none.yml: no such file or directory\n"),
    ] {
        assert_eq!(shell.fails(1, arguments), said, "{arguments:?}");
    }
    let server = server();
    let shell = kes(&server).set("KES_SERVER", "https://127.0.0.1:1");
    let said = shell.fails(1, &["key", "create", "-k", "x"]);
    assert!(said.starts_with("Error: failed to create key \"x\": "), "{said}");
    let untrusted = Shell::of(&server, &server.admin).unset("KEYWAY_CA").called("kes").fails(1, &["status"]);
    assert!(untrusted.starts_with("Error: ") && untrusted.contains("certificate"), "{untrusted}");
}

#[test]
fn flags_take_every_form_that_scripts_use() {
    let server = server();
    let shell = kes(&server);
    for arguments in [
        &["key", "create", "-k", "a", "-k"][..],
        &["key", "create", "b", "--insecure"],
        &["key", "create", "--insecure=true", "c"],
        &["key", "create", "-k", "--color", "never", "-e", "default", "d"],
        &["key", "info", "-k", "a", "--json=false"],
        &["status", "-k", "-s"],
        &["status", "-k", "--short"],
        &["status", "-k", "--api"],
        &["ls", "-k", "-i"],
        &["ls", "-k", "-p"],
        &["ls", "-k", "a*"],
    ] {
        shell.done(arguments);
    }
    assert_eq!(shell.done(&["key", "ls", "-k"]), "Key\na\nb\nc\nd");
    let api_key = shell.done(&["identity", "new"]);
    let api_key = api_key.lines().find_map(|line| line.trim().strip_prefix("kes:v1:")).unwrap();
    let api_key = format!("kes:v1:{api_key}");
    let refused = shell.fails(1, &["key", "create", "-k", "-a", &api_key, "e"]);
    assert_eq!(refused, "Error: failed to create key \"e\": not authorized: insufficient permissions\n");
    let identity = shell.done(&["identity", "of", &api_key]);
    assert_eq!(shell.done(&["identity", &api_key]), identity);
    // Lists of names, and a name that is a comma away from being another one.
    shell.done(&["identity", "new", "--key=s.key", "--cert=s.cert", "--dns", "a,b", "--ip=127.0.0.1,::1", "Name"]);
    let openssl = std::process::Command::new("openssl")
        .args(["x509", "-noout", "-ext", "subjectAltName", "-subject", "-in"])
        .arg(shell.path("s.cert"))
        .output()
        .unwrap();
    let text = String::from_utf8_lossy(&openssl.stdout).into_owned();
    for part in ["DNS:a, DNS:b", "IP Address:127.0.0.1", "0:0:0:0:0:0:0:1", "CN = Name"] {
        assert!(text.contains(part), "{part}: {text}");
    }
    assert_eq!(shell.done(&["identity", &shell.path("s.cert").display().to_string()]).len(), 64);
    let said = shell.fails(1, &["key", "create", "--insecure=maybe", "x"]);
    assert!(said.starts_with("Error: ") && said.contains("maybe"), "{said}");
}

#[test]
fn audit_events_are_one_line_of_json_each_and_nothing_else() {
    let server = server();
    let shell = kes(&server);
    let (identity, time) = (server.admin.identity(), r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d(\.\d+)?Z");
    let event = format!(
        r#"^\{{"time":"{time}","request":\{{"ip":"127.0.0.1","path":"/v1/(key/list/|log/audit)","identity":"{identity}"\}},"response":\{{"code":200,"time":\d+\}}\}}$"#
    );
    for arguments in [&["log", "-k", "--audit", "--json"][..], &["log", "-k", "--json"]] {
        let mut log = shell.start(arguments);
        let events = log.wait_for(|log| {
            shell.done(&["key", "ls", "-k"]);
            Some(log.stdout()).filter(|text| text.contains("/v1/key/list/") && text.ends_with('\n'))
        });
        let event = Regex::new(&event).unwrap();
        assert!(events.lines().all(|line| event.is_match(line)), "{events}");
        assert_eq!(log.stderr(), "");
    }
}

/// The text on a terminal, without its colors.
fn plain(screen: &str) -> String {
    Regex::new("\u{1b}\\[[0-9;]*m").unwrap().replace_all(screen, "").replace('\r', "")
}

#[test]
fn streams_on_a_terminal_are_lines_for_people_until_ctrl_c() {
    let server = server();
    let shell = kes(&server);
    let identity = server.admin.identity();
    let identity = &identity.as_str()[..12];
    let pattern = |line: &str| Regex::new(&format!("(?m){line}")).unwrap();
    for (arguments, last, line) in [
        (
            &["log", "-k"][..],
            "/v1/log/audit",
            pattern(&format!(r"  200  /v1/log/audit +{identity}  127\.0\.0\.1  \d+\.\d ms$")),
        ),
        (&["metric", "-k"], "kes_system_mem_stack_used", pattern(r"^kes_http_request_success +\d+$")),
    ] {
        let ended = shell.terminal(arguments, &[(last, "\u{3}")]);
        let screen = plain(&ended.stdout);
        assert!(line.is_match(&screen) && !screen.contains('{'), "{arguments:?}: {screen}");
    }
}

#[test]
fn a_development_server_prints_the_api_key_of_the_admin_after_its_label() {
    let shell = Shell::new().called("kes");
    let mut dev = shell.start(&["server", "--dev", "--addr", "127.0.0.1:0"]);
    let label = Regex::new(r"(?m)^API Key    (kes:v1:[A-Za-z0-9+/]+=*)$").unwrap();
    let api_key = dev.wait_for(|dev| label.captures(&dev.stdout()).map(|found| found[1].to_owned()));
    let server = dev.address().to_string();
    let shell = shell.set("MINIO_KES_API_KEY", &api_key).set("MINIO_KES_SERVER", &server);
    assert!(shell.done(&["identity", "info", "-k"]).contains("Role        Admin"));
}

#[test]
fn a_migration_prints_the_same_report_in_a_pipe_and_on_a_terminal() {
    let server = server();
    let shell = kes(&server);
    shell.done(&["key", "create", "-k", "a", "b"]);
    let keystore = |path: &str| format!("keystore:\n  fs:\n    path: {path}\n");
    let from = shell.file("from.yml", keystore(&server.dir.path().join("keys").display().to_string()));
    let report = |name: &str, ended: Ended| {
        assert_eq!(ended.code, Some(0), "{ended:?}");
        let screen = plain(&ended.stdout);
        let lines: Vec<_> = screen.lines().filter(|line| line.contains("copied")).map(str::to_owned).collect();
        assert!(!lines.is_empty(), "{name}: {screen}");
        lines
    };
    let run = |name: &str, is_terminal: bool| {
        let to = shell.file(&format!("{name}.yml"), keystore(&shell.path(name).display().to_string()));
        let arguments = ["migrate", "--from", &from, "--to", &to];
        report(name, if is_terminal { shell.terminal(&arguments, &[]) } else { shell.run(&arguments) })
    };
    assert_eq!(run("pipe", false), run("terminal", true));
}

#[test]
fn metrics_are_one_line_of_json_at_a_time() {
    let server = server();
    let shell = kes(&server);
    let mut program = shell.start(&["metric", "-k", "--rate", "50ms"]);
    let lines = program.wait_for(|program| {
        let text = program.stdout();
        (text.lines().count() >= 2).then_some(text)
    });
    for line in lines.lines().take(2) {
        let metrics: serde_json::Value = serde_json::from_str(line).unwrap();
        for name in ["kes_http_request_success", "kes_http_request_active", "kes_system_up_time", "kes_system_num_cpu"]
        {
            assert!(metrics[name].is_number(), "{name}: {line}");
        }
        assert!(metrics["kes_http_response_time"]["10000000"].is_number(), "{line}");
    }
}

#[test]
fn commands_that_kes_never_had_work_too() {
    let server = server();
    let shell = kes(&server);
    for help in ["--help", "help"] {
        assert!(shell.done(&[help]).contains("Usage: kes"));
    }
    let said = shell.fails(1, &["key"]);
    assert!(said.contains("Usage: kes key") && !said.contains("Error"), "{said}");
    assert_eq!(shell.done(&["--version"]), format!("kes {} (Keyway)", keyway::VERSION));
    assert!(shell.done(&["completion", "bash"]).contains("complete -F _kes"));
    shell.done(&["key", "create", "-k", "a"]);
    assert_eq!(shell.run(&["key", "hmac", "-k", "a", "message"]).code, Some(0));
    let file = server.dir.path().join("config.yml").display().to_string();
    let app = server.app.identity();
    let explained = shell.run(&["policy", "explain", app.as_str(), "GET", "/v1/status", "--config", &file]);
    assert_eq!(explained.code, Some(3), "{explained:?}");
    for command in [&["--help"][..], &["policy", "template", "--help"]] {
        let help = shell.done(command);
        let ours: Vec<_> = help.lines().filter(|line| line.contains("keyway ")).collect();
        assert!(ours.is_empty(), "{command:?}: {ours:?}");
    }
}
