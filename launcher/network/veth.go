package network

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/netip"
	"os"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"

	"github.com/minirun/minirun/internal/hint"
	"github.com/minirun/minirun/launcher/config"
)

// vethName returns the name of the bridge's end of a container's veth pair. It is made from
// the container's address: names are unique in a network namespace, so the kernel itself
// makes sure that addresses are too. The pair ends with the container's namespace, so no
// address has to be given back, in whatever way a launcher ends.
func vethName(address netip.Addr) string {
	a := address.As4()
	return "mr" + hex.EncodeToString(a[:])
}

// deviceName is the device in the container.
const deviceName = "eth0"

// wanted is what flags ask for.
type wanted struct {
	address netip.Addr       // the zero Addr is any
	mac     net.HardwareAddr // nil is one made of the address
}

// plug connects a namespace with the bridge, and returns its address.
func (b *bridge) plug(ns *namespace, w wanted) (netip.Addr, error) {
	if w.address.IsValid() {
		return w.address, b.plugAt(ns, w.address, w.mac)
	}
	for range 256 {
		address := b.anyAddress()
		err := b.tryPlug(ns, address, w.mac)
		if !errors.Is(err, unix.EEXIST) {
			return address, err
		}
	}
	return netip.Addr{}, hint.New("no free address is found in "+b.v4.Masked().String(), "end some containers")
}

// anyAddress returns an address of the bridge's network that is not the bridge's own. It is
// a random one, so that what is still on its way to a container that has ended does not
// reach the next one.
func (b *bridge) anyAddress() netip.Addr {
	host := uint32(1)<<(32-b.v4.Bits()) - 1 // the last address is for broadcasts
	for {
		base := b.v4.Masked().Addr().As4()
		n := binary.BigEndian.Uint32(base[:]) + 1 + rand.Uint32N(host-1)
		var address [4]byte
		binary.BigEndian.PutUint32(address[:], n)
		if a := netip.AddrFrom4(address); a != b.v4.Addr() {
			return a
		}
	}
}

// plugAt is plug for an address that --ip names. A container that has just ended may still
// have it: the kernel removes its devices a little later.
func (b *bridge) plugAt(ns *namespace, address netip.Addr, mac net.HardwareAddr) error {
	refuse := func(why, help string) error {
		return hint.With(&config.Error{Op: "--ip " + address.String(), Err: errors.New(why)}, help)
	}
	network := b.v4.Masked()
	if !network.Contains(address) || address == b.v4.Addr() || address == network.Addr() || !network.Contains(address.Next()) {
		return refuse("not an address of the containers' network", fmt.Sprintf("choose one of %s other than %s", network, b.v4.Addr()))
	}
	for deadline := time.Now().Add(time.Second); ; {
		err := b.tryPlug(ns, address, mac)
		if !errors.Is(err, unix.EEXIST) {
			return err
		}
		if time.Now().After(deadline) {
			return refuse("another container has it", "choose another, or end that container")
		}
		<-time.After(10 * time.Millisecond)
	}
}

// tryPlug returns EEXIST if the address is taken.
func (b *bridge) tryPlug(ns *namespace, address netip.Addr, mac net.HardwareAddr) error {
	veth := &netlink.Veth{
		LinkAttrs: netlink.LinkAttrs{Name: vethName(address), MasterIndex: b.link.Attrs().Index, MTU: b.mtu, Flags: net.FlagUp},
		PeerName:  deviceName, PeerHardwareAddr: hardwareAddressOf(address, mac), PeerNamespace: netlink.NsFd(ns.file.Fd()),
	}
	err := b.host.LinkAdd(veth)
	if errors.Is(err, unix.EEXIST) {
		return unix.EEXIST
	}
	if err != nil {
		return fmt.Errorf("make the container's device: %w", err)
	}
	return b.configure(ns, address)
}

// hardwareAddressOf returns the hardware address that flags ask for, or, as with Docker,
// one made from the IPv4 address: neighbours that know that address from an earlier
// container (arp(7)) stay right.
func hardwareAddressOf(address netip.Addr, wanted net.HardwareAddr) net.HardwareAddr {
	if wanted != nil {
		return wanted
	}
	a := address.As4()
	return append(net.HardwareAddr{2, 0x42}, a[:]...)
}

// configure sets up the device in the container.
func (b *bridge) configure(ns *namespace, v4 netip.Addr) error {
	if b.v6.IsValid() {
		// Routers are this machine only, whatever other containers advertise.
		if err := ns.do(func() error {
			return errors.Join(atOnce(deviceName), setSysctl("ipv6/conf/"+deviceName+"/accept_ra", "0"))
		}); err != nil {
			return err
		}
	}
	h := ns.link
	device, err := h.LinkByName(deviceName)
	if err != nil {
		return fmt.Errorf("the container's device: %w", err)
	}
	if err := h.LinkSetUp(device); err != nil {
		return fmt.Errorf("bring the container's device up: %w", err)
	}
	own := []netip.Prefix{netip.PrefixFrom(v4, b.v4.Bits())}
	gateways := []netip.Addr{b.v4.Addr()}
	if b.v6.IsValid() {
		own = append(own, netip.PrefixFrom(b.sixth(v4), b.v6.Bits()))
		gateways = append(gateways, b.v6.Addr())
	}
	for _, a := range own {
		if err := h.AddrAdd(device, address(a)); err != nil {
			return fmt.Errorf("give the container the address %s: %w", a, err)
		}
	}
	if err := carrierSeen(vethName(v4)); err != nil {
		return err
	}
	for _, g := range gateways {
		if err := h.RouteAdd(&netlink.Route{LinkIndex: device.Attrs().Index, Gw: g.AsSlice()}); err != nil {
			return fmt.Errorf("route the container's packets by %s: %w", g, err)
		}
	}
	return nil
}

// carrierSeen makes the kernel notice at once that a device has a carrier. Else a worker
// thread of the kernel notices it later. Until then the bridge drops what the device sends,
// and a container's first connection waits a second.
func carrierSeen(name string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return os.NewSyscallError("socket", err)
	}
	defer unix.Close(fd)
	value := struct{ command, data uint32 }{command: unix.ETHTOOL_GLINK}
	request := struct { // struct ifreq of netdevice(7)
		name [unix.IFNAMSIZ]byte
		data unsafe.Pointer
		_    [16]byte
	}{data: unsafe.Pointer(&value)}
	copy(request.name[:unix.IFNAMSIZ-1], name)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCETHTOOL, uintptr(unsafe.Pointer(&request))); errno != 0 {
		return os.NewSyscallError("ioctl", errno)
	}
	return nil
}

// sixth returns the IPv6 address that goes with an IPv4 address.
func (b *bridge) sixth(v4 netip.Addr) netip.Addr {
	address, last := b.v6.Addr().As16(), v4.As4()
	copy(address[12:], last[:])
	return netip.AddrFrom16(address)
}
