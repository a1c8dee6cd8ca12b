// A Go program to be traced: `traced N` calls a function N times.
package main

import (
	"os"
	"strconv"
)

//go:noinline
func traced(x int) int {
	return x + 1
}

func main() {
	times, _ := strconv.Atoi(os.Args[1])
	for i := 0; i < times; i++ {
		traced(i)
	}
}
