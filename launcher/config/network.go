package config

// Network is what --network names.
type Network string

const (
	NetworkNone Network = "none" // a loopback device only; the default
	NetworkHost Network = "host" // the host's network namespace
)

// Networks lists the values of --network.
func Networks() []string { return []string{string(NetworkNone), string(NetworkHost)} }

// Own reports whether the container has a network namespace of its own.
func (n Network) Own() bool { return n != NetworkHost }
