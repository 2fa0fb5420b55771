package cli

import (
	"errors"
	"os"
	"regexp"
	"slices"
	"strings"
	"testing"

	ucli "github.com/urfave/cli/v2"
)

// helpFlag is a flag as `docker run --help` shows it.
type helpFlag struct{ short, name, kind, initial string }

// dockersFlags returns the flags in the output of `docker run --help`, version 28.2.2.
func dockersFlags(t *testing.T) []helpFlag {
	t.Helper()
	help, err := os.ReadFile("testdata/docker/run-help-28.2.2.txt")
	if err != nil {
		t.Fatal(err)
	}
	first := regexp.MustCompile(`^ {2,6}(?:-(\w), )?--([\w-]+)(?: (\w\S*))?(?:   |$)`)
	initial := regexp.MustCompile(`\(default "?([^"]*?)"?\)$`)
	var all []helpFlag
	for line := range strings.Lines(string(help)) {
		line = strings.TrimRight(line, "\n")
		if m := first.FindStringSubmatch(line); m != nil {
			all = append(all, helpFlag{short: m[1], name: m[2], kind: m[3]})
		}
		if m := initial.FindStringSubmatch(line); m != nil && len(all) > 0 {
			all[len(all)-1].initial = m[1]
		}
	}
	if len(all) != strings.Count(string(help), "  --")+strings.Count(string(help), ", --") {
		t.Fatalf("%d flags found in the help of docker run", len(all))
	}
	return all
}

// Each flag of `docker run` is a flag of minirun, with the same short form, and takes a value if
// docker's does; or it is in the list of flags that minirun does not have.
func TestFlagsOfDocker(t *testing.T) {
	app := testApp()
	run, a := app.Command("run"), &arranger{global: app.Flags}
	for _, flag := range dockersFlags(t) {
		if flag.name == "help" {
			continue
		}
		f := a.lookup(run, flag.name)
		if f == nil {
			t.Errorf("--%s is unknown", flag.name)
			continue
		}
		if takesValue(f) != (flag.kind != "") {
			t.Errorf("--%s takes a value: %t", flag.name, takesValue(f))
		}
		if short := a.lookup(run, flag.short); flag.short != "" && (short == nil || short.Names()[0] != flag.name) {
			t.Errorf("-%s is not --%s", flag.short, flag.name)
		}
	}
}

// The list of flags that minirun does not have contains no flag that it has.
func TestFlagsOfDockerAreNotShadowed(t *testing.T) {
	app := testApp()
	run := app.Command("run")
	for _, f := range dockerFlags() {
		for _, own := range slices.Concat(run.Flags, app.Flags) {
			for _, name := range own.Names() {
				if name == f.name || name == f.short {
					t.Errorf("--%s is one of minirun's own flags", f.name)
				}
			}
		}
	}
}

// A flag that only Docker has is accepted with its default value. Any other value is an error
// that says what to do instead.
func TestFlagsOfDockerAlone(t *testing.T) {
	app := testApp()
	run, a := app.Command("run"), &arranger{global: app.Flags}
	for _, flag := range dockersFlags(t) {
		if _, ok := a.lookup(run, flag.name).(*dockerFlag); !ok {
			continue
		}
		initial, other := flag.initial, "something"
		switch flag.kind {
		case "": // a switch
			initial, other = "false", "true"
			if flag.initial == "true" {
				initial, other = "true", "false"
			}
		case "list", "map", "gpu-request":
			initial = "" // has none that could be given
		case "int", "uint16", "bytes", "decimal":
			if initial == "" {
				initial = "0"
			}
		}
		if flag.kind != "list" && flag.kind != "map" && flag.kind != "gpu-request" {
			arranged, err := arrange(app, []string{"--" + flag.name + "=" + initial, "debian"})
			if err != nil || strings.Join(arranged.args, " ") != "run -- debian" {
				t.Errorf("--%s=%s: %v", flag.name, initial, err)
			}
		}
		if slices.Contains([]string{"no-healthcheck", "kernel-memory", "expose"}, flag.name) {
			continue // whatever they say, it makes no difference
		}
		_, err := arrange(app, []string{"--" + flag.name + "=" + other, "debian"})
		var usage *usageError
		if !errors.As(err, &usage) || !strings.HasPrefix(usage.message, "--"+flag.name+": ") || usage.hint == "" || strings.Contains(usage.hint, "\n") {
			t.Errorf("--%s=%s: %v", flag.name, other, err)
		}
	}
}

