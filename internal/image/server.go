package image

import (
	"context"
	"encoding/json"
	"encoding/pem"
	"fmt"
	"os"
	"slices"
	"time"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/pkg/artifact"
	"example.org/mmoci/pkg/snapshot"
)

// Mirror is the one snapshot that a server image serves.
type Mirror struct {
	Ref       artifact.Reference // by digest, in a registry, as the container reaches it
	Date      time.Time          // of the snapshot
	Keys      []byte             // the site's public keys, armoured; none: the digest alone vouches for the snapshot
	CA        []byte             // PEM, by which the container knows registries; nil: none but those that are mounted
	PlainHTTP bool               // the registry is reached over http
}

// Where a server image has its files.
const (
	serverConfig = "etc/mmoci/mmoci.yaml"
	serverKeys   = "etc/mmoci/site.asc"
	serverCA     = "etc/ssl/certs/ca-certificates.crt" // where Go looks first
)

// Serving adds a layer to an image of mmoci that makes it the server of one
// snapshot: a configuration that names it, with the keys beside. The command is serve
// with the snapshot's reference; any other one has the configuration, too.
func Serving(s Spec, m Mirror) Spec {
	ref, _ := json.Marshal(m.Ref.String()) // which is YAML as well; a string has no error
	text := "# The snapshot of this server image.\nref: " + string(ref) + "\n"
	files := []File{}
	if len(m.Keys) > 0 {
		text += "trust: [site.asc]\n"
		files = append(files, File{Path: serverKeys, Mode: 0o644, Data: m.Keys})
	}
	if len(m.CA) > 0 {
		files = append(files, File{Path: serverCA, Mode: 0o644, Data: m.CA})
	}
	text += "serve: {listen: \"0.0.0.0:8000\", state: /var/lib/mmoci}\n"
	files = append(files, File{Path: serverConfig, Mode: 0o644, Data: []byte(text)})
	s.Layers = append(slices.Clone(s.Layers), files)
	s.Command = []string{"serve", "--listen=0.0.0.0:8000", "--wait"}
	if m.PlainHTTP {
		s.Command = append(s.Command, "--plain-http")
	}
	s.Command = append(s.Command, m.Ref.String())
	// Credentials for the registry are mounted beside the configuration, as config.json.
	s.Environment = append(slices.Clone(s.Environment), "DOCKER_CONFIG=/etc/mmoci")
	labels := map[string]string{"org.opencontainers.image.created": snapshot.FormatDate(m.Date)}
	for k, v := range s.Labels {
		labels[k] = v
	}
	s.Labels = labels
	return s
}

// Certificates are the certificates of a PEM file, and nothing else of it: it may have a private key beside them, and
// an image is for everybody who may pull it.
func Certificates(file []byte) []byte {
	var out []byte
	for {
		var b *pem.Block
		if b, file = pem.Decode(file); b == nil {
			return out
		}
		if b.Type == "CERTIFICATE" {
			out = append(out, pem.EncodeToMemory(&pem.Block{Type: b.Type, Bytes: b.Bytes})...)
		}
	}
}

// ServerOptions say which server image [PushServer] makes, of which programs.
type ServerOptions struct {
	To       artifact.Reference // HOST/REPO:TAG
	Programs []config.Bundled   // by Debian's name of their architecture: each makes an image of the index
	Version  string             // of the programs
	Mirror   Mirror
	Artifact artifact.Options
}

// PushServer makes the server image of a snapshot and pushes it. Equal
// programs and an equal snapshot make the equal digest, and nothing is sent
// again. Programs that are not those that were found are an error.
func PushServer(ctx context.Context, o ServerOptions) (artifact.Reference, error) {
	var images []*Image
	for _, p := range o.Programs {
		program, err := os.ReadFile(p.File)
		if err != nil {
			return o.To, fmt.Errorf("server image: %w", err)
		}
		if snapshot.Sum(program).String() != p.Digest {
			return o.To, fmt.Errorf("server image: %s was changed while this command ran", p.File)
		}
		arch, variant := Platform(p.Name)
		s := MMOCI(arch, o.Version, program, Epoch())
		s.Variant = variant
		img, err := Build(Serving(s, o.Mirror))
		if err != nil {
			return o.To, err
		}
		images = append(images, img)
	}
	idx, err := NewIndex(images...)
	if err != nil {
		return o.To, err
	}
	return Push(ctx, o.To.String(), idx, o.Artifact)
}

// Epoch is the time of all files of our images: nothing of the day goes in.
func Epoch() time.Time { return time.Date(2000, 1, 1, 0, 0, 0, 0, time.UTC) }
