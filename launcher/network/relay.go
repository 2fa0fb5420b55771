package network

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"time"

	"github.com/minirun/minirun/internal/thread"
)

// relay answers the container's DNS queries if this machine's name servers listen at its
// loopback device, which the container does not reach. It listens in the container's
// namespace, at the address where Docker's listens, and passes messages on as they are.
type relay struct {
	servers []netip.AddrPort
	udp     *net.UDPConn
	tcp     *net.TCPListener
	slots   chan struct{}
}

// relayAddress is where containers find the relay.
func relayAddress() netip.Addr { return netip.AddrFrom4([4]byte{127, 0, 0, 11}) }

const (
	dnsPort   = 53
	dnsHeader = 12 // bytes (RFC 1035, section 4.1.1)
	// maxQuestions is how many questions are open at once. More are dropped, and asked
	// again by the resolver.
	maxQuestions = 256
	// A resolver waits for 5 seconds (resolv.conf(5), timeout).
	answerTimeout   = 5 * time.Second
	exchangeTimeout = time.Minute // of a connection
)

// startRelay listens in a namespace, and asks the servers.
func startRelay(ns *os.File, servers []netip.Addr) (*relay, error) {
	r := &relay{slots: make(chan struct{}, maxQuestions)}
	for _, s := range servers {
		r.servers = append(r.servers, netip.AddrPortFrom(s, dnsPort))
	}
	at := netip.AddrPortFrom(relayAddress(), dnsPort)
	err := thread.Do(func() (err error) {
		if err := enter(ns); err != nil {
			return err
		}
		if r.udp, err = net.ListenUDP("udp4", net.UDPAddrFromAddrPort(at)); err != nil {
			return err
		}
		r.tcp, err = net.ListenTCP("tcp4", net.TCPAddrFromAddrPort(at))
		return err
	})
	if err != nil {
		r.close()
		return nil, fmt.Errorf("listen for questions for names: %w", err)
	}
	go r.datagrams()
	go r.connections()
	return r, nil
}

func (r *relay) close() {
	if r.udp != nil {
		_ = r.udp.Close()
	}
	if r.tcp != nil {
		_ = r.tcp.Close()
	}
}

// datagrams answers questions that come by UDP.
func (r *relay) datagrams() {
	var data [1 << 16]byte
	for {
		n, from, err := r.udp.ReadFromUDPAddrPort(data[:])
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil || n < dnsHeader {
			continue
		}
		select {
		case r.slots <- struct{}{}:
			question := append([]byte(nil), data[:n]...)
			go func() {
				defer func() { <-r.slots }()
				if answer := r.ask(question); answer != nil {
					_, _ = r.udp.WriteToUDPAddrPort(answer, from)
				}
			}()
		default:
		}
	}
}

// ask asks one server after another, and returns the first answer, or nil.
func (r *relay) ask(question []byte) []byte {
	for _, server := range r.servers {
		if answer := askServer(server, question); answer != nil {
			return answer
		}
	}
	return nil
}

func askServer(server netip.AddrPort, question []byte) []byte {
	conn, err := net.DialUDP("udp", nil, net.UDPAddrFromAddrPort(server)) // a new port: answers cannot be guessed
	if err != nil {
		return nil
	}
	defer conn.Close()
	_ = conn.SetDeadline(time.Now().Add(answerTimeout))
	if _, err := conn.Write(question); err != nil {
		return nil
	}
	data := datagramBuffers.Get().(*[1 << 16]byte)
	defer datagramBuffers.Put(data)
	for {
		n, err := conn.Read(data[:])
		if err != nil {
			return nil
		}
		if answers(question, data[:n]) {
			return append([]byte(nil), data[:n]...)
		}
	}
}

// answers reports whether a message has the ID of a question, and is an answer (RFC
// 1035, section 4.1.1, ID and QR).
func answers(question, message []byte) bool {
	return len(message) >= dnsHeader && len(question) >= dnsHeader &&
		message[0] == question[0] && message[1] == question[1] && message[2]&0x80 != 0
}

// connections answers questions that come by TCP, as those do whose answer is long.
func (r *relay) connections() {
	for {
		r.slots <- struct{}{}
		client, err := r.tcp.AcceptTCP()
		if err != nil {
			<-r.slots
			if errors.Is(err, net.ErrClosed) {
				return
			}
			<-time.After(100 * time.Millisecond)
			continue
		}
		go func() {
			defer func() { <-r.slots }()
			r.exchange(client)
		}()
	}
}

// exchange connects a client with the first server that takes the connection.
func (r *relay) exchange(client *net.TCPConn) {
	defer client.Close()
	for _, address := range r.servers {
		conn, err := net.DialTimeout("tcp", address.String(), answerTimeout)
		if err != nil {
			continue
		}
		defer conn.Close()
		server := conn.(*net.TCPConn)
		end := time.Now().Add(exchangeTimeout)
		_, _ = client.SetDeadline(end), server.SetDeadline(end)
		up := make(chan struct{})
		go func() {
			defer close(up)
			_, _ = io.Copy(server, client)
			_ = server.CloseWrite()
		}()
		_, _ = io.Copy(client, server)
		_ = client.Close()
		<-up
		return
	}
}
