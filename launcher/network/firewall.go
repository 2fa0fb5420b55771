package network

import (
	"bytes"
	"encoding/binary"
	"fmt"
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

// firewall makes the table unless it exists: other programs may have flushed all tables.
// The warning says that another table drops what containers send, and how to change that.
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
	if !slices.ContainsFunc(chains, own) {
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

// own reports whether a chain is of minirun's table.
func own(c *nftables.Chain) bool {
	return c.Table.Name == tableName && c.Table.Family == nftables.TableFamilyINet
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
		Name: "postrouting", Table: table, Type: nftables.ChainTypeNAT, Hooknum: nftables.ChainHookPostrouting, Priority: nftables.ChainPriorityNATSource,
	})
	for _, network := range []netip.Prefix{b.v4, b.v6} {
		if network.IsValid() {
			c.AddRule(&nftables.Rule{Table: table, Chain: postrouting, Exprs: slices.Concat(
				from(network), device(expr.MetaKeyOIFNAME, expr.CmpOpNeq), []expr.Any{&expr.Masq{}})})
		}
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
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: network.Masked().Addr().AsSlice()},
	}
}
