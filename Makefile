# SPDX-FileCopyrightText: The bootc-podman authors
# SPDX-License-Identifier: Apache-2.0
#
# make help lists the targets. Two of them do everything from a bare machine:
# make demo, make test.

GO ?= go
# The archive of "make dist" has a file COMMIT, and the version of its tag in VERSION. git
# answers only without it: the archive may be unpacked within another repository.
VERSION_FILE := cmd/bootc-podman/VERSION
TAG := $(if $(wildcard COMMIT),,$(patsubst v%,%,$(shell git describe --tags --exact-match --match 'v[0-9]*' 2>/dev/null)))
VERSION ?= $(or $(TAG),$(shell cat $(VERSION_FILE)))
COMMIT ?= $(if $(wildcard COMMIT),$(shell cat COMMIT),$(shell git rev-parse HEAD 2>/dev/null))
# The commit is given: what Go finds by itself differs between a checkout and an archive.
GOFLAGS_BUILD ?= -trimpath -buildvcs=false -tags urfave_cli_no_docs
# Not LDFLAGS: rpmbuild and dpkg-buildpackage export flags of the C linker by that name.
GO_LDFLAGS ?= -s -w
# With pie, which distributions require, the system's loader starts the programs.
GO_BUILDMODE ?= default
MODULE := github.com/bootc-podman/bootc-podman
# libexecDir is where the program finds the private one if not in ../libexec/bootc-podman.
LDFLAGS_BUILD = $(GO_LDFLAGS) -X "$(MODULE)/internal/transfer/clonejob.libexecDir=$(LIBEXECDIR)" \
	-X main.taggedVersion=$(VERSION) -X main.builtCommit=$(COMMIT)
# The collector of Go 1.26 touches a page more of every span, 0.1 ms until main;
# a passthrough never collects. Go 1.27 has no other one.
GOEXPERIMENT_BUILD ?= $(if $(filter go1.26%,$(shell $(GO) env GOVERSION)),nogreenteagc)
GO_MD2MAN ?= $(GO) tool go-md2man

DESTDIR ?=
PREFIX ?= /usr/local
BINDIR ?= $(PREFIX)/bin
LIBEXECDIR ?= $(PREFIX)/libexec/bootc-podman
DATADIR ?= $(PREFIX)/share
DOCDIR ?= $(DATADIR)/doc/bootc-podman
MANDIR ?= $(DATADIR)/man
# Samples: podman does not read them before "bootc-podman hooks install".
HOOKSDIR ?= $(DATADIR)/bootc-podman/hooks.d
SYSTEMDUNITDIR ?= $(PREFIX)/lib/systemd/system
TMPFILESDIR ?= $(PREFIX)/lib/tmpfiles.d
BASHCOMPDIR ?= $(DATADIR)/bash-completion/completions
FISHCOMPDIR ?= $(DATADIR)/fish/vendor_completions.d
ZSHCOMPDIR ?= $(DATADIR)/zsh/site-functions

GOLANGCI_LINT_VERSION ?= v2.15.0
BATS ?= bats
BATS_FLAGS ?=
FUZZTIME ?= 30s
SUDO := $(shell [ "$$(id -u)" = 0 ] || echo sudo)

