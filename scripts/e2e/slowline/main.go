// Command slowline is a long line between clients and servers on one machine: a TCP proxy with a round-trip time, a
// rate that all its connections share in each direction, and connections that are reset after a seeded number of bytes.
//
//	slowline [-rtt 50ms] [-rate 20] [-reset BYTES] [-seed N] [-log FILE] [-listen ADDR] TARGET
//
// It prints the address where it listens. -rate is in Mbit/s; -reset is how many bytes a connection carries on average
// before it is reset, 0: none is. What connection n carries follows from the seed and n alone.
//
// A connection costs the client a round trip before its first byte goes, as TCP's handshake does. The line queues
// what takes one round trip to send, no more: who sends faster waits. There is no slow start, and no loss.
//
// FILE gets a line for each connection, request and reset, and for the first byte of each answer:
//
//	MILLISECONDS connect CONNECTION DEPTH
//	MILLISECONDS request CONNECTION DEPTH METHOD PATH
//	MILLISECONDS answer CONNECTION DEPTH
//	MILLISECONDS reset CONNECTION BYTES
//	MILLISECONDS closed CONNECTION UP DOWN
//
// DEPTH is how many round trips lie before: one more than the deepest whose answer had reached the client by then.
package main

import (
	"bytes"
	"flag"
	"fmt"
	"log"
	"math/rand/v2"
	"net"
	"os"
	"regexp"
	"sync"
	"sync/atomic"
	"time"
)

const (
	chunkBytes = 4 << 10 // what is put on the line at once
	queued     = 64      // chunks of one connection that are under way at most
)

func main() {
	rtt := flag.Duration("rtt", 50*time.Millisecond, "round-trip time")
	rate := flag.Float64("rate", 20, "Mbit/s in each direction, shared by all connections")
	reset := flag.Float64("reset", 0, "mean number of `bytes` after which a connection is reset")
	seed := flag.Uint64("seed", 1, "of the resets")
	listen := flag.String("listen", "127.0.0.1:0", "`address`")
	name := flag.String("log", os.DevNull, "log `file`")
	flag.Parse()
	out, err := os.OpenFile(*name, os.O_CREATE|os.O_WRONLY|os.O_APPEND, 0o644)
	if err != nil {
		log.Fatal(err)
	}
	ln, err := net.Listen("tcp", *listen)
	if err != nil {
		log.Fatal(err)
	}
	fmt.Println(ln.Addr())
	l := &line{rtt: *rtt, target: flag.Arg(0), log: out, begin: time.Now()}
	l.up.perByte = time.Duration(8e3 / *rate)
	l.down.perByte = l.up.perByte
	for n := uint64(1); ; n++ {
		client, err := ln.Accept()
		if err != nil {
			log.Fatal(err)
		}
		c := &connection{line: l, n: n, client: client.(*net.TCPConn)}
		c.left.Store(1 << 62)
		if *reset > 0 {
			c.left.Store(int64(rand.New(rand.NewPCG(*seed, n)).ExpFloat64() * *reset))
		}
		go c.carry()
	}
}

// line is what all connections share.
type line struct {
	rtt      time.Duration
	target   string
	up, down direction
	begin    time.Time

	mu    sync.Mutex
	depth int // of the deepest answer that reached the client
	log   *os.File
}

// say writes a line of the log.
func (l *line) say(format string, args ...any) {
	fmt.Fprintf(l.log, "%d "+format+"\n", append([]any{time.Since(l.begin).Milliseconds()}, args...)...)
}

// direction is one way of the line.
type direction struct {
	perByte time.Duration
	mu      sync.Mutex
	free    time.Time // when it has sent all that was put on it
}

