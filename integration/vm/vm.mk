# Guests: see integration/vm/README.md.

VM_DEPS      := qemu-system-x86 qemu-utils mmdebstrap debian-archive-keyring e2fsprogs
VAGRANT_DEPS := $(VM_DEPS) vagrant vagrant-libvirt libvirt-daemon libvirt-daemon-driver-qemu libvirt-daemon-system \
	libvirt-clients dnsmasq-base iptables iproute2 rsync openssh-client

SUITE  ?= bookworm
CGROUP ?= 2
AS_ROOT = $(SUDO) env "PATH=$$PATH" "GOFLAGS=$$GOFLAGS"

vm-deps: ## install what guests need (apt)
	$(call apt,$(VM_DEPS))

vagrant-deps: ## install what Vagrant needs (apt)
	$(call apt,$(VAGRANT_DEPS))

# One guest at a time: they share images and payload.
ALONE   = mkdir -p build/vm && $(AS_ROOT) flock --no-fork build/vm

test-vm: build ## the integration suite in a Debian guest; SUITE=trixie, CGROUP=1, TESTS=REGEXP
	$(ALONE) integration/vm/test.sh $(SUITE) $(CGROUP) '' '$(TESTS)'

# What cgroup v2, systemd, AppArmor or an older kernel changes most.
test-vm-quick: TESTS = ^Test(Kept|Oracle|AppArmor|Limits|Cgroup|JoinsCgroups|Guard|KilledLauncher|WaitForKilled|CVE|Doctor|Exec|Explain(Live|Kernel|EveryCall)|Record|OwnUsers|OCI|Rootless|Bridge|Terminal|MemoryHog|ForkBomb|StartAgain)
test-vm-quick: test-vm ## the part of it that CI runs

test-vm-podman: build ## what depends on cgroups of TestUnderPodman, in a guest with Podman and systemd's; SUITE=trixie, CGROUP=1
	$(ALONE) integration/vm/test.sh $(SUITE) $(CGROUP) podman '^TestUnderPodman$$/^cgroups|^TestUnderPodmanDelegated' $(PODMAN) dbus-user-session

test-vagrant: build ## the same by vagrant up, with a box made here
	$(ALONE) integration/vm/vagrant.sh

test-all: build test-unit ## all tests on all machines, and a table of what ran where
	rm -rf build/results && mkdir -p build/results
	@status=0; \
	$(AS_ROOT) go test -count=1 -timeout 30m -v ./integration/... >build/results/host.log || { cat build/results/host.log; status=1; }; \
	$(MAKE) test-vm SUITE=bookworm || status=1; \
	$(MAKE) test-vm SUITE=bookworm CGROUP=1 || status=1; \
	$(MAKE) test-vm SUITE=trixie || status=1; \
	$(MAKE) test-vm-podman || status=1; \
	$(MAKE) test-vagrant || status=1; \
	integration/vm/table.sh $$(ls -tr build/results/*.log) && exit $$status # in the order of their runs
