package resolve

import (
	"encoding/binary"
	"unsafe"
)

// mentionBlock tells which words may stand in the relations of some records in
// a row: one bit a word, by its hash. A release has two thousand blocks, and a
// name's bit is set in few that do not mention it.
type mentionBlock struct {
	first int32 // record
	bits  [blockBits / 64]uint64
}

// The records of a block mention some 400 names: one in twenty that they do not
// mention looks as if they did.
const (
	blockRecords = 32
	blockBits    = 1 << 13
)

func (b *mentionBlock) may(hash uint64) bool {
	return b.bits[hash/64%(blockBits/64)]>>(hash%64)&1 != 0
}

func (b *mentionBlock) add(word string) {
	hash := hashWord(word)
	b.bits[hash/64%(blockBits/64)] |= 1 << (hash % 64)
}

// addAll adds each word of relations that could be a name; relationNames
// divides them alike. Versions, in parentheses, are passed over.
func (b *mentionBlock) addAll(text string) {
	for i := 0; i < len(text); i++ {
		c := text[i]
		if classes[c]&betweenBytes != 0 {
			if c == '(' {
				for i+1 < len(text) && text[i+1] != ')' && text[i+1] != ',' && text[i+1] != '|' {
					i++
				}
			}
			continue
		}
		start := i
		for i++; i < len(text) && classes[text[i]]&betweenBytes == 0; i++ {
		}
		b.add(text[start:i])
		i-- // what ended it may be a parenthesis
	}
}

// hashWord is over the first, the middle and the last eight bytes.
func hashWord(word string) uint64 {
	const k1, k2, k3 = 0x9e3779b97f4a7c15, 0xc2b2ae3d27d4eb4f, 0x165667b19e3779f9
	n := len(word)
	b := unsafe.Slice(unsafe.StringData(word), n)
	h := uint64(n)
	if n >= 8 {
		h += binary.LittleEndian.Uint64(b)*k1 ^ binary.LittleEndian.Uint64(b[n/2-4:])*k2 ^ binary.LittleEndian.Uint64(b[n-8:])*k3
	} else {
		for _, c := range b {
			h = h*k1 + uint64(c)
		}
	}
	h ^= h >> 29
	return h * k1 >> 48
}

// mention notes the words of a record that is about to be the chunk's next.
func (c *chunk) mention(name, relations string) {
	n := len(c.records)
	if n%blockRecords == 0 {
		c.blocks = append(c.blocks, mentionBlock{first: int32(n)})
	}
	b := &c.blocks[len(c.blocks)-1]
	b.add(name)
	b.addAll(relations)
}
