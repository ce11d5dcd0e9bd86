package minimirror

import (
	"errors"
	"io/fs"

	"example.org/mmoci/internal/config"
	"example.org/mmoci/internal/config/aptlyconf"
	"example.org/mmoci/internal/config/document"
)

// Options say how a sources/ tree, or its YAML form, is read.
type Options struct {
	// AptlyConf is the aptly.conf of every source that has none of its own; "": none.
	AptlyConf string
	// AptlyConfFrom is who named AptlyConf, for messages.
	AptlyConfFrom string
}

// aptlyDefault reads the aptly.conf of sources without their own.
func (o Options) aptlyDefault() (aptlyconf.Conf, error) {
	if o.AptlyConf == "" {
		return aptlyconf.Conf{}, nil
	}
	c, there, err := readAptly(o.AptlyConf)
	if err == nil && !there {
		err = document.Errorf(document.Position{File: o.AptlyConf}, "%w; it is the aptly.conf that %s names: correct it, or unset it", fs.ErrNotExist, o.AptlyConfFrom)
	}
	return c, err
}

// readAptly reads an aptly.conf, if it is there.
func readAptly(file string) (c aptlyconf.Conf, there bool, err error) {
	data, err := document.ReadFile(file, document.MaxYAML)
	if errors.Is(err, fs.ErrNotExist) {
		return c, false, nil
	}
	if err == nil {
		c, err = aptlyconf.Parse(document.At(file, 1), data, config.ValidArchitecture)
	}
	return c, true, err
}

// obey takes an aptly.conf into the source. Without a word of it the architecture is that of the mini-mirror's own aptly.conf.
func (s *source) obey(c aptlyconf.Conf) {
	s.withSources, s.recommends, s.architectures = c.Sources, c.Recommends, c.Architectures
	if s.architectures == nil {
		s.architectures = []string{"amd64"}
	}
}

// recommended tells whether the sources follow Recommends, which here holds for a whole snapshot: all of them or none.
func recommended(sources []source) (bool, error) {
	var with, without *source
	for i := range sources {
		if s := &sources[i]; s.recommends != (document.Position{}) {
			with = s
		} else {
			without = s
		}
	}
	if with != nil && without != nil {
		return false, document.Errorf(with.recommends, "aptly configuration: dependencyFollowRecommends holds for a whole snapshot here, and the source of %s does not ask for it; set it for all sources, or for none", without.at)
	}
	return with != nil, nil
}
