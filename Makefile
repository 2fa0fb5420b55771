# minirun: build, test, install. `make help` lists the targets.

PREFIX  ?= /usr/local
DESTDIR ?=
# VERSION is what comes next; only a clean tree with its tag is that version itself.
VERSION ?= $(file <VERSION)$(shell git describe --exact-match --match "v$$(cat VERSION)" >/dev/null 2>&1 && \
	git diff --quiet HEAD || git describe --always --dirty --exclude '*' 2>/dev/null | sed 's/^/+g/; s/-/./')

# urfave_cli_* keep out of cli v2 what minirun does not use: it would be
# initialised at every start of a container, twice. netgo and osusergo do without
# what a libc cannot link statically.
TAGS := seccomp,runc_nocriu,urfave_cli_no_docs,urfave_cli_no_suggest,netgo,osusergo
export GOFLAGS += -tags=$(TAGS) -buildvcs=false
# Static: --init runs the binary inside images that have no loader for it.
LDFLAGS := -linkmode external -extldflags '-static -Wl,-z,stack-size=8388608' -s -w -X github.com/minirun/minirun/cli.version=$(VERSION)

# musl, since glibc asks the processor for its features some eighty times at each start of a program,
# and each time leaves the guest of a virtual machine. Kernel headers and libseccomp are those beside glibc.
# Threads get stacks of 8 MiB, as with glibc, which musl takes from the program's headers.
MULTIARCH = $(shell gcc -print-multiarch)
MUSL_CC   = musl-gcc -idirafter /usr/include -idirafter /usr/include/$(MULTIARCH) \
	-L/usr/lib/$(subst gnu,musl,$(MULTIARCH)) -L/usr/lib/$(MULTIARCH)
GO_BUILD  = CC="$(MUSL_CC)" go build -trimpath -ldflags "$(LDFLAGS)"

SUDO := $(if $(filter-out 0,$(shell id -u)),sudo)

# Debian packages: to build, to make images, to test, to lint.
BUILD_DEPS := gcc libc6-dev musl-tools libseccomp-dev pkg-config git ca-certificates
IMAGE_DEPS := mmdebstrap debian-archive-keyring
CHROMIUM   := $(if $(shell grep -s '^ID=ubuntu' /etc/os-release),chromium-browser,chromium)
TEST_DEPS  := uidmap slirp4netns passt iperf3 zsh fish tmux util-linux procps jq iproute2 bzip2 xz-utils zstd attr e2fsprogs qemu-user runc strace $(CHROMIUM)
LINT_DEPS  := shellcheck
PODMAN     := podman crun catatonit

# $(TOOL) NAME runs a tool of tools/go.mod, which go(1) builds and keeps in its cache.
TOOL := go tool -modfile=tools/go.mod

# install what is missing of the Debian packages $(1)
define apt
	@missing=; for p in $(1); do \
	  dpkg-query -W -f='$${Status}' $$p 2>/dev/null | grep -q 'ok installed' || missing="$$missing $$p"; \
	done; \
	if [ -n "$$missing" ]; then \
	  echo "installing:$$missing"; \
	  $(SUDO) apt-get update -q && \
	  $(SUDO) env DEBIAN_FRONTEND=noninteractive apt-get install -qy --no-install-recommends $$missing; \
	fi
endef

.DEFAULT_GOAL := build
.NOTPARALLEL: # deps before what they are for
.PHONY: help build deps build-deps docker-deps cri-deps demo test test-unit test-integration test-robust race cover test-vm test-vm-podman test-vagrant test-all validation test-podman test-critest test-kubernetes \
	lint vuln vagrant-validate fuzz bench generate install uninstall clean

help: ## list the targets
	@sed -n 's/^\([a-z-]*\):.*## /\1\t/p' $(MAKEFILE_LIST) | expand -t18

build: ## build ./minirun
	$(GO_BUILD) -o minirun .

deps: ## install what building, testing and linting need (apt)
	$(call apt,$(BUILD_DEPS) $(IMAGE_DEPS) $(TEST_DEPS) $(LINT_DEPS))

docker-deps: ## install a dockerd, Podman, a registry and skopeo to compare with (apt); where systemd runs, dockerd and the registry start
	$(call apt,docker.io $(PODMAN) docker-registry skopeo)

cri-deps: ## install what test-critest and test-kubernetes need (apt)
	$(call apt,$(IMAGE_DEPS) containerd runc docker-registry containernetworking-plugins iptables openssl)

build-deps:
	$(call apt,$(BUILD_DEPS) $(IMAGE_DEPS))

demo: build ## make a Debian image and walk through the guide in it
	$(SUDO) ./docs/demo.sh ./minirun

test: test-unit test-integration ## all tests that this machine can run

test-unit: ## unit and script tests
	go test $$(go list ./... | grep -v /integration)

ifdef MINIRUN_PAYLOAD
test-integration: # what integration/vm/payload.sh made
	$(SUDO) $(MINIRUN_PAYLOAD)/run
else
test-integration: build ## real containers; needs root
	$(SUDO) env "PATH=$$PATH" "GOFLAGS=$$GOFLAGS" go test -count=1 -timeout 30m ./integration/...
endif

test-robust: build ## 200 killed pulls and removals, a full disk, damage; needs root
	$(SUDO) env "PATH=$$PATH" "GOFLAGS=$$GOFLAGS" MINIRUN_ROBUST_ROUNDS=$(or $(ROUNDS),200) \
	  go test -count=1 -timeout 1h ./integration -run 'TestKilledPulls|TestPull'

