package imagebuild

import (
	"bytes"
	"fmt"
	"slices"
	"strings"
	"time"

	"example.org/mmoci/internal/image"
	"example.org/mmoci/internal/outcome"
	"example.org/mmoci/internal/rootfs/account"
	"example.org/mmoci/internal/syncfiles"
	"example.org/mmoci/pkg/snapshot"
)

// What is said of an image, in a manifest that refers to it (SPEC.md, "The image").
const (
	TypeCompanion = "application/vnd.mmoci.image.v1"

	TypePlan            = "application/vnd.mmoci.image.plan.v1+yaml"
	TypeFiles           = "application/vnd.mmoci.image.files.v1.tar"
	TypeLock            = "application/vnd.mmoci.image.lock.v1"
	TypeAccount         = "application/vnd.mmoci.image.account.v1"
	TypeLayers          = "application/vnd.mmoci.image.layers.v1"
	TypeNotes           = "application/vnd.mmoci.image.notes.v1"
	TypeSPDX            = "application/spdx+json"
	TypeCycloneDX       = "application/vnd.cyclonedx+json"
	TypeProvenance      = "application/vnd.in-toto+json"
	TypeStatement       = "application/vnd.mmoci.image.statement.v1"
	TypeSignedStatement = TypeStatement + "+clearsigned"
)

// maxCompanion bounds what is said of an image, in bytes: it is held in memory, and readers take no more than 256 MiB of all that refers to an image.
const maxCompanion = 160 << 20

// companion is that manifest with its blobs.
type companion struct {
	manifest image.Part
	blobs    map[snapshot.Digest][]byte
}

func newCompanion(o *Options, im *Image, files syncfiles.Files) (*companion, error) {
	plan := *o.Plan
	plan.Architectures = nil
	for _, a := range im.Architectures {
		plan.Architectures = append(plan.Architectures, a.Name)
	}
	a := image.Attachment{ArtifactType: TypeCompanion, Subject: im.Index, Annotations: map[string]string{"org.opencontainers.image.created": snapshot.FormatDate(o.date())}}
	add := func(title, mediaType string, data []byte) {
		a.Layers = append(a.Layers, image.Attached{Part: image.Part{MediaType: mediaType, Data: data}, Title: title, Digest: snapshot.Sum(data)})
	}
	add("image.yaml", TypePlan, plan.Format())
	if sources := slices.Concat(files.List, files.Sources); len(sources) > 0 {
		packed, err := syncfiles.Pack(sources, o.date())
		if err != nil {
			return nil, err
		}
		add("files.tar", TypeFiles, packed)
	}
	add("image.lock", TypeLock, im.Lock.Encode())
	for _, a := range im.Architectures {
		add(accountPart(a.Name), TypeAccount, account.Encode(a.Account))
	}
	add("layers.txt", TypeLayers, layersOf(im))
	if notes := im.blobs.notes.Encode(); notes != nil {
		add("notes.txt", TypeNotes, notes)
	}
	said, err := billsOf(o, im, plan.Format())
	if err != nil {
		return nil, err
	}
	add("sbom.spdx.json", TypeSPDX, said.spdx)
	add("sbom.cdx.json", TypeCycloneDX, said.cyclonedx)
	add("provenance.json", TypeProvenance, said.provenance)
	total := 0
	for _, l := range a.Layers {
		total += len(l.Data)
	}
	if total > maxCompanion {
		return nil, fmt.Errorf("%w: what is said of the image, with the files of sync:, has %d bytes, more than %d", outcome.ErrUsage, total, maxCompanion)
	}
	text := statement(im, o.date(), a.Layers)
	mediaType := TypeStatement
	if o.Signer != nil {
		signed, err := o.Signer.Clearsign(text, o.date())
		if err != nil {
			return nil, fmt.Errorf("statement of the image: %w", err)
		}
		text, mediaType = signed, TypeSignedStatement
	}
	add("statement.txt", mediaType, text)
	c := &companion{blobs: map[snapshot.Digest][]byte{snapshot.Sum(image.Empty().Data): image.Empty().Data}}
	for _, l := range a.Layers {
		c.blobs[l.Digest] = l.Data
	}
	c.manifest, err = a.Document()
	return c, err
}

const statementHead = "mmoci-image-statement-v1"

// statement is what the site signs: the image, and what belongs to it.
func statement(im *Image, date time.Time, parts []image.Attached) []byte {
	var b bytes.Buffer
	fmt.Fprintf(&b, "%s\ndate %s\nimage %s\nsnapshot %s\n", statementHead, snapshot.FormatDate(date), snapshot.BlobOf(im.Index.Data), im.Lock.Snapshot)
	for _, p := range parts {
		fmt.Fprintf(&b, "part %s %s\n", p.Title, snapshot.Blob{Digest: p.Digest, Size: int64(len(p.Data))})
	}
	return b.Bytes()
}

// layersOf tells of each layer what it is, in order:
//
//	layer ARCHITECTURE DIFFID BLOB-DIGEST SIZE MEDIATYPE WHAT
func layersOf(im *Image) []byte {
	var b strings.Builder
	fmt.Fprintf(&b, "mmoci-image-layers-v1\nencoder %d\n", image.EncoderGeneration)
	for _, a := range im.Architectures {
		for _, l := range a.Layers {
			fmt.Fprintf(&b, "layer %s %s %s %s %s\n", a.Name, l.DiffID, l.Blob, l.MediaType, l.By)
		}
	}
	return []byte(b.String())
}

// Statement is what the site says of an image.
type Statement struct {
	Date     time.Time
	Image    snapshot.Blob   // the image index
	Snapshot snapshot.Digest // that its packages are of
	Parts    map[string]snapshot.Blob
}

// ParseStatement reads the text of a statement. Errors are of outcome.ErrIntegrity.
func ParseStatement(text []byte) (*Statement, error) {
	st := &Statement{Parts: map[string]snapshot.Blob{}}
	lines := strings.Split(string(text), "\n")
	if len(lines) < 5 || lines[0] != statementHead || lines[len(lines)-1] != "" {
		return nil, fmt.Errorf("%w: it is no statement of an image: it begins with %s", outcome.ErrIntegrity, statementHead)
	}
	var err error
	for i, line := range lines[1 : len(lines)-1] {
		f := strings.Split(line, " ")
		switch {
		case i == 0 && f[0] == "date" && len(f) == 2:
			st.Date, err = time.Parse(time.RFC3339, f[1])
		case i == 1 && f[0] == "image" && len(f) == 3:
			st.Image, err = snapshot.ParseBlob(f[1], f[2])
		case i == 2 && f[0] == "snapshot" && len(f) == 2:
			st.Snapshot, err = snapshot.ParseDigest(f[1])
		case i > 2 && f[0] == "part" && len(f) == 4 && st.Parts[f[1]] == (snapshot.Blob{}):
			st.Parts[f[1]], err = snapshot.ParseBlob(f[2], f[3])
		default:
			err = fmt.Errorf("%.100q stands in a wrong place, or twice", line)
		}
		if err != nil {
			return nil, fmt.Errorf("%w: statement of the image, line %d: %w", outcome.ErrIntegrity, i+2, err)
		}
	}
	return st, nil
}
