package userns

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"

	mobyuser "github.com/moby/sys/user"

	"github.com/minirun/minirun/internal/hint"
)

// Owner is the name whose subordinate IDs are for containers with user namespaces of their
// own, as with Podman (podman-run(1), --userns auto).
const Owner = "containers"

// defaultIDs are those of containers where /etc/subuid and /etc/subgid have no line for
// [Owner]: systemd's range for containers (systemd.io/UIDS-GIDS).
func defaultIDs() Range { return Range{0x00080000, 0x6FFFFFFF - 0x00080000 + 1} }

// exampleLine is what Podman's documentation proposes.
const exampleLine = Owner + ":2147483647:2147483648"

// ErrNoneLeft says that all IDs are taken.
var ErrNoneLeft = errors.New("none are left")

// Choose returns a range of count IDs of the host, for the users and the groups of a
// container. It overlaps no range of taken. It is chosen at random, so that a new container
// does not get the IDs of the last one, whose files may still be on a volume.
func Choose(count int64, taken []Range) (Range, error) {
	pool, err := readPool()
	if err != nil {
		return Range{}, err
	}
	return pool.choose(count, taken, rand.Int64N)
}

// pool is what ranges are chosen from.
type pool struct {
	ranges   []Range
	reserved []Range // in ranges, but somebody else's
}

// readPool reads the pool from /etc/subuid and /etc/subgid.
func readPool() (*pool, error) {
	var all [2][]Range
	var others []Range
	for i, file := range []string{"/etc/subuid", "/etc/subgid"} {
		lines, err := mobyuser.ParseSubIDFileFilter(file, nil)
		if err != nil {
			lines = nil // there is none
		}
		for _, line := range lines {
			r := Range{line.SubID, line.Count}
			if line.Name == Owner {
				all[i] = append(all[i], r)
			} else {
				others = append(others, r)
			}
		}
	}
	return newPool(all[0], all[1], others)
}

// newPool returns the pool of the lines for containers in both files, and of the others.
func newPool(uids, gids, others []Range) (*pool, error) {
	if len(uids) == 0 && len(gids) == 0 {
		return &pool{[]Range{defaultIDs()}, others}, nil
	}
	p := &pool{}
	for _, u := range uids {
		for _, g := range gids {
			first, end := max(u.First, g.First, 1), min(u.end(), g.end(), 1<<32-1) // 0 is root, and the last is nobody's
			if first < end {
				p.ranges = append(p.ranges, Range{first, end - first})
			}
		}
	}
	if len(p.ranges) == 0 {
		return nil, hint.With(errors.New("/etc/subuid and /etc/subgid have no range in common for "+Owner), "write the same line into both: "+exampleLine)
	}
	return p, nil
}

func (r Range) end() int64 { return r.First + r.Count }

func (r Range) overlaps(o Range) bool { return r.First < o.end() && o.First < r.end() }

// choose tries the places in the pool one after another, beginning with a random one.
func (p *pool) choose(count int64, taken []Range, random func(int64) int64) (Range, error) {
	var places int64
	for _, r := range p.ranges {
		places += r.Count / count
	}
	if places == 0 {
		return Range{}, hint.With(fmt.Errorf("%s has no %d ids in a row in /etc/subuid and /etc/subgid", Owner, count),
			"give it a longer row in both: "+exampleLine)
	}
	taken = slices.Concat(taken, p.reserved)
	first := random(places)
	for i := range places {
		candidate := p.place((first+i)%places, count)
		if !slices.ContainsFunc(taken, candidate.overlaps) {
			return candidate, nil
		}
	}
	return Range{}, ErrNoneLeft
}

// place returns the place with number n, of count IDs.
func (p *pool) place(n, count int64) Range {
	for _, r := range p.ranges {
		if n < r.Count/count {
			return Range{r.First + n*count, count}
		}
		n -= r.Count / count
	}
	return Range{} // there is no such place
}
