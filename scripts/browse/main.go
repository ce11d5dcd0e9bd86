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
//	scheme dark|light       what the person prefers
//	click SELECTOR          the mouse, on the middle of the first such element
//	follow SELECTOR         the same, and wait for the page it leads to
//	type TEXT               the keyboard, into what was clicked
//	enter                   the key, and wait for the page it leads to
//	copy, paste             the keys
//	true EXPRESSION         must be so
//	print EXPRESSION        on standard output, as JSON
//	shot FILE               a PNG of the window
//	axe FILE                run axe-core, whose script FILE is; a violation of WCAG 2 level A or AA is an error
//	tabs                    every link, button and field can be reached by the Tab key
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
	case "scheme":
		return b.call(ctx, "Emulation.setEmulatedMedia", object{"features": []object{{"name": "prefers-color-scheme", "value": rest}}}, nil)
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
	case "axe":
		return b.axe(ctx, rest)
	case "tabs":
		return b.tabs(ctx)
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

// axe runs axe-core in the page. It is evaluated by the browser's debugger, so that the page's own policy stays in force.
func (b *browser) axe(ctx context.Context, file string) error {
	script, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	if _, err := b.eval(ctx, string(script)+";0"); err != nil {
		return err
	}
	found, err := b.eval(ctx, `axe.run(document, {runOnly: ["wcag2a", "wcag2aa", "wcag21a", "wcag21aa"]}).then(r => r.passes.length == 0 ? "nothing was looked at" :
		r.violations.map(v => v.id + ": " + v.nodes.map(n => n.target + " " + n.failureSummary).join("; ")).join("\n"))`)
	if err == nil && found != `""` {
		err = errors.New(found)
	}
	return err
}

// tabs presses Tab as often as there is something to reach, and wants to have been everywhere.
func (b *browser) tabs(ctx context.Context) error {
	const reachable = `[...document.querySelectorAll("a[href], button, input, select, summary")].filter(e => e.checkVisibility())`
	count, err := b.eval(ctx, `document.activeElement.blur(), window.beenAt = new Set(), document.addEventListener("focusin", e => beenAt.add(e.target)), document.querySelectorAll("*").length && `+
		reachable+`.length + document.querySelectorAll("[tabindex]").length + document.querySelectorAll("pre").length`)
	if err != nil {
		return err
	}
	var n int
	if err := json.Unmarshal([]byte(count), &n); err != nil {
		return err
	}
	for range min(n, 500) + 1 {
		// Focus moves when the key goes down.
		if err := b.call(ctx, "Input.dispatchKeyEvent", object{"type": "rawKeyDown", "key": "Tab", "code": "Tab", "windowsVirtualKeyCode": 9}, nil); err != nil {
			return err
		}
	}
	missed, err := b.eval(ctx, reachable+`.slice(0, 400).filter(e => !beenAt.has(e)).map(e => e.outerHTML.slice(0, 80)).join("\n")`)
	if err == nil && missed != `""` {
		err = fmt.Errorf("not reached by Tab: %s", missed)
	}
	return err
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
