# The commands of this project. `make run` and `make test` are all a newcomer needs: they install what they use.

CARGO ?= cargo
PREFIX ?= /usr/local
# What `build` builds and `run` runs; `dev` is built in a fraction of the time, and shares it with the tests.
PROFILE ?= release
IG = target/$(if $(filter dev,$(PROFILE)),debug,$(PROFILE))/ig
# Where rustup puts cargo, for shells that have not been told yet.
export PATH := $(or $(CARGO_HOME),$(HOME)/.cargo)/bin:$(PATH)

# What `make test-kernels` boots; `denied` is 6.1 with a security module that refuses ring buffers.
KERNELS ?= 5.10 6.1 denied 6.12 newest

.PHONY: all build run test test-skeletons test-kernels kernels-table vagrant-bundle test-arm64 test-all fuzz check bench install man setup toolchain clean

all: build

# What apt and rustup must bring; does nothing when everything is there.
setup:
	scripts/setup.sh

# The part of it that building needs.
toolchain:
	scripts/setup.sh build

# A complete target/release/ig: headers and catalogue are inside.
build: toolchain
	$(CARGO) build --profile $(PROFILE) --bin ig

# A few seconds of trace_open on the live kernel, while a process and, where docker is, a container open files.
run: build
	scripts/demo.sh $(IG)

# All tests that this machine can run. Needs root: programs are loaded into the kernel, containers are started.
test: setup
	scripts/test.sh

# Every kind of program on every kernel: this one, and Debian's in QEMU, fetched when they are not there. Prints the table of docs/kernels.md.
test-kernels: setup
	IG_TEST_KERNELS="$(KERNELS)" $(CARGO) test --test kernels -- --nocapture --test-threads=1

# The same, and the table goes into docs/kernels.md.
kernels-table: setup
	IG_TEST_KERNELS="$(KERNELS)" IG_TEST_KERNELS_TABLE=docs/kernels.md $(CARGO) test --test kernels vm:: -- --nocapture

# What `vagrant up` puts into its machines: see tests/vm/README.md.
vagrant-bundle: setup
	IG_TEST_VM_BUNDLE=$(CURDIR)/target/vm-bundle.tar $(CARGO) test --test kernels vm::bundle

# Looks for inputs that break what reads texts and bytes of others: every target for a minute.
fuzz: toolchain
	scripts/fuzz.sh 60

# The program for arm64, built here, runs a gadget on an arm64 kernel in QEMU. Needs gcc-aarch64-linux-gnu, qemu-system-arm and rustup.
ARM64 = aarch64-unknown-linux-gnu
test-arm64: setup
	rustup target add $(ARM64)
	CC_aarch64_unknown_linux_gnu=aarch64-linux-gnu-gcc AR_aarch64_unknown_linux_gnu=aarch64-linux-gnu-ar \
	CARGO_TARGET_AARCH64_UNKNOWN_LINUX_GNU_LINKER=aarch64-linux-gnu-gcc $(CARGO) build --bin ig --target $(ARM64)
	aarch64-linux-gnu-strip -o target/ig-arm64 target/$(ARM64)/debug/ig
	IG_TEST_ARM64=$(CURDIR)/target/ig-arm64 $(CARGO) test --test kernels arm64:: -- --nocapture

# What takes too long for every change.
test-all: test test-skeletons test-kernels test-arm64 fuzz

# The gadgets of the tests under plain libbpf, with the types of their C source.
test-skeletons: setup
	$(CARGO) test -p gadget-skeletons -- --test-threads=1

# What does not run the program: formatting, lints, documentation.
check: toolchain
	$(CARGO) fmt --check
	$(CARGO) clippy --all-targets -- -D warnings
	RUSTDOCFLAGS="-D warnings" $(CARGO) doc --no-deps

# The measured claims of the README, against a minimal libbpf program in C.
bench: setup build
	benches/peer.sh $(IG)
	benches/idle.sh $(IG)
	benches/tax.py $(IG)
	benches/fetch.py $(IG)
	benches/guests.py $(IG)
	benches/namespaces.py $(IG)

man: toolchain
	$(CARGO) run --quiet --example man -- target/man

install: build man
	install -D -m 0755 $(IG) $(DESTDIR)$(PREFIX)/bin/ig
	for page in target/man/*.1; do install -D -m 0644 $$page $(DESTDIR)$(PREFIX)/share/man/man1/$$(basename $$page); done

clean:
	$(CARGO) clean
