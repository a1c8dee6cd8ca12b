//! The `ig` binary from outside, as far as neither root nor eBPF is needed: what it prints, where, and how it ends.

use std::ffi::OsStr;
use std::fs;
use std::process::{Command, Output, Stdio};

fn ig(home: &tempfile::TempDir) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_ig"));
    command.env_clear().env("HOME", home.path()).stdin(Stdio::null());
    command
}

struct Ran {
    status: Option<i32>,
    stdout: String,
    stderr: String,
}

impl From<Output> for Ran {
    fn from(output: Output) -> Self {
        Self {
            status: output.status.code(),
            stdout: String::from_utf8(output.stdout).unwrap(),
            stderr: String::from_utf8(output.stderr).unwrap(),
        }
    }
}

fn run<S: AsRef<OsStr>>(args: impl IntoIterator<Item = S>) -> Ran {
    let home = tempfile::tempdir().unwrap();
    ig(&home).args(args).output().unwrap().into()
}

fn words(line: &str) -> Vec<&str> {
    line.split_whitespace().collect()
}

#[track_caller]
fn succeeds(line: &str) -> String {
    let ran = run(words(line));
    assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "ig {line}");
    ran.stdout
}

/// `ig LINE` ends with status 1, nothing on stdout, and this on stderr.
#[track_caller]
fn fails(line: &str, stderr: &str) {
    let ran = run(words(line));
    assert_eq!(ran.stderr, stderr, "ig {line}");
    assert_eq!((ran.status, ran.stdout.as_str()), (Some(1), ""), "ig {line}");
}

/// `ig LINE` fails with this error, then the usage page of `ig PAGE`, then an empty line.
#[track_caller]
fn fails_with_usage(line: &str, error: &str, page: &str) {
    let help = succeeds(&format!("{page} --help"));
    let usage = &help[help.find("Usage:").unwrap()..];
    fails(line, &format!("Error: {error}\n{usage}\n"));
}

#[test]
fn version_is_one_line() {
    assert_eq!(succeeds("version"), format!("v{}\n", env!("CARGO_PKG_VERSION")));
}

#[test]
fn alone_it_prints_its_help() {
    let page = succeeds("");
    assert_eq!(page, succeeds("--help"));
    assert_eq!(page, succeeds("-h"));
    assert_eq!(page, succeeds("help"));
    let flags: Vec<&str> = page
        .lines()
        .skip_while(|line| *line != "Flags:")
        .filter_map(|line| line.split_whitespace().find(|word| word.starts_with("--")))
        .filter(|word| *word != "--help\"")
        .collect();
    assert_eq!(
        flags,
        [
            "--auto-mount-filesystems",
            "--auto-wsl-workaround",
            "--config",
            "--help",
            "--pprof-addr",
            "--verbose"
        ]
    );
    assert!(page.contains("\nUsage:\n  ig [command]\n"), "{page}");
    for command in ["completion", "config", "help", "version"] {
        assert!(page.contains(&format!("\n  {command} ")), "{page}");
    }
    assert!(!page.contains('\x1b'));
}

#[test]
fn unknown_commands_and_flags() {
    fails(
        "badcmd",
        "Error: unknown command \"badcmd\" for \"ig\"\nRun 'ig --help' for usage.\n",
    );
    fails(
        "-v badcmd",
        "Error: unknown command \"badcmd\" for \"ig\"\nRun 'ig --help' for usage.\n",
    );
    fails_with_usage("--badflag", "unknown flag: --badflag", "");
    fails_with_usage("version --bad", "unknown flag: --bad", "version");
    fails_with_usage("version -x", "unknown shorthand flag: 'x' in -x", "version");
    fails_with_usage(
        "version extra",
        "unknown command \"extra\" for \"ig version\"",
        "version",
    );
    fails_with_usage(
        "config view extra",
        "unknown command \"extra\" for \"ig config view\"",
        "config view",
    );
    fails_with_usage("version --config", "flag needs an argument: --config", "version");
    fails_with_usage(
        "version --verbose=maybe",
        "invalid argument \"maybe\" for \"-v, --verbose\" flag: strconv.ParseBool: parsing \"maybe\": invalid syntax",
        "version",
    );
}

#[test]
fn a_near_miss_gets_a_hint() {
    let ran = run(["version", "--verbos"]);
    assert!(
        ran.stderr
            .starts_with("Error: unknown flag: --verbos\nhint: did you mean --verbose?\n"),
        "{}",
        ran.stderr
    );
}

