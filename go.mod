module github.com/bootc-podman/bootc-podman

go 1.26

ignore ./build

require (
	github.com/BurntSushi/toml v1.6.0
	github.com/coreos/go-systemd/v22 v22.7.0
	github.com/mattn/go-shellwords v1.0.16
	github.com/moby/sys/mountinfo v0.7.3
	github.com/sirupsen/logrus v1.9.4
	github.com/urfave/cli/v2 v2.27.7
	go.podman.io/storage v1.64.2 // github.com/containers/storage under its maintained path
	golang.org/x/sys v0.47.0
)

require (
	github.com/distribution/reference v0.6.0
	github.com/docker/go-units v0.5.0
	github.com/rogpeppe/go-internal v1.16.0
	go.podman.io/common v0.69.0 // github.com/containers/common under its maintained path
)

require github.com/santhosh-tekuri/jsonschema/v5 v5.3.1 // tests only

require (
	github.com/cpuguy83/go-md2man/v2 v2.0.7 // indirect
	github.com/moby/sys/capability v0.4.0 // indirect
	github.com/moby/sys/user v0.4.1 // indirect
	github.com/opencontainers/go-digest v1.0.0 // indirect
	github.com/opencontainers/runtime-spec v1.3.0 // indirect
	github.com/russross/blackfriday/v2 v2.1.0 // indirect
	github.com/xrash/smetrics v0.0.0-20240521201337-686a1a2994c1 // indirect
)

tool github.com/cpuguy83/go-md2man/v2
