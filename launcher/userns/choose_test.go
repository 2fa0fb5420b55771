package userns

import (
	"errors"
	"testing"
)

func TestChoose(t *testing.T) {
	const size = 65536
	for _, c := range []struct {
		name               string
		uids, gids, others []Range
		count              int64
		taken              []Range
		random             int64
		want               Range
	}{
		{name: "systemd's range", count: size, want: Range{0x80000, size}},
		{name: "another place", count: size, random: 3, want: Range{0x80000 + 3*size, size}},
		{name: "users' own", others: []Range{{0x80000 + 5, 1}, {0x80000 + 2*size - 1, size}}, count: size, want: Range{0x80000 + 3*size, size}},
		{name: "the last place", count: size, random: -1, want: Range{0x6FFF0000, size}},
		{name: "around", count: size, random: -1, taken: []Range{{0x6FFFFFFF, 1}}, want: Range{0x80000, size}},
		{name: "containers", uids: []Range{{1000000, 2 * size}}, gids: []Range{{1000000, 2 * size}}, count: size, random: 1, want: Range{1000000 + size, size}},
		{name: "in both files", uids: []Range{{1000, 3000}}, gids: []Range{{2000, 3000}}, count: 2000, want: Range{2000, 2000}},
		{name: "fewer", uids: []Range{{1000, 100}}, gids: []Range{{1000, 100}}, count: 30, taken: []Range{{1000, 30}, {1059, 1}}, want: Range{1060, 30}},
		{name: "not root, nor nobody", uids: []Range{{0, 1 << 32}}, gids: []Range{{0, 1 << 32}}, count: 1<<32 - 2, want: Range{1, 1<<32 - 2}},
		{name: "two lines", uids: []Range{{1000, 10}, {2000, 10}}, gids: []Range{{1000, 10}, {2000, 10}}, count: 10, random: 1, want: Range{2000, 10}},
		{name: "taken", uids: []Range{{1000, 10}}, gids: []Range{{1000, 10}}, count: 10, taken: []Range{{1009, 1}}},
		{name: "too few", uids: []Range{{1000, 10}}, gids: []Range{{1000, 10}}, count: 11},
		{name: "nothing in common", uids: []Range{{1000, 10}}, gids: []Range{{2000, 10}}, count: 1},
		{name: "no groups", uids: []Range{{1000, 10}}, count: 1},
	} {
		t.Run(c.name, func(t *testing.T) {
			p, err := newPool(c.uids, c.gids, c.others)
			var got Range
			if err == nil {
				got, err = p.choose(c.count, c.taken, func(places int64) int64 { return (c.random + places) % places })
			}
			if got != c.want || (err != nil) != (c.want == Range{}) {
				t.Errorf("%v, %v, want %v", got, err, c.want)
			}
			if (c.name == "taken") != errors.Is(err, ErrNoneLeft) {
				t.Error(err)
			}
		})
	}
}
