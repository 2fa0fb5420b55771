package integration

import (
	"io"
	"net"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"strings"
	"testing"
)

// With the default network `apt-get update` works: a mirror of another machine is found by
// its name, which this machine's name server knows.
func TestAptGetUpdate(t *testing.T) {
	n := newNetns(t)
	w := world(n)
	w.run("ip", "address", "add", "203.0.113.7/32", "dev", "wan1") // as the name server says
	w.nameServer("192.0.2.2:53")
	var l net.Listener
	if err := w.in(func() (err error) {
		l, err = net.Listen("tcp", "203.0.113.7:80")
		return err
	}); err != nil {
		t.Fatal(err)
	}
	mirror := &http.Server{Handler: http.HandlerFunc(func(out http.ResponseWriter, r *http.Request) {
		if path.Clean(r.URL.Path) != "/Packages" {
			http.NotFound(out, r)
			return
		}
		_, _ = io.WriteString(out, "Package: from-the-mirror\nVersion: 1\nArchitecture: all\nMaintainer: x\nFilename: x.deb\nSize: 1\n")
	})}
	t.Cleanup(func() { _ = mirror.Close() })
	go func() { _ = mirror.Serve(l) }()
	conf := filepath.Join(t.TempDir(), "resolv.conf")
	if err := os.WriteFile(conf, []byte("nameserver 192.0.2.2\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	got := n.run("unshare", "--mount", "sh", "-c", `mount --bind "$0" /etc/resolv.conf && exec "$@"`, conf,
		testBed.minirun, "--root", testBed.root, "--run-root", filepath.Join(t.TempDir(), "run"), "debian", "sh", "-c",
		`rm -rf /etc/apt/sources.list.d/*; echo 'deb [trusted=yes] http://mirror.example ./' >/etc/apt/sources.list
		apt-get -o Acquire::Languages=none update >&2 && apt-cache policy from-the-mirror`)
	if !strings.Contains(got, "http://mirror.example") {
		t.Errorf("%q", got)
	}
}
