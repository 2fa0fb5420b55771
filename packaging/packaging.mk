# Packages and releases: see RELEASES.md.

DEB_ARCH := $(shell dpkg --print-architecture 2>/dev/null)
DEB      := build/minirun_$(VERSION)_$(DEB_ARCH).deb
RELEASE  := build/release

.PHONY: deb release test-package apidiff release-deps

release-deps: ## install what a release needs (apt)
	$(call apt,dpkg-dev lintian)

deb: build build/minirun.1 build/licenses ## a Debian package, with manual and completions
	packaging/deb.sh $(VERSION) $(DEB_ARCH) $(DEB)

# What is linked into the binary, each module with its license.
build/licenses: go.mod go.sum packaging/licenses.sh
	packaging/licenses.sh $@

release: deb ## everything that a release publishes, in build/release
	packaging/release.sh $(VERSION) $(DEB_ARCH) $(DEB) $(RELEASE)

test-package: deb ## install the package in a container and use it
	lintian --fail-on error,warning --tag-display-limit 0 $(DEB)
	$(SUDO) packaging/test.sh ./minirun $(DEB)

BASE ?= origin/main

apidiff: ## what changed in the public packages since BASE
	packaging/apidiff.sh $(BASE)