// Docker's verbs are not taken for images.
func TestVerbsOfDocker(t *testing.T) {
	help, err := os.ReadFile("testdata/docker/help-28.2.2.txt")
	if err != nil {
		t.Fatal(err)
	}
	found := regexp.MustCompile(`(?m)^  ([a-z]+)  +[A-Z]`).FindAllStringSubmatch(string(help), -1)
	if len(found) < 50 {
		t.Fatalf("%d verbs in the help of docker", len(found))
	}
	app := testApp()
	for _, verb := range found {
		name := verb[1]
		if app.Command(name) != nil || name == "node" {
			continue
		}
		_, err := arrange(app, []string{"--rm", name, "-a"})
		if want := "minirun has no verb " + name; err == nil || err.Error() != want {
			t.Errorf("%s: %v", name, err)
		}
		for _, args := range [][]string{{"run", name}, {"--", name}, {name + ":latest"}} {
			if _, err := arrange(app, args); err != nil {
				t.Errorf("%q: %v", args, err)
			}
		}
	}
}

// The commands of `docker image` are verbs, with these verbs' flags.
func TestGroupedVerbs(t *testing.T) {
	for words, want := range map[string]string{
		"image ls -q":                 "images --quiet=true --",
		"image list":                  "images --",
		"image rm -f debian":          "rmi --force=true -- debian",
		"image inspect debian":        "inspect --type=image -- debian",
		"container inspect -f json a": "inspect --type=container --format=json -- a",
		"container top a -o pid":      "top -- a -o pid",
		"image prune -af":             "prune --all=true --force=true --",
		"system df -v":                "du --verbose=true --",
		"--root /x image history a":   "--root=/x history -- a",
		"run image ls":                "run -- image ls",
		"-- image ls":                 "run -- image ls",
		"image --root /x ls":          "",
		"image build .":               "",
		"system prune":                "",
	} {
		arranged, err := arrange(testApp(), strings.Fields(words))
		if got := ""; err == nil {
			if got = strings.Join(arranged.args, " "); got != want {
				t.Errorf("%s: %q, want %q", words, got, want)
			}
		} else if want != "" {
			t.Errorf("%s: %v", words, err)
		}
	}
}

// None of Docker Hub's official images is taken for a misspelt verb.
func TestImagesAreNoVerbs(t *testing.T) {
	for _, name := range strings.Fields(`adminer almalinux alpine alt amazonlinux arangodb archlinux bash
		buildpack-deps busybox caddy cassandra chronograf cirros clojure composer consul couchbase couchdb
		crate dart debian docker drupal eclipse-temurin eggdrop elasticsearch elixir emqx erlang fedora
		flink fluentd friendica gazebo gcc geonetwork ghost golang gradle groovy haproxy haskell haxe
		hello-world hitch httpd hylang influxdb irssi jetty joomla jruby julia kapacitor kibana kong
		krakend lightstreamer liquibase logstash mageia mariadb matomo maven mediawiki memcached mongo
		monica mono mysql nats neo4j neurodebian nextcloud nginx node notary odoo openjdk oraclelinux
		orientdb percona perl photon php phpmyadmin plone postfixadmin postgres pypy python r-base
		rabbitmq rakudo-star redis redmine registry rethinkdb rockylinux ros ruby rust sapmachine
		silverpeas solr sonarqube spark spiped storm swift swipl telegraf tomcat tomee traefik ubuntu
		unit valkey varnish vault wordpress xwiki yourls znc zookeeper`) {
		if _, err := arrange(testApp(), []string{name}); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func testApp() *ucli.App {
	return (&app{stdout: os.Stdout, stderr: os.Stderr}).newApp()
}

// Completions after a group are verbs.
func TestGroupVerbs(t *testing.T) {
	app := (&app{}).newApp()
	for _, group := range []string{"image", "container", "system"} {
		for _, verb := range groupVerbs(group) {
			if got := ungrouped([]string{group, verb}); len(got) == 0 || app.Command(got[0]) == nil {
				t.Errorf("%s %s: %q is no verb", group, verb, got)
			}
		}
	}
}
