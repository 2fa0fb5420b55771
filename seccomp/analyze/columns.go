package analyze

import (
	"runtime"
	"sync"

	"github.com/minirun/minirun/seccomp"
)

// Column is a named set of capabilities.
type Column struct {
	Name         string
	Capabilities []string
}

// DiffColumns compares two profiles as [Diff] does, for t with the capabilities of each
// column. The result has one element for each column.
func DiffColumns(t seccomp.Target, columns []Column, a, b *seccomp.Profile) ([][]Difference, error) {
	all := make([][]Difference, len(columns))
	err := eachColumn(t, columns, func(i int, t seccomp.Target) error {
		pa, err := a.Resolve(t)
		if err != nil {
			return err
		}
		pb, err := b.Resolve(t)
		if err != nil {
			return err
		}
		all[i], err = Diff(pa, pb)
		return err
	})
	return all, err
}

// eachColumn calls f for t with the capabilities of each column, concurrently, since
// libseccomp needs some 20 ms to compile Docker's profile. It returns the error of the first
// column that has one. The first call returns before the others start; package compile
// says why.
func eachColumn(t seccomp.Target, columns []Column, f func(i int, t seccomp.Target) error) error {
	failed := make([]error, len(columns))
	one := func(i int) {
		target := t
		target.Capabilities = columns[i].Capabilities
		failed[i] = f(i, target)
	}
	if len(columns) > 0 {
		one(0)
	}
	var workers sync.WaitGroup
	free := make(chan struct{}, runtime.GOMAXPROCS(0))
	for i := 1; i < len(columns); i++ {
		free <- struct{}{}
		workers.Go(func() {
			one(i)
			<-free
		})
	}
	workers.Wait()
	for _, err := range failed {
		if err != nil {
			return err
		}
	}
	return nil
}
