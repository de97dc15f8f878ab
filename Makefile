# Everything here runs as root on a Debian machine with Go; what else is needed
# the targets install themselves.

GO         ?= go
PREFIX     ?= /usr/local
FUZZTIME   ?= 30s
MINUTES    ?= 10
SEED       ?=

MODULE     := github.com/holdfast-shim/holdfast
VERSION    := $(shell git describe --tags --always --dirty 2>/dev/null || echo dev)
REVISION   := $(shell git rev-parse HEAD 2>/dev/null)
LDFLAGS    := -s -w -X $(MODULE)/version.Version=$(VERSION) -X $(MODULE)/version.Revision=$(REVISION)

STATICCHECK := honnef.co/go/tools/cmd/staticcheck@v0.8.2
GOVULNCHECK := golang.org/x/vuln/cmd/govulncheck@v1.9.0

# What a thousand shims carry is paid for a thousand times: the shim is built
# without inlining but in the Go runtime, which makes it 8 % smaller and no slower,
# and with a runtime that keeps less for itself (docs/memory.md).
SHIMFLAGS = -gcflags=all=-l -gcflags=runtime/...= -gcflags=internal/runtime/...= \
	$$(GO='$(GO)' cmd/shim/small-runtime bin/.runtime)

SHIM := bin/containerd-shim-holdfast-v2
TOOL := bin/holdfast

export HOLDFAST_SHIM := $(abspath $(SHIM))

.PHONY: all build demo test test-cgroup2 test-daemons race soak fuzz lint vuln proto bench install uninstall clean setup setup-race setup-cgroup2 FORCE

all: build

build: $(SHIM) $(TOOL)

# Go knows best what is out of date.
$(SHIM): FORCE
	CGO_ENABLED=0 $(GO) build -trimpath $(SHIMFLAGS) -ldflags '$(LDFLAGS)' -o $@ ./cmd/shim
$(TOOL): FORCE
	CGO_ENABLED=0 $(GO) build -trimpath -ldflags '$(LDFLAGS)' -o $@ ./cmd/holdfast

# A real container through the shim, with the events it sent.
demo:
	@tests/install-missing runc:runc busybox:busybox-static
	@$(MAKE) --no-print-directory build
	@echo '$$ bin/holdfast run --events -- /bin/sh -c "echo hello from a container; exit 7"'
	@bin/holdfast run --events -- /bin/sh -c 'echo hello from a container; exit 7'; \
	status=$$?; echo "exit code $$status"; test $$status = 7

setup:
	@tests/install-missing runc:runc crun:crun busybox:busybox-static containerd:containerd ctr:containerd dockerd:docker.io docker:docker.io
setup-race: setup
	@tests/install-missing gcc:gcc
setup-cgroup2: setup
	@tests/install-missing qemu-system-x86_64:qemu-system-x86

test: setup build
	$(GO) test -count=1 -timeout 20m ./...

race: setup-race build
	CGO_ENABLED=1 $(GO) test -race -count=1 -timeout 20m ./...

# An emulated machine with cgroup v2 alone, and the tests inside it.
test-cgroup2: setup-cgroup2 build
	$(GO) run ./tests/cgroup2 $(CGROUP2)

# The tests of package tests/containerd under every containerd that nodes run.
test-daemons: setup build
	$(GO) run ./tests/daemons $(DAEMONS)

# Everything goes wrong at once, for MINUTES. SEED takes a round's decisions again.
soak: setup build
	HOLDFAST_SOAK=$(MINUTES)m HOLDFAST_SOAK_SEED=$(SEED) \
		$(GO) test -count=1 -timeout 0 -v -run 'Chaos$$' ./tests/soak ./tests/containerd

# Every fuzz target there is, each for FUZZTIME.
fuzz:
	@set -e; for pkg in $$($(GO) list ./...); do \
		for target in $$($(GO) test -list '^Fuzz' $$pkg | grep '^Fuzz' || true); do \
			echo "$$pkg $$target"; \
			$(GO) test -run '^$$' -fuzz "^$$target\$$" -fuzztime $(FUZZTIME) -fuzzminimizetime 20x $$pkg; \
		done; \
	done

lint:
	@unformatted=$$(gofmt -l $$(git ls-files '*.go')); \
	if [ -n "$$unformatted" ]; then echo "not formatted:"; echo "$$unformatted"; exit 1; fi
	$(GO) vet ./...
	$(GO) run $(STATICCHECK) ./...

# Needs the vulnerability database, which is not on every machine's network.
vuln:
	$(GO) run $(GOVULNCHECK) ./...

# The generators are Go modules, pinned in go.mod.
proto:
	$(GO) run ./proto/gen

bench: build
	@tests/install-missing runc:runc busybox:busybox-static containerd-shim-runc-v2:containerd
	$(GO) run ./tests/bench $(BENCH)

# On a node at work: what containerd runs is replaced in one step, and what it used to
# run comes back (cmd/shim/drop-in says how).
install: build
	cmd/shim/drop-in install $(SHIM) $(TOOL) '$(DESTDIR)$(PREFIX)/bin'

uninstall:
	cmd/shim/drop-in remove '$(DESTDIR)$(PREFIX)/bin'

clean:
	rm -rf bin
