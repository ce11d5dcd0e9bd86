# mmoci: make help tells what there is.
GO ?= go
STATICCHECK = honnef.co/go/tools/cmd/staticcheck@v0.8.2
BIN = bin/mmoci

help: ## this list
	@grep -hE '^[a-z0-9-]+:.*##' $(MAKEFILE_LIST) | sed -E 's/:[^#]*##/	/'

build: ## the program, static, in bin/
	CGO_ENABLED=0 $(GO) build -trimpath -o $(BIN) ./cmd/mmoci

demo: build ## a real slice of the host's archive: push, verify, extract, serve to apt-get
	scripts/demo.sh

test: ## vet, format and every test; needs nothing but Go and make
	scripts/test.sh

race: ## every test under the race detector (needs a C compiler)
	$(GO) test -race ./...

lint: ## staticcheck
	$(GO) run $(STATICCHECK) -tags real ./...

fuzz: ## every fuzz target for FUZZTIME each (default 30s)
	scripts/fuzz.sh

e2e: ## real apt, registries, copiers and chroots
	scripts/e2e.sh

e2e-long: ## the same, and the Go tests before it, with large samples: E2E_LONG=1
	E2E_LONG=1 scripts/test.sh -timeout 2h
	E2E_LONG=1 scripts/e2e.sh

bench: build ## figures, and ratios against peers
	scripts/bench.sh

release: ## static programs and .debs for every architecture, in dist/ (AGAIN=1 proves that it is reproducible)
	scripts/release.sh

soak: ## the server for SOAK_MINUTES (default 20) under load and faults: nothing may grow
	scripts/soak.sh

image: ## the container image in dist/: OCI layout and docker-archives, without docker (PUSH=HOST/REPO:TAG pushes it, too)
	$(GO) run ./internal/image/build $(if $(PUSH),-push $(PUSH))

image-ci: ## the same with a shell and CA certificates, for CI runners: of busybox-static and ca-certificates, from the host's apt
	$(GO) run ./internal/image/build -ci $(if $(PUSH),-push $(PUSH))

clean: ## what make made
	rm -rf bin demo dist

.PHONY: help build demo test race lint fuzz e2e e2e-long bench soak image image-ci release clean