#[test]
fn a_group_of_commands_prints_its_help_whatever_follows() {
    let page = succeeds("completion");
    let ran = run(["completion", "tcsh"]);
    assert_eq!((ran.status, ran.stdout), (Some(0), page));
    assert!(
        ran.stderr
            .contains(r#"level=warning msg="unknown command \"tcsh\" for \"ig completion\"""#),
        "{}",
        ran.stderr
    );
    fails_with_usage("config --bad", "unknown flag: --bad", "config");
}

#[test]
fn help_pages() {
    insta::assert_snapshot!("help-version", succeeds("version --help"));
    insta::assert_snapshot!("help-config", succeeds("config"));
    insta::assert_snapshot!("help-completion-bash", succeeds("help completion bash"));
    assert_eq!(succeeds("config --help"), succeeds("help config"));
    fails(
        "help nosuch",
        "Error: unknown help topic \"nosuch\"\nhint: see `ig --help` for the commands there are\n",
    );
}

#[test]
fn completion_scripts() {
    for (shell, mark) in [
        ("bash", "complete -F"),
        ("zsh", "#compdef ig"),
        ("fish", "complete -c ig"),
        ("powershell", "Register-ArgumentCompleter"),
    ] {
        let script = succeeds(&format!("completion {shell}"));
        assert!(script.contains(mark), "{shell}");
        let bare = succeeds(&format!("completion {shell} --no-descriptions"));
        assert!(bare.contains(mark) && !bare.contains("Show the version"), "{shell}");
    }
    assert!(succeeds("completion fish").contains("Show the version"));
}

#[test]
fn configuration_of_file_and_environment() {
    insta::assert_snapshot!("config-default", succeeds("config default"));
    assert_eq!(succeeds("config view"), "{}\n");

    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".ig")).unwrap();
    fs::write(
        home.path().join(".ig/config.yaml"),
        "Verbose: true\noperator:\n  oci:\n    pull: never\n",
    )
    .unwrap();
    let ran: Ran = ig(&home)
        .args(["config", "view"])
        .env("INSPEKTOR_GADGET_OPERATOR_OCI_VERIFY_IMAGE", "false")
        .env("INSPEKTOR_GADGET_OPERATOR_OCI_PULL", "")
        .output()
        .unwrap()
        .into();
    assert_eq!(
        ran.stdout,
        "operator:\n    oci:\n        pull: never\n        verify-image: \"false\"\nverbose: true\n"
    );

    let logged = |args: &[&str], env: &str| -> bool {
        let ran: Ran = ig(&home)
            .args(args)
            .env("INSPEKTOR_GADGET_VERBOSE", env)
            .output()
            .unwrap()
            .into();
        assert_eq!(ran.status, Some(0), "{}", ran.stderr);
        ran.stderr.contains("level=debug")
    };
    assert!(logged(&["version"], ""), "the file says so");
    assert!(!logged(&["version"], "false"), "the environment wins over the file");
    assert!(
        logged(&["version", "-v"], "false"),
        "the flag wins over the environment"
    );
    assert!(!logged(&["version", "--verbose=false"], "true"));
}

#[test]
fn a_configuration_that_cannot_be_used() {
    fails(
        "--config /nonexistent.yaml version",
        "Error: initializing config: reading config: open /nonexistent.yaml: no such file or directory\n",
    );
    succeeds("version --config /nonexistent.yaml --help");

    let home = tempfile::tempdir().unwrap();
    fs::create_dir(home.path().join(".ig")).unwrap();
    let file = home.path().join(".ig/config.yaml");
    fs::write(&file, "a: [").unwrap();
    let ran: Ran = ig(&home).arg("version").output().unwrap().into();
    assert_eq!(ran.status, Some(0), "the default file must not stop anything");
    assert!(
        ran.stderr.contains("level=warning msg=\"reading config: "),
        "{}",
        ran.stderr
    );
    let ran: Ran = ig(&home)
        .arg("version")
        .arg("--config")
        .arg(&file)
        .output()
        .unwrap()
        .into();
    assert_eq!(ran.status, Some(1));
    assert!(
        ran.stderr.starts_with("Error: initializing config: reading config: "),
        "{}",
        ran.stderr
    );

    let ran: Ran = ig(&home)
        .args(["version"])
        .env("INSPEKTOR_GADGET_VERBOSE", "maybe")
        .output()
        .unwrap()
        .into();
    assert!(
        ran.stderr
            .contains("Error: initializing config: setting flag \"verbose\": "),
        "{}",
        ran.stderr
    );
}

