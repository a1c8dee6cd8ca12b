module mygadget

go 1.24.0

require github.com/inspektor-gadget/inspektor-gadget v0.46.0
