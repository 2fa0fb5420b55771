package network

import (
	"bytes"
	"fmt"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/xt"

	"github.com/minirun/minirun/internal/hint"
)

// obstacle is a chain of another program whose policy is to drop forwarded packets. A table
// cannot accept what another one drops.
type obstacle struct {
	chain  *nftables.Chain
	docker bool // it is dockerd's: its table has the chain dockerUser too
}

// dockerUser is the chain for users that Docker asks before its own chains.
const dockerUser = "DOCKER-USER"

// ForwardDropped returns an error, with a hint, if another table drops what containers
// send. Docker's does not count: a launch adds rules to it.
func ForwardDropped() error {
	c, err := nftables.New()
	if err != nil {
		return nil
	}
	chains, err := c.ListChains()
	if err != nil {
		return nil
	}
	for _, o := range obstacles(c, chains) {
		if !o.docker {
			return o.warning()
		}
	}
	return legacyWarning()
}

func legacyWarning() error {
	if !legacyDrops() {
		return nil
	}
	return dropped(byIptables("iptables-legacy"))
}

// obstacles returns the chains that stop the bridge's packets. A chain with a rule that
// names the bridge is left out: whoever made the firewall has decided about it.
func obstacles(c *nftables.Conn, chains []*nftables.Chain) (found []obstacle) {
	for _, chain := range chains {
		family := chain.Table.Family
		if chain.Policy == nil || *chain.Policy != nftables.ChainPolicyDrop || !atForward(chain) ||
			family != nftables.TableFamilyIPv4 && family != nftables.TableFamilyIPv6 && family != nftables.TableFamilyINet {
			continue
		}
		o := obstacle{chain: chain}
		known := namesBridge(c, chain)
		for _, other := range chains {
			if other.Name == dockerUser && other.Table.Family == family && other.Table.Name == chain.Table.Name {
				o.docker = true
				known = known || namesBridge(c, other)
			}
		}
		if !known && (o.docker || family != nftables.TableFamilyIPv6) { // a container can do without IPv6
			found = append(found, o)
		}
	}
	return found
}

func atForward(c *nftables.Chain) bool {
	return c.Hooknum != nil && *c.Hooknum == *nftables.ChainHookForward
}

func namesBridge(c *nftables.Conn, chain *nftables.Chain) bool {
	rules, err := c.GetRules(chain.Table, chain)
	if err != nil {
		return false
	}
	for _, r := range rules {
		for _, e := range r.Exprs {
			if cmp, ok := e.(*expr.Cmp); ok && bytes.HasPrefix(cmp.Data, []byte(bridgeName)) {
				return true
			}
		}
	}
	return false
}

// pass adds two rules to the end of the chain, after all of dockerd's: they accept what
// containers send, and what answers them. They have the form that iptables(8) gives them,
// which dockerd uses: it refuses tables with rules of another form.
func (o *obstacle) pass(c *nftables.Conn) {
	name := []byte(bridgeName + "\x00")
	of := func(key expr.MetaKey) []expr.Any {
		return []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: name}}
	}
	accept := []expr.Any{&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictAccept}}
	const established, related = 1 << 1, 1 << 2 // XT_CONNTRACK_STATE_BIT of linux/netfilter/xt_conntrack.h
	state := xt.ConntrackMtinfo3{ConntrackMtinfo2: xt.ConntrackMtinfo2{
		ConntrackMtinfoBase: xt.ConntrackMtinfoBase{MatchFlags: uint16(xt.ConntrackState)}, StateMask: established | related,
	}}
	answers := append(of(expr.MetaKeyOIFNAME), &expr.Match{Name: "conntrack", Rev: 3, Info: &state})
	for _, match := range [][]expr.Any{of(expr.MetaKeyIIFNAME), answers} {
		c.AddRule(&nftables.Rule{Table: o.chain.Table, Chain: o.chain, Exprs: append(match, accept...)})
	}
}

// warning says what is dropped, with the commands that allow it.
func (o *obstacle) warning() error {
	table, family := o.chain.Table.Name, map[nftables.TableFamily]string{
		nftables.TableFamilyIPv4: "ip", nftables.TableFamilyIPv6: "ip6", nftables.TableFamilyINet: "inet",
	}[o.chain.Table.Family]
	rule := fmt.Sprintf("sudo nft insert rule %s %s %s", family, table, o.chain.Name)
	help := rule + " iifname " + bridgeName + " accept && " + rule + " oifname " + bridgeName + " ct state related,established accept"
	if table == "filter" && o.chain.Name == "FORWARD" { // iptables(8) has made it
		help = byIptables("iptables")
	}
	return dropped(help)
}

func dropped(help string) error {
	return hint.New("the firewall's FORWARD policy is drop: the container cannot reach out", help)
}

// byIptables returns the commands that allow the bridge's packets.
func byIptables(program string) string {
	rule := "sudo " + program + " -I FORWARD"
	return rule + " -i " + bridgeName + " -j ACCEPT && " + rule + " -o " + bridgeName + " -m conntrack --ctstate RELATED,ESTABLISHED -j ACCEPT"
}
