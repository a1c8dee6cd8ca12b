//! advise_seccomp.

use serde_json::{Value, json};

use super::common::Ig;
use super::common::docker::{Container, Waiting};

/// The profiles in what was printed, by the names of their containers.
fn profiles(stdout: &str) -> Vec<(String, Value)> {
    let texts = stdout.split("// ").filter(|text| !text.trim().is_empty());
    texts
        .map(|text| {
            let (name, profile) = text.split_once('\n').expect("a line with the name");
            (name.to_owned(), serde_json::from_str(profile).expect("a profile"))
        })
        .collect()
}

#[test]
fn a_profile_of_what_a_container_does() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = Container::idle("seccomp");
    let _other = Container::start(
        "seccomp-other",
        "while true; do cat /etc/passwd >/dev/null; usleep 100000; done",
    );
    let mut shell = Waiting::start(&container, "mkdir /made; chmod 700 /made; rmdir /made; ls / >/dev/null");
    let live = ig.start(&format!("run advise_seccomp --pull never -c {}", container.name));
    shell.go();
    let ran = live.stop().ok();
    let [(name, profile)] = &profiles(&ran.stdout)[..] else {
        panic!("not one profile: {}", ran.stdout)
    };
    assert_eq!(*name, container.name);
    assert_eq!(profile["defaultAction"], "SCMP_ACT_ERRNO");
    assert_eq!(profile["syscalls"][0]["action"], "SCMP_ACT_ALLOW");
    let names: Vec<&str> = profile["syscalls"][0]["names"]
        .as_array()
        .unwrap()
        .iter()
        .map(|name| name.as_str().unwrap())
        .collect();
    for called in ["mkdir", "chmod", "rmdir", "getdents64", "write"] {
        assert!(names.contains(&called), "no {called} in {names:?}");
    }
    for other in ["reboot", "unshare", "mount", "seccomp"] {
        assert!(!names.contains(&other), "{other} in {names:?}");
    }
    assert!(names.is_sorted(), "{names:?}");
    assert!(names.iter().all(|name| !name.starts_with("syscall_")), "{names:?}");
    let amd64 = json!(["SCMP_ARCH_X86_64", "SCMP_ARCH_X86", "SCMP_ARCH_X32"]);
    if cfg!(target_arch = "x86_64") {
        assert_eq!(profile["architectures"], amd64);
    }
}

/// Docker takes the profile, and the container can do under it what it did before and nothing else.
#[test]
fn a_container_runs_under_its_profile() {
    let Some(ig) = Ig::with_docker() else { return };
    let container = super::common::docker::unique("seccomp-self");
    let live = ig.start(&format!("run advise_seccomp --pull never -c {container}"));
    let script = "ls / >/dev/null; echo did it; sleep 100000";
    let run = |name: &str, options: &[&str], script: &str| {
        let fixed = ["run", "-d", "--network", "none", "--name", name];
        let command = ["busybox", "sh", "-c", script];
        super::common::docker::docker(&[&fixed[..], options, &command].concat())
    };
    let logs = |id: &str| {
        let output = std::process::Command::new("docker")
            .args(["logs", id])
            .output()
            .unwrap();
        String::from_utf8_lossy(&[output.stdout, output.stderr].concat()).into_owned()
    };
    // Removed in the end, whatever happens.
    struct Remove(String);
    impl Drop for Remove {
        fn drop(&mut self) {
            let _ = std::process::Command::new("docker")
                .args(["rm", "-f", &self.0])
                .output();
        }
    }
    let first = Remove(run(&container, &[], script));
    super::common::eventually("its work", || logs(&first.0).contains("did it").then_some(()));
    let ran = live.stop().ok();
    let found = profiles(&ran.stdout);
    let (_, mut profile) = found
        .into_iter()
        .find(|(name, _)| *name == container)
        .expect("its profile");
    // runc is a program in Go: what its runtime does now and then may not have happened the first time.
    let names = profile["syscalls"][0]["names"].as_array_mut().unwrap();
    for name in [
        "futex",
        "madvise",
        "mmap",
        "munmap",
        "nanosleep",
        "sched_yield",
        "tgkill",
        "rt_sigreturn",
        "clone3",
        "epoll_pwait",
    ] {
        if !names.contains(&json!(name)) {
            names.push(json!(name));
        }
    }
    let file = tempfile::NamedTempFile::new().unwrap();
    std::fs::write(file.path(), profile.to_string()).unwrap();
    let option = format!("seccomp={}", file.path().display());
    let name = super::common::docker::unique("seccomp-again");
    let second = Remove(run(
        &name,
        &["--security-opt", &option],
        "ls / >/dev/null; echo did it; mkdir /new || echo refused; sleep 100000",
    ));
    super::common::eventually("the same again, and what is new refused", || {
        let text = logs(&second.0);
        (text.contains("did it") && text.contains("refused")).then_some(())
    });
}
