module github.com/minirun/minirun/tools/seccompagent

go 1.26.0

tool github.com/opencontainers/runc/contrib/cmd/seccompagent

require (
	github.com/cyphar/filepath-securejoin v0.2.4 // indirect
	github.com/opencontainers/runc v1.1.15 // indirect
	github.com/opencontainers/runtime-spec v1.0.3-0.20210326190908-1c3f411f0417 // indirect
	github.com/seccomp/libseccomp-golang v0.9.2-0.20220502022130-f33da4d89646 // indirect
	github.com/sirupsen/logrus v1.8.1 // indirect
	golang.org/x/sys v0.19.0 // indirect
)
