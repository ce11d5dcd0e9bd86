// The image validator of the Open Containers Initiative: scripts/e2e.sh builds it.
// It is a module of its own: nothing of this is needed to build mmoci.
module example.org/mmoci/scripts/e2e/image-tool

go 1.26.0

tool github.com/opencontainers/image-tools/cmd/oci-image-tool

require github.com/opencontainers/image-tools v1.0.0-rc3 // indirect

require (
	github.com/cpuguy83/go-md2man/v2 v2.0.7 // indirect
	github.com/dsnet/compress v0.0.1 // indirect
	github.com/opencontainers/go-digest v1.0.0 // indirect
	github.com/opencontainers/image-spec v1.1.1 // indirect
	github.com/opencontainers/runtime-spec v1.3.0 // indirect
	github.com/pkg/errors v0.9.1 // indirect
	github.com/russross/blackfriday/v2 v2.1.0 // indirect
	github.com/santhosh-tekuri/jsonschema/v5 v5.3.1 // indirect
	github.com/sirupsen/logrus v1.10.2 // indirect
	github.com/urfave/cli v1.22.17 // indirect
	golang.org/x/sys v0.13.0 // indirect
)
