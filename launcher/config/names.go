package config

import (
	"net/netip"
	"strings"
	"unicode"
)

// Names say how a container finds the addresses of names.
type Names struct {
	Servers []netip.Addr // of DNS; empty is the host's
	Search  []string     // domains to look names up in; nil is the host's, "." alone is none
	Options []string     // of resolv.conf(5); nil is the host's
	Hosts   []HostEntry  // further lines of /etc/hosts
}

// HostEntry is a name with an address.
type HostEntry struct {
	Name    string
	Address netip.Addr // the zero Addr is the host's own, as the container reaches it
}

// names reads --dns, --dns-search, --dns-option and --add-host.
func (p *flagParser) names() error {
	names := &p.c.Names
	for _, text := range p.list("dns") {
		address, err := netip.ParseAddr(strings.TrimSpace(text))
		if err != nil {
			return refuse("dns", text, "write an address, for example 192.0.2.53", "not an IP address")
		}
		names.Servers = append(names.Servers, address)
	}
	for _, text := range p.list("dns-search") {
		domain := strings.TrimSpace(text)
		if domain != "." && !isDomain(domain) {
			return refuse("dns-search", text, "write a domain, or . for none", "not a domain")
		}
		names.Search = append(names.Search, domain)
	}
	for _, text := range p.list("dns-option") {
		if text == "" || strings.ContainsFunc(text, unicode.IsControl) {
			return refuse("dns-option", text, "see resolv.conf(5), options", "not an option")
		}
		names.Options = append(names.Options, text)
	}
	for _, text := range p.list("add-host") {
		entry, err := hostEntry(text)
		if err != nil {
			return err
		}
		names.Hosts = append(names.Hosts, entry)
	}
	return nil
}

// isDomain reports whether text is a domain as docker run --dns-search takes it: labels
// of letters, digits and inner hyphens, of which not all are digits only.
func isDomain(text string) bool {
	text = strings.TrimSuffix(text, ".")
	letter := false
	for label := range strings.SplitSeq(text, ".") {
		if label == "" || strings.HasPrefix(label, "-") || strings.HasSuffix(label, "-") {
			return false
		}
		for _, r := range label {
			isLetter := r >= 'a' && r <= 'z' || r >= 'A' && r <= 'Z'
			if !isLetter && r != '-' && (r < '0' || r > '9') {
				return false
			}
			letter = letter || isLetter
		}
	}
	return letter
}

// hostEntry reads NAME:ADDRESS or NAME=ADDRESS of --add-host.
func hostEntry(text string) (HostEntry, error) {
	const help = "write NAME:ADDRESS or NAME:host-gateway"
	name, address, found := strings.Cut(text, "=")
	if !found {
		name, address, found = strings.Cut(text, ":")
	}
	if !found || name == "" || strings.ContainsFunc(name, func(r rune) bool { return unicode.IsSpace(r) || unicode.IsControl(r) || r == '#' }) {
		return HostEntry{}, refuse("add-host", text, help, "not a name and an address")
	}
	if address == "host-gateway" {
		return HostEntry{Name: name}, nil
	}
	if inner, ok := strings.CutPrefix(address, "["); ok && strings.HasSuffix(inner, "]") {
		address = strings.TrimSuffix(inner, "]")
	}
	ip, err := netip.ParseAddr(address)
	if err != nil {
		return HostEntry{}, refuse("add-host", text, help, "%q is not an IP address", address)
	}
	return HostEntry{Name: name, Address: ip}, nil
}
