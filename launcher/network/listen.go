package network

import (
	"errors"
	"fmt"
	"net"
	"net/netip"

	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/launcher/config"
)

// published is a port of the container's at which the host listens.
type published struct {
	config.Publication
	port uint16 // of the host
	tcp  []*net.TCPListener
	udp  []*net.UDPConn
}

func (p *published) close() {
	for _, l := range p.tcp {
		_ = l.Close()
	}
	for _, c := range p.udp {
		_ = c.Close()
	}
	p.tcp, p.udp = nil, nil
}

// listen listens for what a publication asks for: at the first port that is free at all
// its addresses.
func listen(pub config.Publication) (*published, error) {
	tries, first := int(pub.Last)-int(pub.First)+1, int(pub.First)
	if first == 0 {
		tries = 16 // what the kernel chooses for IPv4 may be taken for IPv6
	}
	var err error
	for i := range tries {
		p := &published{Publication: pub, port: uint16(first)}
		if first != 0 {
			p.port += uint16(i)
		}
		if err = p.listen(); err == nil {
			return p, nil
		}
		p.close()
		if !errors.Is(err, unix.EADDRINUSE) {
			break
		}
	}
	return nil, err
}

// listen listens at one port. Without an address it is all of IPv4, and all of IPv6 if
// the host has that: apart, so that each knows at which address it was reached.
func (p *published) listen() error {
	if p.Address.IsValid() {
		return p.at(p.Address)
	}
	if err := p.at(netip.IPv4Unspecified()); err != nil {
		return err
	}
	err := p.at(netip.IPv6Unspecified())
	if errors.Is(err, unix.EAFNOSUPPORT) || errors.Is(err, unix.EADDRNOTAVAIL) {
		return nil
	}
	return err
}

func (p *published) at(address netip.Addr) error {
	network := p.Port.Protocol + "4"
	if address.Is6() {
		network = p.Port.Protocol + "6"
	}
	at := netip.AddrPortFrom(address, p.port)
	var err error
	if p.Port.Protocol == "tcp" {
		var l *net.TCPListener
		if l, err = net.ListenTCP(network, net.TCPAddrFromAddrPort(at)); err == nil {
			p.tcp, p.port = append(p.tcp, l), l.Addr().(*net.TCPAddr).AddrPort().Port()
		}
	} else {
		var c *net.UDPConn
		if c, err = net.ListenUDP(network, net.UDPAddrFromAddrPort(at)); err == nil {
			p.udp, p.port = append(p.udp, c), c.LocalAddr().(*net.UDPAddr).AddrPort().Port()
			err = tellAddress(c, address)
		}
	}
	if err != nil {
		return p.refused(at, err)
	}
	return nil
}

// tellAddress makes a socket report at which of the host's addresses a datagram has
// arrived: the answer has to come from there (ip(7), IP_PKTINFO).
func tellAddress(c *net.UDPConn, address netip.Addr) error {
	level, option := unix.IPPROTO_IP, unix.IP_PKTINFO
	if address.Is6() {
		level, option = unix.IPPROTO_IPV6, unix.IPV6_RECVPKTINFO
	}
	raw, err := c.SyscallConn()
	if err != nil {
		return err
	}
	var serr error
	err = raw.Control(func(fd uintptr) { serr = unix.SetsockoptInt(int(fd), level, option, 1) })
	return errors.Join(err, serr)
}

// refused words why the host does not listen.
func (p *published) refused(at netip.AddrPort, err error) error {
	why, help := err, ""
	var errno unix.Errno
	if errors.As(err, &errno) {
		why = errno
	}
	switch errno {
	case unix.EACCES:
		help = fmt.Sprintf("choose a port from 1024 on, or sudo sysctl net.ipv4.ip_unprivileged_port_start=%d", at.Port())
	case unix.EADDRINUSE:
		list := "-ltnp"
		if p.Port.Protocol == "udp" {
			list = "-lunp"
		}
		help = fmt.Sprintf("'ss %s sport = %d' shows by whom", list, at.Port())
	case unix.EADDRNOTAVAIL:
		help = "'ip address' lists the addresses of this machine"
	case unix.EMFILE, unix.ENFILE:
		help = "publish fewer ports, or raise the limit on open files: ulimit -n"
	}
	return hint.With(&config.Error{Op: p.Flag, Err: fmt.Errorf("listen %s %s: %w", p.Port.Protocol, at, why)}, help)
}
