package config

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/docker/go-connections/nat"
)

// Port is a port of the container's.
type Port struct {
	Number   uint16
	Protocol string // "tcp" or "udp"
}

func (p Port) String() string { return strconv.Itoa(int(p.Number)) + "/" + p.Protocol }

// Publication is a port of the container's that can be reached at a port of the host's.
type Publication struct {
	Flag        string     // the flag with its value
	Address     netip.Addr // of the host; the zero Addr is all
	First, Last uint16     // the host's port is the first of these that is free; 0 is any
	Port        Port
}

// ports reads --publish, --expose and --publish-all.
func (p *flagParser) ports() error {
	c := p.c
	c.PublishAll = p.on("publish-all")
	for _, text := range p.list("publish") {
		published, err := publications(text)
		if err != nil {
			return err
		}
		c.Published = append(c.Published, published...)
	}
	for _, text := range p.list("expose") {
		exposed, err := ParsePorts(text)
		if err != nil {
			return refuse("expose", text, "write PORT[-END][/udp]", "%w", err)
		}
		c.Exposed = append(c.Exposed, exposed...)
	}
	return nil
}

const publishHelp = "write [IP:][HOST[-END]:]CONTAINER[-END][/udp], for example 8080:80"

// publications reads a value of --publish.
func publications(text string) ([]Publication, error) {
	plain, err := plainPublication(text)
	if err != nil {
		return nil, err
	}
	mappings, err := nat.ParsePortSpec(plain)
	if err != nil {
		return nil, refuse("publish", text, publishHelp, "%w", err)
	}
	all := make([]Publication, len(mappings))
	for i, m := range mappings {
		pub := Publication{Flag: "--publish " + text}
		if pub.Port, err = port(m.Port); err != nil {
			return nil, refuse("publish", text, publishHelp, "%w", err)
		}
		if pub.Address, err = hostAddress(m.Binding.HostIP); err != nil {
			return nil, refuse("publish", text, publishHelp, "%w", err)
		}
		first, last, err := nat.ParsePortRangeToInt(m.Binding.HostPort)
		if err != nil {
			return nil, refuse("publish", text, publishHelp, "%w", err)
		}
		pub.First, pub.Last = uint16(first), uint16(last)
		all[i] = pub
	}
	return all, nil
}

// hostAddress reads an address to listen at. The zero Addr means all addresses, and 0.0.0.0
// those of IPv4 only.
func hostAddress(text string) (netip.Addr, error) {
	if text == "" {
		return netip.Addr{}, nil
	}
	return netip.ParseAddr(text)
}

// plainPublication turns target=80,published=8080,protocol=udp into 8080:80/udp, as the
// docker command does.
func plainPublication(text string) (string, error) {
	if !strings.Contains(text, "=") {
		return text, nil
	}
	const help = "write target=PORT,published=PORT,protocol=tcp|udp"
	fields := map[string]string{"protocol": "tcp", "published": "", "target": "", "mode": ""}
	for field := range strings.SplitSeq(text, ",") {
		key, value, _ := strings.Cut(field, "=")
		if _, known := fields[key]; !known {
			return "", refuse("publish", text, help, "no such field %q", key)
		}
		fields[key] = value
	}
	return fmt.Sprintf("%s:%s/%s", fields["published"], fields["target"], fields["protocol"]), nil
}

// ParsePorts reads PORT[-END][/PROTOCOL], as an image's configuration and --expose
// have it.
func ParsePorts(text string) ([]Port, error) {
	protocol, numbers := nat.SplitProtoPort(text)
	first, last, err := nat.ParsePortRange(numbers)
	if err != nil {
		return nil, errors.New("not a port or a range of ports")
	}
	var all []Port
	for n := first; n <= last; n++ {
		p, err := port(nat.Port(strconv.FormatUint(n, 10) + "/" + strings.ToLower(protocol)))
		if err != nil {
			return nil, err
		}
		all = append(all, p)
	}
	return all, nil
}

// port checks that a port can be forwarded.
func port(p nat.Port) (Port, error) {
	switch number := p.Int(); {
	case !slices.Contains([]string{"tcp", "udp"}, p.Proto()):
		return Port{}, fmt.Errorf("only tcp and udp are published, not %q", p.Proto())
	case number == 0:
		return Port{}, errors.New("a container has no port 0")
	default:
		return Port{uint16(number), p.Proto()}, nil
	}
}
