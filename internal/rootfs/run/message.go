package run

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
	"unicode/utf8"
)

// maxHead bounds the part of a message that is JSON: the list of a tree.
const maxHead = 256 << 20

// send writes a message: two lengths of eight bytes, JSON, and bytes that are
// sent as they are.
func send(w io.Writer, head any, data []byte) error {
	text, err := json.Marshal(head)
	if err != nil {
		return err
	}
	var lengths [16]byte
	binary.BigEndian.PutUint64(lengths[:8], uint64(len(text)))
	binary.BigEndian.PutUint64(lengths[8:], uint64(len(data)))
	for _, b := range [][]byte{lengths[:], text, data} {
		if _, err := w.Write(b); err != nil {
			return err
		}
	}
	return nil
}

// receive reads a message. The other side may lie about lengths; no memory is
// taken for bytes that did not come.
func receive(r io.Reader, head any) ([]byte, error) {
	var lengths [16]byte
	if _, err := io.ReadFull(r, lengths[:]); err != nil {
		return nil, err
	}
	text, data := binary.BigEndian.Uint64(lengths[:8]), binary.BigEndian.Uint64(lengths[8:])
	if text > maxHead || data > maxRead {
		return nil, fmt.Errorf("message of %d and %d bytes", text, data)
	}
	b, err := exactly(r, text)
	if err != nil {
		return nil, err
	}
	if err := json.Unmarshal(b, head); err != nil {
		return nil, err
	}
	return exactly(r, data)
}

func exactly(r io.Reader, n uint64) ([]byte, error) {
	b, err := io.ReadAll(io.LimitReader(r, int64(n)))
	if err == nil && uint64(len(b)) < n {
		err = io.ErrUnexpectedEOF
	}
	return b, err
}

// Names of files are bytes, and JSON has text alone. So names that are asked for are sent as bytes, and those of a tree beside
// it where they are no text.

// notText are path and target of each of a tree where one of them is no text, by its place.
func notText(tree []stat) map[int][2][]byte {
	out := map[int][2][]byte{}
	for i, s := range tree {
		if !utf8.ValidString(s.Path) || !utf8.ValidString(s.Target) {
			out[i] = [2][]byte{[]byte(s.Path), []byte(s.Target)}
		}
	}
	return out
}

// spell puts such names back.
func spell(tree []stat, names map[int][2][]byte) {
	for i, n := range names {
		if i >= 0 && i < len(tree) {
			tree[i].Path, tree[i].Target = string(n[0]), string(n[1])
		}
	}
}

func (r request) MarshalJSON() ([]byte, error) {
	type plain request
	sent := struct {
		plain
		Hash [][]byte
		Read []byte
	}{plain: plain(r), Read: []byte(r.Read)}
	for _, p := range r.Hash {
		sent.Hash = append(sent.Hash, []byte(p))
	}
	return json.Marshal(sent)
}

func (r *request) UnmarshalJSON(text []byte) error {
	type plain request
	sent := struct {
		*plain
		Hash [][]byte
		Read []byte
	}{plain: (*plain)(r)}
	err := json.Unmarshal(text, &sent)
	r.Read = string(sent.Read)
	for _, p := range sent.Hash {
		r.Hash = append(r.Hash, string(p))
	}
	return err
}
