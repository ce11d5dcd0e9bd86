// Command judge reads what mmoci says of an image with other people's libraries, strictly, and prints what they found:
//
//	judge spdx FILE         package URLs of the binary packages, a line each
//	judge cyclonedx FILE    the same
//	judge provenance FILE   "subject HEX", then "HEX NAME" of each dependency
//
// It ends with 1 where a library objects.
package main

import (
	"bytes"
	"errors"
	"fmt"
	"os"
	"strings"

	"github.com/CycloneDX/cyclonedx-go"
	provenance "github.com/in-toto/attestation/go/predicates/provenance/v1"
	attestation "github.com/in-toto/attestation/go/v1"
	"github.com/spdx/tools-golang/json"
	"github.com/spdx/tools-golang/spdx/v2/v2_3"
	"github.com/spdx/tools-golang/spdxlib"
	"google.golang.org/protobuf/encoding/protojson"
)

func main() {
	if len(os.Args) != 3 {
		fmt.Fprintln(os.Stderr, "usage: judge spdx|cyclonedx|provenance FILE")
		os.Exit(2)
	}
	data, err := os.ReadFile(os.Args[2])
	if err == nil {
		switch os.Args[1] {
		case "spdx":
			err = spdx(data)
		case "cyclonedx":
			err = cdx(data)
		case "provenance":
			err = slsa(data)
		default:
			err = errors.New("spdx, cyclonedx or provenance")
		}
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "judge: %s: %v\n", os.Args[2], err)
		os.Exit(1)
	}
}

func spdx(data []byte) error {
	var d v2_3.Document
	if err := json.ReadInto(bytes.NewReader(data), &d); err != nil {
		return err
	}
	if err := spdxlib.ValidateDocument(&d); err != nil {
		return err
	}
	for _, p := range d.Packages {
		for _, r := range p.PackageExternalReferences {
			if r.RefType == "purl" && strings.HasPrefix(r.Locator, "pkg:deb/") && !strings.Contains(r.Locator, "arch=source") {
				fmt.Println(r.Locator)
			}
		}
	}
	return nil
}

func cdx(data []byte) error {
	var b cyclonedx.BOM
	if err := cyclonedx.NewBOMDecoder(bytes.NewReader(data), cyclonedx.BOMFileFormatJSON).Decode(&b); err != nil {
		return err
	}
	if b.SpecVersion != cyclonedx.SpecVersion1_6 || b.Components == nil {
		return fmt.Errorf("version %s, components %v", b.SpecVersion, b.Components != nil)
	}
	for _, c := range *b.Components {
		fmt.Println(c.PackageURL)
	}
	return nil
}

func slsa(data []byte) error {
	var s attestation.Statement
	if err := protojson.Unmarshal(data, &s); err != nil { // unknown fields are errors
		return err
	}
	if err := s.Validate(); err != nil {
		return err
	}
	body, err := s.GetPredicate().MarshalJSON()
	if err != nil {
		return err
	}
	var p provenance.Provenance
	if err := protojson.Unmarshal(body, &p); err != nil {
		return err
	}
	if err := p.Validate(); err != nil {
		return err
	}
	if s.GetPredicateType() != "https://slsa.dev/provenance/v1" {
		return fmt.Errorf("predicate %s", s.GetPredicateType())
	}
	for _, r := range s.GetSubject() {
		fmt.Println("subject", r.GetDigest()["sha256"])
	}
	for _, r := range p.GetBuildDefinition().GetResolvedDependencies() {
		fmt.Println(r.GetDigest()["sha256"], r.GetName())
	}
	return nil
}