#[test]
fn what_is_not_supported_is_said() {
    fails(
        "version --pprof-addr localhost:6060",
        "Error: flag --pprof-addr: profiles are not supported in this build\n",
    );
}

#[test]
fn log_lines_have_logrus_form() {
    let ran = run(["-v", "version"]);
    let line = ran.stderr.strip_prefix("time=\"").unwrap();
    let (time, rest) = line.split_once('"').unwrap();
    assert!(time.parse::<jiff::Timestamp>().is_ok() && time.len() <= 25, "{time}");
    assert!(rest.starts_with(" level=debug msg=\"client: ig/v"), "{rest}");
    assert_eq!(ran.stdout.lines().count(), 1);
}

#[test]
fn a_reader_that_has_gone_is_no_failure() {
    for line in ["version", "completion zsh", "--help", "config default"] {
        let home = tempfile::tempdir().unwrap();
        let (reader, writer) = std::io::pipe().unwrap();
        drop(reader);
        let output = ig(&home)
            .args(words(line))
            .stdout(writer)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let ran = Ran::from(output);
        assert_eq!((ran.status, ran.stderr.as_str()), (Some(0), ""), "ig {line}");
    }
}

#[test]
fn results_that_cannot_be_written_are_a_failure() {
    for line in ["version", "completion zsh"] {
        let home = tempfile::tempdir().unwrap();
        let full = fs::File::create("/dev/full").unwrap();
        let output = ig(&home)
            .args(words(line))
            .stdout(full)
            .stderr(Stdio::piped())
            .output()
            .unwrap();
        let ran = Ran::from(output);
        assert_eq!(ran.status, Some(1), "ig {line}");
        assert!(ran.stderr.contains("No space left on device"), "{}", ran.stderr);
    }
}

#[test]
fn image_commands_count_their_arguments() {
    for (line, error) in [
        (
            "image list -o yaml",
            r#"invalid output mode "yaml", valid values are: columns, json, jsonpretty"#,
        ),
        (
            "image list -o bad",
            r#"invalid output mode "bad", valid values are: columns, json, jsonpretty"#,
        ),
        ("image list extra", r#"unknown command "extra" for "ig image list""#),
        ("image list --bad", "unknown flag: --bad"),
        ("image build", "accepts 1 arg(s), received 0"),
        ("image build -t x a b", "accepts 1 arg(s), received 2"),
        ("image tag mytest", "accepts 2 arg(s), received 1"),
        ("image remove", "accepts 1 arg(s), received 0"),
        ("image pull", "accepts 1 arg(s), received 0"),
        ("image push", "accepts 1 arg(s), received 0"),
    ] {
        fails(line, &format!("Error: {error}\n"));
    }
    let page = succeeds("image");
    let ran = run(["image", "badsub"]);
    assert_eq!((ran.status, ran.stdout), (Some(0), page));
}

#[test]
fn gadgets_are_listed_by_words() {
    let all = succeeds("gadget list");
    assert!(all.starts_with("NAME ") && all.contains("\ntrace_open "), "{all}");
    let some = succeeds("gadget list MOUNT trace");
    let names: Vec<&str> = some.lines().skip(1).filter_map(|line| line.split(' ').next()).collect();
    assert_eq!(names, ["trace_mount"]);
}

#[test]
fn run_without_an_image() {
    let page = succeeds("run");
    assert_eq!(page, succeeds("run --help"));
    assert!(page.contains("\n  ig run GADGET [flags]\n"), "{page}");
    fails("run --badflag", "Error: unknown flag: --badflag\n");
    fails(
        "run trace_open --verify-image=false --pull never --timeout abc",
        "Error: invalid argument \"abc\" for \"-t, --timeout\" flag: strconv.ParseInt: parsing \"abc\": invalid syntax\n",
    );
    fails(
        "run trace_open --pull sometimes --timeout 1",
        "Error: invalid argument \"sometimes\" for \"--pull\" flag: invalid value \"sometimes\" as \"pull\": valid values are: \
         always, missing, never\n",
    );
}
