# The commands of this project. `make run` and `make test` are all a newcomer needs: they install what they use.

CARGO ?= cargo
PREFIX ?= /usr/local
# Where rustup puts cargo, for shells that have not been told yet.
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)

.PHONY: all build run test test-kernels test-all fuzz check bench install man setup toolchain clean

all: build

# What apt and rustup must bring; does nothing when everything is there.
setup:
	scripts/setup.sh

# The part of it that building needs.
toolchain:
	scripts/setup.sh build

# A complete target/release/ig: headers and catalogue are inside.
build: toolchain
	$(CARGO) build --release --bin ig

# A few seconds of trace_open on the live kernel, while a process and, where docker is, a container open files.
run: build
	scripts/demo.sh target/release/ig

# All tests that this machine can run. Needs root: programs are loaded into the kernel, containers are started.
test: setup
	scripts/test.sh

# Every kind of program on every kernel: this one, and Debian's in QEMU, fetched when they are not there. Prints the table of docs/kernels.md.
test-kernels: setup
	IG_TEST_KERNELS="5.10 6.1 6.12 newest" $(CARGO) test --test kernels -- --nocapture --test-threads=1

# Looks for inputs that break what reads texts and bytes of others: every target for a minute.
fuzz: toolchain
	scripts/fuzz.sh 60

# What takes too long for every change.
test-all: test test-kernels fuzz

# What does not run the program: formatting, lints, documentation.
check: toolchain
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps

# The measured claims of the README, against a minimal libbpf program in C.
bench: setup build
	benches/peer.sh target/release/ig
	benches/idle.sh target/release/ig

man: toolchain
	$(CARGO) run --quiet --example man -- target/man

install: build man
	install -D -m 0755 target/release/ig $(DESTDIR)$(PREFIX)/bin/ig
	for page in target/man/*.1; do install -D -m 0644 $$page $(DESTDIR)$(PREFIX)/share/man/man1/$$(basename $$page); done

clean:
	$(CARGO) clean