// put takes n bytes, when the queue has room, and tells when the last of them has left.
func (d *direction) put(n int, room time.Duration) time.Time {
	for {
		d.mu.Lock()
		now := time.Now()
		if d.free.Before(now) {
			d.free = now
		}
		if wait := d.free.Sub(now) - room; wait > 0 {
			d.mu.Unlock()
			time.Sleep(wait)
			continue
		}
		d.free = d.free.Add(time.Duration(n) * d.perByte)
		left := d.free
		d.mu.Unlock()
		return left
	}
}

// connection is one of a client's, and the one to the target that belongs to it.
type connection struct {
	*line
	n              uint64
	client, server *net.TCPConn
	left           atomic.Int64 // bytes until it is reset
	sent, received atomic.Int64
	once           sync.Once

	depth    int  // guarded by line.mu: of the last request
	answered bool // guarded by line.mu: its answer's first byte reached the client
}

func (c *connection) carry() {
	defer c.client.Close()
	server, err := net.Dial("tcp", c.target)
	if err != nil {
		c.reset()
		return
	}
	c.server = server.(*net.TCPConn)
	defer server.Close()
	c.mu.Lock()
	c.depth = c.line.depth + 1 // the handshake's
	c.say("connect %d %d", c.n, c.depth)
	c.mu.Unlock()
	established := time.Now().Add(c.rtt)
	var both sync.WaitGroup
	both.Add(2)
	go func() { defer both.Done(); c.way(c.client, c.server, &c.up, &c.sent, established) }()
	go func() { defer both.Done(); c.way(c.server, c.client, &c.down, &c.received, time.Time{}) }()
	both.Wait()
	c.say("closed %d %d %d", c.n, c.sent.Load(), c.received.Load())
}

// reset ends the connection on both sides as a router does that has forgotten it.
func (c *connection) reset() {
	c.once.Do(func() {
		c.say("reset %d %d", c.n, c.sent.Load()+c.received.Load())
		for _, s := range []*net.TCPConn{c.client, c.server} {
			if s != nil {
				s.SetLinger(0)
				s.Close()
			}
		}
	})
}

type chunk struct {
	data []byte
	at   time.Time // when it arrives
}

// way carries one direction of a connection; nothing leaves before the time that is given.
func (c *connection) way(from, to *net.TCPConn, d *direction, count *atomic.Int64, established time.Time) {
	under := make(chan chunk, queued)
	go func() {
		defer close(under)
		for {
			buf := make([]byte, chunkBytes)
			n, err := from.Read(buf)
			if n > 0 {
				if d == &c.up {
					c.request(buf[:n])
				}
				time.Sleep(time.Until(established))
				under <- chunk{buf[:n], d.put(n, c.rtt).Add(c.rtt / 2)}
			}
			if err != nil {
				return
			}
		}
	}()
	failed := false
	for k := range under {
		if failed {
			continue
		}
		time.Sleep(time.Until(k.at))
		if d == &c.down {
			c.answer()
		}
		if _, err := to.Write(k.data); err != nil {
			failed = true
			from.Close()
			continue
		}
		count.Add(int64(len(k.data)))
		if c.left.Add(-int64(len(k.data))) < 0 {
			c.reset()
			failed = true
		}
	}
	to.CloseWrite()
}

var requestLine = regexp.MustCompile(`^(GET|HEAD|PUT|POST|PATCH|DELETE) (\S+) HTTP/1\.1\r\n`)

// request notes what the client begins to send. It sees the first of requests that follow one another at once.
func (c *connection) request(data []byte) {
	m := requestLine.FindSubmatch(data)
	if m == nil {
		return
	}
	path, _, _ := bytes.Cut(m[2], []byte("?"))
	c.mu.Lock()
	defer c.mu.Unlock()
	c.depth = max(c.depth, c.line.depth) + 1
	c.answered = false
	c.say("request %d %d %s %s", c.n, c.depth, m[1], path)
}

// answer notes the first byte of an answer.
func (c *connection) answer() {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.answered {
		return
	}
	c.answered = true
	c.line.depth = max(c.line.depth, c.depth)
	c.say("answer %d %d", c.n, c.depth)
}
