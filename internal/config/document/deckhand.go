package document

import "slices"

// Deckhand takes what is meant out of a Deckhand document: its data:, or n itself where nothing is wrapped. A
// document of another schema than the wanted one is not ours.
func (n Node) Deckhand(wanted string) (data Node, ours bool, err error) {
	pairs, err := n.Pairs()
	if err != nil {
		return n, false, err
	}
	if !slices.ContainsFunc(pairs, func(p Pair) bool { return p.Key == "schema" }) {
		return n, true, nil
	}
	parts := map[string]Node{}
	for _, p := range pairs {
		parts[p.Key] = p.Node
	}
	schema, err := parts["schema"].Text()
	if err != nil || schema != wanted {
		return n, false, err
	}
	data, ok := parts["data"]
	if !ok {
		return n, false, n.Errorf("a document of schema %s without data:", schema)
	}
	if metadata, ok := parts["metadata"]; ok {
		err = rendered(metadata)
	}
	return Node{File: n.File, N: data.N}, true, err
}

// rendered refuses a document that Deckhand has yet to work on: what it says is not what is meant.
func rendered(metadata Node) error {
	pairs, err := metadata.Pairs()
	if err != nil {
		return err
	}
	for _, p := range pairs {
		if p.Key == "substitutions" {
			return p.Errorf("is for Deckhand; render the documents first")
		}
		if p.Key != "layeringDefinition" {
			continue
		}
		layering, err := p.Pairs()
		if err != nil {
			return err
		}
		for _, l := range layering {
			if v, _ := l.Scalar(); l.Key == "parentSelector" || l.Key == "actions" || l.Key == "abstract" && v != "false" {
				return l.Errorf("is for Deckhand; render the documents first")
			}
		}
	}
	return nil
}
