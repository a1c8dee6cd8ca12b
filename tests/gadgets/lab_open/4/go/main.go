// Adds the names of the flags with which a file is opened.
package main

import (
	"strings"

	api "github.com/inspektor-gadget/inspektor-gadget/wasmapi/go"
)

const accessMode = 0o3

var accessModes = []string{"O_RDONLY", "O_WRONLY", "O_RDWR"}

var flagNames = []struct {
	flag uint32
	name string
}{
	{0o100, "O_CREAT"},
	{0o200, "O_EXCL"},
	{0o400, "O_NOCTTY"},
	{0o1000, "O_TRUNC"},
	{0o2000, "O_APPEND"},
	{0o4000, "O_NONBLOCK"},
	{0o10000, "O_DSYNC"},
	{0o200000, "O_DIRECTORY"},
	{0o400000, "O_NOFOLLOW"},
	{0o2000000, "O_CLOEXEC"},
}

func decode(flags uint32) string {
	var names []string
	if mode := flags & accessMode; int(mode) < len(accessModes) {
		names = append(names, accessModes[mode])
	}
	for _, known := range flagNames {
		if flags&known.flag != 0 {
			names = append(names, known.name)
		}
	}
	return strings.Join(names, "|")
}

//go:wasmexport gadgetInit
func gadgetInit() int32 {
	open, err := api.GetDataSource("open")
	if err != nil {
		api.Errorf("getting data source: %v", err)
		return 1
	}
	flags, err := open.GetField("flags")
	if err != nil {
		api.Errorf("getting field: %v", err)
		return 1
	}
	decoded, err := open.AddField("flags_decoded", api.Kind_String)
	if err != nil {
		api.Errorf("adding field: %v", err)
		return 1
	}
	open.Subscribe(func(_ api.DataSource, data api.Data) {
		value, err := flags.Int32(data)
		if err != nil {
			api.Warnf("reading flags: %v", err)
			return
		}
		if err := decoded.SetString(data, decode(uint32(value))); err != nil {
			api.Warnf("setting flags_decoded: %v", err)
		}
	}, 0)
	return 0
}

func main() {}
