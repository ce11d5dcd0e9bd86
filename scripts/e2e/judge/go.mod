module example.org/mmoci/scripts/e2e/judge

go 1.26.0

require (
	github.com/CycloneDX/cyclonedx-go v0.12.0
	github.com/in-toto/attestation v1.2.0
	github.com/spdx/tools-golang v0.5.7
	google.golang.org/protobuf v1.36.12
)

require github.com/anchore/go-struct-converter v0.1.0 // indirect
