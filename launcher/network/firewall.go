package network

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"slices"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
)

// tableName is the one table of nftables that minirun makes. By its rules what containers
// send out has this machine's address, and what comes from outside reaches them only as an
// answer. Other tables are not changed, except Docker's ([obstacle.pass]).
const tableName = "minirun"

const postroutingName = "postrouting" // the chain of the table that translates addresses

// firewall makes the table unless it exists for the bridge's networks: other programs may have
// flushed all tables, and a user may have given the bridge another network. The warning says
// that another table drops what containers send, and how to change that.
func (b *bridge) firewall() (warning, err error) {
	const help = "sudo modprobe nf_tables nft_masq nft_ct, or --network none"
	c, err := nftables.New(nftables.AsLasting())
	if err != nil {
		return nil, hint.With(fmt.Errorf("nftables: %w", err), help)
	}
	defer func() { _ = c.CloseLasting() }()
	chains, err := c.ListChains()
	if err != nil {
		return nil, hint.With(fmt.Errorf("list the chains of nftables: %w", err), help)
	}
	if !b.hasTable(c, chains) {
		b.addTable(c)
		if err := c.Flush(); err != nil {
			return nil, hint.With(fmt.Errorf("make the table %s of nftables: %w", tableName, err), help)
		}
	}
	for _, o := range obstacles(c, chains) {
		if !o.docker {
			return o.warning(), nil
		}
		o.pass(c)
		if err := c.Flush(); err != nil {
			return o.warning(), nil
		}
	}
	return legacyWarning(), nil
}

// hasTable reports whether minirun's table exists, with the rules for the bridge's networks and no others.
func (b *bridge) hasTable(c *nftables.Conn, chains []*nftables.Chain) bool {
	at := slices.IndexFunc(chains, func(c *nftables.Chain) bool {
		return c.Table.Name == tableName && c.Table.Family == nftables.TableFamilyINet && c.Name == postroutingName
	})
	if at < 0 {
		return false
	}
	rules, err := c.GetRules(chains[at].Table, chains[at])
	if err != nil {
		return false
	}
	var translated []netip.Prefix
	for _, r := range rules {
		translated = append(translated, source(r))
	}
	return slices.Equal(translated, b.networks())
}

// networks returns the networks of the bridge.
func (b *bridge) networks() (all []netip.Prefix) {
	for _, address := range []netip.Prefix{b.v4, b.v6} {
		if address.IsValid() {
			all = append(all, address.Masked())
		}
	}
	return all
}

// addTable adds the table, in one transaction: of two that add it at once, the second
// replaces that of the first.
func (b *bridge) addTable(c *nftables.Conn) {
	table := &nftables.Table{Name: tableName, Family: nftables.TableFamilyINet}
	c.AddTable(table)
	c.DelTable(table)
	c.AddTable(table)
	forward := c.AddChain(&nftables.Chain{
		Name: "forward", Table: table, Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookForward, Priority: nftables.ChainPriorityFilter,
	})
	c.AddRule(&nftables.Rule{Table: table, Chain: forward, Exprs: slices.Concat(
		device(expr.MetaKeyOIFNAME, expr.CmpOpEq), device(expr.MetaKeyIIFNAME, expr.CmpOpNeq), notAnAnswer(),
		[]expr.Any{&expr.Verdict{Kind: expr.VerdictDrop}})})
	postrouting := c.AddChain(&nftables.Chain{
		Name: postroutingName, Table: table, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	for _, network := range b.networks() {
		c.AddRule(&nftables.Rule{Table: table, Chain: postrouting, Exprs: slices.Concat(
			from(network), device(expr.MetaKeyOIFNAME, expr.CmpOpNeq), []expr.Any{&expr.Masq{}})})
	}
}

// paddedName is the bridge's name as the kernel compares names of devices.
func paddedName() []byte {
	name := make([]byte, unix.IFNAMSIZ)
	copy(name, bridgeName)
	return name
}

// device matches packets whose device is the bridge, or is not.
func device(key expr.MetaKey, op expr.CmpOp) []expr.Any {
	return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: op, Register: 1, Data: paddedName()}}
}

// notAnAnswer matches packets that belong to no existing connection.
func notAnAnswer() []expr.Any {
	mask := binary.NativeEndian.AppendUint32(nil, expr.CtStateBitESTABLISHED|expr.CtStateBitRELATED)
	none := make([]byte, 4)
	return []expr.Any{
		&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: mask, Xor: none},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: none},
	}
}

// from matches packets whose source is in a network.
func from(network netip.Prefix) []expr.Any {
	protocol, offset, size := byte(unix.NFPROTO_IPV4), uint32(12), uint32(4) // struct iphdr
	if network.Addr().Is6() {
		protocol, offset, size = unix.NFPROTO_IPV6, 8, 16 // struct ipv6hdr
	}
	mask := bytes.Repeat([]byte{0xff}, network.Bits()/8)
	if rest := network.Bits() % 8; rest != 0 {
		mask = append(mask, 0xff<<(8-rest))
	}
	mask = append(mask, make([]byte, int(size)-len(mask))...)
	return []expr.Any{
		&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{protocol}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: offset, Len: size},
		&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: size, Mask: mask, Xor: make([]byte, size)},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: network.Addr().AsSlice()},
	}
}

// source returns the network that a rule of [from] is for, or the zero Prefix.
func source(r *nftables.Rule) netip.Prefix {
	for i, e := range r.Exprs[:max(len(r.Exprs)-1, 0)] {
		mask, isMask := e.(*expr.Bitwise)
		network, isNetwork := r.Exprs[i+1].(*expr.Cmp)
		if isMask && isNetwork {
			address, _ := netip.AddrFromSlice(network.Data)
			bits, _ := net.IPMask(mask.Mask).Size()
			return netip.PrefixFrom(address, bits)
		}
	}
	return netip.Prefix{}
}