race: ## unit tests under the race detector, except for one of peak memory
	go test -race -skip '^TestUnpackMemory$$' $$(go list ./... | grep -v /integration)

# The program that integration starts is built to count, too; what a container's
# init covers is lost, for it ends in an execve(2). Tests that compare what minirun
# prints fail here, since a program that counts warns where it cannot write: the
# verdict is that of test-integration.
cover: ## coverage of unit and integration tests together
	rm -rf build/cover && mkdir -p build/cover/unit build/cover/integration
	$(GO_BUILD) -cover -coverpkg=./... -o build/cover/minirun .
	go test -cover -coverpkg=./... $$(go list ./... | grep -v /integration) -args -test.gocoverdir=$(CURDIR)/build/cover/unit \
	  >build/cover/unit.log || { cat build/cover/unit.log; exit 1; }
	-$(SUDO) env "PATH=$$PATH" "GOFLAGS=$$GOFLAGS" GOCOVERDIR=$(CURDIR)/build/cover/integration \
	  MINIRUN_TEST_BINARY=$(CURDIR)/build/cover/minirun go test -count=1 -timeout 30m ./integration >build/cover/integration.log
	go tool covdata percent -i=build/cover/unit,build/cover/integration

include integration/vm/vm.mk
include packaging/packaging.mk

lint: vuln ## what CI checks in addition to tests
	$(TOOL) golangci-lint run ./...
	go mod verify
	shellcheck .ci/run $$(git ls-files '*.sh' '*.bash')

vagrant-validate: ## check the Vagrantfile
	vagrant validate

validation: build ## the OCI runtime's validation suite, with runc and with minirun; needs root
	@mkdir -p build; ln -sf ../minirun build/minirun-runtime
	$(SUDO) env "PATH=$$PATH" tools/validation/compare.sh build/minirun-runtime

test-podman: build ## Podman with crun and with minirun, as users call it; needs root
	$(SUDO) env "PATH=$$PATH" "GOFLAGS=$$GOFLAGS" go test -count=1 ./integration -run '^TestUnderPodman'

test-critest: build ## the conformance tests of Kubernetes' CRI, on containerd, with runc and with minirun; needs root
	@mkdir -p build; ln -sf ../minirun build/minirun-runtime
	$(SUDO) env "PATH=$$PATH" tools/critest/compare.sh build/minirun-runtime

test-kubernetes: build ## a control plane and a node of Kubernetes, built here, with Pods on minirun; needs root
	@mkdir -p build; ln -sf ../minirun build/minirun-runtime
	$(SUDO) env "PATH=$$PATH" tools/kubernetes/test.sh build/minirun-runtime

# The vulnerability database is a service of its own. Where it cannot be reached
# the check has not been made, which is said, and fails with VULN=required.
vuln: ## known vulnerabilities of functions that are called
	@mkdir -p build; $(TOOL) govulncheck ./... >build/vuln.txt 2>&1 && cat build/vuln.txt && exit; \
	if grep -q '^govulncheck: fetching vulnerabilities:' build/vuln.txt && [ "$(VULN)" != required ]; then \
	  echo "vulnerabilities NOT CHECKED: $$(tail -n1 build/vuln.txt)"; \
	else cat build/vuln.txt; exit 1; fi

fuzz: ## every fuzz target, FUZZTIME each
	@for pkg in $$(go list ./...); do \
	  for target in $$(go test -list '^Fuzz' $$pkg | grep '^Fuzz'); do \
	    go test -run='^$$' -fuzz="^$$target$$" -fuzztime=$(or $(FUZZTIME),10s) -fuzzminimizetime=1s $$pkg || exit 1; \
	  done; \
	done

bench: build ## launch and pull times beside crun, runc, bubblewrap, podman, docker; BENCH=-full measures more
	$(SUDO) env "PATH=$$PATH" "GOFLAGS=$$GOFLAGS" go run ./bench -crun "$$(bench/crun.sh build/crun || echo crun)" $(BENCH)

generate: ## generate files again: profiles, system call tables
	go generate ./...

build/minirun.1: docs/minirun.1.md
	@mkdir -p $(@D)
	$(TOOL) go-md2man -in $< -out $@

install: build build/minirun.1 ## binary, man page and completions to DESTDIR/PREFIX
	install -Dm755 minirun $(DESTDIR)$(PREFIX)/bin/minirun
	ln -sf minirun $(DESTDIR)$(PREFIX)/bin/minirun-runtime
	install -Dm644 build/minirun.1 $(DESTDIR)$(PREFIX)/share/man/man1/minirun.1
	install -Dm644 cli/completions/minirun.bash $(DESTDIR)$(PREFIX)/share/bash-completion/completions/minirun
	install -Dm644 cli/completions/minirun.zsh $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_minirun
	install -Dm644 cli/completions/minirun.fish $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/minirun.fish

uninstall:
	rm -f $(DESTDIR)$(PREFIX)/bin/minirun $(DESTDIR)$(PREFIX)/bin/minirun-runtime $(DESTDIR)$(PREFIX)/share/man/man1/minirun.1 \
	  $(DESTDIR)$(PREFIX)/share/bash-completion/completions/minirun \
	  $(DESTDIR)$(PREFIX)/share/zsh/site-functions/_minirun \
	  $(DESTDIR)$(PREFIX)/share/fish/vendor_completions.d/minirun.fish

clean: ## remove what was built
	rm -rf build minirun
