package main

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"syscall"
	"time"
)

// browser is one page of a headless Chromium, driven by the DevTools protocol
// over a pipe: JSON texts that end with a NUL byte, to its descriptor 3 and from its descriptor 4.
type browser struct {
	cmd     *exec.Cmd
	in      *os.File
	session string // of the page
	ended   chan struct{}

	mu      sync.Mutex
	last    int
	waiting map[int]chan message
	loaded  chan struct{} // one element a page that finished loading
	noted   []string      // what a harmless page never does
}

// message is a command's answer or an event.
type message struct {
	ID     int             `json:"id,omitempty"`
	Method string          `json:"method,omitempty"`
	Params json.RawMessage `json:"params,omitempty"`
	Result json.RawMessage `json:"result,omitempty"`
	Error  *struct {
		Message string `json:"message"`
	} `json:"error,omitempty"`
}

// flags keep it to itself: no other host has an address.
var flags = []string{
	"--headless", "--no-sandbox", "--disable-gpu", "--disable-quic", "--no-first-run", "--disable-background-networking",
	"--disable-component-update", "--disable-sync", "--disable-extensions", "--disable-dev-shm-usage", "--hide-scrollbars", "--remote-debugging-pipe",
	"--host-resolver-rules=MAP * ~NOTFOUND, EXCLUDE 127.0.0.1",
}

// open starts Chromium with a profile of its own in dir and opens an empty page.
func open(ctx context.Context, program, dir string) (*browser, error) {
	theirIn, in, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	out, theirOut, err := os.Pipe()
	if err != nil {
		return nil, err
	}
	b := &browser{in: in, ended: make(chan struct{}), waiting: map[int]chan message{}, loaded: make(chan struct{}, 100)}
	b.cmd = exec.CommandContext(ctx, program, append(flags, "--user-data-dir="+dir)...)
	b.cmd.ExtraFiles = []*os.File{theirIn, theirOut}
	b.cmd.Env = append(os.Environ(), "HOME="+dir, "TZ=UTC", "LC_ALL=C.UTF-8")
	// Its children are of one group with it, and end with it.
	b.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	var said bytes.Buffer
	b.cmd.Stderr = &said
	if err := b.cmd.Start(); err != nil {
		return nil, err
	}
	theirIn.Close()
	theirOut.Close()
	go b.read(out)
	if err := b.attach(ctx); err != nil {
		b.close()
		return nil, fmt.Errorf("%s: %w\n%s", program, err, said.String())
	}
	return b, nil
}

// close ends Chromium, asked first, and waits for it.
func (b *browser) close() {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	b.session = ""
	_ = b.call(ctx, "Browser.close", nil, nil)
	select {
	case <-b.ended:
	case <-ctx.Done():
	}
	_ = syscall.Kill(-b.cmd.Process.Pid, syscall.SIGKILL)
	_ = b.cmd.Wait()
	b.in.Close()
}

func (b *browser) attach(ctx context.Context) error {
	var made struct{ TargetID string }
	if err := b.call(ctx, "Target.createTarget", object{"url": "about:blank"}, &made); err != nil {
		return err
	}
	// So that a test may read what was copied.
	if err := b.call(ctx, "Browser.grantPermissions", object{"permissions": []string{"clipboardReadWrite", "clipboardSanitizedWrite"}}, nil); err != nil {
		return err
	}
	var attached struct{ SessionID string }
	if err := b.call(ctx, "Target.attachToTarget", object{"targetId": made.TargetID, "flatten": true}, &attached); err != nil {
		return err
	}
	b.session = attached.SessionID
	for _, domain := range []string{"Page", "Runtime", "Log", "Network", "Audits"} {
		if err := b.call(ctx, domain+".enable", nil, nil); err != nil {
			return err
		}
	}
	return nil
}

type object map[string]any