COMPLETIONS := cmd/bootc-podman/completions/bootc-podman
HOOK_SOURCES := $(wildcard contrib/hooks/*.in)
UNIT_SOURCES := $(wildcard contrib/systemd/*.in)
TMPFILES_SOURCES := $(wildcard contrib/tmpfiles.d/*.conf)
SUBSTITUTE = sed -e 's|@BINDIR@|$(BINDIR)|g' -e 's|@HOOKSDIR@|$(HOOKSDIR)|g' -e 's|@DOCDIR@|$(DOCDIR)|g'
DOCUMENTS := README.md $(wildcard docs/*.md docs/*.json)
# Documents are installed in one folder. What is not installed is named, without a link.
LINKS = sed -e 's,\[\([^]]*\)\]([^)]*\(contrib/[^)]*\|CHANGELOG.md\|CONTRIBUTING.md\|SECURITY.md\)),\1,g' -e 's,](docs/,](,g' -e 's,](\.\./,](,g'
MAN_SOURCES := $(wildcard contrib/man/*.8.md)
MAN_PAGES := $(patsubst contrib/man/%.md,build/man/%,$(MAN_SOURCES))
SHELL_FILES := .ci/run bats/containers.bash bats/scratch-host bats/bench bats/bench-transfer bats/demo bats/packages bats/podman-matrix bats/private-program bats/real-tree bats/system-tests bats/test-vm bats/vm/disk bats/vm/run bats/vm/tree.bash bats/vm/vm.bash contrib/deps contrib/notices bats/helpers.bash bats/scratch.bash bats/os-images.bash bats/examples.bash bats/layers.bash bats/documents.bash $(wildcard bats/*.bats bats/vm/*.bats) $(COMPLETIONS).bash

export CGO_ENABLED ?= 0

.PHONY: all
all: binary man ## Build the programs and their manual pages

.PHONY: help
help: ## List these targets
	@sed -n 's/^\([a-z-]*\):.*## \(.*\)/\1\t\2/p' $(MAKEFILE_LIST) | expand -t 20

.PHONY: deps
deps: ## Install what building and testing needs (Debian, Ubuntu, Fedora)
	@$(SUDO) contrib/deps

.PHONY: binary
binary: ## Build bin/bootc-podman and bin/bootc-podman-store
	GOEXPERIMENT=$(GOEXPERIMENT_BUILD) $(GO) build $(GOFLAGS_BUILD) -buildmode=$(GO_BUILDMODE) -ldflags='$(LDFLAGS_BUILD)' -o bin/ ./cmd/bootc-podman ./cmd/bootc-podman-store

.PHONY: man
man: $(MAN_PAGES) ## Build the manual pages

# A page has the version, and the date of the commit.
build/man/%.8: contrib/man/%.8.md $(VERSION_FILE)
	@mkdir -p $(@D)
	sed '1s/$$/ "$(shell date -u -d @$(SOURCE_DATE_EPOCH) +%F)" "bootc-podman $(VERSION)"/' $< | $(GO_MD2MAN) -out $@

.PHONY: demo
demo: deps binary ## Show it at work on a scratch host with a real store (needs root)
	@$(SUDO) bats/scratch-host bats/demo

.PHONY: test
test: deps all ## Install what is missing and run every test but the matrix
	$(MAKE) --no-print-directory test-unit shellcheck test-install test-demo test-system

.PHONY: test-demo
test-demo: binary ## Check that the demo runs to its end (needs root)
	@$(SUDO) bats/scratch-host bats/demo >/dev/null

.PHONY: test-unit
test-unit: ## Run the Go tests
	$(GO) vet $(GOFLAGS_BUILD) ./...
	$(GO) test $(GOFLAGS_BUILD) ./...

# Servers and tools that system tests need; there is no Go where they run.
.PHONY: test-programs
test-programs:
	@$(GO) build -trimpath -o bin/ ./internal/mkcomposefs ./internal/pulltest ./internal/realtree

.PHONY: test-system
test-system: binary test-programs ## Run the system tests against this machine's podman (needs root)
	$(SUDO) env BATS=$(BATS) BATS_FLAGS='$(BATS_FLAGS)' bats/system-tests

.PHONY: test-podman-matrix
test-podman-matrix: binary test-programs ## Run the system tests against other podman versions (needs root, debootstrap)
	$(SUDO) bats/podman-matrix

# A failure names the seed: SEQUENCES=1 SEED=N repeats it.
.PHONY: test-sequences
test-sequences: binary test-programs ## Run 200 random sequences of commands and compare status with skopeo (needs root)
	$(SUDO) env SEQUENCES=$${SEQUENCES:-200} SEED=$${SEED-} bats/scratch-host $(BATS) $(BATS_FLAGS) bats/245-sequences.bats

.PHONY: test-real-tree
test-real-tree: binary test-programs ## Run the tests of transfers on the image of a real system (needs root, debootstrap)
	$(SUDO) BATS_FLAGS='$(BATS_FLAGS)' bats/real-tree $(REAL_TREE_SUITES)

# MOVED is where nothing is beside or above another.
MOVED = PREFIX=$(CURDIR)/build/moved BINDIR=$(CURDIR)/build/moved/of/all/places LIBEXECDIR=$(CURDIR)/build/moved/private

.PHONY: test-install
test-install: all ## Check that make install installs everything and builds nothing
	@rm -rf build/root
	@! $(MAKE) --no-print-directory install-man MAN_PAGES=build/man/none.8 2>build/install.log
	@grep -q 'build/man/none.8 is not there: run "make" first' build/install.log
	@$(MAKE) --no-print-directory install GO=false DESTDIR=$(CURDIR)/build/root PREFIX=/usr >/dev/null
	@cd build/root && find . -type f | sort >../installed && cat ../installed
	@grep -qx ./usr/libexec/bootc-podman/bootc-podman-store build/installed
	@[ "$$(grep -c ./usr/share/bootc-podman/hooks.d/ build/installed)" = $(words $(HOOK_SOURCES)) ]
	@[ "$$(grep -c ./usr/lib/systemd/system/ build/installed)" = $(words $(UNIT_SOURCES)) ]
	@[ "$$(grep -c ./usr/lib/tmpfiles.d/ build/installed)" = $(words $(TMPFILES_SOURCES)) ]
	@! grep -r '@[A-Z]*@' build/root/usr/share/bootc-podman build/root/usr/lib/systemd
	@! grep -r '@[A-Z]*@' build/root/usr/share/man
	@# Documents and pages name files that are installed.
	@grep -roh '/usr/share/doc/[a-z0-9./-]*[a-z]' build/root/usr/share/man | sort -u >build/named && [ -s build/named ]
	@cd build/root/usr/share/doc/bootc-podman && grep -oh ']([^)]*' *.md | sed -e '/:/d' -e '/](#/d' -e 's|](|/usr/share/doc/bootc-podman/|' -e 's|#.*||' | sort -u >>$(CURDIR)/build/named
	@! while read -r f; do [ -f "build/root$$f" ] || echo "$$f is named and not installed"; done <build/named | grep .
	@grep -q 'ExecStart=/usr/bin/bootc-podman' build/root/usr/lib/systemd/system/*
	@[ "$$(grep -c /man8/ build/installed)" = $(words $(MAN_SOURCES)) ]
	@[ "$$(grep -cE '/(completions|vendor_completions.d|site-functions)/' build/installed)" = 3 ]
	@[ "$$(bats/private-program build/root/usr/bin/bootc-podman)" = $(CURDIR)/build/root/usr/libexec/bootc-podman/bootc-podman-store ]
	@[ "$$(readlink build/root/usr/libexec/bootc-podman/bootc-tool)" = ../../bin/bootc-podman ]
	@# Tables fit a terminal of 60 columns; man warns of others. A Go test holds the blocks.
	@! command -v man >/dev/null || for f in $(MAN_PAGES); do MANWIDTH=60 man -l $$f 2>&1 >/dev/null; done | { ! grep 'wider than line width'; }
	@# Uninstalling leaves what is not ours, whatever is missing already.
	@rm -r build/root/usr/share/man && touch build/root/usr/share/other
	@$(MAKE) --no-print-directory uninstall DESTDIR=$(CURDIR)/build/root PREFIX=/usr >/dev/null
	@[ "$$(find build/root -type f)" = build/root/usr/share/other ]
	@! find build/root -name '*bootc-podman*' | grep .
	@[ -d build/root/usr/bin ] && [ -d build/root/usr/share/zsh/site-functions ]
	@# Directories that are no neighbours are known to the program.
	@rm -rf build/moved
	@$(MAKE) --no-print-directory binary $(MOVED) >/dev/null
	@$(MAKE) --no-print-directory install GO=false $(MOVED) >/dev/null
	@$(MAKE) --no-print-directory binary >/dev/null
	@[ "$$(bats/private-program build/moved/of/all/places/bootc-podman)" = $(CURDIR)/build/moved/private/bootc-podman-store ]
	@! command -v systemd-analyze >/dev/null || { systemd-analyze verify --man=no build/moved/lib/systemd/system/* 2>&1 | tee build/verify.log; [ ! -s build/verify.log ]; }
	@# Units that run podman on the store need much; the others read, or work without network.
	@! systemd-analyze security --help 2>/dev/null | grep -q -- --threshold || for unit in build/moved/lib/systemd/system/*.service; do \
		case $$unit in *-bound-fetch.service | *-set-unified.service) exposed=50 ;; *) exposed=30 ;; esac; \
		systemd-analyze security --offline=true --threshold=$$exposed --no-pager "$$unit" >build/security.log || { tail -1 build/security.log; exit 1; }; \
	done
	@$(MAKE) --no-print-directory uninstall $(MOVED) >/dev/null
	@[ -z "$$(find build/moved ! -type d)" ] && [ -d build/moved/private ]

.PHONY: fuzz
fuzz: ## Run every fuzz test for FUZZTIME (30s)
	@# Go sometimes takes the end of the time for a failure; a real one names its input.
	@mkdir -p build
	@set -e; for package in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' "$$package" | grep '^Fuzz' || true); do \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 5x "$$package" >build/fuzz.log 2>&1 || \
				grep -q '^    context deadline exceeded$$' build/fuzz.log || { cat build/fuzz.log; exit 1; }; \
			echo "$$package $$target: $$(grep 'execs:' build/fuzz.log | tail -1)"; \
		done; \
	done

.PHONY: test-rest
test-rest: ## Run what .ci/run leaves out, or does less of (needs root, hours)
	$(MAKE) --no-print-directory fuzz test-sequences test-real-tree test-vm bench

.PHONY: bench
bench: binary test-programs ## Measure what we add to podman (needs root)
	$(GO) build -o bin/bench ./internal/bench
	@# As installed: what a linker has written lies in memory in smaller pieces than a
	@# copy does, which takes 0.2 ms more of page faults.
	@rm -rf build/bench && mkdir -p build/bench && cp bin/bootc-podman bin/bootc-podman-store build/bench/
	@$(SUDO) bats/scratch-host bats/bench
	@$(SUDO) bats/scratch-host bats/bench-transfer
	@[ "$(BENCH_DEDUP)" = no ] || $(SUDO) env CGO_ENABLED=0 $(GO) test -run '^$$' -bench DedupOfAHost -benchtime 1x ./internal/transfer/dedup

.PHONY: lint
lint: bin/golangci-lint-$(GOLANGCI_LINT_VERSION) ## Run the linters, and check words, imports and commit subjects
	$< run ./...
	$(GO) test $(GOFLAGS_BUILD) -count=1 ./internal/lint

bin/golangci-lint-$(GOLANGCI_LINT_VERSION):
	GOBIN=$(CURDIR)/bin $(GO) install github.com/golangci/golangci-lint/v2/cmd/golangci-lint@$(GOLANGCI_LINT_VERSION)
	mv bin/golangci-lint $@

.PHONY: shellcheck
shellcheck: ## Check the shell scripts
	shellcheck -x $(SHELL_FILES)

.PHONY: validate
validate: lint shellcheck ## Run every static check
	$(GO) vet $(GOFLAGS_BUILD) ./...

.PHONY: fmt
fmt: bin/golangci-lint-$(GOLANGCI_LINT_VERSION) ## Format the Go code
	$< fmt ./...

.PHONY: install
install: install-bin install-man install-docs install-completions install-hooks install-systemd install-tmpfiles ## Install what "make all" built

# built FILES - fail where "make all" has not been run.
built = @for f in $(1); do [ -e "$$f" ] || { echo "make install: $$f is not there: run \"make\" first" >&2; exit 1; }; done

.PHONY: install-bin
install-bin:
	$(call built,bin/bootc-podman bin/bootc-podman-store)
	install -D -m 0755 bin/bootc-podman "$(DESTDIR)$(BINDIR)/bootc-podman"
	install -D -m 0755 bin/bootc-podman-store "$(DESTDIR)$(LIBEXECDIR)/bootc-podman-store"
	ln -srf "$(DESTDIR)$(BINDIR)/bootc-podman" "$(DESTDIR)$(LIBEXECDIR)/bootc-tool"

.PHONY: install-man
install-man:
	$(call built,$(MAN_PAGES))
	install -d "$(DESTDIR)$(MANDIR)/man8"
	set -e; for f in $(notdir $(MAN_PAGES)); do \
		$(SUBSTITUTE) "build/man/$$f" >"$(DESTDIR)$(MANDIR)/man8/$$f"; chmod 0644 "$(DESTDIR)$(MANDIR)/man8/$$f"; \
	done

.PHONY: install-docs
install-docs:
	install -d "$(DESTDIR)$(DOCDIR)"
	set -e; for f in $(DOCUMENTS) $(wildcard build/NOTICES); do \
		$(LINKS) "$$f" >"$(DESTDIR)$(DOCDIR)/$${f##*/}"; chmod 0644 "$(DESTDIR)$(DOCDIR)/$${f##*/}"; \
	done

.PHONY: install-completions
install-completions:
	install -D -m 0644 $(COMPLETIONS).bash "$(DESTDIR)$(BASHCOMPDIR)/bootc-podman"
	install -D -m 0644 $(COMPLETIONS).fish "$(DESTDIR)$(FISHCOMPDIR)/bootc-podman.fish"
	install -D -m 0644 $(COMPLETIONS).zsh "$(DESTDIR)$(ZSHCOMPDIR)/_bootc-podman"

.PHONY: install-hooks
install-hooks:
	install -d "$(DESTDIR)$(HOOKSDIR)"
	set -e; for f in $(notdir $(HOOK_SOURCES:.in=)); do \
		$(SUBSTITUTE) "contrib/hooks/$$f.in" >"$(DESTDIR)$(HOOKSDIR)/$$f"; chmod 0644 "$(DESTDIR)$(HOOKSDIR)/$$f"; \
	done

.PHONY: install-systemd
install-systemd:
	install -d "$(DESTDIR)$(SYSTEMDUNITDIR)"
	set -e; for f in $(notdir $(UNIT_SOURCES:.in=)); do \
		$(SUBSTITUTE) "contrib/systemd/$$f.in" >"$(DESTDIR)$(SYSTEMDUNITDIR)/$$f"; chmod 0644 "$(DESTDIR)$(SYSTEMDUNITDIR)/$$f"; \
	done

.PHONY: install-tmpfiles
install-tmpfiles:
	install -d "$(DESTDIR)$(TMPFILESDIR)"
	install -m 0644 $(TMPFILES_SOURCES) "$(DESTDIR)$(TMPFILESDIR)"

.PHONY: uninstall
uninstall: ## Remove what "make install" installed
	rm -f "$(DESTDIR)$(BINDIR)/bootc-podman" "$(DESTDIR)$(LIBEXECDIR)/bootc-podman-store" "$(DESTDIR)$(LIBEXECDIR)/bootc-tool"
	rm -f "$(DESTDIR)$(BASHCOMPDIR)/bootc-podman" "$(DESTDIR)$(FISHCOMPDIR)/bootc-podman.fish" "$(DESTDIR)$(ZSHCOMPDIR)/_bootc-podman"
	rm -f $(foreach f,$(notdir $(MAN_PAGES)),"$(DESTDIR)$(MANDIR)/man8/$f")
	rm -f $(foreach f,$(notdir $(HOOK_SOURCES:.in=)),"$(DESTDIR)$(HOOKSDIR)/$f")
	rm -f $(foreach f,$(notdir $(UNIT_SOURCES:.in=)),"$(DESTDIR)$(SYSTEMDUNITDIR)/$f")
	rm -f $(foreach f,$(notdir $(TMPFILES_SOURCES)),"$(DESTDIR)$(TMPFILESDIR)/$f")
	rm -f "$(DESTDIR)$(DOCDIR)/NOTICES" $(foreach f,$(notdir $(DOCUMENTS)),"$(DESTDIR)$(DOCDIR)/$f")
	@# Directories only if the name says that they are ours.
	for dir in "$(DESTDIR)$(LIBEXECDIR)" "$(DESTDIR)$(DOCDIR)" "$(DESTDIR)$(HOOKSDIR)" "$(DESTDIR)$(dir $(HOOKSDIR))"; do \
		case $${dir%/} in */bootc-podman | */bootc-podman/*) rmdir "$$dir" 2>/dev/null || true ;; esac; \
	done

ARCHIVE := bootc-podman-$(VERSION)
SOURCE_DATE_EPOCH ?= $(or $(shell git log -1 --format=%ct 2>/dev/null),$(shell stat -c %Y $(VERSION_FILE)))
export SOURCE_DATE_EPOCH

.PHONY: dist
dist: $(if $(wildcard COMMIT),,need-git) ## Make build/bootc-podman-VERSION.tar.gz: what is committed, and the modules it needs (needs git)
	@rm -rf build/dist && mkdir -p build/dist/$(ARCHIVE)
	@# An archive makes itself again: it has all its files, and no repository.
	if [ -e COMMIT ]; then tar -c --exclude=./bin --exclude=./build --exclude=./debian .; else git archive HEAD; fi | tar -x -C build/dist/$(ARCHIVE)
	[ -e COMMIT ] || (cd build/dist/$(ARCHIVE) && $(GO) mod vendor)
	@echo $(VERSION) >build/dist/$(ARCHIVE)/$(VERSION_FILE)
	@echo $(COMMIT) >build/dist/$(ARCHIVE)/COMMIT
	tar -c -C build/dist --sort=name --mtime=@$(SOURCE_DATE_EPOCH) --owner=0 --group=0 --numeric-owner --mode=go=rX,u+rw,a-s $(ARCHIVE) | gzip -n >build/$(ARCHIVE).tar.gz

.PHONY: notices
notices: build/NOTICES ## Make build/NOTICES, the licenses of the modules in the programs

build/NOTICES: go.mod contrib/notices
	@mkdir -p build
	GO=$(GO) contrib/notices >$@.part
	mv $@.part $@

# Packages are built from the archive, without network where the kernel allows it.
OFFLINE = GOCACHE=$(shell $(GO) env GOCACHE) $(shell unshare -rn true 2>/dev/null && echo unshare -rn)

# need-PROGRAM fails where a program is not installed, before anything is built.
need-%:
	@command -v $* >/dev/null || { echo "make: $* is not installed; \"make help\" lists what each target needs" >&2; exit 1; }

.PHONY: deb
deb: need-dpkg-buildpackage need-dh dist ## Build Debian packages in build/deb (needs dpkg-dev, debhelper)
	@rm -rf build/deb && mkdir -p build/deb && tar -xf build/$(ARCHIVE).tar.gz -C build/deb
	cp -r contrib/debian build/deb/$(ARCHIVE)/debian
	printf 'bootc-podman (%s) unstable; urgency=medium\n\n  * See CHANGELOG.md.\n\n -- The bootc-podman authors <bootc-podman@users.noreply.github.com>  %s\n' \
		'$(VERSION)' "$$(date -uR -d @$(SOURCE_DATE_EPOCH))" >build/deb/$(ARCHIVE)/debian/changelog
	{ printf 'Format: https://www.debian.org/doc/packaging-manuals/copyright-format/1.0/\n\nFiles: *\nCopyright: 2026 The bootc-podman authors\nLicense: Apache-2.0\n /usr/share/common-licenses/Apache-2.0 has its text.\n'; } \
		>build/deb/$(ARCHIVE)/debian/copyright
	@# -d: Debian releases have older Go; the build takes it from the PATH.
	cd build/deb/$(ARCHIVE) && $(OFFLINE) dpkg-buildpackage -d -us -uc -b

.PHONY: rpm
rpm: need-rpmbuild dist ## Build RPM packages in build/rpm (needs rpmbuild)
	@rm -rf build/rpm && mkdir -p build/rpm/SOURCES && cp build/$(ARCHIVE).tar.gz build/rpm/SOURCES/
	$(OFFLINE) rpmbuild -bb --nodeps --define '_topdir $(CURDIR)/build/rpm' --define 'version_of_archive $(VERSION)' contrib/rpm/bootc-podman.spec

# The second build is in another folder, of the archive that the first archive makes,
# without git, and compiles everything again.
AGAIN = build/again/$(ARCHIVE)

.PHONY: test-reproducible
test-reproducible: dist ## Check that two folders build the same bytes, also from an archive's archive
	@rm -rf build/again && mkdir -p build/again && tar -xf build/$(ARCHIVE).tar.gz -C build/again
	@$(MAKE) --no-print-directory -C $(AGAIN) dist >/dev/null && cmp build/$(ARCHIVE).tar.gz $(AGAIN)/build/$(ARCHIVE).tar.gz
	@$(MAKE) --no-print-directory -C $(AGAIN) all notices >/dev/null
	@mkdir $(AGAIN)/other && tar -xf build/$(ARCHIVE).tar.gz -C $(AGAIN)/other
	@GOCACHE=$(CURDIR)/build/again/cache $(MAKE) --no-print-directory -C $(AGAIN)/other/$(ARCHIVE) all notices >/dev/null
	@for f in bin/bootc-podman bin/bootc-podman-store build/NOTICES $(MAN_PAGES); do cmp $(AGAIN)/$$f $(AGAIN)/other/$(ARCHIVE)/$$f; done

.PHONY: packages-deps
packages-deps:
	@$(SUDO) contrib/deps --packages

# Out of Debian's packages: to install them would also start a server.
build/tools/promtool:
	@rm -rf build/tools && mkdir -p build/tools/packages
	$(SUDO) apt-get update -qq
	cd build/tools/packages && apt-get download -qq prometheus python3-prometheus-client python3-yaml && for f in *.deb; do dpkg-deb -x $$f .; done
	mv build/tools/packages/usr/lib/python3/dist-packages build/tools/python
	mv build/tools/packages/usr/bin/promtool $@ && rm -rf build/tools/packages

.PHONY: test-monitoring
test-monitoring: need-python3 build/tools/promtool ## Have programs of Prometheus read the metrics and the alerts of docs/fleet.md (needs Debian)
	NEED_MONITORING_TOOLS=1 $(GO) test $(GOFLAGS_BUILD) -count=1 ./internal/metrics

.PHONY: test-packages
test-packages: packages-deps all notices test-reproducible test-monitoring deb rpm ## Install, use, upgrade and remove the packages (needs root, Debian)
	lintian --fail-on error --allow-root build/deb/*.changes
	rpmlint -c contrib/rpm/rpmlint.toml build/rpm/RPMS/*/*.rpm
	[ "$$(contrib/notices --expression)" = "$$(sed -n 's/^License: *//p' contrib/rpm/bootc-podman.spec)" ]
	for suite in trixie sid; do [ -d build/matrix/$$suite ] || $(SUDO) bats/podman-matrix --make-root $$suite || exit; done
	$(SUDO) bats/scratch-host $(BATS) $(BATS_FLAGS) bats/packages
	$(SUDO) bats/scratch-host --root build/matrix/trixie $(BATS) $(BATS_FLAGS) bats/packages

# Emulated, so it takes minutes, and is not part of continuous integration. FLAVOURS are
# plain and selinux.
.PHONY: test-vm
test-vm: vm-deps deb test-programs ## Boot a bootc host in qemu: reboots, SELinux, an upgrade, a rollback (needs root, Debian)
	$(SUDO) bats/test-vm $(FLAVOURS)

.PHONY: vm-deps
vm-deps:
	@$(SUDO) contrib/deps --vm

.PHONY: clean
clean: ## Remove what was built
	rm -rf bin build
