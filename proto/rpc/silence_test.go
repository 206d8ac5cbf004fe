package rpc_test

import (
	"io"
	"net"
	"sync"
	"testing"
)

// silenced is a way to address on which, from the call of hush on, nothing travels and nothing ends: what a stopped
// process or a cable looks like.
func silenced(t *testing.T, address string) (front string, hush func()) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	silent := make(chan struct{})
	ended := make(chan struct{})
	t.Cleanup(func() {
		close(ended)
		_ = l.Close()
	})
	go func() {
		for {
			in, err := l.Accept()
			if err != nil {
				return
			}
			go pipe(in, address, silent, ended)
		}
	}()
	return l.Addr().String(), sync.OnceFunc(func() { close(silent) })
}

func pipe(in net.Conn, address string, silent, ended <-chan struct{}) {
	defer in.Close()
	out, err := net.Dial("tcp", address)
	if err != nil {
		return
	}
	defer out.Close()
	gone := make(chan struct{}, 2)
	for _, way := range [][2]net.Conn{{in, out}, {out, in}} {
		go func() {
			carryUntil(way[0], way[1], silent)
			gone <- struct{}{}
		}()
	}
	select {
	case <-gone:
	case <-ended:
		return
	}
	select {
	case <-silent:
		<-ended
	default:
	}
}

func carryUntil(to io.Writer, from io.Reader, silent <-chan struct{}) {
	buf := make([]byte, 16<<10)
	for {
		n, err := from.Read(buf)
		if err != nil {
			return
		}
		select {
		case <-silent:
			continue
		default:
		}
		if _, err := to.Write(buf[:n]); err != nil {
			return
		}
	}
}