// call sends a command and decodes its result.
func (b *browser) call(ctx context.Context, method string, params object, result any) error {
	answer := make(chan message, 1)
	b.mu.Lock()
	b.last++
	id := b.last
	b.waiting[id] = answer
	b.mu.Unlock()
	command := object{"id": id, "method": method}
	if params != nil {
		command["params"] = params
	}
	if b.session != "" {
		command["sessionId"] = b.session
	}
	data, err := json.Marshal(command)
	if err != nil {
		return err
	}
	if _, err := b.in.Write(append(data, 0)); err != nil {
		return err
	}
	select {
	case m := <-answer:
		if m.Error != nil {
			return fmt.Errorf("%s: %s", method, m.Error.Message)
		}
		if result == nil {
			return nil
		}
		return json.Unmarshal(m.Result, result)
	case <-b.ended:
		return fmt.Errorf("%s: Chromium has ended", method)
	case <-ctx.Done():
		return fmt.Errorf("%s: %w", method, ctx.Err())
	}
}

// read hands answers to those who wait, and looks at events, until Chromium ends.
func (b *browser) read(out io.ReadCloser) {
	defer close(b.ended)
	defer out.Close()
	r := bufio.NewReader(out)
	for {
		text, err := r.ReadBytes(0)
		if err != nil {
			return
		}
		var m message
		if json.Unmarshal(text[:len(text)-1], &m) != nil {
			continue
		}
		b.mu.Lock()
		if m.ID != 0 {
			if answer := b.waiting[m.ID]; answer != nil {
				answer <- m
				delete(b.waiting, m.ID)
			}
		} else {
			b.event(m)
		}
		b.mu.Unlock()
	}
}

// event notes what a page does that shows strangers' words as words never
// does: it runs nothing, opens nothing, and asks nobody but its own server.
// The caller holds mu.
func (b *browser) event(m message) {
	if m.Method == "Page.javascriptDialogOpening" { // the page stands still until somebody answers
		go func() { _ = b.call(context.Background(), "Page.handleJavaScriptDialog", object{"accept": false}, nil) }()
	}
	switch m.Method {
	case "Page.loadEventFired":
		select {
		case b.loaded <- struct{}{}:
		default:
		}
	case "Page.javascriptDialogOpening", "Runtime.consoleAPICalled", "Runtime.exceptionThrown", "Log.entryAdded", "Audits.issueAdded":
		// Chromium asks for an icon by itself beside a page without a policy, a text; and that a page is one of an error, it tells as well.
		if !bytes.Contains(m.Params, []byte("/favicon.ico")) && !bytes.Contains(m.Params, []byte("the server responded with a status of 40")) {
			b.noted = append(b.noted, m.Method+" "+string(m.Params))
		}
	case "Network.requestWillBeSent":
		var sent struct{ Request struct{ URL string } }
		if json.Unmarshal(m.Params, &sent) == nil && !strings.HasPrefix(sent.Request.URL, "http://127.0.0.1:") {
			b.noted = append(b.noted, "a request for "+sent.Request.URL)
		}
	}
}

// load goes to a URL, or does what makes the page go, and waits until it is there.
func (b *browser) load(ctx context.Context, act func() error) error {
	for len(b.loaded) > 0 {
		<-b.loaded
	}
	if err := act(); err != nil {
		return err
	}
	select {
	case <-b.loaded:
		return nil
	case <-time.After(20 * time.Second):
		return errors.New("no page was loaded within 20 s")
	case <-ctx.Done():
		return ctx.Err()
	}
}

// eval is the value of a JavaScript expression, as JSON. It runs beside the
// page's content security policy.
func (b *browser) eval(ctx context.Context, expression string) (string, error) {
	var answer struct {
		Result           struct{ Value json.RawMessage }
		ExceptionDetails *struct {
			Text      string
			Exception struct{ Description string }
		}
	}
	err := b.call(ctx, "Runtime.evaluate", object{"expression": expression, "returnByValue": true, "awaitPromise": true, "userGesture": true}, &answer)
	if err != nil {
		return "", err
	}
	if e := answer.ExceptionDetails; e != nil {
		return "", fmt.Errorf("%s: %s %s", expression, e.Text, e.Exception.Description)
	}
	return string(answer.Result.Value), nil
}
