package run

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"io"
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
