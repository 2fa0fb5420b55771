package rootfs

import (
	"crypto/sha256"
	"hash"
	"io"
)

const (
	aheadSize  = 256 << 10 // bytes of a block
	aheadCount = 8         // blocks
)

// ahead reads a stream on one goroutine and hashes it on another, so that
// decompression, hashing and unpacking take a core each. It is at most aheadCount
// blocks ahead of its reader.
type ahead struct {
	free         chan []byte
	full, hashed chan aheadBlock
	stopped      chan struct{}

	hash    hash.Hash
	total   int64      // bytes that have been read from it
	current aheadBlock // what is left of the current block
	buffer  []byte     // the whole of it
}

type aheadBlock struct {
	data []byte
	err  error // of the stream, after data
}

// readAhead starts to read r, and calls done at its end or after stop.
func readAhead(r io.Reader, done func()) *ahead {
	a := &ahead{
		free: make(chan []byte, aheadCount), full: make(chan aheadBlock, aheadCount), hashed: make(chan aheadBlock, aheadCount),
		stopped: make(chan struct{}), hash: sha256.New(),
	}
	for range aheadCount {
		a.free <- nil // made when it is needed
	}
	go func() {
		defer done()
		a.fill(r)
	}()
	go func() {
		defer close(a.hashed)
		for b := range a.full {
			a.hash.Write(b.data)
			a.hashed <- b
		}
	}()
	return a
}

func (a *ahead) fill(r io.Reader) {
	defer close(a.full)
	for {
		var b aheadBlock
		select {
		case b.data = <-a.free:
		case <-a.stopped:
			return
		}
		if b.data == nil {
			b.data = make([]byte, aheadSize)
		}
		n := 0
		for n < len(b.data) && b.err == nil {
			var more int
			more, b.err = r.Read(b.data[n:])
			n += more
		}
		b.data = b.data[:n]
		a.full <- b
		if b.err != nil {
			return
		}
	}
}

func (a *ahead) Read(p []byte) (int, error) {
	for len(a.current.data) == 0 {
		if a.current.err != nil {
			return 0, a.current.err
		}
		if a.buffer != nil {
			a.free <- a.buffer[:cap(a.buffer)]
			a.buffer = nil
		}
		b, ok := <-a.hashed
		if !ok {
			return 0, io.ErrClosedPipe
		}
		a.current, a.buffer = b, b.data
	}
	n := copy(p, a.current.data)
	a.current.data = a.current.data[n:]
	a.total += int64(n)
	return n, nil
}

// digest returns the digest of the stream, which must have been read to its end.
func (a *ahead) digest() string { return sum(a.hash) }

// stop ends both goroutines. The one that reads ends when its current Read returns.
func (a *ahead) stop() { close(a.stopped) }
