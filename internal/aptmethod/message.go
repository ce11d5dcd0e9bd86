package aptmethod

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"strconv"
	"strings"
	"sync"
	"unicode"
)

// Limits of what apt sends. Its configuration, all in one message, has about 100 KB.
const (
	maxMessage = 8 << 20
	maxFields  = 200_000
)

// errMessage marks a message that is none.
var errMessage = errors.New("message")

// The codes of messages (apt's doc/method.dbk).
const (
	codeCapabilities  = 100
	codeWarning       = 104
	codeStart         = 200
	codeDone          = 201
	codeFailure       = 400
	codeGeneral       = 401
	codeAcquire       = 600
	codeConfiguration = 601
)

// message is what apt and a method tell each other: a line with a code, and fields like those of a mail.
type message struct {
	code   int
	text   string
	fields []field
}

type field struct{ name, value string }

// get returns the first value of a field, "" if there is none. Names are compared as apt does, without case.
func (m *message) get(name string) string {
	for _, f := range m.fields {
		if strings.EqualFold(f.name, name) {
			return f.value
		}
	}
	return ""
}

// readMessage reads up to the empty line that ends a message; io.EOF if nothing came. Other errors wrap errMessage or are those of r.
func readMessage(r *bufio.Reader) (*message, error) {
	var m *message
	for left := maxMessage; ; {
		line, err := readLine(r, &left)
		if err == io.EOF && m == nil && line == "" {
			return nil, io.EOF
		}
		if err == io.EOF {
			return nil, fmt.Errorf("%w: it ends early", errMessage)
		}
		if err != nil {
			return nil, err
		}
		switch {
		case line == "" && m == nil: // apt may send empty lines between messages
		case line == "":
			return m, nil
		case m == nil:
			if m, err = parseHead(line); err != nil {
				return nil, err
			}
		default:
			name, value, ok := strings.Cut(line, ":")
			if !ok || name == "" || strings.Trim(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-") != "" {
				return nil, fmt.Errorf("%w %d: %.80q is no field", errMessage, m.code, line)
			}
			if len(m.fields) == maxFields {
				return nil, fmt.Errorf("%w %d: more than %d fields", errMessage, m.code, maxFields)
			}
			m.fields = append(m.fields, field{name, strings.TrimSpace(value)})
		}
	}
}

// readLine reads a line without its end; left is what the message may still have.
func readLine(r *bufio.Reader, left *int) (string, error) {
	var b strings.Builder
	for {
		part, err := r.ReadSlice('\n')
		if *left -= len(part); *left < 0 {
			return "", fmt.Errorf("%w: more than %d bytes", errMessage, maxMessage)
		}
		b.Write(part)
		if err == bufio.ErrBufferFull {
			continue
		}
		line := strings.TrimSuffix(strings.TrimSuffix(b.String(), "\n"), "\r")
		if strings.ContainsFunc(line, isControl) {
			return "", fmt.Errorf("%w: control character in %.80q", errMessage, line)
		}
		return line, err
	}
}

func isControl(r rune) bool { return r < 0x20 && r != '\t' || r == 0x7f }

func parseHead(line string) (*message, error) {
	digits, text, _ := strings.Cut(line, " ")
	code, err := strconv.Atoi(digits)
	if err != nil || len(digits) != 3 || code < 100 {
		return nil, fmt.Errorf("%w: %.80q does not begin with a code of three digits", errMessage, line)
	}
	return &message{code: code, text: text}, nil
}

// writer sends messages. Safe for concurrent use.
type writer struct {
	mu  sync.Mutex
	out io.Writer
	err error // the first one
}

// send writes a message; fields are names and values in turn, and one without a value is left out. Text of others
// becomes one printable line: apt takes a message with a control character for an attack.
func (w *writer) send(code int, text string, fields ...string) {
	var b strings.Builder
	fmt.Fprintf(&b, "%d %s\n", code, text)
	for i := 0; i < len(fields); i += 2 {
		value := fields[i+1]
		if fields[i] != "URI" && fields[i] != "Filename" { // apt's own words, which it must know again
			value = oneLine(value)
		}
		if value != "" {
			b.WriteString(fields[i] + ": " + value + "\n")
		}
	}
	b.WriteByte('\n')
	w.mu.Lock()
	defer w.mu.Unlock()
	if _, err := io.WriteString(w.out, b.String()); err != nil && w.err == nil {
		w.err = err
	}
}

// failed is the error of the first message that could not be written.
func (w *writer) failed() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.err
}

// oneLine makes one line of any text: a registry's words reach the terminal that apt runs in, and no character of them
// may move its cursor or turn the direction of what is around it.
func oneLine(s string) string {
	s = strings.ToValidUTF8(s, "?")
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return unicode.In(r, unicode.Cc, unicode.Cf, unicode.Zl, unicode.Zp) }), " ")
}
