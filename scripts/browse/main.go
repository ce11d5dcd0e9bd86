// Command browse drives a headless Chromium through what standard input says,
// for the end-to-end test of the server's page. It ends with 1 if something is
// not as wanted, or if a page did more than show text: a dialog, a script's
// word, a violation of its content security policy, a request to another host.
//
//	browse hostile LAYOUT   an OCI layout with snapshots whose names attack the page
//	browse PROFILE          commands, one a line:
//
//	open URL                go there
//	size WIDTH HEIGHT       of the window, in pixels
//	click SELECTOR          the mouse, on the middle of the first such element
//	follow SELECTOR         the same, and wait for the page it leads to
//	type TEXT               the keyboard, into what was clicked
//	enter                   the key, and wait for the page it leads to
//	copy, paste             the keys
//	true EXPRESSION         must be so
//	print EXPRESSION        on standard output, as JSON
//	shot FILE               a PNG of the window
package main

import (
	"bufio"
	"context"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"strings"
	"syscall"
	"time"
)

// patience bounds one run.
const patience = 3 * time.Minute

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	defer stop()
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	if err := run(ctx, os.Args[1:], os.Stdin); err != nil {
		fmt.Fprintln(os.Stderr, "browse:", err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string, commands io.Reader) error {
	switch {
	case len(args) == 2 && args[0] == "hostile":
		return writeHostile(ctx, args[1])
	case len(args) != 1:
		return errors.New("usage: browse hostile LAYOUT, or browse PROFILE")
	}
	b, err := open(ctx, "chromium", args[0])
	if err != nil {
		return err
	}
	defer b.close()
	lines := bufio.NewScanner(commands)
	for lines.Scan() {
		line := strings.TrimSpace(lines.Text())
		if line == "" || line[0] == '#' {
			continue
		}
		if err := b.do(ctx, line); err != nil {
			return fmt.Errorf("%s: %w", line, err)
		}
	}
	// One more round trip, so that the events of the last command are here. A page that
	// goes away by itself makes it fail; what it did is told all the same.
	_, err = b.eval(ctx, "1")
	b.mu.Lock()
	defer b.mu.Unlock()
	if len(b.noted) > 0 {
		return fmt.Errorf("the pages did more than show text:\n%s", strings.Join(b.noted, "\n"))
	}
	return errors.Join(err, lines.Err())
}

// do does one line.
func (b *browser) do(ctx context.Context, line string) error {
	verb, rest, _ := strings.Cut(line, " ")
	switch verb {
	case "open":
		return b.load(ctx, func() error {
			var gone struct{ ErrorText string }
			err := b.call(ctx, "Page.navigate", object{"url": rest}, &gone)
			if err == nil && gone.ErrorText != "" {
				err = errors.New(gone.ErrorText)
			}
			return err
		})
	case "size":
		return b.size(ctx, rest)
	case "click":
		return b.click(ctx, rest)
	case "follow":
		return b.load(ctx, func() error { return b.click(ctx, rest) })
	case "type":
		return b.call(ctx, "Input.insertText", object{"text": rest}, nil)
	case "enter":
		return b.load(ctx, func() error {
			return b.press(ctx, object{"key": "Enter", "code": "Enter", "windowsVirtualKeyCode": 13, "text": "\r"})
		})
	case "copy":
		return b.press(ctx, object{"key": "c", "code": "KeyC", "modifiers": 2, "commands": []string{"copy"}})
	case "paste":
		return b.press(ctx, object{"key": "v", "code": "KeyV", "modifiers": 2, "commands": []string{"paste"}})
	case "true":
		if v, err := b.eval(ctx, rest); err != nil || v != "true" {
			return errors.Join(fmt.Errorf("is %s", v), err)
		}
		return nil
	case "print":
		v, err := b.eval(ctx, rest)
		fmt.Println(v)
		return err
	case "shot":
		return b.shot(ctx, rest)
	}
	return errors.New("no such command")
}

func (b *browser) size(ctx context.Context, text string) error {
	var width, height int
	if _, err := fmt.Sscan(text, &width, &height); err != nil {
		return err
	}
	return b.call(ctx, "Emulation.setDeviceMetricsOverride", object{"width": width, "height": height, "deviceScaleFactor": 1, "mobile": width < 600}, nil)
}

// click puts the mouse on the middle of what is to be seen of an element, and presses.
func (b *browser) click(ctx context.Context, selector string) error {
	quoted, err := json.Marshal(selector)
	if err != nil {
		return err
	}
	at, err := b.eval(ctx, `(() => { const e = document.querySelector(`+string(quoted)+`); if (!e) return null;
		e.scrollIntoView({block: "center"}); const r = e.getBoundingClientRect(); return [r.x + r.width / 2, r.y + r.height / 2] })()`)
	if err != nil {
		return err
	}
	var point []float64
	if err := json.Unmarshal([]byte(at), &point); err != nil || len(point) != 2 {
		return fmt.Errorf("no element %s", selector)
	}
	for _, kind := range []string{"mousePressed", "mouseReleased"} {
		err := b.call(ctx, "Input.dispatchMouseEvent", object{"type": kind, "x": point[0], "y": point[1], "button": "left", "clickCount": 1}, nil)
		if err != nil {
			return err
		}
	}
	return nil
}

func (b *browser) press(ctx context.Context, key object) error {
	for _, kind := range []string{"keyDown", "keyUp"} {
		key["type"] = kind
		if err := b.call(ctx, "Input.dispatchKeyEvent", key, nil); err != nil {
			return err
		}
		delete(key, "text")
		delete(key, "commands")
	}
	return nil
}

func (b *browser) shot(ctx context.Context, file string) error {
	var picture struct{ Data string }
	if err := b.call(ctx, "Page.captureScreenshot", object{"format": "png", "optimizeForSpeed": false}, &picture); err != nil {
		return err
	}
	data, err := base64.StdEncoding.DecodeString(picture.Data)
	if err != nil {
		return err
	}
	return os.WriteFile(file, data, 0o644)
}
